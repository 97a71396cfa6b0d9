"""`pam-iampass enroll` on the machine, and the person who registers a phone meanwhile."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.support.installation import Installation
from tests.support.sandbox import Sandbox
from tests.support.terminal import Terminal


@pytest.fixture(scope="module")
def installation() -> Installation:
    machine = Installation()
    for user in ("nadia", "oscar"):
        machine.add_user(user)
    return machine


@pytest.fixture(autouse=True)
def nobody_stays() -> Iterator[None]:
    yield
    Terminal.kill_all()


def test_the_message_that_enroll_sends_registers_the_phone(
    sandbox: Sandbox, open_page: OpenPage, installation: Installation
) -> None:
    installation.configure(sandbox)
    installation.write_users("")
    page = open_page(sandbox.phone_url)
    command = Terminal(
        ["/usr/bin/pam-iampass", "enroll", "nadia", "--sms", "+15551234567", "--message", "Hello:"], 60
    )
    bubble = page.get_by_role("listitem").filter(has_text="Hello:")
    bubble.get_by_role("button", name="Register this phone").click()
    assert command.finish() == 0, command.shown
    assert list(sandbox.users.values()) == [True] * 3
    expect(page.locator("#users li")).to_have_text([re.compile("has a phone")] * 3)


def test_the_link_that_enroll_shows_is_opened_in_the_browser(
    sandbox: Sandbox, open_page: OpenPage, installation: Installation
) -> None:
    installation.configure(sandbox)
    installation.write_users("")
    command = Terminal(["/usr/bin/pam-iampass", "enroll", "oscar"], 60)
    command.expect(r"(https://127\.0\.0\.1:\d+/register/[\w-]+)\s")
    page = open_page(command.match.group(1))
    page.get_by_role("button", name="Register this device").click()
    expect(page.get_by_text("can now approve logins.")).to_be_visible()
    assert command.finish() == 0, command.shown
