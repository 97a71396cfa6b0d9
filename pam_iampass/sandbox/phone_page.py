"""The files of the phone page: static, without any data from requests."""

from __future__ import annotations

from pathlib import Path

from pam_iampass.sandbox.backend import Backend
from pam_iampass.sandbox.errors import Refusal
from pam_iampass.sandbox.reply import Headers, ServiceReply
from pam_iampass.sandbox.request import IncomingRequest

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
"""For every page of the sandbox: loads only its own files, in no frame, and sends no referrer."""


def page(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``GET /phone``: the page."""
    return _file("phone.html")


def asset(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``GET /phone/<file>``: a style sheet, script or picture."""
    return _file(request.segments[1])


def _file(name: str) -> ServiceReply:
    # The name is compared with those of the files, and never becomes part of a path.
    files = {path.name: path for path in _FOLDER.iterdir() if path.suffix in _TYPES}
    if name not in files:
        raise Refusal(404, "UNKNOWN_CALL", "there is no such file")
    return ServiceReply(200, files[name].read_bytes(), _TYPES[files[name].suffix], HEADERS)
