"""`serve-acts` as systemd runs it, with a socket that it was passed: what of it outlives the process, and what the
portal's user reaches."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import pwd
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_iampass.gateway import examination
from pam_iampass.gateway.settings import ACCOUNT, PORTAL_ACCOUNT
from pam_iampass.portal import calls
from pam_iampass.portal import gateway as client
from tests.support.gateway_machine import ETC, initialised, package, passed_secrets, run_gateway
from tests.support.world import PATIENCE

pytestmark = pytest.mark.long
FOLDER = Path("/run/iampass-gateway")
SOCKET = FOLDER / "acts.sock"


@pytest.fixture(scope="module")
def machine() -> Iterator[None]:
    """A gateway that is set up, with a portal; who serves hosts does not run."""
    if subprocess.run(["id", PORTAL_ACCOUNT], capture_output=True, check=False).returncode != 0:
        subprocess.run(["useradd", "--system", "--no-create-home", PORTAL_ACCOUNT], check=True)
    with initialised("portal: {origin: https://iampass.example.com}\n"):
        yield


@pytest.fixture
def listener(machine: None) -> Iterator[socket.socket]:
    """The socket, as the unit makes it."""
    FOLDER.mkdir(mode=0o755)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(SOCKET))
        os.chown(SOCKET, 0, grp.getgrnam(PORTAL_ACCOUNT).gr_gid)
        SOCKET.chmod(0o660)
        made.listen(128)
        yield made
    SOCKET.unlink()
    FOLDER.rmdir()


_PASSES = 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" -m pam_iampass.gateway.cli serve-acts 3<&"$1"'


@contextlib.contextmanager
def answering(listener: socket.socket) -> Iterator[subprocess.Popen[str]]:
    """The service, as its own account, with this socket."""
    with passed_secrets("pam-iampass-gateway-acts.service") as environment:
        service = subprocess.Popen(
            ["bash", "-c", _PASSES, sys.executable, str(listener.fileno())],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=package(),
            user=ACCOUNT,
            group=ACCOUNT,
            extra_groups=[],
            pass_fds=[listener.fileno()],
            env=environment,
        )
        assert service.stdout is not None
        try:
            lines = iter(service.stdout.readline, "")
            assert next((line for line in lines if line == "Answering the portal.\n"), ""), "it has ended"
            yield service
        finally:
            service.send_signal(signal.SIGTERM)
            service.communicate(timeout=PATIENCE)


def asked() -> str:
    """The challenge of a browser that wants to sign in."""

    async def go() -> str:
        async with client.GatewayClient(SOCKET) as gateway:
            begun = await gateway.call(calls.BeginSignIn(secrets.token_urlsafe(32)))
            return str(begun.options["challenge"])

    return asyncio.run(go())


def as_user(user: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["runuser", "-u", user, "--", *command], capture_output=True, text=True, check=False, cwd=package()
    )


_ASKS = """
import asyncio
from pam_iampass.portal.calls import BeginSignIn
from pam_iampass.portal.gateway import GatewayClient
async def go():
    async with GatewayClient() as gateway:
        print((await gateway.call(BeginSignIn("b" * 43))).options["rpId"])
asyncio.run(go())
"""


def test_the_service_answers_at_the_socket_of_systemd(listener: socket.socket) -> None:
    with answering(listener):
        assert asked()
        assert as_user(PORTAL_ACCOUNT, sys.executable, "-c", _ASKS).stdout == "iampass.example.com\n"
        for user in (ACCOUNT, "nobody", "postgres"):
            refused = as_user(user, sys.executable, "-c", _ASKS)
            assert "Permission denied" in refused.stderr, user
        assert list(examination.acts()) == []


def test_the_portal_reads_no_key_and_no_database(machine: None) -> None:
    for name in ("key", "application-secret", "certificate-key.pem", "ca-key.pem"):
        assert as_user(PORTAL_ACCOUNT, "cat", str(ETC / name)).returncode != 0, name
    for role in (PORTAL_ACCOUNT, ACCOUNT, "postgres"):
        refused = as_user(PORTAL_ACCOUNT, "psql", "-U", role, "iampass", "-c", "SELECT 1 FROM person")
        assert refused.returncode != 0, role


def test_who_calls_while_the_service_is_killed_is_answered_by_the_next_one(listener: socket.socket) -> None:
    with answering(listener) as service:
        service.kill()
        service.wait(PATIENCE)
    found: list[str] = []
    waits = threading.Thread(target=lambda: found.append(asked()))
    waits.start()
    with answering(listener):
        waits.join(PATIENCE)
        assert found
    with answering(listener):
        assert asked()


def test_without_a_portal_or_a_socket_it_says_so(machine: None, listener: socket.socket) -> None:
    assert "systemctl start pam-iampass-gateway-acts.socket" in run_gateway("serve-acts", status=1)
    file = ETC / "gateway.yaml"
    before = file.read_text()
    file.write_text(before.replace("portal: {", "# portal: {"))
    try:
        with passed_secrets("pam-iampass-gateway-acts.service") as environment:
            done = subprocess.run(
                ["bash", "-c", _PASSES, sys.executable, str(listener.fileno())],
                capture_output=True,
                text=True,
                check=False,
                cwd=package(),
                user=ACCOUNT,
                group=ACCOUNT,
                extra_groups=[],
                pass_fds=[listener.fileno()],
                env=environment,
                timeout=PATIENCE,
            )
        assert done.returncode == 1
        assert "`portal` is not in the settings" in done.stderr
    finally:
        file.write_text(before)


def kinds() -> list[str]:
    return [found.kind for found in examination.acts()]


def test_doctor_sees_whether_it_answers_and_who_else_can_connect(listener: socket.socket) -> None:
    with answering(listener):
        SOCKET.chmod(0o666)
        assert kinds() == ["acts-socket"]
        os.chown(SOCKET, pwd.getpwnam("nobody").pw_uid, -1)
        SOCKET.chmod(0o660)
        assert kinds() == ["acts-socket"]
        os.chown(SOCKET, 0, -1)
        FOLDER.chmod(0o777)
        assert kinds() == ["acts-socket"]
        FOLDER.chmod(0o755)
        assert kinds() == []
    listener.close()
    assert kinds() == ["acts-down"]
    SOCKET.unlink()
    assert kinds() == ["acts-down"]
    SOCKET.touch()
