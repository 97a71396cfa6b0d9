"""Signing in and out, and the link that registers a passkey."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from pam_iampass.portal.calls import (
    BeginSignIn,
    DoAct,
    OpenLink,
    PhoneAnswer,
    RingForLink,
    Ringing,
    ShowSignIn,
    SignIn,
    UseLink,
    WaitForLink,
)
from pam_iampass.portal.gateway import GatewayError
from pam_iampass.portal.offers import Unreadable
from pam_iampass.portal.visit import (
    GATEWAY,
    SETTINGS,
    STRANGERS,
    Visit,
    ask,
    asks_by_itself,
    cookie_of,
    form_of,
    is_from_elsewhere,
    local_address,
    page,
    remote_of,
)
from pam_iampass.portal.words import NO_PHONE, why_not_rung

BEGIN, SIGN_IN = "__Host-begin", "__Host-sign-in"
"""The cookies: what binds a challenge to this browser, and the token of the sign-in."""
REGISTERED = "/link/registered"
_COOKIE: Mapping[str, Any] = {"path": "/", "secure": True, "httponly": True, "samesite": "Lax"}
_SECRET = re.compile("[A-Za-z0-9_-]{43}")
_LONGEST_AGENT = 200
_DEVICES = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Macintosh": "Mac",
    "Windows": "Windows PC",
}
"""The platform that a browser names, and the common name of the device."""


async def visit_of(request: web.Request) -> Visit:
    """The visit of the person who signed in. Raises GatewayError, also if nobody has signed in."""
    token, gateway = cookie_of(request, SIGN_IN), request.app[GATEWAY]
    if not _SECRET.fullmatch(token):
        raise GatewayError("NOT_SIGNED_IN", "", status=401)
    shown = await ask(request, ShowSignIn(token), token)
    roles = frozenset(shown.roles)
    remote, by_itself = remote_of(request), is_from_elsewhere(request) or asks_by_itself(request)
    return Visit(shown.person, roles, token, remote, shown.confirmed, shown.id, gateway, by_itself)


def sign_in_page(
    request: web.Request, to: str, title: str = "Sign in", says: str = "", status: int = 200
) -> web.Response:
    """The page on which people sign in; then they are sent to `to`."""
    return page(request, "sign_in.html", to=local_address(to), title=title, says=says, status=status)


async def show_sign_in(request: web.Request) -> web.Response:
    return sign_in_page(request, "/")


async def begin_sign_in(request: web.Request) -> web.Response:
    binding = _binding(request)
    begun = await ask(request, BeginSignIn(binding))
    return _with_binding(web.json_response({"options": begun.options}), binding)


async def sign_in(request: web.Request) -> web.Response:
    form = await form_of(request)
    agent = request.headers.get("User-Agent", "")[:_LONGEST_AGENT]
    touch = json_object(form.get("touch", ""))
    asked = SignIn(_binding(request), touch, remote_of(request), agent if agent.isprintable() else "")
    begun = await ask(request, asked)
    request.app[STRANGERS].found(begun.token)
    response = web.Response(status=303, headers={"Location": local_address(form.get("to", ""))})
    response.set_cookie(SIGN_IN, begun.token, **_COOKIE)
    response.del_cookie(BEGIN, **_COOKIE)
    return response


async def sign_out(request: web.Request) -> web.Response:
    """End this sign-in. The browser forgets it in any case."""
    title, says = "You are signed out", ""
    try:
        visit = await visit_of(request)
        parameters = {"person": visit.person, "sign_in": visit.sign_in}
        await visit.call(DoAct(visit.token, "sign_in_end", parameters, secrets.token_hex(8), visit.remote))
    except GatewayError as error:
        if error.code != "NOT_SIGNED_IN":
            title = "This browser has removed your sign-in"
            says = "The gateway could not end your sign-in. It ends after 30 minutes without use."
    response = sign_in_page(request, "/", title, says)
    response.del_cookie(SIGN_IN, **_COOKIE)
    return response


# Links


async def show_link(request: web.Request) -> web.Response:
    """The page that a link opens. The link's token is behind `#`, where only the page's script sees it."""
    agent = request.headers.get("User-Agent", "")
    label = next((label for word, label in _DEVICES.items() if word in agent), "laptop")
    return page(request, "link.html", label=label)


async def open_link(request: web.Request) -> web.Response:
    binding = _binding(request)
    token = (await form_of(request)).get("token", "")
    opened = await ask(request, OpenLink(token, binding), token)
    answer = {"options": opened.options, "person": opened.person, "phone": opened.phone}
    return _with_binding(web.json_response(answer), binding)


async def ring_for_link(request: web.Request) -> web.Response:
    token = (await form_of(request)).get("token", "")
    return rung(await ask(request, RingForLink(token, remote_of(request)), token))


async def wait_for_link(request: web.Request) -> web.Response:
    form = await form_of(request)
    token = form.get("token", "")
    return answered(await ask(request, WaitForLink(token, form.get("phone", "")), token))


async def use_link(request: web.Request) -> web.Response:
    form = await form_of(request)
    token, answer = form.get("token", ""), json_object(form.get("answer", ""))
    label, phone = form.get("label", ""), form.get("phone") or None
    await ask(request, UseLink(token, _binding(request), answer, label, remote_of(request), phone), token)
    return web.Response(status=303, headers={"Location": REGISTERED})


async def show_registered(request: web.Request) -> web.Response:
    """The page after a link was used. It has an address of its own: with that of the link's page, a browser would load
    nothing for the next link."""
    return page(request, "registered.html", origin=request.app[SETTINGS].origin)


# Answers to scripts


def rung(ringing: Ringing) -> web.Response:
    """Answer a script that had a phone asked. Without a phone, nothing has to be approved; the gateway decides this."""
    says = "" if ringing.phone or ringing.reason == NO_PHONE else why_not_rung(ringing)
    return web.json_response({"phone": ringing.phone or "", "says": says})


def answered(answer: PhoneAnswer) -> web.Response:
    return web.json_response({"state": answer.state})


def json_object(text: str) -> Mapping[str, Any]:
    """The answer of a browser for a passkey. Raises Unreadable."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Unreadable("the answer of your passkey", "is missing: switch on JavaScript")
    return value


# The binding


def _binding(request: web.Request) -> str:
    """The cookie that binds a challenge to this browser. Several tabs share it."""
    had = cookie_of(request, BEGIN)
    return had if _SECRET.fullmatch(had) else secrets.token_urlsafe(32)


def _with_binding(response: web.Response, binding: str) -> web.Response:
    response.set_cookie(BEGIN, binding, **_COOKIE)
    return response
