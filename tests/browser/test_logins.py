"""A person at the phone page, and real ssh logins that wait for them."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import OpenPage
from tests.support.agent import RunningAgent
from tests.support.installation import ROOT, Installation
from tests.support.journald import Journald
from tests.support.sandbox import Sandbox
from tests.support.sshd import Login, Sshd
from tests.support.terminal import Terminal

USERS = {"alice": "7f3c-alice", "bob": "91aa-bob"}


class Machine:
    """Where people log in."""

    def __init__(self, sandbox: Sandbox, journald: Journald, sshd: Sshd, installation: Installation) -> None:
        self.sandbox = sandbox
        self.installation = installation
        self._journald = journald
        self._sshd = sshd
        self._place = journald.cursor()

    def login(self, user: str) -> Login:
        """A person who pressed Enter, and waits for the phone."""
        login = self._sshd.login(user, "echo In as $(id -un).")
        login.enter()
        return login

    def records(self, count: int = 1) -> dict[str, Any]:
        """The outcome of each user's login."""
        records = self._journald.wait_for(self._place, count)
        assert len(records) == count
        return {record["IAMPASS_USER"]: record["IAMPASS_OUTCOME"] for record in records}


@pytest.fixture(scope="module")
def parts() -> Iterator[tuple[Sandbox, Journald, Sshd, Installation]]:
    folder = Path(tempfile.mkdtemp(dir="/var/lib"))
    with Sandbox(application_id="demo") as sandbox, Journald() as journald:
        installation = Installation()
        for user, token in USERS.items():
            installation.add_user(user)
            sandbox.add_user(token)
        installation.write_users("".join(f"{user}: {token}\n" for user, token in USERS.items()))
        shutil.copy(ROOT / "config/pam.d/iampass-sshd", "/etc/pam.d/")
        shutil.copy(ROOT / "config/sshd_config.d/10-iampass.conf", "/etc/ssh/sshd_config.d/")
        installation.configure(sandbox)
        with RunningAgent() as agent, Sshd(folder) as sshd:
            agent.wake()
            for user in USERS:
                sshd.admit(user)
            yield sandbox, journald, sshd, installation


@pytest.fixture
def machine(parts: tuple[Sandbox, Journald, Sshd, Installation]) -> Iterator[Machine]:
    sandbox, journald, sshd, installation = parts
    sandbox.request_timeout = 60.0
    installation.configure(sandbox, timeout="60s")
    installation.forget()
    yield Machine(sandbox, journald, sshd, installation)
    Terminal.kill_all()


def card(page: Page, user: str) -> Locator:
    return page.locator(".request:not(.done)", has=page.get_by_role("heading", name=USERS[user], exact=True))


def test_a_login_is_approved_by_a_click(machine: Machine, open_page: OpenPage) -> None:
    page = open_page(machine.sandbox.phone_url)
    login = machine.login("alice")
    card(page, "alice").get_by_role("button", name="Approve").click()
    assert login.finish() == 0
    assert "In as alice." in login.lines
    assert machine.records() == {"alice": "approved"}
    expect(page.locator("#recent li").first).to_contain_text(re.compile("7f3c-alice.*Approved"))


def test_a_login_is_denied_by_a_click(machine: Machine, open_page: OpenPage) -> None:
    page = open_page(machine.sandbox.phone_url)
    login = machine.login("alice")
    card(page, "alice").get_by_role("button", name="Deny").click()
    assert login.finish() != 0
    assert "In as alice." not in login.lines
    assert machine.records() == {"alice": "denied"}


def test_a_login_that_nobody_answers_expires_on_the_page_too(machine: Machine, open_page: OpenPage) -> None:
    machine.sandbox.request_timeout = 8.0
    page = open_page(machine.sandbox.phone_url)
    login = machine.login("alice")
    expect(card(page, "alice")).to_contain_text(re.compile(r"\d s left"))
    expect(page.locator(".request .outcome")).to_have_text("Expired: not answered in time")
    assert login.finish() != 0
    assert machine.records() == {"alice": "timed_out"}


def test_two_people_at_once_each_get_their_own_answer(machine: Machine, open_page: OpenPage) -> None:
    page = open_page(machine.sandbox.phone_url)
    alice, bob = machine.login("alice"), machine.login("bob")
    expect(page.locator(".request")).to_have_count(2)
    card(page, "bob").get_by_role("button", name="Deny").click()
    assert bob.finish() != 0
    card(page, "alice").get_by_role("button", name="Approve").click()
    assert alice.finish() == 0
    assert "In as alice." in alice.lines
    assert "In as bob." not in bob.lines
    assert machine.records(2) == {"alice": "approved", "bob": "denied"}


@pytest.mark.parametrize(("verb", "outcome"), [("Approve", "approved"), ("Deny", "denied")])
def test_a_login_is_answered_by_keyboard_only(
    machine: Machine, open_page: OpenPage, verb: str, outcome: str
) -> None:
    page = open_page(machine.sandbox.phone_url)
    login = machine.login("alice")
    button = card(page, "alice").get_by_role("button", name=verb)
    expect(button).to_be_visible()
    pressed = 0
    while not button.evaluate("node => node === document.activeElement"):
        page.keyboard.press("Tab")
        pressed += 1
        assert pressed <= 2, "the answers are the first things that Tab comes to"
    page.keyboard.press("Enter")
    assert (login.finish() == 0) == (outcome == "approved")
    assert machine.records() == {"alice": outcome}
    expect(page.get_by_role("heading", name="Requests")).to_be_focused()


def test_a_login_by_face_is_approved(machine: Machine, open_page: OpenPage) -> None:
    machine.installation.change(methods="[facial]")
    page = open_page(machine.sandbox.phone_url)
    login = machine.login("alice")
    card(page, "alice").get_by_role("button", name="Show my face").click()
    card(page, "alice").get_by_role("button", name="7f3c-alice’s face").click()
    assert login.finish() == 0
    assert machine.records() == {"alice": "approved"}
