"""Requests of the gateway itself: whom it rings, for what an approval is good, and that a person can say that a request
or a login is not theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pam_iampass.fleet.act import Role
from pam_iampass.gateway.acts.act import perform
from pam_iampass.gateway.acts.people import BypassPhone
from pam_iampass.gateway.acts.requests import DeclineSession, DisownSession, VerifiedCaller, VerifyCaller
from pam_iampass.gateway.acts.views import show_sessions
from pam_iampass.gateway.base.database import Database
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import KeyFile
from pam_iampass.gateway.base.reasons import Reason, RefusedStart
from pam_iampass.gateway.base.upstream import Upstream
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import PersonStatus
from pam_iampass.gateway.requests import own_requests, sessions, turns
from pam_iampass.gateway.requests.own_requests import Answer, NotApproved
from pam_iampass.gateway.requests.sessions import HostSession, State
from pam_iampass.gateway.sign_in.actors import Actor, ActRefused
from tests.gateway.test_acts import ROOT
from tests.gateway.test_lost_phone import KilledError, KilledReport
from tests.support.gateway import HOST, LIMITS, HostCaller, RunningGateway, settings_for
from tests.support.sandbox import Sandbox
from tests.support.world import PATIENCE, wait_until

TOKEN = "token-of-alice"
WHAT = "a further passkey"
FOR = "sign-in 5f0c"
ALICE = Actor("alice", frozenset({Role.SELF}), "sign-in")


def ask(running: RunningGateway, person: str = "alice", caller: str = "") -> HostSession | RefusedStart:
    """What the gateway itself has made of a request to a person."""
    work = own_requests.ask(running.gateway, person, WHAT, "192.0.2.7", FOR, caller=caller)
    return running.run(work)


def ring(running: RunningGateway, person: str = "alice") -> UUID:
    """The id of a request that was made."""
    session = ask(running, person)
    assert isinstance(session, HostSession), session
    assert session.reason is None
    return session.id


def answer(running: RunningGateway, id: UUID) -> Answer:
    """What the person has answered."""

    def is_there() -> Answer | None:
        found = running.run(own_requests.answer(running.gateway, id, FOR, 1.0))
        return found if found.is_final else None

    found: Answer = wait_until(is_there, "nobody has answered")
    return found


def approved(running: RunningGateway, sandbox: Sandbox) -> UUID:
    """The id of a request that alice has approved."""
    id = ring(running)
    sandbox.approve(TOKEN)
    assert answer(running, id) is Answer.APPROVED
    return id


def spend(
    running: RunningGateway, id: UUID, person: str = "alice", what: str = WHAT, made_for: str = FOR
) -> None:
    running.transaction(lambda g, c: own_requests.spend(g, c, id, person, what, made_for))


def row(running: RunningGateway, id: UUID) -> HostSession:
    found = running.transaction(lambda g, c: sessions.find(g, c, id))
    assert found is not None
    return found


def disown(running: RunningGateway, id: UUID, person: str = "alice") -> None:
    running.run(perform(running.gateway, ROOT, DisownSession(person, str(id))))


def failures(running: RunningGateway, id: UUID) -> int:
    """How many requests from where this session came from were not approved in a row."""
    session = row(running, id)

    async def count(_: Gateway, connection: Any) -> int:
        found = await turns.locked(connection, session.person)
        login = turns.login_of(session.person, session.host_name, session.details, id, found.now, found.now)
        return found.state.failures_of(login).count

    return running.transaction(count)


def test_the_gateway_itself_rings_a_person_and_the_approval_is_good_once(
    gateway_server: RunningGateway, sandbox: Sandbox
) -> None:
    gateway_server.run(perform(gateway_server.gateway, ROOT, BypassPhone("alice", 60.0)))
    id = approved(gateway_server, sandbox)
    spend(gateway_server, id)
    assert row(gateway_server, id).state is State.ENDED
    with pytest.raises(NotApproved, match=WHAT):
        spend(gateway_server, id)
    assert answer(gateway_server, id) is Answer.OVER
    assert gateway_server.rows("SELECT ended_session FROM step") == [{"ended_session": id}]
    _, decided, ended = gateway_server.records
    assert {key: decided[key] for key in ("host", "person", "outcome", "service", "remote", "reason")} == {
        "host": hosts.GATEWAY,
        "person": "alice",
        "outcome": "approved",
        "service": "portal",
        "remote": "192.0.2.7",
        "reason": f"{WHAT}: active",
    }
    assert (ended["event"], ended["reason"]) == ("session_ended", f"{WHAT}: closed")
    assert FOR not in str(gateway_server.records)


@pytest.mark.parametrize(
    "wrong",
    [{"person": "bob"}, {"what": "ten own codes"}, {"made_for": "sign-in 5f0d"}],
    ids=["person", "what", "made_for"],
)
def test_an_approval_is_good_for_just_what_it_was_asked_for(
    gateway_server: RunningGateway, sandbox: Sandbox, wrong: dict[str, str]
) -> None:
    id = approved(gateway_server, sandbox)
    with pytest.raises(NotApproved):
        spend(gateway_server, id, **wrong)
    with pytest.raises(NotApproved):
        gateway_server.run(own_requests.answer(gateway_server.gateway, id, "sign-in 5f0d", 0.0))
    spend(gateway_server, id)


def test_the_login_that_a_host_has_had_approved_is_no_approval_of_anything_else(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    begun = caller.ask("alice").authentication
    sandbox.approve(TOKEN)
    assert caller.answer(begun) == "active"
    id = gateway_server.session(begun).id

    async def seem_own(gateway: Gateway, connection: Any) -> None:
        wanted = own_requests._digest("alice", WHAT, FOR)
        locked = await sessions.lock_row(gateway, connection, id)
        await sessions.change(gateway, connection, locked, parameters=wanted)

    gateway_server.transaction(seem_own)
    with pytest.raises(NotApproved):
        spend(gateway_server, id)


@pytest.mark.parametrize(("ago", "is_good"), [(110, True), (121, False)])
def test_an_approval_is_good_for_two_minutes(
    gateway_server: RunningGateway, sandbox: Sandbox, ago: int, is_good: bool
) -> None:
    id = approved(gateway_server, sandbox)

    async def make_older(gateway: Gateway, connection: Any) -> None:
        locked = await sessions.lock_row(gateway, connection, id)
        decided_at = locked["decided_at"] - timedelta(seconds=ago)
        await sessions.change(gateway, connection, locked, decided_at=decided_at)

    gateway_server.transaction(make_older)
    if is_good:
        spend(gateway_server, id)
    else:
        with pytest.raises(NotApproved):
            spend(gateway_server, id)


@pytest.mark.parametrize(
    ("what", "found"), [("deny", Answer.DENIED), ("time_out", Answer.OVER)], ids=["deny", "time_out"]
)
def test_what_was_not_approved_is_not_done(
    gateway_server: RunningGateway, sandbox: Sandbox, what: str, found: Answer
) -> None:
    id = ring(gateway_server)
    with pytest.raises(NotApproved):
        spend(gateway_server, id)
    getattr(sandbox, what)(TOKEN)
    assert answer(gateway_server, id) is found
    with pytest.raises(NotApproved):
        spend(gateway_server, id)


def test_an_approval_by_a_phone_that_is_lost_now_is_worth_nothing(
    gateway_server: RunningGateway, sandbox: Sandbox
) -> None:
    id = approved(gateway_server, sandbox)
    with pytest.raises(KilledError):
        gateway_server.run(perform(gateway_server.gateway, ROOT, KilledReport("alice")))
    assert row(gateway_server, id).state is State.OPEN, "nothing has ended it yet"
    with pytest.raises(NotApproved):
        spend(gateway_server, id)
    assert ask(gateway_server) == RefusedStart(Reason.PHONE_LOST)


def test_it_waits_while_a_login_is_on_the_phone_and_is_shown_like_one(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    begun = caller.ask("alice").authentication
    id = ring(gateway_server)
    assert gateway_server.run(own_requests.answer(gateway_server.gateway, id, FOR, 0.0)) is Answer.WAITS
    _, shown = gateway_server.transaction(lambda g, c: show_sessions(g, c, ALICE))
    told: dict[str, object] = {**shown}
    assert {key: told[key] for key in ("host", "service", "remote", "purpose", "status")} == {
        "host": hosts.GATEWAY,
        "service": "portal",
        "remote": "192.0.2.7",
        "purpose": WHAT,
        "status": "waits",
    }
    sandbox.deny(TOKEN)
    assert caller.answer(begun) == "cancelled"
    wait_until(lambda: row(gateway_server, id).in_progress, "it does not get its turn")
    sandbox.approve(TOKEN)
    assert answer(gateway_server, id) is Answer.APPROVED
    spend(gateway_server, id)


@pytest.fixture
def limited(
    conninfo: str, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningGateway]:
    """A gateway that has requests wait which follow two that were not approved, as many as a person gets from one host,
    and whose hosts have three at most."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    limits = replace(LIMITS, cool_off=60.0, requests_per_hour=6, host_requests_per_hour=3)
    with RunningGateway(settings_for(conninfo, sandbox, tmp_path, limits=limits)) as running:
        running.populate()
        yield running


def test_what_people_ask_for_at_the_portal_is_limited_for_each_and_keeps_no_help_desk_from_asking_them(
    limited: RunningGateway, sandbox: Sandbox
) -> None:
    for _ in range(2):
        id = ring(limited)
        sandbox.deny(TOKEN)
        assert answer(limited, id) is Answer.DENIED
    refused = ask(limited)
    assert isinstance(refused, RefusedStart)
    assert (refused.reason, refused.wait > 0) == (Reason.HOST_THROTTLED, True)
    by_desk = ask(limited, caller="dora")
    assert isinstance(by_desk, HostSession)
    assert (by_desk.reason, by_desk.host_name) == (None, "(helpdesk)")
    id = ring(limited, "bob")
    sandbox.deny("token-of-bob")
    wait_until(lambda: row(limited, id).state is State.ENDED, "nobody has answered")
    limited.add_person("dave", "token-of-dave")
    sandbox.add_user("token-of-dave")
    ring(limited, "dave")
    assert "many requests of this host" in str(limited.records), "some people keep nobody else from it"


def test_nobody_else_and_nobody_without_a_phone_is_asked(
    gateway_server: RunningGateway, sandbox: Sandbox
) -> None:
    gateway_server.transaction(lambda g, c: people.change(g, c, "bob", status=PersonStatus.LEAVING))
    for name in ("bob", "mallory"):
        assert ask(gateway_server, name) == RefusedStart(Reason.UNKNOWN_USER)
    session = ask(gateway_server, "carol")
    assert isinstance(session, HostSession)
    assert (session.state, session.reason) == (State.NOT_STARTED, "NO_MOBILE_DEVICE")
    assert Answer.of(session) is Answer.OVER
    gateway_server.gateway.restored = True
    assert ask(gateway_server) == RefusedStart(Reason.RESTORED)
    assert sandbox.sessions == ()
    assert [(each["host"], each["reason"]) for each in gateway_server.records] == [
        (hosts.GATEWAY, f"{WHAT}: {why}")
        for why in ("UNKNOWN_USER", "UNKNOWN_USER", "NO_MOBILE_DEVICE", "RESTORED")
    ]


def test_a_process_that_watches_nothing_can_ask_and_remembers_nothing(
    gateway_server: RunningGateway, sandbox: Sandbox
) -> None:
    settings = gateway_server.settings

    async def go() -> tuple[Answer, Gateway]:
        async with Database(settings.database, connections=2) as database:
            gateway = Gateway(settings, database, KeyFile(settings.key), Upstream.of(settings))
            try:
                session = await own_requests.ask(gateway, "alice", WHAT, "", FOR)
                assert isinstance(session, HostSession)
                assert await own_requests.answer(gateway, session.id, FOR, 0.0) is Answer.ASKED
                await asyncio.to_thread(sandbox.approve, TOKEN)
                return await own_requests.answer(gateway, session.id, FOR, PATIENCE), gateway
            finally:
                await gateway.iampass.close()  # type: ignore[attr-defined]

    found, gateway = asyncio.run(go())
    assert found is Answer.APPROVED
    assert (gateway.leases.epochs, gateway.waiting, gateway.noted_requests) == ({}, {}, {})


@pytest.mark.parametrize(
    ("what", "found"), [("approve", Answer.APPROVED), ("deny", Answer.DENIED)], ids=["approve", "deny"]
)
def test_a_help_desk_has_a_caller_approve_on_the_phone_and_the_records_name_who_has(
    gateway_server: RunningGateway, sandbox: Sandbox, what: str, found: Answer
) -> None:
    with ThreadPoolExecutor() as pool:
        work = perform(gateway_server.gateway, ROOT, VerifyCaller("alice"))
        performed = pool.submit(gateway_server.run, work)
        getattr(sandbox, what)(sandbox.wait_for_request(TOKEN))
        done: VerifiedCaller = performed.result(PATIENCE)
    assert (done.answer, done.why) == (found, "")
    act, decided, *ended = gateway_server.records
    assert (act["what"], act["person"], act["caller"]) == ("phone_verify", "alice", "zoe")
    assert (decided["caller"], decided["remote"]) == ("zoe", "192.0.2.9")
    assert decided["reason"].startswith("a call to the help desk: ")
    assert len(ended) == (found is Answer.APPROVED), "an approval is used up"
    done = gateway_server.run(perform(gateway_server.gateway, ROOT, VerifyCaller("carol")))
    assert (done.answer, done.why) == (Answer.OVER, "NO_MOBILE_DEVICE")


@pytest.mark.parametrize(
    ("what", "told", "how_far"),
    [
        ("wait", "cancelled", "it waited for its turn"),
        ("ask", "cancelled", "the phone was asked"),
        ("approve", "closed", "it was let in"),
    ],
    ids=["wait", "ask", "approve"],
)
def test_a_person_ends_what_is_not_theirs_and_where_it_came_from_has_to_wait(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, what: str, told: str, how_far: str
) -> None:
    if what == "wait":
        ring(gateway_server)
    begun = caller.ask("alice", service="sshd", remote="203.0.113.9").authentication
    if what == "approve":
        sandbox.approve(TOKEN)
        assert caller.answer(begun) == "active"
    id = gateway_server.session(begun).id
    with pytest.raises(ActRefused, match="bob has no such session"):
        disown(gateway_server, id, "bob")
    disown(gateway_server, id)
    assert caller.answer(begun) == told
    assert failures(gateway_server, id) == 1
    if what != "wait":
        assert sandbox.wait_for_end(TOKEN)
    assert gateway_server.rows("SELECT 1 FROM step") == []
    here = f"name-of-{HOST}"
    (alert,) = [each for each in gateway_server.records if each["kind"] == "alert"]
    assert (alert["host"], alert["person"], alert["session"]) == (here, "alice", str(id))
    assert (alert["service"], alert["remote"]) == ("sshd", "203.0.113.9")
    (act,) = [each for each in gateway_server.records if each["kind"] == "act"]
    assert (act["what"], act["person"], act["host"]) == ("session_not_me", "alice", here)
    assert act["reason"] == f"{id}; {how_far}"
    with pytest.raises(ActRefused, match="is over"):
        disown(gateway_server, id)


@pytest.mark.parametrize(
    ("what", "told", "how_far"),
    [("ask", "cancelled", "the phone was asked"), ("approve", "closed", "it was let in")],
    ids=["ask", "approve"],
)
def test_a_second_person_declines_the_login_of_another_and_is_no_victim_of_it(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, what: str, told: str, how_far: str
) -> None:
    begun = caller.ask("alice", asker="bob", service="sudo", remote="203.0.113.9").authentication
    if what == "approve":
        sandbox.approve(TOKEN)
        assert caller.answer(begun) == "active"
    id = gateway_server.session(begun).id
    with pytest.raises(ActRefused, match="this is a login of bob"):
        disown(gateway_server, id)
    with pytest.raises(ActRefused, match="bob has no such session"):
        gateway_server.run(perform(gateway_server.gateway, ROOT, DeclineSession("bob", str(id))))
    gateway_server.run(perform(gateway_server.gateway, ROOT, DeclineSession("alice", str(id))))
    assert caller.answer(begun) == told
    assert failures(gateway_server, id) == 1
    assert sandbox.wait_for_end(TOKEN)
    (alert,) = [each for each in gateway_server.records if each["kind"] == "alert"]  # a host says whose it is
    assert (alert["person"], alert["asker"], alert["session"]) == ("alice", "bob", str(id))
    assert "may have what they log in with" not in alert["reason"]
    (act,) = [each for each in gateway_server.records if each["kind"] == "act"]
    assert (act["what"], act["person"], act["host"]) == ("session_decline", "alice", f"name-of-{HOST}")
    assert act["reason"] == f"{id}; a login of bob; {how_far}"


def test_a_login_of_ones_own_is_not_declined_as_that_of_another(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    id = gateway_server.session(caller.ask("alice").authentication).id
    with pytest.raises(ActRefused, match="this is a login of your own"):
        gateway_server.run(perform(gateway_server.gateway, ROOT, DeclineSession("alice", str(id))))


def test_an_approval_that_was_not_the_persons_is_worth_nothing(
    gateway_server: RunningGateway, sandbox: Sandbox
) -> None:
    id = approved(gateway_server, sandbox)
    disown(gateway_server, id)
    assert sandbox.wait_for_end(TOKEN)
    with pytest.raises(NotApproved):
        spend(gateway_server, id)
    assert failures(gateway_server, id) == 1
