"""User names and remote hosts that somebody chose with care."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.support.faults.case import WITH_PAM_PYTHON, Case, Difference, Expected
from tests.support.faults.expected import APPROVED_AT_ONCE, BY_THE_DOOR, NO_ACCOUNT
from tests.support.faults.server import ACTIVE_AT_ONCE, ENDED, scripted

NAMES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", '""'),
    "of 256 characters": (b"u" * 256, "u" * 256),
    "of 5,000 characters": (b"u" * 5000, '"' + "u" * 299 + '…"'),
    "not ASCII": ("anna-ödön".encode(), '"anna-ödön"'),
    "of right-to-left controls": ("\u202etoor".encode(), '"\\u202etoor"'),
    "of zero-width characters": ("ro\u200bot".encode(), '"ro\\u200bot"'),
    "`..`": (b"..", ".."),
    "a path": (b"../../etc/shadow", "../../etc/shadow"),
    "of two lines": (b"x\noutcome=approved", '"x\\x0aoutcome=approved"'),
    "of further words": (b"x result=success", '"x result=success"'),
    "of quotes": (b'x" result="success', '"x\\" result=\\"success"'),
    "of escapes": (b"\x1b[2J\x1b]0;x\x07", '"\\x1b[2J\\x1b]0;x\\x07"'),
    "of C1 controls": ("\u009b2J".encode(), '"\\x9b2J"'),
    "a backspace too many": (b"root\x08\x7f", '"root\\x08\\x7f"'),
}
"""What is sent, and what the record shows of it."""

NOT_UTF_8 = (b"caf\xe9\xff", '"caf\\xe9\\xff"')
_WHY = "pam_python cannot hand on what is no UTF-8 (docs/relay-protocol.md): its door denies by itself"


def table() -> Iterator[Case]:
    """All rows."""
    for what, (name, shown) in {**NAMES, "not UTF-8": NOT_UTF_8}.items():
        user = replace(NO_ACCOUNT, record=f"user={shown} ")
        host = replace(APPROVED_AT_ONCE, record=f"rhost={shown if name else '-'} ")
        yield _row(f"the user name is {what}", user, name, "user")
        yield _row(f"the remote host is {what}", host, name, "rhost")


def _row(what: str, expected: Expected, value: bytes, item: str) -> Case:
    by_itself = BY_THE_DOOR.but(record=f"reason=not UTF-8: {item}")
    differs = {WITH_PAM_PYTHON: Difference(_WHY, by_itself)} if value == NOT_UTF_8[0] else {}
    server = scripted(ACTIVE_AT_ONCE, ENDED)
    return Case(what, expected, server, application={item: value}, differs=differs)
