"""Takes over a process of the same user by ptrace(2): makes it execute a program, in its own login session. x86-64.

Usage: take_over.py PID PROGRAM ARGUMENT...; the process is a sleep(1).
"""

from __future__ import annotations

import ctypes
import os
import sys
import time

PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_ATTACH, PTRACE_DETACH = 12, 13, 16, 17  # sys/ptrace.h
EXECVE = 59
NAMES = (
    *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi"),
    *("orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs"),
)


class Registers(ctypes.Structure):
    """user_regs_struct (sys/user.h)."""

    _fields_ = tuple((name, ctypes.c_ulonglong) for name in NAMES)


def main(pid: int, *command: str) -> None:
    """Have the process call execve(2)."""
    while not is_asleep(pid):
        time.sleep(0.05)
    trace(PTRACE_ATTACH, pid, None)
    os.waitpid(pid, 0)
    registers = Registers()
    trace(PTRACE_GETREGS, pid, ctypes.byref(registers))
    base = (registers.rsp - 8192) & ~15
    words, places = b"", []
    for word in command:
        places.append(base + len(words))
        words += word.encode() + b"\0"
    words += b"\0" * (-len(words) % 8)
    pointers = b"".join(place.to_bytes(8, "little") for place in (*places, 0))
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(base)
        memory.write(words + pointers)
        memory.seek(registers.rip - 2)
        assert memory.read(2) == b"\x0f\x05"
    registers.rip -= 2
    registers.rax, registers.orig_rax = EXECVE, 2**64 - 1  # not a call that is to be restarted
    registers.rdi, registers.rsi = places[0], base + len(words)
    registers.rdx = registers.rsi + 8 * len(places)  # an empty environment
    trace(PTRACE_SETREGS, pid, ctypes.byref(registers))
    trace(PTRACE_DETACH, pid, None)


def is_asleep(pid: int) -> bool:
    """Whether the process has begun to sleep, in a system call."""
    with open(f"/proc/{pid}/stat") as file:
        name, _, rest = file.read().partition("(")[2].rpartition(")")
    return name == "sleep" and rest.split()[0] == "S"


def trace(request: int, pid: int, data: object) -> None:
    """ptrace(2). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(request, pid, None, data) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
