"""`serve-acts` as systemd runs it, with a socket that it was passed: what of it outlives the process, and what the
portal's user reaches."""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from pam_iampass.gateway.base.places import ACCOUNT, PORTAL_ACCOUNT
from pam_iampass.gateway.check import examination
from pam_iampass.portal import calls
from pam_iampass.portal import gateway as client
from tests.support.gateway_machine import (
    ACTS_FOLDER,
    ACTS_SOCKET,
    ETC,
    activated,
    acts_socket,
    answering,
    initialised,
    package,
    passed_secrets,
    run_gateway,
)
from tests.support.world import PATIENCE

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def machine() -> Iterator[None]:
    """A gateway that is set up, with a portal; who serves hosts does not run."""
    with initialised("portal: {origin: https://iampass.example.com}\n"):
        yield


@pytest.fixture
def listener(machine: None) -> Iterator[socket.socket]:
    with acts_socket() as made:
        yield made


def asked() -> str:
    """The challenge of a browser that wants to sign in."""

    async def go() -> str:
        async with client.GatewayClient(ACTS_SOCKET) as gateway:
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
        with (
            passed_secrets("pam-iampass-gateway-acts.service") as environment,
            activated(listener, ACCOUNT, "pam_iampass.gateway.cli", "serve-acts", environment) as service,
        ):
            said = service.communicate(timeout=PATIENCE)[0]
        assert service.returncode == 1
        assert "`portal` is not in the settings" in said
    finally:
        file.write_text(before)


def kinds() -> list[str]:
    return [found.kind for found in examination.acts()]


def test_check_sees_whether_it_answers_and_who_else_can_connect(listener: socket.socket) -> None:
    with answering(listener):
        ACTS_SOCKET.chmod(0o666)
        assert kinds() == ["acts-socket"]
        os.chown(ACTS_SOCKET, pwd.getpwnam("nobody").pw_uid, -1)
        ACTS_SOCKET.chmod(0o660)
        assert kinds() == ["acts-socket"]
        os.chown(ACTS_SOCKET, 0, -1)
        ACTS_FOLDER.chmod(0o777)
        assert kinds() == ["acts-socket"]
        ACTS_FOLDER.chmod(0o755)
        assert kinds() == []
    listener.close()
    assert kinds() == ["acts-down"]
    ACTS_SOCKET.unlink()
    assert kinds() == ["acts-down"]
    ACTS_SOCKET.touch()
