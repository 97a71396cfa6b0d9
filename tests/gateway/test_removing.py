"""`user remove`, `host suspend`: who gets in no more, what is ended, and how a stopped run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pam_iampass.gateway.acts.sessions import EndedSessions
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.cli import CommandGateway, people
from pam_iampass.gateway.people import steps
from pam_iampass.gateway.people.people import PersonStatus
from pam_iampass.gateway.serving import watching
from pam_iampass.sandbox.sessions import EndedBy
from tests.support.gateway import HOST, HostCaller, RunningGateway, settings_for
from tests.support.gateway_command import GatewayCommand
from tests.support.sandbox import Hang, HttpStatus, Slow
from tests.support.world import wait_until


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that starts looks often for what others have begun."""
    monkeypatch.setattr(watching, "_STEPS_SECONDS", 0.1)


@pytest.fixture
def host(place: GatewayCommand, tmp_path: Path) -> Iterator[HostCaller]:
    """A host of a gateway that serves meanwhile."""
    settings = settings_for(place.conninfo, place.sandbox, tmp_path, key=bytes.fromhex("5a" * 32))
    with RunningGateway(settings) as running:
        running.add_host()
        yield HostCaller(running)


def _approved(place: GatewayCommand, host: HostCaller) -> Any:
    """What begins a session of alice, who approves it."""
    begun = host.ask("alice").authentication
    place.sandbox.approve(place.person("alice").token)
    assert host.answer(begun) == "active"
    return begun


def test_who_is_removed_cannot_log_in_and_the_sessions_end_everywhere(
    place: GatewayCommand, host: HostCaller
) -> None:
    token = place.person("alice").token
    kept = _approved(place, host)
    waiting = host.ask("alice").authentication
    shown = place.said("user", "remove", "alice", "--yes")
    assert "removed" in shown
    assert host.answer(waiting) == host.poll(kept) == "closed"
    assert host.ask("alice").authentication["reason"] == "NOT_ON_THIS_HOST"
    assert [session.ended_by for session in place.sandbox.sessions] == [EndedBy.CLIENT] * 2
    assert token not in place.sandbox.users
    assert place.names == ["bob"]
    assert place.records[-2:] == [
        ("user_remove", "alice", "logins are denied from now on"),
        ("user_remove", "alice", "removed here and at IAMPASS; 2 sessions ended"),
    ]


def test_what_the_phone_approves_while_its_person_is_being_removed_lets_nobody_in(
    place: GatewayCommand, host: HostCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = host.ask("alice").authentication
    token, answers, end_now = place.person("alice").token, [], people.end_now

    def approved_before(gateway: CommandGateway, name: str, wanted: EndedSessions) -> bool:
        place.sandbox.approve(token)
        answers.append(host.answer(waiting))
        return end_now(gateway, name, wanted)

    monkeypatch.setattr(people, "end_now", approved_before)
    assert "removed" in place.said("user", "remove", "alice", "--yes")
    assert answers == ["closed"]


def test_a_removal_that_iampass_did_not_hear_of_goes_on_and_meanwhile_nobody_gets_in(
    place: GatewayCommand, host: HostCaller
) -> None:
    token = place.person("alice").token
    place.sandbox.misbehave("delete_users", HttpStatus(503), times=None)
    shown = place.said("user", "remove", "alice", "bob", "--yes", status=1)
    assert "Logins of users that failed are already denied" in shown
    assert place.person("alice").status is PersonStatus.REMOVING
    assert place.person("bob").status is PersonStatus.ACTIVE
    assert host.ask("alice").authentication["reason"] == "NOT_ON_THIS_HOST"
    assert "is being removed" in place.said("user", "list")
    place.sandbox.behave()
    found = place.told("user", "remove", "alice", "bob", "--yes")
    assert [each["state"] for each in found["users"]] == ["removed", "removed"]
    assert place.sandbox.users == {}
    assert token not in place.sandbox.users
    assert place.names == []
    assert "is not known here" in place.said("user", "remove", "alice", "--yes", status=1)


def test_a_removal_that_is_killed_is_finished_by_a_second_run_and_a_gateway_ends_the_sessions(
    soon: None, place: GatewayCommand, host: HostCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = _approved(place, host)
    place.sandbox.misbehave("end", Hang(acts=False))
    removing = place.typed("user", "remove", "alice", "--yes")
    place.sandbox.wait_for_calls("end")
    removing.kill()
    assert place.person("alice").status is PersonStatus.REMOVING
    assert host.poll(kept) == "closed"
    assert host.ask("alice").authentication["reason"] == "NOT_ON_THIS_HOST"
    monkeypatch.setattr(steps, "AGAIN_SECONDS", 0.0)
    wait_until(lambda: place.sandbox.sessions[0].ended_by, "no gateway goes on")
    place.sandbox.misbehave("delete_users", Hang())
    removing = place.typed("user", "remove", "alice", "--yes")
    place.sandbox.wait_for_calls("delete_users")
    removing.kill()
    assert place.names == ["alice", "bob"]
    assert "removed" in place.said("user", "remove", "alice", "--yes"), (
        "IAMPASS knows nobody of this token any more"
    )
    assert place.names == ["bob"]


def test_an_addition_that_is_killed_before_it_is_written_has_added_nobody_and_a_second_run_does(
    place: GatewayCommand,
) -> None:
    before, calls = set(place.sandbox.users), [call.kind for call in place.sandbox.calls]
    place.sandbox.misbehave("add_users", Hang())
    adding = place.typed("user", "add", "carol")
    place.sandbox.wait_for_calls("add_users", calls.count("add_users") + 1)
    adding.kill()
    assert place.names == ["alice", "bob"]
    (left,) = set(place.sandbox.users) - before
    assert not place.sandbox.users[left], "no phone is registered for a token that nobody here has"
    assert "was added" in place.said("user", "add", "carol")
    assert set(place.sandbox.users) - before == {left, place.person("carol").token}


def test_a_start_that_is_under_way_while_the_person_is_removed_becomes_no_session(
    place: GatewayCommand, host: HostCaller
) -> None:
    place.sandbox.misbehave("start", Slow())
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(host.ask, "alice")
        place.sandbox.wait_for_calls("start")
        place.said("user", "remove", "alice", "--yes")
        assert asking.result().authentication["reason"] == "NOT_ON_THIS_HOST"
    assert place.rows("SELECT 1 FROM session WHERE state = 'open'") == []


def test_a_suspended_host_has_no_phone_ring_and_keeps_its_sessions(
    place: GatewayCommand, host: HostCaller
) -> None:
    kept = _approved(place, host)
    host.ask("bob")
    place.said("host", "suspend", f"name-of-{HOST}")
    assert [session.ended_by for session in place.sandbox.sessions] == [None, EndedBy.CLIENT]
    assert host.session("GET", kept, "status_url").reason == "HOST_SUSPENDED"
    place.said("host", "resume", f"name-of-{HOST}")
    assert host.poll(kept) == "active"
    assert "reason" not in host.ask("bob").authentication


def test_one_act_suspends_a_host_and_ends_its_open_logins(place: GatewayCommand, host: HostCaller) -> None:
    kept = _approved(place, host)
    host.ask("bob")
    name = f"name-of-{HOST}"
    place.said("host", "suspend", name)
    assert place.sandbox.sessions[0].ended_by is None
    assert "1 login ended." in place.said("host", "suspend", name, "--end-logins")
    assert place.sandbox.sessions[0].ended_by is EndedBy.CLIENT
    assert place.rows("SELECT 1 FROM session WHERE state = 'open'") == []
    assert place.records[-1] == ("host_suspend", "", "it was so before; logins to end: 1")
    place.said("host", "resume", name)
    assert host.poll(kept) == "closed"


@pytest.mark.parametrize(("verb", "option"), [("suspend", "--end-logins"), ("remove", "--yes")])
def test_logins_that_iampass_could_not_end_with_their_host_are_an_error_and_a_gateway_goes_on(
    soon: None,
    place: GatewayCommand,
    host: HostCaller,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    option: str,
) -> None:
    monkeypatch.setattr(steps, "AGAIN_SECONDS", 0.0)
    _approved(place, host)
    place.sandbox.misbehave("end", HttpStatus(503), times=None)
    said = place.said("host", verb, f"name-of-{HOST}", option, status=1)
    assert "Not ended at IAMPASS" in said
    place.sandbox.behave()
    wait_until(lambda: place.sandbox.sessions[0].ended_by, "no gateway goes on")


def test_a_row_that_no_gateway_has_written_can_be_removed(place: GatewayCommand) -> None:
    place.rows("INSERT INTO person SELECT '../x', token, groups, display_name, phone_number, source, status,"
               " changed_at, mac, directory_id, phone_lost_at, phone_to_disable, phone_told_at, invites, had_phone"
               " FROM person WHERE name = 'alice'")  # fmt: skip
    place.rows("UPDATE person SET groups = '{admins}' WHERE name = 'bob'")
    with pytest.raises(Tampered):
        place.person("bob")
    shown = place.said("user", "remove", "bob", "../x", "--yes")
    assert "still registered at IAMPASS" in shown
    assert place.names == ["alice"]
    assert len(place.sandbox.users) == 2


def test_removing_asks_first(place: GatewayCommand) -> None:
    assert "To confirm, give --yes." in place.said("user", "remove", "alice", status=1)
    place.said("user", "remove", status=2)
    assert place.names == ["alice", "bob"]


def test_who_is_not_known_is_an_error_and_the_others_are_removed(place: GatewayCommand) -> None:
    leavers = ("user", "remove", "--from", place.csv("alcie,,,", "alice,,,"), "--yes")
    said = place.said(*leavers, status=1)
    assert '"alcie" is not known here: did you mean alice?' in said
    assert "--if-exists" in said
    assert place.names == ["bob"]
    found = place.told(*leavers, status=1)
    assert (found["ok"], [each["state"] for each in found["users"]]) == (False, ["not_listed"] * 2)
    assert place.told(*leavers, "--if-exists")["ok"] is True
