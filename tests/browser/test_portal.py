"""The portal in a real browser, with authenticators that Chromium has for tests."""

from __future__ import annotations

import base64
import hashlib
import http.server
import re
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Callable

import pytest
import trustme
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import Browser, BrowserContext, CDPSession, Error, Page, expect

from pam_iampass.portal import settings
from pam_iampass.portal.visit import TEMPLATES, Visit, page
from tests.browser.chromium import chromium
from tests.browser.conftest import PATIENCE_MS, WIDE
from tests.gateway.conftest import conninfo, gateway_server, postgres, sandbox, template
from tests.portal.conftest import SignIn, acts, acts_settings, port, server, signed_in
from tests.support.acts_socket import RunningActs
from tests.support.gateway import RunningGateway
from tests.support.portal import RunningPortal
from tests.support.sandbox import Sandbox

__all__ = [
    "acts",
    "acts_settings",
    "conninfo",
    "gateway_server",
    "port",
    "postgres",
    "sandbox",
    "server",
    "signed_in",
    "template",
]

ONE_PAGE = """
{% extends "base.html" %}
{% block title %}My account{% endblock %}
{% block main %}
<h1>Hello {{ visit.person }}</h1>
{% for name in names %}{{ offer(name, person=visit.person) }}{% endfor %}
{% endblock %}
"""
NAMES = ("phone_lost", "recovery_new", "recovery_revoke", "passkey_add", "sign_in_end")


async def mine(request: web.Request, visit: Visit) -> web.Response:
    return page(request, request.app[TEMPLATES].from_string(ONE_PAGE), names=NAMES)


@pytest.fixture(scope="module")
def certificate() -> trustme.LeafCert:
    return trustme.CA().issue_cert("localhost")


@pytest.fixture(scope="module")
def browser(certificate: trustme.LeafCert) -> Iterator[Browser]:
    """A browser that trusts the portal's certificate, and no other one of an unknown CA."""
    found = x509.load_pem_x509_certificate(certificate.cert_chain_pems[0].bytes())
    key = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = base64.b64encode(hashlib.sha256(key).digest()).decode()
    expect.set_options(timeout=PATIENCE_MS)
    with chromium(f"--ignore-certificate-errors-spki-list={digest}") as running:
        yield running


@pytest.fixture
def origin(port: int) -> str:
    return f"https://localhost:{port}"


@pytest.fixture
def portal(
    acts: RunningActs, port: int, origin: str, certificate: trustme.LeafCert
) -> Iterator[RunningPortal]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    with RunningPortal(
        settings.PortalSettings(origin), acts.path, port, context=context, routes=[("/", mine)]
    ) as running:
        yield running


@dataclass
class Person:
    """Somebody with a browser, an authenticator and eyes."""

    context: BrowserContext
    page: Page
    origin: str
    complaints: list[str] = field(default_factory=list)
    authenticators: list[tuple[CDPSession, str]] = field(default_factory=list)

    def add_authenticator(self, transport: str = "internal") -> None:
        options = {
            "protocol": "ctap2",
            "transport": transport,
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        if self.authenticators:
            session = self.authenticators[0][0]
        else:
            session = self.context.new_cdp_session(self.page)
            session.send("WebAuthn.enable")
        made = session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        self.authenticators.append((session, made["authenticatorId"]))

    def tab(self) -> Person:
        """A second tab of the same browser, with the same passkeys."""
        tab = Person(self.context, self.context.new_page(), self.origin, self.complaints)
        tab.add_authenticator()
        (session, id), (other, other_id) = self.authenticators[0], tab.authenticators[0]
        for each in session.send("WebAuthn.getCredentials", {"authenticatorId": id})["credentials"]:
            other.send("WebAuthn.addCredential", {"authenticatorId": other_id, "credential": each})
        return tab

    def press(self, label: str) -> None:
        self.page.get_by_role("button", name=label, exact=True).click()

    def open(self, path: str) -> None:
        self.page.goto(self.origin + path)

    def sees(self, text: str) -> None:
        expect(self.page.get_by_text(text).first).to_be_visible()

    def sign_in(self) -> None:
        self.open("/")
        self.press("Sign in with a passkey")
        expect(self.page.get_by_role("heading", name="Hello")).to_be_visible()


@pytest.fixture
def new_person(browser: Browser, origin: str, portal: RunningPortal) -> Iterator[Callable[[], Person]]:
    """Makes people, of whose pages nothing was blocked, and no script failed."""
    people = []

    def one(**options: Any) -> Person:
        context = browser.new_context(viewport=WIDE, **options)
        context.set_default_timeout(PATIENCE_MS)
        person = Person(context, context.new_page(), origin)
        people.append(person)

        def console(text: str) -> None:
            if "Failed to load resource" not in text:  # a status, such as 401
                person.complaints.append(text)

        person.page.on(
            "console", lambda said: console(said.text) if said.type in ("error", "warning") else None
        )
        person.page.on("pageerror", lambda error: person.complaints.append(str(error)))
        person.page.on("dialog", lambda dialog: person.complaints.append(f"a dialog: {dialog.message}"))
        return person

    yield one
    for person in people:
        person.context.close()
    assert [person.complaints for person in people] == [[] for _ in people]


def link_for(signed_in: SignIn, person: str) -> str:
    """A link that an admin makes."""
    answer = signed_in("iris").act("person_link", touch=True, person=person)
    found = re.search(r"https://localhost:\d+/link#[A-Za-z0-9_-]{43}", answer.text)
    assert found is not None, answer.words
    return found[0]


def with_passkey(new_person: Callable[[], Person], signed_in: SignIn, sandbox: Sandbox, name: str) -> Person:
    """Somebody who has used a link."""
    person = new_person()
    person.add_authenticator()
    person.page.goto(link_for(signed_in, name))
    expect(person.page.locator("[data-person]")).to_have_text(name)
    person.sees("If you lost your phone")
    person.press("Make a passkey")
    person.sees("Your phone is ringing. Approve there.")
    sandbox.wait_for_request(f"token-of-{name}")
    sandbox.approve(f"token-of-{name}")
    person.sees("Press Continue: your browser makes the passkey.")
    person.press("Continue")
    person.sees("The passkey is registered")
    return person


def test_a_link_a_passkey_and_an_act_with_touch_and_phone(
    new_person: Callable[[], Person], signed_in: SignIn, sandbox: Sandbox
) -> None:
    alice = with_passkey(new_person, signed_in, sandbox, "alice")
    assert "#" not in alice.page.url, "the token stays in no history"
    alice.sign_in()
    assert {(each["name"], each["httpOnly"], each["secure"]) for each in alice.context.cookies()} == {
        ("__Host-sign-in", True, True)
    }
    alice.press("Make new recovery codes")
    alice.sees("Your phone is ringing. Approve there.")
    sandbox.wait_for_request("token-of-alice")
    sandbox.approve("token-of-alice")
    alice.press("Continue")
    codes = alice.page.locator(".codes code")
    expect(codes).to_have_count(10)
    code = codes.first.inner_text()
    alice.page.get_by_role("link", name="Go back").click()
    alice.sees("Hello alice")
    with pytest.raises(Error, match="ERR_CACHE_MISS"):
        alice.page.go_back()
    expect(alice.page.locator("body")).not_to_contain_text(code)
    alice.open("/")
    assert alice.page.evaluate("() => localStorage.length + sessionStorage.length") == 0
    alice.press("Sign out")
    alice.sees("You are signed out")
    assert alice.context.cookies() == []


def test_a_further_passkey_is_approved_by_phone_and_passkey(
    new_person: Callable[[], Person], signed_in: SignIn, sandbox: Sandbox
) -> None:
    alice = with_passkey(new_person, signed_in, sandbox, "alice")
    alice.sign_in()
    alice.page.get_by_label("Name, such as").fill("key ring")
    alice.press("Add a passkey")
    alice.sees("This device already has one of your passkeys.")
    alice.add_authenticator("usb")
    alice.press("Add a passkey")
    sandbox.wait_for_request("token-of-alice")
    session, key = alice.authenticators.pop()
    session.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": key})  # or it would answer first
    sandbox.approve("token-of-alice")
    alice.press("Continue")
    alice.sees("You can now sign in with the new passkey")


def test_a_link_needs_no_phone_once_that_is_reported_lost(
    new_person: Callable[[], Person], signed_in: SignIn
) -> None:
    alice, link = new_person(), link_for(signed_in, "alice")
    alice.add_authenticator()
    alice.page.goto(link)
    alice.sees("If you lost your phone")
    assert signed_in("iris").act("phone_lost", touch=True, person="alice").status == 200
    alice.open("/")
    alice.page.goto(link)
    expect(alice.page.locator("[data-person]")).to_have_text("alice")
    expect(alice.page.locator("[data-phone]")).to_be_hidden()
    alice.press("Make a passkey")
    alice.sees("The passkey is registered")
    alice.sees(f"sign in at {alice.origin}")


def test_what_is_denied_on_the_phone_is_not_done_and_can_be_begun_again(
    new_person: Callable[[], Person], signed_in: SignIn, sandbox: Sandbox
) -> None:
    alice = new_person()
    alice.add_authenticator()
    alice.page.goto(link_for(signed_in, "alice"))
    alice.press("Make a passkey")
    sandbox.wait_for_request("token-of-alice")
    sandbox.deny("token-of-alice")
    alice.sees("The request was denied on the phone. Nothing was changed.")
    alice.press("Make a passkey")
    sandbox.wait_for_request("token-of-alice")
    sandbox.approve("token-of-alice")
    expect(alice.page.get_by_role("button", name="Continue")).to_be_visible()
    alice.open("/")
    alice.press("Sign in with a passkey")
    alice.sees("You cancelled, or it took too long. Try again.")


def test_a_link_that_was_used_or_is_not_whole_says_so(
    new_person: Callable[[], Person], signed_in: SignIn, sandbox: Sandbox
) -> None:
    carol = new_person()
    carol.add_authenticator()
    link = link_for(signed_in, "carol")
    carol.page.goto(link)
    carol.press("Make a passkey")  # carol has no phone
    carol.sees("The passkey is registered")
    carol.page.goto(link)
    carol.sees("It has been used, is older than 15 minutes")
    carol.open("/link")
    carol.sees("The link is not complete.")
    carol.sign_in()


def test_two_tabs_sign_in_and_one_signs_out(
    new_person: Callable[[], Person], signed_in: SignIn, sandbox: Sandbox
) -> None:
    one = with_passkey(new_person, signed_in, sandbox, "alice")
    two = one.tab()
    one.open("/")
    two.open("/")
    two.press("Sign in with a passkey")
    two.sees("Hello alice")
    one.press("Sign in with a passkey")
    one.sees("Hello alice")
    two.open("/")
    two.sees("Hello alice")
    one.press("Sign out")
    one.sees("You are signed out")
    two.press("Report the phone lost")
    two.sees("Your sign-in has ended")


def test_without_scripts_everything_works_that_needs_no_passkey(
    new_person: Callable[..., Person], signed_in: SignIn, sandbox: Sandbox, server: RunningGateway
) -> None:
    alice = with_passkey(new_person, signed_in, sandbox, "alice")
    alice.sign_in()
    plain = new_person(java_script_enabled=False)
    plain.context.add_cookies(alice.context.cookies())
    plain.open("/")
    plain.press("Report the phone lost")
    plain.sees("Approvals from this phone are now rejected.")
    plain.page.get_by_role("link", name="Go back").click()
    plain.press("Make new recovery codes")
    plain.sees("Your confirmation is not valid")
    plain.open("/")
    plain.press("Sign out")
    plain.sees("You are signed out")


@pytest.fixture
def foreign_page(certificate: trustme.LeafCert) -> Iterator[Callable[[str], str]]:
    """Serves a page at another port of the portal's own name, to which browsers send its cookies as well; its
    address."""
    pages: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(pages[-1])

        def log_message(self, *_: object) -> None:
            pass

    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    found.socket = context.wrap_socket(found.socket, server_side=True)
    serving = threading.Thread(target=found.serve_forever)
    serving.start()

    def page_with(text: str) -> str:
        pages.append(text.encode())
        return f"https://localhost:{found.server_address[1]}/"

    yield page_with
    found.shutdown()
    serving.join()
    found.server_close()


def test_a_page_of_the_same_name_can_neither_send_forms_nor_show_the_portal(
    new_person: Callable[[], Person],
    signed_in: SignIn,
    sandbox: Sandbox,
    server: RunningGateway,
    foreign_page: Callable[[str], str],
) -> None:
    alice = with_passkey(new_person, signed_in, sandbox, "alice")
    alice.sign_in()
    act = f"{alice.origin}/act/phone_lost"
    form = f'<form method="post" action="{act}"><input name="person" value="alice"><button>x</button>'
    alice.page.goto(foreign_page(form))
    alice.press("x")
    alice.sees("This request did not come from a page of the portal.")
    options = "{method: 'POST', credentials: 'include', mode: 'no-cors', body: new URLSearchParams({person: 'alice'})}"
    asked = (
        f"<button>x</button><p></p><script>document.querySelector('button').onclick = () => fetch('{act}', {options})"
        ".finally(() => { document.querySelector('p').textContent = 'over'; })</script>"
    )
    alice.page.goto(foreign_page(asked))
    alice.press("x")
    alice.sees("over")
    alice.page.goto(foreign_page(f'<p>framed</p><iframe src="{alice.origin}/"></iframe>'))
    alice.sees("framed")
    expect(alice.page.frame_locator("iframe").get_by_text("Hello")).to_have_count(0)
    assert any("frame-ancestors" in said for said in alice.complaints)
    alice.complaints.clear()
    assert server.rows("SELECT 1 FROM person WHERE phone_lost_at IS NOT NULL") == []
    alice.open("/")
    alice.sees("Hello alice")


def test_by_keyboard_alone(new_person: Callable[[], Person], signed_in: SignIn, sandbox: Sandbox) -> None:
    alice = with_passkey(new_person, signed_in, sandbox, "alice")
    alice.open("/")
    keyboard = alice.page.keyboard
    for _ in range(20):
        keyboard.press("Tab")
        if alice.page.evaluate("() => document.activeElement.textContent") == "Sign in with a passkey":
            break
    keyboard.press("Enter")
    alice.sees("Hello alice")
