"""The portal as a web application: what every answer has, and what is refused before any page is made."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import hashlib
import socket
import ssl
import traceback
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable

import jinja2
from aiohttp import web

from pam_iampass.portal import acts, sign_in
from pam_iampass.portal.gateway import GatewayClient, GatewayError
from pam_iampass.portal.offers import Unreadable
from pam_iampass.portal.pages import ROUTES
from pam_iampass.portal.settings import PortalSettings
from pam_iampass.portal.shown import environment
from pam_iampass.portal.visit import (
    GATEWAY,
    SETTINGS,
    STRANGERS,
    TEMPLATES,
    VISIT,
    Handler,
    asks_by_itself,
    compressed,
    cookie_of,
    form_of,
    is_from_elsewhere,
    is_proxy,
    local_address,
    page,
)
from pam_iampass.portal.words import PAGES, WORDS, Words, back_to, words_of
from pam_iampass.server.serving import Bounds, Owner, by_address, serve
from pam_iampass.server.strangers import Strangers

MOST_BYTES = 32 * 1024
"""Bytes of a form. The gateway takes a call of 16 KiB."""
BOUNDS = Bounds(connections=1000, of_one_address=400, body=MOST_BYTES)
_STRANGERS_AT_ONCE, _STRANGERS_WAIT = 4, 36
"""Calls of strangers of one address that the gateway answers at the same time, and that wait. A room full of people can
open their links at once."""
_STRANGERS_LATE = BOUNDS.of_one_address - _STRANGERS_AT_ONCE - _STRANGERS_WAIT
"""Calls of strangers of one address that are refused late. Behind a proxy, they leave connections for other addresses.
"""
_HERE = Path(__file__).parent
_HTMX = Path("/usr/share/javascript/htmx/htmx.min.js")
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FOR_A_YEAR = "public, max-age=31536000, immutable"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    # With `no-referrer`, browsers would send `Origin: null` with forms (Fetch, "append a request Origin header").
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "publickey-credentials-get=(self), publickey-credentials-create=(self)",
}
"""The headers of every answer."""
_Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(
    settings: PortalSettings, gateway: GatewayClient, routes: Sequence[tuple[str, Handler]] = ROUTES
) -> web.Application:
    """The application. `gateway` is to be open while it serves."""
    app = web.Application(middlewares=[_answer_errors, _require_origin], client_max_size=MOST_BYTES)
    assets = {path.name: _Asset(path) for path in (_HTMX, *(_HERE / "static").iterdir())}
    app[SETTINGS], app[GATEWAY], app[TEMPLATES] = settings, gateway, _templates(assets)
    app[STRANGERS] = Strangers(_STRANGERS_AT_ONCE, _STRANGERS_WAIT, _STRANGERS_LATE)
    app.on_response_prepare.append(_add_headers)
    for name, asset in assets.items():
        app.router.add_get(f"/static/{name}", asset.respond)
    for path, handler in routes:
        app.router.add_get(path, signed_in(handler))
    app.router.add_get("/sign-in", sign_in.show_sign_in)
    app.router.add_get("/link", sign_in.show_link)
    app.router.add_get(sign_in.REGISTERED, sign_in.show_registered)
    for path, respond in {
        "/sign-in/challenge": sign_in.begin_sign_in,
        "/sign-in": sign_in.sign_in,
        "/sign-out": sign_in.sign_out,
        "/link/challenge": sign_in.open_link,
        "/link/ring": sign_in.ring_for_link,
        "/link/answer": sign_in.wait_for_link,
        "/link": sign_in.use_link,
    }.items():
        app.router.add_post(path, respond)
    for path, handler in {
        "/passkey/challenge": acts.new_passkey,
        "/act/answer": acts.wait,
        "/act/{act}/challenge": acts.challenge,
        "/act/{act}/ring": acts.ring,
        "/act/{act}": acts.perform,
    }.items():
        app.router.add_post(path, signed_in(handler))
    return app


async def serve_app(
    app: web.Application,
    listener: socket.socket,
    context: ssl.SSLContext | None,
    stopping: asyncio.Event,
    ready: Callable[[], None],
) -> None:
    """Serve the application, as `serve`."""
    settings, bounds = app[SETTINGS], BOUNDS
    owner: Owner = by_address
    if settings.proxies:  # all connections are theirs
        bounds = dataclasses.replace(bounds, of_one_address=bounds.connections)
        owner = functools.partial(_proxy, settings)
    runner = web.AppRunner(app)
    await runner.setup()
    server: Any = runner.server
    respond, make_request = server.request_handler, server.request_factory
    try:
        await serve(
            lambda request, _: respond(request),
            listener,
            context,
            stopping,
            ready,
            bounds,
            owner=owner,
            make_request=make_request,
        )
    finally:
        await runner.cleanup()


def _proxy(settings: PortalSettings, sock: socket.socket, address: Any) -> str | None:
    """The owner of a connection behind proxies; None for anybody else but this machine, on which `check` looks."""
    is_ours = address[0] == sock.getsockname()[0]
    return by_address(sock, address) if is_ours or is_proxy(settings, address[0]) else None


def signed_in(handler: Handler) -> _Next:
    """Let a handler answer those who have signed in. With a passkey that must be approved first, they are shown that
    page instead, and can do nothing else: the gateway refuses it."""

    async def respond(request: web.Request) -> web.StreamResponse:
        visit = request[VISIT] = await sign_in.visit_of(request)
        if not visit.confirmed and request.method == "GET":
            return page(request, "confirm.html", status=403)
        return await handler(request, visit)

    return respond


# What every answer has


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
    if request.app[SETTINGS].origin.startswith("https:"):
        response.headers["Strict-Transport-Security"] = "max-age=31536000"


@web.middleware
async def _require_origin(request: web.Request, handler: _Next) -> web.StreamResponse:
    """Refuse what changes something, unless a page of exactly this origin has sent it, and what another site has as a
    part of its page, such as an image. Browsers say so, and a page cannot make them say something else."""
    is_ours = request.headers.getall("Origin", []) == [request.app[SETTINGS].origin]
    is_part = is_from_elsewhere(request) and request.headers.get("Sec-Fetch-Mode") != "navigate"
    if is_part or (request.method not in ("GET", "HEAD") and not is_ours):
        return await _refuse(request, WORDS["WRONG_ORIGIN"])
    return await handler(request)


@web.middleware
async def _answer_errors(request: web.Request, handler: _Next) -> web.StreamResponse:
    try:
        return await handler(request)
    except GatewayError as error:
        return await _refuse(request, words_of(error, request.path), _detail_of(error))
    except Unreadable as error:
        return await _refuse(request, WORDS["BAD_FIELD"], str(error))
    except web.HTTPRequestEntityTooLarge:
        return await _refuse(request, WORDS["TOO_LARGE"])
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return await _refuse(request, WORDS["NOT_FOUND"])
    except Exception:  # noqa: BLE001 - whatever it is, the page says that it has failed
        traceback.print_exc()
        return await _refuse(request, WORDS["FAILED"])


def _detail_of(error: GatewayError) -> str:
    """The gateway's error for this one call."""
    if error.code == "BAD_FIELD":
        return f"{error.parameter.rpartition('.')[2]}: {error.detail}"
    return error.detail if error.code == "ACT_REFUSED" else ""


async def _refuse(request: web.Request, words: Words, detail: str = "") -> web.Response:
    """A page, or for a script an object, that says why nothing was done."""
    if request.headers.get("Accept") == "application/json":
        says = " ".join(filter(None, (f"{words.title}.", words.says, detail)))
        return web.json_response({"says": says, "status": words.status}, status=words.status)
    if asks_by_itself(request):  # the whole page then says it
        return web.Response(
            status=words.status, headers={"HX-Refresh": "true"} if words.status == 401 else {}
        )
    is_look = request.method == "GET"
    back = local_address(request.path_qs) if is_look else await _back(request, words)
    has_sign_in = cookie_of(request, sign_in.SIGN_IN) != ""
    if words.status == 401:
        request.pop(VISIT, None)
        if is_look and not has_sign_in:
            return sign_in.sign_in_page(request, back, status=401)
        return sign_in.sign_in_page(request, back, words.title, words.says, 401)
    return page(
        request,
        "refusal.html",
        title=words.title,
        says=words.says,
        detail=detail,
        back=back,
        next=_next(back, words) if is_look else (back, back_to(back)),
        may_sign_in=words.status == 429 and has_sign_in,
        status=words.status,
    )


def _next(address: str, words: Words) -> tuple[str, str]:
    """Where a reader goes on who could not see this page, and the text of the link."""
    if words.status in (429, 500, 503):
        return address, "Try again"
    above = address.partition("?")[0].rpartition("/")[0]
    found = above if above in PAGES else "/"
    return found, f"Go to {PAGES[found]}"


async def _back(request: web.Request, words: Words) -> str:
    """The page from which a form was sent, as it says."""
    form: Mapping[str, str] = {}
    if words is not WORDS["WRONG_ORIGIN"]:
        with suppress(Unreadable):
            form = await form_of(request)
    return local_address(form.get("back") or form.get("to") or "/")


# Templates and static files


class _Asset:
    """A file that browsers keep: its address has its digest."""

    def __init__(self, path: Path) -> None:
        self._body, self._type = path.read_bytes(), _TYPES[path.suffix]
        self.address = f"/static/{path.name}?{hashlib.sha256(self._body).hexdigest()[:16]}"

    async def respond(self, request: web.Request) -> web.Response:
        kept = _FOR_A_YEAR if request.path_qs == self.address else "no-cache"
        return compressed(
            request,
            web.Response(
                body=self._body, content_type=self._type, charset="utf-8", headers={"Cache-Control": kept}
            ),
        )


def _templates(assets: dict[str, _Asset]) -> jinja2.Environment:
    templates = environment(_HERE / "templates")
    templates.globals["asset"] = lambda name: assets[name].address
    return templates
