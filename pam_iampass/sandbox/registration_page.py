"""The page behind a registration link, with one button that registers the device."""

from __future__ import annotations

import html

from pam_iampass.sandbox.backend import Backend
from pam_iampass.sandbox.phone_page import HEADERS
from pam_iampass.sandbox.reply import ServiceReply
from pam_iampass.sandbox.request import IncomingRequest
from pam_iampass.text import clean

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="/phone/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/phone/phone.css">
<title>{title} · IAMPASS sandbox</title>
</head>
<body class="one-thing"><main><div class="card"><h1>{title}</h1>{content}</div></main></body>
</html>
"""
_BUTTON = (
    "<p>It will be the phone of <strong><bdi>{user}</bdi></strong> in the IAMPASS sandbox."
    " Continue only if that is you.</p>"
    '<form method="post"><button class="approve" type="submit">Register this device</button></form>'
)
_DONE = (
    "<p><strong><bdi>{user}</bdi></strong> can now approve logins.</p>"
    '<p><a href="/phone">Open the phone page</a></p>'
)


def show(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``GET /register/<token>``: the page with the button."""
    user = backend.state.users.user_of_link(request.segments[1])
    return _used() if user is None else _page("Register this device", _BUTTON, user)


def register(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``POST /register/<token>``: registers the device; a link works once."""
    request.require_no_body()
    user = backend.state.users.use_link(request.segments[1])
    return _used() if user is None else _page("Device registered", _DONE, user)


def _used() -> ServiceReply:
    return _page("This link is not valid", "<p>It has been used, or its user was deleted.</p>", "", 410)


def _page(title: str, content: str, user: str, status: int = 200) -> ServiceReply:
    body = _PAGE.format(title=title, content=content.format(user=html.escape(clean(user))))
    return ServiceReply(status, body.encode(), "text/html; charset=utf-8", HEADERS)
