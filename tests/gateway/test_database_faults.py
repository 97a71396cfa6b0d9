"""PostgreSQL hangs, is killed, goes away or has no room on its disk, while twenty people log in."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import psycopg
import pytest

from pam_iampass.client import AuthenticationAPI, Deadline, Gateways, IampassError, Unavailable
from pam_iampass.client.status import AuthenticationMethod
from tests.gateway.conftest import made_template
from tests.support import world
from tests.support.gateway import HOST, HOST_SECRET, RunningGateway, settings_for
from tests.support.postgres import Postgres
from tests.support.sandbox import Sandbox

pytestmark = [pytest.mark.long, pytest.mark.alone]
#: What may become of a login when the server was killed or has ended.
ANY = ("active", "pending", "Unavailable", "DATABASE_AWAY", "TRY_AGAIN", "outage")
PEOPLE = [f"person{number}" for number in range(20)]
PATIENCE = 12.0
"""Less than the longest of what happens. Seconds."""


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """A server of these tests, with a disk of its own."""
    folder = Path(tempfile.mkdtemp())
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192M,mode=0755", "disk", str(folder)], check=True)
    server = Postgres(folder / "postgres")
    try:
        server.start("-c", "max_wal_size=64MB", "-c", "wal_keep_size=0")
        yield server
    finally:
        server.remove()
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


@dataclass
class Fleet:
    """A gateway, its database and its IAMPASS, whose people approve after a second."""

    gateway: RunningGateway
    postgres: Postgres
    sandbox: Sandbox
    patience: float = PATIENCE
    """Seconds after which a host gives a login up."""

    def log_in(self, person: str) -> str:
        """A login, as a host makes it. Returns the status, the reason why it was not started, or the error; `outage`
        for one that `unavailable: ignore` would let in."""
        deadline = Deadline.after(self.patience)
        gateways = Gateways([self.gateway.url], self.gateway.ca_file)
        api = AuthenticationAPI(HOST, HOST_SECRET, transport=gateways)
        try:
            session = api.authenticate_user(
                person,
                [AuthenticationMethod.device],
                60,
                parameters={"request_id": secrets.token_urlsafe(16)},
                deadline=deadline,
            )
            while session.in_progress and not deadline.expired:
                time.sleep(0.3)
                with suppress(Unavailable):
                    session.get_status(deadline=deadline.sooner(5.0), attempts=1)
            if session.failure_reason is None:
                with suppress(IampassError):
                    session.destroy(deadline=Deadline.after(5.0))
            return session.failure_reason or str(session.session_status.name)
        except IampassError as error:
            return "outage" if isinstance(error, Unavailable) and error.outage else type(error).__name__
        finally:
            gateways.close()

    def log_in_all(self, meanwhile: Callable[[], None]) -> Counter[str]:
        """All people log in within a second, in the middle of which something happens; what became of them."""
        began = time.monotonic()

        def login(number: int) -> str:
            time.sleep(number / len(PEOPLE))
            return self.log_in(PEOPLE[number])

        with ThreadPoolExecutor(len(PEOPLE)) as pool:
            logins = [pool.submit(login, number) for number in range(len(PEOPLE))]
            time.sleep(0.5)
            meanwhile()
            outcomes = Counter(each.result() for each in logins)
        assert time.monotonic() - began < self.patience + 12.0, "each has an answer at its deadline"
        return outcomes

    def goes_on(self) -> None:
        """Nobody was asked twice, no phone rings any more, and the next login is approved."""
        asked = Counter(session.user for session in self.sandbox.sessions)
        assert max(asked.values(), default=0) <= 1, asked
        self.gateway.add_person("late", "token-of-late")
        self.sandbox.add_user("token-of-late")
        until = time.monotonic() + world.PATIENCE
        while (outcome := self.log_in("late")) != "active":
            assert time.monotonic() < until, outcome
            assert outcome in ("DATABASE_AWAY", "outage"), outcome
        assert [session for session in self.sandbox.sessions if session.undecided] == []


@pytest.fixture
def fleet(own_postgres: Postgres, tmp_path: Path) -> Iterator[Fleet]:
    with Sandbox(application_id="fleet", application_secret="s3cret") as sandbox:
        sandbox.auto, sandbox.delay = "approve", 1.0
        conninfo = own_postgres.new_database(made_template(own_postgres))
        with RunningGateway(settings_for(conninfo, sandbox, tmp_path)) as running:
            running.add_host()
            for person in PEOPLE:
                sandbox.add_user(f"token-of-{person}")
                running.add_person(person, f"token-of-{person}")
            yield Fleet(running, own_postgres, sandbox)


def require(outcomes: Counter[str], *allowed: str) -> None:
    """Raises AssertionError for an outcome that is not among these: nobody is let in but by an approval."""
    assert set(outcomes) <= set(allowed), outcomes


@pytest.mark.parametrize("seconds", [2.0, PATIENCE + 2.0])
def test_a_database_that_hangs_is_no_outage(fleet: Fleet, seconds: float) -> None:
    def hang() -> None:
        fleet.postgres.send_all(signal.SIGSTOP)
        time.sleep(seconds)
        fleet.postgres.send_all(signal.SIGCONT)

    approved = ("active",) if seconds < PATIENCE else ()
    if approved:
        fleet.patience = 50.0  # a busy machine has the time to let people in
    outcomes = fleet.log_in_all(hang)
    assert bool(approved) == (outcomes["active"] > 0)
    unknown = (
        () if approved else ("TRY_AGAIN",)
    )  # its phone was asked, and what IAMPASS has said could not be written
    require(outcomes, *approved, "DATABASE_AWAY", *unknown, "Unavailable", "pending")
    fleet.goes_on()


@pytest.mark.parametrize("seconds", [3.0, PATIENCE + 2.0])
def test_a_database_that_is_killed_and_comes_back(fleet: Fleet, seconds: float) -> None:
    def kill() -> None:
        fleet.postgres.kill()
        time.sleep(seconds)
        fleet.postgres.start()

    outcomes = fleet.log_in_all(kill)
    require(outcomes, *ANY)
    fleet.goes_on()


def test_a_database_without_room_on_its_disk_is_no_outage(fleet: Fleet) -> None:
    filler = fleet.postgres.folder.parent / "filler"

    def fill() -> None:
        with psycopg.connect(fleet.gateway.settings.database, autocommit=True) as connection:
            connection.execute("CREATE TABLE filler (filler text)")
            room = os.statvfs(filler.parent)
            with suppress(OSError):
                filler.write_bytes(bytes(room.f_bavail * room.f_frsize))
            with pytest.raises(psycopg.Error):  # what PostgreSQL has in reserve
                while True:
                    connection.execute(
                        "INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 1000)"
                    )
        time.sleep(6.0)
        filler.unlink()
        fleet.postgres.start_again()

    outcomes = fleet.log_in_all(fill)
    require(outcomes, *ANY)
    fleet.goes_on()
