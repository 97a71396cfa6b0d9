"""The gateway's calls of IAMPASS, as the tests of the client make them: from a thread, which waits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any, Callable, TypeVar

from pam_iampass.client.attempts import DEFAULT_SECONDS
from pam_iampass.client.call import ATTEMPTS, Call
from pam_iampass.client.connection import Deadline
from pam_iampass.gateway.base.upstream import Lane, Upstream

T = TypeVar("T")


class UpstreamTransport:
    """An `Upstream` in an event loop of its own, that is called as a `Transport`."""

    def __init__(
        self,
        server: str,
        ca_file: str | None = None,
        proxy: str | None = None,
        *,
        connections: int = 1,
        pause: Callable[[float], None] = time.sleep,
        **options: Any,
    ) -> None:
        self._pause = pause
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

        async def make() -> Upstream:
            return Upstream(server, "application", "secret", ca_file, proxy, **options)

        try:
            self._upstream = self._run(make())
        except BaseException:
            self._stop()
            raise
        self.origin = self._upstream.origin

    def call(
        self,
        call: Call[T],
        deadline: Deadline | None = None,
        *,
        attempts: int = ATTEMPTS,
        pause: Callable[[float], None] | None = None,
    ) -> T:
        async def paused(seconds: float) -> None:
            (pause or self._pause)(seconds)

        seconds = DEFAULT_SECONDS if deadline is None else deadline.remaining()
        return self._run(self._upstream.call(call, seconds, Lane.decisions, attempts=attempts, pause=paused))

    @property
    def clock_offset(self) -> float | None:
        return self._upstream.clock_offset

    def close(self) -> None:
        self._run(self._upstream.close())
        self._stop()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
