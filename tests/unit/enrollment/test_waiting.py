"""Waiting for phones, with a clock of the test and a real sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pam_iampass.client import Deadline, ManagementAPI, Refused, Unavailable
from pam_iampass.enrollment.waiting import INTERVAL, wait_for_devices
from tests.support.sandbox import HttpStatus, Sandbox


class Wait:
    """Waits with a clock that only the pauses move, and notes what is reported."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.manager = ManagementAPI("demo", sandbox.application_secret, sandbox.url, sandbox.ca_file)
        self.now = 0.0
        self.told: list[str] = []
        self.at: dict[float, str] = {}
        """Who registers a phone when."""

    def pause(self, seconds: float) -> None:
        self.now += seconds
        for when in [when for when in self.at if when <= self.now]:
            self.sandbox.add_user(self.at.pop(when), device=True)

    def out_of_reach(self, error: Unavailable | None) -> None:
        self.told.append("back" if error is None else "away")

    def run(self, *tokens: str, seconds: float = 60.0) -> list[str]:
        deadline = Deadline.after(seconds, lambda: self.now)
        return wait_for_devices(
            self.manager, tokens, deadline, self.pause, self.told.append, self.out_of_reach
        )


@pytest.fixture
def wait() -> Iterator[Wait]:
    with Sandbox(application_id="demo") as sandbox:
        for token in ("a", "b"):
            sandbox.add_user(token, device=False)
        made = Wait(sandbox)
        yield made
        made.manager.close()


def test_it_ends_with_the_last_phone(wait: Wait) -> None:
    wait.at = {5.0: "b", 20.0: "a"}
    assert wait.run("a", "b") == []
    assert wait.told == ["b", "a"]
    assert 20.0 <= wait.now <= 20.0 + INTERVAL


def test_it_ends_at_the_deadline_and_names_who_is_missing(wait: Wait) -> None:
    wait.at = {5.0: "a"}
    assert wait.run("a", "b", seconds=11.0) == ["b"]
    assert wait.now == 11.0


def test_who_has_a_phone_is_not_asked_about_again(wait: Wait) -> None:
    wait.at = {1.0: "a", 30.0: "b"}
    wait.run("a", "b")
    asked = [call.path for call in wait.sandbox.calls if call.path.endswith("/a")]
    assert len(asked) == 2


def test_an_outage_is_reported_once_and_waited_for(wait: Wait) -> None:
    wait.sandbox.misbehave("has_device", HttpStatus(503), times=7)
    wait.at = {30.0: "a"}
    assert wait.run("a") == []
    assert wait.told == ["away", "back", "a"]


def test_an_outage_to_the_end_is_no_error(wait: Wait) -> None:
    wait.sandbox.misbehave("has_device", HttpStatus(503), times=None)
    assert wait.run("a", seconds=10.0) == ["a"]
    assert wait.told == ["away"]


def test_a_refusal_is_an_error(wait: Wait) -> None:
    wait.sandbox.misbehave("has_device", HttpStatus(401))
    with pytest.raises(Refused):
        wait.run("a")
