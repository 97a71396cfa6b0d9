"""What the service writes about requests that it refuses."""

from __future__ import annotations

import pytest

from pam_iampass.gateway.cli.serve import Refusals
from pam_iampass.server.messages import IncomingRequest, RefusedRequest


def test_whoever_can_connect_does_not_fill_the_journal(capsys: pytest.CaptureFixture[str]) -> None:
    refused = Refusals()
    for _ in range(1000):
        refused(
            IncomingRequest("GET", "/" + "x" * 8000 + "?user=alice", (), b""),
            RefusedRequest(404, "UNKNOWN_CALL", ""),
        )
    lines = capsys.readouterr().err.splitlines()
    assert 10 <= len(lines) <= 31
    assert max(map(len, lines)) < 260
    assert not any("alice" in line for line in lines)


def test_what_was_left_out_is_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = Refusals()
    now = [1.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    for second in (1.0, 2.0):
        now[0] = second
        for _ in range(15):
            refused(IncomingRequest("GET", "/\x1b[2J", (), b""), RefusedRequest(404, "UNKNOWN_CALL", ""))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        *["refused: GET /\\x1b[2J: 404 UNKNOWN_CALL"] * 10,
        "refused: 5 requests more",
        *["refused: GET /\\x1b[2J: 404 UNKNOWN_CALL"] * 10,
    ]
