"""Signed calls to one server: each with a deadline, repeated only where that is harmless."""

from __future__ import annotations

import os
import random
import secrets
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable

import pam_iampass

from .answer import Document
from .deadline import Deadline
from .errors import Refused, Unavailable
from .exchange import Call, Exchange
from .judgement import CLOCK_TOLERANCE, document_of
from .origin import Origin
from .retries import ATTEMPTS, Repeats
from .signing import authentication_headers

DEFAULT_SECONDS = 30.0
CONNECT_SECONDS = 5.0
# Shorter than the shortest time that servers commonly keep an idle connection open (5 s): a request on a
# connection that is just being closed is lost, and nobody can tell whether it was carried out.
IDLE_SECONDS = 4.0


@dataclass(frozen=True)
class Reply:
    """What a call brought."""

    document: Document
    clock_offset: float
    """Seconds to add to our clock to get the time by which the server accepted the signature."""


class Transport:
    """Connections to one server, kept alive. Threads may share it."""

    def __init__(
        self,
        server: str,
        ca_file: str | os.PathLike[str] | None = None,
        proxy: str | None = None,
        *,
        connections: int = 1,
        connect_seconds: float = CONNECT_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
        wall_clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
        nonce: Callable[[], int] = lambda: secrets.randbits(64),
        resolve: Callable[..., Sequence[Any]] = socket.getaddrinfo,
    ) -> None:
        """`server` is `https://HOST[:PORT]`, `proxy` `http://HOST:PORT`; `ca_file` replaces the system's
        certificates. `connections` is how many are kept open. `pause` waits between two tries, for the
        seconds that it is given; what it raises ends the call. Raises ValueError, or TLSFailure where there
        are no certificates to trust."""
        # requests takes a tenth of a second to import, which a login without a call shall not pay.
        from .connecting import Connector
        from .look_up import LookUps
        from .tls import tls_context
        from .wire import Wire

        self.origin = Origin.of(server)
        self._connector = Connector(
            self.origin,
            tls_context(ca_file),
            Origin.of_proxy(proxy) if proxy is not None else None,
            LookUps(resolve),
            connect_seconds,
        )
        self._wire = Wire(connections)
        self._idle_seconds = idle_seconds
        self._wall_clock = wall_clock
        self._pause = pause
        self._jitter = jitter
        self._nonce = nonce

    def close(self) -> None:
        """Closes the idle connections."""
        self._wire.close()

    def call(
        self,
        call: Call,
        deadline: Deadline | None = None,
        *,
        attempts: int = ATTEMPTS,
        pause: Callable[[float], None] | None = None,
        clock_offset: float = 0.0,
    ) -> Reply:
        """Makes the call, within 30 s where no deadline is given. Raises IampassError.

        It is tried up to `attempts` times: after a complete 429 always, else where a repeat is harmless or
        nothing has left this machine. With `attempts=1` there is no wait. Apart from that, a 401 by a
        server whose clock is far from ours is answered by one more try with the server's time.

        `pause` replaces that of the transport. It is also called, with 0, twice a second while the server
        keeps us waiting, as long as the call can be given up without harm; what it raises ends the call.
        """
        deadline = deadline or Deadline.after(DEFAULT_SECONDS)
        repeats = Repeats(call, attempts, deadline, self._jitter)
        clock_corrected = False
        while True:
            try:
                return Reply(self._try(call, deadline, clock_offset, pause), clock_offset)
            except Refused as refused:
                servers = refused.clock_offset or 0.0
                if clock_corrected or refused.status != 401 or abs(servers - clock_offset) <= CLOCK_TOLERANCE:
                    raise
                clock_offset, clock_corrected = servers, True
            except Unavailable as unavailable:
                wait = repeats.wait_after(unavailable)
                if wait is None:
                    raise
                (pause or self._pause)(wait)

    def _try(
        self, call: Call, deadline: Deadline, clock_offset: float, pause: Callable[[float], None] | None
    ) -> Document:
        if deadline.expired:
            raise Unavailable(f"{call.name}: no time is left for it", timed_out=True)
        exchange = Exchange(call, deadline, self._connector.connect, self._idle_seconds, pause)
        answer = self._wire.send(exchange, self._headers(call, clock_offset))
        return document_of(answer, call.name, self.origin.url, deadline, self._wall_clock())

    def _headers(self, call: Call, clock_offset: float) -> dict[str, str]:
        signature = authentication_headers(
            call.client_id,
            call.secret,
            call.url,
            nonce=self._nonce(),
            timestamp=int(self._wall_clock() + clock_offset),
        )
        content = {} if call.content_type is None else {"Content-Type": call.content_type}
        return {
            **signature,
            **content,
            "Accept-Encoding": "identity",
            "User-Agent": f"pam-iampass/{pam_iampass.__version__}",
        }
