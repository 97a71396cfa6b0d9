"""A primary and a synchronous standby below a gateway: what fails, and what becomes of fifty logins that wait, of
logins that begin meanwhile, of recovery codes and of kept logins (docs/fleet/database-pair.md)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pam_iampass.client import AuthenticationAPI, Deadline, Gateways, IampassError, Session, Unavailable
from pam_iampass.client.status import AuthenticationMethod
from pam_iampass.gateway.base.gateway import opened
from pam_iampass.gateway.base.places import ACCOUNT
from pam_iampass.gateway.base.settings import load
from pam_iampass.gateway.calls import codes
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import Host, HostStatus
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person
from tests.gateway.test_codes import answer
from tests.gateway.test_kept_at_gateway import ask
from tests.support.black_hole import silence
from tests.support.gateway import HOST_SECRET, HostCaller
from tests.support.gateway_machine import ETC, add_account, by, run_gateway, serving
from tests.support.postgres import Postgres
from tests.support.sandbox import Sandbox
from tests.support.world import wait_until

pytestmark = pytest.mark.long

ADDRESSES = ("203.0.113.11", "203.0.113.12")
PORTS = (5461, 5462)
CONNINFO = f"host={','.join(ADDRESSES)} port={PORTS[0]},{PORTS[1]} user={ACCOUNT} dbname=iampass"
URL = "https://127.0.0.1:8443"
HOSTS = tuple(f"h-{letter * 12}" for letter in "abcde")
ROLE = (
    f'CREATE ROLE "{ACCOUNT}" LOGIN',
    f'CREATE DATABASE iampass OWNER "{ACCOUNT}"',
    "REVOKE CONNECT ON DATABASE iampass FROM PUBLIC",
    f'GRANT pg_read_all_stats TO "{ACCOUNT}"',
)
BOTH = "wait for 1 synchronous, and 1 connected, standbys"
PROMOTE = "SELECT pg_promote()"
NO_STANDBY = ("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
WITH_STANDBY = ("ALTER SYSTEM SET synchronous_standby_names = 'db1, db2'", NO_STANDBY[1])
WAITING = tuple(f"person{number}" for number in range(50))
LATE = tuple(f"late{number}" for number in range(10))
LATER = tuple(f"later{number}" for number in range(10))
KEPT = tuple(f"kept{number}" for number in range(3))
CODES = "coded"
#: Seconds for which a login waits: one whose phone rings before the event, and one that begins meanwhile.
PATIENCE, LATE_PATIENCE = 120.0, 6.0
#: For a machine that stalls.
SLACK = 15.0


@dataclass(frozen=True)
class Allowed:
    """What may become of logins and codes in an event. An answer is one of several if it depends on how far a login had
    come."""

    waiting: set[str]
    """Of logins whose phones ring."""
    late: set[str]
    """Of those that begin meanwhile."""
    codes: set[str]
    """Why recovery codes are refused meanwhile. They are redeemed before and after."""

    def require(self, fleet: Fleet, waiting: Counter[str], late: Counter[str]) -> None:
        """Raises AssertionError if anything else has happened."""
        assert set(waiting) <= self.waiting, waiting
        assert set(late) <= self.late, late
        assert fleet.refusals <= {*self.codes, "WRONG_CODE"}, fleet.refusals


APPROVED = {"active"}
NO_ANSWER = {"Unavailable", "pending"}
REFUSED = {"TRY_AGAIN", "DATABASE_AWAY"}
FAILED = "the database has failed"
HANGS = "commits hang: they wait for 1 synchronous, and 0 connected, standbys"
OLD_COPY = "the database is an old copy: pam-iampass-gateway restored"
#: The primary is lost or cut off, and a server with the same data answers.
TAKEN_OVER = Allowed(APPROVED, APPROVED | REFUSED | NO_ANSWER, REFUSED)


@dataclass
class Pair:
    """A primary, and a standby for which its commits wait."""

    primary: Postgres
    standby: Postgres

    def promote(self) -> None:
        """The standby becomes the primary, whose commits wait for nobody."""
        system(self.standby, PROMOTE, *NO_STANDBY)


def system(server: Postgres, *statements: str, database: str = "postgres") -> list[Any]:
    """Have the administrator of a server execute statements; what the last one finds."""
    with psycopg.connect(server.conninfo(database), autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@dataclass
class OneHost:
    """A host, for HostCaller."""

    application_id: str
    application_secret: str = HOST_SECRET
    port: int = 8443
    ca_file: Path = ETC / "ca.pem"
    url: str = URL


class Fleet:
    """Five hosts and their logins."""

    def __init__(self, sandbox: Sandbox, pair: Pair, all_codes: list[str]) -> None:
        self.sandbox, self.pair, self.codes = sandbox, pair, all_codes
        self.waiting: set[str] = set()
        self._service = contextlib.ExitStack()
        self._before = len(sandbox.sessions)
        self._gateways = [Gateways([URL], ETC / "ca.pem") for _ in HOSTS]
        self._pool = ThreadPoolExecutor(80)
        self._deadlines: dict[str, float] = {}
        self._over = threading.Event()
        self.accepted: Counter[str] = Counter()
        self.said_of_kept: set[str] = set()
        self.refusals: set[str] = set()
        self.outages = 0

    def api(self, number: int) -> AuthenticationAPI:
        return AuthenticationAPI(HOSTS[number % 5], HOST_SECRET, transport=self._gateways[number % 5])

    def start(self, number: int, person: str, patience: float, duration: int = int(PATIENCE)) -> Session:
        """Raises IampassError."""
        deadline = Deadline.after(patience)
        self._deadlines[person] = time.monotonic() + patience
        return self.api(number).authenticate_user(
            person,
            [AuthenticationMethod.device],
            duration,
            parameters={"request_id": secrets.token_urlsafe(16), "timeout": f"{patience:.0f}"},
            deadline=deadline,
        )

    def log_in(self, number: int, person: str, patience: float) -> str:
        """A login, as a host makes it: its status in the end, or why it was not started."""
        began = time.monotonic()
        deadline = Deadline.after(patience)
        try:
            session = self.start(number, person, patience)
            if session.in_progress:
                self.waiting.add(person)
            while session.in_progress and deadline.remaining() > 1.0:
                wait = max(min(session.longest_wait, int(deadline.remaining() - 0.5)), 0)
                try:
                    session.get_status(deadline=deadline.sooner(5.0 + wait), attempts=1, wait=wait)
                except Unavailable:
                    time.sleep(0.5)
            found = session.failure_reason or session.session_status.name
        except Unavailable as error:
            self.outages += error.outage
            return "outage" if error.outage else "Unavailable"
        except IampassError as error:
            return type(error).__name__
        finally:
            assert time.monotonic() - began < patience + SLACK, f"{person} has no answer"
        if session.session_token is not None:
            with suppress(IampassError):
                session.destroy(deadline=Deadline.after(3.0))
        return found

    def begin(self, who: tuple[str, ...], patience: float) -> list[Future[str]]:
        """Begin to log in."""
        return [self._pool.submit(self.log_in, number, person, patience) for number, person in enumerate(who)]

    def lets_all_in(self) -> None:
        """Ten people log in, five at a time, as in `begin_waiting`."""
        for some in (LATER[:5], LATER[5:]):
            assert outcomes(self.begin(some, PATIENCE)) == {"active": 5}

    def begin_waiting(self, patience: float = PATIENCE) -> list[Future[str]]:
        """Fifty logins, whose phones ring when this returns. Five begin at a time, and again if they are refused: a
        gateway on a slow machine has no connection left for each of many that begin at once."""
        logins: dict[str, Future[str]] = {}
        while left := tuple(each for each in WAITING if each not in self.waiting)[:5]:
            logins |= zip(left, self.begin(left, patience))
            for person in left:
                wait_until(partial(self._is_answered, person, logins[person]), "a start hangs", patience)
        return list(logins.values())

    def _is_answered(self, person: str, login: Future[str]) -> bool:
        """Whether a start was answered: the phone rings, or a connection was missing."""
        if person in self.waiting or not login.done():
            return person in self.waiting
        assert login.result() == "DATABASE_AWAY"
        return True

    def rung(self, person: str) -> list[float]:
        """When the phone of a person has rung."""
        return [
            each.started_at
            for each in self.sandbox.sessions[self._before :]
            if each.user == f"token-of-{person}"
        ]

    def keep(self) -> None:
        """Three people are logged in; from now on it is noted what their host hears of it."""
        self.kept = [self.start(0, person, 20.0, 3600) for person in KEPT]
        for person in KEPT:
            self.sandbox.approve(f"token-of-{person}")
        for session in self.kept:
            wait_until(partial(_is_active, session), "it is not approved")
        self._watching = [self._pool.submit(each) for each in (self._watch_kept, self._redeem)]

    def _watch_kept(self) -> None:
        caller = HostCaller(OneHost(HOSTS[0]), timeout=10.0)
        versions = {str(each.status_url).split("/")[-2]: 2 for each in self.kept}
        while not self._over.wait(0.5):
            for session in self.kept:
                with suppress(IampassError):
                    self.said_of_kept.add(session.get_status(Deadline.after(4.0), attempts=1).name)
            with suppress(OSError):
                reply = ask(caller, versions, 1)
                if reply.status == 200:
                    self.said_of_kept |= {str(each["status"]) for each in reply.json["changed"].values()}

    def _redeem(self) -> None:
        """Type one code after the other, each until it lets somebody in, or once more if that is not known."""
        for code in self.codes * 2:
            if self._over.wait(0.7):
                return
            self.redeem(code)

    def redeem(self, code: str) -> None:
        caller = HostCaller(OneHost(HOSTS[1]), timeout=12.0)
        with suppress(OSError):
            found = answer(caller, CODES, code, remote=f"192.0.2.{len(self.refusals) + 1}")
            if isinstance(found, int):
                self.accepted[code] += 1
            else:
                self.refusals.add(found)

    def serve(self) -> None:
        """Start the gateway, or kill it and start another one."""
        self._service.close()
        process = self._service.enter_context(serving())
        self._service.callback(os.kill, process, signal.SIGKILL)
        wait_until(lambda: self.ready()["ready"], "the gateway is not ready")
        environment = Path(f"/proc/{process}/environ").read_bytes().decode().split("\0")
        self.state = dict(each.partition("=")[::2] for each in environment)["STATE_DIRECTORY"]

    def ready(self) -> dict[str, Any]:
        """What `/readyz` says now."""
        time.sleep(1.1)
        try:
            with urllib.request.urlopen("http://127.0.0.1:8444/readyz", timeout=PATIENCE) as reply:
                found: dict[str, Any] = json.loads(reply.read())
        except urllib.error.HTTPError as error:
            with error:
                found = json.loads(error.read())
        return found

    def approve_all(self) -> None:
        """Each person whose phone rings approves; and from now on at once."""
        self.sandbox.auto, self.sandbox.delay = "approve", 0.2
        for each in self.sandbox.sessions[self._before :]:
            if each.undecided:
                with suppress(LookupError):
                    self.sandbox.approve(each.number)

    def problems(self, *expected: str) -> None:
        """Wait until `/readyz` has one of these problems, or none if none is expected."""

        def has() -> bool:
            found = self.ready()["problems"]
            return any(each in expected for each in found) if expected else not found

        wait_until(has, f"not in /readyz: {expected}")

    def holds(self) -> None:
        """Look at what must hold whatever has happened."""
        self._over.set()
        for each in self._watching:
            each.result()
        for person in (*WAITING, *LATE, *LATER):
            rung = self.rung(person)
            assert len(rung) <= 1, f"the phone of {person} has rung again"
            until = self._deadlines.get(person, 0.0) + SLACK
            assert all(at < until for at in rung), f"{person} has given up"
        assert self.said_of_kept <= {"active", "None"}
        assert all(times == 1 for times in self.accepted.values()), self.accepted
        assert self.outages == 0

    def close(self) -> None:
        self._over.set()
        self._pool.shutdown()
        self._service.close()
        for each in self._gateways:
            each.close()


def _is_active(session: Session) -> bool:
    return session.get_status().name == "active"


def outcomes(logins: list[Future[str]]) -> Counter[str]:
    """What became of them."""
    return Counter(each.result() for each in logins)


async def _populate() -> list[str]:
    """Hosts, people and recovery codes; the codes."""
    async with opened(load(ETC / "gateway.yaml")) as gateway, gateway.database.transaction() as connection:
        for id in HOSTS:
            now = datetime.now(timezone.utc)
            host = Host(id, f"name-of-{id}", "servers", HOST_SECRET, None, HostStatus.ACTIVE, now, "i-test")
            await hosts.add(gateway, connection, host)
        for name in (*WAITING, *LATE, *LATER, *KEPT, CODES):
            await people.add(gateway, connection, Person(name, f"token-of-{name}", ()))
        found = await people.find(gateway, connection, CODES)
        assert found is not None
        return [each.replace("-", "") for each in await codes.renew(gateway, connection, found)]


@dataclass
class Machine:
    """The gateway's machine, and a database as a pair begins with it."""

    sandbox: Sandbox
    folder: Path
    template: Postgres
    codes: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    add_account()
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    for address in ADDRESSES:
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    template = Postgres(folder / "template")
    try:
        with (folder / "template/data/pg_hba.conf").open("a") as rules:
            rules.write("host all all 203.0.113.0/24 trust\n")
        template.port = PORTS[0]
        template.start(address=ADDRESSES[0])
        system(template, *ROLE)
        with Sandbox(application_id="demo", application_secret="s3cret", request_timeout=PATIENCE) as sandbox:
            ca = Path("/etc/sandbox-ca.pem")
            shutil.copy(sandbox.ca_file, ca)
            ca.chmod(0o644)
            given = ["--name", "127.0.0.1", "--application-id", "demo", "--secret-file", "-"]
            given += ["--server", sandbox.url, "--server-ca-file", str(ca), "--database", CONNINFO]
            run_gateway("init", *given, typed="s3cret\n")
            file = ETC / "gateway.yaml"
            written = file.read_text().replace(
                "  default: {everybody: true}\n", "  servers: {everybody: true}\n"
            )
            file.write_text(f"{written}limits: {{wrong_codes_per_hour: 20}}\n")
            for name in (*WAITING, *LATE, *LATER, *KEPT):
                sandbox.add_user(f"token-of-{name}")
            found = Machine(sandbox, folder, template, asyncio.run(_populate()))
            template.stop()
            template.port = PORTS[0] - 1
            template.start()
            yield found
            ca.unlink()
    finally:
        template.remove()
        shutil.rmtree(folder)
        shutil.rmtree(ETC, ignore_errors=True)
        for address in ADDRESSES:
            subprocess.run(["ip", "address", "delete", f"{address}/32", "dev", "lo"], check=True)


@contextlib.contextmanager
def fleet(
    machine: Machine, clock: tuple[str, ...] = (), primary_folder: Path | None = None
) -> Iterator[Fleet]:
    """A pair with a gateway, and three people who are logged in. `clock` is the standby's."""
    made = []
    try:
        primary = Postgres((primary_folder or machine.folder) / "db1", machine.template)
        made.append(primary)
        primary.port = PORTS[0]
        primary.start(address=ADDRESSES[0])
        system(primary, *WITH_STANDBY)
        standby = Postgres(machine.folder / "db2", primary, standby=True)
        made.append(standby)
        standby.port = PORTS[1]
        standby.start(address=ADDRESSES[1], clock=clock)
        machine.sandbox.auto = "ignore"
        found = Fleet(machine.sandbox, Pair(primary, standby), machine.codes)
        try:
            found.serve()
            found.keep()
            yield found
        finally:
            found.close()
    finally:
        for each in made:
            each.remove()


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk for one server."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256M,mode=0755", "disk", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def fill(server: Postgres, filler: Path) -> None:
    """Leave no room for what a server writes ahead: it gives up."""
    room = os.statvfs(filler.parent)
    with suppress(OSError):
        filler.write_bytes(bytes(room.f_bavail * room.f_frsize))
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("SET synchronous_commit = local")
        with pytest.raises(psycopg.OperationalError):
            for _ in range(50):  # files that it has kept for this
                connection.execute("SELECT txid_current(), pg_switch_wal()")


def test_the_page_has_what_is_typed_here() -> None:
    page = (Path(__file__).parents[2] / "docs/fleet/database-pair.md").read_text(encoding="utf-8")
    assert [each for each in (*ROLE, *WITH_STANDBY, *NO_STANDBY) if f"    {each};\n" not in page] == []
    assert f"`{PROMOTE};`" in page


@pytest.mark.long
@pytest.mark.alone
def test_the_old_primary_comes_back_after_the_standby_was_promoted(machine: Machine) -> None:
    with small_disk(machine.folder / "disk") as disk, fleet(machine, primary_folder=disk) as running:
        old, new = running.pair.primary, running.pair.standby
        waiting = running.begin_waiting()
        late = running.begin(LATE[:5], LATE_PATIENCE)
        fill(old, disk / "filler")
        late += running.begin(LATE[5:], LATE_PATIENCE)
        old.kill()  # it may try to start again
        running.problems(FAILED)
        running.pair.promote()
        running.problems()
        running.approve_all()
        TAKEN_OVER.require(running, outcomes(waiting), outcomes(late))

        (disk / "filler").unlink()
        old.start(address=ADDRESSES[0])
        system(old, *NO_STANDBY)
        system(new, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ACCOUNT}'")
        running.problems()
        assert outcomes(running.begin(LATER[:5], PATIENCE)) == {"active": 5}
        running.serve()
        assert outcomes(running.begin(LATER[5:], PATIENCE)) == {"active": 5}
        count = "SELECT count(*) FROM session WHERE person LIKE 'later%'"
        assert [system(each, count, database="iampass") for each in (old, new)] == [[(0,)], [(10,)]]
        running.holds()
        new.kill()
        running.problems(FAILED)  # the old one is there


#: The clock of the new primary is ahead: what waits may be over.
AHEAD = Allowed(APPROVED | {"closed"}, TAKEN_OVER.late | {"closed"}, REFUSED)


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.parametrize(
    ("allowed", "clock"), [(AHEAD, "+600"), (TAKEN_OVER, "-600")], ids=["ahead", "behind"]
)
def test_the_standby_is_promoted_and_has_another_time(machine: Machine, allowed: Allowed, clock: str) -> None:
    with fleet(machine, by(clock)) as running, contextlib.ExitStack() as power:
        waiting = running.begin_waiting()
        assert running.ready()["commits"] == BOTH
        late = running.begin(LATE[:5], LATE_PATIENCE)
        if allowed is TAKEN_OVER:
            power.enter_context(silence(ADDRESSES[0]))
        running.pair.primary.kill()
        late += running.begin(LATE[5:], LATE_PATIENCE)
        running.problems(FAILED, "the database does not answer in time")
        new = running.pair.standby
        system(new, PROMOTE)
        running.problems(HANGS)
        system(new, *NO_STANDBY)
        running.problems()
        running.approve_all()
        allowed.require(running, outcomes(waiting), outcomes(late))

        running.pair.primary.remove()
        power.close()
        again = Postgres(machine.folder / "db1", new, standby=True)
        power.callback(again.remove)
        again.port = PORTS[0]
        again.start(address=ADDRESSES[0])
        system(new, *WITH_STANDBY)
        wait_until(lambda: running.ready()["commits"] == BOTH, "the old server does not follow")
        running.lets_all_in()
        running.holds()


GONE = Allowed(APPROVED, REFUSED | NO_ANSWER, REFUSED)


@pytest.mark.long
@pytest.mark.alone
def test_commits_hang_without_the_standby_and_some_are_cancelled(machine: Machine) -> None:
    hangs = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    with fleet(machine) as running:
        primary, standby = running.pair.primary, running.pair.standby
        waiting = running.begin_waiting()
        standby.kill()
        late = running.begin(LATE[:5], LATE_PATIENCE)
        running.problems(HANGS)
        running.approve_all()
        busy = f"SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND usename = '{ACCOUNT}'"
        wait_until(lambda: system(primary, busy)[0][0] >= 20, "not all connections are in use")
        running.problems(HANGS)
        system(primary, f"SELECT pg_cancel_backend(pid) {hangs}")
        late += running.begin(LATE[5:], LATE_PATIENCE)
        found = outcomes(late)
        system(primary, *NO_STANDBY)
        running.problems()
        GONE.require(running, outcomes(waiting), found)
        running.lets_all_in()
        assert not any(map(running.rung, LATE))

        system(primary, *WITH_STANDBY)
        standby.start(address=ADDRESSES[1])
        wait_until(
            lambda: "1 connected" in running.ready()["commits"], "the standby does not come back", 30.0
        )
        running.problems()
        running.holds()


@pytest.mark.long
@pytest.mark.alone
def test_the_gateway_is_cut_off_from_the_primary(machine: Machine) -> None:
    with fleet(machine) as running:
        waiting = running.begin_waiting()
        late = running.begin(LATE[:5], LATE_PATIENCE)
        until = time.monotonic() + 12.0
        with silence(ADDRESSES[0]):
            late += running.begin(LATE[5:], LATE_PATIENCE)
            running.problems(FAILED, "the database does not answer in time")
            time.sleep(max(until - time.monotonic(), 0.0))
        running.problems()
        running.approve_all()
        TAKEN_OVER.require(running, outcomes(waiting), outcomes(late))
        running.lets_all_in()
        running.holds()


BACKUP = Allowed({"NotFound"} | NO_ANSWER, {"RESTORED"}, REFUSED | {"RESTORED"})


@pytest.mark.long
@pytest.mark.alone
def test_a_backup_is_put_back(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with fleet(machine) as running, contextlib.ExitStack() as stack:
        backup = Postgres(machine.folder / "backup", running.pair.primary)
        stack.callback(backup.remove)
        waiting = running.begin_waiting(30.0)
        wait_until(lambda: running.accepted, "no code is accepted")
        for each in (running.pair.primary, running.pair.standby):
            each.kill()
        running.problems("the database cannot be reached")
        backup.port = PORTS[0]
        backup.start("-c", "synchronous_standby_names=", address=ADDRESSES[0])
        running.problems(OLD_COPY)
        late = running.begin(LATE, LATE_PATIENCE)
        running.approve_all()
        BACKUP.require(running, outcomes(waiting), outcomes(late))

        monkeypatch.setenv("STATE_DIRECTORY", running.state)
        assert f"the recovery codes of {CODES}" in run_gateway("restored", "--confirm")
        running.problems()
        for code in running.codes:
            running.redeem(code)
        assert "WRONG_CODE" in running.refusals
        running.lets_all_in()
        running.holds()
