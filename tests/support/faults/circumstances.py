"""What can be wrong with the whole machine, while the cases that are about it are played."""

from __future__ import annotations

import pwd
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from pam_iampass.audit.journal import JOURNAL_SOCKET
from pam_iampass.system.paths import RATE_LIMITS as STATE
from tests.support import processes
from tests.support.faults.case import Circumstance, Log

if TYPE_CHECKING:
    from tests.support.faults.stage import Stage

Make = Callable[["Stage"], "AbstractContextManager[Log | None]"]
FOLDER, AWAY = Path(STATE), Path(STATE).with_name("state-away")
#: Where /dev/log leads.
SYSLOG = Path("/run/systemd/journal/dev-log")


class Syslog:
    """Takes what is sent to a socket; or takes nothing more, where it is `full`."""

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
        """What came until now, and then takes nothing more."""
        if self._reader.is_alive():
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"", str(self._path))
            self._reader.join()
        return self._lines

    def _read(self) -> None:
        # At once: the kernel keeps ten datagrams, and lets writers wait or fail.
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
def _no_helper(stage: Stage) -> Iterator[None]:
    helper = Path(processes.HELPER)
    away = helper.with_name("helper-away")
    helper.rename(away)
    try:
        yield
    finally:
        away.rename(helper)


@contextmanager
def _elsewhere(stage: Stage) -> Iterator[None]:
    """The folder of the state is not in its place."""
    FOLDER.rename(AWAY)
    try:
        yield
    finally:
        AWAY.rename(FOLDER)


@contextmanager
def _link(stage: Stage) -> Iterator[None]:
    with _elsewhere(stage):
        FOLDER.symlink_to(AWAY)
        try:
            yield
        finally:
            FOLDER.unlink()


@contextmanager
def _read_only(stage: Stage) -> Iterator[None]:
    with _mounted("--bind", str(FOLDER)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(FOLDER)], check=True)
        yield


@contextmanager
def _full(stage: Stage) -> Iterator[None]:
    """Room for a few files, and for nothing in them."""
    owner = pwd.getpwnam("iampass")
    options = f"size=16k,mode=0700,uid={owner.pw_uid},gid={owner.pw_gid}"
    with _mounted("-t", "tmpfs", "-o", options, "state"):
        with suppress(OSError), (FOLDER / "filling").open("wb", buffering=0) as filling:
            while True:
                filling.write(bytes(4096))
        yield


@contextmanager
def _mounted(*what: str) -> Iterator[None]:
    subprocess.run(["mount", *what, str(FOLDER)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(FOLDER)], check=True)


def _changed(change: Callable[[], object], back: Callable[[], object]) -> Make:
    @contextmanager
    def make(stage: Stage) -> Iterator[None]:
        change()
        try:
            yield
        finally:
            back()

    return make


NO_JOURNAL = Circumstance("there is no journal, but a syslog", _syslog_only)
NO_LOG = Circumstance("there is neither journal nor syslog", _no_log)
FULL_LOGS = Circumstance("journal and syslog are full", _full_logs)
STATE_BY_LINK = Circumstance("the folder of the state is a link that root made", _link)
STATE_FOLDER = (
    Circumstance("the folder of the state is missing", _elsewhere),
    STATE_BY_LINK,
    Circumstance("the folder of the state is read-only", _read_only),
    Circumstance("the folder of the state is full", _full),
    Circumstance(
        "the folder of the state belongs to root",
        _changed(lambda: shutil.chown(FOLDER, "root"), lambda: shutil.chown(FOLDER, "iampass")),
    ),
    Circumstance(
        "the folder of the state can be written by everybody",
        _changed(lambda: FOLDER.chmod(0o777), lambda: FOLDER.chmod(0o700)),
    ),
)
NO_HELPER = Circumstance("the helper is not installed", _no_helper)
