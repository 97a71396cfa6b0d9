"""Logins on a host that has joined a gateway: real frames, and a gateway that plays a script."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pam_iampass.agent.context import Configurations
from pam_iampass.config.ssh_keys import fingerprint
from pam_iampass.login.at_iampass import MOST_REFUSED
from pam_iampass.login.throttle_store import OTHER_LOGIN
from pam_iampass.outcome import PamCode
from pam_iampass.system.boot import machine_digest
from tests.client.talk import polled, started
from tests.support.deadline import DENIED, TIMEOUT
from tests.support.door import AccountDoor
from tests.support.scripted_server import (
    Request,
    Scripted,
    ScriptedServer,
    Step,
    answer,
    scripted_server,
)
from tests.support.sessions import keeping
from tests.support.setting import ME, Setting
from tests.support.ssh_keys import accepted, make_key
from tests.support.world import wait_until
from tests.unit.login.test_throttled_logins import keep_settings

HOST = "h-abcdefghijkl"


@contextmanager
def gateway(world: Setting, *steps: Scripted, **settings: str) -> Iterator[ScriptedServer]:
    """A gateway that plays these steps, and the settings of a host that has joined it."""
    with scripted_server(*steps) as server:
        world.write("ca.pem", Path(server.ca_file).read_text())
        world.configure(
            **{"gateways": f"[{server.url}]", "application_id": HOST, "unavailable": "ignore", **settings}
        )
        yield server


def approving(server: ScriptedServer) -> None:
    server.add(started(server), polled("active"), answer(200, {"status": True}))


def not_started(reason: str, **members: Any) -> Step:
    return answer(200, {"authentication_status": {"authenticated": False, "reason": reason, **members}})


def refused(reason: str, outcome: str, retry_after: int = 0, message: str = "No.") -> dict[str, Any]:
    """What a gateway says if it asks nobody."""
    told = {"outcome": outcome, "why": "so it is", "message": message, "retry_after": retry_after}
    return {"reason": reason, "refusal": told}


def unsent(reason: str = "IAMPASS_AWAY") -> Callable[[Request], Step]:
    """The statement of a gateway about the very request that it answers."""

    def step(request: Request) -> Step:
        nonce = (request.header("Authentication") or "").split(":")[1]
        return not_started(reason, nothing_sent={"request_id": query(request)["request_id"], "nonce": nonce})

    return step


def query(request: Request) -> dict[str, str]:
    return {name: value for name, (value,) in parse_qs(urlsplit(request.target).query).items()}


def record(world: Setting) -> dict[str, str]:
    return [fields for fields in world.records.fields if "IAMPASS_OUTCOME" in fields][-1]


# By name


@pytest.mark.parametrize(
    "table", ["", f"{ME}: another-token\n", None], ids=["in no table", "in the table", "no table"]
)
def test_the_person_is_asked_by_name_whatever_the_table_says(world: Setting, table: str | None) -> None:
    world.write("users.yaml", table or "")
    if table is None:
        (world.folder / "users.yaml").unlink()
    with gateway(world, unlisted_users="ignore") as server:
        approving(server)
        assert world.login().code == PamCode.SUCCESS
        path = urlsplit(server.requests[0].target).path
        assert path == f"/authentication/authenticate_user/{HOST}/{ME}"


def test_the_gateway_is_asked_as_soon_as_the_host_has_joined_and_until_it_leaves(
    world: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "pam_iampass.agent.context.TIMESTAMP_TICK", 0.0
    )  # also files that have just changed are kept
    configurations = Configurations(owner=os.geteuid())
    file, joined = str(world.folder / "iampass.yaml"), world.folder / "joined.yaml"
    with gateway(world) as server:
        aside = joined.rename(world.folder / "aside")
        alone = configurations.current(file)
        assert alone.settings.gateways == ()
        assert configurations.current(file) is alone
        aside.rename(joined)
        assert configurations.current(file).settings.gateways == (server.url,)
        assert configurations.current(file) is configurations.current(file)
        joined.unlink()
        assert configurations.current(file).settings.gateways == ()


def test_the_methods_of_the_table_still_hold(world: Setting) -> None:
    world.write("users.yaml", f"{ME}: {{token: t, methods: [facial]}}\n")
    with gateway(world) as server:
        approving(server)
        world.login()
        assert query(server.requests[0])["methods"] == "facial"


def test_keys_without_a_token_name_the_person_whom_the_gateway_asks(world: Setting, tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    world.write("users.yaml", f"carol: {{keys: ['{key}']}}\n")
    with gateway(world, services="{test: {approver: key, prompt: never}}") as server:
        approving(server)
        assert world.login(ssh_auth_info=accepted(key)).code == PamCode.SUCCESS
        assert urlsplit(server.requests[0].target).path.endswith("/carol")


def test_a_second_person_whom_the_gateway_does_not_know_is_followed_by_the_next(world: Setting) -> None:
    world.write("users.yaml", "")
    second = "{test: {approver: {users: [carol, dave, erin]}}}"
    with gateway(
        world, *[not_started(**refused("UNKNOWN_USER", "unlisted"))] * 2, services=second, timeout="60s"
    ) as server:
        approving(server)
        told = world.login()
        assert (told.code, told.said[-1]) == (PamCode.SUCCESS, "Approved by erin.")
        people = [urlsplit(request.target).path.rpartition("/")[2] for request in server.requests[:3]]
        assert people == ["carol", "dave", "erin"]


# Kept sessions


def test_a_kept_session_covers_while_the_gateway_says_that_it_is_active_and_no_phone_is_asked_for(
    world: Setting,
) -> None:
    status = "active"

    def step(request: Request) -> Step:
        if "/authenticate_user/" in request.target:
            return started(server)
        return polled(status) if request.method == "GET" else answer(200, {"status": True})

    with scripted_server(always={"GET": step, "POST": step}) as server:
        world.write("ca.pem", Path(server.ca_file).read_text())
        with keeping(world, gateways=f"[{server.url}]", application_id=HOST) as agent:
            agent.log_in()
            assert agent.login(service="sudo", audit_session="42").code == PamCode.IGNORE
            assert agent.outcome()["IAMPASS_OUTCOME"] == "covered"
            status = "closed"
            assert agent.login(service="sudo", audit_session="42").code == PamCode.ABORT
            assert not any("/management/" in request.target for request in server.requests)


def test_a_session_from_before_the_host_has_joined_is_asked_for_where_it_was_begun(world: Setting) -> None:
    with keeping(world) as agent, scripted_server() as server:
        kept, login = agent.log_in()
        world.write("ca.pem", world.sandbox.ca_file.read_text() + Path(server.ca_file).read_text())
        session = "{keep: true, check: 2s, covers: {services: [sudo]}}"
        world.configure(gateways=f"[{server.url}]", application_id=HOST, session=session)
        world.sandbox.close(world.sandbox.sessions[-1])
        wait_until(lambda: login.over, "the login goes on")
        agent.wait_until_forgotten(kept)
        assert not server.requests


@pytest.mark.parametrize("token", [Setting.token, ME], ids=["another token", "the name as the token"])
def test_such_a_session_covers_nothing(world: Setting, token: str) -> None:
    """The gateway does not know it, so that nobody who reports the phone lost there would end it."""
    world.sandbox.add_user(token)
    world.write("users.yaml", f"{ME}: {token}\n")
    unknown = not_started(**refused("UNKNOWN_USER", "unlisted"))
    with keeping(world) as agent, scripted_server(unknown) as server:
        agent.log_in()
        world.write("ca.pem", world.sandbox.ca_file.read_text() + Path(server.ca_file).read_text())
        session = "{keep: true, check: 2s, covers: {services: [sudo]}}"
        world.configure(gateways=f"[{server.url}]", application_id=HOST, session=session)
        assert agent.login(service="sudo", audit_session="42").code == PamCode.ABORT
        assert agent.outcome()["IAMPASS_OUTCOME"] == "unlisted"


# What the gateway is told


def test_the_gateway_is_told_of_the_login_what_is_known(world: Setting, own_folder: Path) -> None:
    key = make_key(own_folder / "key")
    items: dict[str, Any] = {
        "ssh_auth_info": accepted(key),
        "ssh_connection": "192.0.2.7 4000 192.0.2.1 22",
        "rhost": "evil.example",
    }
    with gateway(world) as server:
        approving(server)
        assert world.login(**items).code == PamCode.SUCCESS
        told = query(server.requests[0])
        assert re.fullmatch("[A-Za-z0-9_-]{22}", told.pop("request_id"))
        assert told.pop("duration_seconds")
        assert told.pop("login") == world.records.fields[-1]["IAMPASS_LOGIN"]
        assert 0 < int(told.pop("timeout")) <= int(TIMEOUT.rstrip("s"))
        expected = {"service": "test", "remote": "192.0.2.7", "key": fingerprint(key)}
        machine = machine_digest()
        assert told == {**expected, **({"machine": machine} if machine else {})}


def test_a_remote_name_and_an_unprintable_service_are_left_out(world: Setting) -> None:
    with gateway(world) as server:
        approving(server)
        assert world.login(rhost="evil.example", service="te\x07st").code == PamCode.SUCCESS
        assert {"remote", "service", "key"} & set(query(server.requests[0])) == set()


def test_each_request_has_an_id_of_its_own(world: Setting) -> None:
    with gateway(world) as server:
        approving(server)
        approving(server)
        world.login()
        world.login()
        starts = [
            query(request)["request_id"] for request in server.requests if "request_id" in request.target
        ]
        assert len(set(starts)) == 2


@pytest.mark.parametrize("shown", ["true", "false"])
def test_the_gateway_is_told_what_sudo_runs_unless_the_settings_leave_it_out(
    world: Setting, shown: str
) -> None:
    arguments = b"echo\0" + "🔑".encode() * 25_000 + b"\0"
    command = f"{len(arguments)}:{arguments[:600].hex()}:{arguments[-300:].hex()}"
    world.door_class = AccountDoor
    with gateway(world) as server:
        world.configure(gateways=f"[{server.url}]", application_id=HOST, show_command=shown)
        approving(server)
        sudo = {"service": "sudo", "ruser": ME, "uid": str(os.geteuid()), "program": "/usr/bin/sudo"}
        told = world.login("always", answers=(), command=command, folder="/srv", **sudo)
        assert told.code == PamCode.SUCCESS
        request = server.requests[0]
        body = json.loads(request.body)
        assert (body == {}) == (shown == "false")
        if body:
            assert query(request)["body_sha256"] == hashlib.sha256(request.body).hexdigest()
            assert body["command"].startswith("sudo echo $'🔑")
            assert "[100,006 bytes]" in body["command"]
        assert "echo" not in request.target


def test_iampass_itself_is_told_nothing(world: Setting) -> None:
    assert world.login().code == PamCode.SUCCESS  # the sandbox refuses what IAMPASS does not know


def test_the_machine_is_named_by_a_digest_that_hides_its_id(tmp_path: Path) -> None:
    file = tmp_path / "machine-id"
    file.write_text("0123456789abcdef0123456789abcdef\n")
    assert machine_digest(str(file)) == "a248a0309475b2c2b56247dbae2ecc3b"
    for text in ("", "uninitialized\n", "0123\n"):
        file.write_text(text)
        assert machine_digest(str(file)) == ""
    assert machine_digest("/nowhere") == ""


# What is repeated, and what is an outage


@pytest.mark.parametrize("reason", ["IAMPASS_AWAY", "DATABASE_AWAY"])
@pytest.mark.parametrize(
    ("service", "code", "result"), [("sshd", PamCode.IGNORE, "ignored"), ("sudo", PamCode.ABORT, "denied")]
)
def test_where_nothing_was_sent_it_is_as_if_iampass_were_away(
    world: Setting, reason: str, service: str, code: int, result: str
) -> None:
    with gateway(world, unsent(reason)):
        told = world.login(service=service, uid="0", ruser=ME)
        assert told.code == code
        assert (record(world)["IAMPASS_OUTCOME"], record(world)["IAMPASS_RESULT"]) == ("unavailable", result)
        assert reason in record(world)["IAMPASS_REASON"]


def test_from_iampass_itself_it_is_not(world: Setting) -> None:
    with scripted_server(
        not_started("IAMPASS_AWAY", nothing_sent={"request_id": "None", "nonce": "1"})
    ) as server:
        world.write("ca.pem", Path(server.ca_file).read_text())
        world.configure(server=server.url, unavailable="ignore")
        assert world.login(service="sshd", uid="0").code == PamCode.ABORT
        assert (record(world)["IAMPASS_OUTCOME"], record(world)["IAMPASS_RESULT"]) == ("denied", "denied")


# Reasons

REFUSALS = ("unlisted", "throttled", "misconfigured", "unavailable", "denied")


@pytest.mark.parametrize("outcome", [*REFUSALS, "approved", "bypassed", "ignored", "of tomorrow", ""])
def test_what_a_gateway_says_denies_with_a_sentence_for_both(world: Setting, outcome: str) -> None:
    with gateway(world, not_started(**refused("OF_TOMORROW", outcome))) as server:
        told = world.login(service="sshd", uid="0")
        assert told.code == PamCode.ABORT
        assert len(server.requests) == 1
    found = record(world)
    expected = outcome if outcome in REFUSALS else "denied"
    assert (found["IAMPASS_OUTCOME"], found["IAMPASS_RESULT"]) == (expected, "denied")
    assert found["IAMPASS_REASON"] == "OF_TOMORROW, says the gateway: so it is"
    assert told.errors == ["No."]


@pytest.mark.parametrize(("reason", "outcome"), [("NO_MOBILE_DEVICE", "no_device"), ("OF_IAMPASS", "denied")])
def test_a_reason_of_iampass_that_a_gateway_passes_on_denies(
    world: Setting, reason: str, outcome: str
) -> None:
    with gateway(world, not_started(reason)):
        told = world.login(service="sshd", uid="0")
        assert told.code == PamCode.ABORT
    assert record(world)["IAMPASS_OUTCOME"] == outcome
    assert (reason in told.errors[0]) is (outcome == "denied")


def test_a_gateway_that_is_unreachable_is_not_called_iampass(world: Setting) -> None:
    with gateway(world, *[answer(503, {})] * 4):
        told = world.login(service="sshd", uid="0")
    assert told.errors[0].startswith("The gateway is unreachable from this machine.")


AWAY = {
    "IAMPASS_AWAY": ("IAMPASS does not answer the gateway. ", "the gateway gets no answer from IAMPASS"),
    "DATABASE_AWAY": ("The gateway's database does not answer. ", "the gateway cannot use its database"),
}


@pytest.mark.parametrize("reason", AWAY)
@pytest.mark.parametrize("when", ["start", "poll"])
def test_what_is_away_behind_a_gateway_is_named_and_the_gateway_is_not_blamed(
    world: Setting, reason: str, when: str
) -> None:
    away = answer(503, {"reason": reason, "detail": "ask again"})
    with gateway(world, timeout="5s") as server:
        if when == "start":
            server.add(unsent(reason))
        else:
            server.add(started(server), *[away] * 60)
        told = world.login(service="sudo", uid="0", ruser=ME)
    message, why = AWAY[reason]
    assert told.errors[-1].startswith(message)
    assert "unreachable" not in told.errors[0]
    assert why in record(world)["IAMPASS_REASON"]


@pytest.mark.parametrize("body", [{"reason": "OTHER"}, {"reason": 7}, ["IAMPASS_AWAY"], "x"])
def test_any_other_answer_of_a_gateway_that_cannot_serve_names_nobody_else(world: Setting, body: Any) -> None:
    with gateway(world, *[answer(503, body)] * 4):
        told = world.login(service="sshd", uid="0")
    assert told.errors[0].startswith("The gateway is unreachable from this machine.")


def test_what_a_gateway_says_is_cleaned_and_bounded(world: Setting) -> None:
    with gateway(world, not_started(**refused("A\x1b[2J", "denied", message="B\n\u202e" + "c" * 1000))):
        told = world.login()
    (message,) = told.errors
    assert len(message) <= 300
    assert message.isprintable()
    assert record(world)["IAMPASS_REASON"].isprintable()


def test_iampass_itself_refuses_in_no_words_of_its_own(world: Setting) -> None:
    with scripted_server(not_started(**refused("OF_IAMPASS", "unlisted"))) as server:
        world.write("ca.pem", Path(server.ca_file).read_text())
        world.configure(server=server.url)
        assert "OF_IAMPASS" in world.login().errors[0]
    assert record(world)["IAMPASS_OUTCOME"] == "denied"


@pytest.mark.parametrize(
    "told",
    [
        *(refused("SO", outcome) for outcome in REFUSALS),
        {"reason": "NO_MOBILE_DEVICE"},
        {"reason": "OF_IAMPASS"},
    ],
    ids=[*REFUSALS, "no phone", "of IAMPASS"],
)
def test_a_denial_of_a_gateway_makes_nobody_wait_on_the_host(world: Setting, told: dict[str, Any]) -> None:
    with gateway(world, *[not_started(**told)] * 4) as server:
        for _ in range(4):
            world.login()
        assert len(server.requests) == 4
        approving(server)
        assert world.login().code == PamCode.SUCCESS


CODE = "ABCD-EFGH-JKMN-PQRS"


def answer_to_code(**members: Any) -> Callable[[Request], Step]:
    def step(request: Request) -> Step:
        return answer(200, {"recovery": {"request_id": query(request)["request_id"], **members}})

    return step


@pytest.mark.parametrize(
    ("members", "outcome", "said"),
    [
        ({"accepted": True, "left": 9}, "recovered", ""),
        ({"accepted": False, **refused("WRONG_CODE", "denied")}, "denied", "wrong or was already used"),
        ({"accepted": False, **refused("TOO_MANY_CODES", "throttled", 90)}, "throttled", "Too many wrong"),
        ({"accepted": False, **refused("CODES_NOT_HERE", "denied")}, "denied", "No."),
        ({"accepted": False, **refused("TRY_AGAIN", "unavailable")}, "unavailable", "No."),
        ({"accepted": False, **refused("OF_TOMORROW", "recovered")}, "denied", "No."),
        ({"accepted": False, "reason": "SOMETHING_ELSE"}, "denied", "could not redeem"),
    ],
)
def test_the_gateways_answer_to_a_code_is_the_result_of_the_login(
    world: Setting, members: dict[str, Any], outcome: str, said: str
) -> None:
    with gateway(world, not_started("NO_MOBILE_DEVICE"), answer_to_code(**members)) as server:
        told = world.login(answers=(CODE,))
        assert len(server.requests) == 2
    assert told.code == (PamCode.SUCCESS if outcome == "recovered" else PamCode.ABORT)
    assert record(world)["IAMPASS_OUTCOME"] == outcome
    assert said in "".join(told.errors)


@pytest.mark.parametrize(
    ("step", "outcome"),
    [
        (answer(404, {"detail": "unknown"}), "misconfigured"),
        (answer(500), "unavailable"),
    ],
    ids=["unknown", "error"],
)
def test_a_code_that_the_gateway_does_not_answer_lets_nobody_in(
    world: Setting, step: Step, outcome: str
) -> None:
    with gateway(world, not_started("NO_MOBILE_DEVICE"), step) as server:
        told = world.login(answers=(CODE,))
        assert len(server.requests) == 2
    assert told.code == PamCode.ABORT
    assert record(world)["IAMPASS_OUTCOME"] == outcome


def test_a_host_that_is_suspended_while_the_phone_rings_says_so(world: Setting) -> None:
    with gateway(world) as server:
        server.add(started(server), answer(403, {"detail": "suspended"}), ENDED)
        assert world.login().code == PamCode.ABORT
    assert record(world)["IAMPASS_OUTCOME"] == "misconfigured"
    assert record(world)["IAMPASS_REASON"].startswith("HOST_SUSPENDED, says the gateway")


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_gateway_that_refuses_a_host_is_asked_at_each_login_so_that_the_next_one_rings_once_it_is_mended(
    world: Setting, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gateway(world, *[answer(status, {"detail": "no"})] * (MOST_REFUSED + 2)) as server:
        keep_settings(world, monkeypatch)
        for _ in range(MOST_REFUSED + 2):
            assert world.login().code == PamCode.ABORT
            assert record(world)["IAMPASS_OUTCOME"] == "misconfigured"
        approving(server)
        assert world.login().code == PamCode.SUCCESS


@pytest.mark.parametrize(
    ("told", "asked"),
    [(refused("SO", "unavailable"), 2), ({"reason": "NO_MOBILE_DEVICE"}, 3), (refused("SO", "denied"), 3)],
    ids=["may have rung", "no phone", "denied"],
)
def test_a_phone_that_may_have_rung_counts_for_the_person_who_has_asked_its_owner(
    world: Setting, told: dict[str, Any], asked: int
) -> None:
    second = "{test: {approver: {user: carol}}}"
    with gateway(world, *[not_started(**told)] * 3, services=second, timeout="60s") as server:
        for _ in range(3):
            world.login()
        assert len(server.requests) == asked
        assert (record(world)["IAMPASS_OUTCOME"] == "throttled") is (asked == 2)


# Turns


def in_line(server: ScriptedServer) -> Step:
    """The answer to a start that waits for its turn."""
    return started(server, queued=True, wait=25, version=1)


def says(status: str, version: int, **members: Any) -> Step:
    return answer(200, {"authentication_status": {"session_status": status, "version": version, **members}})


ENDED = answer(200, {"status": False})


@pytest.mark.parametrize("service", ["test", "sshd"])
def test_a_login_that_waits_for_its_turn_says_so_and_who_is_asked_when_the_turn_has_come(
    world: Setting, service: str
) -> None:
    with gateway(world) as server:
        server.add(
            in_line(server), says("pending", 1, queued=True), says("pending", 2), says("active", 3), ENDED
        )
        in_sshd: dict[str, Any] = {"ssh_auth_info": ""} if service == "sshd" else {}
        told = world.login(service=service, **in_sshd)
        assert told.code == PamCode.SUCCESS
        if service == "test":
            asked = told.said[1]
            assert told.said[0] == OTHER_LOGIN
            assert re.fullmatch(r"Approve this on your phone within [0-9]+ seconds\.", asked)
        else:
            assert OTHER_LOGIN not in told.said


@pytest.mark.parametrize(
    ("end", "outcome", "message"),
    [
        (refused("NO_TURN", "throttled"), "throttled", "No."),
        (refused("PHONE_LOST", "no_device"), "no_device", "No."),
        (refused("PHONE_LOST_MEANWHILE", "denied"), "denied", "No."),
        (refused("HOST_SUSPENDED", "misconfigured"), "misconfigured", "No."),
        (
            refused("HOST_THROTTLED", "throttled", 30),
            "throttled",
            "Too many requests: none was sent. Wait 30 seconds, or use a recovery code.",
        ),
    ],
)
def test_a_login_that_has_waited_in_vain_says_why(
    world: Setting, end: dict[str, Any], outcome: str, message: str
) -> None:
    with gateway(world) as server:
        server.add(in_line(server), says("failed", 2, **end), ENDED)
        told = world.login()
        assert told.code == PamCode.ABORT
        assert record(world)["IAMPASS_OUTCOME"] == outcome
        assert record(world)["IAMPASS_REASON"].startswith(end["reason"])
        assert told.errors[0].startswith(message)


@contextmanager
def always_in_line(
    world: Setting, timeout: str, poll: Step | None = None, **offer: bool
) -> Iterator[ScriptedServer]:
    """A gateway at which no turn comes, unless this is its answer to polls, and the settings of a host that has joined
    it."""

    def step(request: Request) -> Step:
        if "/authenticate_user/" in request.target:
            return started(server, queued=True, wait=25, version=1, **offer)
        return poll or says("pending", 1, queued=True) if request.method == "GET" else ENDED

    with scripted_server(always={"GET": step, "POST": step}) as server:
        world.write("ca.pem", Path(server.ca_file).read_text())
        services = "{sshd: {prompt: never}}"
        world.configure(gateways=f"[{server.url}]", application_id=HOST, timeout=timeout, services=services)
        yield server


def test_a_login_whose_turn_has_not_come_when_its_time_is_over_is_not_one_that_nobody_has_answered(
    world: Setting,
) -> None:
    with always_in_line(world, timeout="10s"):
        assert world.login().code == PamCode.ABORT
        assert record(world)["IAMPASS_OUTCOME"] == "throttled"
        assert record(world)["IAMPASS_REASON"].startswith("other logins of this user were decided first")


def test_when_the_gateway_refuses_the_person_is_told_how_long_to_wait(world: Setting) -> None:
    with gateway(world, not_started(**refused("HOST_THROTTLED", "throttled", 240))):
        told = world.login()
        assert told.errors == ["Too many requests: none was sent. Wait 4 minutes, or use a recovery code."]
        assert record(world)["IAMPASS_REASON"].endswith("; 4 minutes to wait")


def test_what_a_gateway_has_begun_counts_there_and_not_again_here(world: Setting) -> None:
    with gateway(world, throttle="{requests_per_hour: 1, spacing: 30s}") as server:
        for _ in range(4):
            server.add(started(server, wait=25, version=1), says("cancelled", 2), ENDED)
        for _ in range(4):
            assert world.login().errors == [DENIED]
        assert len(server.requests) == 12
        assert world.state.throttle.state(ME).requests == {}


def ends(server: ScriptedServer) -> list[dict[str, str]]:
    """What the gateway is told when requests are ended."""
    return [query(each) for each in server.requests if "/logout/" in each.target]


@pytest.mark.parametrize("offered", [True, False], ids=["if it wants to know", "not otherwise"])
def test_a_gateway_is_told_of_a_caller_who_hangs_up_having_read_that_another_login_comes_first(
    world: Setting, offered: bool
) -> None:
    with always_in_line(world, timeout="20s", counts_given_up=offered) as server:
        for _ in range(3):
            attacker = world.door()
            assert attacker.wait_for_text() == OTHER_LOGIN
            attacker.die()
            attacker.wait()
        wait_until(lambda: len(ends(server)) == 3, "the requests are not ended")
        assert ends(server) == [{"given_up": "yes"} if offered else {}] * 3
        assert world.state.throttle.state(ME).failures == {}


def test_a_gateway_is_not_told_of_one_who_has_not_read_that_or_whose_time_was_over(world: Setting) -> None:
    with always_in_line(world, timeout="10s", counts_given_up=True) as server:
        world.login()
        polls = len([each for each in server.requests if each.method == "GET"])
        in_sshd = world.door(service="sshd", ssh_auth_info="")
        wait_until(lambda: len([each for each in server.requests if each.method == "GET"]) > polls, "no poll")
        in_sshd.die()
        in_sshd.wait()
        wait_until(lambda: len(ends(server)) == 2, "the request is not ended")
        assert ends(server) == [{}, {}]


def test_a_login_that_is_given_up_once_its_phone_is_asked_is_ended_like_any_other(world: Setting) -> None:
    with always_in_line(world, "20s", says("pending", 2), counts_given_up=True) as server:
        caller = world.door()
        assert caller.wait_for_text() == OTHER_LOGIN
        assert caller.wait_for_text().startswith("Approve this on your phone")
        caller.die()
        caller.wait()
        wait_until(lambda: ends(server) == [{}], "the request is not ended")


def test_here_only_logins_of_one_origin_wait_for_each_other(world: Setting) -> None:
    def step(request: Request) -> Step:
        if "/authenticate_user/" in request.target:
            return started(server)
        return polled("active" if done else "pending") if request.method == "GET" else ENDED

    done: list[bool] = []
    with scripted_server(always={"GET": step, "POST": step}) as server:
        world.write("ca.pem", Path(server.ca_file).read_text())
        world.configure(gateways=f"[{server.url}]", application_id=HOST, timeout="20s")
        doors = [world.door(rhost=f"192.0.2.{place}") for place in (1, 1, 2, 3)]

        def starts() -> list[Request]:
            return [each for each in server.requests if "/authenticate_user/" in each.target]

        wait_until(lambda: len(starts()) == 3, "a login of each origin is at the gateway")
        assert {query(each)["remote"] for each in starts()} == {"192.0.2.1", "192.0.2.2", "192.0.2.3"}
        wait_until(lambda: len(world.state.throttle.state(ME).pending) == 4, "the other one waits")
        assert len(starts()) == 3
        done.append(True)
        assert [door.finish().code for door in doors] == [PamCode.SUCCESS] * 4
        assert len(starts()) == 4
