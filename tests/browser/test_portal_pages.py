"""The portal's pages in a real browser: by axe's rules, by keyboard, without scripts, and what happens by itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from pam_iampass.portal.sign_in import SIGN_IN
from tests.browser.accessibility import require_accessible
from tests.browser.conftest import SMALL, WIDE, OpenPage
from tests.browser.portal_states import LOOKS, STATES, show
from tests.support.portal_rows import HOST, NEW, ROWS, login, ringing
from tests.support.scripted_gateway import TOKEN, ScriptedGateway


@pytest.fixture
def gateway() -> Iterator[ScriptedGateway]:
    """alice, an admin, looks at pages."""
    with ScriptedGateway(roles=("admin",), rows=dict(ROWS), rings=[ringing()]) as running:
        yield running


def opened(open_page: OpenPage, gateway: ScriptedGateway, path: str, **options: Any) -> Page:
    """The page at an address, for who has signed in."""
    cookie = {"name": SIGN_IN, "value": TOKEN, "domain": "localhost", "path": "/", "secure": True, "httpOnly": True,
              "sameSite": "Lax", "expires": -1}  # fmt: skip
    state = {"cookies": [cookie], "origins": []}
    return open_page(gateway.url + path, storage_state=state, **options)


@pytest.mark.parametrize("name", STATES)
def test_no_page_in_any_state_breaks_a_rule_or_is_wider_than_a_small_screen(
    gateway: ScriptedGateway, open_page: OpenPage, name: str
) -> None:
    # The page's own policy would keep axe out.
    page = open_page("about:blank", bypass_csp=True, may_lose=True)
    show(gateway, STATES[name], page)
    page.evaluate("() => document.querySelectorAll('details').forEach((each) => (each.open = true))")
    for viewport in (WIDE, SMALL):
        page.set_viewport_size(viewport)
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        require_accessible(page)
    for look in ("dark", "forced"):
        page.emulate_media(**LOOKS[look])
        require_accessible(page, colors_only=True)


NAMES = ("database-primary.internal.example.com", "kubernetes-controlplane-03.dc2.example.com")
PERSON = "maximiliane.oberhuber-schwarzenegger"
_TORN = """() => {
  const torn = [], texts = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode;
    if (text.parentElement.closest('code, select, script, .unseen')) continue;
    for (const { 0: word, index } of text.data.matchAll(/[\\p{L}\\p{N}]+/gu)) {
      const range = document.createRange();
      range.setStart(text, index);
      range.setEnd(text, index + word.length);
      if (new Set([...range.getClientRects()].map(({ top }) => top)).size > 1) torn.push(word);
    }
  }
  return torn;
}"""


@pytest.mark.parametrize(
    "path", ["/", "/people", f"/people/{PERSON}", "/logins", "/hosts", f"/hosts/{NAMES[0]}", "/log"]
)
def test_no_word_of_a_name_is_torn_and_ten_logins_fit_on_a_small_screen(
    gateway: ScriptedGateway, open_page: OpenPage, path: str
) -> None:
    gateway.rings = [ringing(host=NAMES[0], caller=PERSON)]
    gateway.rows["sessions"] = [
        login(str(number), host=NAMES[number % 2], remote="2001:db8:85a3::8a2e:370:7334", caller=PERSON)
        for number in range(10)
    ]
    gateway.rows["hosts"] = [{**row, "name": name} for row, name in zip(ROWS["hosts"], NAMES)]
    gateway.rows["people"] = [
        {**ROWS["people"][0], "user": PERSON, "groups": ["administrators-of-databases"]}
    ]
    gateway.rows["records"] = [{**row, "host": NAMES[0], "person": PERSON} for row in ROWS["records"]]
    page = opened(open_page, gateway, path)
    page.evaluate("() => document.querySelectorAll('details').forEach((each) => (each.open = true))")
    for width in (320, 768, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate(_TORN) == [], width
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), width


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        ({"url": f"https://portal.internal.example.com/link#{TOKEN}", "ends_at": None}, "/link#"),
        ({"codes": ["abcd-efgh-jkmn"]}, "PreferredAuthentications="),
    ],
)
def test_no_result_is_wider_than_a_small_screen(
    gateway: ScriptedGateway, open_page: OpenPage, result: dict[str, Any], shown: str
) -> None:
    gateway.rings, gateway.rows["sessions"] = (), [login("1")]
    gateway.result = {"ended": 1, "errors": 0, **result}
    page = opened(open_page, gateway, "/", viewport=SMALL)
    act = "code_for_lost_phone" if "codes" in result else "session_end"
    page.locator("#logins summary", has_text="End this login").click()
    page.route("**/act/session_end", lambda route: route.continue_(url=f"{gateway.url}/act/{act}"))
    page.get_by_role("button", name="End this login").click()
    code = page.locator(".sheet code", has_text=shown)
    expect(code).to_be_visible()
    right = "(element) => element.getBoundingClientRect().right"
    assert code.evaluate(right) < page.locator(".sheet").evaluate(right) <= SMALL["width"]
    assert page.locator("html").evaluate("(html) => html.scrollWidth <= innerWidth")


@pytest.mark.parametrize("path", ["/people", "/access", "/logins", "/hosts", "/log?within=week"])
def test_a_search_has_room_on_each_screen(gateway: ScriptedGateway, open_page: OpenPage, path: str) -> None:
    page = opened(open_page, gateway, path)
    for width, lines in ((320, 2), (768, 1), (1280, 1)):
        page.set_viewport_size({"width": width, "height": 800})
        for label in page.locator("form.search label:not(.tick)").all():
            assert (label.bounding_box() or {})["height"] <= lines * 26, (width, label.inner_text())
        assert (page.locator("#search").bounding_box() or {})["width"] >= 256, width


def test_on_a_wide_screen_what_a_help_desk_needs_for_a_call_is_seen_at_once(
    gateway: ScriptedGateway, open_page: OpenPage
) -> None:
    gateway.roles = ("helpdesk",)
    page = opened(open_page, gateway, "/people/bob", viewport={"width": 1280, "height": 800})
    for name in ("Ring to verify a caller", "Report the phone lost", "Register a new phone"):
        expect(page.locator("summary", has_text=name)).to_be_in_viewport()
    expect(page.locator("#facts")).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize("path", ["/logins", "/log"])
def test_a_list_does_not_touch_the_line_above_it(
    gateway: ScriptedGateway, open_page: OpenPage, path: str
) -> None:
    rows = opened(open_page, gateway, path).locator("section > .following + .rows")
    gap = "(rows) => rows.getBoundingClientRect().top - rows.previousElementSibling.getBoundingClientRect().bottom"
    assert rows.evaluate(gap) >= 8


def test_on_a_small_screen_ten_logins_hide_neither_what_ends_them_nor_the_phone(
    gateway: ScriptedGateway, open_page: OpenPage
) -> None:
    gateway.rings, gateway.rows["sessions"] = (), [login(str(number)) for number in range(10)]
    page = opened(open_page, gateway, "/", viewport=SMALL)
    logins = page.locator("#logins .tree").bounding_box()
    end = page.locator("summary", has_text="End all 10 logins").bounding_box()
    assert logins is not None
    assert end is not None
    assert end["y"] < logins["y"]
    page.get_by_role("link", name="Passkeys").click()
    expect(page.get_by_role("heading", name="Passkeys", exact=True)).to_be_in_viewport()
    page.set_viewport_size(WIDE)
    expect(page.get_by_role("link", name="Passkeys")).to_be_hidden()


def test_with_forced_colors_the_page_that_is_open_states_and_the_parts_of_the_plot_can_be_told_apart(
    gateway: ScriptedGateway, open_page: OpenPage
) -> None:
    page = opened(open_page, gateway, "/log", **LOOKS["forced"])
    here, elsewhere = (
        page.locator(f"header nav a{which}").first.evaluate(
            "(link) => getComputedStyle(link).textDecorationLine"
        )
        for which in ("[aria-current]", ":not([aria-current])")
    )
    assert (here, elsewhere) == ("underline", "none")
    bars, legend = page.evaluate(
        "() => { const style = (element, part) => getComputedStyle(element, part);"
        " const looks = ['.yes', '.quiet', '.no'];"
        " return [looks.map((look) => style(document.querySelector(`.plot rect${look}`)).fill),"
        " looks.map((look) => style(document.querySelector(`.legend ${look}`), '::before').background)]; }"
    )
    assert (len({*bars}), len({*legend})) == (3, 3), "patterns, not only colours"
    page.goto(f"{gateway.url}/people/bob")
    chips = page.locator("summary .chip")
    assert {*chips.all_inner_texts()} == {"not verified", "weakens security"}
    signs, borders = page.locator(".chip").evaluate_all(
        "(all) => [all.map((chip) => getComputedStyle(chip, '::before').content),"
        " all.map((chip) => getComputedStyle(chip).borderTopWidth)]"
    )
    assert {sign[1] for sign in signs} == {"\u2713", "\u2715", "!"}
    assert {*borders} == {"1px"}


def test_a_login_is_ended_by_keyboard(gateway: ScriptedGateway, open_page: OpenPage) -> None:
    gateway.result = {"ended": 1, "errors": 0}
    gateway.rings, gateway.rows["sessions"] = (), [login("7b0c1a52-0000-4000-8000-000000000000")]
    gateway.rows["attention"] = ()
    page = opened(open_page, gateway, "/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(2):  # the host's link, and what ends the login
        page.keyboard.press("Tab")
    expect(page.locator("summary", has_text="End this login")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="End this login")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 login has ended")).to_be_visible()
    assert [name for name, _ in gateway.asked].count("session_end") == 1
    page.get_by_role("link", name="Go back").click()
    expect(page.get_by_role("heading", name="Requests for you")).to_be_visible()


def test_a_new_request_is_announced_and_takes_no_focus(gateway: ScriptedGateway, open_page: OpenPage) -> None:
    page = opened(open_page, gateway, "/")
    button = page.get_by_role("button", name="That is not me").first
    button.focus()
    gateway.ring(ringing(), {**ringing("r2"), "host": "other.example.com"})
    expect(page.get_by_role("heading", name="other.example.com")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="other.example.com sent you a request")).to_have_count(
        1
    )
    expect(button).to_be_focused()
    gateway.ring()
    expect(page.get_by_role("heading", name="No request for you")).to_be_visible()
    gateway.ring(ringing("r3"))
    expect(page.locator(".request")).to_have_count(1)
    gateway.result = {"ended": 1, "errors": 0}
    page.get_by_role("button", name="That is not me").first.click()
    expect(page.get_by_text("The request has ended, and your administrators get an alert")).to_be_visible()
    assert ("session_not_me", {"person": "alice", "session": "r3"}) in gateway.asked


def test_what_is_over_keeps_its_place_and_no_press_counts_just_after_a_button_has_moved(
    gateway: ScriptedGateway, open_page: OpenPage
) -> None:
    gateway.rows["sessions"] = ()
    gateway.rings = [ringing(), ringing("r2", host="other.example.com")]
    page = opened(open_page, gateway, "/")
    other = page.locator(".request", has_text="other.example.com")
    button = other.get_by_role("button", name="That is not me")
    before = button.bounding_box()
    gateway.ring(
        {**ringing(), "status": "approved", "seconds_left": 2}, ringing("r2", host="other.example.com")
    )
    expect(page.locator(".request").first).to_contain_text("approved on the phone")
    assert button.bounding_box() == before
    # It is pressed at the very moment at which it moves.
    page.evaluate(
        "() => new MutationObserver((_, watch) => {"
        " const button = document.querySelector('.request:only-child button');"
        " if (button) { watch.disconnect(); button.click(); } })"
        ".observe(document.getElementById('rings'), {childList: true, subtree: true})"
    )
    expect(other).to_contain_text("This request has just moved here.")
    expect(page.locator(".request")).to_have_count(1)
    assert not [name for name, _ in gateway.asked if name == "session_not_me"]
    gateway.ring({**ringing("r2", host="other.example.com"), "status": "over", "seconds_left": 1})
    expect(page.get_by_role("heading", name="No request for you")).to_be_visible()


def test_logins_appear_and_end_by_themselves_and_what_is_unfolded_and_focused_stays_so(
    gateway: ScriptedGateway, open_page: OpenPage
) -> None:
    gateway.rings, gateway.rows["sessions"] = (), [login("1")]
    page = opened(open_page, gateway, "/")
    logins, end = (
        page.locator("#logins .tree > li"),
        page.locator("#logins summary", has_text="End this login").first,
    )
    end.click()
    expect(end).to_be_focused()
    gateway.rows["sessions"] = [login("1"), login("2", host="web.example.com")]
    gateway.ring()
    expect(logins).to_have_count(2)
    expect(end).to_be_focused()
    expect(page.get_by_role("button", name="End this login")).to_have_count(1)
    announced = page.get_by_role("status").filter(has_text="You are logged in to web.example.com.")
    expect(announced).to_have_count(1)
    gateway.rows["sessions"] = ()
    gateway.ring()
    expect(page.get_by_text("You have no open logins")).to_be_visible()


def test_where_what_had_the_focus_has_ended_the_title_above_has_it_and_the_end_is_announced(
    gateway: ScriptedGateway, open_page: OpenPage
) -> None:
    gateway.rings, gateway.rows["sessions"] = [ringing()], [login("1"), login("2", host="web.example.com")]
    page = opened(open_page, gateway, "/")
    said = page.locator("#announcement")
    page.get_by_role("button", name="That is not me").first.focus()
    gateway.ring({**ringing(), "status": "denied", "seconds_left": 1})
    expect(page.locator("#rings-title")).to_be_focused()
    page.locator(".request a").focus()  # the card goes a second later
    expect(page.locator(".request")).to_have_count(0)
    expect(page.locator("#rings-title")).to_be_focused()
    page.locator("#session_end-of-2 summary").focus()
    gateway.rows["sessions"] = [login("1")]
    gateway.ring()
    expect(page.locator("#logins-title")).to_be_focused()
    expect(said).to_have_text("alice on web.example.com: ended.")

    many = [login(str(number), host=f"web{number}.example.com") for number in range(5)]
    gateway.rows["sessions"] = many
    page = opened(open_page, gateway, "/logins")
    said = page.locator("#announcement")
    page.locator("#host-of-4").focus()
    gateway.rows["sessions"] = many[:4]
    _shown_again(page)
    expect(page.get_by_role("heading", name="Open logins")).to_be_focused()
    expect(said).to_have_text("alice on web4.example.com: ended.")
    page.locator("#person-of-0").focus()
    gateway.rows["sessions"] = many[:1]
    _shown_again(page)
    expect(said).to_have_text(" ".join(f"alice on web{number}.example.com: ended." for number in range(1, 4)))
    expect(page.locator("#person-of-0")).to_be_focused()
    gateway.rows["sessions"] = many
    _shown_again(page)
    expect(page.locator("[data-login]")).to_have_count(5)
    gateway.rows["sessions"] = ()
    _shown_again(page)
    expect(said).to_have_text("5 logins have ended.")


def test_records_that_are_read_by_keyboard_stay(gateway: ScriptedGateway, open_page: OpenPage) -> None:
    page = opened(open_page, gateway, f"/hosts/{HOST}")
    copy, link = page.get_by_role("button", name="Copy the id"), page.locator("#past .records a").first
    for focused in (copy, link):
        focused.focus()
        _shown_again(page)
        expect(focused).to_be_focused()


def _shown_again(page: Page) -> None:
    """As after the reader has looked at another tab: the page asks for its parts at once."""
    with page.expect_response(page.url):
        page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")


def test_pages_of_now_renew_themselves_but_for_what_somebody_does_there(
    gateway: ScriptedGateway, open_page: OpenPage
) -> None:
    gateway.rows["sessions"] = [login("1")]
    page = opened(open_page, gateway, "/logins")
    rows, end = page.locator(".tree > li"), page.locator("#session_end-of-1 summary")
    end.click()
    gateway.rows["sessions"] = [login("2", host="web.example.com", status="asked"), login("1")]
    _shown_again(page)
    expect(rows).to_have_count(2)
    expect(end).to_be_focused()
    expect(page.get_by_role("button", name="End this login")).to_have_count(1)
    # A part with an act that is under way stays.
    page.evaluate("() => { document.querySelector('details[open] [role=status]').textContent = 'Wait.'; }")
    gateway.rows["sessions"] = ()
    _shown_again(page)
    expect(rows).to_have_count(2)
    end.click()
    _shown_again(page)
    expect(page.get_by_text("No open login")).to_be_visible()

    page = opened(open_page, gateway, "/people/bob")
    expect(page.locator("#phone")).to_have_text("registered")
    host = page.get_by_label("Another host")
    host.fill("web")
    gateway.rows["denials"], gateway.rows["sessions"] = (), [login("3", user="bob")]
    looked_up = [view for view, _ in gateway.asked].count("phone")
    _shown_again(page)
    expect(page.locator("#logins .tree > li")).to_have_count(1)
    expect(host).to_have_value("web")
    expect(page.locator("#phone")).to_have_text("registered")
    assert [view for view, _ in gateway.asked].count("phone") == looked_up, "IAMPASS is asked once for a page"
    host.blur()
    _shown_again(page)
    expect(page.get_by_text("This is over.")).to_have_count(0)


def test_requests_are_counted_in_the_title_also_in_a_tab_in_the_background(
    gateway: ScriptedGateway, open_page: OpenPage
) -> None:
    page = opened(open_page, gateway, "/", may_lose=True)
    icon = page.locator("link[rel=icon]")
    expect(page).to_have_title("(1) My account · IAMPASS")
    gateway.ring()
    expect(page).to_have_title("My account · IAMPASS")
    expect(icon).to_have_attribute("href", icon.get_attribute("data-quiet") or "")
    page.evaluate(
        "() => { Object.defineProperty(document, 'hidden', { get: () => true });"
        " document.dispatchEvent(new Event('visibilitychange')); }"
    )
    gateway.ring(ringing("r2"), ringing("r3"))
    with page.expect_response(lambda response: "brief=1" in response.url):
        page.evaluate("() => htmx.trigger('#rings', 'load')")
    expect(page).to_have_title("(2) My account · IAMPASS")
    expect(icon).to_have_attribute("href", icon.get_attribute("data-asks") or "")


def test_the_link_to_verify_a_caller_unfolds_what_does_so(
    gateway: ScriptedGateway, open_page: OpenPage
) -> None:
    page = opened(open_page, gateway, "/people/bob")
    page.locator("summary", has_text="Allow logins without the phone").click()
    page.locator("#verify-for-bypass").click()
    expect(page.locator("#phone_verify-of-all summary")).to_be_focused()
    expect(page.get_by_role("button", name="Ring to verify a caller")).to_be_visible()


def test_a_phone_that_cannot_be_looked_up_is_not_looked_up_for_ever(
    gateway: ScriptedGateway, open_page: OpenPage
) -> None:
    gateway.errors = {"phone": "IAMPASS_AWAY"}
    page = opened(open_page, gateway, "/people/bob", may_lose=True)
    expect(page.locator("#phone")).to_have_text("not known now")


def test_the_filters_of_the_log_are_folded_unless_one_is_in_use(
    gateway: ScriptedGateway, open_page: OpenPage
) -> None:
    page = opened(open_page, gateway, "/log?search=bob", viewport=SMALL)
    expect(page.get_by_label("Outcome")).to_be_hidden()
    page.locator("summary", has_text="Filters").click()
    page.get_by_label("Outcome").select_option("denied")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_label("Outcome")).to_be_visible()
    page.get_by_role("link", name="Clear them").click()
    expect(page.get_by_label("Outcome")).to_be_hidden()
    expect(page.get_by_label("Search")).to_have_value("")


def test_an_id_is_copied(gateway: ScriptedGateway, open_page: OpenPage) -> None:
    page = opened(open_page, gateway, f"/hosts/{NEW}", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the id").first.click()
    expect(page.get_by_role("button", name="Copied")).to_have_count(1)
    assert page.evaluate("() => navigator.clipboard.readText()") == ROWS["hosts"][1]["id"]
    page = opened(open_page, gateway, f"/hosts/{NEW}", java_script_enabled=False)
    expect(page.locator(".copy").first).to_be_hidden()


def test_where_a_sign_in_has_ended_there_is_a_link_to_sign_in_again(
    gateway: ScriptedGateway, open_page: OpenPage
) -> None:
    page = opened(open_page, gateway, "/hosts/" + HOST, may_lose=True)
    page.locator("summary", has_text="Suspend").click()
    page.context.clear_cookies()
    page.get_by_role("button", name="Suspend").click()
    page.get_by_role("link", name="Sign in again").click()
    expect(page.get_by_role("button", name="Sign in with a passkey")).to_be_visible()
    expect(page.locator("[name=to]")).to_have_value(f"/hosts/{HOST}")


def test_codes_are_printed_on_one_sheet_without_navigation_and_buttons(
    gateway: ScriptedGateway, open_page: OpenPage
) -> None:
    gateway.rings, gateway.rows["sessions"] = (), [login("1")]
    gateway.result = {
        "codes": [f"abcd-efgh-jkmn-pq{number:02}" for number in range(10)],
        "ended": 1,
        "errors": 0,
    }
    page = opened(open_page, gateway, "/", color_scheme="dark")
    page.locator("#logins summary", has_text="End this login").click()
    page.get_by_role("button", name="End this login").click()
    page.evaluate("() => { window.print = () => document.body.append('It is printed.'); }")
    page.get_by_role("button", name="Print").click()
    expect(page.get_by_text("It is printed.")).to_be_visible()
    page.emulate_media(media="print", color_scheme="dark")
    for shown in (
        "abcd-efgh-jkmn-pq09",
        "alice",
        gateway.url,
        "Type it where ssh says",
        str(datetime.now().year),
    ):
        expect(page.locator(".sheet").get_by_text(shown).first).to_be_visible()
    for left_out in ("header", "footer", "button", "a"):
        assert not [each for each in page.locator(left_out).all() if each.is_visible()], left_out
    assert (
        page.evaluate("() => getComputedStyle(document.querySelector('.sheet')).color") == "rgb(21, 32, 43)"
    )
    page.set_viewport_size({"width": 680, "height": 1000})  # what the margins leave of A4
    lines = "(all) => all.map((code) => code.getClientRects().length)"
    assert page.locator(".codes code").evaluate_all(lines) == [1] * 10, "a code is on one line"
    assert b"/Count 1\n" in page.pdf(format="A4")


def test_a_page_that_cannot_be_kept_up_to_date_says_so_until_it_can(
    gateway: ScriptedGateway, open_page: OpenPage
) -> None:
    page = opened(open_page, gateway, "/", may_lose=True)
    gateway.errors = {"/rings": "DATABASE_AWAY"}
    gateway.ring()
    alert = page.get_by_role("alert").filter(has_text="What is shown may be outdated")
    expect(alert).to_be_visible()
    gateway.errors = {}
    gateway.ring(ringing("r2"))
    expect(alert).to_be_hidden()
    expect(page.locator(".request")).to_have_count(1)


def test_times_are_those_of_the_reader_and_of_utc_without_scripts(
    gateway: ScriptedGateway, open_page: OpenPage
) -> None:
    gateway.rows["people"] = [{**ROWS["people"][1], "changed_at": "2019-02-03T20:00:00+00:00"}]
    page = opened(open_page, gateway, "/people/bob", timezone_id="Asia/Tokyo", locale="en-GB")
    expect(page.get_by_text("4 Feb 2019")).to_be_visible()
    page = opened(open_page, gateway, "/people/bob", java_script_enabled=False)
    expect(page.get_by_text("2019-02-03 20:00 UTC")).to_be_visible()
    old = {"time": "2019-02-03T20:00:05+00:00", "until": "2019-02-04T20:00:00+00:00"}
    gateway.rows["records"] = [{**ROWS["records"][-3], **old}]
    page = opened(open_page, gateway, "/log", timezone_id="Asia/Tokyo", locale="en-GB")
    expect(page.locator(".when")).to_have_text("4 Feb 2019, 05:00:05")
    expect(page.locator(".reason time")).to_have_text("5 Feb 2019")


def test_an_act_that_is_under_way_is_not_begun_again(gateway: ScriptedGateway, open_page: OpenPage) -> None:
    gateway.result = {"ended": 1, "errors": 0}
    gateway.rings, gateway.rows["sessions"] = (), [login("1")]
    page = opened(open_page, gateway, "/")
    sent, label, says = page.evaluate(
        "() => { const sent = []; addEventListener('submit', (event) => sent.push(!event.defaultPrevented));"
        " const form = document.querySelector('#logins form'), button = form.querySelector('button');"
        " button.click(); button.click();"
        " return [sent, button.ariaDisabled, form.querySelector('[role=status]').textContent]; }"
    )
    assert (sent, label) == ([True, False], "true")
    assert says == "In progress. Please wait."
    expect(page.get_by_text("1 login has ended")).to_be_visible()
    assert [name for name, _ in gateway.asked if name == "session_end"] == ["session_end"]


def test_without_scripts_a_login_is_ended(gateway: ScriptedGateway, open_page: OpenPage) -> None:
    gateway.result = {"ended": 1, "errors": 0}
    page = opened(open_page, gateway, "/", java_script_enabled=False)
    page.locator("summary", has_text="End this login").first.click()
    page.get_by_role("button", name="End this login").first.click()
    expect(page.get_by_text("1 login has ended")).to_be_visible()
