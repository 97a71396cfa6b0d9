"""Hostile user names and remote hosts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.support.faults.case import Case, Expected
from tests.support.faults.expected import APPROVED, NO_ACCOUNT
from tests.support.faults.server import ACTIVE, ENDED, PENDING, scripted

NAMES: dict[str, tuple[bytes, str]] = {
    "is empty": (b"", '""'),
    "has 256 characters": (b"u" * 256, "u" * 256),
    "is not ASCII": ("anna-ödön".encode(), '"anna-ödön"'),
    "has a right-to-left override": ("\u202etoor".encode(), '"\\u202etoor"'),
    "is a path": (b"../../etc/shadow", "../../etc/shadow"),
    "has a line break": (b"x\noutcome=approved", '"x\\x0aoutcome=approved"'),
    "has a further field": (b"x result=success", '"x result=success"'),
    "has escape sequences": (b"\x1b[2J\x1b]0;x\x07", '"\\x1b[2J\\x1b]0;x\\x07"'),
}
"""The bytes that are sent, and how the record shows them."""

NOT_UTF_8 = (b"caf\xe9\xff", '"caf\\xe9\\xff"')


def table() -> Iterator[Case]:
    """All rows."""
    for what, (name, shown) in {**NAMES, "is not UTF-8": NOT_UTF_8}.items():
        user = replace(NO_ACCOUNT, record=f"user={shown} ")
        host = replace(APPROVED, record=f"rhost={shown if name else '-'} ")
        yield _row(f"the user name {what}", user, name, "user")
        yield _row(f"the remote host {what}", host, name, "rhost")


def _row(what: str, expected: Expected, value: bytes, item: str) -> Case:
    server = scripted(PENDING, ACTIVE, ENDED)
    return Case(what, expected, server, application={item: value})
