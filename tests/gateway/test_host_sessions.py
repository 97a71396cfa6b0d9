"""The sessions of hosts: whose they are, what IAMPASS says of them, and what an attacker in the database cannot do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg
import pytest

from pam_iampass.client.call import Call
from pam_iampass.client.status import Status
from pam_iampass.gateway.base.connection import Connection, UnknownOutcome
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.upstream import Lane, Upstream
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import HostStatus
from pam_iampass.gateway.people import people
from pam_iampass.gateway.requests import asking, sessions
from pam_iampass.gateway.requests.sessions import HostSession, State
from pam_iampass.gateway.serving import watching
from tests.sandbox.signer import signed
from tests.support.gateway import HOST, HostCaller, RunningGateway, looks, new_request_id, settings_for
from tests.support.sandbox import Hang, HttpStatus, Sandbox
from tests.support.world import PATIENCE, wait_until

JSON = {"Content-Type": "application/json"}


def approved(caller: HostCaller, sandbox: Sandbox, person: str = "alice") -> Any:
    """A session that is active."""
    begun = caller.ask(person).authentication
    sandbox.approve(sandbox.wait_for_request(f"token-of-{person}"))
    assert caller.answer(begun) == "active"
    return begun


def polls(sandbox: Sandbox) -> int:
    return [call.kind for call in sandbox.calls].count("poll")


# What IAMPASS says


def test_a_session_that_is_open_is_asked_for_now(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions, ask = [], asking._poll_iampass_now

    def counted(gateway: Gateway, session: HostSession) -> Any:
        questions.append(session)
        return ask(gateway, session)

    begun = approved(caller, sandbox)
    monkeypatch.setattr(asking, "_poll_iampass_now", counted)
    # A busy machine may make five polls in more than 0.4 s.
    monkeypatch.setattr(asking, "FRESH_SECONDS", PATIENCE)
    gateway_server.gateway.polls.clear()
    with ThreadPoolExecutor(5) as pool:
        assert set(pool.map(caller.poll, [begun] * 5)) == {"active"}
    assert len(questions) == 1
    monkeypatch.setattr(asking, "FRESH_SECONDS", 0.0)
    for change, status in (
        (sandbox.walk_away, "walkaway"),
        (sandbox.come_back, "active"),
        (sandbox.close, "closed"),
    ):
        change("token-of-alice")
        assert caller.poll(begun) == status


def test_a_record_says_how_long_the_person_took(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    session = gateway_server.session(approved(caller, sandbox))
    assert session.decided_at is not None
    took = session.decided_at - session.began_at
    (record,) = (each for each in gateway_server.records if each.get("outcome"))
    assert record["elapsed_ms"] == str(round(took.total_seconds() * 1000))
    assert int(record["elapsed_ms"]) > 0


@pytest.mark.parametrize("fault", [HttpStatus(503), HttpStatus(401)])
def test_while_iampass_does_not_say_so_nothing_is_active_or_closed(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, fault: HttpStatus
) -> None:
    begun = approved(caller, sandbox)
    time.sleep(asking.FRESH_SECONDS)
    sandbox.misbehave("poll", fault, times=None)
    sandbox.misbehave("end", fault, times=None)
    for reply in (caller.session("GET", begun, "status_url"), caller.session("POST", begun, "logout_url")):
        assert (reply.status, reply.reason) == (503, "IAMPASS_AWAY")
    sandbox.behave()
    time.sleep(asking.FRESH_SECONDS)
    assert caller.poll(begun) == "active"
    assert gateway_server.session(begun).state is State.OPEN


def test_a_poll_concludes_nothing_from_a_404_and_says_whose_it_is(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    begun = approved(caller, sandbox)
    time.sleep(asking.FRESH_SECONDS)
    sandbox.misbehave("poll", HttpStatus(404), times=None)
    reply = caller.session("GET", begun, "status_url")
    assert (reply.status, reply.reason) == (404, "UNKNOWN_AT_IAMPASS")
    sandbox.behave()
    time.sleep(asking.FRESH_SECONDS)
    assert caller.poll(begun) == "active"
    assert gateway_server.session(begun).state is State.OPEN


@pytest.mark.parametrize("when", ["approved", "on the phone"])
def test_an_end_of_a_session_that_iampass_does_not_know_is_finished(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, when: str
) -> None:
    begun = approved(caller, sandbox) if when == "approved" else caller.ask("alice").authentication
    sandbox.misbehave("end", HttpStatus(404), times=None)
    assert caller.end(begun) is True
    assert (caller.end(begun), caller.poll(begun)) == (False, "closed")
    assert gateway_server.session(begun).state is State.ENDED
    assert [call.kind for call in sandbox.calls].count("end") == 1
    assert caller.ask("alice").status == 202


def test_an_old_copy_of_the_database_says_nothing_of_a_session_or_a_host(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    def replies() -> list[tuple[int, Any]]:
        return [
            (each.status, each.json.get("reason"))
            for each in (
                caller.session("GET", on_phone, "status_url"),
                caller.session("GET", open_, "status_url"),
                caller.session("POST", open_, "logout_url"),
                caller.get(f"/fleet/host/{HOST}"),
                caller.post(f"/fleet/leave/{HOST}", {}),
                caller.post(f"/fleet/watch/{HOST}", {}),
                caller.post(f"/fleet/people/{HOST}", {}),
                caller.post(f"/fleet/report/{HOST}", {}),
            )
        ]

    on_phone, open_ = caller.ask("bob").authentication, approved(caller, sandbox)
    gateway_server.gateway.restored = True
    assert replies() == [(503, "RESTORED")] * 8
    gateway_server.rows("DELETE FROM host")
    assert replies() == [(503, "RESTORED")] * 8  # to a host that has joined since the backup, too
    gateway_server.gateway.restored = False
    gateway_server.add_host()
    assert caller.poll(open_) == "active"
    assert gateway_server.session(open_).state is State.OPEN


def test_a_poll_that_is_held_when_the_database_is_found_to_be_an_old_copy_is_not_answered_from_it(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    begun = caller.ask("alice").authentication
    with ThreadPoolExecutor() as pool:
        poll = pool.submit(caller.wait, begun, begun["version"])
        wait_until(lambda: len(gateway_server.gateway.held) == 1, "no poll is held")
        gateway_server.gateway.restored = True
        sandbox.approve(sandbox.wait_for_request("token-of-alice"))
        assert (poll.result().status, poll.result().reason) == (503, "RESTORED")


def test_a_request_on_a_phone_is_answered_from_the_database(caller: HostCaller, sandbox: Sandbox) -> None:
    begun = caller.ask("alice").authentication
    sandbox.misbehave("poll", Hang(), times=None)
    sandbox.wait_for_calls("poll")
    assert {caller.poll(begun) for _ in range(5)} == {"pending"}  # IAMPASS would answer none
    sandbox.behave()
    sandbox.approve("token-of-alice")
    other = caller.ask("bob").authentication
    sandbox.approve("token-of-bob")
    assert caller.answer(other) == "active"


def test_another_process_goes_on_with_the_requests_of_one_that_has_stopped(
    conninfo: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    settings = settings_for(conninfo, sandbox, tmp_path)
    with RunningGateway(settings) as first:
        first.populate()
        begun = HostCaller(first).ask("alice").authentication
    sandbox.identify("token-of-alice")
    with RunningGateway(settings) as second:
        caller = HostCaller(second)
        url = begun["status_url"].replace(first.url, second.url)
        begun = {**begun, "status_url": url}
        while caller.poll(begun) == "pending":
            pass
        assert caller.poll(begun) == "identifying"
        sandbox.approve("token-of-alice")
        assert caller.answer(begun) == "active"


@pytest.mark.parametrize("final", [Status.cancelled, Status.failed, Status.timeout, Status.closed])
def test_a_final_status_never_changes(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, final: Status
) -> None:
    begun = caller.ask("alice").authentication
    session = gateway_server.session(begun)
    gateway_server.run(asking.write_status(gateway_server.gateway, session, final))
    ended = gateway_server.session(begun)
    assert (ended.state, ended.status, ended.approved) == (State.ENDED, final, False)
    for later in (Status.active, Status.pending, Status.walkaway):
        assert gateway_server.run(asking.write_status(gateway_server.gateway, session, later)) == ended
    before = polls(sandbox)
    assert caller.poll(begun) == final.name
    assert caller.end(begun) is False
    assert polls(sandbox) <= before + 1  # that of the watch may be under way
    assert len(gateway_server.records) == 1


@pytest.fixture
def looks_once(
    conninfo: str, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningGateway]:
    """A gateway that has looked once which requests are on phones, and does not by itself any more."""
    monkeypatch.setattr(watching, "_LOOK_SECONDS", 10_000.0)
    with RunningGateway(settings_for(conninfo, sandbox, tmp_path)) as running:
        running.populate()
        wait_until(lambda: running.gateway.looked_at > 0, "it does not look")
        yield running


def look(
    running: RunningGateway, read: UUID, meanwhile: Callable[[], Awaitable[object]], patch: pytest.MonkeyPatch
) -> None:
    """Have a gateway look which requests are on phones. Something happens once it has read this one from the
    database."""
    several = sessions.find_several

    async def stopped(gateway: Gateway, connection: Connection, wanted: list[UUID]) -> Any:
        if read in wanted:
            await meanwhile()
        return await several(gateway, connection, wanted)

    patch.setattr(sessions, "find_several", stopped)
    running.run(watching._find_requests(running.gateway, ()))


@pytest.mark.parametrize("is_known", [True, False], ids=["committed", "perhaps committed"])
def test_an_answer_that_is_written_while_the_gateway_looks_is_not_taken_back(
    looks_once: RunningGateway, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    gateway, caller = looks_once.gateway, HostCaller(looks_once)
    begun = caller.ask("alice").authentication
    session, commit = looks_once.session(begun), Connection.commit

    async def unlucky(connection: Connection) -> None:
        await commit(connection)
        raise psycopg.OperationalError("the connection was lost")

    async def answered() -> None:
        if is_known:
            await asking.write_status(gateway, session, Status.failed)
            return
        with monkeypatch.context() as patch, pytest.raises(UnknownOutcome):
            patch.setattr(Connection, "commit", unlucky)
            await asking.write_status(gateway, session, Status.failed)

    look(looks_once, session.id, answered, monkeypatch)
    assert gateway.waiting == {}
    assert caller.poll(begun) == "failed"


def test_a_request_that_begins_while_the_gateway_looks_is_on_the_phone(
    looks_once: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, begun = HostCaller(looks_once), list[Any]()
    first = looks_once.session(caller.ask("alice").authentication).id

    async def begins() -> None:
        begun.append((await asyncio.to_thread(caller.ask, "bob")).authentication)

    look(looks_once, first, begins, monkeypatch)
    second = looks_once.session(begun[0]).id
    assert looks_once.gateway.waiting == {first: Status.pending, second: Status.pending}


def test_an_approval_that_is_written_while_the_gateway_finds_its_host_suspended_is_not_ended(
    looks_once: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = looks_once.gateway
    session = looks_once.session(HostCaller(looks_once).ask("alice").authentication)
    looks_once.change_host(status=HostStatus.SUSPENDED)
    for approved_meanwhile in (False, True):

        async def meanwhile(approved: bool = approved_meanwhile) -> None:
            if approved:
                await asking.write_status(gateway, session, Status.active)

        look(looks_once, session.id, meanwhile, monkeypatch)
        assert gateway.withdrawn == (set() if approved_meanwhile else {session.id})


def test_a_request_that_was_begun_for_a_host_that_is_suspended_at_once_is_ended() -> None:
    gateway, id = Gateway(None, None, None), uuid4()  # type: ignore[arg-type]
    gateway.note_request(id, Status.pending)
    gateway.replace_requests({}, {id}, 1.0)
    assert (gateway.waiting, gateway.withdrawn) == ({}, {id})


def test_who_has_answered_is_not_asked_again(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    begun = approved(caller, sandbox)
    session = gateway_server.session(begun)
    assert gateway_server.run(asking.write_status(gateway_server.gateway, session, Status.pending)) == session


def test_each_change_has_a_version(
    gateway_server: RunningGateway, caller: HostCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_answer(*_: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(asking, "poll_iampass", no_answer)  # it would be a change of its own
    begun = caller.ask("alice").authentication
    versions = [gateway_server.session(begun).version]
    for status in (Status.identifying, Status.active, Status.active, Status.walkaway, Status.closed):
        gateway_server.run(asking.write_status(gateway_server.gateway, gateway_server.session(begun), status))
        versions.append(gateway_server.session(begun).version)
    assert versions == [1, 2, 3, 3, 4, 5]


def test_who_gives_up_ends_the_request_on_the_phone(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    begun = caller.ask("alice").authentication
    assert caller.end(begun) is True
    assert sandbox.wait_for_end("token-of-alice")
    assert caller.poll(begun) == "closed"
    assert [record["outcome"] for record in gateway_server.records] == ["cancelled"]
    assert caller.ask("alice").status == 202


def test_a_request_for_which_nobody_waits_any_more_is_ended(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    session = gateway_server.session(caller.ask("alice").authentication)
    gateway = gateway_server.gateway
    approved = watching._Approved(gateway, 30.0)
    gateway_server.run(watching._follow_request(gateway, session, 300.0, 0.0, approved))
    assert sandbox.wait_for_end("token-of-alice")


def reason_if_meanwhile(
    conninfo: str, sandbox: Sandbox, folder: Path, act: Callable[[Gateway, Connection], Awaitable[object]]
) -> Any:
    """Why a request was not made, if something is done while IAMPASS is called; the phone has stopped ringing."""

    class Slow(Upstream):
        async def call(self, call: Call[Any], seconds: float, lane: Lane, **options: Any) -> Any:
            result = await super().call(call, seconds, lane, **options)
            if call.name == "start":
                async with running.gateway.database.transaction() as connection:
                    assert await act(running.gateway, connection)
            return result

    def change(gateway: Gateway) -> None:
        gateway.iampass = Slow.of(gateway.settings)

    with RunningGateway(settings_for(conninfo, sandbox, folder), change) as running:
        running.populate()
        reply = HostCaller(running).ask("alice")
        assert sandbox.wait_for_end("token-of-alice")
        return reply.authentication["reason"]


def test_a_person_who_is_removed_while_iampass_is_called_gets_no_session(
    conninfo: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    reason = reason_if_meanwhile(conninfo, sandbox, tmp_path, lambda g, each: people.remove(g, each, "alice"))
    assert reason == "NOT_ON_THIS_HOST"


def test_a_host_that_is_suspended_while_iampass_is_called_gets_no_session(
    conninfo: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    def suspend(gateway: Gateway, connection: Connection) -> Awaitable[object]:
        return hosts.change(gateway, connection, HOST, status=HostStatus.SUSPENDED)

    assert reason_if_meanwhile(conninfo, sandbox, tmp_path, suspend) == "HOST_SUSPENDED"


def test_the_record_of_a_session_names_its_host_also_when_that_was_removed(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    session = gateway_server.session(approved(caller, sandbox))
    gateway_server.transaction(lambda _, connection: hosts.remove(connection, f"name-of-{HOST}"))
    assert gateway_server.run(asking.end_session(gateway_server.gateway, session))
    assert [record["host"] for record in gateway_server.records] == [f"name-of-{HOST}"] * 2


def test_a_gateway_that_cannot_watch_does_not_go_on() -> None:
    async def serve() -> None:
        broken: Any = None
        async with watching.watching(Gateway(broken, broken, broken)):
            await asyncio.sleep(60)

    with pytest.raises(AttributeError):
        asyncio.run(serve())


# Whose it is


def test_a_session_is_nobody_elses(
    caller: HostCaller, sandbox: Sandbox, gateway_server: RunningGateway
) -> None:
    mine, other = (caller.ask(person).authentication for person in ("alice", "bob"))
    for method, key in (("GET", "status_url"), ("POST", "logout_url")):
        mixed = {**other, key: mine[key]}
        assert caller.session(method, mixed, key).reason == "UNKNOWN_CLIENT"
        by_secret = {**mine, "session_secret": other["session_secret"]}
        assert caller.session(method, by_secret, key).reason == "BAD_SIGNATURE"
        headers = signed(HOST, gateway_server.application_secret, mine[key])
        reply = caller.send(method, urlsplit(mine[key]).path, {**headers, **JSON})
        assert reply.reason == "UNKNOWN_CLIENT"
    assert sandbox.wait_for_request("token-of-alice").undecided


@pytest.mark.parametrize("id", [str(uuid4()), str(uuid4()).upper(), uuid4().hex, "..", "x" * 36])
def test_there_is_no_session_that_was_not_begun(
    gateway_server: RunningGateway, caller: HostCaller, id: str
) -> None:
    keys, url = gateway_server.gateway.keys, f"{gateway_server.url}/session/{id}/status"
    own = {"session_token": "x", "session_secret": "y"}
    if len(id) == 36 and id != "x" * 36:
        own = {
            "session_token": keys.session_token(UUID(id)),
            "session_secret": keys.session_secret(UUID(id)),
        }
    reply = caller.session("GET", {**own, "status_url": url}, "status_url")
    assert (reply.status, reply.reason) == (404, "UNKNOWN_SESSION")


def test_an_end_is_good_once(caller: HostCaller, sandbox: Sandbox) -> None:
    begun = caller.ask("alice").authentication
    url = begun["logout_url"]
    headers = {**signed(begun["session_token"], begun["session_secret"], url), **JSON}
    replies = [caller.send("POST", urlsplit(url).path, headers) for _ in range(2)]
    assert [reply.status for reply in replies] == [200, 401]
    assert replies[1].reason == "REPLAYED_NONCE"


def test_a_host_that_is_suspended_or_removed_has_no_sessions(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    begun, waits = approved(caller, sandbox), caller.ask("bob").authentication
    while not gateway_server.gateway.waiting:
        assert caller.poll(waits) == "pending"
    calls = (("GET", "status_url"), ("POST", "logout_url"))
    gateway_server.change_host(status=HostStatus.SUSPENDED)
    gateway_server.look()
    assert caller.session("GET", waits, "status_url").reason == "HOST_SUSPENDED"
    replies = [caller.session(call[0], begun, call[1]) for call in calls]
    assert [(reply.status, reply.reason) for reply in replies] == [(403, "HOST_SUSPENDED")] * 2
    gateway_server.change_host(status=HostStatus.ACTIVE)
    assert caller.poll(begun) == "active"
    gateway_server.transaction(lambda _, connection: hosts.remove(connection, f"name-of-{HOST}"))
    replies = [caller.session(call[0], begun, call[1]) for call in calls]
    assert [(reply.status, reply.reason) for reply in replies] == [(401, "UNKNOWN_CLIENT")] * 2
    assert caller.ask("bob").status == 404


# An attacker who can write to the database, and has no key file


@pytest.mark.parametrize(
    "change",
    [
        "status = 'active', approved = true",
        "status = 'active', state = 'open', version = 9, decided_at = now()",
        "person = 'bob'",
        "host = 'h-bbbbbbbbbbbb'",
        "expires_at = now() + interval '1 year'",
        'details = \'{"service": "other"}\'',
    ],
)
def test_the_database_approves_nobody(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, change: str
) -> None:
    once = new_request_id()
    begun = caller.ask("alice", once).authentication
    gateway_server.rows(f"UPDATE session SET {change}")

    def poll() -> None:  # a row that says so may be on the phone
        reply = caller.session("GET", begun, "status_url")
        assert "UNKNOWN_SESSION" in reply.body.decode() or reply.authentication["session_status"] == "pending"

    for _ in range(2):
        gateway_server.look(poll)
    assert caller.session("POST", begun, "logout_url").reason == "UNKNOWN_SESSION"
    assert [record["kind"] for record in gateway_server.records] == ["alert"]
    if not change.startswith("host"):
        assert caller.ask("alice", once).authentication["reason"] == "TRY_AGAIN"
    assert len(sandbox.sessions) == 1


def test_a_session_at_iampass_is_not_exchanged_for_another_ones(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    approved(caller, sandbox, "bob")
    begun = caller.ask("alice").authentication
    alices = gateway_server.session(begun)
    gateway_server.rows(
        "UPDATE session SET upstream = (SELECT upstream FROM session WHERE person = 'bob'),"
        " status = 'active' WHERE id = %s",
        alices.id,
    )
    gateway_server.look()
    assert caller.session("GET", begun, "status_url").reason == "UNKNOWN_SESSION"
    # Also with a MAC, as for a row of another kind.
    keys = gateway_server.gateway.keys
    (row,) = gateway_server.rows("SELECT * FROM session WHERE id = %s", alices.id)
    gateway_server.rows(
        "UPDATE session SET mac = %s WHERE id = %s", keys.sealed("session", row)["mac"], alices.id
    )
    assert caller.session("GET", begun, "status_url").reason == "UNKNOWN_SESSION"


def _shows_another(running: RunningGateway, kind: str, asked: str, given: str) -> None:
    """From now on the database takes `given` for what is asked, with an operator of its owner's."""
    for statement in (
        "CREATE SCHEMA evil",
        f"CREATE FUNCTION evil.equal({kind}, {kind}) RETURNS bool LANGUAGE sql IMMUTABLE AS $$ SELECT $1"
        f" OPERATOR(pg_catalog.=) (CASE WHEN $2 OPERATOR(pg_catalog.=) '{asked}'::{kind} THEN '{given}'::{kind}"
        " ELSE $2 END) $$",
        f"CREATE OPERATOR evil.= (LEFTARG = {kind}, RIGHTARG = {kind}, FUNCTION = evil.equal)",
        f"ALTER DATABASE {running.settings.database.rpartition('=')[2]} SET search_path = evil, pg_catalog, public",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    ):
        running.rows(statement)


def test_a_status_that_is_not_verified_approves_nobody(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    begun = caller.ask("alice").authentication
    id = gateway_server.session(begun).id
    _shows_another(gateway_server, "text", "pending", "active")
    gateway_server.rows("UPDATE session SET status = 'active' WHERE id = %s", id)
    asked = set()

    def poll() -> None:
        reply = caller.session("GET", begun, "status_url")
        asked.add(reply.authentication["session_status"] if reply.status == 200 else reply.status)

    while "pending" not in asked:  # polls are answered from what the gateway has looked at
        gateway_server.look(poll)
    for _ in range(3):
        gateway_server.look(poll)
    assert asked <= {"pending", 404, 503}
    assert [session.status for session in sandbox.sessions] == [Status.pending]


def test_a_row_whose_mac_cannot_be_made_stops_no_gateway(
    gateway_server: RunningGateway, caller: HostCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = looks(monkeypatch, watching, "_find_requests")
    alices = gateway_server.session(caller.ask("alice").authentication)
    gateway_server.rows("UPDATE session SET details = '{\"service\": 1.5}' WHERE id = %s", alices.id)
    gateway_server.rows("UPDATE session SET id = gen_random_uuid()")  # it is looked at as a new one
    for _ in range(2):
        look()
    assert caller.ask("bob").status == 202


@pytest.mark.parametrize("what", ["session", "person", "host"])
def test_the_database_shows_no_other_row_than_it_was_asked_for(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, what: str
) -> None:
    gateway_server.add_host("h-bbbbbbbbbbbb")
    bobs, alices = approved(caller, sandbox, "bob"), caller.ask("alice").authentication
    if what == "session":
        shown = [str(gateway_server.session(each).id) for each in (alices, bobs)]
        gateway_server.rows("UPDATE session SET state = 'ended' WHERE id = %s", shown[0])
        _shows_another(gateway_server, "uuid", *shown)
        gateway_server.look()
        while (reply := caller.session("GET", alices, "status_url")).status == 503:
            pass  # it makes new connections
        assert reply.reason == "UNKNOWN_SESSION"
    elif what == "person":
        assert caller.end(alices)
        _shows_another(gateway_server, "text", "alice", "bob")
        reply = caller.ask("alice")
        while (reason := reply.authentication["reason"]) == "DATABASE_AWAY":
            reply = caller.ask("alice")
        assert reason == "NOT_ON_THIS_HOST"
    else:
        gateway_server.change_host(status=HostStatus.SUSPENDED)
        _shows_another(gateway_server, "text", HOST, "h-bbbbbbbbbbbb")
        reply = caller.ask("carol")
        while reply.status == 200 and reply.authentication["reason"] == "DATABASE_AWAY":
            reply = caller.ask("carol")
        assert reply.status == 401
    assert "alert" in [record["kind"] for record in gateway_server.records]
    assert len(sandbox.sessions) == 2
