"""Logins on a host that has joined a real gateway: the module as the agent runs it, PostgreSQL, and a sandbox."""

from __future__ import annotations

import pwd
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from pam_iampass.gateway.hosts.hosts import HostStatus
from pam_iampass.gateway.people import agents
from pam_iampass.login.bypass import Bypass, Moment
from pam_iampass.outcome import PamCode
from pam_iampass.system.boot import machine_digest
from tests.gateway.test_bypasses import bypass
from tests.gateway.test_codes import new_codes
from tests.gateway.test_nothing_sent import closed_port
from tests.support.deadline import DENIED
from tests.support.gateway import HOST, HOST_SECRET, RunningGateway, new_request_id, settings_for
from tests.support.sandbox import Sandbox
from tests.support.scripted_server import REQUEST, answer, authority, reset, scripted_server
from tests.support.setting import ME, Setting


@pytest.fixture
def host(own_folder: Path, sandbox: Sandbox) -> Iterator[Setting]:
    """A machine whose user has a phone, and is in no table."""
    sandbox.add_user("token-at-the-gateway")
    sandbox.auto, sandbox.delay = "approve", 0.05
    setting = Setting(own_folder, sandbox)
    setting.write("users.yaml", "")
    yield setting
    setting.state.database.close()


def join(host: Setting, *gateways: RunningGateway | str, **settings: str) -> dict[str, str]:
    """Write the settings of a host that has joined these; returns them."""
    running = next(each for each in gateways if isinstance(each, RunningGateway))
    urls = [each if isinstance(each, str) else each.url for each in gateways]
    host.write("application-secret", HOST_SECRET)
    host.write("ca.pem", running.ca_file.read_text())
    joined = {"application_id": HOST, "gateways": f"[{', '.join(urls)}]", "unavailable": "ignore", **settings}
    host.configure(**joined)
    return joined


@pytest.fixture
def gateway(gateway_server: RunningGateway) -> RunningGateway:
    gateway_server.add_person(ME, "token-at-the-gateway")
    return gateway_server


def outcome(host: Setting) -> tuple[str, str, str]:
    """Outcome, result and reason of the last login."""
    last = [fields for fields in host.records.fields if "IAMPASS_OUTCOME" in fields][-1]
    return last["IAMPASS_OUTCOME"], last["IAMPASS_RESULT"], last["IAMPASS_REASON"]


def test_a_login_is_approved_by_name_and_the_gateway_knows_of_it(
    host: Setting, gateway: RunningGateway
) -> None:
    join(host, gateway)
    assert host.login(rhost="192.0.2.7").code == PamCode.SUCCESS
    assert [session.user for session in host.sandbox.sessions] == ["token-at-the-gateway"]
    host.wait_for_ends()
    record = gateway.records[0]
    assert (record["outcome"], record["person"], record["service"]) == ("approved", ME, "test")
    assert record["remote"] == "192.0.2.7"
    (row,) = gateway.rows("SELECT machine FROM host")
    assert row["machine"] == (machine_digest() or None)


def test_a_refusal_is_one_request(host: Setting, gateway: RunningGateway) -> None:
    host.sandbox.auto = "deny"
    join(host, gateway)
    assert host.login().errors == [DENIED]
    assert len(host.sandbox.sessions) == 1


def test_a_login_that_waits_when_its_host_is_suspended_is_denied_and_says_why(
    host: Setting, gateway: RunningGateway
) -> None:
    host.sandbox.auto = "ignore"
    join(host, gateway)
    with ThreadPoolExecutor() as pool:
        login = pool.submit(host.login)
        host.sandbox.wait_for_request("token-at-the-gateway")
        gateway.change_host(status=HostStatus.SUSPENDED)
        assert login.result().errors == [
            "The gateway takes no requests from this machine. Please ask your administrator."
        ]
    assert outcome(host)[:2] == ("misconfigured", "denied")
    assert outcome(host)[2].startswith("HOST_SUSPENDED, says the gateway")


@pytest.mark.parametrize(("service", "result"), [("sshd", "ignored"), ("sudo", "denied")])
def test_while_iampass_is_away_it_is_an_outage_for_sshd(
    host: Setting, conninfo: str, sandbox: Sandbox, tmp_path: Path, service: str, result: str
) -> None:
    away = replace(settings_for(conninfo, sandbox, tmp_path), server=f"https://127.0.0.1:{closed_port()}")
    with RunningGateway(away) as gateway:
        gateway.populate()
        gateway.add_person(ME, "token-at-the-gateway")
        join(host, gateway)
        host.login(service=service, uid="0", ruser=ME)
        assert outcome(host)[:2] == ("unavailable", result)


# Bypasses


@pytest.mark.parametrize("service", ["sshd", "sudo"])
def test_a_bypass_at_the_gateway_is_ignored_by_pam_and_counts_as_no_request(
    host: Setting, gateway: RunningGateway, service: str
) -> None:
    join(host, gateway)
    bypass(gateway, ME)
    told = host.login(service=service, uid="0", ruser=ME)
    assert told.code == PamCode.IGNORE
    assert told.said[-1:] in (
        [],
        ["Continuing without phone approval: your administrator allows it for now."],
    )
    reason = f"{ME} is bypassed, says the gateway: pam-iampass-gateway bypass list"
    assert outcome(host) == ("bypassed", "ignored", reason)
    assert not host.sandbox.sessions
    state = host.state.throttle.state(ME)
    assert (state.requests, state.failures) == ({}, {})


def test_sudo_in_the_login_session_of_an_account_that_acts_for_the_caller_is_a_call_of_that_account(
    host: Setting, gateway: RunningGateway
) -> None:
    owner, account = pwd.getpwuid(2), pwd.getpwuid(1)
    gateway.add_person(owner.pw_name, "token-of-bob")
    gateway.transaction(lambda g, c: agents.add(g, c, account.pw_name, owner.pw_name, ()))
    join(host, gateway)
    bypass(gateway, owner.pw_name)
    sudo = {"service": "sudo", "user": owner.pw_name, "ruser": owner.pw_name, "uid": "2", "tty": "/dev/pts/0"}
    assert host.login(answers=(), **sudo, login_uid="2").code == PamCode.IGNORE
    assert "session_user" not in gateway.records[-1]
    host.sandbox.auto = "deny"
    assert host.login(answers=(), **sudo, login_uid="1").code == PamCode.ABORT
    record = gateway.records[-1]
    assert (record["outcome"], record["person"], record["agent"]) == (
        "denied",
        *(each.pw_name for each in (owner, account)),
    )


def test_a_bypass_of_the_host_itself_is_for_an_account_that_acts_for_a_person_too(
    host: Setting, gateway: RunningGateway
) -> None:
    account = pwd.getpwuid(1)
    gateway.transaction(lambda g, c: agents.add(g, c, account.pw_name, ME, ()))
    join(host, gateway)
    made = Moment.now()
    host.state.bypasses.add(Bypass(account.pw_name, 1, None, 900.0, made, "root", "", survives_reboot=False))
    sudo = {"service": "sudo", "user": account.pw_name, "ruser": account.pw_name, "uid": "1"}
    assert host.login(answers=(), **sudo, login_uid="1").code == PamCode.IGNORE
    assert not host.sandbox.sessions


def test_a_bypass_lets_a_person_without_a_phone_in_at_the_very_next_login(
    host: Setting, gateway_server: RunningGateway
) -> None:
    gateway_server.add_person(ME, "token-of-carol")
    join(host, gateway_server)
    for _ in range(4):
        assert host.login().code == PamCode.ABORT
        assert outcome(host)[0] == "no_device"
    bypass(gateway_server, ME)
    assert host.login().code == PamCode.IGNORE
    assert outcome(host)[0] == "bypassed"


def test_a_second_person_of_the_gateway_is_told_who_asks_on_the_host(
    host: Setting, gateway: RunningGateway
) -> None:
    gateway.add_person("carol-who-approves", "token-of-bob")
    join(host, gateway, timeout="60s", services="{test: {approver: {user: carol-who-approves}}}")
    told: list[tuple[str, str]] = []
    host.tell_approver = lambda required: told.append((required.asker, required.approver))
    assert host.login().code == PamCode.SUCCESS
    assert told == [(ME, "carol-who-approves")]


def test_the_bypass_of_a_second_person_lets_nobody_in(host: Setting, gateway: RunningGateway) -> None:
    gateway.add_person("carol-who-approves", "token-of-bob")
    bypass(gateway, "carol-who-approves")
    host.sandbox.auto = "deny"
    join(host, gateway, timeout="60s", services="{test: {approver: {user: carol-who-approves}}}")
    assert host.login().code == PamCode.ABORT
    assert outcome(host)[:2] == ("denied", "denied")
    assert [session.user for session in host.sandbox.sessions] == ["token-of-bob"]


# Recovery codes

KEY = "publickey ssh-ed25519 AAAA\n"


def typed(host: Setting, code: str) -> int | None:
    """The login of a person who types this at sshd's prompt."""
    return host.login(service="sshd", uid="0", answers=(code,), ssh_auth_info=KEY).code


def test_a_code_is_redeemed_at_the_gateway_and_no_phone_rings(host: Setting, gateway: RunningGateway) -> None:
    join(host, gateway)
    alices = new_codes(gateway, ME)
    told = host.login(service="sshd", uid="0", answers=(alices[0],), ssh_auth_info=KEY)
    assert (told.code, told.said) == (
        PamCode.SUCCESS,
        ["The recovery code was accepted: 9 recovery codes are left."],
    )
    assert outcome(host) == ("recovered", "success", "9 recovery codes are left")
    assert typed(host, alices[0]) == PamCode.MAXTRIES
    assert outcome(host) == ("denied", "denied", "wrong recovery code")
    assert not host.sandbox.sessions
    assert alices[0] not in str(host.records.fields)


def test_codes_of_the_host_count_only_while_no_gateway_can_be_reached(
    host: Setting, gateway: RunningGateway
) -> None:
    own = host.state.recovery_codes.renew(ME)
    fleets = new_codes(gateway, ME)
    join(host, f"https://127.0.0.1:{closed_port()}", gateway)
    assert typed(host, own[0]) == PamCode.MAXTRIES
    assert outcome(host)[:2] == ("denied", "denied")
    join(host, gateway, gateways=f"[https://127.0.0.1:{closed_port()}]")
    assert typed(host, fleets[0]) == PamCode.MAXTRIES
    assert typed(host, own[0]) == PamCode.SUCCESS
    assert outcome(host)[:2] == ("recovered", "success")
    join(host, gateway)
    assert typed(host, fleets[0]) == PamCode.SUCCESS


def test_a_code_that_has_left_is_no_code_of_the_host(host: Setting, gateway: RunningGateway) -> None:
    own = host.state.recovery_codes.renew(ME)
    answers = [
        answer(503),
        reset(REQUEST),
        answer(200, {"recovery": {"request_id": new_request_id(), "accepted": True, "left": 9}}),
    ]
    with scripted_server(*answers) as server:
        join(host, gateway, gateways=f"[{server.url}, https://127.0.0.1:{closed_port()}]")
        host.write("gateway-ca.pem", authority().ca_file.read_text())
        for _ in answers:
            assert typed(host, own[0]) == PamCode.MAXTRIES
            assert outcome(host)[:2] == ("unavailable", "denied")
        assert len(server.requests) == 3
    stored = host.state.recovery_codes.stored(ME)
    assert stored is not None
    assert stored.left == 10


def test_a_service_without_a_prompt_asks_for_a_code_if_the_phone_did_not_help(
    host: Setting, conninfo: str, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    away = replace(settings_for(conninfo, sandbox, tmp_path), server=f"https://127.0.0.1:{closed_port()}")
    with RunningGateway(away) as gateway:
        gateway.populate()
        gateway.add_person(ME, "token-at-the-gateway")
        alices = new_codes(gateway, ME)
        join(host, gateway)
        told = host.login(answers=(alices[0],))
        assert (told.code, told.asked) == (PamCode.SUCCESS, ["IAMPASS recovery code (Enter: none): "])
        assert outcome(host)[:2] == ("recovered", "success")
