"""The module in the account phase: of sshd, without a prompt or a word about an approval; and of a sudo that asks for
every command."""

from __future__ import annotations

import os
import re

import pytest

from pam_iampass.outcome import PamCode
from tests.support.deadline import APPROVED, DENIED
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
    assert told.shown == [DENIED]
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


def sudo(world: Setting, *arguments: str, service: str = "sudo", **items: str) -> Told:
    """A command of a sudo that asks for each."""
    who = {"user": ME, "ruser": ME, "uid": str(os.geteuid())}
    items = {"service": service, **who, **items}
    world.door_class = AccountDoor
    return world.login(*(arguments or ("always",)), answers=(), **items)


@pytest.mark.parametrize("prompt", ["auto", "always", "never"])
def test_sudo_asks_for_a_command_without_a_prompt_and_shows_nothing_as_text(
    world: Setting, prompt: str
) -> None:
    world.configure(prompt=prompt)
    world.sandbox.auto = "approve"
    told = sudo(world, tty="/dev/pts/0")
    assert told.code == PamCode.SUCCESS
    assert (told.said, told.asked) == ([], [])
    assert told.errors[0].startswith("Approve this on your phone within")
    assert told.errors[1:] == [APPROVED]


def test_without_a_terminal_sudo_tells_of_a_denial_alone(world: Setting) -> None:
    world.sandbox.auto = "approve"
    assert sudo(world).shown == []
    world.sandbox.auto = "deny"
    told = sudo(world)
    assert (told.code, told.shown) == (PamCode.PERM_DENIED, [DENIED])


@pytest.mark.parametrize("tty", ["/dev/pts/0", ""])
def test_a_code_is_asked_for_on_a_terminal_only(world: Setting, tty: str) -> None:
    code = world.state.recovery_codes.renew(ME)[0]
    world.sandbox.auto = "deny"
    for _ in range(2):
        sudo(world, tty=tty)
    world.door_class = AccountDoor
    told = world.door(
        "always", answers=(code,), service="sudo", ruser=ME, uid=str(os.geteuid()), tty=tty
    ).finish()
    assert told.code == (PamCode.SUCCESS if tty else PamCode.PERM_DENIED)
    assert ("use a recovery code" in told.errors[0]) == bool(tty)
    assert len(told.asked) == bool(tty)


@pytest.mark.parametrize("service", ["su", "sshd", "login", "sudo"])
def test_the_argument_denies_elsewhere_than_on_an_account_line_of_sudo(world: Setting, service: str) -> None:
    if service == "sudo":
        told = world.login("always", service=service, ruser=ME, uid=str(os.geteuid()))
    elif service == "sshd":
        told = account(world, "always")
    else:
        told = sudo(world, service=service)
    assert told.code in (PamCode.PERM_DENIED, PamCode.ABORT)
    assert world.outcome() == ("misconfigured", "denied")
    assert "always belongs on an account line of sudo" in world.only_record()["IAMPASS_REASON"]
    assert world.calls == []
