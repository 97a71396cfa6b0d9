"""Sends calls to the first of several gateways that answers. To a host, each of them is the same IAMPASS."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Callable, TypeVar

from .attempts import DEFAULT_SECONDS, may_repeat
from .call import ATTEMPTS, Call
from .connection import Deadline
from .errors import IampassError, LocalFailure, TLSFailure, Unavailable
from .http import Transport
from .origin import split_for_wire

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 10.0
"""How long one gateway may take to answer a call that another one can be asked as well."""
PASSED_BY_SECONDS = 30.0
"""How long a gateway that has failed is asked after the others."""
KEPT_SECONDS = 30.0
"""How long an idle connection is used again for what may be repeated. A gateway ends one after 60 s."""

T = TypeVar("T")


class Gateways:
    """Connections to several gateways, which an API object takes as its `transport`. Threads can share the object."""

    def __init__(
        self,
        servers: Sequence[str],
        ca_file: str | os.PathLike[str] | None,
        *,
        pause: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        connect_seconds: float = CONNECT_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
        kept_seconds: float = KEPT_SECONDS,
        **options: Any,
    ) -> None:
        """Connects to the gateways `servers`, asked in this order. `options` are those of a Transport."""
        options = {
            "connect_seconds": connect_seconds,
            "kept_seconds": kept_seconds,
            "clock": clock,
            **options,
        }
        self._transports = [Transport(server, ca_file, **options) for server in servers]
        self._failed_at: dict[Transport, float] = {}
        self._pause = pause
        self._jitter = jitter
        self._clock = clock
        self._answer_seconds = answer_seconds
        self.origin = replace(self._transports[0].origin, gateways=True)
        """The origin of the first gateway. A call gets the origin of the gateway that is asked."""
        self.before: Transport | None = None
        """IAMPASS, which this host asked before it joined: it alone knows the sessions from then."""
        # The gateway that was asked last.
        self._asked = self._transports[0]

    @property
    def clock_offset(self) -> float | None:
        """As in Transport, of the gateway that was asked last."""
        return self._asked.clock_offset

    @property
    def clock_correction(self) -> float:
        """As in Transport, of the gateway that was asked last."""
        return self._asked.clock_correction

    def close(self) -> None:
        """Closes the idle connections."""
        for transport in (*self._transports, *filter(None, [self.before])):
            transport.close()

    def call(
        self,
        call: Call[T],
        deadline: Deadline | None = None,
        *,
        attempts: int = ATTEMPTS,
        pause: Callable[[float], None] | None = None,
    ) -> T:
        """Makes the call at one gateway after the other, up to `attempts` times each: at the next one if nothing was
        sent, or if the call can be repeated and was not answered."""
        if self.before is not None and self.before.origin.owns(call.url):
            return self.before.call(call, deadline, attempts=attempts, pause=pause)
        deadline = deadline or Deadline.after(DEFAULT_SECONDS)
        failures: list[IampassError] = []
        for attempt in range(1, attempts + 1):
            again = False
            for transport in self._in_order():
                if failures and deadline.expired:
                    break
                if transport in self._failed_at:  # one call tries it again: others pass it by meanwhile
                    self._failed_at[transport] = self._clock()
                try:
                    result = self._ask(transport, call, deadline)
                except IampassError as error:
                    goes_on = _may_ask_another(call, error)
                    again = again or _is_worth_another_round(call, error)
                    failures.append(error)
                    error.may_have_started = any(each.may_have_started for each in failures)
                    if not goes_on:
                        self._failed_at.pop(transport, None)
                        raise
                    self._failed_at[transport] = self._clock()
                    if call.alone:
                        raise
                else:
                    self._failed_at.pop(transport, None)
                    return result
            wait = self._jitter() * 0.25 * 2.0**attempt
            if not again or attempt == attempts or wait >= deadline.remaining():
                break
            (pause or self._pause)(wait)
        # It is no outage once an attempt may have left, or has failed in another way.
        others = [each for each in failures if not getattr(each, "outage", False)]
        raise (others or failures)[-1]

    def _in_order(self) -> list[Transport]:
        """All gateways. The ones that have failed lately come last."""
        late = self._clock() - PASSED_BY_SECONDS
        return sorted(self._transports, key=lambda each: self._failed_at.get(each, late) > late)

    def _ask(self, transport: Transport, call: Call[T], deadline: Deadline) -> T:
        url = f"{transport.origin.url}{split_for_wire(call.url)[1]}"
        if call.idempotent:
            deadline = deadline.sooner(self._answer_seconds + call.held)
        self._asked = transport
        return transport.call(replace(call, url=url), deadline, attempts=1)


def _may_ask_another(call: Call[Any], error: IampassError) -> bool:
    """Whether the failure is one of this gateway or of the way to it, and another attempt does no harm."""
    status = error.status if isinstance(error, Unavailable) else None
    repeatable = call.idempotent and status in (None, 502, 503, 504)
    failed = isinstance(error, (Unavailable, TLSFailure, LocalFailure))
    return failed and (repeatable or not error.may_have_started)


def _is_worth_another_round(call: Call[Any], error: IampassError) -> bool:
    """Whether the same gateway may answer the next time; connecting that took all its time would do so again."""
    if not isinstance(error, Unavailable) or (error.timed_out and not error.may_have_started):
        return False
    return may_repeat(call, error)
