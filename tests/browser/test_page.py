"""The phone page in a real browser, against a sandbox."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import SMALL, OpenPage
from tests.browser.wire import Wire
from tests.sandbox.signer import Caller
from tests.support.sandbox import Sandbox


def card(page: Page, user: str) -> Locator:
    return page.locator(".request", has=page.get_by_role("heading", name=user, exact=True))


def link_of(caller: Caller, user: str) -> str:
    link: str = caller.get(caller.manage("device_registration_link", user)).json["register_url"]
    return link


def test_a_request_appears_at_once_with_user_age_and_countdown(
    sandbox: Sandbox, caller: Caller, open_page: OpenPage
) -> None:
    page = open_page(sandbox.phone_url)
    expect(page.get_by_text("Nothing to answer")).to_be_visible()
    begun = caller.start("alice").authentication
    left = card(page, "alice").locator(".left")
    expect(left).to_have_text(re.compile(r"^([1-5]\d|60) s left"))
    first = left.inner_text()
    expect(card(page, "alice")).to_contain_text(re.compile(r"asked \d+ s ago"))
    expect(page).to_have_title("(1) Phone · IAMPASS sandbox")
    expect(page.get_by_text("Nothing to answer")).to_be_hidden()
    expect(left).not_to_have_text(first)
    expect(left).to_have_text(re.compile(r"^[1-5]\d s left"))
    page.get_by_role("button", name="Approve, alice").click()
    expect(card(page, "alice").locator(".outcome")).to_have_text("Approved")
    assert caller.poll(begun) == "active"
    expect(page.get_by_text("Nothing to answer")).to_be_visible()
    expect(page.get_by_role("list").filter(has_text="Approved")).to_contain_text("alice")


def test_the_end_of_the_time_is_reported_and_a_withdrawn_request_too(
    sandbox: Sandbox, caller: Caller, open_page: OpenPage
) -> None:
    page = open_page(sandbox.phone_url)
    sandbox.request_timeout = 8.0
    caller.start("alice")
    expect(card(page, "alice")).to_have_class(re.compile(r"\bsoon\b"))
    expect(card(page, "alice").locator(".outcome")).to_have_text("Expired: not answered in time")
    sandbox.request_timeout = 60.0
    begun = caller.start("bob").authentication
    expect(page.get_by_role("button", name="Deny, bob")).to_be_visible()
    caller.end(begun)
    expect(card(page, "bob").locator(".outcome")).to_have_text("Withdrawn: the login ended before an answer")
    expect(page.locator("#recent")).to_contain_text(re.compile("bob.*Withdrawn.*alice.*Expired"))


@pytest.mark.parametrize(
    ("button", "status"),
    [("alice’s face", "active"), ("Another face", "failed"), ("Deny, alice", "cancelled")],
)
def test_a_face_is_played_in_two_steps(
    sandbox: Sandbox, caller: Caller, open_page: OpenPage, button: str, status: str
) -> None:
    page = open_page(sandbox.phone_url)
    begun = caller.start("alice", "?methods=facial").authentication
    expect(page.get_by_role("button", name="Approve, alice")).to_be_hidden()
    page.get_by_role("button", name="Show my face, alice").click()
    expect(page.get_by_text("There is no camera here.")).to_be_visible()
    expect(page.get_by_role("group", name="Face check, without a camera")).to_be_focused()
    assert caller.poll(begun) == "identifying"
    page.get_by_role("button", name=button).click()
    expect(card(page, "alice").locator(".outcome")).to_be_visible()
    assert caller.poll(begun) == status


@pytest.mark.parametrize(("verb", "status"), [("Approve", "active"), ("Deny", "cancelled")])
def test_a_request_is_answered_by_keyboard_only(
    sandbox: Sandbox, caller: Caller, open_page: OpenPage, verb: str, status: str
) -> None:
    page = open_page(sandbox.phone_url)
    begun = caller.start("alice").authentication
    button = page.get_by_role("button", name=f"{verb}, alice")
    expect(button).to_be_visible()
    pressed = 0
    while not button.evaluate("node => node === document.activeElement"):
        page.keyboard.press("Tab")
        pressed += 1
        assert pressed <= 2, "the answers are the first things that Tab comes to"
    page.keyboard.press("Enter")
    expect(card(page, "alice").locator(".outcome")).to_be_visible()
    assert caller.poll(begun) == status
    expect(page.get_by_role("heading", name="Requests")).to_be_focused()


def test_focus_stays_where_it_is_when_requests_come_and_go(
    sandbox: Sandbox, caller: Caller, open_page: OpenPage
) -> None:
    page = open_page(sandbox.phone_url)
    caller.start("alice")
    deny = page.get_by_role("button", name="Deny, alice")
    deny.focus()
    caller.start("bob")
    expect(page.get_by_role("button", name="Approve, bob")).to_be_visible()
    expect(deny).to_be_focused()
    sandbox.approve("bob")
    expect(card(page, "bob").locator(".outcome")).to_be_visible()
    expect(card(page, "bob")).to_have_count(0)
    expect(deny).to_be_focused()


def test_a_key_pressed_twice_answers_one_request_only(
    sandbox: Sandbox, caller: Caller, open_page: OpenPage
) -> None:
    page = open_page(sandbox.phone_url)
    first, second = (caller.start(user).authentication for user in ("alice", "bob"))
    page.get_by_role("button", name="Approve, alice").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(card(page, "bob")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Deny, bob")).to_be_focused()
    assert (caller.poll(first), caller.poll(second)) == ("active", "pending")


def test_what_happens_is_said_to_a_screen_reader(
    sandbox: Sandbox, caller: Caller, open_page: OpenPage
) -> None:
    page = open_page(sandbox.phone_url)
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()
    said = page.locator("#announcements[aria-live=polite]")
    caller.start("alice")
    expect(said).to_have_text(re.compile(r"New request: a login as alice\. (5[3-9]|60) s to answer\."))
    page.get_by_role("button", name="Deny, alice").click()
    expect(said).to_contain_text("alice: Denied.")
    # The countdown is no live region: nobody wants to hear it each second.
    assert page.locator(".left").locator("xpath=ancestor::*[@aria-live or @role='status']").count() == 0


def test_when_the_connection_is_lost_it_says_so_and_answers_nothing_until_it_is_back(
    sandbox: Sandbox, caller: Caller, open_page: OpenPage
) -> None:
    with Wire(sandbox.port) as wire:
        page = open_page("about:blank", may_lose=True)
        page.goto(sandbox.phone_url.replace(str(sandbox.port), str(wire.port)))
        caller.start("alice")
        deny = page.get_by_role("button", name="Deny, alice")
        deny.focus()
        wire.cut()
        expect(page.get_by_role("heading", name="The sandbox does not answer")).to_be_visible()
        expect(page.get_by_role("alert")).to_contain_text("The connection to the sandbox is lost.")
        expect(page.locator("#connection")).to_have_text("Not connected")
        expect(deny).to_have_attribute("aria-disabled", "true")
        expect(deny).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_text(re.compile(r"Trying again in \d s|Trying now"))).to_be_visible()
        caller.start("bob")
        wire.mend()
        # The page tries again without a click, too: the button may be gone, which a real click would wait for.
        page.locator("#retry-now").dispatch_event("click")
        expect(page.locator("#connection")).to_have_text("Connected")
        expect(page.get_by_role("heading", name="The sandbox does not answer")).to_be_hidden()
        expect(card(page, "bob")).to_be_visible()
        assert all(session.undecided for session in sandbox.sessions)
        deny.click()
        expect(card(page, "alice").locator(".outcome")).to_have_text("Denied")


def test_it_comes_back_by_itself(sandbox: Sandbox, open_page: OpenPage) -> None:
    with Wire(sandbox.port) as wire:
        page = open_page(sandbox.phone_url.replace(str(sandbox.port), str(wire.port)), may_lose=True)
        expect(page.locator("#connection")).to_have_text("Connected")
        wire.cut()
        expect(page.locator("#connection")).to_have_text("Not connected")
        expect(page.get_by_text("Nothing to answer")).to_be_hidden()
        expect(page.get_by_text("There may be requests that this page cannot show now.")).to_be_visible()
        wire.mend()
        expect(page.locator("#connection")).to_have_text("Connected")


def test_a_connection_that_is_dead_without_a_word_is_noticed(sandbox: Sandbox, open_page: OpenPage) -> None:
    with Wire(sandbox.port) as wire:
        page = open_page("about:blank", may_lose=True)
        page.clock.install()
        page.goto(sandbox.phone_url.replace(str(sandbox.port), str(wire.port)))
        expect(page.locator("#connection")).to_have_text("Connected")
        wire.fall_silent()
        page.clock.run_for(16_000)
        expect(page.locator("#connection")).to_have_text("Not connected")


def test_the_key_leaves_the_address_bar_and_sets_no_cookie(sandbox: Sandbox, open_page: OpenPage) -> None:
    page = open_page(sandbox.phone_url)
    expect(page.locator("#connection")).to_have_text("Connected")
    assert page.url == sandbox.url + "/phone"
    assert page.context.cookies() == []


def test_what_others_chose_is_shown_as_text(sandbox: Sandbox, caller: Caller, open_page: OpenPage) -> None:
    name = "<img src=x onerror=alert(1)>"
    sandbox.add_user(name)
    page = open_page(sandbox.phone_url)
    caller.start(name)
    body = {"phone_number": "+15551234567", "display_name": name, "message": "<script>alert(2)</script>"}
    caller.post(caller.manage("send_registration_sms", "alice"), body)
    expect(card(page, name)).to_be_visible()
    expect(page.get_by_text("<script>alert(2)</script>")).to_be_visible()
    link = link_of(caller, name)
    page.goto(link)
    expect(page.get_by_text(name)).to_be_visible()
    assert page.locator("main img, main script").count() == 0


def test_a_phone_is_registered_by_pasting_the_link_once(
    sandbox: Sandbox, caller: Caller, open_page: OpenPage
) -> None:
    sandbox.add_user("carol", device=False)
    page = open_page(sandbox.phone_url, may_lose=True)
    link = link_of(caller, "carol")
    result = page.get_by_role("status").filter(has_text="egistered")
    for text, message in [
        ("https://127.0.0.1/", "Not registered: this is not a registration link."),
        (link, "Registered: carol can now approve logins."),
        (link, "Not registered: this link has been used, or its user was deleted."),
    ]:
        page.get_by_label("Register a phone").fill(text)
        page.keyboard.press("Enter")
        expect(result).to_have_text(message)
    expect(page.locator("#users li", has_text="carol")).to_contain_text("has a phone")


def test_a_registration_message_arrives_and_its_button_registers(
    sandbox: Sandbox, caller: Caller, open_page: OpenPage
) -> None:
    sandbox.add_user("carol", device=False)
    page = open_page(sandbox.phone_url)
    body = {"phone_number": "+15551234567", "display_name": "carol@work", "message": "Welcome, Carol:"}
    caller.post(caller.manage("send_registration_sms", "carol"), body)
    bubble = page.get_by_role("listitem").filter(has_text="Welcome, Carol:")
    expect(bubble).to_contain_text("To +15551234567, about carol@work")
    bubble.get_by_role("button", name="Register this phone for carol").click()
    expect(bubble).to_contain_text("The link has been used.")
    expect(bubble.get_by_role("button")).to_be_hidden()
    assert sandbox.users["carol"] is True


def test_a_lost_phone_that_was_disabled_is_replaced_through_the_new_link(
    sandbox: Sandbox, caller: Caller, open_page: OpenPage
) -> None:
    page = open_page(sandbox.phone_url)
    row = page.locator("#users li", has_text="alice")
    page.get_by_role("button", name="Lose phone, alice").click()
    expect(row).to_contain_text("lost the phone")
    link = caller.get(caller.manage("lost_user_mobile_device", "alice")).json["register_url"]
    expect(row).to_contain_text("phone disabled: register a new one")
    page.get_by_label("Register a phone").fill(link)
    page.keyboard.press("Enter")
    expect(row).to_contain_text("has a phone")


def test_it_fits_a_small_screen(sandbox: Sandbox, caller: Caller, open_page: OpenPage) -> None:
    name = "a-name-without-any-place-to-break-it@a.very.long.example.com"
    sandbox.add_user(name)
    page = open_page(sandbox.phone_url, viewport=SMALL)
    caller.start(name, "?methods=facial")
    body = {"phone_number": "+15551234567", "display_name": name}
    caller.post(caller.manage("send_registration_sms", name), body)
    page.get_by_role("button", name="Show my face").click()
    expect(page.get_by_text("There is no camera here.")).to_be_visible()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= SMALL["width"]
    for button in page.get_by_role("button").all():
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 44
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= SMALL["width"]


def test_deny_is_as_big_as_approve(sandbox: Sandbox, caller: Caller, open_page: OpenPage) -> None:
    page = open_page(sandbox.phone_url, viewport=SMALL, reduced_motion="reduce")
    caller.start("alice")
    deny, approve = (
        page.get_by_role("button", name=f"{verb}, alice").bounding_box() for verb in ("Deny", "Approve")
    )
    assert deny is not None
    assert approve is not None
    assert (deny["width"], deny["height"], deny["y"]) == (approve["width"], approve["height"], approve["y"])


@pytest.mark.parametrize(("wish", "moves"), [("reduce", False), ("no-preference", True)])
def test_nothing_moves_for_those_who_do_not_want_it(
    sandbox: Sandbox, caller: Caller, open_page: OpenPage, wish: str, moves: bool
) -> None:
    page = open_page(sandbox.phone_url, reduced_motion=wish)
    caller.start("alice")
    style = "node => { const s = getComputedStyle(node); return [s.animationName, s.transitionDuration]; }"
    animation, _ = card(page, "alice").evaluate(style)
    _, transition = card(page, "alice").locator(".bar span").evaluate(style)
    assert (animation != "none", transition != "0s") == (moves, moves)


def test_a_session_is_left_returned_to_and_ended_on_the_page(
    sandbox: Sandbox, caller: Caller, open_page: OpenPage
) -> None:
    page = open_page(sandbox.phone_url)
    begun = caller.start("alice").authentication
    page.get_by_role("button", name="Approve, alice").click()
    row = page.locator("#sessions li")
    expect(row).to_contain_text(re.compile(r"alice.*#1, active, began \d+ s ago"))
    page.get_by_role("button", name="I walk away, alice, session 1").click()
    expect(row).to_contain_text("away, began")
    assert caller.poll(begun) == "walkaway"
    page.get_by_role("button", name="I am back, alice, session 1").click()
    expect(row).to_contain_text("active, began")
    assert caller.poll(begun) == "active"
    end = page.get_by_role("button", name="End, alice, session 1")
    end.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Sessions")).to_be_hidden()
    expect(page.get_by_role("heading", name="Requests")).to_be_focused()
    assert caller.poll(begun) == "closed"
