"""The command `pam-iampass-gateway throttle`: the limits of a person over all hosts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pam_iampass.gateway.base.settings import load
from pam_iampass.gateway.check import restored
from tests.gateway.test_codes import answer
from tests.support.gateway import HostCaller, RunningGateway, settings_for
from tests.support.gateway_command import GatewayCommand


@pytest.fixture
def place(gateway_command: GatewayCommand) -> GatewayCommand:
    gateway_command.said("user", "add", "alice")
    gateway_command.sandbox.add_user(gateway_command.person("alice").token)
    return gateway_command


@pytest.fixture
def host(
    place: GatewayCommand, tmp_path: Path, trusted_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HostCaller]:
    monkeypatch.setenv("STATE_DIRECTORY", str(trusted_folder))
    settings = settings_for(place.conninfo, place.sandbox, tmp_path, key=bytes.fromhex("5a" * 32))
    settings = replace(settings, limits=replace(load(place.config).limits, spacing=0))
    with RunningGateway(settings) as running:
        running.add_host()
        running.transaction(restored.begin)
        yield HostCaller(running)


def test_refused_requests_make_others_wait_until_they_are_cleared(
    place: GatewayCommand, host: HostCaller
) -> None:
    place.sandbox.auto, place.sandbox.delay = "deny", 0.0
    for _ in range(2):
        assert (
            host.answer(host.ask("alice", service="sshd", remote="192.0.2.7").authentication) == "cancelled"
        )
    found = place.told("throttle", "show", "alice")
    assert (found["user"], found["requests_in_the_last_hour"]) == ("alice", 2)
    assert found["places"][0]["failures"] == 2
    assert found["places"][0]["seconds_left"] > 0
    assert "Requests in the last hour that were not approved: 2 of" in place.said("throttle", "show", "alice")
    refused = host.ask("alice", service="sshd", remote="192.0.2.7").authentication
    assert refused["reason"] == "HOST_THROTTLED"
    assert place.said("throttle", "clear", "alice") == "Cleared for alice.\n"
    assert place.records[-1] == ("throttle_clear", "alice", "")
    assert place.told("throttle", "show", "alice")["places"] == []
    begun = host.ask("alice", service="sshd", remote="192.0.2.7").authentication
    assert host.answer(begun) == "cancelled"


def test_what_accounts_that_act_for_a_person_have_asked_for_is_shown(
    place: GatewayCommand, host: HostCaller
) -> None:
    place.sandbox.auto, place.sandbox.delay = "deny", 0.0
    place.said("user", "add", "claude", "--acts-for", "alice")
    assert host.answer(host.ask("claude", service="sudo").authentication) == "cancelled"
    found = place.told("throttle", "show", "alice")
    assert (found["requests_in_the_last_hour"], found["agents"]["requests_in_the_last_hour"]) == (0, 1)
    text = (
        "Requests in the last hour that were not approved, of accounts that act for alice: 1 of at most 10."
    )
    assert text in " ".join(place.said("throttle", "show", "alice").split())
    place.said("throttle", "clear", "alice")
    assert place.told("throttle", "show", "alice")["agents"]["requests_in_the_last_hour"] == 0


def test_wrong_recovery_codes_count_until_they_are_cleared(place: GatewayCommand, host: HostCaller) -> None:
    code = place.told("recovery", "new", "alice")["codes"][0].replace("-", "")
    for _ in range(5):
        assert answer(host, "alice", "0" * 16) == "WRONG_CODE"
    assert answer(host, "alice", code) == "TOO_MANY_CODES"
    assert place.told("throttle", "show", "alice")["wrong_codes_in_the_last_hour"] == 5
    place.said("throttle", "clear", "alice")
    assert place.told("throttle", "show", "alice")["wrong_codes_in_the_last_hour"] == 0
    assert answer(host, "alice", code) == 9


def test_it_is_about_people_who_are_known(place: GatewayCommand) -> None:
    for verb in ("show", "clear"):
        assert "is not known here" in place.said("throttle", verb, "nobody", status=1)
