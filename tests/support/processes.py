"""The processes of this machine, from /proc."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.deadline import PATIENCE


def command_line(pid: int) -> str:
    """The words of a process's command, separated by spaces; empty if it has ended."""
    with contextlib.suppress(OSError):
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        )
    return ""


def all_pids() -> Iterator[int]:
    """All processes."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            yield int(entry)


def with_socket(listener: socket.socket, *command: str) -> list[str]:
    """A command to which a socket is passed, as systemd does it (sd_listen_fds(3)). It must inherit the descriptor."""
    return ["bash", "-c", 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@" 3<&"$0"', str(listener.fileno()), *command]


def running(part: str) -> list[int]:
    """The processes whose command contains this text."""
    return [pid for pid in all_pids() if part in command_line(pid)]


def status(pid: int) -> dict[str, str]:
    """/proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def descendants(pid: int) -> list[int]:
    """All descendants of a process."""
    parents = {}
    for each in all_pids():
        with contextlib.suppress(OSError):
            parents[each] = int(status(each)["PPid"])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def wait_for_end(pids: list[int], timeout: float = PATIENCE) -> None:
    """Wait until these processes have ended. Raises TimeoutError."""
    until = time.monotonic() + timeout
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            if not poller.poll(max(until - time.monotonic(), 0.0) * 1000):
                raise TimeoutError(f"process {pid} has not ended: {command_line(pid)}")
        finally:
            os.close(descriptor)


def kill(pid: int) -> None:
    """Kill a process with SIGKILL."""
    os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def process_with_id(pid: int) -> Iterator[None]:
    """A process that has this id, which one that has ended had before. For the isolated root: it has its own ids."""
    while True:
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        process = subprocess.Popen(["sleep", "infinity"])
        try:
            if process.pid == pid:  # else somebody else was faster
                yield
                return
        finally:
            process.kill()
            process.wait()
