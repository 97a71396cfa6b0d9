"""Push fatigue with real ssh logins: cool-off, taking over, two places, and what the administrator sees of it."""

from __future__ import annotations

import json
import re

import pytest

from tests.support import processes
from tests.support.command import run_command
from tests.support.recovery import new_codes
from tests.support.sshd import PROMPT
from tests.support.ways import WITH_HELPER
from tests.support.world import World

OFFER = (
    "IAMPASS: press Enter to get a request on your phone, or type a recovery code; you then have 3 seconds: "
)


def throttle(*arguments: str) -> str:
    done = run_command("throttle", *arguments)
    done.check_returncode()
    return done.stdout


def denied(world: World, user: str) -> None:
    login = world.login(user)
    login.enter()
    world.deny(user)
    login.finish()


def test_a_backoff_is_displayed_listed_and_cleared_and_a_code_works_during_it(world: World) -> None:
    code = new_codes("alice")[0]
    for _ in range(2):
        denied(world, "alice")
        world.mark()
    login = world.login("alice")
    login.enter()
    assert login.finish() == 255
    assert re.search("Wait [0-9]+ seconds, or use a recovery code[.]", login.shown)
    assert world.outcome("alice") == ("throttled", "denied")
    assert world.calls() == []
    shown = json.loads(throttle("show", "alice", "--json"))
    assert shown["requests_in_the_last_hour"] == 2
    [place] = shown["places"]
    assert place["failures"] == 2
    assert 0 < place["seconds_left"] <= 30
    assert "An origin with 2 failed requests in a row: the next request is possible in " in throttle(
        "show", "alice"
    )

    login = world.login("alice")
    login.expect(PROMPT)
    assert OFFER in login.shown
    login.sendline(code)
    assert login.finish() == 0
    assert "In as alice." in login.shown

    throttle("clear", "alice")
    login = world.login("alice")
    login.enter()
    world.approve("alice")
    assert login.finish() == 0


@pytest.mark.parametrize("way", WITH_HELPER, indirect=True, ids=str)
def test_killing_the_helper_while_a_request_is_pending_starts_the_backoff(world: World) -> None:
    world.machine.change(timeout="20s")
    for _ in range(2):
        login = world.login("alice", "NumberOfPasswordPrompts=1")
        login.enter()
        world.request("alice")
        [helper] = processes.running(processes.HELPER)
        processes.kill(helper)
        assert login.finish() == 255
        world.mark()
    login = world.login("alice")
    login.enter()
    assert login.finish() == 255
    assert "Too many requests: none was sent. Wait " in login.shown
    assert world.calls() == []
    assert world.outcome("alice") == ("throttled", "denied")


def test_a_second_connection_from_the_same_host_takes_over(world: World) -> None:
    world.machine.change(timeout="20s")
    older = world.login("alice")
    older.enter()
    first = world.request("alice")
    newer = world.login("alice")
    newer.enter()
    second = world.sandbox.wait_for_request(first.user, 20.0, after=first)
    assert second.started_at >= (world.sandbox.wait_for_end(first).ended_at or 0)
    world.sandbox.approve(second)
    assert newer.finish() == 0
    assert older.finish() == 255
    assert "another login from the same origin took over" in older.shown
    assert sorted(record["IAMPASS_OUTCOME"] for record in world.records("alice")) == ["approved", "throttled"]


def test_a_login_from_another_address_goes_on_beside_and_reads_of_the_first(world: World) -> None:
    world.machine.change(timeout="20s")
    first = world.login("alice")
    first.enter()
    request = world.request("alice")
    second = world.login("alice", "BindAddress=127.0.0.2")
    second.prompted()
    assert "Another login in your name is also waiting for approval" in second.shown
    second.sendline("")
    other = world.sandbox.wait_for_request(request.user, 20.0, after=request)
    world.sandbox.approve(other)
    assert second.finish() == 0
    world.sandbox.approve(request)
    assert first.finish() == 0
