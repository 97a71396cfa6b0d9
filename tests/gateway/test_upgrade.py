"""Two gateways are upgraded one after the other, with a migration, while logins wait on two hosts."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import psycopg
import pytest

from pam_iampass.agent.context import TIMESTAMP_TICK
from pam_iampass.gateway import hosts, people
from pam_iampass.gateway.database import Lock
from pam_iampass.gateway.gateway import opened
from pam_iampass.gateway.hosts import Host, HostStatus
from pam_iampass.gateway.people import Person
from pam_iampass.gateway.settings import load
from pam_iampass.outcome import PamCode
from tests.support.door import Told
from tests.support.folders import new_own_folder
from tests.support.gateway import HOST_SECRET
from tests.support.gateway_machine import ETC, initialised, package, run_gateway, serving
from tests.support.postgres import Postgres
from tests.support.running_agent import Running, running
from tests.support.sandbox import Sandbox
from tests.support.setting import Setting
from tests.support.world import wait_until

HOSTS = ("h-aaaaaaaaaaaa", "h-bbbbbbbbbbbb")
WAITING = [f"waiting{number}" for number in range(20)]
COMING = [f"coming{number}" for number in range(8)]
"""Those who log in while it is done."""
PORTS = (8443, 8543)


class Fleet:
    """The gateways, in the release that each has, and two hosts."""

    def __init__(self, server: Postgres, sandbox: Sandbox, newer: Path, agents: Sequence[Running]) -> None:
        self.server = server
        self.sandbox = sandbox
        self.newer = newer
        self._agents = agents
        self._pool = ThreadPoolExecutor(len(WAITING) + 2)
        self._coming = iter(COMING)

    def begin(self, user: str, host: int) -> Future[Told]:
        return self._pool.submit(self._agents[host].login, 240.0, user=user)

    def log_in(self) -> float:
        """A new login on each host is approved. Returns how long the two phones took to ring, in seconds."""
        began = time.monotonic()
        users = [next(self._coming) for _ in self._agents]
        logins = [self.begin(user, host) for host, user in enumerate(users)]
        self.wait_for_phones(users)
        rang = time.monotonic() - began
        for user, login in zip(users, logins):
            self.sandbox.approve(token(user))
            assert login.result(60).code == PamCode.SUCCESS
        return rang

    def wait_for_phones(self, users: Sequence[str]) -> None:
        wait_until(lambda: {token(user) for user in users} <= set(self.rings), "a phone does not ring")

    def migrate_in_the_end(self) -> str:
        """What `migrate` says once it has not given up: on a busy machine a login holds a lock for long, too."""
        for _ in range(20):
            said = run_gateway("migrate", release=self.newer, status=None)
            if "has held a lock for 2 s" not in said:
                return said
        raise AssertionError(said)

    def migration_waits(self) -> bool:
        """Whether a migration waits for a table, and all others that use it behind it."""
        waits = "SELECT FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted"
        with psycopg.connect(self.server.conninfo("iampass")) as connection:
            return connection.execute(waits).fetchone() is not None

    @property
    def rings(self) -> list[str]:
        return [session.user for session in self.sandbox.sessions]


def token(user: str) -> str:
    return f"token-of-{user}"


@contextmanager
def accounts(names: Sequence[str]) -> Iterator[None]:
    """Accounts of this machine."""
    passwd = Path("/etc/passwd")
    before = passwd.read_text()
    lines = (f"{name}:x:{30000 + number}:65534::/:/bin/sh\n" for number, name in enumerate(names))
    passwd.write_text(before + "".join(lines))
    try:
        yield
    finally:
        passwd.write_text(before)


async def populate(server: Postgres) -> None:
    settings = replace(load(ETC / "gateway.yaml"), database=server.conninfo("iampass"))
    async with opened(settings) as gateway, gateway.database.transaction() as connection:
        for id in HOSTS:
            now = datetime.now(timezone.utc)
            host = Host(id, id, "default", HOST_SECRET, None, HostStatus.ACTIVE, now, "i-test")
            await hosts.add(gateway, connection, host)
        for user in (*WAITING, *COMING):
            await people.add(gateway, connection, Person(user, token(user)))


@contextmanager
def gateway(number: int, release: Path) -> Iterator[int]:
    """One of the two, in a release."""
    text = (ETC / "gateway.yaml").read_text()
    settings = ETC / f"gateway{number}.yaml"
    own = f"listen: 127.0.0.1:{PORTS[number]}\nmonitoring: 127.0.0.1:{PORTS[number] + 1}\n"
    settings.write_text(text + own)
    with serving(settings=settings, release=release) as pid:
        yield pid


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A release that adds a table, and a column with an index to each other one."""
    folder = Path(shutil.copytree(package(), tmp_path / "newer"))
    for parent in (tmp_path, *list(tmp_path.parents)[:2]):
        parent.chmod(0o755)
    migrations = folder / "pam_iampass/gateway/migrations"
    (migrations / "0002_later.sql").write_text("CREATE TABLE later (id integer PRIMARY KEY);\n")
    tables = re.findall("^CREATE TABLE ([a-z_]+)", (migrations / "0001_begin.sql").read_text(), re.M)
    for number, table in enumerate(tables, 3):
        added = (
            f"ALTER TABLE {table} ADD COLUMN later text;\nCREATE INDEX {table}_later ON {table} (later);\n"
        )
        (migrations / f"{number:04d}_{table}.sql").write_text(added)
    return folder


@pytest.fixture
def fleet(newer: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        server, sandbox = stack.enter_context(initialised())
        stack.enter_context(accounts([*WAITING, *COMING]))
        asyncio.run(populate(server))
        for user in (*WAITING, *COMING):
            sandbox.add_user(token(user))
        sandbox.auto, sandbox.request_timeout = "ignore", 300.0
        agents = []
        urls = [f"https://localhost:{port}" for port in PORTS]
        for id, gateways in ((HOSTS[0], urls), (HOSTS[1], urls[::-1])):
            host = Setting(stack.enter_context(new_own_folder()), sandbox)
            stack.callback(host.state.database.close)
            host.write("application-secret", HOST_SECRET)
            host.write("ca.pem", (ETC / "ca.pem").read_text())
            host.configure(application_id=id, gateways=f"[{', '.join(gateways)}]", timeout="240s")
            agents.append(stack.enter_context(running(host)))
        time.sleep(2 * TIMESTAMP_TICK)
        yield Fleet(server, sandbox, newer, agents)


def test_gateways_are_upgraded_one_by_one_while_logins_wait_and_each_phone_rings_once(fleet: Fleet) -> None:
    def migrate(*words: str, status: int = 0) -> str:
        return run_gateway("migrate", *words, release=fleet.newer, status=status)

    with ExitStack() as first, ExitStack() as second:
        first.enter_context(gateway(0, package()))
        second.enter_context(gateway(1, package()))
        waiting = [fleet.begin(user, number % 2) for number, user in enumerate(WAITING)]
        fleet.wait_for_phones(WAITING)

        # The newer release does not run on the tables of the older one.
        told = run_gateway("serve", release=fleet.newer, status=1)
        assert re.search(r"have version 1, and this gateway needs 1\d: run pam-iampass-gateway migrate", told)
        assert told == migrate("--check", status=1)

        # Whoever reads a table for long, such as a backup, makes the migration give up, and no login fails.
        with psycopg.connect(fleet.server.conninfo("iampass")) as backup:
            backup.execute("SELECT count(*) FROM session")
            with ThreadPoolExecutor(1) as pool:
                given_up = pool.submit(migrate, status=1)
                wait_until(fleet.migration_waits, "the migration does not come to the table")
                fleet.log_in()
                assert "has held a lock for 2 s" in given_up.result()

        assert re.search(r"have version 1\d; before 1?\d\.", fleet.migrate_in_the_end())
        with psycopg.connect(fleet.server.conninfo("iampass")) as other:
            other.execute(
                "SELECT pg_advisory_xact_lock(%s)", (Lock.MIGRATIONS.value,)
            )  # another one migrates
            assert re.fullmatch(r"The tables have version 1\d already\.\n", migrate("--check"))
        fleet.log_in()
        for number, running_gateway in enumerate((first, second)):
            running_gateway.close()
            running_gateway.enter_context(gateway(number, fleet.newer))
            fleet.log_in()
        assert [login.result() for login in waiting if login.done()] == []
        for user in WAITING:
            fleet.sandbox.approve(token(user))
        assert [login.result(60).code for login in waiting] == [PamCode.SUCCESS] * len(WAITING)
    assert sorted(fleet.rings) == sorted(map(token, (*WAITING, *COMING)))
