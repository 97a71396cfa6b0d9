"""The views of the portal's pages: where a person may log in, their phone, logins by hour, and what needs attention."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pam_iampass.fleet.act import Role
from pam_iampass.gateway.acts import page_views
from pam_iampass.gateway.acts.act import perform
from pam_iampass.gateway.acts.page_views import (
    show_attention,
    show_bypasses,
    show_hours,
    show_may,
    show_phone,
)
from pam_iampass.gateway.acts.phones import ReportLostPhone
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import KeyFile
from pam_iampass.gateway.base.records import Filter, Kind
from pam_iampass.gateway.base.settings import GroupSettings
from pam_iampass.gateway.base.statements import now
from pam_iampass.gateway.hosts.hosts import HostStatus
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import PersonStatus
from pam_iampass.gateway.requests import bypasses
from pam_iampass.gateway.sign_in import sign_ins
from pam_iampass.gateway.sign_in.actors import Actor
from pam_iampass.portal.gateway import GatewayError
from tests.gateway.test_acts import ROOT
from tests.gateway.test_acts_socket import OPERATORS, folder, with_portal
from tests.gateway.test_views import actor, names
from tests.support.acts_socket import RunningActs, signed_in
from tests.support.gateway import HOST, RunningGateway
from tests.support.sandbox import HttpStatus, Sandbox

__all__ = ["folder"]
HERE = f"name-of-{HOST}"
DESK = actor(Role.HELPDESK, name="zoe", helps=("staff",))
GROUPS = {
    "servers": GroupSettings(everybody=True),
    "bastions": GroupSettings(codes=False, people=frozenset({"staff", "oncall"})),
    "nobody": GroupSettings(),
}


class Views:
    """What an actor sees of a gateway."""

    def __init__(self, running: RunningGateway) -> None:
        self._running = running

    def may(self, by: Actor, name: str) -> list[dict[str, Any]]:
        found: Any = self._running.transaction(lambda g, c: show_may(g, c, by, name))
        return list(found)

    def phone(self, by: Actor, name: str) -> list[dict[str, Any]]:
        found: Any = self._running.run(show_phone(self._running.gateway, by, name))
        return list(found)

    def logins(self, by: Actor, wanted: Filter = Filter()) -> list[dict[str, int]]:  # noqa: B008
        found = self._running.transaction(lambda g, c: show_hours(g, c, by, wanted))
        return [row["logins"] for row in found]

    def attention(self, by: Actor) -> list[dict[str, Any]]:
        found: Any = self._running.transaction(lambda g, c: show_attention(g, c, by))
        return list(found)


@pytest.fixture
def views(gateway_server: RunningGateway) -> Views:
    """alice, of staff, bob, of staff and oncall, and carol, of no group."""

    async def change(gateway: Gateway, connection: Connection) -> None:
        for name, groups in (("alice", ("staff",)), ("bob", ("staff", "oncall")), ("carol", ())):
            await people.change(gateway, connection, name, groups=groups)

    gateway_server.transaction(change)
    settings = gateway_server.gateway.settings
    gateway_server.gateway.settings = dataclasses.replace(settings, groups=GROUPS, operators=OPERATORS)
    return Views(gateway_server)


# Where a person may log in


def test_it_is_told_where_a_person_may_log_in_and_why_not(
    views: Views, gateway_server: RunningGateway
) -> None:
    admin = actor(Role.ADMIN)
    assert views.may(admin, "carol") == [
        {"group": "bastions", "may": False, "why": ["it admits the groups oncall, staff"], "codes": False},
        {"group": "nobody", "may": False, "why": ["it admits nobody"], "codes": True},
        {"group": "servers", "may": True, "why": [], "codes": True},
    ]
    assert [row["may"] for row in views.may(DESK, "alice")] == [True, False, True]
    gateway_server.transaction(
        lambda g, c: people.change(g, c, "alice", status=PersonStatus.LEAVING),
    )
    assert {why for row in views.may(DESK, "alice") for why in row["why"]} == {
        "the person has left the directory",
        "it admits nobody",
    }


def test_a_person_is_told_only_where_they_may_log_in_and_nothing_of_others(views: Views) -> None:
    own = actor(Role.SELF, name="carol")
    assert views.may(own, "carol") == [{"group": "servers", "may": True, "why": [], "codes": True}]
    assert views.may(own, "alice") == views.may(own, "nobody") == []
    assert views.may(DESK, "bob") == views.may(DESK, "carol") == []


# The phone


def test_it_is_told_whether_a_person_has_a_phone_to_who_sees_the_person(
    views: Views, sandbox: Sandbox, gateway_server: RunningGateway
) -> None:
    assert views.phone(actor(Role.SELF), "alice") == [
        {"user": "alice", "phone": "registered", "lost_at": None}
    ]
    assert views.phone(actor(Role.ADMIN), "carol")[0]["phone"] == "none"
    asked = len(sandbox.calls)
    for by, name in ((actor(Role.SELF), "bob"), (DESK, "carol"), (actor(Role.AUDITOR), "carol")):
        assert views.phone(by, name) == []
    assert len(sandbox.calls) == asked, "IAMPASS is not asked for somebody who sees nothing"
    gateway_server.rows("UPDATE person SET groups = '{staff}' WHERE name = 'carol'")
    assert views.phone(DESK, "carol") == [], "nobody has written that she is of staff"


def test_iampass_is_asked_about_a_phone_once_for_all_who_look(
    views: Views, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_views, "PHONE_SECONDS", 1e9)
    for by in (actor(Role.SELF), DESK, actor(Role.ADMIN)) * 2:
        assert views.phone(by, "alice")[0]["phone"] == "registered"
    assert len([call for call in sandbox.calls if call.kind == "has_device"]) == 1


def test_a_phone_that_was_reported_lost_is_not_told_to_be_registered_for_a_while(
    views: Views, gateway_server: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_views, "PHONE_SECONDS", 1e9)
    by = actor(Role.SELF)
    assert views.phone(by, "alice")[0]["phone"] == "registered"
    gateway_server.run(perform(gateway_server.gateway, ROOT, ReportLostPhone("alice")))
    assert views.phone(by, "alice")[0]["phone"] == "lost"


def test_the_token_of_a_sign_in_alone_has_iampass_asked_a_bounded_number_of_times(
    views: Views, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_ins, "MOST_ASKED", 2)
    monkeypatch.setattr(page_views, "PHONE_SECONDS", 1e9)
    thief, owner = (dataclasses.replace(actor(Role.ADMIN), details={"sign_in": id}) for id in ("1", "2"))
    told = [views.phone(thief, name)[0]["phone"] for name in ("alice", "bob", "carol", "alice")]
    assert told == ["registered", "registered", "unknown", "registered"]
    assert views.phone(owner, "carol")[0]["phone"] == "none", "it is asked for another sign-in"
    assert views.phone(thief, "carol")[0]["phone"] == "none", "nobody is asked"


def test_a_phone_of_which_iampass_says_nothing_is_unknown(views: Views, sandbox: Sandbox) -> None:
    sandbox.misbehave("has_device", HttpStatus(500), times=None)
    assert views.phone(DESK, "alice") == [{"user": "alice", "phone": "unknown", "lost_at": None}]


def test_the_portal_reads_it_and_holds_no_connection_meanwhile(
    gateway_server: RunningGateway, folder: Path, sandbox: Sandbox
) -> None:
    with RunningActs(with_portal(gateway_server), folder) as acts:
        alice = signed_in(acts, "alice")
        assert alice.look("phone", person="alice")[0]["phone"] == "registered"
        assert [row["group"] for row in alice.look("may", person="alice")] == ["servers"]
        assert alice.look("hours") == alice.look("attention") == []
        for view, wrong in (("hours", {"hours": 169}), ("hours", {"hours": 0}), ("phone", {})):
            with pytest.raises(GatewayError, match="BAD_FIELD"):
                alice.look(view, **wrong)
        acts.run(acts.service.views.acquire())  # another view is read, for as long as it takes
        assert alice.look("phone", person="alice")[0]["phone"] == "registered"
        acts.service.views.release()


# Bypasses


def test_the_bypasses_of_a_person_that_hold_now_are_told_to_who_sees_the_person(
    views: Views, gateway_server: RunningGateway
) -> None:
    def shown(by: Actor, name: str) -> list[Any]:
        return list(gateway_server.transaction(lambda g, c: show_bypasses(g, c, by, name)))

    async def add(gateway: Gateway, connection: Connection) -> None:
        await bypasses.add(gateway, connection, person="alice", seconds=-1, services=("su",))
        await bypasses.add(
            gateway, connection, person="alice", seconds=7200, hosts=(HERE,), reason="ticket 2"
        )
        await bypasses.add(gateway, connection, person="alice", seconds=3600, host_groups=("servers",))
        await bypasses.add(
            gateway, connection, person="carol", seconds=3600, services=("sshd",), made_by="zoe"
        )

    gateway_server.transaction(add)
    for by in (actor(Role.SELF), actor(Role.AUDITOR), DESK, actor(Role.ADMIN)):
        first, second = shown(by, "alice")
        assert (first["groups"], first["hosts"]) == (["servers"], [])
        assert (second["hosts"], second["reason"]) == ([HERE], "ticket 2")
    assert shown(DESK, "carol") == shown(actor(Role.SELF), "carol") == []
    (row,) = shown(actor(Role.ADMIN), "carol")
    assert (row["user"], row["services"], row["made_by"]) == ("carol", ["sshd"], "zoe")
    gateway_server.rows("UPDATE bypass SET ends_at = ends_at + interval '1 day'")
    assert shown(actor(Role.ADMIN), "carol") == [], "no gateway has written that"


# Logins by hour


@pytest.fixture
def written(views: Views, gateway_server: RunningGateway) -> Views:
    """Logins of each of the three in two hours; two of one hour, on two hosts."""

    async def write(gateway: Gateway, connection: Connection) -> None:
        moment = (await now(connection)).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
        for name in ("alice", "bob", "carol"):
            await records.write(connection, Kind.DECISION, host=HERE, person=name, outcome="approved")
            await records.write(connection, Kind.DECISION, host="other", person=name, outcome="denied")
            fields = {"reported": "exempt", "service": "sshd"}
            await records.write(connection, Kind.REPORT, moment, host=HERE, person=name, **fields)
            await records.write(connection, Kind.ACT, person=name, what="bypass")
            await records.write(connection, Kind.DECISION, host=HERE, person=name, reason="it has ended")

    gateway_server.transaction(write)
    return views


def test_logins_are_counted_by_hour_and_outcome_for_the_people_whom_the_actor_sees(written: Views) -> None:
    for by in (actor(Role.ADMIN, name="zoe"), actor(Role.AUDITOR, name="zoe")):
        assert written.logins(by) == [{"exempt": 3}, {"approved": 3, "denied": 3}]
    for by in (actor(Role.SELF), DESK):
        assert written.logins(by) == [{"exempt": 1}, {"approved": 1, "denied": 1}]
    assert written.logins(actor(Role.SELF), Filter("bob")) == []
    assert written.logins(actor(Role.ADMIN), Filter("bob", hosts=("other",))) == [{"denied": 1}]
    assert written.logins(actor(name="alice")) == []


def test_a_row_of_a_person_that_no_gateway_has_written_counts_no_logins_for_the_help_desk(
    written: Views, gateway_server: RunningGateway
) -> None:
    gateway_server.rows("UPDATE person SET groups = '{staff}' WHERE name = 'carol'")
    assert written.logins(DESK) == [{"exempt": 1}, {"approved": 1, "denied": 1}]


def test_logins_of_who_had_the_name_before_are_not_counted_for_the_person(
    written: Views, gateway_server: RunningGateway
) -> None:
    async def add(_: Gateway, connection: Connection) -> None:
        await records.write(connection, Kind.ACT, person="alice", what="user_add")

    gateway_server.transaction(add)
    assert written.logins(actor(Role.SELF)) == []
    assert written.logins(DESK) == [{"exempt": 1}, {"approved": 1, "denied": 1}]


# What needs attention


def test_what_needs_somebody_is_told_to_admins_and_auditors(
    views: Views, gateway_server: RunningGateway
) -> None:
    gateway_server.change_host(status=HostStatus.WAITING)
    gateway_server.rows("UPDATE person SET groups = '{it}' WHERE name = 'carol'")

    async def write(_: Gateway, connection: Connection) -> None:
        await records.alert(connection, HERE, "look at this", person="alice")
        await records.alert(connection, None, "and at this")

    gateway_server.transaction(write)
    gateway_server.rows(
        "INSERT INTO record (at, kind, fields) VALUES (now() - interval '25 hours', 'alert', '{\"reason\": \"old\"}')"
    )
    found = views.attention(actor(Role.AUDITOR))
    assert found == views.attention(actor(Role.ADMIN))
    assert [(row["kind"], row["what"], row["host"], row["person"]) for row in found] == [
        ("host_waits", "", HERE, ""),
        ("damaged", "person carol", "", ""),
        ("role_of_nobody", "auditor", "", ""),
        ("role_of_nobody", "helpdesk", "", ""),
        ("alert", "and at this", "", ""),
        ("alert", "look at this", HERE, "alice"),
    ]


def test_a_row_is_verified_once_until_it_is_changed(
    views: Views, gateway_server: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged() -> list[str]:
        rows = views.attention(actor(Role.ADMIN))
        return [row["what"] for row in rows if row["kind"] == "damaged"]

    verified, verify = list[str](), KeyFile.verified

    def counted(self: KeyFile, table: str, row: Mapping[str, Any], **asked: Any) -> Any:
        verified.append(table)
        return verify(self, table, row, **asked)

    monkeypatch.setattr(KeyFile, "verified", counted)
    before = damaged()
    assert verified.count("person") == 3
    verified.clear()
    assert damaged() == before
    assert "person" not in verified
    gateway_server.rows("UPDATE person SET groups = '{admins}' WHERE name = 'alice'")
    assert damaged() == [*before, "person alice"]
    assert verified == ["person"]
    gateway_server.rows("DELETE FROM person WHERE name = 'alice'")
    assert damaged() == before


def test_alerts_of_one_host_push_off_none_of_others(views: Views, gateway_server: RunningGateway) -> None:
    def write(host: str | None, reason: str, number: int = 1, person: str | None = None) -> None:
        gateway_server.rows(
            "INSERT INTO record (at, kind, host, person, fields) SELECT now() - interval '20 hours'"
            " + number * interval '10 minutes', 'alert', %s, coalesce(%s, 'p' || number),"
            " jsonb_build_object('reason', %s::text) FROM generate_series(1, %s) AS number",
            *(host, person, reason, number),
        )

    write("other", "of another host", person="bob")
    write(None, "of the fleet", person="")
    write(HERE, "again and again", 110, "alice")
    write(HERE, "about everybody", 150)
    found = [row["what"] for row in views.attention(actor(Role.ADMIN)) if row["kind"] == "alert"]
    assert (len(found), found[-2:]) == (100, ["of the fleet", "of another host"])
    gateway_server.rows("DELETE FROM record WHERE fields->>'reason' = 'about everybody'")
    found = [row["what"] for row in views.attention(actor(Role.ADMIN)) if row["kind"] == "alert"]
    assert found == ["again and again", "of the fleet", "of another host"]


def test_a_help_desk_sees_alerts_about_people_whom_it_helps_and_people_see_none(
    views: Views, gateway_server: RunningGateway
) -> None:
    gateway_server.change_host(status=HostStatus.WAITING)

    async def write(_: Gateway, connection: Connection) -> None:
        for name in ("alice", "bob", None):
            await records.alert(connection, HERE, f"of {name}", person=name)

    gateway_server.transaction(write)
    assert names(views.attention(DESK), "what") == ["of alice"]
    assert views.attention(actor(Role.SELF)) == views.attention(actor(Role.HELPDESK, name="carol")) == []
