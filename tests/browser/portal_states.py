"""The pages of the portal in each state that a reader can meet, with rows of a scripted gateway.

`tests/support/isolated-root.sh /usr/bin/python3 -m tests.browser.portal_states FOLDER [NAME]` takes a picture of each:
at three widths, light, dark and with forced colours.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from pam_iampass.portal.sign_in import SIGN_IN
from tests.browser.chromium import chromium
from tests.support.portal_rows import HOST, LATER, NEW, ROWS, login, ringing
from tests.support.scripted_gateway import TOKEN, ScriptedGateway

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LONG_HOST = "kubernetes-controlplane-03.dc2.internal.example.com"
LONG_NAME = "maximiliane.oberhuber-schwarzenegger"
ADMIN, HELPDESK = ("admin",), ("helpdesk",)
WIDTHS = (320, 768, 1280)
LOOKS: Mapping[str, Mapping[str, str]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "forced": {"color_scheme": "dark", "forced_colors": "active"},
}
_LOST = {**ROWS["mine"][0], "phone_lost_at": ROWS["mine"][0]["passkeys"][0]["made_at"], "codes_left": 0}
_BOB = {**ROWS["people"][1], "status": "active"}
_CALM = {**ROWS, "attention": (), "bypasses": (), "sessions": ()}
_EMPTY = {"mine": [{**ROWS["mine"][0], "codes_left": 0}], "phone": [{"user": "alice", "phone": "none"}]}
_DB, _NEW, _WEB = ROWS["hosts"]


@dataclass(frozen=True)
class State:
    """What alice looks at, and what the gateway answers."""

    path: str = "/"
    roles: tuple[str, ...] = ADMIN
    rows: Mapping[str, Any] = field(default_factory=dict)
    """The rows of views that differ from ROWS."""
    rings: tuple[Mapping[str, Any], ...] = ()
    later: tuple[Mapping[str, Any], ...] = ()
    """The requests that ask once the page is there."""
    act: str = ""
    """The act whose result is shown."""
    form: Mapping[str, str] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    is_signed_in: bool = True
    unfolds: bool = False
    """Whether all that is folded up is unfolded."""


def _result(act: str, result: Mapping[str, Any], **form: str) -> State:
    return State(
        act=act, form={"person": "bob", "back": "/people/bob", **form}, result=result, roles=HELPDESK
    )


_ENDED = {"ended": 1, "errors": 0}
_URL = f"https://iampass.internal.example.com/link#{TOKEN}"
_CODES = [f"abcd-efgh-jkmn-pq{number:02}" for number in range(10)]
STATES: Mapping[str, State] = {
    "account": State(rings=(ringing(),)),
    "account-calm": State(rows=_CALM, roles=()),
    "account-empty": State(rows=dict.fromkeys(ROWS, ()) | _EMPTY, roles=()),
    "account-requests": State(
        rings=(
            ringing(command="sudo systemctl restart nginx postgresql " + "very-long-argument " * 6),
            ringing("r2", status="waits", host=LONG_HOST, user="claude", agent="claude"),
            ringing("r3", status="waits", user="bob", command=None),
            ringing("r4", host="(helpdesk)", purpose="a call to the help desk", command=None, caller="dora"),
        ),
        rows={"sessions": ()},
    ),
    "account-waiting-request": State(rings=(ringing(status="waits"),), rows={"sessions": ()}),
    "account-ended-request": State(
        rings=(ringing(), ringing("r2", host=LONG_HOST)),
        later=({**ringing(), "status": "denied", "seconds_left": 60}, ringing("r2", host=LONG_HOST)),
        rows={"sessions": ()},
    ),
    "account-ten-logins": State(rows={"sessions": [login(str(number)) for number in range(10)]}, roles=()),
    "account-lost-phone": State(
        rows={
            "mine": [_LOST],
            "phone": [{"user": "alice", "phone": "lost", "lost_at": _LOST["phone_lost_at"]}],
            "sessions": (),
            "bypasses": (),
        },
        roles=(),
    ),
    "account-unfolded": State(rings=(ringing(),), unfolds=True),
    "people": State("/people"),
    "people-empty": State("/people?search=x", rows={"people": ()}),
    "person": State("/people/bob", HELPDESK),
    "person-unfolded": State("/people/bob", HELPDESK, unfolds=True),
    "person-verified": State(
        "/people/bob",
        HELPDESK,
        {
            "people": [{**_BOB, "caller_verified": ROWS["people"][0]["changed_at"]}],
            "denials": (),
            "bypasses": (),
        },
        unfolds=True,
    ),
    "person-auditor": State("/people/bob", ("auditor",)),
    "person-not-helped": State("/people/bob", HELPDESK, {"people": [{**_BOB, "is_helped": False}]}),
    "person-phone-not-known": State("/people/bob", HELPDESK, errors={"phone": "IAMPASS_AWAY"}),
    "person-self": State("/people/alice", HELPDESK),
    "person-long": State(
        f"/people/{LONG_NAME}",
        rows={
            "people": [{**_BOB, "user": LONG_NAME, "groups": ["administrators-of-databases", "oncall"]}],
            "sessions": [login("1", user=LONG_NAME, host=LONG_HOST, remote="2001:db8:85a3::8a2e:370:7334")],
            "records": [{**row, "host": LONG_HOST, "person": LONG_NAME} for row in ROWS["records"]],
        },
    ),
    "access": State("/access"),
    "access-empty": State("/access?search=x", rows={"access": ()}),
    "logins": State("/logins"),
    "logins-ten": State(
        "/logins",
        rows={
            "sessions": [
                login(str(number), user=("alice", LONG_NAME)[number % 2], host=(HOST, LONG_HOST)[number % 2])
                for number in range(10)
            ]
        },
    ),
    "logins-unfolded": State("/logins", unfolds=True),
    "logins-empty": State("/logins", rows={"sessions": ()}),
    "hosts": State("/hosts"),
    "hosts-long": State("/hosts", rows={"hosts": [{**row, "name": LONG_HOST} for row in ROWS["hosts"]]}),
    "hosts-empty": State("/hosts", rows={"hosts": ()}),
    "host": State(f"/hosts/{HOST}"),
    "host-unfolded": State(f"/hosts/{HOST}", unfolds=True),
    "host-waiting": State(f"/hosts/{NEW}"),
    "host-suspended": State("/hosts/web.example.com", rows={"sessions": ()}),
    "host-stopped": State(f"/hosts/{HOST}", rows={"hosts": [{**_DB, "status": "stopped"}]}),
    "host-silent": State(f"/hosts/{HOST}", rows={"hosts": [{**_DB, "seen_within_a_day": False}]}),
    "log": State("/log"),
    "log-filtered": State("/log?outcome=denied&within=week"),
    "log-empty": State("/log", rows={"records": (), "attention": (), "hours": ()}),
    "log-of-a-person": State("/log", ()),
    "result-bypass": _result(
        "bypass", {"ends_at": LATER}, seconds="900", hosts="web1, web2", services="sshd", reason="4711"
    ),
    "result-codes": _result("recovery_new", {"codes": _CODES}),
    "result-link": _result("person_link", {"url": _URL, "ends_at": LATER}),
    "result-new-phone": _result("phone_new", {"url": _URL, "ends_at": None}),
    "result-lost": _result("phone_lost", {**_ENDED, "bypasses": 1, "codes_left": 3, "disabled": False}),
    "result-verified": _result("phone_verify", {"answer": "approved", "reason": ""}),
    "result-denied": _result("phone_verify", {"answer": "denied", "reason": ""}),
    "result-no-answer": _result("phone_verify", {"answer": "over", "reason": ""}),
    "result-ended": _result("session_end", _ENDED, session="1"),
    "result-not-me": replace(_result("session_not_me", _ENDED, person="alice", session="1", back="/")),
    "result-code-for-lost-phone": _result(
        "code_for_lost_phone", {"codes": _CODES[:1]}, person="alice", back="/"
    ),
    "result-suspended": _result("host_suspend", _ENDED, host=LONG_HOST, person="", back="/hosts"),
    "result-admitted": _result("host_admit", {"status": "active"}, host=NEW, person="", back="/hosts"),
    "error-no-page": State("/hosts/none.example.com"),
    "error-no-gateway": State("/people", errors={"people": "AWAY"}),
    "error-not-helped": State("/people/carol", HELPDESK),
    "error-no-permission": State("/people", errors={"people": "NOT_PERMITTED"}),
    "error-busy": State("/people", errors={"people": "BUSY"}),
    "ended-sign-in": State("/people", errors={"/sign-in/show": "NOT_SIGNED_IN"}),
    "sign-in": State(is_signed_in=False),
    "link": State("/link#x", is_signed_in=False, errors={"/link/challenge": "REFUSED"}),
}
"""Each state by its name."""


def show(gateway: ScriptedGateway, state: State, page: Page) -> None:
    """Open the page in this state, in a browser that may have signed in."""
    gateway.roles, gateway.rows, gateway.rings = state.roles, {**ROWS, **state.rows}, state.rings
    gateway.result, gateway.errors = state.result, {**state.errors}
    if state.is_signed_in:
        cookie = {"name": SIGN_IN, "value": TOKEN, "domain": "localhost", "path": "/", "secure": True,
                  "httpOnly": True, "sameSite": "Lax"}  # fmt: skip
        page.context.add_cookies([cookie])
    else:
        page.context.clear_cookies()
    if state.act:
        page.goto(f"{gateway.url}/log")
        page.evaluate(
            "([act, fields]) => { const form = Object.assign(document.createElement('form'),"
            " { method: 'post', action: `/act/${act}` });"
            " for (const [name, value] of Object.entries(fields))"
            " form.append(Object.assign(document.createElement('input'), { name, value }));"
            " document.body.append(form); form.submit(); }",
            [state.act, {**state.form}],
        )
        page.wait_for_url(f"**/act/{state.act}")
    else:
        page.goto(gateway.url + state.path)
    page.get_by_text("checking").wait_for(state="detached")
    if state.later:
        gateway.ring(*state.later)
        page.locator(".over").wait_for()
    if state.unfolds:
        page.evaluate("() => document.querySelectorAll('details').forEach((each) => (each.open = true))")


def take(browser: Browser, gateway: ScriptedGateway, folder: Path, wanted: Callable[[str], bool]) -> None:
    """Take the pictures of the states whose names are wanted."""
    for width in WIDTHS:
        for look, options in LOOKS.items():
            context = browser.new_context(viewport={"width": width, "height": 800}, **options)
            page = context.new_page()
            for name in filter(wanted, STATES):
                show(gateway, STATES[name], page)
                page.screenshot(path=folder / f"{name}-{width}-{look}.png", full_page=True)
            context.close()


def main() -> None:
    folder, *names = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    with ScriptedGateway(rows=dict(ROWS)) as gateway, chromium() as browser:
        take(browser, gateway, Path(folder), lambda name: not names or any(map(name.startswith, names)))


if __name__ == "__main__":
    main()
