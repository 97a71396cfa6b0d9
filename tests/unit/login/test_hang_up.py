"""An ssh client that hangs up: what the module does with the login."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pam_iampass.outcome import PamCode
from tests.support.setting import Setting


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The ends of the client and of the server."""
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, socket.create_connection(listener.getsockname()) as made, listener.accept()[0] as accepted:
        yield made, accepted


@pytest.fixture
def client(connection: tuple[socket.socket, socket.socket]) -> socket.socket:
    """The client of a connection that a server has accepted."""
    return connection[0]


def as_sshd_names_it(client: socket.socket) -> dict[str, Any]:
    own, server = client.getsockname(), client.getpeername()
    return {"ssh_auth_info": "", "ssh_connection": f"{own[0]} {own[1]} {server[0]} {server[1]}"}


def test_a_client_that_hangs_up_while_the_phone_rings_ends_the_request_and_is_denied(
    world: Setting, client: socket.socket
) -> None:
    world.sandbox.auto = "ask"
    world.configure(timeout="30s", prompt="never")
    door = world.door(**as_sshd_names_it(client))
    world.sandbox.wait_for_request(world.token)
    client.close()
    assert door.finish().code == PamCode.MAXTRIES
    world.wait_for_ends()
    assert world.outcome() == ("cancelled", "denied")


def test_for_a_client_that_has_hung_up_already_no_phone_rings(
    world: Setting, connection: tuple[socket.socket, socket.socket]
) -> None:
    client, server = connection
    named = as_sshd_names_it(client)
    client.close()
    assert server.recv(1) == b""
    assert world.login(**named).code == PamCode.MAXTRIES
    assert world.calls == []
    assert world.outcome() == ("cancelled", "denied")


def test_a_connection_that_cannot_be_seen_disturbs_no_login(world: Setting) -> None:
    world.sandbox.auto, world.sandbox.delay = "approve", 1.1
    told = world.login(ssh_auth_info="", ssh_connection="192.0.2.1 1024 192.0.2.2 22")
    assert told.code == PamCode.SUCCESS


def test_a_client_over_a_unix_socket_that_hangs_up_ends_the_request(world: Setting, tmp_path: Path) -> None:
    world.sandbox.auto = "ask"
    world.configure(timeout="30s", prompt="never")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(tmp_path / "ssh.socket"))
        listener.listen()
        client.connect(str(tmp_path / "ssh.socket"))
        with listener.accept()[0] as accepted:
            sockets = f"{os.fstat(accepted.fileno()).st_ino} "
            unknown = "UNKNOWN 65535 UNKNOWN 65535"
            door = world.door(ssh_auth_info="", ssh_connection=unknown, sockets=sockets)
            world.sandbox.wait_for_request(world.token)
            client.close()
            assert door.finish().code == PamCode.MAXTRIES
    world.wait_for_ends()
    assert world.outcome() == ("cancelled", "denied")
