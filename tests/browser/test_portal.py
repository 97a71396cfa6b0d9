"""The portal in a real browser, with authenticators that Chromium has for tests."""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Callable

import pytest
import trustme
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect

from pam_iampass.portal import settings
from pam_iampass.portal.visit import TEMPLATES, Visit, page
from tests.browser.chromium import chromium
from tests.browser.conftest import PATIENCE_MS, WIDE
from tests.gateway.conftest import conninfo, gateway_server, postgres, sandbox, template
from tests.portal.conftest import SignIn, acts, acts_settings, port, server, signed_in
from tests.support.acts_socket import RunningActs
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
{% block title %}Mine{% endblock %}
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

    def add_authenticator(self, transport: str = "internal") -> None:
        options = {
            "protocol": "ctap2",
            "transport": transport,
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        session = self.context.new_cdp_session(self.page)
        session.send("WebAuthn.enable")
        session.send("WebAuthn.addVirtualAuthenticator", {"options": options})

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
    person.press("Make a passkey")
    person.sees("Your phone rings. Approve it there.")
    sandbox.wait_for_request(f"token-of-{name}")
    sandbox.approve(f"token-of-{name}")
    person.press("Go on")
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
    alice.sees("Your phone rings. Approve it there.")
    sandbox.wait_for_request("token-of-alice")
    sandbox.approve("token-of-alice")
    alice.press("Go on")
    codes = alice.page.locator(".codes code")
    expect(codes).to_have_count(10)
    code = codes.first.inner_text()
    alice.page.get_by_role("link", name="Go back").click()
    alice.sees("Hello alice")
    with pytest.raises(Error, match="ERR_CACHE_MISS"):
        alice.page.go_back()
    assert code not in alice.page.content()
    assert alice.page.evaluate("() => localStorage.length + sessionStorage.length") == 0
    alice.open("/")
    alice.press("Sign out")
    alice.sees("You are signed out.")
    assert alice.context.cookies() == []
