"""Policy for teams in real ssh logins: a user in a network, and who is asked."""

from __future__ import annotations

import pytest

from tests.support.world import World


def passes(world: World, user: str) -> bool:
    """Whether the user gets in without a prompt; other logins are refused on the phone."""
    login = world.login(user)
    if login.expect(["IAMPASS: press Enter[^:]*: ", "In as "]) == 1:
        assert login.finish() == 0
        return True
    login.sendline("")
    world.deny(user)
    assert login.finish() != 0
    return False


@pytest.mark.parametrize(
    ("rule", "exempt"),
    [
        ("user alice from 127.0.0.0/8", True),
        ("group alice from 127.0.0.0/8", True),
        ("user alice from 192.0.2.0/24", False),
        ("user bob from 127.0.0.0/8", False),
    ],
)
def test_a_rule_needs_the_user_and_the_network(world: World, rule: str, exempt: bool) -> None:
    world.machine.change(exempt=f"{{rules: [{rule}]}}")
    assert passes(world, "alice") is exempt
    if exempt:
        assert world.record("alice")["IAMPASS_REASON"] == f"exempt by the rule: {rule}"


def test_who_is_not_asked_is_exempt(world: World) -> None:
    world.machine.change(asked="{groups: [bob]}")
    assert passes(world, "alice")
    assert world.outcome("alice") == ("exempt", "ignored")
    assert not passes(world, "bob")
