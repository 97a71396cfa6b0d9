"""`make demo PHONE=1`, also with `FLEET=1`, with a person at the pages that it names."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.test_portal import Person
from tests.support.deadline import PATIENCE
from tests.support.installation import ROOT

_PHONE = r"https://127\.0\.0\.1:\d+/phone#\S+"


@pytest.fixture
def demo() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a demonstration: the program that make runs, on a copy of this copy."""
    copy = ["tests/support/isolated-root.sh", "--shared-network"]
    started = []

    def start(module: str) -> subprocess.Popen[str]:
        command = [*copy, "/usr/bin/python3", "-m", module, "--phone"]
        running = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        )
        started.append(running)
        return running

    yield start
    for running in started:
        running.kill()
        running.communicate()


def said(demo: subprocess.Popen[str], wanted: str) -> str:
    """What the demonstration says until there is a line in which this is found."""
    assert demo.stdout is not None
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if re.search(wanted, line):
            return "".join(lines)
    pytest.fail("".join(lines))


def answer(page: Page, verb: str) -> None:
    """Press a button of the request that waits, once the page has done with the one before."""
    waiting = page.locator(".request:not(.done)")
    waiting.get_by_role("button", name=verb).click()
    expect(waiting).to_have_count(0)


def test_a_person_does_the_approving(
    demo: Callable[[str], subprocess.Popen[str]], open_page: OpenPage
) -> None:
    running = demo("tests.system.demo")
    (address,) = re.findall(_PHONE, said(running, _PHONE))
    page = open_page(address, may_lose=True)
    answer(page, "Approve")
    answer(page, "Deny")
    expect(page.locator(".request .outcome").last).to_have_text(
        "Expired: not answered in time", timeout=60_000
    )
    answer(page, "Approve")
    out, _ = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, out
    assert re.findall(r"Response on the phone: (\w+)", out) == ["approved", "denied", "expired", "approved"]
    assert "You are alice on" in out
    assert "uid=0(root)" in out
    assert "4 of 4 logins as expected; 0 sessions left open at IAMPASS" in out


def test_a_person_plays_with_the_portal_of_a_fleet(
    demo: Callable[[str], subprocess.Popen[str]], open_page: OpenPage
) -> None:
    running = demo("tests.system.demo_fleet")
    shown = said(running, "Press Enter: alice logs in to bastion")
    (address,), links = re.findall(_PHONE, shown), re.findall(r"passkey: +(http://localhost:\S+)", shown)
    phone = open_page(address, may_lose=True)
    people = []
    for link in links:
        page = open_page("about:blank", may_lose=True)
        people.append(Person(page.context, page, link.partition("/link")[0]))
        people[-1].add_authenticator()
        page.goto(link)
        people[-1].press("Make a passkey")
        if link == links[1]:
            answer(phone, "Approve")
            people[-1].press("Continue")
        people[-1].sees("The passkey is registered")
        people[-1].page.get_by_role("link", name="Sign in with the passkey").click()
        people[-1].press("Sign in with a passkey")
        expect(people[-1].page.get_by_role("heading", name="Requests for you")).to_be_visible()
    admin, alice = people
    assert running.stdin is not None
    running.stdin.write("\n")
    running.stdin.flush()
    expect(alice.page.get_by_role("heading", name="bastion.example")).to_be_visible()
    answer(phone, "Approve")
    alice.sees("No request for you")
    admin.open("/hosts/bastion.example")
    expect(admin.page.locator("#logins-title ~ .tree")).to_contain_text("alice")
    out, _ = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, out
