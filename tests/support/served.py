"""A small https service in the event loop of the test, and what a client gets from it."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import threading
import time
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, Callable

import trustme

from pam_iampass.server.http import Dispatcher, Route
from pam_iampass.server.messages import IncomingRequest, Reply
from tests.support.deadline import PATIENCE

Answer = tuple[int, bytes]


class Service:
    """What the handlers are given."""

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.began, self.go_on = threading.Event(), threading.Event()


async def ping(service: Service, request: IncomingRequest) -> Reply:
    service.threads.add(threading.get_ident())
    return Reply.of({"target": request.target})


async def count(service: Service, request: IncomingRequest) -> Reply:
    async def pieces(stopping: asyncio.Event) -> AsyncGenerator[bytes, None]:
        for number in (1, 2):
            yield b"%d\n" % number
        await stopping.wait()

    return Reply(content_type="text/plain", stream=pieces)


async def busy(service: Service, request: IncomingRequest) -> Reply:
    service.began.set()
    service.go_on.wait()  # an event loop that is held up
    return Reply()


async def waits(service: Service, request: IncomingRequest) -> Reply:
    service.began.set()
    await asyncio.to_thread(service.go_on.wait)
    return Reply()


ROUTES = (
    Route("GET", "/ping/*", ping),
    Route("POST", "/ping/*", ping),
    Route("GET", "/count", count),
    Route("GET", "/busy", busy),
    Route("GET", "/waits", waits),
)


def served(
    ask: Callable[[Callable[[], http.client.HTTPSConnection]], Answer],
    serve: Callable[..., Coroutine[Any, Any, None]],
    backlog: int = 128,
    service: Service | None = None,
) -> tuple[Answer, Service, list[str]]:
    """What `ask`, called in another thread with a function that connects, has received from what `serve` serves."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
    port, service, refused = listener.getsockname()[1], service or Service(), list[str]()

    connections: list[http.client.HTTPSConnection] = []

    def connect() -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=trusting, timeout=PATIENCE)
        connections.append(connection)
        return connection

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
            for connection in connections:
                connection.close()
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
        return response.status, response.read()

    return ask
