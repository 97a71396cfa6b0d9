"""Others than the one who logs in must approve: real frames, a real sandbox, real state."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from pam_iampass.agent import administration
from pam_iampass.audit.journal import Journal, SessionRecord
from pam_iampass.client import AuthenticationAPI, Session
from pam_iampass.client.errors import Unavailable
from pam_iampass.config.settings import ThrottleSettings
from pam_iampass.config.value_types import Enforcement
from pam_iampass.login import throttle
from pam_iampass.login.at_iampass import AtIampass
from pam_iampass.login.context import Configuration, LoginContext
from pam_iampass.login.second_person import share
from pam_iampass.login.throttle import Pending, Refusal, RequestResult, ThrottleState
from pam_iampass.module import Module
from pam_iampass.outcome import PamCode, SessionEvent
from pam_iampass.session import life
from pam_iampass.session.kept_session import AttachedLogin, State, new_id
from tests.support.deadline import not_approved_by
from tests.support.door import AccountDoor, Door, Told
from tests.support.sandbox import HttpStatus, SessionState
from tests.support.sessions import keeping
from tests.support.setting import ME, Setting
from tests.support.ssh_keys import accepted, make_key
from tests.support.world import wait_until
from tests.unit.session.test_store import KEPT

BOTH = "{users: [carol, dave]}"


def table(world: Setting, tokens: Iterable[str], keys: Mapping[str, str] = MappingProxyType({})) -> None:
    """Write the user table: who has a token, and whose key is whose."""
    text = ""
    for name in dict.fromkeys([*tokens, *keys]):
        token = Setting.token if name == ME else f"token-of-{name}"
        has = ([f"token: {token}"] if name in tokens else []) + (
            [f"keys: ['{keys[name]}']"] if name in keys else []
        )
        text += f"{name}: {{{', '.join(has)}}}\n"
    world.write("users.yaml", text)


def phones(world: Setting, keys: Mapping[str, str] = MappingProxyType({}), **names: bool) -> None:
    """People of the user table beside the one who logs in, and whether they have a phone."""
    table(world, [ME, *names], keys)
    for name, device in names.items():
        world.sandbox.add_user(f"token-of-{name}", device=device)


@pytest.fixture
def asks(world: Setting) -> Setting:
    phones(world, carol=True, dave=True)
    ask(world, BOTH)
    return world


def ask(world: Setting, approver: str, **settings: str) -> None:
    values = {"timeout": "60s", **settings, "services": f"{{test: {{approver: {approver}}}}}"}
    world.configure(**values)


def door_of(world: Setting, change: Callable[[LoginContext], LoginContext], **items: Any) -> Door:
    """A login whose context is another."""
    made = world.contexts()
    module = Module(Journal(world.records), lambda *arguments: change(made(*arguments)), None)
    return Door(module.pam_sm_authenticate, f"config={world.folder / 'iampass.yaml'}", user=ME, **items)


def rung(world: Setting) -> list[str]:
    """Whose phones have rung."""
    return [session.user for session in world.sandbox.sessions[world._first_session :]]


def record(world: Setting) -> dict[str, str]:
    return [fields for fields in world.records.fields if "IAMPASS_OUTCOME" in fields][-1]


def test_the_first_who_approves_lets_in_and_is_in_the_record(asks: Setting) -> None:
    told = asks.login()
    assert told.code == PamCode.SUCCESS
    assert told.said[0].startswith("carol is asked to approve this within 29 seconds")
    assert told.said[-1] == "Approved by carol."
    assert rung(asks) == ["token-of-carol"]
    assert (record(asks)["IAMPASS_USER"], record(asks)["IAMPASS_APPROVER"]) == (ME, "carol")
    assert record(asks)["IAMPASS_REASON"] == "a second person must approve; carol: approved"


def test_who_has_no_phone_or_does_not_answer_is_followed_by_the_next_once_their_session_has_ended(
    world: Setting,
) -> None:
    phones(world, carol=False, dave=True, erin=True)
    ask(world, "{users: [carol, dave, erin]}")
    world.sandbox.misbehave("poll", SessionState("timeout"))
    assert world.login().code == PamCode.SUCCESS
    assert rung(world) == ["token-of-dave", "token-of-erin"]
    assert world.calls[:6] == ["start", "start", "poll", "end", "start", "poll"]
    found = record(world)
    assert (found["IAMPASS_OUTCOME"], found["IAMPASS_APPROVER"]) == ("approved", "erin")
    assert found["IAMPASS_REASON"] == (
        "a second person must approve; carol: NO_MOBILE_DEVICE; dave: the phone did not answer in time; erin: approved"
    )


def test_who_has_lost_the_phone_is_followed_by_the_next(asks: Setting) -> None:
    def report(name: str) -> None:
        asks.state.lost_phones.add(name, str(asks.folder / "iampass.yaml"), tokens=[f"token-of-{name}"])

    report("carol")
    assert asks.login().code == PamCode.SUCCESS
    assert (rung(asks), record(asks)["IAMPASS_APPROVER"]) == (["token-of-dave"], "dave")
    report("dave")
    assert asks.login().errors == ["Of those who may approve, nobody has a phone to ask: carol, dave."]
    assert record(asks)["IAMPASS_OUTCOME"] == "no_device"
    assert record(asks)["IAMPASS_REASON"].count("was reported lost") == 2


def test_a_refusal_ends_the_login(asks: Setting) -> None:
    asks.sandbox.auto = "deny"
    told = asks.login()
    assert (told.code, told.errors) == (PamCode.ABORT, [not_approved_by("carol")])
    assert rung(asks) == ["token-of-carol"]
    assert record(asks)["IAMPASS_OUTCOME"] == "denied"


def test_nobody_is_asked_while_the_request_to_somebody_else_may_still_be_approved(asks: Setting) -> None:
    asks.sandbox.misbehave("poll", SessionState("timeout"))
    asks.sandbox.misbehave("end", HttpStatus(500), times=None)
    assert asks.login().code == PamCode.ABORT
    assert rung(asks) == ["token-of-carol"]
    assert record(asks)["IAMPASS_OUTCOME"] == "timed_out"


def test_each_is_asked_once_and_nobody_has_answered(world: Setting) -> None:
    phones(world, carol=True, dave=True)
    ask(world, BOTH)
    world.sandbox.misbehave("poll", SessionState("timeout"), times=None)
    told = world.login()
    assert told.errors == ["Nobody has answered in time. Asked: carol, dave."]
    assert rung(world) == ["token-of-carol", "token-of-dave"]


def test_nobody_but_the_first_is_asked_without_time(asks: Setting) -> None:
    ask(asks, BOTH, timeout="5s")
    asks.sandbox.auto = "ask"
    told = asks.login()
    assert rung(asks) == ["token-of-carol"]
    assert told.promised == [5.0]


@pytest.mark.parametrize(
    ("time_left", "people", "expected"),
    [(60.0, 2, 30.0), (60.0, 9, 15.0), (30.0, 1, 30.0), (20.0, 3, 20.0), (5.0, 3, 5.0)],
)
def test_the_time_is_shared_by_as_many_as_have_enough_of_it(
    time_left: float, people: int, expected: float
) -> None:
    assert share(time_left, people, 14.0) == expected


def test_who_does_not_answer_in_their_share_is_asked_no_more_and_the_next_one_has_the_rest(
    world: Setting,
) -> None:
    phones(world, carol=True, dave=True)
    ask(world, BOTH, timeout="12s")
    world.sandbox.auto = "ask"
    door = door_of(world, lambda context: replace(context, least_share=1.0), service="test")
    carol = world.sandbox.wait_for_request("token-of-carol")
    dave = world.sandbox.wait_for_request("token-of-dave")
    ended = world.sandbox.wait_for_end(carol)
    assert ended.ended_at is not None
    assert 1.0 <= ended.ended_at - carol.started_at <= 11.0
    assert dave.started_at >= ended.ended_at
    world.sandbox.approve(dave)
    told = door.finish()
    assert (told.code, told.promised) == (PamCode.SUCCESS, [12.0])
    assert record(world)["IAMPASS_APPROVER"] == "dave"


class Unreachable(AuthenticationAPI):
    """IAMPASS cannot be reached once dave is to be asked."""

    def authenticate_user(self, user_id: str, *arguments: Any, **options: Any) -> Session:
        if user_id == "token-of-dave":
            raise Unavailable("connection refused", outage=True)
        return super().authenticate_user(user_id, *arguments, **options)


@pytest.mark.parametrize(("first", "code"), [("carol", PamCode.ABORT), ("dave", PamCode.IGNORE)])
def test_an_outage_is_tolerated_only_before_anybody_was_asked(
    world: Setting, first: str, code: PamCode
) -> None:
    phones(world, carol=False, dave=True)
    names = "[carol, dave]" if first == "carol" else "[dave, carol]"
    world.configure(
        unavailable="ignore", timeout="60s", services=f"{{login: {{approver: {{users: {names}}}}}}}"
    )

    def configure(made: Callable[[], Configuration]) -> Configuration:
        found, sandbox = made(), world.sandbox
        keys = sandbox.application_id, sandbox.application_secret
        assert isinstance(found.decider, AtIampass)
        api = Unreachable(*keys, transport=found.decider.api.transport)
        return replace(found, decider=replace(found.decider, api=api))

    def unreachable(context: LoginContext) -> LoginContext:
        return replace(context, configure=lambda: configure(context.configure))

    assert door_of(world, unreachable, service="login", uid="0").finish().code == code
    assert record(world)["IAMPASS_OUTCOME"] == "unavailable"


# Never the one who logs in


def test_who_logs_in_is_not_asked_unless_that_is_allowed(asks: Setting) -> None:
    ask(asks, f"{{users: [{ME}, carol]}}")
    asks.login()
    ask(asks, f"{{users: [{ME}, carol], allow_self: true}}")
    asks.login()
    assert rung(asks) == ["token-of-carol", Setting.token]


def test_who_logs_in_is_not_asked_by_another_name_with_the_same_phone(world: Setting) -> None:
    world.write("users.yaml", f"{ME}: {Setting.token}\n{ME}-admin: {Setting.token}\n")
    ask(world, f"{{user: {ME}-admin}}")
    told = world.login()
    assert told.errors == ["Nobody can be asked to approve this. Please ask your administrator."]
    assert world.calls == []
    assert record(world)["IAMPASS_OUTCOME"] == "unlisted"


def test_two_names_with_one_phone_are_asked_once(world: Setting) -> None:
    world.write("users.yaml", f"{ME}: {Setting.token}\ncarol: token-of-carol\nadmin: token-of-carol\n")
    world.sandbox.add_user("token-of-carol", device=True)
    ask(world, "{users: [carol, admin]}")
    world.sandbox.misbehave("poll", SessionState("timeout"), times=None)
    assert world.login().errors == ["Nobody has answered in time. Asked: carol."]
    assert rung(world) == ["token-of-carol"]


def test_the_caller_and_the_target_are_not_asked(world: Setting) -> None:
    phones(world, nobody=True, carol=True)
    world.configure(services=f"{{sudo: {{approver: {{users: [{ME}, nobody, carol]}}}}}}")
    world.login(service="sudo", user="nobody", ruser=ME, uid=str(os.geteuid()))
    assert rung(world) == ["token-of-carol"]


def test_the_person_whose_key_it_is_is_not_asked(world: Setting, tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    phones(world, {"carol": key}, carol=True, dave=True)
    ask(world, BOTH)
    assert world.login(ssh_auth_info=accepted(key)).code == PamCode.SUCCESS
    assert rung(world) == ["token-of-dave"]


@pytest.mark.parametrize("state", [State.OPEN, State.ENDING], ids=["open", "being ended"])
@pytest.mark.parametrize(
    ("service", "approver", "by_key"),
    [("sshd", "carol", False), ("second", "dave", True)],
    ids=["who approved for themselves", "whose key it was"],
)
def test_who_has_begun_the_login_session_is_not_asked_within_it(
    world: Setting, tmp_path: Path, service: str, approver: str, by_key: bool, state: State
) -> None:
    key, other = make_key(tmp_path / "key"), make_key(tmp_path / "other")
    phones(world, {"carol": key, ME: other}, carol=True, dave=True)
    services = f"{{second: {{approver: {BOTH}}}, sudo: {{approver: {BOTH}}}}}"
    with keeping(world, services=services, timeout="60s") as agent:
        agent.sessions.begin(
            replace(
                KEPT,
                id=new_id(),
                config=str(world.folder / "iampass.yaml"),
                state=state,
                user=ME,
                approver=approver,
                person="" if by_key else approver,
                service=service,
                first_factor=accepted(key) if by_key else None,
                attached=(AttachedLogin(os.getpid(), ME, os.getuid(), service, 42),),
            )
        )
        for session, expected in ("42", "dave"), ("43", "carol"):
            assert agent.login(service="sudo", audit_session=session).code == PamCode.SUCCESS
            assert agent.outcome()["IAMPASS_APPROVER"] == expected


def test_a_session_that_a_second_person_has_approved_covers_and_is_theirs(world: Setting) -> None:
    phones(world, carol=True, dave=True)
    services = f"{{test: {{approver: {BOTH}}}, sudo: {{approver: {{users: [dave, carol]}}}}}}"
    with keeping(world, services=services) as agent:
        session, login = agent.log_in()
        kept = agent.kept(session)
        assert kept is not None
        assert (kept.user, kept.approver) == (ME, "carol")
        assert agent.login(service="sudo", audit_session="42").code == PamCode.IGNORE
        assert agent.outcome()["IAMPASS_APPROVER"] == "carol"
        login.end()


def test_the_logins_of_who_was_removed_end_whoever_has_approved_them(world: Setting) -> None:
    phones(world, carol=True, dave=True)
    with keeping(world, services=f"{{test: {{approver: {BOTH}}}}}") as agent:
        session, login = agent.log_in()
        kept = agent.kept(session)
        assert kept is not None
        assert (kept.person, kept.approver) == (ME, "carol")
        assert agent.world.state.phone_lost(ME)[1] == [session]
        agent.wait_until_forgotten(session)
        login.end()


# Accounts that several people share: here `daemon`, and in sudo that of the tests

DENIED = (
    PamCode.ABORT,
    PamCode.MAXTRIES,
    PamCode.PERM_DENIED,
)  # outside of sshd, in it, in the account phase


@pytest.fixture
def shared(world: Setting, tmp_path: Path) -> Shared:
    return Shared(world, tmp_path)


class Shared:
    """Bob has a key in the table, and one of his own that is not; carol and he may approve, and have phones."""

    def __init__(self, world: Setting, folder: Path) -> None:
        self.world = world
        self.key, self.unlisted = make_key(folder / "key"), make_key(folder / "own")
        self.alices = make_key(folder / "alices")
        phones(world, bob=True, carol=True)
        self.keys = {"bob": self.key, "alice": self.alices}
        self.table("alice", "bob", "carol")
        self.approver("{users: [bob, carol]}")

    def approver(self, approver: str, **settings: str) -> None:
        ask(self.world, approver, **settings)

    def table(self, *tokens: str, keys: Mapping[str, str] | None = None) -> None:
        """Write the user table: who has a token, and whose keys are known."""
        table(self.world, tokens, self.keys if keys is None else keys)

    def door(self, *keys: str, user: str = "daemon", **items: Any) -> Door:
        """A login by these keys; without any, by the password."""
        info = accepted(*keys) if keys else "password\n"
        return self.world.door(user=user, ssh_auth_info=info, **items)

    def login(self, *keys: str, **items: str) -> Told:
        return self.door(*keys, **items).finish()


@pytest.mark.parametrize("door", [Door, AccountDoor], ids=["prompt", "account phase"])
@pytest.mark.parametrize("how", ["own key", "password", "two keys"])
def test_whom_no_key_names_is_let_in_by_nobody_not_even_by_themselves(
    shared: Shared, how: str, door: type[Door]
) -> None:
    shared.world.door_class = door
    keys = {"own key": [shared.unlisted], "password": [], "two keys": [shared.key, shared.unlisted]}[how]
    assert shared.login(*keys).code in DENIED
    assert (rung(shared.world), record(shared.world)["IAMPASS_OUTCOME"]) == ([], "unlisted")
    assert shared.login(shared.key).code == PamCode.SUCCESS
    assert rung(shared.world) == ["token-of-carol"]


def test_who_logs_in_need_not_be_known_if_they_may_approve_themselves(shared: Shared) -> None:
    shared.approver("{users: [bob, carol], allow_self: true}")
    assert shared.login(shared.unlisted).code == PamCode.SUCCESS
    assert rung(shared.world) == ["token-of-bob"]


def test_where_people_share_accounts_a_key_of_nobody_is_not_that_of_an_account_with_a_token(
    shared: Shared,
) -> None:
    shared.table(ME, "bob", "carol")
    assert shared.login(shared.unlisted, user=ME).code in DENIED
    shared.table(ME, "bob", "carol", keys={})
    assert shared.login(shared.unlisted, user=ME).code == PamCode.SUCCESS
    assert shared.login(shared.unlisted).code in DENIED, "daemon has no token"


def test_a_token_that_is_made_for_every_account_is_not_its_own_where_people_share_accounts(
    shared: Shared,
) -> None:
    made = "'of-{user}@example.com'"
    shared.approver("{users: [bob, carol]}", unlisted_users=made)
    assert shared.login().code in DENIED
    shared.table("bob", "carol", keys={})
    assert shared.login().code == PamCode.SUCCESS


@pytest.mark.parametrize(
    ("services", "settings"), [("", {"shared_accounts": "true"}), (", sshd: {approver: key}", {})]
)
def test_a_user_table_that_an_editor_has_emptied_does_not_make_a_shared_account_one_persons(
    shared: Shared, services: str, settings: dict[str, str]
) -> None:
    services = f"{{test: {{approver: {{users: [bob, carol]}}}}{services}}}"
    shared.world.configure(
        timeout="60s", unlisted_users="'of-{user}@example.com'", services=services, **settings
    )
    shared.world.write("users.yaml", "")
    for name in ("bob", "carol"):
        shared.world.sandbox.add_user(f"of-{name}@example.com", device=True)
    for keys in [shared.key], [shared.unlisted], []:
        assert shared.login(*keys).code in DENIED
    assert rung(shared.world) == []


@pytest.mark.parametrize("door", [Door, AccountDoor], ids=["prompt", "account phase"])
def test_a_shared_account_with_a_token_is_nobodys_own_unless_there_are_keys_of_its_name(
    shared: Shared, door: type[Door]
) -> None:
    """Such as root: in the account phase no key is known, so that bob would approve his own login."""
    world = shared.world
    world.door_class = door
    shared.table("alice", "bob", "carol", "daemon")
    assert world.login(user="daemon", ssh_auth_info="").code in DENIED
    assert (rung(world), record(world)["IAMPASS_OUTCOME"]) == ([], "unlisted")
    assert record(world)["IAMPASS_REASON"].startswith("daemon has no key in the user table")
    shared.table("alice", "bob", "carol", "daemon", keys={"daemon": shared.alices})
    assert world.login(user="daemon", ssh_auth_info="").code == PamCode.SUCCESS


@pytest.mark.parametrize("unlisted", ["deny", "ignore", "'of-{user}@example.com'"])
def test_who_has_a_key_under_another_name_or_was_removed_is_not_their_own_second_person(
    shared: Shared, unlisted: str
) -> None:
    world = shared.world
    shared.approver("{users: [bob, carol]}", unlisted_users=unlisted)
    world.sandbox.add_user("of-Bob@example.com", device=True)
    shared.table("alice", "bob", "carol", keys={"Bob": shared.key, "alice": shared.alices})
    assert shared.login(shared.key).code in DENIED
    assert rung(world) == []
    shared.approver("{users: [bob, carol]}")
    shared.table("carol", keys={"bob": shared.key})
    assert shared.login(shared.key).code in DENIED
    assert rung(world) == []


def test_in_a_login_session_begun_by_a_key_of_nobodys_nobody_approves(shared: Shared) -> None:
    world = shared.world
    shared.table("alice", "bob", "carol", ME, keys={"bob": shared.key, ME: shared.alices})
    world.sandbox.add_user(Setting.token, device=True)
    services = "{test: {approver: user, prompt: never}, sudo: {approver: {users: [bob, carol]}}}"
    with keeping(world, services=services, timeout="60s") as agent:
        for key, code in (shared.key, PamCode.SUCCESS), (shared.unlisted, PamCode.ABORT):
            session, login = agent.log_in(ssh_auth_info=accepted(key))
            assert agent.login(service="sudo", audit_session="42").code == code
            login.end()
            agent.wait_until_forgotten(session)
    assert rung(world) == [Setting.token, "token-of-carol", Setting.token]


def test_two_people_whose_keys_sshd_has_accepted_are_not_one_who_logs_in(shared: Shared) -> None:
    assert shared.login(shared.key, shared.alices).code in DENIED
    assert (rung(shared.world), record(shared.world)["IAMPASS_OUTCOME"]) == ([], "misconfigured")


def test_outside_of_a_kept_login_session_nobody_approves_for_who_uses_a_shared_account(
    shared: Shared,
) -> None:
    world = shared.world
    services = "{sudo: {approver: {users: [bob, carol]}}, su: {approver: {users: [bob, carol]}}}"
    with keeping(world, services=services, timeout="60s") as agent:
        login = AttachedLogin(os.getpid(), ME, os.getuid(), "sshd", 42)
        config = str(world.folder / "iampass.yaml")
        kept = replace(
            KEPT, id=new_id(), config=config, user=ME, approver="bob", person="bob", attached=(login,)
        )
        agent.sessions.begin(kept)
        for service, user in ("sudo", ME), ("su", "root"), ("su", "carol"):
            items = {"service": service, "user": user if user != "carol" else "daemon", "ruser": ME}
            for outside in ({"audit_session": "43"}, {}):
                assert agent.login(**items, **outside).code == PamCode.ABORT
                assert agent.outcome()["IAMPASS_OUTCOME"] == "unlisted"
            assert rung(world) == []
        assert agent.login(service="sudo", audit_session="42").code == PamCode.SUCCESS
        assert rung(world) == ["token-of-carol"]


def test_who_ends_their_own_login_session_on_their_phone_is_not_their_own_second_person(
    shared: Shared,
) -> None:
    world = shared.world
    with keeping(
        world,
        services="{test: {approver: key}, sudo: {approver: {users: [bob, carol]}}}",
        timeout="60s",
        session="{keep: true, check: 2s, when_closed: revoke}",
    ) as agent:
        login = AttachedLogin(os.getpid(), ME, os.getuid(), "test", 42)
        kept = replace(
            KEPT,
            id=new_id(),
            config=str(world.folder / "iampass.yaml"),
            user=ME,
            approver="bob",
            person="bob",
            service="test",
            rules=replace(KEPT.rules, when_closed=Enforcement.REVOKE),
            attached=(login,),
        )
        agent.sessions.begin(kept)
        agent.sessions.change(kept.id, partial(life.closed, status="closed"))
        agent.wait_until_forgotten(kept.id)
        assert agent.login(service="sudo", audit_session="42").code == PamCode.ABORT
        assert (rung(world), agent.outcome()["IAMPASS_OUTCOME"]) == ([], "unlisted")


@pytest.mark.parametrize("allow_self", [False, True])
def test_the_approval_of_a_second_person_does_not_count_once_who_logs_in_was_removed(
    shared: Shared, allow_self: bool
) -> None:
    shared.approver(f"{{user: carol, allow_self: {str(allow_self).lower()}}}", prompt="never")
    shared.world.sandbox.auto = "ask"
    door = shared.door(shared.key)
    request = shared.world.sandbox.wait_for_request("token-of-carol")
    shared.world.state.phone_lost("bob")
    shared.world.sandbox.approve(request)
    assert door.finish().code in DENIED
    assert "reported lost" in record(shared.world)["IAMPASS_REASON"]


@pytest.mark.parametrize("answer", ["approve", "deny"])
def test_the_record_names_who_logs_in_to_a_shared_account_and_has_it_approved(
    shared: Shared, answer: str
) -> None:
    shared.world.sandbox.auto = answer
    shared.login(shared.key)
    found = record(shared.world)
    assert [found[f"IAMPASS_{name}"] for name in ("USER", "PERSON", "APPROVER")] == ["daemon", "bob", "carol"]
    assert " person=bob " in found["MESSAGE"]
    shared.approver("{users: [bob, carol], allow_self: true}")
    for key in shared.key, shared.unlisted:
        shared.login(key)
        assert "IAMPASS_PERSON" not in record(shared.world), "the approver, or unknown"


def test_a_session_is_found_by_who_has_logged_in(shared: Shared) -> None:
    with keeping(shared.world, services="{test: {approver: {user: carol}, prompt: never}}") as agent:
        session, login = agent.log_in(ssh_auth_info=accepted(shared.key))
        found = shared.world.state.kept_sessions()
        for who in ME, "bob", "carol", session[:6]:
            assert [each.id for each in administration.chosen(found, who)] == [session]
        assert administration.chosen(found, "alice") == []
        assert administration.listed(found[0])["person"] == "bob"
        login.end()
    opened = SessionRecord(SessionEvent.OPENED, session, ME, "carol", "test", person="bob")
    Journal(shared.world.records).session(opened)
    assert shared.world.records.fields[-1]["IAMPASS_PERSON"] == "bob"


@pytest.mark.parametrize("owner", ["alice", ""])
@pytest.mark.parametrize("approver", ["key", "{user: carol}"])
def test_a_key_that_is_taken_away_or_given_to_another_while_its_login_is_at_the_prompt_lets_nobody_in(
    shared: Shared, approver: str, owner: str
) -> None:
    world = shared.world
    world.sandbox.add_user("token-of-alice", device=True)
    shared.approver(approver)

    def presses_enter() -> str:
        keys = {owner: shared.key} if owner else {"alice": shared.alices}
        shared.table("alice", "bob", "carol", keys=keys)
        return ""

    assert shared.door(shared.key, answers=(presses_enter,)).finish().code in DENIED
    assert (rung(world), record(world)["IAMPASS_OUTCOME"]) == ([], "unlisted")


def test_whoever_a_second_person_approves_for_does_not_wear_out_what_covers_that_person(
    shared: Shared,
) -> None:
    world = shared.world
    phones(world, carol=True)
    asks = "{approver: {user: carol}, prompt: never}"
    services = f"{{test: {asks}, sudo: {asks}}}"
    session = "{keep: true, check: 2s, covers: {services: [sudo]}}"
    with keeping(world, services=services, timeout="60s", session=session) as agent:
        _session, login = agent.log_in()
        codes = {agent.login(service="sudo", audit_session="42").code for _ in range(30)}
        assert codes == {PamCode.IGNORE}
        assert not agent.sessions.may_ask(ME)
        assert agent.sessions.may_ask("carol")
        login.end()


def test_who_fails_in_a_shared_account_makes_nobody_else_wait(shared: Shared) -> None:
    world = shared.world
    world.sandbox.auto = "deny"
    for _ in range(2):
        shared.login(shared.key)
    assert shared.login(shared.key).errors[0].startswith("Too many requests: none was sent. Wait ")
    world.sandbox.auto = "approve"
    shared.approver("{user: carol}")
    assert shared.login(shared.alices).code == PamCode.SUCCESS
    assert not world.state.throttle.state("daemon").failures


def test_who_has_ten_logins_waiting_in_a_shared_account_locks_nobody_out(shared: Shared) -> None:
    shared.approver("{user: carol}", prompt="never")
    world = shared.world
    world.sandbox.auto = "ask"
    doors = [shared.door(shared.key) for _ in range(10)]
    carol = world.sandbox.wait_for_request("token-of-carol")
    wait_until(lambda: len(world.state.throttle.state("carol").pending) == 10, "not all ten wait")
    assert shared.login(shared.key).code in DENIED, "an eleventh"
    alices = shared.door(shared.alices)
    for door in doors:
        door.die()
    for door in doors:
        door.wait()
    world.sandbox.wait_for_end(carol)
    world.sandbox.approve(world.sandbox.wait_for_request("token-of-carol"))
    assert alices.finish().code == PamCode.SUCCESS


def test_one_person_with_several_shared_accounts_has_the_limit_of_one(shared: Shared) -> None:
    shared.approver("{user: carol}")
    shared.world.sandbox.auto = "deny"
    for host in range(6):
        for user in "daemon", "bin":
            shared.login(shared.key, user=user, ssh_connection=f"192.0.2.{host} 1 192.0.2.99 22")
    assert rung(shared.world) == ["token-of-carol"] * 10


# Nothing of the second person's lets anybody else in


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS"


def test_a_recovery_code_of_nobody_is_taken(asks: Setting) -> None:
    ask(asks, BOTH, prompt="always", recovery="{ask: unanswered}")
    asks.sandbox.auto = "deny"
    for name in (ME, "carol"):
        code = asks.state.recovery_codes.renew(name)[0]
        told = asks.login(answers=(code,))
        assert told.code == PamCode.ABORT
    assert told.asked == [
        "IAMPASS: press Enter to ask for the approval of carol, dave, one after the other; that takes at most "
        "60 seconds: "
    ]


def test_an_exempt_second_person_lets_nobody_in_and_an_exempt_user_passes(asks: Setting) -> None:
    asks.sandbox.auto = "deny"
    ask(asks, BOTH, exempt="{users: [carol, dave]}")
    assert asks.login().code == PamCode.ABORT
    ask(asks, BOTH, exempt=f"{{users: [{ME}]}}")
    assert asks.login().code == PamCode.IGNORE


def test_nobody_passes_for_lack_of_anybody_who_could_approve(world: Setting) -> None:
    ask(world, BOTH, unlisted_users="ignore")
    assert world.login().code == PamCode.ABORT
    ask(world, "{group: no-such-group}", unlisted_users="ignore")
    assert world.login().code == PamCode.ABORT
    assert record(world)["IAMPASS_OUTCOME"] == "misconfigured"
    assert world.calls == []


def test_in_the_account_phase_a_second_person_is_asked_in_silence(asks: Setting) -> None:
    asks.door_class = AccountDoor
    told = asks.login(service="test", ssh_auth_info="")
    assert (told.code, told.said) == (PamCode.SUCCESS, [])
    assert rung(asks) == ["token-of-carol"]


# Limits


def test_after_two_failures_who_asks_must_wait_and_others_need_not(asks: Setting) -> None:
    asks.sandbox.auto = "deny"
    for _ in range(2):
        asks.login()
    calls = asks.calls
    told = asks.login()
    assert told.errors[0].startswith("Too many requests: none was sent. Wait ")
    assert "recovery code" not in told.errors[0]
    assert asks.calls == calls
    other = "daemon"
    assert other in {entry.pw_name for entry in pwd.getpwall()}
    phones(asks, carol=True, dave=True, daemon=True)
    asks.sandbox.auto = "approve"
    assert asks.login(user=other).code == PamCode.SUCCESS
    assert rung(asks) == ["token-of-carol"] * 3, "carol's phone rings for others"


LIMITS = ThrottleSettings(30.0, 900.0, 30, 10, 3.0)


def test_one_who_asks_has_a_third_of_what_a_person_may_get_in_an_hour() -> None:
    state, now = ThrottleState(), 1000.0
    for place in range(10):
        login = Pending(f"origin {place}", str(place), now)
        found = throttle.asked_another(state, login, LIMITS, now)
        assert not isinstance(found, Refusal)
        state = throttle.another_decided(found, login, RequestResult.FAILED, LIMITS, now)
    assert isinstance(throttle.asked_another(state, Pending("o", "o", now), LIMITS, now), Refusal)
    again = throttle.asked_another(state, login, LIMITS, now)
    assert isinstance(again, ThrottleState), "the next person of the same login is not one more"
    assert len(again.requests) == 10
    assert state.next_turn == 0.0, "their own phone has no part in it"


def test_an_approval_does_not_count_for_who_asks(asks: Setting) -> None:
    for _ in range(3):
        assert asks.login().code == PamCode.SUCCESS
    state = asks.state.throttle.state(ME)
    assert (state.requests, state.failures, state.pending) == ({}, {}, ())


@pytest.mark.parametrize("lost", [ME, "carol"])
def test_an_approval_does_not_count_once_either_of_the_two_was_removed_or_has_lost_their_phone(
    asks: Setting, lost: str
) -> None:
    asks.sandbox.auto = "ask"
    door = asks.door()
    request = asks.sandbox.wait_for_request("token-of-carol")
    asks.state.phone_lost(lost)
    asks.sandbox.approve(request)
    assert door.finish().code == PamCode.ABORT
    assert record(asks)["IAMPASS_OUTCOME"] == "denied"
    assert "reported lost" in record(asks)["IAMPASS_REASON"]


def test_who_hangs_up_is_recorded_with_all_who_were_asked(asks: Setting) -> None:
    asks.sandbox.auto = "ask"
    door = asks.door()
    asks.sandbox.wait_for_request("token-of-carol")
    door.die()
    door.wait()
    assert record(asks)["IAMPASS_OUTCOME"] == "cancelled"
    assert record(asks)["IAMPASS_REASON"].endswith("; asked: carol")
    assert [each.count for each in asks.state.throttle.state(ME).failures.values()] == [1]
