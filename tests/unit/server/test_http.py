"""The https server in the event loop of whoever uses it."""

from __future__ import annotations

import asyncio
import gc
import http.client
import socket
import ssl
import threading
from typing import Callable

import pytest
import trustme

from pam_iampass.server.http import Dispatcher, find_handler, serve
from pam_iampass.server.messages import IncomingRequest, RefusedRequest
from tests.support.deadline import PATIENCE
from tests.support.served import ROUTES, Answer, Service, one, served


def test_it_serves_in_the_loop_that_it_is_given() -> None:
    answer, service, refused = served(one("GET", "/ping/%2e%2e"), serve)
    assert answer == (200, b'{"target": "/ping/%2e%2e"}')
    assert service.threads == {threading.get_ident()}
    assert refused == []


@pytest.mark.parametrize(
    ("method", "target", "headers", "status", "reason"),
    [
        ("GET", "/nowhere", {}, 404, "UNKNOWN_CALL"),
        ("PUT", "/ping/x", {}, 405, "WRONG_METHOD"),
        ("GET", "/ping/x", {"Host": "elsewhere"}, 421, "WRONG_HOST"),
    ],
)
def test_what_is_refused_is_answered_and_reported(
    method: str, target: str, headers: dict[str, str], status: int, reason: str
) -> None:
    answer, service, refused = served(one(method, target, headers), serve)
    assert answer[0] == status
    assert refused == [f"{target}: {reason}"]
    assert service.threads == set()


def test_a_stream_is_sent_as_it_comes_and_ends_with_the_server() -> None:
    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        connection = connect()
        connection.request("GET", "/count")
        response = connection.getresponse()
        lines = response.readline() + response.readline()
        response.close()
        return response.status, lines

    assert served(ask, serve)[0] == (200, b"1\n2\n")


def test_methods_of_one_path_are_named_where_another_is_used() -> None:
    request = IncomingRequest("DELETE", "/ping/x", [], b"")
    with pytest.raises(RefusedRequest) as refused:
        find_handler(ROUTES, request)
    assert refused.value.headers == (("Allow", "GET, POST"),)


# asyncio before Python 3.13 does not close one that is in the handshake.
@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
def test_a_connection_that_comes_while_the_server_stops_is_closed_by_it() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    async def come_while_it_stops(listener: socket.socket, client: socket.socket) -> None:
        dispatcher = Dispatcher(ROUTES, Service(), frozenset(), lambda: 0.0, lambda request, refusal: None)
        stopping, ready = asyncio.Event(), asyncio.Event()
        server = asyncio.ensure_future(serve(dispatcher.handle, listener, context, stopping, ready.set))
        await ready.wait()
        client.connect(listener.getsockname())
        await asyncio.sleep(0)
        stopping.set()  # in the same turn of the loop in which the connection is accepted
        await server

    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.settimeout(PATIENCE)
        asyncio.run(come_while_it_stops(listener, client))
        gc.collect()  # what asyncio has lost fails here
        assert client.recv(1) == b""
