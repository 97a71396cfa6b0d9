"""Audit records: where they go, and that a login never hangs with its log."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_iampass.audit.journal import MESSAGE_IDS, SESSION_LEFT_OPEN, Journal, JournalSink, SyslogSink
from pam_iampass.outcome import Decision, Login, Outcome, Result
from tests.support.setting import Records

APPROVED = Decision(Outcome.APPROVED, Result.SUCCESS, elapsed=1.5)
LOGIN = Login("alice", "sshd", rhost="192.0.2.1")


@pytest.fixture
def full(tmp_path: Path) -> Iterator[str]:
    """A datagram socket that nobody reads, and that is full."""
    path = str(tmp_path / "log")
    with contextlib.ExitStack() as sockets:
        sockets.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)).bind(path)
        sender = sockets.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        sender.setblocking(False)
        sender.connect(path)
        with contextlib.suppress(BlockingIOError):
            while True:
                sender.send(b"x")
        yield path


@pytest.mark.timed
@pytest.mark.parametrize("kind", [JournalSink, SyslogSink])
def test_a_log_that_is_full_holds_nobody_up(full: str, kind: type[JournalSink]) -> None:
    records = Records()
    began = time.monotonic()
    Journal(kind(full), records).record(LOGIN, APPROVED)
    assert time.monotonic() - began < 1
    assert [record["IAMPASS_OUTCOME"] for record in records.fields] == ["approved"]


@pytest.mark.parametrize("kind", [JournalSink, SyslogSink])
def test_where_nobody_listens_the_next_sink_gets_the_record(tmp_path: Path, kind: type[JournalSink]) -> None:
    records = Records()
    Journal(kind(str(tmp_path / "nothing")), records).record(LOGIN, APPROVED)
    assert len(records.fields) == 1


def test_with_no_sink_at_all_a_login_goes_on(tmp_path: Path) -> None:
    Journal(JournalSink(str(tmp_path / "nothing"))).record(LOGIN, APPROVED)


def test_every_kind_of_event_has_an_id_of_its_own() -> None:
    ids = [*MESSAGE_IDS.values(), SESSION_LEFT_OPEN]
    assert set(MESSAGE_IDS) == set(Outcome)
    assert len(set(ids)) == len(ids)
    assert all(len(one) == 32 and int(one, 16) for one in ids)
