"""Kept sessions of a host that has joined: one call waits at the gateway for what becomes of all of them."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pam_iampass.agent.figures import FILE
from pam_iampass.enforcer.protocol import Verb
from pam_iampass.gateway.base.waiting import MOST_WATCHED
from pam_iampass.gateway.calls import service
from pam_iampass.gateway.hosts.hosts import HostStatus
from pam_iampass.gateway.requests import asking, sessions
from pam_iampass.outcome import PamCode
from pam_iampass.session import at_gateway
from tests.gateway.test_held_polls import Counting, calls
from tests.gateway.test_host_sessions import approved
from tests.gateway.test_joined_host import host, join
from tests.sandbox.signer import Reply
from tests.support.gateway import HOST, HostCaller, RunningGateway, settings_for
from tests.support.prometheus import HOST_RULES, Scrape, firing
from tests.support.sandbox import HttpStatus, Sandbox
from tests.support.sessions import Keeping, keeping
from tests.support.setting import ME, Setting
from tests.support.world import wait_until

__all__ = ["host"]

#: How long until a host has done what a gateway has written.
TOLD = 2.0


@pytest.fixture
def make(conninfo: str, sandbox: Sandbox, tmp_path: Path) -> Callable[[], RunningGateway]:
    """Makes a gateway that counts calls, and polls each approved session once a second."""

    def made() -> RunningGateway:
        running = RunningGateway(settings_for(conninfo, sandbox, tmp_path))
        running.check = 1.0
        running.dispatcher = type("Counted", (Counting,), {"calls": []})
        return running

    return made


@pytest.fixture
def gateway(make: Callable[[], RunningGateway]) -> Iterator[RunningGateway]:
    with make() as running:
        running.populate()
        running.add_person(ME, "token-at-the-gateway")
        yield running


@pytest.fixture
def caller(gateway: RunningGateway) -> HostCaller:
    return HostCaller(gateway)


# The call


def ask(caller: HostCaller, versions: dict[str, Any], wait: int | str = 25, **changes: Any) -> Reply:
    """The answer to the call that waits."""
    body = json.dumps({"sessions": versions}).encode()
    digest = changes.get("digest", hashlib.sha256(body).hexdigest())
    target = f"/fleet/watch/{caller.sandbox.application_id}?wait={wait}&body_sha256={digest}"
    headers = changes.get("headers") or caller.application(target)
    return caller.send("POST", target, {**headers, "Content-Type": "application/json"}, body)


def changed(reply: Reply) -> dict[str, Any]:
    assert reply.status == 200, reply.body
    found: dict[str, Any] = reply.json["changed"]
    return found


def id_of(begun: Any) -> str:
    found: str = begun["status_url"].split("/")[-2]
    return found


def test_the_call_is_noted_as_the_last_one_of_its_host(gateway: RunningGateway, caller: HostCaller) -> None:
    assert changed(ask(caller, {}, 0)) == {}
    (seen,) = gateway.rows("SELECT at IS NOT NULL AS noted, address FROM seen")
    assert seen == {"noted": True, "address": "127.0.0.1"}


def test_it_names_what_differs_at_once_and_later_what_changes(
    gateway: RunningGateway, caller: HostCaller, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    alices, bobs = (id_of(approved(caller, sandbox, name)) for name in ("alice", "bob"))
    assert changed(ask(caller, {alices: 0, bobs: 2})) == {alices: {"status": "active", "version": 2}}
    assert changed(ask(caller, {alices: 2, bobs: 2}, wait=1)) == {}
    monkeypatch.setattr(service, "LONGEST_SECONDS", 9999)  # the caller would give up
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(ask, caller, {alices: 2, bobs: 2}, 9999)
        sandbox.walk_away("token-of-bob")
        assert changed(answer.result()) == {bobs: {"status": "walkaway", "version": 3}}
        answer = pool.submit(ask, caller, {alices: 2, bobs: 3}, 9999)
        sandbox.close("token-of-alice")
        assert changed(answer.result()) == {alices: {"status": "closed", "version": 3}}


def test_what_another_gateway_writes_is_told(
    gateway: RunningGateway,
    caller: HostCaller,
    sandbox: Sandbox,
    make: Callable[[], RunningGateway],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "LONGEST_SECONDS", 9999)  # the caller would give up
    begun = approved(caller, sandbox)
    with make() as other, ThreadPoolExecutor() as pool:
        answer = pool.submit(ask, HostCaller(other), {id_of(begun): 2}, 9999)
        wait_until(lambda: len(other.gateway.held) == 1, "the call is not held")
        assert gateway.run(asking.end_session(gateway.gateway, gateway.session(begun)))
        assert changed(answer.result()) == {id_of(begun): {"status": "closed", "version": 3}}


def test_a_session_that_it_does_not_know_is_not_over(
    gateway: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    unknown, tampered = str(uuid4()), id_of(approved(caller, sandbox))
    assert changed(ask(caller, {unknown: 7})) == {unknown: {"status": None}}
    gateway.rows("UPDATE session SET status = 'closed', state = 'ended', version = 9")
    assert changed(ask(caller, {tampered: 2})) == {tampered: {"status": None}}
    assert gateway.records[-1]["kind"] == "alert"


def test_the_sessions_of_another_host_are_not_known(
    gateway: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    alices = id_of(approved(caller, sandbox))
    gateway.add_host("h-bbbbbbbbbbbb")
    gateway.application_id = "h-bbbbbbbbbbbb"
    assert changed(ask(caller, {alices: 0})) == {alices: {"status": None}}


def test_a_host_that_is_suspended_is_told_nothing(
    gateway: RunningGateway, caller: HostCaller, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LONGEST_SECONDS", 9999)  # the caller would give up
    versions = {id_of(approved(caller, sandbox)): 2}
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(ask, caller, versions, 9999)
        wait_until(lambda: len(gateway.gateway.held) == 1, "the call is not held")
        gateway.change_host(status=HostStatus.SUSPENDED)
        assert answer.result().reason == "HOST_SUSPENDED"
    assert ask(caller, versions).reason == "HOST_SUSPENDED"


def test_the_body_is_what_was_signed_and_is_good_once(caller: HostCaller) -> None:
    assert ask(caller, {str(uuid4()): 1}, digest="0" * 64).reason == "BAD_DIGEST"
    digest = hashlib.sha256(b'{"sessions": {}}').hexdigest()
    target = f"/fleet/watch/{HOST}?wait=0&body_sha256={digest}"
    headers = caller.application(target)
    replies = [ask(caller, {}, wait=0, headers=headers) for _ in range(2)]
    assert (replies[0].status, replies[1].reason) == (200, "REPLAYED_NONCE")


@pytest.mark.parametrize(
    "versions",
    [
        {"x": 1},
        {str(uuid4()).upper(): 1},
        {str(uuid4()): -1},
        {str(uuid4()): "1"},
        {str(uuid4()): True},
        {str(uuid4()): 10**18},
        {str(uuid4()): 0 for _ in range(MOST_WATCHED + 1)},
    ],
)
def test_what_names_no_sessions_is_refused(caller: HostCaller, versions: dict[str, Any]) -> None:
    assert ask(caller, versions).status in (400, 413)


def test_as_many_as_a_host_names_fit_into_a_call(caller: HostCaller) -> None:
    assert at_gateway.MOST == MOST_WATCHED
    assert len(changed(ask(caller, {str(uuid4()): 10**9 for _ in range(MOST_WATCHED)}))) == MOST_WATCHED


# The host


@pytest.fixture
def agent(host: Setting, gateway: RunningGateway) -> Iterator[Keeping]:
    """The agent of a host that has joined, and keeps sessions."""
    with keeping(host, **join(host, gateway)) as found:
        yield found


def log_in(agent: Keeping, gateway: RunningGateway) -> tuple[str, Any]:
    """A kept login for which a call waits at this gateway."""
    kept = agent.log_in()
    wait_until(lambda: agent.sessions.entries[kept[0]].version == 2, "no call waits for it")
    wait_until(lambda: len(gateway.gateway.held) > 0, "the call is not held")
    return kept


def test_the_end_on_the_phone_ends_the_login_and_the_host_polls_nothing(
    host: Setting, gateway: RunningGateway, agent: Keeping
) -> None:
    kept, login = log_in(agent, gateway)
    assert agent.login(service="sudo", audit_session="42").code == PamCode.IGNORE
    assert agent.outcome()["IAMPASS_OUTCOME"] == "covered"
    count = calls(gateway).count("status")
    agent.ahead = 60.0  # long after the next poll would be due
    agent.look()
    host.sandbox.close("token-at-the-gateway")
    wait_until(lambda: login.over, "the login goes on")
    agent.wait_until_forgotten(kept)
    assert calls(gateway).count("status") == count


def test_after_the_last_logout_nobody_waits(gateway: RunningGateway, agent: Keeping) -> None:
    kept, login = log_in(agent, gateway)
    login.end()
    agent.wait_until_forgotten(kept)
    wait_until(
        lambda: not {"gateway-call", "sessions"} & {each.name for each in threading.enumerate()},
        "a thread waits on",
    )


def test_the_end_of_a_login_whose_session_iampass_does_not_know_is_told_once(
    host: Setting, gateway: RunningGateway, agent: Keeping
) -> None:
    kept, login = log_in(agent, gateway)
    host.sandbox.misbehave("end", HttpStatus(404), times=None)
    login.end()
    agent.wait_until_forgotten(kept)
    assert calls(gateway).count("logout") == 1


@pytest.mark.needs_program("promtool")
@pytest.mark.parametrize(("fault", "expected"), [(404, set()), (503, {"IampassUnreachable"})])
def test_an_end_that_iampass_does_not_know_is_no_alert_and_one_that_fails_is(
    host: Setting, gateway: RunningGateway, agent: Keeping, fault: int, expected: set[str]
) -> None:
    def scrape() -> Scrape:
        now = time.time()
        agent.figures.write(str(host.folder), host.state, 0)
        return Scrape((host.folder / FILE).read_text(), now)

    logins = [log_in(agent, gateway) for _ in range(3)]
    before = scrape()
    host.sandbox.misbehave("end", HttpStatus(fault), times=None)
    for _, login in logins:
        login.end()

    def told() -> Scrape | None:
        found = scrape()
        waits = found.value("reachable") and any(agent.kept(kept) for kept, _ in logins)
        return None if waits else found

    after = wait_until(told, "the ends neither fail nor succeed")
    scrapes = before, after
    assert (
        firing(HOST_RULES, "node", scrapes, expected, host.folder, advancing=("written_timestamp_seconds",))
        == ""
    )


def test_walking_away_and_coming_back_reach_the_host(
    host: Setting, gateway: RunningGateway, agent: Keeping
) -> None:
    kept, login = log_in(agent, gateway)
    host.sandbox.walk_away("token-at-the-gateway")
    wait_until(lambda: [each.verb for each in agent.asked] == [Verb.REVOKE], "nothing is revoked")
    host.sandbox.come_back("token-at-the-gateway")
    wait_until(lambda: agent.sessions.entries[kept].version == 4, "it does not come back")
    assert not login.over


@pytest.mark.long
@pytest.mark.alone
def test_an_end_by_an_administrator_of_the_fleet_ends_the_login_in_time(
    gateway: RunningGateway, agent: Keeping
) -> None:
    _, login = log_in(agent, gateway)
    (row,) = gateway.rows("SELECT id FROM session WHERE state = 'open'")
    session = gateway.transaction(lambda inner, connection: sessions.find(inner, connection, row["id"]))
    assert session is not None
    assert gateway.run(asking.end_session(gateway.gateway, session))
    wait_until(lambda: login.over, "the login goes on", TOLD)


def test_a_new_login_is_waited_for_within_the_call_of_the_others(
    host: Setting, gateway: RunningGateway, agent: Keeping
) -> None:
    _, first = log_in(agent, gateway)
    _, second = log_in(agent, gateway)
    assert len(agent.sessions.entries) == 2
    open_sessions = [each for each in host.sandbox.sessions if each.open]
    host.sandbox.close(open_sessions[-1].number)
    wait_until(lambda: second.over, "the login goes on")
    assert not first.over


def test_what_the_gateway_does_not_know_any_more_ends_nothing(
    gateway: RunningGateway, agent: Keeping
) -> None:
    kept, login = log_in(agent, gateway)
    gateway.rows("DELETE FROM session")
    wait_until(lambda: not agent.sessions.entries[kept].watched_elsewhere, "it is not polled")
    agent.wait_for_calls(3)
    assert not login.over
    assert not agent.asked


def test_after_the_host_has_left_its_logins_go_on_and_iampass_is_asked_for_no_session_of_a_gateway(
    host: Setting, gateway: RunningGateway, agent: Keeping
) -> None:
    kept, login = log_in(agent, gateway)
    host.write("ca.pem", host.sandbox.ca_file.read_text())
    host.configure(session="{keep: true, check: 2s}")
    before = len(host.sandbox.calls)
    gateway.rows("UPDATE host SET status = 'suspended'")  # the call that waits ends
    wait_until(lambda: not agent.sessions.entries[kept].watched_elsewhere, "it is not polled")
    agent.wait_for_calls(3)
    assert not login.over
    assert not agent.asked
    assert {call.kind for call in host.sandbox.calls[before:]} <= {"poll"}  # of the gateway
    assert {call.status for call in host.sandbox.calls[before:]} <= {200}


def test_when_a_gateway_stops_the_next_one_is_asked_and_nothing_ends(
    host: Setting,
    gateway: RunningGateway,
    make: Callable[[], RunningGateway],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(at_gateway, "AGAIN", 1.0)
    first = make()
    with keeping(host, **join(host, first, gateway)) as agent:
        with first:
            kept, login = log_in(agent, first)
        wait_until(lambda: len(gateway.gateway.held) == 1, "the next gateway is not asked")
        assert not login.over
        assert agent.sessions.entries[kept].watched_elsewhere
        host.sandbox.close("token-at-the-gateway")
        wait_until(lambda: login.over, "the login goes on")


def test_a_login_that_a_gateway_answers_ends_the_pause_after_a_failure(
    host: Setting,
    gateway: RunningGateway,
    make: Callable[[], RunningGateway],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that hosts are asked at once about connections that begin in it."""
    monkeypatch.setattr(at_gateway, "AGAIN", 1e6)
    first = make()
    with keeping(host, **join(host, first, gateway)) as agent:
        with first:
            kept, login = log_in(agent, first)
        failed = agent.sessions.entries[kept]
        wait_until(lambda: failed.unanswered_since < float("inf"), "it is not noticed")
        log_in(agent, gateway)
        assert not login.over


def test_while_no_gateway_answers_nothing_ends(
    gateway: RunningGateway,
    host: Setting,
    make: Callable[[], RunningGateway],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(at_gateway, "AGAIN", 0.1)
    first = make()
    with keeping(host, **join(host, first)) as agent:
        with first:
            kept, login = log_in(agent, first)
        wait_until(lambda: agent.sessions.entries[kept].unanswered_since < float("inf"), "it is not noticed")
        agent.wait_for_calls(3)
        assert not login.over
        assert not agent.asked
