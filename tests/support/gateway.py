"""A gateway with a real database and a sandbox for IAMPASS, as tests use it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import socket
import ssl
import time
import uuid
from collections.abc import Awaitable, Coroutine
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Callable, TypeVar
from urllib.parse import urlencode

import psycopg
import trustme
from psycopg.rows import dict_row

from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.database import Database
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import KeyFile
from pam_iampass.gateway.base.settings import GatewaySettings, GroupSettings, LimitSettings
from pam_iampass.gateway.base.upstream import Upstream
from pam_iampass.gateway.calls import codes, eligibility, joining, reports, service
from pam_iampass.gateway.check import restored
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import Host, HostStatus
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person
from pam_iampass.gateway.requests import sessions, turns
from pam_iampass.gateway.serving.watching import CHECK_SECONDS, watching
from pam_iampass.sandbox.sandbox import ServingThread
from pam_iampass.server.http import Dispatcher
from pam_iampass.server.serving import serve
from tests.sandbox.signer import Reply, Server, Signer
from tests.support.sandbox import Sandbox
from tests.support.world import PATIENCE, wait_until

if TYPE_CHECKING:  # the demonstration runs without it
    import pytest

T = TypeVar("T")
KEY = bytes(range(32))
HOST = "h-aaaaaaaaaaaa"
ELSEWHERE = "203.0.113.2"
"""An address of the isolated root's own that is no loopback one."""
HOST_SECRET = "host-secret"
LIMITS = LimitSettings(
    cool_off=0.0,
    longest_cool_off=900.0,
    requests_per_hour=30,
    logins_at_once=10,
    spacing=0.0,
    connections=10,
    calls_at_once=50,
)
"""Without pauses between requests."""


def settings_for(conninfo: str, sandbox: Sandbox, folder: Path, **changes: Any) -> GatewaySettings:
    """The settings of a gateway whose certificate is made in `folder`, if there is none yet."""
    if not (folder / "ca.pem").exists():
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1", "localhost", ELSEWHERE)
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "certificate.pem"))
    settings = GatewaySettings(
        names=("127.0.0.1", "localhost", ELSEWHERE),
        listen=("127.0.0.1", 0),
        database=conninfo,
        application_id=sandbox.application_id,
        application_secret=sandbox.application_secret,
        previous_secret="",
        server=sandbox.url,
        server_ca_file=sandbox.ca_file,
        proxy=None,
        key=KEY,
        ca_file=folder / "ca.pem",
        certificate_file=folder / "certificate.pem",
        certificate_key_file=folder / "certificate.pem",
        groups={"servers": GroupSettings(everybody=True)},
        limits=LIMITS,
        keep_records=365 * 86400.0,
    )
    return replace(settings, **changes)


class RunningGateway:
    """A gateway in a thread, and one host of it, which calls it as an application calls IAMPASS.

    `change` is given the gateway before it serves.
    """

    dispatcher: type[Dispatcher[Gateway]] = Dispatcher
    check = CHECK_SECONDS
    first_poll = 0.1

    def __init__(
        self,
        settings: GatewaySettings,
        change: Callable[[Gateway], None] = lambda gateway: None,
    ) -> None:
        self.settings = settings
        self.ca_file = settings.ca_file
        self.application_id = HOST
        self.application_secret = HOST_SECRET
        self.clock_skew = 0.0
        self._change = change
        self._listener = socket.create_server((settings.listen[0], 0))
        self.port: int = self._listener.getsockname()[1]
        self._server = ServingThread("gateway", self._serve)

    @property
    def url(self) -> str:
        return f"https://{self.settings.listen[0]}:{self.port}"

    def __enter__(self) -> RunningGateway:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    async def _serve(self, stopping: asyncio.Event, ready: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.settings.certificate_file)
        async with Database(self.settings.database, connections=self.settings.limits.connections) as database:
            iampass = Upstream.of(self.settings)
            gateway = Gateway(self.settings, database, KeyFile(self.settings.key), iampass)
            wall_clock = gateway.clock
            gateway.clock = lambda: wall_clock() + self.clock_skew
            self._change(gateway)
            self.gateway = gateway
            names = frozenset(self.settings.names)
            routes = (*service.ROUTES, *joining.ROUTES, *codes.ROUTES, *eligibility.ROUTES, *reports.ROUTES)
            dispatcher = self.dispatcher(routes, gateway, names, gateway.clock, lambda request, refusal: None)
            async with watching(gateway, first_poll=self.first_poll, check=self.check):
                await serve(
                    dispatcher.handle,
                    self._listener,
                    context,
                    stopping,
                    ready,
                    service.BOUNDS,
                    gateway.held.stop,
                )
            for each in (iampass, gateway.iampass):
                if isinstance(each, Upstream):
                    await each.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns, in the gateway's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def transaction(self, use: Callable[[Gateway, Connection], Awaitable[T]]) -> T:
        """What `use` returns in a transaction of the gateway."""

        async def go() -> T:
            async with self.gateway.database.transaction() as connection:
                return await use(self.gateway, connection)

        return self.run(go())

    def populate(self) -> None:
        """A host, and alice, bob and carol."""
        self.transaction(restored.begin)
        self.add_host()
        for name in ("alice", "bob", "carol"):
            self.add_person(name, f"token-of-{name}")

    def add_host(
        self,
        id: str = HOST,
        *,
        group: str = "servers",
        machine: str | None = None,
        joined_at: datetime = datetime(2020, 1, 1, tzinfo=timezone.utc),
    ) -> None:
        """A host named `NAME of ID`, with the secret of this object, which has joined long ago."""
        host = Host(
            id,
            f"name-of-{id}",
            group,
            self.application_secret,
            machine,
            HostStatus.ACTIVE,
            joined_at,
            "i-test",
            admitted=True,
        )
        self.transaction(lambda gateway, connection: hosts.add(gateway, connection, host))

    def change_host(self, id: str = HOST, **columns: Any) -> None:
        self.transaction(lambda gateway, connection: hosts.change(gateway, connection, id, **columns))

    def add_person(self, name: str, token: str, groups: tuple[str, ...] = ()) -> None:
        person = Person(name, token, groups)
        self.transaction(lambda gateway, connection: people.add(gateway, connection, person))

    def session(self, begun: Any) -> sessions.HostSession:
        """The row of what a start has answered."""
        id = uuid.UUID(begun["status_url"].split("/")[-2])
        found = self.transaction(lambda gateway, connection: sessions.find(gateway, connection, id))
        assert found is not None
        return found

    def rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """What a statement finds, which is not the gateway's."""
        with psycopg.connect(self.settings.database, autocommit=True, row_factory=dict_row) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def look(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Wait until the gateway has looked for the requests on phones once more, from the beginning to the end. Until
        then, `meanwhile` is called again and again."""
        now = time.monotonic()

        def has_looked() -> bool:
            meanwhile()
            return self.gateway.looked_at > now

        wait_until(has_looked, "the gateway does not look")

    def turn_is_over(self, person: str) -> None:
        """As if the deadline of the request of a person had passed for long."""

        async def go(_: Gateway, connection: Connection) -> None:
            before = await turns.locked(connection, person)
            holder = before.state.turn_holder()
            assert holder is not None
            await turns.write(connection, before, turns.holding(before.state, holder, before.now))

        self.transaction(go)

    @property
    def records(self) -> list[dict[str, Any]]:
        """All records, the oldest first, each with its fields."""
        rows = self.rows("SELECT kind, host, person, fields FROM record ORDER BY id")
        return [{**row, **row.pop("fields")} for row in rows]


class HostCaller(Signer[Server]):
    """Calls a gateway as its host."""

    def ask(self, person: str, request_id: str = "", command: str = "", **parameters: str) -> Reply:
        """A start with a request id, a new one unless it is given."""
        body = {"command": command} if command else {}
        parameters["request_id"] = request_id or new_request_id()
        if body:
            parameters["body_sha256"] = hashlib.sha256(json.dumps(body).encode()).hexdigest()
        return self.start(person, f"?{urlencode(parameters)}", body)

    def wait(self, begun: Any, version: int | str, seconds: int | str = 25) -> Reply:
        """The answer to a poll that waits until the session has another version."""
        url = f"{begun['status_url']}?wait={seconds}&version={version}"
        return self.session("GET", {**begun, "status_url": url}, "status_url")

    def state(self, begun: Any) -> Any:
        """What a poll says of a session."""
        return self.session("GET", begun, "status_url").authentication

    def answer(self, begun: Any) -> str:
        """What the person has answered. Raises TimeoutError."""
        undecided = ("pending", "identifying")
        status: str = wait_until(
            lambda: None if (status := self.poll(begun)) in undecided else status, "nobody has answered"
        )
        return status


def looks(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> Callable[[], None]:
    """Count the calls of a coroutine function that the only gateway of a test makes each time it looks at something.
    The function that is returned waits until it has looked once more, from the beginning to the end."""
    function, begun = getattr(module, name), []

    async def counted(*arguments: Any) -> Any:
        begun.append(arguments)
        return await function(*arguments)

    def look() -> None:
        before = len(begun)
        wait_until(lambda: len(begun) >= before + 2, "the gateway does not look")

    monkeypatch.setattr(module, name, counted)
    return look


def calls_of(owner: Any, name: str) -> list[tuple[Any, ...]]:
    """The arguments of each call of a coroutine method of this object, from now on."""
    method, calls = getattr(owner, name), list[tuple[Any, ...]]()

    async def noted(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return await method(*arguments, **options)

    setattr(owner, name, noted)
    return calls


def new_request_id() -> str:
    """The id of a new request."""
    return base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
