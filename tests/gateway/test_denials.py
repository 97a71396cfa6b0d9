"""Why a person could not log in: the causes of the last denials, what holds now, and who reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pam_iampass.fleet.act import Role
from pam_iampass.fleet.denials import CAUSES
from pam_iampass.gateway.acts.denials import show_denials
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.reasons import Reason
from pam_iampass.gateway.base.records import Kind
from pam_iampass.gateway.base.settings import GroupSettings
from pam_iampass.gateway.hosts.hosts import HostStatus
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import PersonStatus
from pam_iampass.gateway.requests import bypasses
from pam_iampass.gateway.sign_in.actors import Actor
from tests.gateway.test_views import actor
from tests.support.gateway import HOST, HostCaller, RunningGateway
from tests.support.sandbox import HttpStatus, Sandbox

HERE = f"name-of-{HOST}"
OTHER = "h-bbbbbbbbbbbb"
THERE = f"name-of-{OTHER}"
ADMIN = actor(Role.ADMIN, name="zoe")
DESK = actor(Role.HELPDESK, name="zoe", helps=("staff",))
ORIGIN = {"service": "sshd", "remote": "192.0.2.7"}


class Fleet:
    """alice and bob, of staff, and carol, of no group and without a phone, at a gateway with two hosts."""

    def __init__(self, running: RunningGateway, caller: HostCaller, sandbox: Sandbox) -> None:
        self.running, self.caller, self.sandbox = running, caller, sandbox

    def rows(self, name: str, by: Actor = ADMIN, host: str = "") -> list[dict[str, Any]]:
        found: Any = self.running.transaction(lambda g, c: show_denials(g, c, by, name, host))
        return list(found)

    def causes(self, name: str, by: Actor = ADMIN, host: str = "") -> list[tuple[str, bool]]:
        """Each cause, and whether it is over."""
        return [(row["cause"], row["is_over"]) for row in self.rows(name, by, host)]

    def deny(self, name: str, host: str = HERE, **fields: str) -> None:
        """As if a login had been denied on the phone, or as `fields` say."""
        given = {**ORIGIN, "outcome": "denied", "reason": "cancelled", **fields}
        self.running.transaction(
            lambda _, c: records.write(c, Kind.DECISION, host=host, person=name, **given)
        )

    def log_in(self, name: str, what: str) -> None:
        """A login that the person answers."""
        begun = self.caller.ask(name, **ORIGIN).authentication
        getattr(self.sandbox, what)(f"token-of-{name}")
        self.caller.answer(begun)

    def change(self, name: str, **columns: Any) -> None:
        self.running.transaction(lambda g, c: people.change(g, c, name, **columns))


@pytest.fixture
def fleet(gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox) -> Fleet:
    gateway_server.add_host(OTHER)
    made = Fleet(gateway_server, caller, sandbox)
    for name in ("alice", "bob"):
        made.change(name, groups=("staff",))
    return made


# Causes


@pytest.mark.parametrize(
    ("what", "cause"), [("deny", "cancelled"), ("fail", "failed"), ("time_out", "timeout")]
)
def test_what_the_person_has_answered_is_the_cause_until_they_log_in_there(
    fleet: Fleet, what: str, cause: str
) -> None:
    fleet.log_in("alice", what)
    (row,) = fleet.rows("alice")
    assert row == {
        "cause": cause,
        "says": CAUSES[cause].says,
        "host": HERE,
        "time": row["time"],
        **ORIGIN,
        "until": None,
        "is_over": False,
        "mend": CAUSES[cause].mend,
        "act": "",
    }
    fleet.log_in("alice", "approve")
    (row,) = fleet.rows("alice")
    assert (row["cause"], row["is_over"], row["mend"]) == (cause, True, "")


def test_no_phone_is_the_cause_until_one_was_seen(fleet: Fleet) -> None:
    fleet.caller.ask("carol", **ORIGIN)
    assert fleet.causes("carol") == [("NO_MOBILE_DEVICE", False)]
    fleet.deny("carol", THERE, outcome="timed_out", reason="timeout")
    assert fleet.causes("carol") == [("timeout", False), ("NO_MOBILE_DEVICE", True)]


def test_that_iampass_refuses_one_person_is_not_over_when_it_answers_another(fleet: Fleet) -> None:
    fleet.deny("alice", outcome="misconfigured", reason="IAMPASS_REFUSES")
    fleet.deny("bob")
    assert fleet.causes("alice") == [("IAMPASS_REFUSES", False)]
    fleet.deny("alice", THERE, outcome="approved", reason="active")
    assert fleet.causes("alice") == [("IAMPASS_REFUSES", True)]


def test_a_pause_ends_at_a_time_and_is_over_when_the_limits_are_cleared(fleet: Fleet) -> None:
    gateway = fleet.running.gateway
    gateway.settings = replace(gateway.settings, limits=replace(gateway.settings.limits, cool_off=600.0))
    for _ in range(2):
        fleet.log_in("alice", "time_out")
    before, after = fleet.rows("alice")
    assert (before["cause"], before["act"], after["cause"]) == ("BACKOFF", "throttle_clear", "timeout")
    left = before["until"] - after["time"]
    assert timedelta(minutes=9) < left < timedelta(minutes=11)
    assert fleet.caller.ask("alice", **ORIGIN).authentication["reason"] == "HOST_THROTTLED"
    assert fleet.causes("alice") == [("BACKOFF", False), ("timeout", False)]
    fleet.running.rows("DELETE FROM turn")
    assert fleet.causes("alice") == [("timeout", False), ("HOST_THROTTLED", True)]


def test_the_hourly_limit_is_the_cause(fleet: Fleet) -> None:
    gateway = fleet.running.gateway
    gateway.settings = replace(gateway.settings, limits=replace(gateway.settings.limits, requests_per_hour=1))
    fleet.log_in("alice", "deny")
    first, _ = fleet.rows("alice")
    assert (first["cause"], first["remote"]) == ("HOURLY_LIMIT", ORIGIN["remote"])
    assert first["until"] > first["time"]


def _change_host(status: HostStatus) -> Callable[[Fleet], None]:
    return lambda fleet: fleet.running.change_host(status=status)


def _admit(*groups: str) -> Callable[[Fleet], None]:
    def go(fleet: Fleet) -> None:
        gateway = fleet.running.gateway
        policy = {"servers": GroupSettings(people=frozenset(groups))}
        gateway.settings = replace(gateway.settings, groups=policy)

    return go


@pytest.mark.parametrize(
    ("begin", "end", "cause"),
    [
        (_change_host(HostStatus.SUSPENDED), _change_host(HostStatus.ACTIVE), "HOST_SUSPENDED"),
        (_change_host(HostStatus.WAITING), _change_host(HostStatus.ACTIVE), "HOST_NOT_ADMITTED"),
        (_admit("dba"), _admit("staff"), "NOT_ON_THIS_HOST"),
        (
            lambda fleet: fleet.change("alice", status=PersonStatus.LEAVING),
            lambda fleet: fleet.change("alice", status=PersonStatus.ACTIVE),
            "UNKNOWN_USER",
        ),
        (
            lambda fleet: fleet.change("alice", phone_to_disable=True),
            lambda fleet: fleet.change("alice", phone_to_disable=False),
            "PHONE_LOST",
        ),
    ],
)
def test_the_state_of_now_wins_over_the_state_of_then(
    fleet: Fleet, begin: Callable[[Fleet], None], end: Callable[[Fleet], None], cause: str
) -> None:
    begin(fleet)
    fleet.caller.ask("alice", **ORIGIN)
    assert fleet.causes("alice") == [(cause, False)]
    end(fleet)
    assert fleet.causes("alice") == [(cause, True)]
    fleet.running.rows("DELETE FROM record")
    fleet.deny("alice")
    begin(fleet)
    assert fleet.causes("alice") == [(cause, False), ("cancelled", False)]


def test_a_host_that_is_gone_is_the_cause(fleet: Fleet) -> None:
    fleet.deny("alice", "gone.example.com")
    assert fleet.causes("alice") == [("HOST_REMOVED", False), ("cancelled", False)]


def test_iampass_is_the_cause_until_it_has_answered_anybody(fleet: Fleet) -> None:
    fleet.sandbox.misbehave("start", HttpStatus(503), times=None)
    fleet.caller.ask("alice", **ORIGIN)
    assert fleet.causes("alice") == [("IAMPASS_AWAY", False)]
    fleet.sandbox.behave()
    fleet.log_in("bob", "deny")
    assert fleet.causes("alice") == [("IAMPASS_AWAY", True)]


def test_with_a_bypass_nothing_keeps_the_person_out_but_the_host(fleet: Fleet) -> None:
    fleet.deny("alice")
    fleet.change("alice", phone_to_disable=True)
    fleet.running.transaction(
        lambda g, c: bypasses.add(g, c, person="alice", seconds=600, services=("sshd",))
    )
    assert fleet.causes("alice") == [("cancelled", True)]
    fleet.running.change_host(status=HostStatus.SUSPENDED)
    assert ("HOST_SUSPENDED", False) in fleet.causes("alice")


def test_without_a_record_the_gateway_was_not_reached(fleet: Fleet) -> None:
    (row,) = fleet.rows("alice")
    assert (row["cause"], row["host"]) == ("NO_REQUEST", "")
    fleet.deny("alice")
    fleet.running.rows("UPDATE record SET at = at - interval '61 minutes'")
    fleet.deny("alice", asker="bob")
    fleet.deny("alice", "(gateway)")
    assert fleet.causes("alice") == [("NO_REQUEST", False)]
    fleet.deny("alice", outcome="approved", reason="active")
    assert fleet.causes("alice") == [("LET_IN", False)]


def test_denials_of_who_had_the_name_before_are_not_told(fleet: Fleet) -> None:
    fleet.deny("alice")
    fleet.running.transaction(lambda _, c: records.write(c, Kind.ACT, person="alice", what="user_add"))
    assert fleet.causes("alice") == [("NO_REQUEST", False)]


def test_every_refusal_of_a_start_has_a_cause_in_words() -> None:
    told_otherwise = {
        Reason.HOST_THROTTLED,
        Reason.BYPASSED,
        Reason.DATABASE_AWAY,  # it leaves no record
        Reason.CODES_NOT_HERE,  # these are alerts
        Reason.TOO_MANY_CODES,
        Reason.PHONE_LOST_MEANWHILE,
        Reason.OWNER_FIRST,  # it is no login of a person's own
        Reason.REQUEST_ID_REUSED,
    }
    assert {each.name for each in set(Reason) - told_otherwise} <= CAUSES.keys()


# What a host says


def test_a_report_is_what_the_host_says_and_ends_no_cause(fleet: Fleet) -> None:
    said: Mapping[str, str] = {**ORIGIN, "reported": "exempt", "reason": "call +15551234567"}

    async def report(_: Gateway, connection: Connection) -> None:
        for host in (HERE, THERE):
            await records.write(connection, Kind.REPORT, host=host, person="alice", **said)

    fleet.running.transaction(report)
    assert fleet.causes("alice") == [("NO_REQUEST", False)]
    fleet.deny("alice")
    fleet.running.transaction(report)
    denied, reported = fleet.rows("alice")
    assert (denied["cause"], denied["is_over"]) == ("cancelled", False)
    assert (reported["cause"], reported["host"]) == ("LET_IN_BY_HOST", HERE)
    assert "host says" in reported["says"]
    assert "+15551234567" not in str((denied, reported))


def test_no_text_of_a_record_becomes_a_sentence_of_ours(fleet: Fleet) -> None:
    fleet.deny("alice", reason="call +15551234567", outcome="misconfigured")
    (row,) = fleet.rows("alice")
    assert (row["cause"], row["says"]) == ("OTHER", CAUSES["OTHER"].says)


# Who reads it


def test_the_help_desk_sees_no_host_but_those_of_denials_within_the_hour(fleet: Fleet) -> None:
    fleet.deny("alice", THERE, outcome="approved", reason="active")
    assert [row["host"] for row in fleet.rows("alice", DESK)] == [""]
    fleet.deny("alice")
    assert {row["host"] for row in fleet.rows("alice", DESK)} == {HERE}
    assert fleet.rows("alice", DESK, THERE) == []
    fleet.running.change_host(OTHER, status=HostStatus.SUSPENDED)
    assert fleet.rows("alice", DESK, THERE) == []
    assert {row["host"] for row in fleet.rows("alice", DESK)} == {HERE}
    assert fleet.causes("alice", ADMIN, THERE) == [("HOST_SUSPENDED", False), ("LET_IN", False)]
    fleet.running.rows("UPDATE record SET at = at - interval '61 minutes'")
    assert [row["host"] for row in fleet.rows("alice", DESK)] == [""]


def test_only_who_helps_a_person_reads_why_they_cannot_log_in(fleet: Fleet) -> None:
    for name in ("alice", "carol"):
        fleet.deny(name)
    assert fleet.causes("alice", DESK) == [("cancelled", False)]
    assert fleet.rows("carol", DESK) == fleet.rows("carol", DESK, HERE) == []
    assert fleet.rows("carol", actor(Role.SELF)) == fleet.rows("nobody") == []
    fleet.running.rows("UPDATE person SET groups = '{staff}' WHERE name = 'carol'")
    assert fleet.rows("carol", DESK) == [], "nobody has written that she is of staff"


def test_people_read_their_own_causes_and_not_what_helpers_do(fleet: Fleet) -> None:
    fleet.deny("alice")
    (row,) = fleet.rows("alice", actor(Role.SELF))
    assert (row["cause"], row["host"]) == ("cancelled", HERE)
    assert not row.keys() & {"mend", "act"}
