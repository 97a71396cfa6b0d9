"""Signed calls to one server, each with a deadline, retried only if that does no harm.

Takes a tenth of a second to import, for requests: a login that makes no call must not import this file.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable

from pam_iampass import __version__

from .adapter import DeadlineAdapter
from .attempt import HttpAttempt
from .connector import Connector
from .deadline import Deadline
from .errors import Refused, Unavailable
from .json_object import JsonObject
from .origin import Origin
from .request import SignedRequest
from .resolver import Resolver
from .response_errors import CLOCK_TOLERANCE, json_object
from .retries import ATTEMPTS, RetryPolicy, http_time
from .tls import tls_context

DEFAULT_SECONDS = 30.0
CONNECT_SECONDS = 5.0
# Shorter than the shortest time for which servers commonly keep an idle connection open (5 s): if a request meets the
# end of its connection, it is lost, and it is unknown whether it was carried out.
IDLE_SECONDS = 4.0


@dataclass(frozen=True)
class Reply:
    """The result of a call."""

    json: JsonObject
    clock_offset: float
    """Seconds to add to our clock to get the time with which the server accepted the signature."""


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
        certificates. `connections` is the number of idle connections that are kept open. `pause` waits between two
        attempts, for the seconds that it is given; an exception that it raises ends the call. Raises ValueError for
        an invalid argument, and TLSFailure if there are no certificates to trust."""
        self.origin = Origin.of(server)
        connector = Connector(
            self.origin,
            tls_context(ca_file),
            Origin.of_proxy(proxy) if proxy is not None else None,
            Resolver(resolve),
            connect_seconds,
        )
        self._adapter = DeadlineAdapter(connector, connections, idle_seconds)
        self._wall_clock = wall_clock
        self._pause = pause
        self._jitter = jitter
        self._nonce = nonce
        self._last_date: tuple[str | None, float] = (None, 0.0)

    def close(self) -> None:
        """Closes the idle connections."""
        self._adapter.close()

    @property
    def clock_offset(self) -> float | None:
        """Seconds that the server's clock is ahead of ours by the Date of its last response; None if there was none."""
        date, ours = self._last_date
        theirs = http_time(date)
        return None if theirs is None else theirs - ours

    def call(
        self,
        request: SignedRequest,
        deadline: Deadline | None = None,
        *,
        attempts: int = ATTEMPTS,
        pause: Callable[[float], None] | None = None,
        clock_offset: float = 0.0,
    ) -> Reply:
        """Makes the call, within 30 s if no deadline is given. Raises IampassError.

        The request is sent up to `attempts` times: again only if it is idempotent, if nothing was sent, or after a
        complete 429 to a request that rings no phone. With `attempts=1` there is no wait. Apart from that, a 401 by a
        server whose clock differs much from ours is answered by one more attempt with the server's time.

        `pause` replaces that of the transport. It is also called, with 0, twice a second while the server does not
        respond, as long as the call can be abandoned without harm; an exception that it raises ends the call.
        """
        deadline = deadline or Deadline.after(DEFAULT_SECONDS)
        policy = RetryPolicy(request, attempts, deadline, self._jitter)
        clock_corrected = False
        while True:
            try:
                return Reply(self._try(request, deadline, clock_offset, pause), clock_offset)
            except Refused as refused:
                servers = refused.clock_offset or 0.0
                if clock_corrected or refused.status != 401 or abs(servers - clock_offset) <= CLOCK_TOLERANCE:
                    raise
                clock_offset, clock_corrected = servers, True
            except Unavailable as unavailable:
                wait = policy.wait_after(unavailable)
                if wait is None:
                    if clock_corrected:  # the request was sent, and refused
                        unavailable.cause = None
                    raise
                (pause or self._pause)(wait)

    def _try(
        self,
        request: SignedRequest,
        deadline: Deadline,
        clock_offset: float,
        pause: Callable[[float], None] | None,
    ) -> JsonObject:
        if deadline.expired:
            raise Unavailable(f"{request.name}: no time is left for it", timed_out=True)
        headers = {
            **request.headers(self._nonce(), int(self._wall_clock() + clock_offset)),
            "Accept-Encoding": "identity",
            "User-Agent": f"pam-iampass/{__version__}",
        }
        response = self._adapter.send(HttpAttempt(request, headers, deadline, pause))
        now = self._wall_clock()
        self._last_date = (response.headers.get("Date"), now)
        return json_object(response, request, self.origin.url, deadline, now)
