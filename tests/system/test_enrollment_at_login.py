"""Enrollment at login, by a real ssh client: the code on its screen registers the phone that then approves."""

from __future__ import annotations

import re

import pytest

from tests.support.qr_reader import read_codes
from tests.support.world import World, token_of

QUESTION = "Once your phone is registered, press Enter: "


@pytest.fixture
def without_phone(world: World) -> World:
    """Bob has a key and stands in the table, and has no phone yet."""
    world.machine.change(enroll_at_login="true")
    world.sandbox.add_user(token_of("bob"), device=False)
    return world


def test_the_code_in_the_terminal_registers_the_phone_that_approves_the_next_login(
    without_phone: World,
) -> None:
    world = without_phone
    login = world.login("bob")
    login.enter()
    login.expect_exact(QUESTION)
    (link,) = re.findall(r"^(https://\S+)$", login.shown, re.MULTILINE)
    assert read_codes(login.shown, light=False) == [link]
    world.sandbox.open_link(link)
    login.sendline("")
    login.expect_exact("Your phone is registered. Log in again, and approve the login on it.")
    assert login.finish() != 0
    assert "In as bob" not in login.shown
    (record,) = world.records("bob")
    assert (record["IAMPASS_OUTCOME"], record["IAMPASS_RESULT"]) == ("no_device", "denied")
    assert link not in str(record)

    login = world.login("bob")
    login.enter()
    world.approve("bob")
    login.expect_exact("In as bob.")
    assert login.finish() == 0
