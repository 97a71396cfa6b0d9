"""Connections are kept and shared, but no call gets another's deadline or a connection about to end."""

from __future__ import annotations

import gc
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pam_iampass.client import AuthenticationAPI, Transport, Unavailable
from pam_iampass.client.connection import Network
from tests.client.talk import (
    APPLICATION,
    DEADLINE,
    SECRET,
    USER,
    api_to,
    polled,
    seconds,
    session_on,
    started,
)
from tests.support.in_time import BUSY
from tests.support.scripted_server import REQUEST, answer, hang, scripted_server


def test_a_login_uses_one_connection() -> None:
    with scripted_server() as server, api_to(server) as api:
        server.add(started(server), *[polled("pending")] * 5, polled("active"), answer(200, {"status": True}))
        session = api.authenticate_user(USER)
        while session.in_progress:
            session.get_status()
        session.destroy()
        assert (len(server.requests), server.connections) == (8, 1)


def test_a_connection_that_the_server_closed_is_replaced_without_a_lost_request() -> None:
    with scripted_server() as server, api_to(server) as api:
        for count in range(1, 6):
            server.add(started(server).then("close"))
            api.authenticate_user(USER)
            assert server.wait_for_endings(count, 60)
        assert (len(server.requests), server.connections) == (5, 5)


def test_a_connection_that_was_idle_for_long_is_not_used_again() -> None:
    with scripted_server(polled("pending"), polled("pending")) as server:
        with session_on(server, idle_seconds=0.0) as session:
            session.get_status()
            session.get_status()
        assert server.connections == 2


def test_a_transport_that_only_refers_to_itself_closes_its_connections() -> None:
    with scripted_server() as server:
        server.add(started(server))
        # Older than the transport: the collector finalizes the older first, and a socket warns if it is not closed.
        connections = [socket.create_connection(("127.0.0.1", server.port))]
        gc.collect()
        network = Network(create_connection=lambda *_: connections.pop())
        api = AuthenticationAPI(
            APPLICATION, SECRET, transport=Transport(server.url, server.ca_file, network=network)
        )
        api.authenticate_user(USER)
        itself: list[object] = [api]
        itself.append(itself)
        del api, network, itself
        gc.collect()
        assert server.wait_for_endings(1, 60)


def test_threads_share_a_transport() -> None:
    with scripted_server(*[polled("pending")] * 80) as server:
        with session_on(server, connections=4) as session, ThreadPoolExecutor(8) as threads:
            statuses = list(threads.map(lambda _: session.get_status(seconds(60.0)).name, range(80)))
        assert statuses == ["pending"] * 80
        assert len(server.requests) == 80


def test_a_call_that_hangs_keeps_no_other_from_its_own_deadline() -> None:
    with scripted_server(hang(REQUEST), polled("active")) as server, session_on(server) as session:
        outcome: list[float] = []

        def hanging() -> None:
            before = time.monotonic()
            with pytest.raises(Unavailable):
                session.get_status(seconds(DEADLINE), attempts=1)
            outcome.append(time.monotonic() - before)

        thread = threading.Thread(target=hanging)
        thread.start()
        assert server.wait_for_requests(1, 60)
        assert session.get_status(seconds(20.0)).name == "active"
        assert outcome == []
        thread.join()
        assert DEADLINE - 0.1 < outcome[0] < DEADLINE + BUSY
