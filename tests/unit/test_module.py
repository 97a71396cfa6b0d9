"""The module, from HELLO to RESULT: real frames, real settings, a real sandbox over TLS."""

from __future__ import annotations

import grp
import os
import re
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

import pytest

from pam_iampass.agent.application import RemoteApplication
from pam_iampass.agent.wire import receive
from pam_iampass.login.application import PamApplication
from pam_iampass.outcome import Decision, Login, Outcome, PamCode
from tests.support.deadline import APPROVE_WITHIN, APPROVED, DEADLINE, DENIED, NOBODY_ANSWERED, PRESS_ENTER
from tests.support.door import Door, Told
from tests.support.in_time import BUSY, in_time
from tests.support.sandbox import HttpStatus, SessionState
from tests.support.setting import ME, Setting
from tests.support.world import PATIENCE

KEY = "publickey ssh-ed25519 AAAA\n"
GROUP = grp.getgrgid(os.getegid()).gr_name


def test_approved_on_the_phone_is_a_success(world: Setting) -> None:
    told = world.login(rhost="192.0.2.7")
    assert told.code == PamCode.SUCCESS
    assert told.asked == []
    assert told.said == [APPROVE_WITHIN, APPROVED]
    assert told.promised == [DEADLINE]
    assert world.outcome() == ("approved", "success")
    record = world.only_record()
    assert record["IAMPASS_USER"] == ME
    assert record["IAMPASS_RHOST"] == "192.0.2.7"
    assert 50 <= int(record["IAMPASS_ELAPSED_MS"]) < DEADLINE * 1000
    assert world.calls[0] == "start"
    assert world.calls[-1] == "end"
    assert world.open_sessions == 0


def test_in_sshd_the_request_goes_out_only_after_enter(world: Setting) -> None:
    calls_at_the_prompt: list[list[str]] = []

    def press_enter() -> str:
        calls_at_the_prompt.append(world.calls)
        return ""

    told = world.login(answers=(press_enter,), ssh_auth_info=KEY)
    assert calls_at_the_prompt == [[]]
    assert told.code == PamCode.SUCCESS
    assert told.asked == [PRESS_ENTER]
    assert told.said == [], "that the login goes on says it; sshd would show it twice"


def test_in_sshd_a_prompt_that_cannot_be_asked_is_left_out(world: Setting) -> None:
    told = world.login(answers=(None,), ssh_auth_info="")
    assert told.code == PamCode.SUCCESS
    assert told.said[0] == APPROVE_WITHIN


def test_elsewhere_a_prompt_that_is_not_answered_cancels_before_any_request(world: Setting) -> None:
    world.configure(prompt="always")
    told = world.login(answers=(None,))
    assert told.code == PamCode.ABORT
    assert world.outcome() == ("cancelled", "denied")
    assert world.calls == []


@pytest.mark.parametrize("typed", [1, 3, 13, 20], ids=lambda typed: f"{typed} characters typed")
def test_sshd_that_plays_a_refused_login_to_its_end_makes_no_phone_ring(world: Setting, typed: int) -> None:
    told = world.login(answers=(("\b\n\r\x7fINCORRECT" * 2)[:typed],), ssh_auth_info=KEY)
    assert told.code == PamCode.MAXTRIES
    assert world.outcome() == ("cancelled", "denied")
    assert world.calls == []


@pytest.mark.parametrize(("info", "code"), [({}, PamCode.ABORT), ({"ssh_auth_info": ""}, PamCode.MAXTRIES)])
def test_denied_on_the_phone_ends_the_login_at_once(world: Setting, info: dict[str, Any], code: int) -> None:
    world.sandbox.auto = "deny"
    told = world.login(**info)
    assert told.code == code
    assert told.errors == [DENIED]
    assert world.outcome() == ("denied", "denied")
    assert world.calls.count("start") == 1
    assert world.open_sessions == 0


def test_nobody_answers_in_time(world: Setting) -> None:
    @dataclass(frozen=True)
    class Played:
        told: Told
        elapsed: float

    def login() -> Played:
        world.records.fields.clear()
        began = time.monotonic()
        return Played(world.login(), time.monotonic() - began)

    world.sandbox.auto = "ignore"
    told = in_time(login, DEADLINE + 1.0, least=DEADLINE - 1.0).told
    assert told.code == PamCode.ABORT
    assert told.errors == [NOBODY_ANSWERED]
    assert world.outcome() == ("timed_out", "denied")
    assert world.open_sessions == 0


def test_an_answer_of_not_found_denies_and_says_what_to_check_without_the_token(world: Setting) -> None:
    world.configure(unavailable="ignore")
    world.sandbox.misbehave("start", HttpStatus(404), times=None)
    told = world.login()
    assert told.code == PamCode.ABORT
    assert told.errors == [
        "IAMPASS does not know you, or does not know this machine. Please ask your administrator."
    ]
    assert world.outcome() == ("denied", "denied")
    reason = world.only_record()["IAMPASS_REASON"]
    assert world.sandbox.application_id in reason
    assert "Check application_id and server" in reason
    assert Setting.token not in str(world.only_record())


def test_no_account_of_this_machine_is_denied_before_any_prompt(world: Setting) -> None:
    told = world.login(user="no-such-account", ssh_auth_info="")
    assert told == Told(code=PamCode.MAXTRIES)
    assert world.outcome() == ("denied", "denied")
    assert world.calls == []


@pytest.mark.parametrize(("policy", "code"), [("deny", PamCode.ABORT), ("ignore", PamCode.IGNORE)])
def test_unlisted_users_go_as_the_policy_says_and_never_by_success(
    world: Setting, policy: str, code: int
) -> None:
    world.write("users.yaml", "another-user: token\n")
    world.configure(unlisted_users=policy)
    told = world.login(ssh_auth_info="") if policy == "ignore" else world.login()
    assert told.code == code
    assert told.asked == []
    assert world.only_record()["IAMPASS_OUTCOME"] == "unlisted"
    assert world.calls == []


def test_a_template_makes_the_token_of_an_unlisted_user(world: Setting) -> None:
    world.sandbox.add_user(f"{ME}@example.com", device=True)
    world.write("users.yaml", "another-user: token\n")
    world.configure(unlisted_users='"{user}@example.com"')
    assert world.login().code == PamCode.SUCCESS


@pytest.mark.parametrize(
    ("exempt", "items"),
    [
        (f"{{users: [{ME}]}}", {}),
        (f"{{groups: [{GROUP}]}}", {}),
        ("{networks: [192.0.2.0/24]}", {"rhost": "192.0.2.9"}),
        ("{networks: [192.0.2.0/24]}", {"rhost": "::ffff:192.0.2.9"}),
        ("{networks: ['2001:db8::/32']}", {"rhost": "2001:db8::5"}),
    ],
)
def test_an_exempt_login_is_ignored_and_costs_no_network(
    world: Setting, exempt: str, items: dict[str, Any]
) -> None:
    world.configure(exempt=exempt, server="https://127.0.0.1:1")
    told = world.login(ssh_auth_info=KEY, **items)
    assert told == Told(code=PamCode.IGNORE)
    assert world.outcome() == ("exempt", "ignored")


@pytest.mark.parametrize(
    "rhost", ["", "192.0.3.1", "192.0.2.9.example.com", "localhost", "192.0.2.9%eth0", "3221225993"]
)
def test_only_a_literal_address_lies_in_an_exempt_network(world: Setting, rhost: str) -> None:
    world.configure(exempt="{networks: [192.0.2.0/24]}")
    assert world.login(rhost=rhost).code == PamCode.SUCCESS
    assert world.outcome() == ("approved", "success")


@pytest.mark.parametrize("info", [{}, {"ssh_auth_info": ""}, {"ssh_auth_info": "hostbased publickey x\n"}])
def test_without_the_key_that_is_demanded_nobody_passes_exempt_or_not(
    world: Setting, info: dict[str, Any]
) -> None:
    world.configure(exempt=f"{{users: [{ME}]}}")
    told = world.login("first_factor=publickey", **info)
    assert told.code == (PamCode.MAXTRIES if info else PamCode.ABORT)
    assert told.asked == []
    assert world.outcome() == ("denied", "denied")
    assert world.calls == []


def test_with_the_key_that_is_demanded_the_phone_is_asked(world: Setting) -> None:
    assert world.login("first_factor=publickey", ssh_auth_info=KEY).code == PamCode.SUCCESS


@pytest.mark.parametrize(
    "arguments",
    [
        ("nullok",),
        ("debug", "frist_factor=publickey"),
        ("first_factor=password",),
        ("config=relative",),
        ("debug", "debug"),
    ],
)
def test_an_unknown_argument_denies_and_is_named(world: Setting, arguments: tuple[str, ...]) -> None:
    told = world.login(*arguments)
    assert told.code == PamCode.ABORT
    assert world.outcome() == ("misconfigured", "denied")
    assert arguments[-1] in world.only_record()["IAMPASS_REASON"]
    assert world.calls == []


@pytest.mark.parametrize(("policy", "code"), [("deny", PamCode.ABORT), ("ignore", PamCode.IGNORE)])
@pytest.mark.parametrize("service", ["sshd", "login"])
def test_an_outage_before_the_request_goes_as_the_policy_says(
    world: Setting, service: str, policy: str, code: int
) -> None:
    world.configure(unavailable=policy, server="https://127.0.0.1:1")
    assert world.login(service=service, uid="0").code == code
    assert world.outcome() == ("unavailable", "ignored" if policy == "ignore" else "denied")


@pytest.mark.parametrize(
    "caller",
    [
        {"service": "sshd", "uid": "1000"},
        {"service": "sshd"},
        {"service": "doas", "uid": "1000"},
        {"service": "sudo", "uid": str(os.geteuid()), "ruser": ME},
        {"service": "su-l", "uid": "0", "ruser": "root"},
    ],
    ids=str,
)
def test_an_outage_is_ignored_in_sshd_and_login_only_and_only_if_root_called(
    world: Setting, caller: dict[str, Any]
) -> None:
    world.configure(unavailable="ignore", server="https://127.0.0.1:1")
    assert world.login(**caller).code == PamCode.ABORT
    assert world.outcome() == ("unavailable", "denied")


def test_a_server_that_accepts_a_connection_and_says_nothing_is_no_outage(world: Setting) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        server = f"https://127.0.0.1:{silent.getsockname()[1]}"
        world.configure(unavailable="ignore", server=server, timeout="1s")
        assert world.login(service="login", uid="0").code == PamCode.ABORT


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_start_that_is_answered_with_an_error_may_have_rung_and_is_no_outage(
    world: Setting, status: int
) -> None:
    world.configure(unavailable="ignore")
    world.sandbox.misbehave("start", HttpStatus(status))
    assert world.login(service="login", uid="0").code == PamCode.ABORT
    assert world.outcome() == ("unavailable", "denied")
    assert world.calls == ["start"]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("closed", "denied"),
        ("walkaway", "denied"),
        ("cancelled", "denied"),
        ("levitating", "unavailable"),
        ("", "unavailable"),
    ],
)
def test_any_status_but_active_is_no_approval(world: Setting, status: str, outcome: str) -> None:
    world.configure(unavailable="ignore")
    world.sandbox.misbehave("poll", SessionState(status), times=None)
    assert world.login().code == PamCode.ABORT
    assert world.outcome() == (outcome, "denied")
    world.wait_for_ends()


def test_the_person_reads_once_that_the_phone_is_at_work(world: Setting) -> None:
    world.sandbox.misbehave("poll", SessionState("identifying"), times=2)
    told = world.login()
    assert told.said == [
        APPROVE_WITHIN,
        "Your phone is checking that it is you.",
        APPROVED,
    ]


def test_sshd_which_holds_text_back_is_sent_nothing_about_the_phone_at_work(world: Setting) -> None:
    world.sandbox.misbehave("poll", SessionState("identifying"), times=2)
    told = world.login(ssh_auth_info=KEY)
    assert told.code == PamCode.SUCCESS
    assert not any("checking" in line for line in told.shown)


@pytest.mark.parametrize(("status", "outcome"), [(503, "unavailable"), (403, "misconfigured")])
def test_polls_that_keep_failing_are_no_outage_that_is_tolerated(
    world: Setting, status: int, outcome: str
) -> None:
    world.configure(unavailable="ignore")
    world.sandbox.misbehave("poll", HttpStatus(status), times=None)
    assert world.login(service="login", uid="0").code == PamCode.ABORT
    assert world.outcome() == (outcome, "denied")
    world.wait_for_ends()


def test_a_poll_that_failed_is_forgotten_once_another_one_is_answered(world: Setting) -> None:
    world.sandbox.auto = "ignore"
    world.sandbox.misbehave("poll", HttpStatus(503))
    assert world.login().errors == [NOBODY_ANSWERED]
    assert world.outcome() == ("timed_out", "denied")


@pytest.mark.parametrize(
    ("skew", "clock"), [(418.0, "41[0-9] s behind the server's"), (-412.0, "41[0-9] s ahead of the server's")]
)
@pytest.mark.parametrize(("answer", "reason"), [("approve", ""), ("deny", "the request was refused .*; ")])
def test_a_clock_that_had_to_be_corrected_is_named_in_the_record_of_the_login(
    world: Setting, skew: float, clock: str, answer: str, reason: str
) -> None:
    world.sandbox.auto = answer
    world.sandbox.clock_skew = skew
    try:
        world.login()
    finally:
        world.sandbox.clock_skew = 0.0
    written = world.only_record()["IAMPASS_REASON"]
    assert re.fullmatch(f"{reason}this machine's clock is {clock}", written), written


def test_when_the_application_dies_the_session_is_ended_within_a_second(world: Setting) -> None:
    world.sandbox.auto = "ask"
    world.configure(timeout="30s")
    door = world.door()
    world.sandbox.wait_for_request(Setting.token)
    assert door.wait_for_text() == "Approve this on your phone within 30 seconds."
    began = time.monotonic()
    door.die()
    world.sandbox.wait_for_end(Setting.token)
    assert time.monotonic() - began < 1.0 + BUSY
    door.wait()
    assert world.outcome() == ("cancelled", "denied")


def test_the_session_ends_on_the_server_by_itself_should_we_die(world: Setting) -> None:
    world.login()
    assert world.sandbox.sessions[-1].duration == DEADLINE + 30


def test_methods_of_the_user_go_before_those_of_the_service(world: Setting) -> None:
    world.configure(methods="[acceptance]")
    world.login()
    world.write("users.yaml", f"{ME}: {{token: {Setting.token}, methods: [facial, device]}}\n")
    world.login()
    assert [list(session.methods) for session in world.sandbox.sessions[-2:]] == [
        ["acceptance"],
        ["facial", "device"],
    ]


@pytest.mark.needs_root  # the user of the login is root
def test_for_su_to_root_the_caller_approves_and_the_record_says_so(world: Setting) -> None:
    world.sandbox.add_user("token-of-daemon")
    world.write("users.yaml", "daemon: token-of-daemon\n")
    assert world.login(service="su", ruser="daemon", uid="1").code == PamCode.SUCCESS
    assert world.sandbox.sessions[-1].user == "token-of-daemon"
    assert participants(world) == (ME, "daemon", "daemon")
    assert " caller=daemon approver=daemon " in world.only_record()["MESSAGE"]


def test_for_sudo_with_the_password_of_root_the_caller_approves_and_the_record_says_so(
    world: Setting,
) -> None:
    world.configure(exempt="{users: [root]}")
    world.sandbox.add_user("token-of-daemon")
    world.write("users.yaml", "daemon: token-of-daemon\n")
    assert world.login(service="sudo", user="root", ruser="daemon", uid="1").code == PamCode.SUCCESS
    assert world.sandbox.sessions[-1].user == "token-of-daemon"
    assert participants(world) == ("root", "daemon", "daemon")


def test_a_caller_of_no_table_becomes_nobody_else_without_the_phone(world: Setting) -> None:
    world.configure(unlisted_users="ignore")
    world.sandbox.auto = "deny"
    world.sandbox.add_user("token-of-daemon")
    world.write("users.yaml", "daemon: token-of-daemon\n")
    assert world.login(service="su", user="daemon", ruser="bin", uid="2").code == PamCode.ABORT
    assert world.outcome() == ("denied", "denied")


@pytest.mark.needs_root  # the user of the login is root
def test_a_login_that_ends_early_says_who_was_asked(world: Setting) -> None:
    world.sandbox.auto = "ask"
    door = world.door(service="sudo", ruser=ME, uid="0")
    world.sandbox.wait_for_request(world.token)
    door.die()
    door.wait()
    assert world.outcome() == ("cancelled", "denied")
    assert participants(world) == (ME, ME, ME)


def test_a_login_through_sshd_has_no_caller(world: Setting) -> None:
    assert world.login(uid="0", rhost="192.0.2.7", ruser=ME, ssh_auth_info=KEY).code == PamCode.SUCCESS
    assert participants(world) == (ME, "", ME)


def participants(world: Setting) -> tuple[str, str, str]:
    record = world.only_record()
    return record["IAMPASS_USER"], record["IAMPASS_CALLER"], record["IAMPASS_APPROVER"]


@pytest.mark.needs_root  # the user of the login is root
@pytest.mark.parametrize(
    "items", [{}, {"ruser": ME}, {"ruser": ME, "uid": "1"}, {"ruser": "no-such", "uid": "0"}, {"uid": "0"}]
)
def test_a_caller_who_is_only_claimed_is_denied(world: Setting, items: dict[str, Any]) -> None:
    world.configure(unlisted_users="ignore")
    for service in ("su", "sudo"):
        assert world.login(service=service, **items).code == PamCode.ABORT
    outcomes = [(each["IAMPASS_OUTCOME"], each["IAMPASS_RESULT"]) for each in world.records.fields]
    assert outcomes == [("misconfigured", "denied")] * 2


@pytest.mark.parametrize("error", [RuntimeError("secret"), SystemExit(0), KeyboardInterrupt(), MemoryError()])
def test_whatever_is_raised_inside_denies_and_leaves_a_record(world: Setting, error: BaseException) -> None:
    class Broken(RemoteApplication):
        @property
        def real_uid(self) -> int:
            raise error

    def authenticate(pamh: PamApplication, flags: int, argv: list[str]) -> int:
        pamh.__class__ = Broken
        return world.authenticate(pamh, flags, argv)

    told = Door(authenticate, user=ME, service="test").finish()
    assert told.code == PamCode.ABORT
    assert world.outcome() == ("unavailable", "denied")
    assert "secret" not in world.only_record()["IAMPASS_REASON"]


def test_a_hostile_name_cannot_make_a_second_line_in_the_log(world: Setting) -> None:
    world.login(user="x\noutcome=approved result=success", rhost="\x1b[2J\u202e")
    record = world.only_record()
    assert "\n" not in record["MESSAGE"]
    assert "\x1b" not in record["MESSAGE"]
    assert record["IAMPASS_OUTCOME"] == "denied"


def test_a_login_that_needs_no_phone_is_answered_before_it_is_reported(world: Setting) -> None:
    answered, reported = threading.Event(), []

    def report(config: str, login: Login, decision: Decision) -> None:
        assert answered.wait(PATIENCE)
        reported.append((config, login.id, decision.outcome))

    world.report = report
    world.configure(exempt=f"{{users: [{ME}]}}")
    door = world.door()
    assert receive(door._connection, PATIENCE).payload[-1] == PamCode.IGNORE
    assert world.calls == []
    door.die()
    answered.set()
    door.wait()
    login = world.only_record()["IAMPASS_LOGIN"]
    assert reported == [(str(world.folder / "iampass.yaml"), login, Outcome.EXEMPT)]


def test_approved_and_denied_logins_are_not_reported(world: Setting) -> None:
    reported: list[Login] = []
    world.report = lambda _config, login, _decision: reported.append(login)
    assert world.login().code == PamCode.SUCCESS
    world.sandbox.auto = "deny"
    assert world.login().code == PamCode.ABORT
    assert reported == []
