"""Logins that are not slowed by the wait for the first poll, to measure work and not waiting."""

from __future__ import annotations

import py_compile
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_WAIT = re.compile(r"\nFIRST_POLL = [0-9.]+\n")
INSTALLED = Path("/usr/lib/python3/dist-packages/pam_iampass/login/approval.py")


@contextmanager
def first_poll_at_once() -> Iterator[None]:
    """The installed module polls at once instead of later, while nobody could have answered."""
    shipped = INSTALLED.read_text()
    _write(_WAIT.sub("\nFIRST_POLL = 0.0\n", shipped))
    assert INSTALLED.read_text() != shipped, f"{INSTALLED} does not say when it polls first"
    try:
        yield
    finally:
        _write(shipped)


def _write(text: str) -> None:
    """With its bytecode, which the service's user could not write."""
    INSTALLED.write_text(text)
    py_compile.compile(str(INSTALLED), doraise=True)
