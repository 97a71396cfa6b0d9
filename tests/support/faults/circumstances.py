"""Failures of the whole machine, which hold while the cases about them run."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from pam_iampass.audit.sinks import JOURNAL_SOCKET
from pam_iampass.system.paths import STATE
from tests.support.faults.case import Circumstance, Log

if TYPE_CHECKING:
    from tests.support.faults.stage import Stage

Make = Callable[["Stage"], "AbstractContextManager[Log | None]"]
FOLDER = Path(STATE).parent
#: The target of /dev/log.
SYSLOG = Path("/run/systemd/journal/dev-log")


class Syslog:
    """Reads a datagram socket; if `full`, fills it instead and does not read."""

    def __init__(self, path: Path, *, full: bool = False) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        path.chmod(0o666)
        self._path = path
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        if full:
            _fill(path)
        else:
            self._reader.start()

    def __enter__(self) -> Syslog:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.lines()
        self._socket.close()
        self._path.unlink()

    def lines(self) -> list[str]:
        """The lines received so far. Stops reading."""
        if self._reader.is_alive():
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"", str(self._path))
            self._reader.join()
        return self._lines

    def _read(self) -> None:
        # Read immediately: the kernel queues only ten datagrams, and then writers wait or fail.
        while line := self._socket.recv(1 << 16):
            self._lines.append(line.decode("utf-8", "replace"))


class Nowhere:
    """No log."""

    def lines(self) -> list[str]:
        """Nothing."""
        return []


def _fill(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.connect(str(path))
        with suppress(BlockingIOError):
            while True:
                sender.send(b"full")


@contextmanager
def _without_journal(stage: Stage) -> Iterator[None]:
    stage.journald.stop()
    try:
        yield
    finally:
        stage.journald.start()


@contextmanager
def _syslog_only(stage: Stage) -> Iterator[Log]:
    with _without_journal(stage), Syslog(SYSLOG) as log:
        yield log


@contextmanager
def _no_log(stage: Stage) -> Iterator[Log]:
    with _without_journal(stage):
        yield Nowhere()


@contextmanager
def _full_logs(stage: Stage) -> Iterator[Log]:
    with _without_journal(stage), ExitStack() as logs:
        for path in (Path(JOURNAL_SOCKET), SYSLOG):
            logs.enter_context(Syslog(path, full=True))
        yield Nowhere()


@contextmanager
def _missing(stage: Stage) -> Iterator[None]:
    away = FOLDER.with_name("state-away")
    FOLDER.rename(away)
    try:
        yield
    finally:
        away.rename(FOLDER)


NO_JOURNAL = Circumstance("syslog is running but not journald", _syslog_only)
NO_LOG = Circumstance("neither journald nor syslog is running", _no_log)
FULL_LOGS = Circumstance("the journald and syslog sockets are full", _full_logs)
NO_STATE = Circumstance("the folder of the agent's state is gone", _missing)
