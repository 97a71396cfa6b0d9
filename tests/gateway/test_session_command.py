"""The command `pam-iampass-gateway session`: who is logged in where, and an end on all hosts at once."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pam_iampass.gateway.base.settings import GroupSettings
from pam_iampass.gateway.requests import presence
from pam_iampass.sandbox.sessions import EndedBy
from tests.gateway.test_codes import Named
from tests.gateway.test_presence import CONNECTION, confirm, counts, told
from tests.support.gateway import HOST, HostCaller, RunningGateway, settings_for
from tests.support.gateway_command import GatewayCommand
from tests.support.sandbox import HttpStatus
from tests.support.world import PATIENCE

OTHER = "h-bbbbbbbbbbbb"


@pytest.fixture
def callers(place: GatewayCommand, tmp_path: Path) -> Iterator[list[HostCaller]]:
    """Two hosts of a gateway that serves meanwhile."""
    groups = {"servers": GroupSettings(everybody=True, admit=True, covered_by=frozenset({"servers"}))}
    settings = settings_for(
        place.conninfo, place.sandbox, tmp_path, key=bytes.fromhex("5a" * 32), groups=groups
    )
    with RunningGateway(settings) as running:
        running.add_host()
        running.add_host(OTHER)
        yield [HostCaller(Named(running, host)) for host in (HOST, OTHER)]


def logged_in(place: GatewayCommand, host: HostCaller, person: str) -> Any:
    """What begins a session that its person approves."""
    begun = host.ask(person, service="sshd", remote="192.0.2.7").authentication
    place.sandbox.approve(place.sandbox.wait_for_request(place.person(person).token))
    assert host.answer(begun) == "active"
    return begun


def sessions_of(place: GatewayCommand, *who: str) -> list[tuple[str, str, str]]:
    found = place.told("session", "list", *who)["sessions"]
    return [(each["user"], each["host"], each["status"]) for each in found]


def test_the_sessions_of_all_hosts_are_shown_and_those_of_a_person_or_a_host(
    place: GatewayCommand, callers: list[HostCaller]
) -> None:
    assert place.said("session", "list") == "There are no sessions.\n"
    first, second = callers
    logged_in(place, first, "alice")
    logged_in(place, second, "alice")
    second.ask("bob")
    here, there = f"name-of-{HOST}", f"name-of-{OTHER}"
    alice = [("alice", here, "active"), ("alice", there, "active")]
    assert sessions_of(place) == [*alice, ("bob", there, "asked")]
    assert sessions_of(place, "alice") == alice
    assert sessions_of(place, there) == [alice[1], ("bob", there, "asked")]
    shown = place.said("session", "list", "alice")
    assert "192.0.2.7" in shown
    assert "sshd" in shown
    place.rows("UPDATE session SET person = 'carol' WHERE person = 'bob'")
    assert sessions_of(place, there) == [alice[1]]
    assert "1 session not shown" in place.said("session", "list")


def test_a_covered_login_is_shown_below_the_one_that_covers_it_and_recorded(
    place: GatewayCommand, callers: list[HostCaller], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "ANSWER_SECONDS", 20)
    first, second = callers
    parent = logged_in(place, first, "alice")
    logged_in(place, second, "bob")
    with ThreadPoolExecutor() as pool:
        start = pool.submit(second.ask, "alice", connection=CONNECTION, service="sshd")
        question, _ = told(first, parent)
        assert counts(confirm(first, question))
        child = start.result(PATIENCE).authentication
    alice, covers, bob = place.told("session", "list")["sessions"]
    assert (alice["user"], alice["parent"], bob["parent"]) == ("alice", None, None)
    assert (covers["user"], covers["host"], covers["parent"]) == ("alice", f"name-of-{OTHER}", alice["id"])
    assert f"+ {covers['id'][:8]}" in place.said("session", "list")
    logged = place.said("log", "alice", "--outcome", "covered")
    assert f"by the session {alice['id']} on name-of-{HOST}" in " ".join(logged.split())
    assert place.said("session", "end", "alice") == "2 sessions ended.\n"
    assert second.poll(child) == "closed"


def test_an_end_reaches_all_hosts_and_iampass_and_is_a_record(
    place: GatewayCommand, callers: list[HostCaller]
) -> None:
    first, second = callers
    begun = [logged_in(place, host, "alice") for host in callers]
    kept = logged_in(place, second, "bob")
    assert place.said("session", "end", "alice") == "2 sessions ended.\n"
    assert [host.poll(each) for host, each in zip(callers, begun)] == ["closed"] * 2
    assert second.poll(kept) == "active"
    assert [session.ended_by for session in place.sandbox.sessions] == [EndedBy.CLIENT, EndedBy.CLIENT, None]
    assert place.records[-1] == ("session_end", "alice", "alice; sessions to end: 2")
    assert place.said("session", "end", "alice") == "There is no such session.\n"
    assert first.poll(begun[0]) == "closed"


def test_one_session_those_of_a_host_and_all(place: GatewayCommand, callers: list[HostCaller]) -> None:
    first, second = callers
    one, two, three = (
        logged_in(place, first, "alice"),
        logged_in(place, second, "alice"),
        logged_in(place, second, "bob"),
    )
    ids = [each["id"] for each in place.told("session", "list")["sessions"]]
    assert "first four digits" in place.said("session", "end", ids[0][:3], status=1)
    assert place.told("session", "end", ids[0][:8]) == {"ended": [ids[0]], "at_iampass": True}
    assert (first.poll(one), second.poll(two)) == ("closed", "active")
    assert sorted(place.told("session", "end", f"name-of-{OTHER}")["ended"]) == sorted(ids[1:])
    assert (second.poll(two), second.poll(three)) == ("closed", "closed")
    waiting = first.ask("bob").authentication
    place.said("session", "end", status=2)
    place.said("session", "end", "bob", "--all", status=2)
    assert place.said("session", "end", "--all") == "1 session ended.\n"
    assert first.answer(waiting) == "closed"


def test_the_beginning_of_several_ids_ends_none(
    place: GatewayCommand, callers: list[HostCaller], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(f"5f0c{secrets.token_hex(14)}"))
    begun = [logged_in(place, each, "alice") for each in callers]
    assert "give more digits" in place.said("session", "end", "5f0c", status=1)
    assert [each.poll(session) for each, session in zip(callers, begun)] == ["active"] * 2


def test_an_end_holds_for_the_hosts_even_if_iampass_is_away(
    place: GatewayCommand, callers: list[HostCaller]
) -> None:
    begun = logged_in(place, callers[0], "alice")
    place.sandbox.misbehave("end", HttpStatus(503), times=None)
    assert "Not ended at IAMPASS" in place.said("session", "end", "--all", status=1)
    assert callers[0].poll(begun) == "closed"


def test_iampass_is_told_once_of_the_end_of_a_session_that_it_does_not_know(
    place: GatewayCommand, callers: list[HostCaller]
) -> None:
    begun = logged_in(place, callers[0], "alice")
    place.sandbox.misbehave("end", HttpStatus(404), times=None)
    assert place.said("session", "end", "alice") == "1 session ended.\n"
    assert callers[0].poll(begun) == "closed"
    assert place.rows("SELECT 1 FROM step") == []


def test_logins_that_wait_for_their_turn_are_shown_and_ended(
    place: GatewayCommand, callers: list[HostCaller]
) -> None:
    begun = [host.ask("alice", service="sshd").authentication for host in callers]
    assert [status for _, _, status in sessions_of(place)] == ["asked", "waits"]
    assert place.said("session", "end", "alice") == "2 sessions ended.\n"
    assert [host.answer(each) for host, each in zip(callers, begun)] == ["closed", "closed"]
    assert len(place.sandbox.sessions) == 1
