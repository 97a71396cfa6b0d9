"""Logins that are not slowed by the wait for the first poll, to measure work and not waiting."""

from __future__ import annotations

import py_compile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

INSTALLED = Path("/usr/lib/python3/dist-packages/pam_iampass/login/approval.py")


@contextmanager
def first_poll_at_once() -> Iterator[None]:
    """The installed module polls at once instead of after 1.5 seconds, while nobody could have answered."""
    shipped = INSTALLED.read_text()
    _write(shipped.replace("\nFIRST = 1.6\n", "\nFIRST = 0.0\n"))
    try:
        yield
    finally:
        _write(shipped)


def _write(text: str) -> None:
    """With its bytecode, which the service's user could not write."""
    INSTALLED.write_text(text)
    py_compile.compile(str(INSTALLED), doraise=True)
