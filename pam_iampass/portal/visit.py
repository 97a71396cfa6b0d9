"""The person who looks at a page, and how a page is made for that person."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Callable, TypeVar

import jinja2
from aiohttp import web
from markupsafe import Markup

from pam_iampass.fleet.act import Role
from pam_iampass.portal.calls import Call, Error, Look, Rows
from pam_iampass.portal.gateway import GatewayClient, GatewayError
from pam_iampass.portal.offers import OFFERS, Unreadable, sentence, steps, waits
from pam_iampass.portal.settings import PortalSettings
from pam_iampass.server.serving import owner_of
from pam_iampass.server.strangers import LineIsFull, Strangers

A = TypeVar("A")


@dataclass(frozen=True)
class Visit:
    """Somebody who has signed in, during one request."""

    person: str
    roles: frozenset[str]
    """The roles that count in this sign-in, besides the person's own: `admin`, `auditor`, `helpdesk`."""
    token: str = field(repr=False)
    """The token of the sign-in, for calls."""
    remote: str
    """The address of the browser, for calls."""
    confirmed: bool
    """Whether the passkey counts; see `SignInShown`."""
    sign_in: str
    """The id of the sign-in."""
    gateway: GatewayClient = field(repr=False)
    by_itself: bool = False
    """Whether a script of the page asks, or a page of another site has sent the browser here: that may have been
    without the person, and keeps no sign-in from ending."""

    async def view(self, name: str, **filter: Any) -> Rows:
        """The rows of a view of the gateway. Raises GatewayError."""
        return await self.gateway.call(Look(self.token, name, filter, self.by_itself))

    async def call(self, call: Call[A]) -> A:
        """The gateway's answer to a call. Raises GatewayError."""
        return await self.gateway.call(call)

    def role_for(self, by: frozenset[Role], person: str | None) -> Role | None:
        """The role of `by` in which the gateway takes an act of theirs on this person, or on no one person; None if
        they may not do it. About whom a help desk may not help, the gateway alone decides."""
        if person == self.person:
            return Role.SELF if Role.SELF in by else None
        ours = (Role.ADMIN, Role.HELPDESK)
        return next((role for role in ours if role in by and role.value in self.roles), None)


Handler = Callable[[web.Request, Visit], Awaitable[web.StreamResponse]]
"""Answers a request of a person who has signed in."""

SETTINGS = web.AppKey("settings", PortalSettings)
GATEWAY = web.AppKey("gateway", GatewayClient)
STRANGERS = web.AppKey("strangers", Strangers)
TEMPLATES = web.AppKey("templates", jinja2.Environment)
VISIT = "visit"
"""Where a request has its Visit."""


def page(
    request: web.Request, template: str | jinja2.Template, *, status: int = 200, **context: Any
) -> web.Response:
    """A page, made from a template. It also has `visit` (None without a sign-in), `here` (the address of the page),
    `requests` (how many ask the reader now, where that is known) and `offer`, which shows an act with a form. Where the
    page is about somebody who may be calling, `caller` is the time of their approval on the phone, or empty."""
    visit: Visit | None = request.get(VISIT)
    templates = request.app[TEMPLATES]
    here = local_address(request.path_qs) if request.method == "GET" else "/"

    def offer(name: str, button: str = "", now: Mapping[str, str] | None = None, **given: Any) -> Markup:
        """An act as its reader may do it: a sentence, fields, a button. Empty if they may not.

        :param button: the text of the button, if it is not the label of the act.
        :param now: values that the reader changes.
        :param given: values of parameters, such as `person`; the reader fills in the others.
        """
        act = OFFERS[name]
        role = None if visit is None else visit.role_for(act.by, given.get("person"))
        if role is None:
            return Markup()
        shown = templates.get_template("offer.html").render(
            act=act,
            button=button or act.label,
            steps=steps(act, role),
            says=sentence(act, role, given),
            waits=waits(act, given),
            weakens=act.weakens and role is not Role.SELF,
            caller=context.get("caller"),
            given=given,
            now=now or {},
            role=role,
            once=secrets.token_hex(8),
            here=context.get("back", here),
        )
        return Markup(shown)  # noqa: S704 - the template has escaped what is in it

    shown = {"visit": visit, "here": here, "offer": offer, "requests": 0, **context}
    text = templates.get_template(template).render(shown)
    return web.Response(text=text, status=status, content_type="text/html")


def compressed(request: web.Request, answer: web.Response) -> web.Response:
    """The answer, compressed if the browser takes gzip. It must have no code, link or token, and show nothing of what
    the request has said: from the lengths of such answers, an attacker would learn what is in them (BREACH)."""
    answer.headers["Vary"] = "Accept-Encoding"
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        answer.enable_compression(web.ContentCoding.gzip)
    return answer


async def ask(request: web.Request, call: Call[A], token: str | None = None) -> A:
    """The gateway's answer to a call without a token, or with one that may be made up. Such calls wait in a line of
    their address; calls with a token that was found lately do not. Raises GatewayError."""
    strangers = request.app[STRANGERS]
    async with AsyncExitStack() as line:
        if token is None or not strangers.knows(token):
            try:
                await line.enter_async_context(strangers.turn(owner_of(remote_of(request))))
            except LineIsFull:
                raise GatewayError(Error.BUSY.name, Error.BUSY.words, status=Error.BUSY.status) from None
        try:
            answer = await request.app[GATEWAY].call(call)
        except GatewayError as error:
            if token is not None and error.code in (Error.NOT_SIGNED_IN.name, Error.REFUSED.name):
                strangers.forget(token)
            raise
    if token is not None:
        strangers.found(token)
    return answer


def asks_by_itself(request: web.Request) -> bool:
    """Whether a script of the page asks for a part of it (htmx says so), or for the whole."""
    return "HX-Request" in request.headers


def is_from_elsewhere(request: web.Request) -> bool:
    """Whether a page of another site has made the browser ask, also one of a name beside the portal's."""
    return request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")


def remote_of(request: web.Request) -> str:
    """The address of the browser: who has connected, or, behind proxies of the settings, the last one in
    X-Forwarded-For that is none of them."""
    proxies = request.app[SETTINGS].proxies
    hops = ",".join(request.headers.getall("X-Forwarded-For", ())).split(",")
    address = _address(request.remote or "")
    while address is not None and hops and any(address in network for network in proxies):
        before = _address(hops.pop().strip())
        if before is None:
            break
        address = before
    return str(address or "0.0.0.0")  # noqa: S104 - an address that nobody has


def is_proxy(settings: PortalSettings, address: str) -> bool:
    """Whether a proxy of the settings has this address."""
    found = _address(address)
    return found is not None and any(found in network for network in settings.proxies)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def cookie_of(request: web.Request, name: str) -> str:
    """The content of a cookie, or an empty string. Browsers write `;` between cookies, and nothing else: a page of a
    name beside the portal's sets some with spaces or braces in them, in which aiohttp's parser sees others, or fails.
    """
    pairs = (each.removeprefix(" ").partition("=") for each in request.headers.get("Cookie", "").split(";"))
    return next((value for found, _, value in pairs if found == name), "")


async def form_of(request: web.Request) -> Mapping[str, str]:
    """The fields of a form that was sent. Raises Unreadable."""
    try:
        # Some encodings take a hundred times as long to read.
        is_utf8 = (request.charset or "utf-8").lower() == "utf-8"
        if request.content_type != "application/x-www-form-urlencoded" or not is_utf8:
            raise ValueError
        return {name: str(value) for name, value in (await request.post()).items()}
    except ValueError:  # bytes of another encoding
        raise Unreadable("what was sent", "is not a form") from None


def local_address(text: str) -> str:
    """An address of this portal, without scheme and host, to which a browser may be sent; `/` for anything else."""
    is_local = text[:1] == "/" and text[1:2] not in ("/", "\\") and text.isascii() and text.isprintable()
    return text if is_local else "/"
