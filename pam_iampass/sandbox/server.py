"""Runs the https server in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
import threading
from concurrent.futures import Future

from aiohttp import web

from pam_iampass.sandbox.dispatcher import Dispatcher

# How long replies may take after the sandbox stops.
_SHUTDOWN_SECONDS = 1.0


class _TidyServer(web.Server):
    """Closes its side when a client has closed the connection: asyncio before Python 3.11 warns otherwise."""

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        if handler.transport is not None:
            handler.transport.close()
        super().connection_lost(handler, exc)


class Server:
    """Serves on a socket until it is stopped."""

    def __init__(self, dispatcher: Dispatcher, listener: socket.socket, context: ssl.SSLContext) -> None:
        self._dispatcher = dispatcher
        self._listener = listener
        self._context = context
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="iampass-sandbox", daemon=True)
        self._ready: Future[None] = Future()

    def start(self) -> None:
        """Returns when connections are accepted; raises the error that prevents that."""
        self._thread.start()
        self._ready.result()

    def stop(self) -> None:
        """Returns when every connection is closed."""
        if self._loop is not None and self._stopping is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        stopping = self._stopping = asyncio.Event()

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return await self._dispatcher.handle(request, stopping)

        # The low-level server, which does not normalise paths. By itself it takes bodies of 1 MiB at most.
        server = _TidyServer(handle)
        acceptor = await self._loop.create_server(server, sock=self._listener, ssl=self._context)
        self._ready.set_result(None)
        await stopping.wait()
        acceptor.close()
        for connection in server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        if sys.version_info >= (3, 13):
            # Connections in the TLS handshake, which aiohttp does not know yet.
            acceptor.abort_clients()
        await server.shutdown(_SHUTDOWN_SECONDS)
