"""What the agent and the enforcer say to each other."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from pam_iampass.enforcer import protocol
from pam_iampass.enforcer.protocol import (
    ApproverNotice,
    EnforcerReply,
    EnforcerRequest,
    EnforcerResult,
    EnforcerUnavailable,
    InvalidRequest,
    Reason,
    Verb,
)

ID = "0123456789abcdef0123456789abcdef"
END = EnforcerRequest(Verb.END, ID, Reason.CLOSED)
NOT_REQUESTS = (
    b"",
    f"end {ID} closed".encode(),
    f"end {ID} closed \n".encode(),
    f"kill {ID} closed\n".encode(),
    f"end {ID} closed first\n".encode(),
    f"end {ID} closed others-first others-first\n".encode(),
    f"end {ID.upper()} closed\n".encode(),
    f"end {ID[:-1]} closed\n".encode(),
    f"end ../{ID[3:]} closed\n".encode(),
    f"end {ID[:-1]}\n closed\n".encode(),
    b"end " + "٣".encode() * 32 + b" closed\n",
    b"end " + b"0" * 1000,
)


def test_a_request_is_one_line() -> None:
    assert END.encode() == f"end {ID} closed\n".encode()
    for verb in Verb:
        for reason in Reason:
            for others_first in (False, True):
                request = EnforcerRequest(verb, ID, reason, others_first)
                assert EnforcerRequest.decode(request.encode()) == request


@pytest.mark.parametrize("line", NOT_REQUESTS, ids=repr)
def test_anything_else_is_no_request(line: bytes) -> None:
    with pytest.raises(InvalidRequest):
        EnforcerRequest.decode(line)


@pytest.mark.parametrize(
    ("notice", "line"),
    [
        (ApproverNotice(1000, "claude", "sudo id"), b"tell 1000 claude sudo id\n"),
        (
            ApproverNotice(1000, "build jobs\n", "sudo \x1b[2J\u202e\xe9\udc9b\r\n"),
            rb"tell 1000 build_jobs\x0a sudo \x1b[2J\u202e\xe9\x9b\x0d\x0a" + b"\n",
        ),
    ],
)
def test_a_notice_is_one_line_of_printable_ascii(notice: ApproverNotice, line: bytes) -> None:
    assert notice.encode() == line
    read = protocol.decode(line)
    assert isinstance(read, ApproverNotice)
    assert read.encode() == line


def test_padding_in_a_notice_hides_neither_its_beginning_nor_its_end() -> None:
    line = ApproverNotice(1, "a" * 200, f"sudo sh -c 'id;{' ' * 2000};reboot'").encode()
    assert len(line) <= protocol.LINE_LIMIT
    assert protocol.decode(line).encode() == line
    assert b" sudo sh -c 'id;  " in line
    assert b" [...] " in line
    assert line.endswith(b" ;reboot'\n")


@pytest.mark.parametrize(
    "line",
    [
        b"tell 1000 claude\n",
        b"tell 1000 claude \n",
        b"tell 1000 claude id",
        b"tell 01000 claude id\n",
        b"tell -1 claude id\n",
        b"tell 1000  id\n",
        b"tell 1000 claude id\x1b[2J\n",
        b"tell 1000 claude id\n\n",
        b"tell 1000 claude \xc3\xa9\n",
        b"tell 1000 claude " + b"a" * 601 + b"\n",
        "tell ١ claude id\n".encode(),
    ],
    ids=repr,
)
def test_anything_else_is_no_notice(line: bytes) -> None:
    with pytest.raises(InvalidRequest):
        protocol.decode(line)


@pytest.mark.parametrize(
    "reply",
    [
        EnforcerReply(EnforcerResult.DONE),
        EnforcerReply(EnforcerResult.NOTHING),
        EnforcerReply(EnforcerResult.FAILED, "a: b"),
    ],
)
def test_an_answer_is_one_line(reply: EnforcerReply) -> None:
    assert EnforcerReply.decode(reply.encode()) == reply


def test_an_answer_is_short_and_clean() -> None:
    line = EnforcerReply(EnforcerResult.FAILED, "a\nb\x1b[2J" + "ü" * 1000).encode()
    assert len(line) <= protocol.LINE_LIMIT
    assert line.startswith(b"failed: a\\x0ab\\x1b[2J")
    assert line.count(b"\n") == 1


def _answering(path: Path, answer: bytes) -> threading.Thread:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def answer_one() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(protocol.LINE_LIMIT)
            connection.sendall(answer)

    thread = threading.Thread(target=answer_one)
    thread.start()
    return thread


def test_the_agent_gets_the_answer(tmp_path: Path) -> None:
    thread = _answering(tmp_path / "socket", b"nothing\n")
    assert protocol.ask(END, str(tmp_path / "socket"), 20.0) == EnforcerReply(EnforcerResult.NOTHING)
    thread.join()


@pytest.mark.parametrize("answer", [b"", b"perhaps\n", b"done" * 1000], ids=["none", "unknown", "too long"])
def test_an_invalid_answer_is_an_error(tmp_path: Path, answer: bytes) -> None:
    thread = _answering(tmp_path / "socket", answer)
    with pytest.raises(EnforcerUnavailable):
        protocol.ask(END, str(tmp_path / "socket"), 20.0)
    thread.join()


def test_an_enforcer_that_is_not_there_or_does_not_answer_is_an_error(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with pytest.raises(EnforcerUnavailable, match="No such file"):
        protocol.ask(END, path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        began = time.monotonic()
        with pytest.raises(EnforcerUnavailable, match="no answer in time"):
            protocol.ask(END, path, 0.2)
        assert time.monotonic() - began >= 0.2
