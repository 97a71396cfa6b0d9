"""The module in sshd's account phase: no prompt, no word about an approval, and every denial with its reason."""

from __future__ import annotations

import re

import pytest

from pam_iampass.outcome import PamCode
from tests.support.door import AccountDoor, Told
from tests.support.setting import ME, Setting


def account(world: Setting, *arguments: str, rhost: str = "", service: str = "sshd", uid: str = "0") -> Told:
    """A login that is decided in the account phase, after a key."""
    world.door_class = AccountDoor
    return world.login(*arguments, ssh_auth_info="", rhost=rhost, service=service, uid=uid)


@pytest.mark.parametrize("prompt", ["auto", "always", "never"])
def test_nothing_is_asked_whatever_the_settings_say(world: Setting, prompt: str) -> None:
    world.configure(prompt=prompt)
    world.state.recovery_codes.renew(ME)
    world.sandbox.auto = "deny"
    told = account(world)
    assert told.code == PamCode.PERM_DENIED
    assert told.shown == ["Denied on your phone."]
    assert world.calls.count("start") == 1


def test_during_a_backoff_no_recovery_code_is_mentioned_because_none_can_be_typed(world: Setting) -> None:
    world.sandbox.auto = "deny"
    for _ in range(2):
        account(world)
    told = account(world)
    assert told.code == PamCode.PERM_DENIED
    assert re.fullmatch("Too many requests: none was sent. Wait [0-9]+ seconds[.]", told.errors[0])


def test_a_line_that_requires_a_key_denies_because_sshd_has_not_reported_it_yet(world: Setting) -> None:
    told = account(world, "first_factor=publickey")
    assert told.code == PamCode.PERM_DENIED
    assert world.outcome() == ("misconfigured", "denied")
    assert "first_factor belongs on an auth line" in world.only_record()["IAMPASS_REASON"]
    assert world.calls == []
