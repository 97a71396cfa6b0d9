"""`pam-iampass-portal serve` as systemd runs it, with a socket that it was passed: what outlives it."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_iampass.portal import settings
from tests.support.acts_socket import RunningActs, with_passkey
from tests.support.deadline import PATIENCE
from tests.support.portal import RunningPortal, Visitor
from tests.support.processes import with_socket

ROOT = Path(__file__).parents[2]
_COMMAND = (sys.executable, "-m", "pam_iampass.portal.cli", "serve")


@pytest.fixture
def origin(port: int) -> str:
    return f"http://localhost:{port}"


@pytest.fixture
def listener(port: int) -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", port), backlog=128) as made:
        yield made


@contextlib.contextmanager
def serving(listener: socket.socket, config: Path, acts: Path) -> Iterator[subprocess.Popen[str]]:
    """The service, once it answers."""
    service = subprocess.Popen(
        with_socket(listener, *_COMMAND, "--config", str(config), "--gateway", str(acts)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        pass_fds=[listener.fileno()],
    )
    assert service.stdout is not None
    try:
        assert service.stdout.readline().startswith("The portal answers at http://localhost:")
        yield service
    finally:
        service.kill()
        service.communicate(timeout=PATIENCE)


def test_a_sign_in_outlives_a_portal_that_was_killed(
    acts: RunningActs, listener: socket.socket, origin: str, port: int, trusted_folder: Path
) -> None:
    config = trusted_folder / "portal.yaml"
    config.write_text(f"origin: {origin}\n")
    portal = RunningPortal(settings.PortalSettings(origin), acts.path, port)  # it is not started
    alice = Visitor(portal, with_passkey(acts, "alice"))
    with serving(listener, config, acts.path) as service:
        assert alice.sign_in().status == 303
        assert alice.get("/").status == 200
        service.kill()
        service.wait(PATIENCE)
    with serving(listener, config, acts.path) as service:
        assert alice.get("/").status == 200
        service.send_signal(signal.SIGTERM)
        assert service.wait(PATIENCE) == 0
