"""One request as it was received: nothing is decoded, collapsed or normalised unless a call asks for it.

A user id may contain ``/`` or be ``..``: a normalised path would name another user.
"""

from __future__ import annotations

import hmac
import json
from typing import Any
from urllib.parse import quote_plus, unquote_plus, urlsplit

from multidict import CIMultiDictProxy

from pam_iampass.sandbox.errors import Refusal, bad_request, unauthorized


class IncomingRequest:
    """A complete request. The ``require_`` methods and those that read parts of it raise Refusal."""

    def __init__(self, method: str, target: str, headers: CIMultiDictProxy[str], body: bytes) -> None:
        self.method = method
        self.target = target
        """Path and query exactly as in the request line."""
        self.headers = headers
        self.body = body
        self.path, _, self.query = target.partition("?")
        absolute = self.path.startswith("/")
        self.segments = tuple(self.path[1:].split("/")) if absolute else (self.path,)
        """The path between the slashes, still quoted."""
        host = headers.get("Host", "")
        self.origin = f"https://{host}"
        """The origin for URLs in the reply: clients accept only the origin that they called."""
        self.signed_url = host + target
        """The URL that the client must have signed."""

    def require_host(self, names: frozenset[str]) -> None:
        """Refuse a request (421) for another host than these, in lower case."""
        hosts = self.headers.getall("Host", [])
        try:
            name = urlsplit(f"//{hosts[0]}").hostname if len(hosts) == 1 else None
        except ValueError:
            name = None
        if name not in names:
            raise Refusal(421, "WRONG_HOST", f"the names of this sandbox are: {', '.join(sorted(names))}")

    def require_bearer(self, token: str, name: str) -> None:
        """Refuse a request (401) without this token. ``name`` names it for people."""
        expected = f"Bearer {token}".encode()
        authorization = self.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(expected, authorization):
            raise unauthorized("BAD_TOKEN", f"this call needs: Authorization: Bearer <{name}>")

    def require_content_type(self) -> None:
        """The service's client always sends this, even in session calls, which have no body."""
        if self.headers.getall("Content-Type", []) != ["application/json"]:
            raise bad_request("BAD_CONTENT_TYPE", "Content-Type must be application/json")

    def require_no_body(self) -> None:
        if self.body:
            raise bad_request("UNEXPECTED_BODY", "this call has no body")

    def user_id(self) -> str:
        """The user id in the path, which must be quoted as ``quote_plus`` does (a space is ``+``)."""
        user = _decoded(self.segments[3])
        if not user or quote_plus(user) != self.segments[3]:
            raise bad_request("BAD_QUOTING", "the user id must be form-quoted, as quote_plus does it")
        return user

    def parameters(self, *allowed: str) -> dict[str, str]:
        """The decoded query, without unknown, repeated or empty parameters."""
        values: dict[str, str] = {}
        for pair in self.query.split("&") if self.query else ():
            name, equals, value = pair.partition("=")
            if name not in allowed:
                raise bad_request("UNKNOWN_PARAMETER", f"this call has no parameter {name!r}")
            if name in values:
                raise bad_request("REPEATED_PARAMETER", f"{name} is repeated")
            if not equals or not value:
                raise bad_request("EMPTY_PARAMETER", f"{name} has no value")
            values[name] = _decoded(value)
        return values

    def json(self, *required: str, optional: tuple[str, ...] = ()) -> dict[str, Any]:
        """The JSON object in the body, with exactly these keys."""
        self.require_content_type()
        try:
            value = json.loads(self.body.decode("utf-8"), object_pairs_hook=_without_repeats)
        except ValueError:
            raise bad_request("BAD_BODY", "the body must be JSON in UTF-8, without repeated keys") from None
        if not isinstance(value, dict):
            raise bad_request("BAD_BODY", "the body must be a JSON object")
        missing, unknown = set(required) - set(value), set(value) - {*required, *optional}
        if missing or unknown:
            raise bad_request("BAD_BODY", f"missing: {sorted(missing)}; unknown: {sorted(unknown)}")
        return value


def text_of(value: dict[str, Any], key: str) -> str | None:
    """The text of a key in a body; None for a missing key. Raises Refusal for anything but a non-empty text."""
    if key not in value:
        return None
    text = value[key]
    if not isinstance(text, str) or not text:
        raise bad_request("BAD_BODY", f"{key} must be text and not empty")
    return text


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("repeated key")
    return value


def _decoded(quoted: str) -> str:
    try:
        return unquote_plus(quoted, errors="strict")
    except UnicodeDecodeError:
        raise bad_request("BAD_QUOTING", "quoted text must be UTF-8") from None
