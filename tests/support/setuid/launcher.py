"""Prepares a process as an unprivileged user before a set-uid program runs in it.

A script of its own, run as root by `/usr/bin/python3 -I -S`: it becomes the user, prepares the process as the JSON in
its argument says, and runs the program. tests/support/setuid/people.py writes that JSON.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
from typing import Any

PTRACE_TRACEME, PTRACE_CONT = 0, 7


def main() -> None:
    """Become the user, prepare, run."""
    wanted = json.loads(sys.argv[1])
    os.setgroups([wanted["gid"]])
    os.setresgid(*[wanted["gid"]] * 3)
    os.setresuid(*[wanted["uid"]] * 3)
    _enter(wanted["folder"])
    if wanted["traced"]:
        _be_traced()
    environment = {**wanted["environment"], **{f"FILL_{i}": "x" * 1000 for i in range(wanted["filling"])}}
    for number in wanted["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, wanted["blocked"])
    for name, value in wanted["limits"].items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name.upper()}"), (value, value))
    os.closerange(3, 64)
    for descriptor in wanted["closed"]:
        os.close(descriptor)
    program, *words = wanted["command"]
    os.execve(program, [wanted["called"] or program, *words], environment)


def _enter(folder: str) -> None:
    """Change the working directory. `gone` is a removed directory, `closed` an unreadable one."""
    if folder in ("gone", "closed"):
        made = tempfile.mkdtemp(prefix="where-", dir="/var/tmp")
        os.chdir(made)
        if folder == "gone":
            os.rmdir(made)
        else:
            os.chmod(made, 0)
    else:
        os.chdir(folder)


def _be_traced() -> None:
    """Continue in a child that is traced by its parent, which belongs to the same user and resumes it at each stop."""
    import ctypes

    ptrace: Any = ctypes.CDLL(None).ptrace
    child = os.fork()
    if child == 0:
        ptrace(PTRACE_TRACEME, 0, None, None)
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        _, status = os.waitpid(child, 0)
        if not os.WIFSTOPPED(status):
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
        stopped_by = os.WSTOPSIG(status)
        ptrace(PTRACE_CONT, child, None, ctypes.c_void_p(0 if stopped_by == signal.SIGTRAP else stopped_by))


main()
