"""`check` says who still has to wait once the cause of denials is mended."""

from __future__ import annotations

import json
from typing import Any

from tests.support.command import run_command
from tests.support.sandbox import Junk
from tests.support.world import World


def findings(*arguments: str) -> dict[str, dict[str, Any]]:
    report = json.loads(run_command("check", "--json", *arguments).stdout)
    return {finding["id"]: finding for finding in report["findings"]}


def fail(world: World, *, prompted: bool) -> None:
    """Four logins of alice that are denied."""
    for _ in range(4):
        login = world.login("alice")
        if prompted:
            login.enter()
        assert login.finish() != 0
    assert len(world.records("alice")) == 4


def test_after_invalid_responses_our_limits_and_sshds_penalties_go_on(world: World) -> None:
    world.sandbox.misbehave("start", Junk(), times=None)
    world.sandbox.misbehave("has_device", Junk(), times=None)
    fail(world, prompted=True)
    assert not {"limits-go-on", "penalties-go-on"} & findings().keys()
    world.sandbox.behave()
    found = findings()
    assert found["limits-go-on"]["title"].startswith(
        "Logins work again, but no request is sent to alice for "
    )
    assert "throttle clear" in found["limits-go-on"]["remedy"]
    assert "connections from 127.0.0.1 for " in found["penalties-go-on"]["title"]
    assert "systemctl reload ssh" in found["penalties-go-on"]["remedy"]
    assert "Logins work again" not in run_command("check", "--settings").stdout, "only files were looked at"
    run_command("throttle", "clear", "alice").check_returncode()
    assert "limits-go-on" not in findings()


def test_after_wrong_settings_check_says_how_long_sshd_goes_on(world: World) -> None:
    world.machine.change(timeout="never")
    fail(world, prompted=False)
    assert "Logins work again" not in run_command("check").stdout
    world.machine.configure(world.sandbox)
    told = run_command("check").stdout
    assert "Logins work again, but sshd may drop connections from 127.0.0.1 for about " in told
    assert "no request is sent" not in told, "nothing was sent, so that no limit counts it"
