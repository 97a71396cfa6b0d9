"""`make demo PHONE=1`, with a person at the page that it names."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.support.deadline import PATIENCE
from tests.support.installation import ROOT


@pytest.fixture
def demo() -> Iterator[subprocess.Popen[str]]:
    # The program that make runs, on a copy of this copy.
    copy = ["tests/support/isolated-root.sh", "--shared-network"]
    command = [*copy, "/usr/bin/python3", "-m", "tests.system.demo", "--phone"]
    running = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, encoding="utf-8"
    )
    yield running
    running.kill()
    running.communicate()


def answer(page: Page, verb: str) -> None:
    """Press a button of the request that waits, once the page has done with the one before."""
    waiting = page.locator(".request:not(.done)")
    waiting.get_by_role("button", name=verb).click()
    expect(waiting).to_have_count(0)


def test_a_person_does_the_approving(demo: subprocess.Popen[str], open_page: OpenPage) -> None:
    assert demo.stdout is not None
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if found := re.search(r"https://127\.0\.0\.1:\d+/phone#\S+", line):
            break
    else:
        pytest.fail("".join(lines))
    page = open_page(found.group(), may_lose=True)
    answer(page, "Approve")
    answer(page, "Deny")
    expect(page.locator(".request .outcome").last).to_have_text(
        "Expired: not answered in time", timeout=60_000
    )
    answer(page, "Approve")
    out, _ = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 0, out
    assert re.findall(r"Response on the phone: (\w+)", out) == ["approved", "denied", "expired", "approved"]
    assert "You are alice on" in out
    assert "uid=0(root)" in out
    assert "4 of 4 logins as expected; 0 sessions left open at IAMPASS" in out
