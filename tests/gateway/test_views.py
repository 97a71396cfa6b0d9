"""Views: each role sees the rows and the fields that are declared, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from pam_iampass.fleet.act import Role
from pam_iampass.fleet.hosts import HOSTS
from pam_iampass.fleet.people import PEOPLE
from pam_iampass.fleet.records import RECORDS
from pam_iampass.fleet.sessions import SESSIONS
from pam_iampass.gateway.acts.views import (
    show_hosts,
    show_own,
    show_people,
    show_records,
    show_sessions,
)
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.records import Filter, Kind
from pam_iampass.gateway.base.statements import now
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person
from pam_iampass.gateway.requests import sessions
from pam_iampass.gateway.sign_in.actors import Actor
from tests.support.browser_of import rewrite
from tests.support.gateway import HOST, HostCaller, RunningGateway
from tests.support.sandbox import Sandbox

HERE = f"name-of-{HOST}"
NUMBER = "+15551234567"
OF_ALL = [Role.AUDITOR, Role.ADMIN, Role.ROOT]


def actor(*roles: Role, name: str = "alice", helps: tuple[str, ...] = ()) -> Actor:
    return Actor(name, frozenset(roles), "sign-in", helps=frozenset(helps))


class Views:
    """What an actor sees of a gateway."""

    def __init__(self, running: RunningGateway) -> None:
        self._running = running

    def people(self, by: Actor) -> list[dict[str, Any]]:
        found: Any = self._running.transaction(lambda g, c: show_people(g, c, by))
        return list(found[0])

    def hosts(self, by: Actor) -> list[dict[str, Any]]:
        found: Any = self._running.transaction(lambda g, c: show_hosts(g, c, by))
        return list(found[0])

    def sessions(self, by: Actor) -> list[dict[str, Any]]:
        found: Any = self._running.transaction(lambda g, c: show_sessions(g, c, by))
        return list(found)

    def records(self, by: Actor, person: str = "") -> list[dict[str, Any]]:
        found: Any = self._running.transaction(lambda g, c: show_records(g, c, by, Filter(person), 100))
        return list(found)


@pytest.fixture
def views(gateway_server: RunningGateway) -> Views:
    """alice, of staff, bob, of staff and oncall, and carol, of no group: all have the same phone number."""

    async def change(gateway: Gateway, connection: Connection) -> None:
        for name, groups in (("alice", ("staff",)), ("bob", ("staff", "oncall")), ("carol", ())):
            await people.change(gateway, connection, name, groups=groups, phone_number=NUMBER)

    gateway_server.transaction(change)
    return Views(gateway_server)


def names(rows: list[dict[str, Any]], field: str = "user") -> list[str]:
    return [row[field] for row in rows]


def test_people_see_themselves_auditors_all_and_helpdesk_who_has_only_groups_that_it_helps(
    views: Views,
) -> None:
    assert names(views.people(actor(Role.SELF))) == ["alice"]
    assert [names(views.people(actor(role))) for role in OF_ALL] == [["alice", "bob", "carol"]] * 3
    helpdesk = actor(Role.HELPDESK, name="zoe", helps=("staff", "guests"))
    assert names(views.people(helpdesk)) == ["alice"]
    assert views.people(actor(Role.HELPDESK, name="carol")) == []
    assert views.people(actor(name="carol")) == []


def test_of_whom_no_phone_was_seen_is_known_without_iampass(
    views: Views, gateway_server: RunningGateway, sandbox: Sandbox
) -> None:
    admin = actor(Role.ADMIN, name="zoe")

    def unseen(by: Actor) -> list[str]:
        found: Any = gateway_server.transaction(lambda g, c: show_people(g, c, by, phone_unseen=True))
        return names(found[0])

    def change(name: str, **values: Any) -> None:
        gateway_server.transaction(lambda g, c: people.change(g, c, name, **values))

    def record(name: str, **fields: str) -> None:
        kind = Kind.ACT if "what" in fields else Kind.DECISION
        gateway_server.transaction(lambda _, c: records.write(c, kind, host=HERE, person=name, **fields))

    asked = len(sandbox.calls)
    assert unseen(admin) == ["alice", "bob", "carol"]
    assert unseen(actor(Role.HELPDESK, name="zoe", helps=("staff",))) == ["alice"]
    change("alice", had_phone=True)
    record("bob", outcome="approved")
    record("carol", outcome="denied")
    assert unseen(admin) == ["carol"]
    lost_at = gateway_server.transaction(lambda _, c: now(c))
    for name in ("alice", "bob"):
        change(name, phone_lost_at=lost_at)
    assert unseen(admin) == ["alice", "bob", "carol"]
    for name in ("alice", "carol"):
        record(name, outcome="approved")
    assert unseen(admin) == ["bob"]
    record("carol", what="user_add")
    assert unseen(admin) == ["bob", "carol"], "who had the name before has approved it"
    assert len(sandbox.calls) == asked


def test_auditors_and_helpdesk_see_no_phone_numbers(views: Views) -> None:
    for role in (Role.AUDITOR, Role.HELPDESK):
        for row in views.people(actor(role, name="zoe", helps=("staff",))):
            assert list(row) == [name for name in PEOPLE.fields[Role.ADMIN] if name in PEOPLE.fields[role]]
            assert NUMBER not in str(row)
    own, *others = views.people(actor(Role.AUDITOR, Role.SELF))
    assert (own["phone_number"], NUMBER in str(others)) == (NUMBER, False)


def test_the_row_of_a_person_that_no_gateway_has_written_helps_nobody_to_see(
    views: Views, gateway_server: RunningGateway
) -> None:
    gateway_server.rows("UPDATE person SET groups = '{staff}' WHERE name = 'carol'")
    assert names(views.people(actor(Role.HELPDESK, name="zoe", helps=("staff",)))) == ["alice"]
    assert views.people(actor(Role.SELF, name="carol")) == []


def test_no_more_people_are_verified_than_have_rows_on_the_page(
    written: Views, gateway_server: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(20):
        gateway_server.add_person(f"n{n:02}", f"token-of-n{n}", ("staff",))
    verified, from_row = list[str](), people.from_row

    def noted(gateway: Gateway, row: dict[str, Any], **asked: str) -> Person:
        verified.append(row["name"])
        return from_row(gateway, row, **asked)

    monkeypatch.setattr(people, "from_row", noted)
    by = actor(Role.SELF, Role.HELPDESK, name="carol", helps=("staff",))
    found: Any = gateway_server.transaction(lambda g, c: show_people(g, c, by, after="carol", most=3))
    assert (names(found[0]), verified) == (["n00", "n01", "n02"], ["n00", "n01", "n02"])
    verified.clear()
    assert {row["person"] for row in written.records(by)} == {"alice"}
    assert set(verified) == {"alice", "carol"}, "and who looks"
    verified.clear()
    (own,) = gateway_server.transaction(lambda g, c: show_own(g, c, by))
    assert ([own["user"]], verified) == (["carol"], ["carol"])


def test_hosts_are_for_auditors_without_their_invites_and_for_admins(views: Views) -> None:
    by_self, by_helpdesk = actor(Role.SELF), actor(Role.HELPDESK, helps=("staff",))
    assert (views.hosts(by_self), views.hosts(by_helpdesk)) == ([], [])
    (audited,), (administered,) = (views.hosts(actor(role)) for role in (Role.AUDITOR, Role.ADMIN))
    assert (audited["name"], administered["name"]) == (HERE, HERE)
    assert tuple(audited) == HOSTS.fields[Role.AUDITOR]
    assert administered.keys() - audited.keys() == {"invite", "open_logins"}


def test_no_more_hosts_and_sessions_are_verified_than_are_asked_for(
    views: Views, gateway_server: RunningGateway, caller: HostCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway_server.add_host("h-bbbbbbbbbbbb")
    gateway_server.add_host("h-cccccccccccc")
    caller.ask("alice", service="sshd")
    caller.ask("bob", service="sshd")
    verified, from_row = list[str](), hosts.from_row

    def noted(gateway: Gateway, row: dict[str, Any], **asked: str) -> hosts.Host:
        verified.append(row["name"])
        return from_row(gateway, row, **asked)

    monkeypatch.setattr(hosts, "from_row", noted)
    by, second, third = actor(Role.ADMIN), "name-of-h-bbbbbbbbbbbb", "name-of-h-cccccccccccc"
    options: tuple[tuple[dict[str, Any], list[str]], ...] = (
        ({"after": HERE, "most": 1}, [second]),
        ({"name": third}, [third]),
        ({"name": "none"}, []),
    )
    for wanted, expected in options:
        verified.clear()
        found: Any = gateway_server.transaction(partial(show_hosts, actor=by, **wanted))
        assert (names(found[0], "name"), verified) == (expected, expected)

    def sessions_of(person: str = "", host: str = "") -> set[str]:
        shown: Any = gateway_server.transaction(partial(show_sessions, actor=by, person=person, host=host))
        return {*names(shown)}

    read, from_session = list[str](), sessions.from_row

    def noted_session(gateway: Gateway, row: dict[str, Any], **asked: Any) -> sessions.HostSession:
        read.append(row["person"])
        return from_session(gateway, row, **asked)

    monkeypatch.setattr(sessions, "from_row", noted_session)
    assert sessions_of(host=second) == set()
    assert "alice" not in read
    assert sessions_of(host=HERE) == {"alice", "bob"}
    assert sessions_of(host=HERE, person="bob") == {"bob"}


def test_sessions_are_of_the_person_who_is_asked_and_not_of_the_caller_whom_a_host_names(
    views: Views, caller: HostCaller, sandbox: Sandbox
) -> None:
    begun = caller.ask("alice", service="sshd", remote="192.0.2.7").authentication
    sandbox.approve("token-of-alice")
    assert caller.answer(begun) == "active"
    caller.ask("bob", service="sudo", caller="alice")
    (own,) = views.sessions(actor(Role.SELF))
    assert (own["user"], own["host"], own["service"], own["remote"]) == ("alice", HERE, "sshd", "192.0.2.7")
    assert own.keys() == {*SESSIONS.fields[Role.SELF]}
    assert names(views.sessions(actor(Role.SELF, name="bob"))) == ["bob"]
    assert names(views.sessions(actor(Role.HELPDESK, name="zoe", helps=("staff",)))) == ["alice"]
    first_asked = [[], *[["bob", "alice"]] * 2]
    assert [names(views.sessions(actor(role))) for role in OF_ALL] == first_asked, "requests come first"


@pytest.fixture
def written(views: Views, gateway_server: RunningGateway) -> Views:
    """Decisions about alice and bob, whose caller is the other one, as a host says; an act and an alert for each."""

    async def write(gateway: Gateway, connection: Connection) -> None:
        for name, other in (("alice", "bob"), ("bob", "alice")):
            fields = {"outcome": "approved", "caller": other, "asker": other, "wrong_code": "1"}
            fields["command"] = "sudo id (in /)"
            await records.write(connection, Kind.DECISION, host=HERE, person=name, **fields)
            await records.write(connection, Kind.ACT, person=name, what="bypass", caller="zoe", tty="pts/1")
            await records.write(connection, Kind.ALERT, person=name, reason="look", approver=other)
        await records.write(connection, Kind.ACT, host=HERE, what="host_admit", caller="alice")

    gateway_server.transaction(write)
    return views


def test_records_are_of_the_person_and_not_of_the_caller_whom_a_host_names(written: Views) -> None:
    own = written.records(actor(Role.SELF))
    assert [(row["person"], row["kind"], row["caller"]) for row in own] == [
        ("alice", "decision", "bob"),
        ("alice", "act", "zoe"),
    ]
    assert set().union(*own) <= {*RECORDS.fields[Role.SELF]}
    assert own[0]["command"] == "sudo id (in /)"
    assert written.records(actor(Role.SELF), "bob") == own[:1], "a filter shows no more"
    helped = written.records(actor(Role.HELPDESK, name="zoe", helps=("staff",)))
    assert [(row["person"], row["kind"]) for row in helped] == [
        ("alice", "decision"),
        ("alice", "act"),
        ("alice", "alert"),
    ]
    assert not any("command" in row for row in helped)
    for role in OF_ALL:
        everything = written.records(actor(role))
        assert [row["person"] for row in everything] == ["alice"] * 3 + ["bob"] * 3 + [""]
        assert everything[0]["command"] == "sudo id (in /)"
        assert ("wrong_code" in everything[0], everything[1]["tty"]) == (False, "pts/1")


def test_records_are_found_by_kind_of_act_actor_and_address(
    views: Views, gateway_server: RunningGateway
) -> None:
    async def write(gateway: Gateway, connection: Connection) -> None:
        for what, caller, remote in (("bypass", "dora", "192.0.2.1"), ("bypass", "zoe", "198.51.100.1")):
            await records.write(connection, Kind.ACT, person="bob", what=what, caller=caller, remote=remote)
        refused = {"what": "refused", "refused": "bypass", "caller": "dora", "remote": "192.0.2.9"}
        await records.write(connection, Kind.ACT, person="bob", **refused)
        login = {"outcome": "denied", "caller": "dora", "remote": "192.0.2.1"}
        await records.write(connection, Kind.DECISION, host=HERE, person="bob", **login)

    gateway_server.transaction(write)

    def found(**wanted: Any) -> list[str]:
        rows: Any = gateway_server.transaction(
            lambda g, c: show_records(g, c, actor(Role.AUDITOR), Filter(**wanted), 100)
        )
        return [f"{row['kind']} {row['caller']} {row['remote']}" for row in rows]

    bypasses = ["act dora 192.0.2.1", "act zoe 198.51.100.1", "act dora 192.0.2.9"]
    assert found(acts=["bypass"]) == bypasses, "with those that were refused"
    assert found(acts=["bypass"], actor="dora") == [bypasses[0], bypasses[2]]
    assert found(actor="dora") == [bypasses[0], bypasses[2]], "a login is no act"
    assert found(remote="192.0.2.") == [bypasses[0], bypasses[2], "decision dora 192.0.2.1"]
    (last, *_) = [row["id"] for row in gateway_server.rows("SELECT id FROM record ORDER BY id DESC")]
    assert found(before=last) == bypasses


@pytest.mark.parametrize("by", [actor(Role.SELF, name="nobody"), actor(Role.HELPDESK), actor()])
def test_who_sees_nobody_sees_no_record_and_no_session(written: Views, caller: HostCaller, by: Actor) -> None:
    caller.ask("alice")
    assert (written.records(by), written.sessions(by)) == ([], [])


def test_who_has_the_name_of_an_earlier_person_sees_nothing_of_them(
    written: Views, gateway_server: RunningGateway
) -> None:
    gateway_server.transaction(lambda _, c: records.act(c, "user_add", by={}, person="alice"))
    assert [row["what"] for row in written.records(actor(Role.SELF))] == ["user_add"]


def test_a_login_of_an_earlier_person_that_a_host_reports_late_is_not_shown_to_the_next_one(
    written: Views, gateway_server: RunningGateway
) -> None:
    async def write(_gateway: Gateway, connection: Connection) -> None:
        await records.act(connection, "user_add", by={}, person="alice")
        await connection.flush()
        for before, reason in ((timedelta(hours=1), "earlier"), (-timedelta(minutes=1), "later")):
            said = await now(connection) - before
            fields = {"reported": "exempt", "reason": reason}
            await records.write(connection, Kind.REPORT, said, host=HERE, person="alice", **fields)

    gateway_server.transaction(write)
    own = written.records(actor(Role.SELF))
    assert [row.get("reason", row.get("what")) for row in own] == ["user_add", "later"]


def test_what_people_do_not_see_takes_the_place_of_no_record_of_their_own(
    views: Views, gateway_server: RunningGateway
) -> None:
    async def write(gateway: Gateway, connection: Connection) -> Any:
        await records.act(connection, "bypass", by={}, person="alice")
        for number in range(3):
            await records.alert(connection, None, f"alert {number}", person="alice")
        return await show_records(gateway, connection, actor(Role.SELF), Filter(), 2)

    assert [row["what"] for row in gateway_server.transaction(write)] == ["bypass"]


def test_auditors_read_of_an_invite_that_there_is_one_and_not_which(
    views: Views, gateway_server: RunningGateway
) -> None:
    gateway_server.transaction(
        lambda _, c: records.act(c, "host_invite", by={}, reason="for one host", invite="i-1")
    )
    (audited,), (administered,) = (views.records(actor(role)) for role in (Role.AUDITOR, Role.ADMIN))
    assert administered == {**audited, "invite": "i-1"}
    assert "i-1" not in str(audited)


def describe(running: RunningGateway, name: str, **values: Any) -> None:
    running.transaction(lambda g, c: people.change(g, c, name, **values))


def test_people_are_found_by_a_part_of_their_name_display_name_or_group_and_by_nothing_that_is_hidden(
    views: Views, gateway_server: RunningGateway
) -> None:
    for name, display_name in (("alice", "Alice Ångström"), ("bob", "Robert"), ("carol", "Carol %_")):
        describe(gateway_server, name, display_name=display_name, groups=(f"group-{name}",))

    def found(by: Actor, search: str) -> list[str]:
        rows: Any = gateway_server.transaction(lambda g, c: show_people(g, c, by, search))
        return names(rows[0])

    admin, auditor = actor(Role.ADMIN, name="zoe"), actor(Role.AUDITOR, name="zoe")
    helpdesk = actor(Role.HELPDESK, name="zoe", helps=("group-alice",))
    for search, expected in {
        "LIC": ["alice"],
        "ångstRÖM".lower(): ["alice"],
        "robert": ["bob"],
        "Group-": ["alice", "bob", "carol"],
        "%": ["carol"],
        "_": ["carol"],
        "5551234567": [],
        "token": [],
    }.items():
        assert found(admin, search) == expected, search
    assert found(auditor, "robert") == [], "an auditor sees no display names"
    assert found(auditor, "p-bob") == ["bob"]
    assert found(helpdesk, "group-") == found(helpdesk, "ström") == ["alice"]
    assert found(helpdesk, "robert") == []
    assert found(actor(Role.SELF), "bob") == found(actor(Role.SELF), "carol") == []


def test_logins_are_found_by_their_host_or_person_with_those_that_cover_them(
    views: Views, gateway_server: RunningGateway, caller: HostCaller
) -> None:
    for name in ("alice", "bob"):
        caller.ask(name)
        describe(gateway_server, name, display_name=f"{name} Smith")

    def found(by: Actor, search: str) -> list[str]:
        rows: Any = gateway_server.transaction(lambda g, c: show_sessions(g, c, by, search=search))
        return sorted(names(rows))

    admin = actor(Role.ADMIN, name="zoe")
    helpdesk = actor(Role.HELPDESK, name="zoe", helps=("staff",))
    assert found(admin, HERE[2:].upper()) == ["alice", "bob"]
    assert found(admin, "ALIC") == found(admin, "ice smi") == ["alice"]
    assert found(admin, "oncall") == ["bob"]
    assert found(helpdesk, "smith") == found(helpdesk, HERE) == ["alice"]
    assert found(helpdesk, "bob") == found(admin, "nobody") == []
    assert found(actor(Role.SELF, name="bob"), "alice") == []
    (bastion,) = gateway_server.rows("SELECT id FROM session WHERE person = 'alice'")
    rewrite(gateway_server, "session", "person", "bob", parent=bastion["id"], host_name="inner")
    assert found(admin, "inner") == ["alice", "bob"]
