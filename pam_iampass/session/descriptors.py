"""The pidfds of attached logins: they become readable when the process ends, without any right over it (pidfd_open(2)).

systemd keeps a copy of each over a restart of the agent (FDSTORE in sd_notify(3)).
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import threading
from collections import deque
from dataclasses import dataclass

from pam_iampass.system.unix_sockets import passed

#: How soon systemd is told again what its socket had no room for. Seconds.
AGAIN = 0.05
_NAME = re.compile(r"([0-9a-f]{32})\.([1-9][0-9]{0,9})(\.awaited)?", re.ASCII)


@dataclass(frozen=True)
class WatchedProcess:
    """A process whose end is waited for."""

    session: str
    """The id of the kept session."""
    pid: int
    attached: bool = True
    """Whether it is the process of an attached login; otherwise it may still open a login session."""

    @property
    def name(self) -> str:
        """The name in systemd's store."""
        return f"{self.session}.{self.pid}" + ("" if self.attached else ".awaited")


class Descriptors:
    """Watches processes. Every method may be called in any thread, `wait` in one at a time."""

    def __init__(self, notify_socket: str | None = None) -> None:
        """`notify_socket` is where systemd listens; None for that in the environment."""
        address = os.environ.get("NOTIFY_SOCKET", "") if notify_socket is None else notify_socket
        self._systemd = "\0" + address[1:] if address.startswith("@") else address
        self._lock = threading.Lock()
        self._epoll = select.epoll()
        self._awake, self._waker = os.pipe()
        for descriptor in (self._awake, self._waker):
            os.set_blocking(descriptor, False)
        self._epoll.register(self._awake, select.EPOLLIN)
        self._processes: dict[int, WatchedProcess] = {}
        self._by_process: dict[WatchedProcess, int] = {}
        self._untold: deque[tuple[str, WatchedProcess | None]] = deque()

    def add(self, process: WatchedProcess, pidfd: int, *, stored: bool = False) -> None:
        """Watch a process. Takes over `pidfd`. `stored` is whether systemd has it already."""
        with self._lock:
            self._forget(self._by_process.get(process))
            self._processes[pidfd], self._by_process[process] = process, pidfd
            self._epoll.register(pidfd, select.EPOLLIN)
        if not stored:
            # FDPOLL=0: systemd would drop the descriptor when the process ends.
            self._notify(f"FDSTORE=1\nFDPOLL=0\nFDNAME={process.name}", process)

    def remove(self, process: WatchedProcess) -> None:
        """Watch a process no longer."""
        with self._lock:
            self._forget(self._by_process.get(process))
        self.discard(process.name)

    def remove_all(self, session: str) -> None:
        """Watch no process of the session any longer."""
        with self._lock:
            found = [each for each in self._by_process if each.session == session]
        for process in found:
            self.remove(process)

    def is_running(self, process: WatchedProcess) -> bool:
        """Whether a process is watched and has not ended: no other one has its id."""
        with self._lock:
            pidfd = self._by_process.get(process)
            return pidfd is not None and not _is_readable(pidfd)

    def inode(self, pidfd: int) -> int | None:
        """The number that no other process has while this machine runs; None before Linux 6.9.

        Before that, all pidfds share one inode with everything that has none of its own, such as an epoll instance.
        """
        found = os.fstat(pidfd)
        return None if found.st_dev == os.fstat(self._epoll.fileno()).st_dev else found.st_ino

    def discard(self, name: str) -> None:
        """Have systemd close a descriptor in its store."""
        self._notify(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def wake(self) -> None:
        """Make `wait` return."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._waker, b".")

    def wait(self, seconds: float) -> list[WatchedProcess]:
        """The processes that have ended, as soon as there are any, or after `seconds`. They are watched no longer."""
        self._tell()
        ready = [event[0] for event in self._epoll.poll(min(seconds, AGAIN) if self._untold else seconds)]
        if self._awake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._awake, 4096)
        with self._lock:  # meanwhile a number can have become another process's
            ended = [
                self._processes[each] for each in ready if each in self._processes and _is_readable(each)
            ]
        for process in ended:
            self.remove(process)
        return ended

    def _forget(self, descriptor: int | None) -> None:
        if descriptor is not None:
            self._epoll.unregister(descriptor)
            del self._by_process[self._processes.pop(descriptor)]
            os.close(descriptor)

    def _notify(self, state: str, process: WatchedProcess | None = None) -> None:
        """Tell systemd, with the descriptor of `process` if it is still watched then."""
        if self._systemd:
            self._untold.append((state, process))
            self._tell()

    def _tell(self) -> None:
        """Tell systemd what it does not know yet, without waiting: any user can fill its socket."""
        if not self._untold:
            return
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        with contextlib.suppress(OSError), self._lock, socket.socket(socket.AF_UNIX, kind) as sender:
            sender.connect(self._systemd)
            while self._untold:
                state, process = self._untold[0]
                if process is None:
                    sender.send(state.encode())
                elif process in self._by_process:
                    socket.send_fds(sender, [state.encode()], [self._by_process[process]])
                self._untold.popleft()


def _is_readable(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(0))


def stored() -> dict[str, int]:
    """The descriptors that systemd has kept for this process, by name (sd_listen_fds_with_names(3)).

    The agent's own socket is passed in the same way, under another name.
    """
    found: dict[str, int] = {}
    for name, descriptor in passed():
        if _NAME.fullmatch(name):
            if name in found:
                os.close(found[name])
            found[name] = descriptor
    return found
