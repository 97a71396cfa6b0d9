"""Accounts that act for a person: real frames, a real sandbox, real state."""

from __future__ import annotations

import pwd
import re

import pytest

from pam_iampass.login.bypass import Bypass, Moment
from pam_iampass.login.throttle import AFTER_OWN
from pam_iampass.outcome import PamCode
from pam_iampass.sandbox.sessions import SandboxSession
from tests.support.deadline import APPROVE_WITHIN, DEADLINE, DENIED, not_approved_by
from tests.support.door import AccountDoor, Door, Told
from tests.support.sessions import keeping
from tests.support.setting import ME, Setting
from tests.support.world import wait_until

#: Accounts of every Debian, by uid.
AGENT, OTHER, FRIEND = (pwd.getpwuid(uid).pw_name for uid in (1, 2, 3))
TABLE = f"{ME}: {Setting.token}\n{AGENT}: {{acts_for: {ME}}}\n{OTHER}: {{acts_for: {ME}}}\n"


@pytest.fixture
def owned(world: Setting) -> Setting:
    """Two accounts act for the person who runs the tests."""
    world.write("users.yaml", f"{TABLE}{FRIEND}: token-of-friend\n")
    world.sandbox.add_user("token-of-friend", device=True)
    return world


def sudo(world: Setting, account: str = AGENT, answers: tuple[str, ...] = ()) -> Told:
    """The account calls a sudo that asks for each command."""
    world.door_class = AccountDoor
    called = {"service": "sudo", "user": account, "ruser": account, "tty": "/dev/pts/0"}
    return world.login("always", answers=answers, uid=str(pwd.getpwnam(account).pw_uid), **called)


def login(world: Setting, **items: str) -> Told:
    """A login of the owner."""
    world.door_class = type(world).door_class
    return world.login(answers=("",), **items)


def rung(world: Setting) -> list[str]:
    """Whose phones have rung."""
    return [session.user for session in world.sandbox.sessions[world._first_session :]]


def last(world: Setting) -> dict[str, str]:
    return [fields for fields in world.records.fields if "IAMPASS_OUTCOME" in fields][-1]


def people(world: Setting) -> tuple[str, str, str | None]:
    """Who is in the last record: the account, the approver, and who else has logged in."""
    found = last(world)
    return found["IAMPASS_USER"], found["IAMPASS_APPROVER"], found.get("IAMPASS_PERSON")


def test_the_owner_approves_and_the_record_has_both(owned: Setting) -> None:
    told = sudo(owned)
    assert told.code == PamCode.SUCCESS
    assert re.fullmatch(f"{ME} is asked to approve this within [0-9]+ seconds[.]", told.errors[0])
    assert told.errors[1:] == [f"Approved by {ME}."]
    assert rung(owned) == [Setting.token]
    assert people(owned) == (AGENT, ME, None)
    assert last(owned)["IAMPASS_REASON"] == f"{AGENT} acts for {ME}"


@pytest.mark.parametrize("service", ["test", "login", "sshd", "su", "doas"])
def test_the_owner_is_asked_wherever_the_account_logs_in(owned: Setting, service: str) -> None:
    owned.sandbox.auto = "deny"
    ssh = {"ssh_auth_info": "publickey ssh-ed25519 AAAA"} if service == "sshd" else {}
    caller = {"ruser": ME, "uid": "0"} if service == "su" else {"uid": "1"}
    told = owned.login(answers=("",), service=service, user=AGENT, **ssh, **caller)
    assert told.code in (PamCode.ABORT, PamCode.MAXTRIES)
    assert told.errors[-1] == not_approved_by(ME)
    assert people(owned)[:2] == (AGENT, ME)


# Mistakes in the table and the settings

WRONG = {
    "itself": f"{AGENT}: {{acts_for: {AGENT}}}",
    "nobody": f"{AGENT}: {{acts_for: nobody-has-this-name}}",
    "an account that acts for somebody": f"{OTHER}: {{acts_for: {ME}}}\n{AGENT}: {{acts_for: {OTHER}}}",
    "somebody without a token": f"carol: {{keys: []}}\n{AGENT}: {{acts_for: carol}}",
    "a person, and has a token": f"{AGENT}: {{acts_for: {ME}, token: {Setting.token}}}",
    "a person, and has methods": f"{AGENT}: {{acts_for: {ME}, methods: [facial]}}",
    "a person, and has keys": f"{AGENT}: {{acts_for: {ME}, keys: []}}",
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_an_account_that_cannot_act_for_whom_the_table_names_is_denied_and_nobody_else(
    world: Setting, wrong: str
) -> None:
    if "keys: []" in wrong and ME in wrong:
        wrong = wrong.replace("[]", "['SHA256:8JlN0vl0mKmTnmbfqzZUwNUiLMX3pmQLfxvMnG7f0aE']")
    world.write("users.yaml", f"{ME}: {Setting.token}\n{wrong}\n")
    world.configure(unlisted_users="ignore", exempt=f"{{users: [{AGENT}]}}")
    told = sudo(world)
    assert (told.code, world.calls) == (PamCode.PERM_DENIED, [])
    assert last(world)["IAMPASS_OUTCOME"] == "misconfigured"
    place = rf"/users\.yaml:[0-9]+: {AGENT}\.acts_for: "
    assert re.search(place, last(world)["IAMPASS_REASON"]), last(world)["IAMPASS_REASON"]
    assert login(world).code == PamCode.SUCCESS


def test_on_a_host_of_a_gateway_it_is_denied(owned: Setting) -> None:
    owned.configure(gateways=f"['{owned.sandbox.url}']", exempt=f"{{users: [{AGENT}]}}")
    assert (sudo(owned).code, owned.calls) == (PamCode.PERM_DENIED, [])
    assert last(owned)["IAMPASS_OUTCOME"] == "misconfigured"
    assert "joined a gateway" in last(owned)["IAMPASS_REASON"]


@pytest.mark.parametrize(
    "exempt",
    [
        f"{{users: [{AGENT}]}}",
        f"{{groups: [{AGENT}]}}",
        f"{{rules: [user {AGENT} from 192.0.2.0/24]}}",
    ],
)
def test_an_account_that_acts_for_a_person_and_is_exempt_is_denied(owned: Setting, exempt: str) -> None:
    owned.configure(exempt=exempt)
    assert (sudo(owned).code, owned.calls) == (PamCode.PERM_DENIED, [])
    assert last(owned)["IAMPASS_OUTCOME"] == "misconfigured"
    assert f"{AGENT} acts for {ME}, and {AGENT} is " in last(owned)["IAMPASS_REASON"]


@pytest.mark.parametrize(
    "settings", [{"exempt": "{networks: [192.0.2.0/24]}"}, {"asked": f"{{users: [{ME}]}}"}]
)
def test_neither_a_network_nor_a_list_of_others_spares_it(owned: Setting, settings: dict[str, str]) -> None:
    owned.configure(**settings)
    owned.sandbox.auto = "deny"
    assert owned.login(user=AGENT, uid="1", rhost="192.0.2.7").code == PamCode.ABORT
    assert rung(owned) == [Setting.token]


@pytest.mark.parametrize("unlisted", ["ignore", "'{user}@example.com'"])
def test_without_its_owner_it_is_denied(owned: Setting, unlisted: str) -> None:
    owned.configure(unlisted_users=unlisted)
    owned.write("users.yaml", f"{AGENT}: {{acts_for: {ME}}}\n")
    assert (sudo(owned).code, owned.calls) == (PamCode.PERM_DENIED, [])


def test_who_is_exempt_needs_no_table(owned: Setting) -> None:
    owned.write("users.yaml", "{")
    owned.configure(exempt=f"{{users: [{FRIEND}]}}")
    assert sudo(owned, FRIEND).code == PamCode.IGNORE
    assert sudo(owned).code == PamCode.PERM_DENIED


# Whose bypass and codes


def bypass(world: Setting, name: str) -> None:
    uid = pwd.getpwnam(name).pw_uid
    made = Bypass(name, uid, None, 900.0, Moment.now(), "root", "", survives_reboot=False)
    world.state.bypasses.add(made)


def test_a_bypass_of_the_owner_does_not_count_for_it_and_one_of_the_account_does(owned: Setting) -> None:
    owned.sandbox.auto = "deny"
    bypass(owned, ME)
    assert sudo(owned).code == PamCode.PERM_DENIED
    bypass(owned, AGENT)
    assert sudo(owned).code == PamCode.IGNORE
    assert sudo(owned, OTHER).code == PamCode.PERM_DENIED
    assert rung(owned) == [Setting.token] * 2


@pytest.mark.parametrize("owner", [ME, AGENT])
def test_no_recovery_code_counts_for_it(owned: Setting, owner: str) -> None:
    code = owned.state.recovery_codes.renew(owner)[0]
    owned.configure(prompt="always")
    owned.sandbox.auto = "deny"
    told = owned.login(user=AGENT, uid="1", answers=(code,) * 3)
    assert (told.code, told.asked) == (
        PamCode.ABORT,
        [f"IAMPASS: press Enter to ask for the approval of {ME}; that takes at most {DEADLINE} seconds: "],
    )
    for _ in range(2):
        assert sudo(owned, answers=(code,)).asked == []
    stored = owned.state.recovery_codes.stored(owner)
    assert stored is not None
    assert stored.left == 10


# Who has become another user


def inside(world: Setting, caller: str, **items: str) -> Told:
    """Another user calls sudo in the login session of the agent."""
    called = {"service": "sudo", "user": caller, "ruser": caller, "uid": str(pwd.getpwnam(caller).pw_uid)}
    return world.login(answers=(), **{**called, "login_uid": "1", "tty": "/dev/pts/0", **items})


@pytest.fixture
def of_friend(owned: Setting) -> Setting:
    """The agent acts for somebody who is not root. Nothing spares the owner, and the agent only itself."""
    owned.write(
        "users.yaml", f"{FRIEND}: token-of-friend\n{ME}: {Setting.token}\n{AGENT}: {{acts_for: {FRIEND}}}\n"
    )
    owned.sandbox.auto = "deny"
    return owned


@pytest.mark.parametrize("service", ["sudo", "su", "doas"])
def test_within_its_login_session_the_request_is_its_own_when_it_has_become_its_owner(
    of_friend: Setting, service: str
) -> None:
    for name in (FRIEND, AGENT):
        bypass(of_friend, name)
    user = "root" if service == "su" else FRIEND
    told = inside(of_friend, FRIEND, service=service, user=user)
    assert told.errors[-1] == not_approved_by(FRIEND)
    assert rung(of_friend) == ["token-of-friend"]
    assert people(of_friend) == (user, FRIEND, AGENT)


@pytest.mark.parametrize(
    "settings", [{"exempt": f"{{users: [{FRIEND}, {OTHER}]}}"}, {"unlisted_users": "ignore"}]
)
def test_within_its_login_session_nobody_is_spared_whom_it_has_become(
    of_friend: Setting, settings: dict[str, str]
) -> None:
    of_friend.configure(**settings)
    for caller in (FRIEND, OTHER):
        assert inside(of_friend, caller).code == PamCode.ABORT
        assert people(of_friend) == (caller, FRIEND, AGENT)
    assert rung(of_friend) == ["token-of-friend"] * 2


def test_within_its_login_session_another_person_is_asked_as_everywhere(of_friend: Setting) -> None:
    of_friend.write(
        "users.yaml", f"{ME}: {Setting.token}\n{AGENT}: {{acts_for: {ME}}}\n{FRIEND}: token-of-friend\n"
    )
    bypass(of_friend, AGENT)
    assert inside(of_friend, FRIEND).code == PamCode.ABORT
    assert rung(of_friend) == ["token-of-friend"]
    assert people(of_friend) == (FRIEND, FRIEND, None)
    assert inside(of_friend, OTHER).code == PamCode.ABORT
    assert last(of_friend)["IAMPASS_OUTCOME"] == "unlisted"


def test_within_its_login_session_another_account_that_acts_for_somebody_is_asked_about_as_itself(
    of_friend: Setting,
) -> None:
    accounts = f"{AGENT}: {{acts_for: {ME}}}\n{OTHER}: {{acts_for: {FRIEND}}}\n"
    of_friend.write("users.yaml", f"{ME}: {Setting.token}\n{FRIEND}: token-of-friend\n{accounts}")
    bypass(of_friend, AGENT)
    assert inside(of_friend, OTHER).code == PamCode.ABORT
    assert rung(of_friend) == ["token-of-friend"]
    assert people(of_friend) == (OTHER, FRIEND, None)


def test_a_service_of_root_that_was_started_in_its_login_session_asks_as_everywhere(owned: Setting) -> None:
    bypass(owned, ME)
    assert owned.login(service="lightdm", user=ME, uid="0", login_uid="1").code == PamCode.IGNORE


def test_in_a_login_session_of_a_person_and_in_sshd_the_session_says_nothing(owned: Setting) -> None:
    bypass(owned, FRIEND)
    for session in ("4", "987654321"):
        assert inside(owned, FRIEND, login_uid=session).code == PamCode.IGNORE
    ssh = {"ssh_auth_info": "publickey ssh-ed25519 AAAA", "uid": "0", "ruser": ""}
    assert inside(owned, FRIEND, service="sshd", **ssh).code == PamCode.IGNORE


def test_su_to_another_person_asks_that_person(owned: Setting) -> None:
    owned.sandbox.auto = "deny"
    owned.login(service="su", user=FRIEND, ruser=AGENT, uid="1", login_uid="1")
    owned.login(service="su", user=ME, ruser=AGENT, uid="1", login_uid="1")
    assert rung(owned) == ["token-of-friend", Setting.token]
    assert people(owned) == (ME, ME, AGENT)


# Second persons


@pytest.mark.parametrize("allow_self", ["true", "false"])
def test_the_owner_is_not_the_second_person_for_it(owned: Setting, allow_self: str) -> None:
    second = f"{{users: [{ME}, {FRIEND}], allow_self: {allow_self}}}"
    owned.configure(services=f"{{sudo: {{approver: {second}}}}}", timeout="60s")
    assert sudo(owned).code == PamCode.SUCCESS
    assert rung(owned) == ["token-of-friend"]
    assert people(owned) == (AGENT, FRIEND, None)
    owned.configure(services=f"{{sudo: {{approver: {{user: {ME}, allow_self: {allow_self}}}}}}}")
    assert sudo(owned).code == PamCode.PERM_DENIED
    assert last(owned)["IAMPASS_OUTCOME"] == "unlisted"


@pytest.mark.parametrize("unlisted", ["deny", "'{user}@example.com'"])
def test_it_approves_for_nobody(owned: Setting, unlisted: str) -> None:
    second = f"{{users: [{AGENT}, {OTHER}]}}"
    owned.configure(services=f"{{test: {{approver: {second}}}}}", unlisted_users=unlisted)
    assert owned.login().code == PamCode.ABORT
    assert owned.login(user=FRIEND, uid="3").code == PamCode.ABORT
    assert owned.calls == []


# Kept sessions


def test_its_own_kept_login_covers_its_sudo_and_the_one_of_its_owner_does_not(
    owned: Setting, clock: Clock
) -> None:
    with keeping(owned) as machine:
        machine.log_in(user=AGENT, uid="1")
        inside = {"service": "sudo", "user": AGENT, "ruser": AGENT, "uid": "1", "audit_session": "42"}
        assert machine.login(**inside).code == PamCode.IGNORE
        (kept,) = machine.sessions.all()
        assert (kept.approver, kept.person, kept.agent) == (ME, AGENT, AGENT)
    assert len(rung(owned)) == 1


@pytest.mark.parametrize(("approved", "inside"), [(ME, AGENT), (AGENT, ME)])
def test_what_was_approved_for_one_of_them_covers_nothing_of_the_other(
    owned: Setting, clock: Clock, approved: str, inside: str
) -> None:
    uids = {name: str(pwd.getpwnam(name).pw_uid) for name in (ME, AGENT)}
    with keeping(owned) as machine:
        told = machine.login(user=approved, uid=uids[approved])
        assert told.kept is not None
        machine.open(told.kept, user=inside)
        clock.now += AFTER_OWN
        called = {"service": "sudo", "user": inside, "ruser": inside, "uid": uids[inside]}
        assert machine.login(audit_session="42", **called).code == PamCode.SUCCESS
    assert len(rung(owned)) == 2


# Limits


class Clock:
    """Seconds since boot, of the test."""

    def __init__(self) -> None:
        self.now = 100_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(owned: Setting) -> Clock:
    found = Clock()
    owned.state.throttle.now = found
    return found


def test_an_hour_of_calls_rings_the_phone_as_often_as_the_budget_says_and_keeps_its_owner_from_nothing(
    owned: Setting, clock: Clock
) -> None:
    owned.configure(agents="{requests_per_hour: 6}", throttle="{requests_per_hour: 3, spacing: 3s}")
    for minute in range(60):
        clock.now += 50.0
        owned.sandbox.auto = "deny"
        for account in (AGENT, OTHER):
            assert sudo(owned, account).code == PamCode.PERM_DENIED
            clock.now += 5.0
        if minute % 20 == 19:
            owned.sandbox.auto = "approve"
            assert login(owned).code == PamCode.SUCCESS
    assert len(rung(owned)) == 6 + 3
    assert len(owned.state.throttle.state(ME).of_agents) == 6
    assert owned.state.throttle.state(ME).requests == {}


def test_after_two_refusals_one_account_waits_and_the_other_and_the_owner_do_not(
    owned: Setting, clock: Clock
) -> None:
    owned.sandbox.auto = "deny"
    for service in ("sudo", "su"):
        owned.login(service=service, user=AGENT, ruser=AGENT, uid="1")
    told = sudo(owned)
    assert re.fullmatch("Too many requests: none was sent. Wait [0-9]+ seconds[.]", told.errors[0])
    assert last(owned)["IAMPASS_OUTCOME"] == "throttled"
    assert sudo(owned, OTHER).errors[-1] == not_approved_by(ME)
    assert login(owned, service="sudo", ruser=ME, uid=str(pwd.getpwnam(ME).pw_uid)).errors == [
        APPROVE_WITHIN,
        DENIED,
    ]


def owner_meanwhile(owned: Setting) -> tuple[Door, SandboxSession, Door]:
    """The agent's sudo, its request on the phone of its owner, and a login that the owner has begun since."""
    owned.configure(timeout="60s")
    owned.sandbox.auto = "ask"
    owned.door_class = AccountDoor
    agents = owned.door("always", service="sudo", user=AGENT, ruser=AGENT, uid="1", tty="/dev/pts/0")
    first = owned.sandbox.wait_for_request(Setting.token)
    del owned.door_class
    return agents, first, owned.door(answers=())


def test_a_login_of_the_owner_withdraws_its_request(owned: Setting) -> None:
    agents, first, own = owner_meanwhile(owned)
    told = agents.finish()
    assert told.errors[1:] == [
        f"{ME} logs in just now, so this request was withdrawn. Try again in a minute."
    ]
    assert last(owned)["IAMPASS_REASON"] == f"{AGENT} acts for {ME}; withdrawn: a login of {ME} came"
    second = owned.sandbox.wait_for_request(Setting.token, after=first)
    assert (owned.sandbox.wait_for_end(first).ended_at or 0.0) <= second.started_at
    owned.sandbox.approve(second)
    assert own.finish().code == PamCode.SUCCESS
    # It has rung, and nobody has refused it.
    state = owned.state.throttle
    assert (len(state.state(ME).of_agents), state.state(AGENT).failures) == (1, {})


def test_an_approval_that_comes_once_its_owner_logs_in_does_not_let_it_in(owned: Setting) -> None:
    agents, first, own = owner_meanwhile(owned)
    wait_until(lambda: len(owned.state.throttle.state(ME).pending) == 2, "the owner's login")
    owned.sandbox.approve(first)
    assert agents.finish().code == PamCode.PERM_DENIED
    owned.sandbox.approve(owned.sandbox.wait_for_request(Setting.token, after=first))
    assert own.finish().code == PamCode.SUCCESS


def test_no_request_of_it_begins_soon_after_one_of_its_owner(owned: Setting, clock: Clock) -> None:
    assert owned.login().code == PamCode.SUCCESS
    owned.configure(timeout="1s")
    clock.now += AFTER_OWN - 1.0
    assert sudo(owned).errors == [f"Other requests to {ME} came first; none was sent. Try again in a minute."]
    assert rung(owned) == [Setting.token]
    clock.now += 1.0
    owned.configure()
    assert sudo(owned).code == PamCode.SUCCESS


def test_when_its_owner_or_itself_is_removed_its_request_and_its_sessions_end(owned: Setting) -> None:
    owned.configure(timeout="60s")
    owned.sandbox.auto = "ask"
    owned.door_class = AccountDoor
    for name in (ME, AGENT):
        door = owned.door("always", service="sudo", user=AGENT, ruser=AGENT, uid="1")
        request = owned.sandbox.wait_for_request(Setting.token)
        owned.state.phone_lost(name)
        assert door.finish().code == PamCode.PERM_DENIED
        owned.sandbox.wait_for_end(request)
        owned.state.throttle.clear(ME)


# The line on terminals of the owner


def test_the_owner_is_told_of_each_request_of_the_account_when_the_phone_is_asked(owned: Setting) -> None:
    owned.sandbox.auto = "deny"
    owned.configure(agents="{requests_per_hour: 1}")
    told: list[tuple[str, str, list[str]]] = []
    owned.tell_approver = lambda required: told.append((required.agent, required.approver, rung(owned)))
    sudo(owned)
    assert told == [(AGENT, ME, [Setting.token])]
    sudo(owned)  # no request, as its budget is spent
    assert (len(told), last(owned)["IAMPASS_OUTCOME"]) == (1, "throttled")
    login(owned)
    assert (len(told), len(rung(owned))) == (1, 2)


def test_second_people_are_told_of_each_request_to_them(owned: Setting) -> None:
    owned.sandbox.auto = "deny"
    owned.configure(services=f"{{sudo: {{approver: {{users: [{ME}, {FRIEND}]}}}}}}", timeout="60s")
    told: list[tuple[str, str]] = []
    owned.tell_approver = lambda required: told.append((required.asker, required.approver))
    for caller in (AGENT, ME):
        sudo(owned, caller)
    assert told == [(AGENT, FRIEND), (ME, FRIEND)]


def test_the_owner_is_not_told_of_a_request_that_has_reached_nobody(owned: Setting) -> None:
    owned.configure(server="https://127.0.0.1:1")
    owned.tell_approver = lambda _required: pytest.fail("told of a request that reached nobody")
    sudo(owned)
    assert last(owned)["IAMPASS_OUTCOME"] == "unavailable"
