"""A gateway in a process of its own, which stops itself (SIGSTOP) at one point of a start: for tests that kill it.

The process is `main`, with the arguments as JSON on standard input; it prints its port.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, TypeVar

from aiohttp import web

from pam_iampass.client.call import Call
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.settings import GroupSettings
from pam_iampass.gateway.base.upstream import Lane, Upstream
from pam_iampass.gateway.requests import presence
from pam_iampass.server.http import Dispatcher
from pam_iampass.server.messages import Reply
from tests.support import processes
from tests.support.command import PACKAGES, ImportedProcess
from tests.support.gateway import HOST, HOST_SECRET, RunningGateway, settings_for
from tests.support.sandbox import Sandbox
from tests.support.world import wait_until

T = TypeVar("T")
POINTS = ("before the call", "after the answer of IAMPASS", "before the answer")


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(3600)  # another thread may be the first to be stopped


class _Stopping(Upstream):
    point = ""

    async def call(self, call: Call[T], seconds: float, lane: Lane, **options: Any) -> T:
        if call.name == "start" and self.point == POINTS[0]:
            _stop()
        result = await super().call(call, seconds, lane, **options)
        if call.name == "start" and self.point == POINTS[1]:
            _stop()
        return result


class _StoppingDispatcher(Dispatcher[Gateway]):
    async def send(self, http: web.BaseRequest, reply: Reply, stopping: asyncio.Event) -> web.StreamResponse:
        if reply.status == 202:
            _stop()
        return await super().send(http, reply, stopping)


def main() -> None:
    """Serve until SIGTERM, or until standard input is closed. Each further line is answered with the number of calls
    that are held."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit())
    wanted = json.loads(sys.stdin.readline())
    iampass = SimpleNamespace(**wanted["sandbox"])

    def change(gateway: Gateway) -> None:
        gateway.iampass = stopping = _Stopping.of(gateway.settings)
        stopping.point = wanted["point"]

    presence.ANSWER_SECONDS = 60  # a busy machine is slow
    covered = GroupSettings(everybody=True, covered_by=frozenset(wanted["covered_by"]))
    bastion = GroupSettings(everybody=True, admit=True)
    settings = settings_for(
        wanted["conninfo"],
        iampass,  # type: ignore[arg-type]
        Path(wanted["folder"]),
        listen=(wanted["address"], 0),
        groups={
            "servers": covered,
            **dict.fromkeys(wanted["covered_by"], bastion),
        },
    )
    running = RunningGateway(settings, change)
    running.check = 3.0
    if wanted["point"] == POINTS[2]:
        running.dispatcher = _StoppingDispatcher
    with running:
        print(running.port, flush=True)
        for _ in sys.stdin:
            print(len(running.gateway.held), flush=True)


class GatewayProcess:
    """The process. Its host is that of RunningGateway."""

    def __init__(
        self,
        conninfo: str,
        sandbox: Sandbox,
        folder: Path,
        point: str = "",
        address: str = "127.0.0.1",
        covered_by: Sequence[str] = (),
    ) -> None:
        """`covered_by` are further groups of hosts, which cover logins to those of the group `servers`."""
        given, typed = os.pipe()
        shown, output = os.pipe()
        folders = (str(Path(__file__).parents[2]), PACKAGES)
        self._process = ImportedProcess(__name__, folders, (), dict(os.environ), (given, output, 2))
        for descriptor in (given, output):
            os.close(descriptor)
        self._typed, self._shown = open(typed, "w", encoding="utf-8"), open(shown, encoding="utf-8")  # noqa: SIM115
        names = ("application_id", "application_secret", "url", "ca_file")
        iampass = {name: str(getattr(sandbox, name)) for name in names}
        wanted = {
            "conninfo": conninfo,
            "sandbox": iampass,
            "folder": str(folder),
            "point": point,
            "address": address,
            "covered_by": list(covered_by),
        }
        print(json.dumps(wanted), file=self._typed, flush=True)
        self.port = int(self._shown.readline())
        self._address = address
        self.ca_file = folder / "ca.pem"
        self.application_id = HOST
        self.application_secret = HOST_SECRET

    @property
    def url(self) -> str:
        return f"https://{self._address}:{self.port}"

    def wait_until_held(self) -> None:
        """Wait until it holds a call. Raises TimeoutError."""

        def is_held() -> bool:
            print(file=self._typed, flush=True)
            return int(self._shown.readline()) > 0

        wait_until(is_held, "no call is held")

    def wait_until_stopped(self) -> None:
        """Wait until it has stopped itself."""
        stopped = "T (stopped)"
        wait_until(lambda: processes.status(self._process.pid)["State"] == stopped, "it does not stop")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.signal(number)

    def terminate(self) -> None:
        """As `systemctl stop`."""
        self._process.signal(signal.SIGTERM)
        self._process.wait()

    def kill(self) -> None:
        """As by `kill -9`."""
        self._process.signal(signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> GatewayProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        for stream in (self._typed, self._shown):
            stream.close()
