"""Processes, as /proc shows them (proc(5))."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass

LOOK_INTERVAL = 0.05
"""How long to wait before another look whether processes have ended, in seconds."""
LOOKS = 10
"""How many looks in a row must find nothing: one that forks all the time, and ends, can be missed by some."""


@dataclass(frozen=True)
class Process:
    """A process at the time when it was looked at."""

    pid: int
    parent: int
    terminal: int
    """The device number of its controlling terminal, 0 if it has none."""
    started: int
    """In clock ticks since the boot."""
    stopped: bool = False


def look(pid: int) -> Process | None:
    """The process with that id; None if there is none, or if it has ended and waits for its parent."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name, in parentheses, can hold anything.
            fields = file.read().rpartition(b") ")[2].split()
    except OSError:
        return None
    if fields[0] in (b"Z", b"X"):
        return None
    return Process(pid, int(fields[1]), int(fields[4]), int(fields[19]), fields[0] in (b"T", b"t"))


def real_uid(pid: int) -> int | None:
    """The real user id of a process; None if it has ended."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(b"Uid:"))
    except OSError:
        return None


def with_descendants(pid: int) -> list[Process]:
    """The process and all that descend from it, as far as those between have not ended."""
    everything = [process for each in _ids() if (process := look(each))]
    children: dict[int, list[Process]] = {}
    for process in everything:
        children.setdefault(process.parent, []).append(process)
    found = [process for process in everything if process.pid == pid]
    for process in found:
        found.extend(children.get(process.pid, ()))
    return found


class Members:
    """The processes of a login session that is in no control group of its own, or was not ended with that.

    They are the process `pid`, what descends from it, and all of the audit session that the login of `uid` has begun.
    su and sudo begin none: of what they have started, that is not found whose parent had ended before it was seen.
    """

    def __init__(self, pid: int, started: int, uid: int, audit_session: int | None) -> None:
        self._place = (audit_session, uid)
        self._seen = {pid: started}
        root = look(pid)
        if root is not None and root.started == started:
            self._seen.update({each.pid: each.started for each in with_descendants(pid)})

    def send(self, number: int) -> int:
        """Send each a signal as soon as it is found, 0 for none; returns how many do not obey yet."""
        found = 0
        for pid in _ids():
            if not self._has(pid):
                continue
            with contextlib.suppress(OSError):  # it has ended
                pidfd = os.pidfd_open(pid)
                try:
                    process = look(pid)
                    # Looked at after the pidfd was made: if it is a member now, the pidfd is of that one.
                    if process is not None and self._has(pid):
                        found += not (number == signal.SIGSTOP and process.stopped)
                        signal.pidfd_send_signal(pidfd, number)
                finally:
                    os.close(pidfd)
        return found

    def have_ended(self, within: float = 0.0) -> bool:
        """Whether all end within that many seconds."""
        until = time.monotonic() + within
        while self.send(0):
            if time.monotonic() >= until:
                return False
            time.sleep(LOOK_INTERVAL)
        return True

    def kill(self, within: float) -> bool:
        """Kill them all, within that many seconds; returns whether none is left.

        They are stopped first: those that fork all the time would be as fast as we are.
        """
        for number in (signal.SIGSTOP, signal.SIGKILL):
            until, quiet = time.monotonic() + within / 2, 0
            while quiet < LOOKS and time.monotonic() < until:
                quiet = 0 if self.send(number) else quiet + 1
        return self.have_ended()

    def _has(self, pid: int) -> bool:
        place = None if self._place[0] is None else (_number(pid, "sessionid"), _number(pid, "loginuid"))
        if place == self._place and pid != os.getpid():
            return True
        process = look(pid)
        if process is None:
            return False
        if self._seen.get(pid) == process.started:
            return True
        parent = look(process.parent) if process.parent in self._seen else None
        if parent is None or parent.started != self._seen[parent.pid]:
            return False
        self._seen[pid] = process.started
        return True


def _ids() -> list[int]:
    """The ids of all processes, the highest first: they are mostly the newest."""
    return sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), reverse=True)


def _number(pid: int, name: str) -> int | None:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None
