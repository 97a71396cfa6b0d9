"""Accounts that act for a person, at a gateway: whose phone approves, where, and what they cannot cost that person."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import pytest

from pam_iampass.errors import EditRefused
from pam_iampass.gateway.acts.act import perform
from pam_iampass.gateway.acts.requests import DeclineSession, DisownSession
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.settings import GatewaySettings, GroupSettings
from pam_iampass.gateway.base.statements import now
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import Host, HostStatus
from pam_iampass.gateway.people import agents, people
from pam_iampass.gateway.people.people import PersonStatus
from pam_iampass.gateway.requests import asking, turns
from pam_iampass.gateway.requests.sessions import State
from pam_iampass.gateway.sign_in.actors import ActRefused
from pam_iampass.login.throttle import AFTER_OWN, MOST_PENDING
from tests.gateway.test_acts import ROOT
from tests.gateway.test_acts_socket import folder, with_portal
from tests.gateway.test_bypasses import bypass
from tests.gateway.test_codes import answer as redeem
from tests.gateway.test_codes import left, new_codes
from tests.gateway.test_eligibility import told as told_beforehand
from tests.gateway.test_rings import until as until_asked
from tests.gateway.test_turns import OTHER, ask, at, in_line, ringing, told_of_another, until
from tests.support.acts_socket import RunningActs, signed_in
from tests.support.gateway import HOST, HostCaller, RunningGateway, new_request_id, settings_for
from tests.support.gateway_command import GatewayCommand
from tests.support.sandbox import Hang, Held, Sandbox

__all__ = ["folder"]
GROUPS = {
    "servers": GroupSettings(people=frozenset({"web"})),
    "others": GroupSettings(people=frozenset({"db"})),
}
ALICES = "token-of-alice"


@pytest.fixture
def settings(conninfo: str, sandbox: Sandbox, tmp_path: Path) -> GatewaySettings:
    return settings_for(conninfo, sandbox, tmp_path, groups=GROUPS)


def started(settings: GatewaySettings) -> RunningGateway:
    return RunningGateway(settings)


def populate(running: RunningGateway) -> None:
    """alice may log in to all hosts; claude and robot, which act for her, to those of one group."""
    running.populate()
    running.add_host(OTHER)
    for name in ("alice", "bob"):
        change(running, name, groups=("web", "db"))
    for name in ("claude", "robot"):
        add(running, name)


@pytest.fixture
def running(settings: GatewaySettings) -> Iterator[RunningGateway]:
    with started(settings) as running:
        populate(running)
        yield running


def change(running: RunningGateway, name: str, **values: Any) -> None:
    running.transaction(lambda g, c: people.change(g, c, name, **values))


def add(
    running: RunningGateway, name: str, person: str = "alice", groups: tuple[str, ...] = ("web",)
) -> None:
    running.transaction(lambda g, c: agents.add(g, c, name, person, groups))


def let(running: RunningGateway, **limits: Any) -> None:
    """Change limits."""
    gateway = running.gateway
    gateway.settings = replace(gateway.settings, limits=replace(gateway.settings.limits, **limits))


def state(running: RunningGateway) -> Any:
    """The turns of alice."""
    return running.transaction(lambda _, connection: turns.locked(connection, "alice")).state


def rest_after_own(running: RunningGateway) -> None:
    """As if the time after the last request of alice's own were over."""
    running.rows("UPDATE turn SET state = jsonb_set(state, '{agents_from}', '0')")


def decided(running: RunningGateway, sandbox: Sandbox, begun: Any, *, approves: bool = True) -> str:
    """What a host is told of a request once alice has answered."""
    (sandbox.approve if approves else sandbox.deny)(sandbox.wait_for_request(ALICES))
    return HostCaller(running).answer(begun)


# Who approves, and where


def test_the_owners_phone_approves_and_the_record_has_both(running: RunningGateway, sandbox: Sandbox) -> None:
    begun = ask(running, HOST, "claude", remote="192.0.2.7")
    assert decided(running, sandbox, begun) == "active"
    session = running.session(begun)
    assert (session.person, session.agent, session.asker) == ("alice", "claude", "claude")
    record = running.records[-1]
    assert (record["outcome"], record["person"], record["agent"]) == ("approved", "alice", "claude")


def test_a_repeat_finds_the_same_session(running: RunningGateway, sandbox: Sandbox) -> None:
    once = new_request_id()
    caller = HostCaller(running)
    begun, again = (caller.ask("claude", once).authentication for _ in range(2))
    assert begun["session_token"] == again["session_token"]
    other = caller.ask("alice", once).authentication
    assert other["reason"] == "REQUEST_ID_REUSED"
    assert len(sandbox.sessions) == 1


Change = Callable[[RunningGateway], Any]


def no_web(running: RunningGateway) -> None:
    change(running, "alice", groups=("db",))


def removed_owner(running: RunningGateway) -> None:
    running.transaction(lambda g, c: people.remove(g, c, "alice"))


def another_owner(running: RunningGateway) -> None:
    removed_owner(running)
    running.add_person("alice", "token-of-another", ("web",))


def leaving_owner(running: RunningGateway) -> None:
    change(running, "alice", status=PersonStatus.LEAVING)


def removed_account(running: RunningGateway) -> None:
    running.transaction(lambda g, c: agents.remove(g, c, "claude"))


def other_group(running: RunningGateway) -> None:
    removed_account(running)
    add(running, "claude", groups=("db",))


def lost_phone(running: RunningGateway) -> None:
    change(running, "alice", phone_to_disable=True)


def tampered(column: str, value: str) -> Change:
    return lambda running: running.rows(f"UPDATE agent SET {column} = {value} WHERE name = 'claude'")


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (no_web, "NOT_ON_THIS_HOST"),
        (removed_owner, "NOT_ON_THIS_HOST"),
        (another_owner, "NOT_ON_THIS_HOST"),
        (leaving_owner, "NOT_ON_THIS_HOST"),
        (removed_account, "NOT_ON_THIS_HOST"),
        (other_group, "NOT_ON_THIS_HOST"),
        (lost_phone, "PHONE_LOST"),
        (tampered("person", "'bob'"), "NOT_ON_THIS_HOST"),
        (tampered("groups", "'{web,db}'"), "NOT_ON_THIS_HOST"),
        (tampered("owner", "''"), "NOT_ON_THIS_HOST"),
    ],
)
def test_an_account_is_denied_if_it_or_its_owner_may_not_log_in_there(
    running: RunningGateway, sandbox: Sandbox, happens: Change, reason: str
) -> None:
    happens(running)
    assert ask(running, HOST, "claude")["reason"] == reason
    assert not sandbox.sessions


def test_an_account_is_denied_while_the_database_is_an_old_copy(
    running: RunningGateway, sandbox: Sandbox
) -> None:
    running.gateway.restored = True
    assert HostCaller(running).ask("claude").status != 200 or ask(running, HOST, "claude")["reason"]
    assert not sandbox.sessions


@pytest.mark.parametrize("happens", [other_group, no_web, removed_owner, another_owner, removed_account])
def test_what_changes_while_it_waits_counts_once_its_turn_has_come(
    running: RunningGateway, sandbox: Sandbox, happens: Change
) -> None:
    own = ask(running, HOST)
    waits = ask(running, HOST, "claude")
    assert waits["queued"] is True
    happens(running)
    HostCaller(running).end(own)
    rest_after_own(running)
    until(lambda: in_line(running) == 0)
    assert HostCaller(running).state(waits)["session_status"] == "failed"
    assert len(sandbox.sessions) == 1


@pytest.mark.parametrize("happens", [other_group, removed_account, another_owner])
def test_what_changes_while_iampass_is_called_counts(
    running: RunningGateway, sandbox: Sandbox, happens: Change
) -> None:
    sandbox.misbehave("start", held := Held())
    with ThreadPoolExecutor(1) as pool:
        begun = pool.submit(ask, running, HOST, "claude")
        until(lambda: sandbox.sessions)
        happens(running)
        held.until.set()
        assert begun.result()["authenticated"] is False
    until(lambda: ringing(sandbox) == 0)


def test_the_phone_approves_nothing_for_an_account_that_was_removed_meanwhile(
    running: RunningGateway, sandbox: Sandbox
) -> None:
    begun = ask(running, HOST, "claude")
    removed_account(running)
    assert decided(running, sandbox, begun) == "closed"


def test_a_host_does_not_say_who_acts_for_whom(running: RunningGateway, sandbox: Sandbox) -> None:
    caller = HostCaller(running)
    assert caller.ask("bob", agent="claude").status == 400
    assert caller.ask("nobody", asker="claude").authentication["reason"] == "NOT_ON_THIS_HOST"
    begun = ask(running, HOST, "alice", caller="claude")
    assert running.session(begun).agent == ""


def test_neither_is_an_account_a_second_person_nor_its_owner_one_for_it(
    running: RunningGateway, sandbox: Sandbox
) -> None:
    for person, asker in (("claude", "bob"), ("robot", "claude"), ("claude", "alice"), ("alice", "claude")):
        assert ask(running, HOST, person, asker=asker)["reason"] == "NOT_ON_THIS_HOST"
    assert not sandbox.sessions
    begun = ask(running, HOST, "bob", asker="claude")
    assert (running.session(begun).person, running.session(begun).agent) == ("bob", "")


@pytest.mark.parametrize(
    ("happens", "told"),
    [
        (lambda _: None, {"may": True, "phone": True}),
        *(
            (each, {"may": False})
            for each in (no_web, removed_owner, another_owner, leaving_owner, other_group)
        ),
        (tampered("groups", "'{web,db}'"), {"may": False}),
        (tampered("person", "'bob'"), {"may": False}),
    ],
)
def test_setup_on_a_host_hears_whether_an_account_may_log_in_there(
    running: RunningGateway, happens: Change, told: Any
) -> None:
    happens(running)
    assert told_beforehand(HostCaller(running), "claude", "x") == {"claude": told, "x": {"may": False}}


# What does not count for an account


def test_neither_bypass_nor_codes_nor_news_of_the_owner_are_for_the_account(
    running: RunningGateway, sandbox: Sandbox
) -> None:
    bypass(running)
    (code, *_) = new_codes(running)
    assert redeem(HostCaller(running), "claude", code) == "WRONG_CODE"
    assert left(running) == 10
    running.rows(
        "INSERT INTO record (kind, person, fields) VALUES ('act', 'alice', '{\"what\": \"passkey_add\"}')"
    )
    begun = ask(running, HOST, "claude")
    assert running.session(begun).state is State.OPEN
    assert decided(running, sandbox, begun) == "active"
    assert "news" not in HostCaller(running).state(begun)


def test_an_approval_for_the_account_makes_no_host_familiar(
    running: RunningGateway, sandbox: Sandbox
) -> None:
    let(running, host_requests_per_hour=1)
    assert decided(running, sandbox, ask(running, HOST, "claude")) == "active"
    HostCaller(running).end(ask(running, HOST, "bob"))
    assert ask(running, HOST)["reason"] == "HOST_THROTTLED"


# What it has become in its own login session


def test_an_account_that_has_become_its_owner_is_still_the_account(
    running: RunningGateway, sandbox: Sandbox
) -> None:
    bypass(running)
    (code, *_) = new_codes(running)
    assert redeem(HostCaller(running), "alice", code, session_user="claude") == "WRONG_CODE"
    assert left(running) == 10
    begun = ask(running, HOST, "alice", service="sudo", caller="alice", session_user="claude")
    session = running.session(begun)
    assert (session.person, session.agent) == ("alice", "claude")
    assert len(state(running).of_agents) == 1
    assert decided(running, sandbox, begun) == "active"
    record = running.records[-1]
    said = {"person": "alice", "agent": "claude", "caller": "alice", "session_user": "claude"}
    assert said.items() <= record.items()
    other_group(running)
    assert ask(running, HOST, "alice", session_user="claude")["reason"] == "NOT_ON_THIS_HOST"


def test_the_account_of_a_login_session_spares_nobody(running: RunningGateway, sandbox: Sandbox) -> None:
    for person, asker in (("nobody", ""), ("alice", "bob"), ("alice", "alice")):
        told = ask(running, HOST, person, session_user="claude", **({"asker": asker} if asker else {}))
        assert told["reason"] == "NOT_ON_THIS_HOST"
    assert not sandbox.sessions
    begun = ask(running, HOST, "bob", session_user="claude")
    assert (running.session(begun).person, running.session(begun).agent) == ("bob", "")
    bypass(running)
    for account in ("bob", "unknown", "x" * 200):
        assert ask(running, HOST, "alice", session_user=account)["reason"] == "BYPASSED"
    begun = ask(running, HOST, "claude", session_user="robot")
    assert running.session(begun).agent == "claude"


# What it cannot cost the owner


def test_all_accounts_of_an_owner_share_one_budget_on_all_hosts_outside_of_hers(
    running: RunningGateway, sandbox: Sandbox
) -> None:
    let(running, agents_requests_per_hour=3, requests_per_hour=3)
    for host, name in ((HOST, "claude"), (OTHER, "claude"), (OTHER, "robot")):
        assert decided(running, sandbox, ask(running, host, name), approves=False) == "cancelled"
    for host, name in ((HOST, "claude"), (OTHER, "robot")):
        assert ask(running, host, name)["reason"] == "HOST_THROTTLED"
    alerts = [record["reason"] for record in running.records if record["kind"] == "alert"]
    assert (
        "logins of accounts that act for alice are refused: too many were not approved within an hour"
        in alerts
    )
    assert not any("password" in alert for alert in alerts)
    found = state(running)
    assert (len(found.of_agents), len(found.requests)) == (3, 0)
    assert decided(running, sandbox, ask(running, HOST)) == "active"


def test_what_one_host_does_with_the_name_of_an_account_does_not_keep_it_from_others(
    running: RunningGateway, sandbox: Sandbox
) -> None:
    let(running, agents_requests_per_hour=3)

    def given_up(name: str) -> Any:
        begun = ask(running, OTHER, name)
        if "reason" not in begun:
            HostCaller(running).end(at(running, begun))
        return begun

    assert decided(running, sandbox, ask(running, HOST, "claude")) == "active"
    assert [given_up("claude").get("reason") for _ in range(3)] == [None, None, "HOST_THROTTLED"]
    assert given_up("robot")["reason"] == "HOST_THROTTLED"
    let(running, cool_off=300.0)
    assert decided(running, sandbox, ask(running, HOST, "claude"), approves=False) == "cancelled"
    alerts = [record["reason"] for record in running.records if record["kind"] == "alert"]
    assert f"requests of name-of-{OTHER} for accounts that act for people here are not approved" in alerts


def test_owners_who_deny_what_accounts_ask_for_do_not_slow_their_host_down(
    running: RunningGateway, sandbox: Sandbox
) -> None:
    sandbox.add_user("token-of-dave")
    running.add_person("dave", "token-of-dave", ("web",))
    for owner in ("bob", "dave"):
        add(running, f"{owner}s", owner)
    for owner, name in (("alice", "claude"), ("bob", "bobs"), ("dave", "daves")):
        begun = ask(running, HOST, name)
        sandbox.deny(sandbox.wait_for_request(f"token-of-{owner}"))
        assert HostCaller(running).answer(begun) == "cancelled"
    for owner in ("bob", "dave"):
        begun = ask(running, HOST, owner)
        sandbox.deny(sandbox.wait_for_request(f"token-of-{owner}"))
        assert HostCaller(running).answer(begun) == "cancelled"
    assert not [record for record in running.records if record["kind"] == "alert"]
    assert running.rows("SELECT 1 FROM host WHERE slowed_until IS NOT NULL") == []


def test_what_an_account_is_denied_is_its_own_backoff_on_all_hosts(
    running: RunningGateway, sandbox: Sandbox
) -> None:
    let(running, cool_off=300.0)
    for host in (HOST, OTHER):
        assert decided(running, sandbox, ask(running, host, "claude"), approves=False) == "cancelled"
    for host in (HOST, OTHER):
        told = ask(running, host, "claude", remote="192.0.2.1")
        assert (told["reason"], told["refusal"]["retry_after"] > 100) == ("HOST_THROTTLED", True)
    for name in ("robot", "alice"):
        assert decided(running, sandbox, ask(running, HOST, name)) == "active"


def test_a_login_of_the_owner_withdraws_the_request_of_the_account(
    running: RunningGateway, sandbox: Sandbox
) -> None:
    let(running, cool_off=300.0, host_requests_per_hour=3)
    for _ in range(3):  # it is held neither against the account nor against the host
        begun = ask(running, HOST, "claude")
        own = ask(running, OTHER)
        assert own["queued"] is True
        told = until(lambda begun=begun: "reason" in (got := HostCaller(running).state(begun)) and got)
        assert (told["session_status"], told["reason"]) == ("closed", "OWNER_FIRST")
        assert told["refusal"]["outcome"] == "throttled"
        assert decided(running, sandbox, own) == "active"
        rest_after_own(running)
    assert len(sandbox.sessions) == 6
    found = state(running)
    assert (len(found.of_agents), found.failures) == (3, {})
    assert not [record for record in running.records if record["kind"] == "alert"]
    assert "logout_url" in ask(running, HOST, "bob")


@pytest.mark.parametrize("comes", ["while IAMPASS is called", "afterwards"])
def test_the_owner_does_not_wait_for_a_request_of_the_account_that_iampass_has_not_answered(
    running: RunningGateway, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, comes: str
) -> None:
    monkeypatch.setattr(asking, "_START_SECONDS", 3.0)
    sandbox.misbehave("start", Hang())
    with ThreadPoolExecutor(1) as pool:
        agents_own = pool.submit(ask, running, HOST, "claude", timeout="300")
        sandbox.wait_for_calls("start")
        if comes == "afterwards":
            agents_own.result()
            assert state(running).turn_holder() is not None
        own = ask(running, OTHER)
        assert agents_own.result()["reason"] == "IAMPASS_AWAY"
        until(lambda: running.session(own).state is State.OPEN)
        sandbox.approve(sandbox.sessions[-1])
        assert HostCaller(running).answer(own) == "active"
    assert ask(running, HOST, "robot")["queued"] is True


def test_a_request_of_the_account_that_iampass_has_not_answered_holds_the_turns_of_accounts(
    running: RunningGateway, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_START_SECONDS", 3.0)
    sandbox.misbehave("start", Hang())
    assert ask(running, HOST, "claude", timeout="60")["reason"] == "IAMPASS_AWAY"
    assert ask(running, OTHER, "claude")["queued"] is True


def test_a_login_of_the_owner_does_not_wait_for_those_of_accounts_that_wait(
    running: RunningGateway, sandbox: Sandbox
) -> None:
    places = MOST_PENDING // 3  # of one host
    let(running, logins_at_once=places)
    first = ask(running, HOST)
    for _ in range(places - 1):
        assert ask(running, HOST, "claude")["queued"] is True
    assert ask(running, HOST, "robot")["queued"] is True
    for name in ("claude", "robot"):
        assert ask(running, HOST, name)["reason"] == "AT_CAPACITY"
    second = ask(running, HOST)
    assert decided(running, sandbox, first) == "active"
    assert decided(running, sandbox, second) == "active"
    assert in_line(running) == places


def test_none_begins_right_after_a_request_of_the_owner(running: RunningGateway, sandbox: Sandbox) -> None:
    assert decided(running, sandbox, ask(running, HOST)) == "active"
    begun = ask(running, HOST, "claude")
    assert begun["queued"] is True
    found = state(running)
    assert 0 < found.agents_from - min(login.since for login in found.pending) <= AFTER_OWN
    rest_after_own(running)
    assert decided(running, sandbox, begun) == "active"


def test_what_an_account_gives_up_counts_for_the_account_alone(
    running: RunningGateway, sandbox: Sandbox
) -> None:
    ask(running, HOST)
    begun = ask(running, HOST, "claude")
    assert HostCaller(running).end(told_of_another(begun)) is True
    until(lambda: in_line(running) == 0)
    found = state(running)
    assert (len(found.of_agents), len(found.requests)) == (1, 1)


def test_the_owner_is_not_told_that_somebody_has_her_password(
    running: RunningGateway, sandbox: Sandbox
) -> None:
    for _ in range(6):
        assert decided(running, sandbox, ask(running, HOST, "claude"), approves=False) == "cancelled"
    assert not [record for record in running.records if "password" in record.get("reason", "")]


def test_logins_of_owner_and_accounts_at_one_moment_wait_for_each_other(
    settings: GatewaySettings, sandbox: Sandbox
) -> None:
    """Their locks are taken in one order at all gateways: no start fails."""
    with started(settings) as one, started(settings) as two, ThreadPoolExecutor(12) as pool:
        populate(one)
        names = ("alice", "claude", "robot", "bob")

        def go(each: int) -> Any:
            return ask((one, two)[each % 2], (HOST, OTHER)[each // 2 % 2], names[each % 4])

        told = list(pool.map(go, range(24)))
        assert {each.get("reason") for each in told} <= {None, "AT_CAPACITY"}
        assert ringing(sandbox) <= 2
        for each in told:
            if "logout_url" in each:
                HostCaller(one).end(at(one, each))


# The row


@pytest.mark.parametrize(
    ("name", "person", "what"),
    [
        ("bob", "alice", "bob is a person here"),
        ("alice", "alice", "alice is a person here"),
        ("claude", "alice", "claude is there already"),
        ("new", "claude", "claude itself acts for a person"),
        ("new", "nobody", "nobody is not known here"),
    ],
)
def test_an_account_acts_for_a_known_person_and_has_a_name_of_its_own(
    running: RunningGateway, name: str, person: str, what: str
) -> None:
    with pytest.raises(EditRefused) as refused:
        add(running, name, person)
    assert str(refused.value).replace('"', "") == what


def test_no_person_has_the_name_of_an_account(running: RunningGateway) -> None:
    with pytest.raises(EditRefused, match="no person"):
        running.add_person("claude", "token-of-claude")


def test_a_row_that_was_deleted_is_missed(running: RunningGateway) -> None:
    assert not running.transaction(people.names).are_missing
    running.rows("DELETE FROM agent WHERE name = 'claude'")
    assert running.transaction(people.names).are_missing


def test_an_old_row_that_was_put_back_beside_a_person_of_that_name_is_noticed(
    running: RunningGateway,
) -> None:
    running.rows("CREATE TABLE old AS SELECT * FROM agent WHERE name = 'claude'")
    removed_account(running)
    running.add_person("claude", "token-of-claude", ("web",))
    assert not running.transaction(people.names).are_missing
    running.rows("INSERT INTO agent SELECT * FROM old")
    assert running.transaction(people.names).are_missing


def test_a_row_that_was_added_and_removed_is_not_missed(running: RunningGateway) -> None:
    removed_account(running)
    assert not running.transaction(people.names).are_missing
    assert running.transaction(people.names).found == {"alice", "bob", "carol", "robot"}


# What the owner sees, and what she can do


@pytest.fixture
def acts(running: RunningGateway, folder: Path) -> Iterator[RunningActs]:
    with RunningActs(with_portal(running), folder) as acts:
        yield acts


def test_the_owner_sees_whose_request_it_is(acts: RunningActs, running: RunningGateway) -> None:
    begun = HostCaller(running).ask("claude", command="sudo id (in /)", service="sudo").authentication
    row = until_asked(signed_in(acts, "alice"), "asked")
    assert (row["user"], row["agent"], row["command"]) == ("claude", "claude", "sudo id (in /)")
    HostCaller(running).end(begun)


@pytest.mark.parametrize("let_in", [True, False])
def test_what_the_owner_ends_is_held_against_the_account_and_is_an_alert(
    running: RunningGateway, sandbox: Sandbox, let_in: bool
) -> None:
    let(running, cool_off=300.0)
    for _ in range(2):
        begun = ask(running, HOST, "claude")
        id = str(running.session(begun).id)
        if let_in:
            assert decided(running, sandbox, begun) == "active"
        with pytest.raises(ActRefused, match="a login of claude"):
            running.run(perform(running.gateway, ROOT, DisownSession("alice", id)))
        running.run(perform(running.gateway, ROOT, DeclineSession("alice", id)))
        until(
            lambda begun=begun: HostCaller(running).state(begun)["session_status"]
            not in ("pending", "active")
        )
    (found,) = state(running).failures.values()
    assert found.count == (1 if let_in else 2), "an approval ends a series"
    assert decided(running, sandbox, ask(running, HOST)) == "active"
    alert = next(record for record in running.records if record["kind"] == "alert")
    assert alert["reason"] == "alice did not approve a login of claude, which acts for them"


# The verbs


@pytest.fixture
def place(gateway_command: GatewayCommand) -> GatewayCommand:
    for name in ("alice", "bob"):
        assert gateway_command.said("user", "add", name, "--group", "staff")
    gateway_command.said("user", "add", "claude", "--acts-for", "alice", "--group", "staff")
    return gateway_command


def test_an_account_is_added_shown_and_removed(place: GatewayCommand) -> None:
    assert "claude staff acts for alice can log in" in " ".join(place.said("user", "list").split())
    assert place.told("user", "list")["users"][-1]["acts_for"] == "alice"
    assert place.told("user", "show", "claude")["groups"] == ["staff"]
    assert "acts for" in place.said("user", "show", "claude")
    for verb in (
        ("user", "add", "claude"),
        ("enroll", "claude", "--no-wait"),
        ("bypass", "claude", "--for", "1h"),
    ):
        assert place.run(*verb)[0] != 0
    assert place.names == ["alice", "bob"]
    shown = " ".join(place.said("throttle", "show", "claude", status=1).split())
    assert '"claude" is no person, but an account that acts for "alice"' in shown
    refused = " ".join(place.said("bypass", "claude", "--for", "1h", status=1).split())
    assert "claude acts for alice: a gateway has no bypass for such an account" in refused
    assert "on a host, as root: pam-iampass bypass claude" in refused
    asked = place.typed("user", "remove", "claude")
    asked.expect_exact('Remove "claude" from all hosts?')
    asked.sendline("n")
    assert asked.finish() != 0
    place.said("user", "remove", "claude", "--yes")
    assert "claude" not in place.said("user", "list")
    assert [what for what, _, _ in place.records if "agent" in what] == ["agent_add", "agent_remove"]


@pytest.mark.parametrize("more", [("--replace",), ("--phone", "+15551234567"), ("--display-name", "C")])
def test_an_account_has_nothing_of_a_person(place: GatewayCommand, more: tuple[str, ...]) -> None:
    assert "--acts-for allows only" in place.said(
        "user", "add", "robot", "--acts-for", "alice", *more, status=2
    )


def test_removing_the_owner_names_the_accounts(place: GatewayCommand) -> None:
    shown = " ".join(place.said("user", "remove", "alice", "--yes").split())
    assert "claude acts for alice: all logins are denied from now on." in shown
    assert "pam-iampass-gateway user remove claude" in shown
    assert "claude staff acts for alice the owner cannot log in" in " ".join(
        place.said("user", "list").split()
    )
    place.said("user", "add", "alice", "--group", "staff")
    assert "the owner cannot log in" in " ".join(place.said("user", "list").split()), "that is another alice"


def test_an_access_review_has_accounts_that_act(place: GatewayCommand) -> None:
    def row() -> Any:
        return place.told("user", "may", "--all")["users"][-1]

    place.transaction(a_host)
    assert (row()["user"], [each["may"] for each in row()["hosts"]]) == ("claude", [True])
    assert place.said("user", "may", "claude", "web1").startswith("yes")
    place.said("user", "add", "alice", "--no-groups", "--replace")
    assert row()["hosts"] == []
    assert "alice has no groups" in place.said("user", "may", "claude", "web1", status=1)


async def a_host(gateway: Gateway, connection: Connection) -> None:
    host = Host("h-1", "web1", "servers", "s", None, HostStatus.ACTIVE, await now(connection), "i-test")
    await hosts.add(gateway, connection, host)
