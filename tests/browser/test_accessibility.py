"""The page by axe's rules (WCAG 2.2 AA and its best practices), in each state, light and dark."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.accessibility import require_accessible
from tests.browser.conftest import SMALL, WIDE, OpenPage
from tests.sandbox.signer import Caller
from tests.support.sandbox import Sandbox

Lead = Callable[[Page, Sandbox, Caller], None]


def empty(page: Page, sandbox: Sandbox, caller: Caller) -> None:
    expect(page.get_by_text("Nothing to answer")).to_be_visible()


def locked(page: Page, sandbox: Sandbox, caller: Caller) -> None:
    page.evaluate("() => localStorage.clear()")
    page.reload()
    expect(page.get_by_role("heading", name="This page is locked")).to_be_visible()


def waiting(page: Page, sandbox: Sandbox, caller: Caller) -> None:
    body = {"phone_number": "+15551234567", "display_name": "bob@work"}
    caller.post(caller.manage("send_registration_sms", "bob"), body)
    caller.start("alice")
    caller.start("bob", "?methods=facial")
    page.get_by_role("button", name="Show my face, bob").click()
    expect(page.get_by_text("There is no camera here.").locator("visible=true")).to_be_visible()


def soon(page: Page, sandbox: Sandbox, caller: Caller) -> None:
    sandbox.request_timeout = 9.0
    caller.start("alice")
    expect(page.locator(".request.soon").last).to_be_visible()


def answered(page: Page, sandbox: Sandbox, caller: Caller) -> None:
    for user in ("alice", "bob", "alice"):
        caller.start(user)
    sandbox.approve(1)
    sandbox.deny(2)
    sandbox.time_out(3)
    expect(page.locator("#recent li")).to_have_count(3)
    caller.start("bob")
    sandbox.approve(4)
    sandbox.walk_away("bob")
    expect(page.locator("#sessions li")).to_have_count(2)


def lost_phone(page: Page, sandbox: Sandbox, caller: Caller) -> None:
    caller.start("alice")
    sandbox.lose_device("alice")
    caller.get(caller.manage("lost_user_mobile_device", "bob"))
    expect(page.get_by_text("This phone is lost")).to_be_visible()
    expect(page.get_by_text("phone disabled")).to_be_visible()


def lost(page: Page, sandbox: Sandbox, caller: Caller) -> None:
    caller.start("alice")
    expect(page.get_by_role("button", name="Deny, alice")).to_be_visible()
    sandbox.stop()
    expect(page.get_by_role("heading", name="The sandbox does not answer")).to_be_visible()


def registering(page: Page, sandbox: Sandbox, caller: Caller) -> None:
    page.goto(caller.get(caller.manage("device_registration_link", "bob")).json["register_url"])
    expect(page.get_by_role("button", name="Register this device")).to_be_visible()


@pytest.mark.parametrize("lead", [empty, locked, waiting, soon, answered, lost, lost_phone, registering])
def test_it_breaks_no_rule(sandbox: Sandbox, caller: Caller, open_page: OpenPage, lead: Lead) -> None:
    # The page's own policy would keep axe out. Nothing moves, so that no colour is half-way.
    page = open_page(sandbox.phone_url, may_lose=True, bypass_csp=True, reduced_motion="reduce")
    lead(page, sandbox, caller)
    for viewport in (WIDE, SMALL):
        page.set_viewport_size(viewport)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            if lead is soon:  # which passes
                lead(page, sandbox, caller)
            require_accessible(page, colors_only=scheme == "dark")
