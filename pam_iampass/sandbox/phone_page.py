"""The files of the phone page: fixed text, in which nothing stands that anybody sent."""

from __future__ import annotations

from pathlib import Path

from pam_iampass.sandbox.answer import Answer, Headers
from pam_iampass.sandbox.errors import Refusal
from pam_iampass.sandbox.incoming import Incoming
from pam_iampass.sandbox.service import Service

_FOLDER = Path(__file__).with_name("page")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'",
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
)
HEADERS: Headers = (
    ("Content-Security-Policy", "; ".join(_POLICY)),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)
"""For every page of the sandbox: only its own files, no frame around it, no address told to others."""


def page(service: Service, incoming: Incoming) -> Answer:
    """``GET /phone``: the page."""
    return _file("phone.html")


def asset(service: Service, incoming: Incoming) -> Answer:
    """``GET /phone/<file>``: one of its styles, scripts and pictures."""
    return _file(incoming.target.segments[1])


def _file(name: str) -> Answer:
    # What was asked for is looked up among the files that there are, and never becomes part of a path.
    files = {path.name: path for path in _FOLDER.iterdir() if path.suffix in _TYPES}
    if name not in files:
        raise Refusal(404, "UNKNOWN_CALL", "there is no such file")
    return Answer(200, files[name].read_bytes(), _TYPES[files[name].suffix], HEADERS)
