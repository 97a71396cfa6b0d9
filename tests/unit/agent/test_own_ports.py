"""Ports that no user can take from the agent."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from pam_iampass.agent.own_ports import OWN_PORTS, OwnPorts
from pam_iampass.client.connection import Network

ADDRESSES = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))]


def failing(number: int) -> Any:
    def connect(_address: object, _timeout: float) -> socket.socket:
        raise OSError(number, os.strerror(number))

    return connect


@pytest.fixture
def own() -> Iterator[OwnPorts]:
    """On a machine without ports."""
    ports = OwnPorts(Network(create_connection=failing(errno.EADDRNOTAVAIL)))
    yield ports
    ports.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_without_ports_connections_come_from_the_reserved_ones_again_and_again(
    own: OwnPorts, host: str
) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        address = (host, server.getsockname()[1])
        for _ in range(2):
            with ExitStack() as connections:
                found = [
                    connections.enter_context(own.network.create_connection(address, 5.0))
                    for _ in range(OWN_PORTS)
                ]
                assert len({each.getsockname()[1] for each in found}) == OWN_PORTS
                with pytest.raises(OSError, match="Cannot assign requested address"):
                    own.network.create_connection(address, 5.0)


@pytest.mark.parametrize("option", [None, socket.SO_REUSEADDR])
def test_a_reserved_port_is_reserved_before_and_after_it_was_used(own: OwnPorts, option: int | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with own.network.create_connection(server.getsockname(), 5.0) as connection:
            port = connection.getsockname()[1]
        with socket.socket() as other:
            if option is not None:
                other.setsockopt(socket.SOL_SOCKET, option, 1)
            with pytest.raises(OSError, match="Address already in use"):
                other.bind(("", port))


def test_any_other_failure_to_connect_is_what_it_is() -> None:
    own = OwnPorts(Network(create_connection=failing(errno.ECONNREFUSED)))
    with pytest.raises(ConnectionRefusedError):
        own.network.create_connection(("127.0.0.1", 1), 5.0)
    own.close()


def test_where_no_name_server_can_be_asked_the_last_answer_counts() -> None:
    answers: list[Any] = [socket.gaierror(socket.EAI_AGAIN, "failed")] * 3
    answers[1] = ADDRESSES

    def look_up(*_arguments: Any, **_options: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    own = OwnPorts(Network(getaddrinfo=look_up))
    with pytest.raises(socket.gaierror):
        own.network.getaddrinfo("iampass.example.", 443)
    assert own.network.getaddrinfo("iampass.example.", 443) == ADDRESSES
    assert own.network.getaddrinfo("iampass.example.", 443) == ADDRESSES
    own.close()
