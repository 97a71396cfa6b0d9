"""Which logins a kept session covers, and which it does not."""

from __future__ import annotations

import pwd
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pam_iampass.client import AuthenticationAPI, LocalFailure, Status
from pam_iampass.config.settings import CoverSettings, SessionSettings
from pam_iampass.outcome import Login, PamCode, Phase
from pam_iampass.session import store
from pam_iampass.session.cover import Cover, CoverRequest, cover
from pam_iampass.session.kept_session import AttachedLogin, KeptSession, State
from pam_iampass.session.store import status_of
from tests.support.door import AccountDoor, Door
from tests.support.sandbox import Fault, Hang, HttpStatus, Reset, SessionState
from tests.support.sessions import Keeping, keeping
from tests.support.setting import ME, Setting
from tests.support.world import wait_until
from tests.unit.session.test_store import KEPT

SETTINGS = SessionSettings(
    keep=True, covers_connections=True, covers=CoverSettings(frozenset({"sudo"}), within=60.0)
)
LOGIN = AttachedLogin(4711, "alice", 1000, "sshd", 12, "c3", "pts/0", "192.0.2.7", 1.5)
KEY = "publickey ssh-ed25519 AAAA"
OPEN = replace(KEPT, attached=(LOGIN,), approved=100.0, first_factor=KEY)
SUDO = CoverRequest(
    Login("alice", "sudo", real_uid=1000), KEPT.config, "alice", "alice", ("device",), audit_session=12
)
SSH = CoverRequest(
    Login("alice", "sshd", real_uid=0, address="192.0.2.7", ssh_auth_info=KEY),
    KEPT.config,
    "alice",
    "alice",
    ("facial",),
    audit_session=None,
)


def but(request: CoverRequest, **changes: Any) -> CoverRequest:
    """The same, but for some facts of its login."""
    return replace(request, login=replace(request.login, **changes))


def covered(
    kept: KeptSession = OPEN,
    request: CoverRequest = SUDO,
    settings: SessionSettings = SETTINGS,
    now: float = 110.0,
) -> Cover | None:
    return cover(kept, request, settings, now)


def test_sudo_within_the_login_is_covered() -> None:
    assert covered() == Cover(KEPT.id, "sshd", 10.0, connection=False)


NOT_COVERED: dict[str, tuple[Any, ...]] = {
    "another login session": (OPEN, replace(SUDO, audit_session=13)),
    "no audit session, as in a container or a service": (
        replace(OPEN, attached=(replace(LOGIN, audit_session=None),)),
        replace(SUDO, audit_session=None),
    ),
    "another user in the login session": (OPEN, but(SUDO, real_uid=1001)),
    "an unknown user": (OPEN, but(SUDO, real_uid=None)),
    "another approver": (OPEN, replace(SUDO, approver="bob")),
    "an account that acts for the person": (OPEN, replace(SUDO, agent="claude")),
    "a person, by a login of an account that acts for them": (replace(OPEN, agent="claude"), SUDO),
    "another account that acts for the person": (replace(OPEN, agent="claude"), replace(SUDO, agent="other")),
    "ssh to an account that acts for the person": (OPEN, replace(SSH, agent="claude")),
    "another phone of the approver": (replace(OPEN, token="1"), replace(SUDO, token="2")),
    "another service": (OPEN, but(SUDO, service="su")),
    "other settings": (OPEN, replace(SUDO, config="/etc/other.yaml")),
    "a stronger method": (replace(OPEN, methods=("device", "facial")), replace(SUDO, methods=("facial",))),
    "a method where IAMPASS chose": (replace(OPEN, methods=()), SUDO),
    "too old": (OPEN, SUDO, SETTINGS, 160.0),
    "a clock that went back": (OPEN, SUDO, SETTINGS, 99.0),
    "revoked": (replace(OPEN, revoked=True), SUDO),
    "away": (replace(OPEN, away=True), SUDO),
    "not opened": (replace(OPEN, state=State.APPROVED), SUDO),
    "ending": (replace(OPEN, state=State.ENDING), SUDO),
    "not approved": (replace(OPEN, state=State.ASKED, approved=0.0), SUDO, SETTINGS, 50.0),
    "the login is over": (replace(OPEN, attached=()), SUDO),
    "sessions are kept no longer": (OPEN, SUDO, replace(SETTINGS, keep=False)),
    "covers are switched off": (OPEN, SUDO, replace(SETTINGS, covers=CoverSettings())),
    "ssh from another address": (OPEN, but(SSH, address="192.0.2.8")),
    "ssh without an address": (replace(OPEN, address=""), but(SSH, address="")),
    "ssh with another key": (OPEN, but(SSH, ssh_auth_info=KEY + "A")),
    "ssh with a password, where the approval was behind a key": (OPEN, but(SSH, ssh_auth_info="")),
    "ssh in the account phase": (OPEN, but(SSH, phase=Phase.ACCOUNT)),
    "ssh in the account phase, approved there": (
        replace(OPEN, first_factor=None),
        but(SSH, phase=Phase.ACCOUNT),
    ),
    "ssh with a key, approved in the account phase": (
        replace(OPEN, first_factor=None),
        SSH,
    ),
    "ssh where very many logins are attached already": (
        replace(OPEN, attached=tuple(replace(LOGIN, pid=pid) for pid in range(1, 101))),
        SSH,
    ),
    "ssh as another user": (OPEN, replace(SSH, account="bob")),
    "ssh through another service": (OPEN, but(SSH, service="login")),
    "ssh where the key says who of an account's people logs in": (
        OPEN,
        replace(SSH, key_names_person=True),
    ),
    "ssh, switched off": (OPEN, SSH, replace(SETTINGS, covers_connections=False)),
    "ssh, revoked": (replace(OPEN, revoked=True), SSH),
}


def test_within_its_own_login_an_account_that_acts_for_a_person_is_covered() -> None:
    assert covered(replace(OPEN, agent="alice"), replace(SUDO, agent="alice")) is not None


@pytest.mark.parametrize("case", NOT_COVERED.values(), ids=NOT_COVERED.keys())
def test_anything_else_is_not_covered(case: tuple[Any, ...]) -> None:
    assert covered(*case) is None


@pytest.mark.parametrize(
    "request_",
    [SSH, but(SSH, ssh_auth_info=""), replace(SSH, audit_session=99)],
    ids=["the same key", "no key, as the PAM file has asked for the password", "whatever login session"],
)
def test_a_further_connection_is_covered_from_the_same_address(request_: CoverRequest) -> None:
    kept = replace(OPEN, first_factor=request_.login.first_factor)
    assert covered(kept, request_) == Cover(KEPT.id, "sshd", 10.0, connection=True)


def test_a_connection_that_waited_is_covered_before_the_first_has_opened_its_session() -> None:
    assert covered(replace(OPEN, state=State.APPROVED, attached=()), SSH) is not None


# Logins


@pytest.fixture
def agent(world: Setting) -> Iterator[Keeping]:
    with keeping(
        world, session="{keep: true, covers: {services: [sudo, doas]}, covers_connections: true}"
    ) as found:
        yield found


def test_a_covered_login_is_ignored_without_a_prompt_or_a_request(agent: Keeping) -> None:
    ident, _login = agent.log_in()
    told = agent.login(service="sudo", audit_session="42")
    assert (told.code, told.shown, told.kept) == (PamCode.IGNORE, [], None)
    assert agent.world.calls.count("start") == 1
    record = agent.outcome()
    assert (record["IAMPASS_OUTCOME"], record["IAMPASS_RESULT"]) == ("covered", "ignored")
    assert record["IAMPASS_SESSION"] == ident
    assert record["IAMPASS_REASON"].endswith(" s ago through test")
    kept = agent.kept(ident)
    assert kept is not None
    assert kept.covered == 1


@pytest.mark.parametrize(
    "items",
    [{"audit_session": "43"}, {}, {"audit_session": "4294967295"}, {"audit_session": "42", "uid": "1"}],
    ids=["another login session", "none", "unset", "another user"],
)
def test_a_login_elsewhere_asks_the_phone(agent: Keeping, items: dict[str, str]) -> None:
    agent.log_in()
    told = agent.login(service="doas", **items)
    assert (told.code, agent.world.calls.count("start")) == (PamCode.SUCCESS, 2)
    assert agent.outcome()["IAMPASS_OUTCOME"] == "approved"


@pytest.mark.parametrize(
    "fault",
    [SessionState("walkaway"), SessionState("closed"), SessionState("pending"), HttpStatus(503), Reset()],
    ids=str,
)
def test_without_an_active_session_at_this_moment_the_phone_is_asked(agent: Keeping, fault: object) -> None:
    agent.log_in()
    sandbox = agent.world.sandbox

    def at_this_moment(*arguments: Any) -> Status:
        sandbox.misbehave("poll", fault, times=None)  # type: ignore[arg-type]
        try:
            return status_of(*arguments)
        finally:
            sandbox.behave()

    agent.ask_status = at_this_moment
    told = agent.login(service="sudo", audit_session="42")
    assert (told.code, agent.world.calls.count("start")) == (PamCode.SUCCESS, 2)


def test_while_polls_fail_for_a_cause_on_this_machine_nothing_is_covered_and_the_journal_says_so_once(
    world: Setting,
) -> None:
    with keeping(world) as agent:
        agent.log_in()
        connect, failed = agent.connect, []

        def without_ports(config: str) -> AuthenticationAPI:
            failed.append(config)
            raise LocalFailure("poll: this machine cannot connect: Cannot assign requested address")

        agent.ask_status = lambda *_arguments: Status.active
        agent.connect = without_ports
        wait_until(lambda: len(failed) >= 3, "IAMPASS was not asked")
        agent.login(service="sudo", audit_session="42")
        assert agent.outcome()["IAMPASS_OUTCOME"] == "approved"
        (note,) = [fields for fields in world.records.fields if "cover nothing" in fields["MESSAGE"]]
        assert note["PRIORITY"] == "3"
        assert "poll: this machine cannot connect: Cannot assign requested address" in note["MESSAGE"]
        agent.connect = connect
        before = world.calls.count("poll")
        wait_until(lambda: world.calls.count("poll") >= before + 2, "IAMPASS was not asked")
        agent.login(service="sudo", audit_session="42")
        assert agent.outcome()["IAMPASS_OUTCOME"] == "covered"


def test_a_user_whose_token_was_replaced_is_not_covered_by_the_old_phones_approval(agent: Keeping) -> None:
    agent.log_in()
    agent.world.write("users.yaml", f"{ME}: another-token\n")
    agent.login(service="sudo", audit_session="42")
    assert agent.outcome()["IAMPASS_OUTCOME"] != "covered"


def test_a_user_whose_phone_was_lost_elsewhere_is_no_longer_covered_even_with_a_new_phone(
    agent: Keeping,
) -> None:
    ident, _login = agent.log_in()
    agent.world.sandbox.add_user(Setting.token, device=False)
    told = agent.login(service="sudo", audit_session="42")
    assert told.code == PamCode.ABORT
    kept = agent.kept(ident)
    assert kept is not None
    assert (kept.state, kept.revoked, kept.covered) == (State.OPEN, True, 0)
    agent.world.sandbox.add_user(Setting.token, device=True)
    assert agent.login(service="sudo", audit_session="42").code == PamCode.SUCCESS, "the phone is asked"


@pytest.mark.parametrize("fault", [HttpStatus(404), HttpStatus(503), Reset()], ids=str)
def test_where_iampass_does_not_say_whether_there_is_a_phone_it_is_asked(
    agent: Keeping, fault: Fault
) -> None:
    ident, _login = agent.log_in()
    agent.world.sandbox.misbehave("has_device", fault, times=None)
    assert agent.login(service="sudo", audit_session="42").code == PamCode.SUCCESS
    agent.world.sandbox.behave()
    kept = agent.kept(ident)
    assert kept is not None
    assert not kept.revoked


def test_a_user_who_runs_sudo_all_the_time_has_their_phone_asked(
    agent: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise IAMPASS would answer the polls of all sessions with 429."""
    monkeypatch.setattr(store, "COVERS_WITHIN", 3600.0)
    monkeypatch.setattr(store, "MOST_COVERS", 2)
    agent.log_in()
    told = [agent.login(service="sudo", audit_session="42") for _ in range(3)]
    assert [each.code for each in told] == [PamCode.IGNORE, PamCode.IGNORE, PamCode.SUCCESS]


def test_a_cover_is_bounded_by_the_age_of_the_approval(agent: Keeping) -> None:
    agent.log_in()
    agent.ahead = 901.0
    assert agent.login(service="sudo", audit_session="42").code == PamCode.SUCCESS


def test_no_login_attaches_that_was_neither_approved_nor_covered(agent: Keeping) -> None:
    ident, login = agent.log_in()
    forged = agent.open(ident, audit_session="43")
    assert agent.login(service="sudo", audit_session="43").code == PamCode.SUCCESS  # the phone is asked
    assert agent.world.calls.count("start") == 2
    login.end()
    agent.wait_until_forgotten(ident)
    assert not forged.over


def test_no_login_through_another_service_attaches(agent: Keeping) -> None:
    told = agent.login()
    assert told.kept is not None
    agent.open(told.kept, service="lightdm")
    assert agent.login(service="sudo", audit_session="42").code == PamCode.SUCCESS
    assert agent.world.calls.count("start") == 2
    assert agent.events() == []


SSHD = {"ssh_auth_info": "", "ssh_connection": "192.0.2.7 1 192.0.2.1 22", "rhost": "192.0.2.7"}


@pytest.mark.parametrize("connection", [SSHD["ssh_connection"], "UNKNOWN 65535 UNKNOWN 65535"])
def test_no_login_of_another_user_attaches_in_sshd(agent: Keeping, connection: str) -> None:
    named = {**SSHD, "ssh_connection": connection}
    told = agent.login(**named)
    assert told.kept is not None
    other = agent.open(told.kept, **named, user="daemon", audit_session="43")
    assert agent.events() == []
    # The other user knows the password, and runs su or sudo in their own login session.
    uid = str(pwd.getpwnam("daemon").pw_uid)
    assert agent.login(service="doas", audit_session="43", uid=uid).code == PamCode.SUCCESS
    assert agent.world.calls.count("start") == 2  # the phone is asked
    login = agent.open(told.kept, **named)
    agent.wait_for_event("session_opened")
    login.end()
    agent.wait_until_forgotten(told.kept)
    assert not other.over


def test_a_further_connection_belongs_to_the_same_session(agent: Keeping) -> None:
    ident, first = agent.log_in(**SSHD, audit_session="42")
    told = agent.login(**{**SSHD, "ssh_connection": "192.0.2.7 2 192.0.2.1 22"})
    assert (told.code, told.kept, told.asked) == (PamCode.IGNORE, ident, [])
    second = agent.open(ident, audit_session="43")
    assert agent.login(service="sudo", audit_session="43").code == PamCode.IGNORE
    first.end()
    assert agent.login(service="sudo", audit_session="43").code == PamCode.IGNORE
    assert agent.world.open_sessions == 1
    second.end()
    agent.wait_until_forgotten(ident)
    agent.world.wait_for_ends()
    assert agent.world.calls.count("start") == 1


def test_a_connection_that_opens_after_the_first_has_ended_belongs_to_the_session_too(agent: Keeping) -> None:
    ident, first = agent.log_in(**SSHD, audit_session="42")
    agent.login(**{**SSHD, "ssh_connection": "192.0.2.7 2 192.0.2.1 22"})
    first.end()
    wait_until(lambda: not getattr(agent.kept(ident), "attached", ()), "the first is still attached")
    second = agent.open(ident, audit_session="43")
    agent.world.state.end_sessions([ident], 0.0)
    wait_until(lambda: second.over, "the login is not over")
    agent.wait_until_forgotten(ident)


def test_a_login_that_ends_while_iampass_is_asked_covers_nothing(agent: Keeping) -> None:
    ident, first = agent.log_in(**SSHD, audit_session="42")
    agent.login(**{**SSHD, "ssh_connection": "192.0.2.7 2 192.0.2.1 22"})
    agent.open(ident, audit_session="43")

    def attached() -> int:
        kept = agent.kept(ident)
        return 0 if kept is None else len(kept.attached)

    def ends_meanwhile(*arguments: Any) -> Status:
        status = status_of(*arguments)
        if not first.over:
            first.end()
            wait_until(lambda: attached() == 1, "the login is still attached")
        return status

    agent.ask_status = ends_meanwhile
    told = agent.login(service="sudo", audit_session="42")
    assert (told.code, agent.world.calls.count("start")) == (PamCode.SUCCESS, 2)


def test_an_iampass_that_hangs_is_asked_about_all_sessions_no_longer_than_about_one(
    agent: Keeping,
) -> None:
    agent.cover_timeout = 2.0
    asked = []

    def counts(kept: KeptSession, *arguments: Any) -> Status:
        asked.append(kept.id)
        return status_of(kept, *arguments)

    agent.ask_status = counts
    for _ in range(8):
        agent.log_in()
    agent.world.sandbox.misbehave("poll", Hang(), times=None)
    door = agent.door(service="sudo", audit_session="42")
    wait_until(lambda: agent.world.calls.count("start") == 9, "the phone is not asked")
    assert len(asked) == 1  # which has taken all the time
    door.die()


def test_connections_that_wait_for_their_turn_pass_with_the_first(agent: Keeping) -> None:
    agent.world.sandbox.auto = "ask"
    agent.world.configure(
        session="{keep: true, covers_connections: true}",
        timeout="60s",
        prompt="never",
        throttle="{spacing: 0s}",
    )
    items = [{**SSHD, "ssh_connection": f"192.0.2.7 {port} 192.0.2.1 22"} for port in (1, 2, 3)]
    doors = [agent.door(**each) for each in items]
    throttle = agent.world.state.throttle
    wait_until(lambda: len(throttle.state(ME).pending) == 3, "two do not wait")
    agent.world.sandbox.approve(agent.world.sandbox.wait_for_request(Setting.token, 20.0))
    told = [door.finish(60.0) for door in doors]
    assert sorted(each.code or 0 for each in told) == [PamCode.SUCCESS, PamCode.IGNORE, PamCode.IGNORE]
    assert len({each.kept for each in told}) == 1
    assert agent.world.calls.count("start") == 1


ANOTHER_FACTOR = {
    "a password behind a key": (Door, "publickey ssh-ed25519 AAAA", Door, ""),
    "another key": (Door, "publickey ssh-ed25519 AAAA", Door, "publickey ssh-ed25519 BBBB"),
    "not known yet": (AccountDoor, "", AccountDoor, ""),
    "not known at the approval": (AccountDoor, "", Door, ""),
}


@pytest.mark.parametrize("case", ANOTHER_FACTOR.values(), ids=ANOTHER_FACTOR.keys())
def test_a_connection_by_another_first_factor_asks_the_phone(
    agent: Keeping, case: tuple[type[Door], str, type[Door], str]
) -> None:
    first, approved_behind, further, comes_with = case
    told = agent.door(first, **{**SSHD, "ssh_auth_info": approved_behind}).finish()
    assert told.kept is not None
    agent.open(told.kept, **{**SSHD, "ssh_auth_info": "publickey ssh-ed25519 AAAA"})
    assert agent.door(further, **{**SSHD, "ssh_auth_info": comes_with}).finish().code == PamCode.SUCCESS
    assert agent.world.calls.count("start") == 2


@pytest.mark.parametrize("named", ["UNKNOWN 65535 UNKNOWN 65535", "client.example 1 192.0.2.1 22", ""])
def test_a_connection_without_an_address_asks_the_phone(agent: Keeping, named: str) -> None:
    """Any user of the machine may connect to the Unix socket of systemd's ssh generator."""
    for _ in range(2):
        agent.log_in(**{**SSHD, "ssh_connection": named, "rhost": named.partition(" ")[0]})
    assert agent.world.calls.count("start") == 2


def test_a_connection_at_the_prompt_passes_with_the_one_that_was_approved_meanwhile(agent: Keeping) -> None:
    def first_of_all() -> str:
        agent.log_in(**SSHD, audit_session="42")
        return ""

    at_the_prompt = agent.door(
        answers=(first_of_all,), **{**SSHD, "ssh_connection": "192.0.2.7 2 192.0.2.1 22"}
    )
    told = at_the_prompt.finish(60.0)
    assert (told.code, len(told.asked)) == (PamCode.IGNORE, 1)
    assert agent.world.calls.count("start") == 1
