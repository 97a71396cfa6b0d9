"""Processes, as /proc shows them (proc(5))."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

LOOK_INTERVAL = 0.05
"""How long to wait before another look whether processes have ended, in seconds."""
LOOKS = 10
"""How many looks in a row must find nothing: some of them can miss a process that forks all the time, and ends."""


@dataclass(frozen=True)
class Process:
    """A process at the time when it was looked at."""

    pid: int
    parent: int
    session: int
    """The id of the process that has begun its POSIX session (setsid(2)). It is not used again while any is in it."""
    terminal: int
    """The device number of its controlling terminal, 0 if it has none."""
    started: int
    """The time of its start, in clock ticks since the boot."""
    stopped: bool = False

    def elders(self, login: int) -> Sequence[int]:
        """The ids of the two processes that it descends from for certain: its parent, and the leader of its session.

        The session that the process `login` of a login session leads does not count: with `exec su` it is older.
        """
        return (self.parent, self.session) if self.session != login else (self.parent,)


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
    parent, session, terminal, started = (int(fields[at]) for at in (1, 3, 4, 19))
    return Process(pid, parent, session, terminal, started, fields[0] in (b"T", b"t"))


def user_ids(pid: int) -> Sequence[int]:
    """The real and the effective user id of a process, and others; empty if it has ended."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            return next(tuple(map(int, line.split()[1:])) for line in file if line.startswith(b"Uid:"))
    except OSError:
        return ()


def audit_session(pid: int) -> int | None:
    """The audit session of a process; None if it has ended."""
    return _number(pid, "sessionid")


def everything() -> dict[int, Process]:
    """All processes by their ids, the highest first."""
    return {process.pid: process for process in filter(None, map(look, _ids()))}


def with_descendants(roots: Iterable[int], of: Mapping[int, Process], login: int) -> list[Process]:
    """Some processes of the login of process `login` and what descends from them.

    What has left its parent is found if the leader of its session runs.
    """
    children: dict[int, list[int]] = {}
    for process in of.values():
        for elder in process.elders(login):
            children.setdefault(elder, []).append(process.pid)
    found = dict.fromkeys(pid for pid in roots if pid in of)
    waiting = list(found)
    for pid in waiting:
        new = [child for child in children.get(pid, ()) if child not in found]
        found.update(dict.fromkeys(new))
        waiting += new
    return [of[pid] for pid in found]


@dataclass(frozen=True)
class Strays:
    """The processes that su or sudo has started in the login of another account, even if they no longer descend from
    it.

    They are known by account, audit session and time. Any other process that has left its parent in that login, as the
    same account, cannot be told from one that su has started.
    """

    uid: int
    """The real user id of the account."""
    inside: int
    """The audit session of the login in which su or sudo was called."""
    started: int
    """When su or sudo was started: what is older is not theirs."""
    terminal: int
    """The device number of its terminal, 0 if it had none. Of root's processes only the ones on this terminal are
    strays: what else root has started in that login can be a service of the machine."""
    registered: frozenset[tuple[int, int]]
    """Ids and start times of other registered processes: what descends from them ends with their logins."""
    user_ids: Callable[[int], Sequence[int]] = user_ids
    audit_session: Callable[[int], int | None] = audit_session

    def among(self, processes: Mapping[int, Process]) -> Iterator[int]:
        """The ids of the processes that are strays."""
        keeps: dict[int, bool] = {}
        for pid, process in processes.items():
            if (
                process.started >= self.started
                and self._is_inside(pid)
                and tuple(self.user_ids(pid)[:1]) == (self.uid,)
                and (self.uid != 0 or process.terminal == self.terminal != 0)
                and not self._is_kept(process.parent, processes, keeps)
            ):
                yield pid

    def _is_inside(self, pid: int) -> bool:
        # If pam_loginuid can set nothing, as in many containers, all logins are in the audit session of this process.
        return self.audit_session(pid) == self.inside != self.audit_session(os.getpid())

    def _is_kept(self, pid: int, processes: Mapping[int, Process], keeps: dict[int, bool]) -> bool:
        """Whether what `pid` has started is no stray, by the first of it and its ancestors that says so.

        `keeps` is what is known already: a walk up for each would take time that its user decides.
        """
        between: list[int] = []
        answer = None
        while answer is None and pid in processes and pid not in keeps and self._is_inside(pid):
            keeps[pid] = False
            between.append(pid)
            answer = self._keeps(processes[pid])
            pid = processes[pid].parent
        answer = keeps.get(pid, False) if answer is None else answer
        keeps.update(dict.fromkeys(between, answer))
        return answer

    def _keeps(self, process: Process) -> bool | None:
        """Whether what a process has started is no stray; None if its parent says so.

        The caller of su can have a process of their own adopt what su leaves (PR_SET_CHILD_SUBREAPER, prctl(2)), and
        make a set-uid program of it. But such a process is not younger than su.
        """
        ids = self.user_ids(process.pid)
        if not ids or (process.pid, process.started) in self.registered:
            return True
        if ids[0] != self.uid:
            return self.uid == 0 or (ids[1] == 0 and process.started > self.started)
        return True if process.started < self.started else None


class Members:
    """The processes of a login session that is in no control group of its own, or was not ended with that.

    They are the process `pid`, all of the audit session that the login of `uid` has begun, the strays of su or sudo,
    which begin none, and what descends from any of these.
    """

    def __init__(
        self, pid: int, started: int, uid: int, audit_session: int | None, strays: Strays | None = None
    ) -> None:
        self._pid = pid
        self._place = (audit_session, uid)
        self._strays = strays
        self._seen = {pid: started}
        self.find()

    def find(self) -> None:
        """Add what descends from members, and strays."""
        processes = everything()
        roots = [
            pid
            for pid, started in self._seen.items()
            if pid in processes and processes[pid].started == started
        ]
        roots += self._strays.among(processes) if self._strays else ()
        self._seen.update({each.pid: each.started for each in with_descendants(roots, processes, self._pid)})

    def send(self, number: int) -> int:
        """Send each a signal as soon as it is found, 0 for none; returns how many do not obey yet."""
        found = 0
        if self._strays:
            self.find()
        for pid in _ids():
            if self._has(pid):
                found += self._send_to(pid, number)
        return found

    def _send_to(self, pid: int, number: int) -> bool:
        """Send a process a signal if it is a member; whether it does not obey yet."""
        obeys = True
        with contextlib.suppress(OSError):  # it has ended
            pidfd = os.pidfd_open(pid)
            try:
                process = look(pid)
                # Looked at after the pidfd was made: if it is a member now, the pidfd is of that one.
                if process is not None and self._has(pid):
                    obeys = number == signal.SIGSTOP and process.stopped
                    signal.pidfd_send_signal(pidfd, number)
            finally:
                os.close(pidfd)
        return not obeys

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

        The process that holds the login is killed at once. If it stopped, a su or sudo that waits for it would stop
        itself, and nobody would continue that. It is a program of root's, and does not fork all the time. The others
        are stopped first: processes that fork all the time would be as fast as we are.
        """
        self.find()
        self._send_to(self._pid, signal.SIGKILL)
        for number in (signal.SIGSTOP, signal.SIGKILL):
            until, quiet = time.monotonic() + within / 2, 0
            while quiet < LOOKS and time.monotonic() < until:
                quiet = 0 if self.send(number) else quiet + 1
        return self.have_ended()

    def _has(self, pid: int) -> bool:
        place = None if self._place[0] is None else (audit_session(pid), _number(pid, "loginuid"))
        if place == self._place and pid != os.getpid():
            return True
        process = look(pid)
        if process is None:
            return False
        if self._seen.get(pid) == process.started:
            return True
        for elder in process.elders(self._pid):
            found = look(elder) if elder in self._seen else None
            if found is not None and found.started == self._seen[elder]:
                self._seen[pid] = process.started
                return True
        return False


def _ids() -> list[int]:
    """The ids of all processes, the highest first: they are mostly the newest."""
    return sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), reverse=True)


def _number(pid: int, name: str) -> int | None:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None
