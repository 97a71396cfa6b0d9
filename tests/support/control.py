"""The control socket at its place, for a server in the test."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.agent import CONTROL


@contextmanager
def control_socket() -> Iterator[socket.socket]:
    """A socket that listens where root's command connects; that of an agent that runs is back afterwards."""
    aside = CONTROL.with_name("control.aside")
    if CONTROL.exists():
        CONTROL.rename(aside)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(CONTROL))
        CONTROL.chmod(0o600)
        listener.listen(64)
        try:
            yield listener
        finally:
            CONTROL.unlink()
            if aside.exists():
                aside.rename(CONTROL)
