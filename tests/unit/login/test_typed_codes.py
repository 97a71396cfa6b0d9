"""What was typed before sshd's first factor: of which connection it is, and on which lines it is asked for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest

from pam_iampass.login.application import PamApplication, PamMessage, PamResponse
from pam_iampass.login.typed_codes import TypedCodes
from pam_iampass.outcome import PamCode, Phase
from tests.support.door import AccountDoor, Door, Told
from tests.support.setting import ME, Setting

CONNECTION = "192.0.2.7 50000 192.0.2.1 22"
OTHER_CONNECTION = "192.0.2.7 50001 192.0.2.1 22"
PROMPT = ["IAMPASS recovery code (Enter: none): "]


def ask(world: Setting, text: str | None, connection: str = CONNECTION) -> Told:
    """sshd's auth phase, in which this is typed."""
    world.door_class = Door
    return world.login("codes", answers=(text,), ssh_auth_info="", ssh_connection=connection, service="sshd")


def decide(world: Setting, connection: str = CONNECTION, user: str = ME) -> Told:
    """The account phase of a connection."""
    world.door_class = AccountDoor
    return world.login(answers=(), ssh_auth_info="", ssh_connection=connection, service="sshd", user=user)


def test_a_code_is_redeemed_in_the_account_phase_and_not_before(world: Setting) -> None:
    code = world.state.recovery_codes.renew(ME)[0]
    asked = ask(world, code)
    assert (asked.code, asked.asked, asked.hidden) == (PamCode.MAXTRIES, PROMPT, [False])
    assert world.records.fields == []
    stored = world.state.recovery_codes.stored(ME)
    assert stored is not None
    assert stored.left == 10
    assert decide(world).code == PamCode.SUCCESS
    assert world.outcome() == ("recovered", "success")
    assert world.calls == []


def test_another_connection_has_no_code_and_what_was_typed_counts_once(world: Setting) -> None:
    code = world.state.recovery_codes.renew(ME)[0]
    ask(world, code)
    for _ in range(2):
        assert decide(world, OTHER_CONNECTION).code == PamCode.SUCCESS
    assert world.calls.count("start") == 2
    assert decide(world).code == PamCode.SUCCESS
    assert world.calls.count("start") == 2
    assert decide(world).code == PamCode.SUCCESS
    assert world.calls.count("start") == 3


def test_a_login_as_another_user_has_no_code(world: Setting) -> None:
    world.write("users.yaml", f"nobody: {world.token}\n")
    ask(world, world.state.recovery_codes.renew(ME)[0])
    assert decide(world, user="nobody").code == PamCode.SUCCESS
    assert world.outcome()[0] == "approved"


def test_where_sshd_cannot_ask_the_line_ignores_the_login(world: Setting) -> None:
    assert ask(world, None).code == PamCode.IGNORE
    assert ask(world, "").code == PamCode.MAXTRIES
    assert world.records.fields == []


@pytest.mark.parametrize("lines", ["account", "no sshd", "first factor"])
def test_on_any_other_line_the_argument_denies(world: Setting, lines: str) -> None:
    if lines == "account":
        world.door_class = AccountDoor
    more = ("first_factor=publickey",) if lines == "first factor" else ()
    if lines == "no sshd":
        told = world.login("codes", *more)
    else:
        told = world.login("codes", *more, ssh_auth_info="publickey ssh-ed25519 AAAA\n")
    assert told.code not in (PamCode.SUCCESS, PamCode.IGNORE)
    assert world.outcome() == ("misconfigured", "denied")
    assert "codes belongs on an auth line of sshd" in world.only_record()["IAMPASS_REASON"]
    assert world.calls == []


def test_those_who_have_typed_something_are_limited_and_no_one_else_is_asked_meanwhile(
    world: Setting,
) -> None:
    world.typed_codes = TypedCodes(most=2)
    for port in (1, 2):
        assert ask(world, "x", f"192.0.2.7 {port} 192.0.2.1 22").asked == PROMPT
    full = ask(world, "x")
    assert (full.code, full.asked) == (PamCode.MAXTRIES, [])
    assert decide(world).code == PamCode.SUCCESS, "the phone is asked"
    assert decide(world, "192.0.2.7 1 192.0.2.1 22").code == PamCode.PERM_DENIED
    assert ask(world, "x").asked == PROMPT


def test_a_connection_that_is_over_is_forgotten() -> None:
    """Its place is free again, and its descriptor closed."""
    codes = TypedCodes(most=1)
    before = len(os.listdir("/proc/self/fd"))
    with process() as first, process() as second:
        one, other = served_by(first), served_by(second)
        codes.ask(one)
        codes.ask(other)
        assert codes.take(other) is None, "there was no room"
        first.kill()
        first.wait()
        codes.ask(other)
        assert codes.take(other) == "x"
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_process_that_cannot_be_seen_is_asked_for_no_code() -> None:
    """The account phase would not know it again."""
    codes = TypedCodes()
    hidden = cast("PamApplication", Served(0))
    assert codes.ask(hidden) == PamCode.MAXTRIES
    assert codes.take(hidden) is None


@contextmanager
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that serves a connection."""
    with subprocess.Popen(["sleep", "600"]) as running:
        try:
            yield running
        finally:
            running.kill()


class Served:
    """An application whose connection is served by a process."""

    phase, user, service, ssh_connection = Phase.AUTHENTICATE, ME, "sshd", CONNECTION

    def __init__(self, pid: int) -> None:
        self.peer_pid = pid

    def opener(self) -> tuple[int, int]:
        return self.peer_pid, os.pidfd_open(self.peer_pid)

    def conversation(self, message: PamMessage, within: float | None = None) -> PamResponse:
        return PamResponse("x")


def served_by(running: subprocess.Popen[bytes]) -> PamApplication:
    return cast("PamApplication", Served(running.pid))
