"""Who approves sudo in an account that several people share: who approved the login session (`approver: login`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pam_iampass.config.settings import AskedSettings, ExemptSettings
from pam_iampass.config.user_table import UserTable
from pam_iampass.config.value_types import Approver, Otherwise, UnlistedUsers
from pam_iampass.login import policy
from pam_iampass.login.bypass import Bypass, Moment
from pam_iampass.login.policy import Exempt, Nobody, Person
from pam_iampass.outcome import Login, PamCode
from pam_iampass.session.kept_session import AttachedLogin, KeptSession, State, new_id
from pam_iampass.system.accounts import Account
from pam_iampass.system.boot import since_boot
from tests.support.sessions import Keeping, keeping
from tests.support.setting import ME, Setting
from tests.unit.login.test_policy import ALICE, BOB, ROOT, SERVICE, Directory, Table
from tests.unit.session.test_store import KEPT

BY_LOGIN = replace(SERVICE, approver=Approver.LOGIN)
#: Bob's account is the one that is shared here.
SUDO = Login("bob", "sudo", ruser="bob", real_uid=BOB.uid)


def who(*people: str, login: Login = SUDO, account: Account = BOB, **changes: object) -> object:
    """Who approves it in a login session that these people have approved."""
    service = replace(BY_LOGIN, **changes)  # type: ignore[arg-type]
    table = UserTable(Path("/no/users.yaml"))
    return policy.who_approves(login, account, service, Directory(), table, lambda: frozenset(people))


def test_the_person_who_approved_the_login_session_approves_with_or_without_an_account() -> None:
    assert who("alice") == Person("alice", ALICE)
    assert who("carol") == Person("carol", None)
    to_root = Login("root", "su", ruser="bob", real_uid=BOB.uid)
    assert who("alice", login=to_root, account=ROOT) == Person("alice", ALICE)


def test_outside_of_a_kept_login_session_it_is_denied_or_the_phone_of_the_caller_is_asked() -> None:
    assert isinstance(who(), Nobody)
    assert who(otherwise=Otherwise.USER) == Person("bob", BOB)
    to_root = Login("root", "su", ruser="bob", real_uid=BOB.uid)
    assert who(login=to_root, account=ROOT, otherwise=Otherwise.USER) == Person("bob", BOB)


def test_su_to_another_user_than_root_asks_that_users_own_phone() -> None:
    to_alice = Login("alice", "su", ruser="bob", real_uid=BOB.uid)
    assert who("carol", login=to_alice, account=ALICE) == Person("alice", ALICE)


@pytest.mark.parametrize(
    "changes",
    [
        {"ruser": "alice"},
        {"ruser": None},
        {"real_uid": None},
        {"ssh_auth_info": "", "ruser": "root", "real_uid": 0},
    ],
    ids=["another caller", "no caller, as in polkit", "no user id", "sshd"],
)
def test_a_program_whose_caller_is_not_known_and_sshd_are_denied(changes: dict[str, object]) -> None:
    with pytest.raises(policy.PolicyError):
        who("alice", login=replace(SUDO, **changes), otherwise=Otherwise.USER)  # type: ignore[arg-type]


def test_the_caller_or_the_person_can_be_exempt_and_not_the_target() -> None:
    def exempt(name: str) -> ExemptSettings:
        return ExemptSettings(frozenset({name}))

    assert who("alice", exempt=exempt("bob")) == Exempt("bob is exempt")
    assert who("alice", exempt=exempt("alice")) == Exempt("alice is exempt")
    to_root = Login("root", "su", ruser="bob", real_uid=BOB.uid)
    assert who("alice", login=to_root, account=ROOT, exempt=exempt("root")) == Person("alice", ALICE)
    assert who("alice", asked=AskedSettings(frozenset({"bob"}))) == Person("alice", ALICE)


def test_in_a_shared_account_nobody_passes_for_lack_of_a_token() -> None:
    service = replace(BY_LOGIN, unlisted_users=UnlistedUsers.IGNORE)
    assert policy.phone("carol", service, Table()) == policy.NotListed(ignore=False)


# A login

CAROL = "7 carol"


@pytest.fixture
def agent(world: Setting) -> Iterator[Keeping]:
    world.write("users.yaml", f"{CAROL}: {world.token}\n")
    services = "{sudo: {approver: login, prompt: never, unlisted_users: ignore}}"
    with keeping(world, services=services) as found:
        yield found


def begin(agent: Keeping, **changes: object) -> KeptSession:
    """A login session of this user, approved by Carol."""
    login = AttachedLogin(os.getpid(), ME, os.getuid(), "sshd", 42)
    config = str(agent.world.folder / "iampass.yaml")
    kept = replace(KEPT, id=new_id(), config=config, user=ME, approver=CAROL, person=CAROL, attached=(login,))
    kept = replace(kept, began=since_boot(), approved=since_boot())  # not longer ago than a session lasts
    kept = replace(kept, **changes)  # type: ignore[arg-type]
    agent.sessions.begin(kept)
    return kept


def test_the_phone_of_who_approved_the_login_session_is_asked_and_limits_and_records_are_theirs(
    agent: Keeping,
) -> None:
    begin(agent)
    assert agent.login(service="sudo", audit_session="42").code == PamCode.SUCCESS
    record = agent.outcome()
    assert (record["IAMPASS_USER"], record["IAMPASS_APPROVER"]) == (ME, CAROL)
    assert agent.world.state.throttle.state(CAROL).turns
    assert not agent.world.state.throttle.state(ME).turns


@pytest.mark.parametrize(
    ("changes", "items"),
    [
        ({}, {"audit_session": "43"}),
        ({}, {}),
        ({"config": "/etc/other.yaml"}, {"audit_session": "42"}),
        ({"state": State.APPROVED, "attached": ()}, {"audit_session": "42"}),
        ({"state": State.ENDING}, {"audit_session": "42"}),
        ({"attached": (AttachedLogin(4711, "bin", os.getuid() + 1, "sshd", 42),)}, {"audit_session": "42"}),
    ],
    ids=["another login", "none", "other settings", "not open", "ended", "of another user"],
)
def test_no_other_login_session_names_the_person(
    agent: Keeping, changes: dict[str, object], items: dict[str, str]
) -> None:
    begin(agent, **changes)
    assert agent.login(service="sudo", **items).code == PamCode.ABORT
    assert (agent.outcome()["IAMPASS_OUTCOME"], agent.world.calls) == ("unlisted", [])
    assert "approver: login" in agent.outcome()["IAMPASS_REASON"]


def test_a_session_that_covers_nothing_any_more_still_names_the_person(agent: Keeping) -> None:
    begin(agent, revoked=True)
    assert agent.login(service="sudo", audit_session="42").code == PamCode.SUCCESS
    assert agent.world.calls.count("start") == 1


def test_a_login_session_of_two_people_is_denied(agent: Keeping) -> None:
    begin(agent)
    begin(agent, approver=ME, person=ME)
    assert agent.login(service="sudo", audit_session="42").code == PamCode.ABORT
    assert (agent.outcome()["IAMPASS_OUTCOME"], agent.world.calls) == ("misconfigured", [])


@pytest.mark.parametrize("what", ["plain", "exempt", "bypass", "cover"])
def test_the_second_person_who_approved_a_login_is_not_who_uses_sudo_in_it(world: Setting, what: str) -> None:
    second = "daemon" if what == "exempt" else CAROL
    world.write("users.yaml", f"{ME}: {world.token}\n{second}: of-the-second\n")
    world.sandbox.add_user("of-the-second", device=True)
    exempt = "{users: [daemon]}" if what == "exempt" else "{}"
    services = f"{{test: {{approver: {{user: {second}}}}}, sudo: {{approver: login, exempt: {exempt}}}}}"
    covers = "[sudo]" if what == "cover" else "[]"
    session = f"{{keep: true, check: 2s, covers: {{services: {covers}}}}}"
    with keeping(world, services=services, session=session) as agent:
        kept, login = agent.log_in()
        found = agent.kept(kept)
        assert found is not None
        assert (found.approver, found.person) == (second, ME)
        if what == "bypass":
            world.state.bypasses.add(Bypass(second, None, None, 3600.0, Moment.now(), "root", "", False))
        assert agent.login(service="sudo", audit_session="42").code == PamCode.SUCCESS
        record = agent.outcome()
        assert (record["IAMPASS_OUTCOME"], record["IAMPASS_APPROVER"]) == ("approved", ME)
        assert [session.user for session in world.sandbox.sessions[-2:]] == ["of-the-second", world.token]
        login.end()


def test_a_login_session_that_does_not_say_who_began_it_names_nobody(agent: Keeping) -> None:
    begin(agent, person="")
    assert agent.login(service="sudo", audit_session="42").code == PamCode.ABORT
    assert (agent.outcome()["IAMPASS_OUTCOME"], agent.world.calls) == ("unlisted", [])


def test_otherwise_the_account_is_asked_although_it_is_not_one_of_asked() -> None:
    asked = AskedSettings(frozenset({"alice"}))
    assert who(asked=asked, otherwise=Otherwise.USER) == Person("bob", BOB)
