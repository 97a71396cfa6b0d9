"""A start: who may have whom asked, and that a phone rings at most once for a request."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable
from urllib.parse import urlencode, urlsplit

import psycopg
import pytest

from pam_iampass.client.status import AuthenticationMethod
from pam_iampass.gateway.base import database, reasons
from pam_iampass.gateway.base.connection import Connection, DatabaseAway, Lock
from pam_iampass.gateway.base.database import Database
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.reasons import Reason, RefusedStart
from pam_iampass.gateway.base.settings import GroupSettings
from pam_iampass.gateway.base.statements import many
from pam_iampass.gateway.check import restored
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import HostStatus
from pam_iampass.gateway.requests import asked_start, asking, sessions, starts, turns
from pam_iampass.gateway.requests.sessions import State
from pam_iampass.login import at_gateway, throttle
from tests.sandbox.signer import signed
from tests.support.gateway import HOST, HostCaller, RunningGateway, new_request_id, settings_for
from tests.support.gateway_process import POINTS, GatewayProcess
from tests.support.postgres import Postgres, synchronous
from tests.support.sandbox import Hang, Held, Sandbox, SessionState
from tests.support.world import PATIENCE, wait_until

OTHER = "h-bbbbbbbbbbbb"
MACHINE = "0123456789abcdef" * 2


def reason_of(reply: Any) -> Any:
    assert reply.status == 200
    assert reply.authentication["authenticated"] is False
    assert "nothing_sent" not in reply.authentication
    return reply.authentication["reason"]


def test_a_host_asks_a_person_and_learns_what_they_answer(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    reply = caller.start("alice", "?methods=device&duration_seconds=120&service=sshd&remote=192.0.2.7")
    begun = reply.authentication
    assert (reply.status, begun["authenticated"], begun["session_status"]) == (202, True, "pending")
    request = sandbox.wait_for_request("token-of-alice")
    assert (request.methods, request.duration) == (("device",), 120)
    assert caller.poll(begun) == "pending"
    sandbox.approve(request)
    assert caller.answer(begun) == "active"
    assert caller.end(begun) is True
    assert sandbox.wait_for_end("token-of-alice")
    assert caller.poll(begun) == "closed"
    assert caller.end(begun) is False
    approved, ended = gateway_server.records
    assert (approved["kind"], approved["outcome"], approved["person"]) == ("decision", "approved", "alice")
    assert (approved["host"], approved["service"], approved["remote"]) == (
        f"name-of-{HOST}",
        "sshd",
        "192.0.2.7",
    )
    assert (ended["event"], ended["session"]) == ("session_ended", approved["session"])


@pytest.mark.parametrize(
    ("what", "status", "outcome"),
    [("deny", "cancelled", "denied"), ("fail", "failed", "denied"), ("time_out", "timeout", "timed_out")],
)
def test_each_answer_of_a_person_reaches_the_host_and_leaves_a_record(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, what: str, status: str, outcome: str
) -> None:
    begun = caller.ask("alice").authentication
    getattr(sandbox, what)("token-of-alice")
    assert caller.answer(begun) == status
    (record,) = gateway_server.records
    assert (record["outcome"], record["reason"]) == (outcome, status)


def test_the_call_of_a_host_is_noted_now_and_then_and_waits_for_nobody_who_notes_it(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    def call(version: str, secret: str = gateway_server.application_secret) -> Any:
        target = f"/authentication/authenticate_user/{HOST}/nobody?methods=device&duration_seconds=120"
        agent = {"Content-Type": "application/json", "User-Agent": f"pam-iampass/{version}"}
        headers = {**signed(HOST, secret, gateway_server.url + target), **agent}
        reply = caller.send("POST", target, headers, b"{}")
        return reply.authentication["reason"] if reply.status == 200 else reply.status

    def seen() -> tuple[bool, str | None, str | None]:
        (row,) = gateway_server.rows("SELECT * FROM seen")
        return row["at"] is not None, row["version"], row["address"]

    assert call("1.0", "wrong") == 401
    with psycopg.connect(gateway_server.settings.database) as connection:
        connection.execute("SELECT * FROM seen FOR UPDATE")
        assert call("1.1") == "NOT_ON_THIS_HOST"
        assert seen() == (False, None, None)
    gateway_server.gateway.seen.clear()
    call("1.2")
    call("1.3")
    assert seen() == (True, "1.2", "127.0.0.1")


# At most once


def test_a_repeat_gets_the_session_of_the_first_call(caller: HostCaller, sandbox: Sandbox) -> None:
    once = new_request_id()
    first = caller.ask("alice", once, service="sudo")
    sandbox.approve("token-of-alice")
    assert caller.answer(first.authentication) == "active"
    second = caller.ask("alice", once, service="sudo")
    assert (second.status, second.authentication) == (first.status, first.authentication)
    assert len(sandbox.sessions) == 1


def test_a_repeat_waits_for_a_call_that_is_under_way(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    once = new_request_id()
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: caller.ask("alice", once), range(8)))
    assert {reply.status for reply in replies} == {202}
    assert len({reply.body for reply in replies}) == 1
    assert len(sandbox.sessions) == 1


@pytest.mark.parametrize(
    ("person", "parameters"),
    [
        ("bob", {"service": "sshd"}),
        ("alice", {"service": "sudo"}),
        ("alice", {}),
        ("alice", {"service": "sshd", "methods": "device"}),
        ("alice", {"service": "sshd", "duration_seconds": "60"}),
    ],
)
def test_the_id_of_a_request_is_bound_to_all_that_was_asked_for(
    caller: HostCaller, sandbox: Sandbox, person: str, parameters: dict[str, str]
) -> None:
    once = new_request_id()
    caller.ask("alice", once, service="sshd")
    assert reason_of(caller.ask(person, once, **parameters)) == "REQUEST_ID_REUSED"
    assert len(sandbox.sessions) == 1


def test_the_same_id_from_another_host_is_another_request(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    once = new_request_id()
    first = caller.ask("alice", once).authentication
    gateway_server.add_host(OTHER)
    gateway_server.application_id = OTHER
    second = caller.ask("alice", once).authentication
    assert second["session_token"] != first["session_token"]
    assert (first.get("queued"), second["queued"]) == (None, True)


@pytest.mark.parametrize("point", [*POINTS, "during the call"])
def test_a_phone_rings_at_most_once_whenever_the_gateway_is_killed(
    conninfo: str, sandbox: Sandbox, tmp_path: Path, point: str
) -> None:
    once = new_request_id()
    lasts = "30" if point == POINTS[2] else "2"  # until another gateway polls it
    settings = settings_for(conninfo, sandbox, tmp_path)
    if point == "during the call":
        sandbox.misbehave("start", Hang())
    with RunningGateway(settings) as running:
        running.populate()
        with GatewayProcess(conninfo, sandbox, tmp_path, point) as process, ThreadPoolExecutor(1) as pool:
            lost = pool.submit(HostCaller(process).ask, "alice", once, duration_seconds=lasts)
            if point == "during the call":
                sandbox.wait_for_request("token-of-alice")
            else:
                process.wait_until_stopped()
            process.kill()
            assert lost.exception() is not None
        caller = HostCaller(running)
        rung = len(sandbox.sessions)
        reply = caller.ask("alice", once, duration_seconds=lasts)
        assert len(sandbox.sessions) == rung == (point != POINTS[0])
        if point == POINTS[2]:
            sandbox.approve("token-of-alice")
            assert caller.answer(reply.authentication) == "active"
            return
        assert reason_of(reply) == "TRY_AGAIN"
        # The phone may be ringing: until it cannot be any more, nothing else is asked of it.
        waits = caller.ask("alice", duration_seconds="1").authentication
        assert waits["queued"] is True
        assert caller.answer(waits) == "timeout"
        assert caller.state(waits)["reason"] == "NO_TURN"
        assert len(sandbox.sessions) == rung
        _past_deadline(running)
        running.run(asking.give_up_starts(running.gateway))
        (record,) = (
            record for record in running.records if record.get("reason") == "its gateway has stopped"
        )
        assert record["outcome"] == "unavailable"
        waits = caller.ask("alice", duration_seconds="20").authentication
        running.turn_is_over("alice")
        sandbox.wait_for_calls("start", rung + 1)
        assert len(sandbox.sessions) == rung + 1
        assert "queued" not in caller.state(waits)


def test_a_host_that_hangs_up_does_not_stop_its_request(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    once = new_request_id()
    path = f"/authentication/authenticate_user/{HOST}/alice?request_id={once}"
    connection = caller.connect()
    headers = {**caller.application(path), "Content-Type": "application/json"}
    connection.request("POST", path, b"{}", headers)
    connection.close()
    sandbox.wait_for_request("token-of-alice")
    assert caller.ask("alice", once).status == 202
    assert len(sandbox.sessions) == 1


def test_a_session_that_is_active_before_anyone_was_asked_is_ended(
    caller: HostCaller, sandbox: Sandbox
) -> None:
    sandbox.misbehave("start", SessionState("active"))
    assert reason_of(caller.ask("alice")) == "TRY_AGAIN"
    assert sandbox.wait_for_end("token-of-alice")


# Who may have whom asked


def test_a_person_without_a_phone_is_named_as_by_iampass(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    assert reason_of(caller.ask("carol")) == "NO_MOBILE_DEVICE"
    assert [record["outcome"] for record in gateway_server.records] == ["no_device"]


def test_a_token_is_no_name(caller: HostCaller, sandbox: Sandbox) -> None:
    assert reason_of(caller.ask("token-of-alice")) == "NOT_ON_THIS_HOST"
    assert reason_of(caller.ask("Alice")) == "NOT_ON_THIS_HOST"
    assert sandbox.calls == ()


@pytest.mark.parametrize("name", ["\0", "a\nb", "..", "x" * 5000, "\u202e", " alice", "ali%63e"])
def test_what_is_no_name_is_nobodys(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, name: str
) -> None:
    assert reason_of(caller.ask(name)) == "NOT_ON_THIS_HOST"
    assert sandbox.calls == ()
    (record,) = gateway_server.records
    assert record["person"].isprintable()
    assert len(record["person"]) <= 100


def test_only_people_of_its_groups_are_asked_for_a_host(
    conninfo: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    groups = {"servers": GroupSettings(people=frozenset({"staff", "oncall"}))}
    with RunningGateway(settings_for(conninfo, sandbox, tmp_path, groups=groups)) as running:
        running.add_host()
        running.add_host(OTHER, group="forgotten")
        running.add_person("alice", "token-of-alice", ("oncall", "more"))
        running.add_person("bob", "token-of-bob", ("guests",))
        caller = HostCaller(running)
        assert caller.ask("alice").status == 202
        assert reason_of(caller.ask("bob")) == "NOT_ON_THIS_HOST"
        running.application_id = OTHER
        assert reason_of(caller.ask("alice")) == "NOT_ON_THIS_HOST"
        assert [record["outcome"] for record in running.records] == ["unlisted", "unlisted"]


@pytest.mark.parametrize("reason", sorted({*Reason.__members__} - {"BYPASSED"}))
def test_each_reason_has_an_outcome_and_a_sentence_for_both(reason: str) -> None:
    message = "No." if reason in ("WRONG_CODE", "TOO_MANY_CODES") else ""  # of codes only
    told = reasons.explanation_of(reasons.reason_for_host(reason), 1.2, message)["refusal"]
    assert told["outcome"] in {*at_gateway._OUTCOMES, "denied"}, "a host believes it"
    assert told["why"]
    assert str(told["message"]).endswith(".")
    assert told["retry_after"] == 2


def test_a_reason_of_iampass_is_told_as_it_is() -> None:
    assert reasons.explanation_of("NO_MOBILE_DEVICE") == reasons.explanation_of("OF_TOMORROW") == {}


def test_a_start_as_iampass_knows_it_is_refused_as_by_iampass(caller: HostCaller) -> None:
    assert "refusal" in caller.ask("nobody").authentication
    assert caller.start("nobody").authentication == {"authenticated": False, "reason": "NOT_ON_THIS_HOST"}


@pytest.mark.parametrize(
    ("status", "reason"),
    [(HostStatus.SUSPENDED, "HOST_SUSPENDED"), (HostStatus.WAITING, "HOST_NOT_ADMITTED")],
)
def test_a_host_that_is_suspended_or_waits_asks_nobody(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, status: HostStatus, reason: str
) -> None:
    gateway_server.change_host(status=status)
    assert reason_of(caller.ask("alice")) == reason
    assert sandbox.calls == ()


def test_only_the_first_machine_goes_on(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    assert caller.ask("alice", machine=MACHINE).status == 202
    for other in ({"machine": MACHINE[::-1]}, {}):
        assert reason_of(caller.ask("bob", **other)) == "WRONG_MACHINE"
    assert caller.ask("bob", machine=MACHINE).status == 202
    alerts = [record for record in gateway_server.records if record["kind"] == "alert"]
    assert [alert["host"] for alert in alerts] == [f"name-of-{HOST}"]
    assert len(sandbox.sessions) == 2


def test_a_clock_that_is_off_has_a_reason_of_its_own(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    gateway_server.clock_skew = 1000.0
    assert reason_of(caller.ask("alice")) == "CLOCK_OFF"
    assert sandbox.calls == ()
    assert [record["reason"] for record in gateway_server.records] == ["CLOCK_OFF"]


def test_before_the_signature_is_found_right_nothing_is_said(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    gateway_server.change_host(status=HostStatus.SUSPENDED)
    gateway_server.clock_skew = 1000.0
    target = f"/authentication/authenticate_user/{HOST}/alice"
    for client, secret in ((HOST, "wrong"), (OTHER, gateway_server.application_secret)):
        headers = {
            **signed(client, secret, gateway_server.url + target),
            "Content-Type": "application/json",
        }
        assert caller.send("POST", target, headers, b"{}").status == 401


@pytest.mark.parametrize(
    "lost",
    [
        "DELETE FROM record WHERE id > 1",
        "UPDATE record SET at = at - interval '1 s'",
        "TRUNCATE record RESTART IDENTITY",
    ],
)
@pytest.mark.parametrize("by", ["start", "poll", "poll that waits", "end"])
def test_a_database_that_was_exchanged_for_an_old_copy_is_noticed_by_the_next_call(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, lost: str, by: str
) -> None:
    for _ in range(2):
        assert reason_of(caller.ask("carol")) == "NO_MOBILE_DEVICE"  # leaves a record
    gateway_server.run(restored.look(gateway_server.gateway))
    gateway_server.rows("DELETE FROM record WHERE id = 1")  # it was old
    begun = caller.ask("alice").authentication
    sandbox.approve("token-of-alice")
    assert caller.answer(begun) == "active"
    gateway_server.run(restored.look(gateway_server.gateway))
    gateway_server.rows(
        "INSERT INTO record (id, kind, fields) OVERRIDING SYSTEM VALUE VALUES (1, 'act', '{}')"
    )
    gateway_server.rows(lost)
    assert not gateway_server.gateway.restored
    if by == "start":
        assert reason_of(caller.ask("bob")) == "RESTORED"
    elif by == "end":
        assert caller.session("POST", begun, "logout_url").status == 503
    else:
        reply = (
            caller.wait(begun, 0) if by == "poll that waits" else caller.session("GET", begun, "status_url")
        )
        assert (reply.status, reply.reason) == (503, "RESTORED")
    assert len(sandbox.sessions) == 1
    assert caller.get(f"/fleet/host/{HOST}").status == 503


def test_a_nonce_of_an_end_is_good_once(caller: HostCaller) -> None:
    begun = caller.ask("alice").authentication
    url = begun["logout_url"]
    headers = {
        **signed(begun["session_token"], begun["session_secret"], url),
        "Content-Type": "application/json",
    }
    replies = [caller.send("POST", urlsplit(url).path, headers) for _ in range(2)]
    assert [reply.status for reply in replies] == [200, 401]
    assert replies[1].reason == "REPLAYED_NONCE"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("call", ["add_users", "delete_users", "lost_user_mobile_device/alice"])
def test_a_host_manages_nobody(caller: HostCaller, sandbox: Sandbox, method: str, call: str) -> None:
    name, _, user = call.partition("/")
    target = caller.manage(name, user)
    reply = caller.send(method, target, caller.application(target))
    assert (reply.status, reply.reason) == (403, "NOT_FOR_HOSTS")
    assert sandbox.calls == ()


def test_nobody_is_asked_for_longer_than_iampass_allows(caller: HostCaller, sandbox: Sandbox) -> None:
    assert caller.ask("alice", duration_seconds="86401").reason == "BAD_DURATION"
    assert caller.ask("alice", duration_seconds="86400").status == 202


LONG = "9" * 5000


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("request_id", ("short", "+" * 22, LONG), "BAD_REQUEST_ID"),
        ("machine", ("x" * 32, "AB" * 16, LONG), "BAD_MACHINE"),
        ("timeout", ("0", "-1", "1.5", "x", LONG), "BAD_TIMEOUT"),
        ("duration_seconds", ("0", "x", LONG), "BAD_DURATION"),
        ("methods", ("x", LONG), "BAD_METHODS"),
        ("unheard_of", ("x",), "UNKNOWN_PARAMETER"),
    ],
)
def test_a_parameter_that_has_another_form_is_refused_by_its_name(
    caller: HostCaller, sandbox: Sandbox, name: str, values: tuple[str, ...], reason: str
) -> None:
    for value in values:
        reply = caller.start("alice", f"?{urlencode({name: value})}")
        assert (reply.status, reply.reason) == (400, reason), value
    assert not sandbox.calls


@pytest.mark.parametrize(
    "connection",
    [
        pytest.param(LONG, id="no connection"),
        pytest.param(f"192.0.2.7 {LONG} 192.0.2.8 22", id="long port"),
        pytest.param("192.0.2.7 0 192.0.2.8 22", id="no port"),
    ],
)
def test_what_a_host_says_of_a_login_is_kept_in_part_if_it_is_long_and_keeps_nobody_out(
    gateway_server: RunningGateway, caller: HostCaller, connection: str
) -> None:
    told = {"service": "\x1b", "remote": "x" * 500, "caller": "y" * 500, "key": "é" * 201}
    begun = caller.ask("alice", connection=connection, **told).authentication
    assert begun["authenticated"] is True
    details = gateway_server.session(begun).details
    assert details.keys() == told.keys()
    assert max(map(len, details.values())) == 200
    assert details["service"].isprintable()


def test_a_command_is_kept_cleaned_and_shortened_and_is_in_the_record(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    begun = caller.ask("alice", service="sudo", command="sudo \x1b[31m \u202e" + "🔑" * 1300).authentication
    kept = gateway_server.session(begun).details["command"]
    assert kept.startswith("sudo \\x1b[31m \\u202e🔑")
    assert (len(kept), kept.isprintable()) == (1200, True)
    sandbox.approve("token-of-alice")
    assert caller.answer(begun) == "active"
    (record,) = [row for row in gateway_server.records if row.get("outcome") == "approved"]
    assert record["command"] == kept


def test_a_command_that_the_signed_query_does_not_cover_is_refused(
    caller: HostCaller, sandbox: Sandbox
) -> None:
    once = new_request_id()
    assert caller.start("alice", f"?request_id={once}", {"command": "id"}).status == 400
    other = hashlib.sha256(b"{}").hexdigest()
    bodies: tuple[dict[str, Any], ...] = ({"command": "id"}, {"more": "id"}, {"command": ""}, {"command": 1})
    for body in bodies:
        assert caller.start("alice", f"?request_id={once}&body_sha256={other}", body).status == 400
    assert not sandbox.sessions
    assert caller.ask("nobody", command="id").authentication["refusal"]["outcome"] == "unlisted"
    first = caller.ask("alice", once, command="id").authentication
    assert first["authenticated"] is True
    assert caller.ask("alice", once, command="rm").authentication["reason"] == "REQUEST_ID_REUSED"


# How much


def settings_with_limit(conninfo: str, sandbox: Sandbox, folder: Path, limit: int) -> Any:
    settings = settings_for(conninfo, sandbox, folder)
    return replace(settings, limits=replace(settings.limits, requests_per_hour=limit))


def test_a_host_has_one_request_on_a_phone_at_a_time(caller: HostCaller, sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(lambda _: caller.ask("alice"), range(6)))
    assert {reply.status for reply in replies} == {202}
    assert sorted("queued" in reply.authentication for reply in replies) == [False] + [True] * 5
    assert "queued" not in caller.ask("bob").authentication
    assert len(sandbox.sessions) == 2


def test_one_host_leaves_others_half_of_the_calls(
    conninfo: str, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(conninfo, sandbox, tmp_path)
    settings = replace(settings, limits=replace(settings.limits, calls_at_once=2))
    sandbox.misbehave("start", held := Held())
    monkeypatch.setattr(asking, "_START_SECONDS", PATIENCE)
    with RunningGateway(settings) as running, ThreadPoolExecutor(1) as pool:
        running.populate()
        running.add_host(OTHER)
        caller = HostCaller(running)
        first = pool.submit(caller.ask, "alice")
        sandbox.wait_for_calls("start")
        target = f"/authentication/authenticate_user/{HOST}/bob"
        headers = {**caller.application(target), "Content-Type": "application/json"}
        assert reason_of(caller.send("POST", target, headers, b"{}")) == "HOST_THROTTLED"
        # Nor is it made later for who replays it.
        assert caller.send("POST", target, headers, b"{}").reason == "REPLAYED_NONCE"
        running.application_id = OTHER
        assert caller.ask("bob").status == 202
        held.until.set()
        assert first.result().status == 202


def test_one_host_leaves_others_half_of_the_ends_and_none_of_its_own_is_lost(
    conninfo: str, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(conninfo, sandbox, tmp_path)
    settings = replace(settings, limits=replace(settings.limits, calls_at_once=2))
    monkeypatch.setattr(asking, "_END_SECONDS", PATIENCE)
    with RunningGateway(settings) as running, ThreadPoolExecutor() as pool:
        running.populate()
        running.add_host(OTHER)
        running.add_person("dave", "token-of-dave")
        sandbox.add_user("token-of-dave")
        caller = HostCaller(running)
        begun = {}
        for person, host in (("alice", HOST), ("bob", HOST), ("dave", OTHER)):
            running.application_id = host
            begun[person] = caller.ask(person).authentication
        sandbox.misbehave("end", held := Held())
        first = pool.submit(caller.end, begun["alice"])
        sandbox.wait_for_calls("end")
        token, url = begun["bob"]["session_token"], begun["bob"]["logout_url"]
        headers = signed(token, begun["bob"]["session_secret"], url)
        connection = caller.connect()
        headers |= {"Content-Type": "application/json"}
        connection.request("POST", url.removeprefix(running.url), headers=headers)
        nonce = f"SELECT 1 FROM nonce WHERE client = '{running.session(begun['bob']).id}'"
        wait_until(lambda: bool(running.rows(nonce)), "the gateway has not begun with it")
        connection.close()
        assert caller.end(begun["dave"]) is True
        assert len(sandbox.wait_for_calls("end", 2)) == 2
        held.until.set()
        assert first.result() is True
        assert sandbox.wait_for_end("token-of-bob")
    assert not running.gateway.ends


def _denied(caller: HostCaller, sandbox: Sandbox, person: str) -> bool:
    """Whether a request was made, which the person then denies."""
    reply = caller.ask(person)
    if reply.status != 202:
        assert reason_of(reply) == "HOST_THROTTLED"
        return False
    sandbox.deny(f"token-of-{person}")
    assert caller.answer(reply.authentication) == "cancelled"
    return True


def test_one_host_gets_a_third_of_what_may_be_asked_of_a_person(
    conninfo: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    with RunningGateway(settings_with_limit(conninfo, sandbox, tmp_path, 6)) as running:
        running.populate()
        for host in (OTHER, "h-cccccccccccc", "h-dddddddddddd"):
            running.add_host(host)
        caller = HostCaller(running)
        assert [_denied(caller, sandbox, "alice") for _ in range(3)] == [True, True, False]
        assert _denied(caller, sandbox, "bob")
        for host, expected in ((OTHER, True), ("h-cccccccccccc", True), ("h-dddddddddddd", False)):
            running.application_id = host
            assert [_denied(caller, sandbox, "alice") for _ in range(2)] == [expected] * 2
        assert "throttled" in [record.get("outcome") for record in running.records]


def test_what_a_host_has_asked_counts_on_when_it_leaves_and_joins_again(
    conninfo: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    with RunningGateway(settings_with_limit(conninfo, sandbox, tmp_path, 6)) as running:
        running.populate()
        caller = HostCaller(running)
        assert [_denied(caller, sandbox, "alice") for _ in range(2)] == [True, True]
        host = running.transaction(lambda gateway, connection: hosts.find(gateway, connection, HOST))
        assert host is not None
        again = replace(host, id=OTHER)
        assert caller.post(f"/fleet/leave/{HOST}", None).status == 200
        running.transaction(lambda gateway, connection: hosts.add(gateway, connection, again))
        running.application_id = OTHER
        assert not _denied(caller, sandbox, "alice")
        assert _denied(caller, sandbox, "bob")


def test_what_was_approved_or_did_not_ring_does_not_count(
    conninfo: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    with RunningGateway(settings_with_limit(conninfo, sandbox, tmp_path, 3)) as running:
        running.populate()
        caller = HostCaller(running)
        for _ in range(2):
            begun = caller.ask("alice").authentication
            sandbox.approve(sandbox.wait_for_request("token-of-alice"))
            assert caller.answer(begun) == "active"
            assert reason_of(caller.ask("carol")) == "NO_MOBILE_DEVICE"
        # From where she has approved, a host has as much again.
        assert [_denied(caller, sandbox, "alice") for _ in range(3)] == [True, True, False]


def _approved(caller: HostCaller, sandbox: Sandbox, person: str) -> None:
    begun = caller.ask(person).authentication
    sandbox.approve(sandbox.wait_for_request(f"token-of-{person}"))
    assert caller.answer(begun) == "active"


def _three_cancel(running: RunningGateway, caller: HostCaller, sandbox: Sandbox, *approve: str) -> None:
    for person in ("dave", "erin"):
        sandbox.add_user(f"token-of-{person}")
        running.add_person(person, f"token-of-{person}")
    for person in ("alice", "bob"):
        assert _denied(caller, sandbox, person)
    for person in approve:
        _approved(caller, sandbox, person)
    assert _denied(caller, sandbox, "dave")


def _alerts(running: RunningGateway) -> int:
    return [record["kind"] for record in running.records].count("alert")


def test_three_people_who_cancel_slow_a_host_down(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    _three_cancel(gateway_server, caller, sandbox)
    assert _alerts(gateway_server) == 1
    sandbox.add_user("token-of-frank")
    gateway_server.add_person("frank", "token-of-frank")
    assert not _denied(caller, sandbox, "erin")
    gateway_server.rows("UPDATE session SET began_at = began_at - interval '61 seconds'")
    assert _denied(caller, sandbox, "erin")
    assert not _denied(caller, sandbox, "frank")
    assert _alerts(gateway_server) == 2, "of three people, and of four"


def test_as_many_people_who_approve_release_the_brake(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    _three_cancel(gateway_server, caller, sandbox, "alice", "bob", "erin")
    assert _denied(caller, sandbox, "bob")
    assert _alerts(gateway_server) == 0


def test_an_accomplice_who_approves_again_and_again_does_not_release_the_brake(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    _three_cancel(gateway_server, caller, sandbox, "erin", "erin", "erin")
    assert not _denied(caller, sandbox, "bob")
    assert _alerts(gateway_server) == 1


def test_a_host_that_ends_its_requests_before_people_answer_is_reported(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    for number in range(10):
        assert _alerts(gateway_server) == 0
        sandbox.add_user(f"token-{number}")
        gateway_server.add_person(f"person{number}", f"token-{number}")
        assert caller.end(caller.ask(f"person{number}").authentication) is True
    assert _alerts(gateway_server) == 1


def test_a_group_can_have_its_hosts_stopped_by_themselves(
    conninfo: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    groups = {"servers": GroupSettings(everybody=True, suspend_by_itself=True)}
    with RunningGateway(settings_for(conninfo, sandbox, tmp_path, groups=groups)) as running:
        running.populate()
        caller = HostCaller(running)
        for person in ("alice", "bob"):
            assert _denied(caller, sandbox, person)
        running.rows("UPDATE session SET person = 'carol' WHERE person = 'bob'")
        sandbox.add_user("token-of-dave")
        running.add_person("dave", "token-of-dave")
        kept, rings = (caller.ask(person).authentication for person in ("alice", "dave"))
        sandbox.approve("token-of-alice")
        assert caller.answer(kept) == "active"
        assert caller.ask("bob").status == 202
        sandbox.deny("token-of-bob")
        while reason_of(caller.ask("carol")) != "HOST_SUSPENDED":
            pass
        assert sandbox.wait_for_end("token-of-dave"), "nobody may approve it any more"
        assert running.session(kept).state is State.OPEN
        assert caller.answer(rings) == "closed"
        assert _alerts(running) == 1


def test_a_request_that_has_begun_while_its_host_was_suspended_is_ended(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    begun = caller.ask("alice").authentication
    # As if `host suspend` had not seen it yet.
    gateway_server.change_host(status=HostStatus.SUSPENDED)
    assert sandbox.wait_for_end("token-of-alice"), "nobody may approve it any more"
    wait_until(lambda: gateway_server.session(begun).state is State.ENDED, "it is not over")


def test_the_turns_of_a_person_are_locked_before_a_host_is(
    gateway_server: RunningGateway, caller: HostCaller, conninfo: str
) -> None:
    """Two starts that lock both the other way round would wait for each other."""
    with ThreadPoolExecutor(1) as pool, psycopg.connect(conninfo) as other:
        # Another start of alice, which is not committed yet; its next step may lock the host.
        other.execute("SELECT pg_advisory_xact_lock(%s, hashtext('alice'))", (Lock.TURNS.value,))
        first = pool.submit(caller.ask, "alice", machine=MACHINE)
        waits = (
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        wait_until(lambda: bool(gateway_server.rows(waits)), "it does not wait")
        other.execute("SELECT 1 FROM host FOR UPDATE NOWAIT")
        other.commit()
        assert first.result().status == 202


def test_refused_starts_do_not_fill_the_records_and_then_say_nothing_of_names(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    for number in range(30):
        assert reason_of(caller.ask(f"nobody{number}")) == "NOT_ON_THIS_HOST"
    gateway_server.add_host(OTHER, group="forgotten")
    assert reason_of(caller.ask("nobody")) == "HOST_THROTTLED"
    gateway_server.change_host(group_name="forgotten")
    assert [reason_of(caller.ask("alice")) for _ in range(3)] == ["HOST_THROTTLED"] * 3
    assert len(gateway_server.records) == 31
    assert _alerts(gateway_server) == 1
    gateway_server.application_id = OTHER
    assert reason_of(caller.ask("alice")) == "NOT_ON_THIS_HOST"


def test_starts_for_which_no_phone_rings_are_few_too(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    reasons = [reason_of(caller.ask("carol", duration_seconds="86400")) for _ in range(12)]
    assert reasons == ["NO_MOBILE_DEVICE"] * 10 + ["HOST_THROTTLED"] * 2
    assert len([call for call in sandbox.calls if call.kind == "start"]) == 10
    (expired,) = gateway_server.rows("SELECT count(*) AS rows FROM session WHERE expires_at <= now()")
    assert expired["rows"] == 10
    for number in range(30):
        caller.ask(f"nobody{number}")
    gateway_server.add_person("dave", "no-phone")
    caller.ask("dave")
    assert len([record for record in gateway_server.records if record["kind"] == "decision"]) == 30


def test_starts_for_which_no_phone_rings_keep_nobody_out_elsewhere_and_can_be_cleared(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    def asked(remote: str) -> Any:
        return caller.ask("carol", service="sshd", remote=remote).authentication

    for _ in range(10):
        assert asked("192.0.2.66")["reason"] == "NO_MOBILE_DEVICE"
    refused = asked("192.0.2.66")
    assert (refused["reason"], 0 < refused["refusal"]["retry_after"] <= 60) == ("HOST_THROTTLED", True)
    assert asked("198.51.100.7")["reason"] == "NO_MOBILE_DEVICE"
    gateway_server.transaction(
        lambda _, connection: turns.change(connection, "carol", lambda state, _: throttle.cleared(state))
    )
    assert asked("192.0.2.66")["reason"] == "NO_MOBILE_DEVICE"


def test_requests_that_were_withdrawn_while_they_waited_keep_nobody_out(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    first = caller.ask("alice").authentication
    for _ in range(12):
        waits = caller.ask("alice").authentication
        assert waits["queued"] is True
        assert caller.end(waits) is True
    assert caller.end(first) is True
    assert caller.ask("alice").authentication["session_status"] == "pending"


def test_a_start_that_was_given_up_while_iampass_was_called_stays_so_and_rings_no_longer(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_START_SECONDS", PATIENCE)
    sandbox.misbehave("start", held := Held())
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(caller.ask, "alice", duration_seconds="1")
        sandbox.wait_for_calls("start")
        waits = HostCaller(gateway_server).ask("alice", duration_seconds="1").authentication
        assert waits["queued"] is True
        assert HostCaller(gateway_server).answer(waits) == "timeout"
        gateway_server.run(asking.give_up_starts(gateway_server.gateway))
        (row,) = gateway_server.rows(
            "SELECT state, deadline > expires_at AS covers_the_call FROM session WHERE state <> 'not_started'"
        )
        assert row == {"state": "starting", "covers_the_call": True}
        _past_deadline(gateway_server)
        gateway_server.run(asking.give_up_starts(gateway_server.gateway))
        held.until.set()
        assert reason_of(first.result()) == "TRY_AGAIN"
    assert sandbox.wait_for_end("token-of-alice")
    assert gateway_server.rows("SELECT state FROM session ORDER BY began_at")[0] == {"state": "ended"}
    assert [record["reason"] for record in gateway_server.records][-1] == "its gateway has stopped"


def _past_deadline(running: RunningGateway) -> None:
    """As if the gateway that has begun the first start had been away for long."""

    async def go(gateway: Gateway, connection: Connection) -> None:
        (row,) = await many(connection, "SELECT id, began_at FROM session WHERE state = 'starting'")
        locked = await sessions.lock_row(gateway, connection, row["id"])
        await sessions.change(gateway, connection, locked, deadline=row["began_at"])

    running.transaction(go)


def test_what_is_done_for_a_host_is_of_its_share(gateway_server: RunningGateway, caller: HostCaller) -> None:
    held, seen = gateway_server.gateway.database._held, set[Any]()

    def seen_by() -> Any:
        seen.add(database._WHOSE.get())
        return held()

    gateway_server.gateway.database._held = seen_by  # type: ignore[method-assign]
    begun = caller.ask("alice").authentication
    assert seen - {None} == {"127.0.0.1", HOST}
    seen.clear()
    caller.end(begun)
    assert seen - {None} == {"127.0.0.1", HOST}


class _Away(Database):
    """Calls `has_none` with the number of each connection that is taken for a host; it may raise DatabaseAway."""

    has_none: Callable[[int], Awaitable[None]]
    taken = 0

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[Connection]:
        if database._WHOSE.get() is not None:
            self.taken += 1
            await self.has_none(self.taken)
        async with super()._held() as connection:
            yield connection


def _has_none(running: RunningGateway, has_none: Callable[[int], Awaitable[None]]) -> None:
    """Have connections of the gateway's database be missing."""

    async def go() -> None:
        away = _Away(running.settings.database)
        away.has_none = has_none
        running.gateway.database = await away.__aenter__()

    running.run(go())


def test_what_iampass_has_said_is_written_once_there_is_a_connection_again(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    async def has_none(number: int) -> None:
        if sandbox.sessions and number <= 5:  # the first two are those before IAMPASS is called
            raise DatabaseAway("all are in use")

    _has_none(gateway_server, has_none)
    reply = caller.ask("alice")
    assert (reply.status, len(sandbox.sessions)) == (202, 1)
    sandbox.approve("token-of-alice")
    assert caller.answer(reply.authentication) == "active"
    assert [call.kind for call in sandbox.calls].count("start") == 1
    assert capsys.readouterr().out.count("is not written yet: all are in use\n") == 1


@pytest.mark.parametrize("why", ["none until then", "one after that", "the gateway stops"])
def test_what_iampass_has_begun_is_ended_if_it_is_not_written_before_the_login_gives_up(
    gateway_server: RunningGateway, sandbox: Sandbox, why: str
) -> None:
    methods, patience = (AuthenticationMethod.device,), 60
    asked = asked_start.AskedStart(
        "alice", methods, patience, patience, new_request_id(), None, None, {}, b""
    )
    gateway = gateway_server.gateway
    admission = gateway_server.run(starts._admit(gateway, HOST, asked, starts.spend_nothing, by_phone=True))
    session, person = admission.answer, admission.ring
    assert person is not None
    assert isinstance(session, sessions.HostSession)
    gives_up = 0.0

    async def has_none(number: int) -> None:
        if why == "the gateway stops":
            gateway.held.stop()
        if number > 1 and why == "one after that":
            await asyncio.sleep(max(gives_up - time.monotonic(), 0.0))
            return
        raise DatabaseAway("all are in use")

    async def made() -> Any:
        nonlocal gives_up
        database.work_for(HOST)
        gives_up = time.monotonic() + (10_000.0 if why == "the gateway stops" else 2.0)
        return await asking.start_at_iampass(gateway, session, person, gives_up)

    _has_none(gateway_server, has_none)
    assert gateway_server.run(made()) == RefusedStart(Reason.TRY_AGAIN)
    assert [call.kind for call in sandbox.calls].count("start") == 1
    assert sandbox.wait_for_end("token-of-alice")
    assert gateway_server.rows("SELECT state FROM session") == [{"state": "starting"}]


def test_no_phone_rings_for_a_login_that_has_given_up_while_a_commit_waited_for_a_standby(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, postgres: Postgres
) -> None:
    with ThreadPoolExecutor() as pool:
        with synchronous(postgres, "standby"):
            waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE %s"
            wait_until(lambda: gateway_server.rows(waits, "%"), "the settings are not read")
            start = pool.submit(caller.ask, "alice", timeout="2")
            wait_until(
                lambda: gateway_server.rows(waits, 'INSERT INTO "session" %'), "the start does not wait"
            )
            time.sleep(2.0)
        assert start.result().authentication["reason"] == "TRY_AGAIN"
    assert sandbox.sessions == ()
    (session,) = gateway_server.rows("SELECT state FROM session")
    assert session["state"] == "not_started"
    (record,) = [each for each in gateway_server.records if each["kind"] == "decision"]
    assert (record["outcome"], "given up" in record["reason"]) == ("unavailable", True)
