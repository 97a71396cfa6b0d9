"""Processes, as /proc shows them (proc(5))."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Process:
    """A process at the time when it was looked at."""

    pid: int
    parent: int
    terminal: int
    """The device number of its controlling terminal, 0 if it has none."""
    started: int
    """In clock ticks since the boot."""


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
    return Process(pid, int(fields[1]), int(fields[4]), int(fields[19]))


def real_uid(pid: int) -> int | None:
    """The real user id of a process; None if it has ended."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(b"Uid:"))
    except OSError:
        return None


def with_descendants(pid: int) -> list[Process]:
    """The process and all that descend from it, as far as those between have not ended."""
    everything = [process for name in os.listdir("/proc") if name.isdigit() and (process := look(int(name)))]
    children: dict[int, list[Process]] = {}
    for process in everything:
        children.setdefault(process.parent, []).append(process)
    found = [process for process in everything if process.pid == pid]
    for process in found:
        found.extend(children.get(process.pid, ()))
    return found
