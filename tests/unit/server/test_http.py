"""The https server in the event loop of whoever uses it."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import threading
import time
from collections.abc import AsyncGenerator
from typing import Callable

import pytest
import trustme

from pam_iampass.server.http import Dispatcher, Route, find_handler, serve
from pam_iampass.server.messages import IncomingRequest, RefusedRequest, Reply

Answer = tuple[int, bytes]


class Service:
    """What the handlers are given."""

    def __init__(self) -> None:
        self.threads: set[int] = set()


async def ping(service: Service, request: IncomingRequest) -> Reply:
    service.threads.add(threading.get_ident())
    return Reply.of({"target": request.target})


async def count(service: Service, request: IncomingRequest) -> Reply:
    async def pieces(stopping: asyncio.Event) -> AsyncGenerator[bytes, None]:
        for number in (1, 2):
            yield b"%d\n" % number
        await stopping.wait()

    return Reply(content_type="text/plain", stream=pieces)


ROUTES = (Route("GET", "/ping/*", ping), Route("POST", "/ping/*", ping), Route("GET", "/count", count))


def served(
    ask: Callable[[Callable[[], http.client.HTTPSConnection]], Answer],
) -> tuple[Answer, Service, list[str]]:
    """What `ask`, called in another thread with a function that connects, has received."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    listener = socket.create_server(("127.0.0.1", 0))
    port, service, refused = listener.getsockname()[1], Service(), list[str]()

    def connect() -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", port, context=trusting, timeout=20)

    async def run() -> Answer:
        dispatcher = Dispatcher(
            ROUTES,
            service,
            frozenset({"127.0.0.1"}),
            time.time,
            lambda request, refusal: refused.append(f"{request.target}: {refusal.reason}"),
        )
        stopping, ready = asyncio.Event(), asyncio.Event()
        server = asyncio.ensure_future(serve(dispatcher.handle, listener, context, stopping, ready.set))
        await ready.wait()
        try:
            return await asyncio.get_running_loop().run_in_executor(None, ask, connect)
        finally:
            stopping.set()
            await server

    return asyncio.run(run()), service, refused


def one(
    method: str, target: str, headers: dict[str, str] | None = None
) -> Callable[[Callable[[], http.client.HTTPSConnection]], Answer]:
    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        connection = connect()
        connection.request(method, target, headers=headers or {})
        response = connection.getresponse()
        answer = response.status, response.read()
        connection.close()
        return answer

    return ask


def test_it_serves_in_the_loop_that_it_is_given() -> None:
    answer, service, refused = served(one("GET", "/ping/%2e%2e"))
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
    answer, service, refused = served(one(method, target, headers))
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
        connection.close()
        return response.status, lines

    assert served(ask)[0] == (200, b"1\n2\n")


def test_methods_of_one_path_are_named_where_another_is_used() -> None:
    request = IncomingRequest("DELETE", "/ping/x", [], b"")
    with pytest.raises(RefusedRequest) as refused:
        find_handler(ROUTES, request)
    assert refused.value.headers == (("Allow", "GET, POST"),)
