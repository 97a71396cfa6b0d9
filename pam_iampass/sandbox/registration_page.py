"""The page behind a registration link: one button that makes a device of whoever presses it."""

from __future__ import annotations

import html

from pam_iampass.sandbox.answer import Answer
from pam_iampass.sandbox.body import require_no_body
from pam_iampass.sandbox.incoming import Incoming
from pam_iampass.sandbox.phone_page import HEADERS
from pam_iampass.sandbox.service import Service
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
    "<p>It becomes the phone of <strong><bdi>{user}</bdi></strong> in the IAMPASS sandbox."
    " Go on only if that is you.</p>"
    '<form method="post"><button class="approve" type="submit">Register this device</button></form>'
)
_DONE = (
    "<p><strong><bdi>{user}</bdi></strong> can approve logins now.</p>"
    '<p><a href="/phone">Open the phone page</a></p>'
)


def show(service: Service, incoming: Incoming) -> Answer:
    """``GET /register/<token>``: the page with the button."""
    user = service.world.accounts.user_of_link(incoming.target.segments[1])
    return _used() if user is None else _page("Register this device", _BUTTON, user)


def register(service: Service, incoming: Incoming) -> Answer:
    """``POST /register/<token>``: registers the device; a link works once."""
    require_no_body(incoming.body)
    user = service.world.accounts.use_link(incoming.target.segments[1])
    return _used() if user is None else _page("Device registered", _DONE, user)


def _used() -> Answer:
    return _page("This link is not valid", "<p>It was used before, or its user is gone.</p>", "", 410)


def _page(title: str, content: str, user: str, status: int = 200) -> Answer:
    body = _PAGE.format(title=title, content=content.format(user=html.escape(clean(user))))
    return Answer(status, body.encode(), "text/html; charset=utf-8", HEADERS)
