"""Where records go, that they arrive whole, and that no login waits for them."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_iampass.audit import sinks
from pam_iampass.audit.journal import Journal
from pam_iampass.audit.sinks import Delivery, JournalSink, SyslogSink
from pam_iampass.outcome import Decision, Login, Outcome, Result
from tests.support.deadline import PATIENCE
from tests.support.in_time import BUSY
from tests.support.setting import Records

APPROVED = Decision(Outcome.APPROVED, Result.SUCCESS, elapsed=1.5)
LOGIN = Login("alice", "sshd", rhost="192.0.2.1")
FILLING = b"x"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[socket.socket]:
    """A datagram socket as journald's and syslog's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "log"))
        listener.settimeout(PATIENCE)
        yield listener


@pytest.fixture
def full(log: socket.socket) -> Iterator[str]:
    """The path of that socket, which is full."""
    path = str(log.getsockname())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.connect(path)
        with contextlib.suppress(BlockingIOError):
            while True:
                sender.send(FILLING)
        yield path


def parsed(datagram: bytes) -> dict[str, str]:
    """The fields of a record in the binary form of the native protocol."""
    fields = {}
    while datagram:
        name, _, rest = datagram.partition(b"\n")
        length = int.from_bytes(rest[:8], "little")
        fields[name.decode()] = rest[8 : 8 + length].decode()
        assert rest[8 + length : 9 + length] == b"\n"
        datagram = rest[9 + length :]
    return fields


def test_the_journal_gets_all_fields(log: socket.socket) -> None:
    Journal(JournalSink(log.getsockname())).record(LOGIN, APPROVED)
    fields = parsed(log.recv(1 << 18))
    assert (fields["IAMPASS_OUTCOME"], fields["IAMPASS_USER"]) == ("approved", "alice")
    assert (fields["SYSLOG_IDENTIFIER"], fields["SYSLOG_FACILITY"]) == ("pam_iampass", "10")


def test_a_value_cannot_pass_for_further_fields(log: socket.socket) -> None:
    hostile = "x\nIAMPASS_OUTCOME=approved\n\udcff"
    JournalSink(log.getsockname()).write({"IAMPASS_USER": hostile})
    assert parsed(log.recv(1 << 18)) == {"IAMPASS_USER": hostile.replace("\udcff", "\\udcff")}


def test_the_longest_record_fits(log: socket.socket) -> None:
    JournalSink(log.getsockname()).write({f"FIELD_{number}": "\U0001f4f1" * 9999 for number in range(20)})
    fields = parsed(log.recv(1 << 18))
    assert len(fields) == 20
    assert {len(value) for value in fields.values()} == {sinks.LONGEST_FIELD}


def test_syslog_gets_one_line(log: socket.socket) -> None:
    Journal(SyslogSink(log.getsockname())).record(LOGIN, APPROVED)
    line = log.recv(1 << 18).decode()
    start = r"<86>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d pam_iampass\[\d+\]: outcome=approved "
    assert re.match(start, line), line
    assert "\n" not in line


@pytest.mark.parametrize("kind", [JournalSink, SyslogSink])
def test_a_full_log_delays_no_login_and_gets_the_records_later(
    full: str, log: socket.socket, kind: type[JournalSink], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "LONGEST_WAIT", 60.0)  # or a busy machine loses what waits
    elsewhere = Records()
    journal = Journal(kind(full), elsewhere)
    began = time.monotonic()
    for _ in range(100):
        journal.record(LOGIN, APPROVED)
    assert time.monotonic() - began < BUSY
    arrived = 0
    while arrived < 100:
        datagram = log.recv(1 << 18)
        arrived += datagram != FILLING
    assert elsewhere.fields == []


def test_a_log_that_stays_full_passes_the_record_to_the_next(
    full: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "LONGEST_WAIT", 0.1)
    arrived = threading.Event()

    class Elsewhere(Records):
        def write(self, fields: dict[str, str], patience: float = 0.0) -> None:
            arrived.set()

    Journal(JournalSink(full), Elsewhere()).record(LOGIN, APPROVED)
    assert arrived.wait(PATIENCE)


def test_records_that_wait_are_bounded(
    full: str, log: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "LONGEST_WAIT", 60.0)  # or a busy machine loses what waits
    monkeypatch.setattr(sinks, "MOST_WAITING", 2)
    delivery = Delivery([JournalSink(full)])
    for number in range(10):
        delivery.deliver({"NUMBER": str(number)})
    log.settimeout(PATIENCE)
    arrived = 0
    with contextlib.suppress(socket.timeout):
        while True:
            arrived += log.recv(1 << 18) != FILLING
            log.settimeout(0.5 if arrived >= 2 else PATIENCE)
    assert 2 <= arrived <= 3  # one may be on its way already


@pytest.mark.parametrize("kind", [JournalSink, SyslogSink])
def test_where_nobody_listens_the_next_sink_gets_the_record(tmp_path: Path, kind: type[JournalSink]) -> None:
    records = Records()
    Journal(kind(str(tmp_path / "nothing")), records).record(LOGIN, APPROVED)
    assert len(records.fields) == 1


def test_with_no_sink_at_all_a_login_goes_on(tmp_path: Path) -> None:
    Journal(JournalSink(str(tmp_path / "nothing"))).record(LOGIN, APPROVED)
