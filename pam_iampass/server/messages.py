"""Requests as they were received, replies to them, and what start, poll and end say. No I/O.

RefusedRequest              a request violates the protocol: answered with a 4xx and a reason
└── Unknown                 it names an application or a user that the server does not know: a 404 with a sentence
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import Any, Callable
from urllib.parse import quote_plus, unquote_plus, urlsplit

from pam_iampass.client.call import strict_json
from pam_iampass.client.status import AuthenticationMethod, Status
from pam_iampass.text import clean

Headers = tuple[tuple[str, str], ...]


class RefusedRequest(Exception):
    """A request that the server refuses.

    :param status: HTTP status of the reply, 400 to 499.
    :param reason: one word in capitals for programs.
    :param detail: one sentence for people.
    """

    def __init__(self, status: int, reason: str, detail: str, headers: Headers = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.headers = headers


class Unknown(RefusedRequest):
    """A request about an application or a user that was never added (404).

    :param what: `application` or `user`.
    :param name: not cleaned.
    """

    def __init__(self, what: str, name: str) -> None:
        super().__init__(404, f"UNKNOWN_{what.upper()}", f"There is no {what} {clean(name, 100)}.")


def unauthorized(reason: str, detail: str) -> RefusedRequest:
    """A request without a valid signature or token."""
    return RefusedRequest(401, reason, detail)


def bad_request(reason: str, detail: str) -> RefusedRequest:
    """A signed request that violates the protocol."""
    return RefusedRequest(400, reason, detail)


class IncomingRequest:
    """A complete request as it was received: nothing is decoded, collapsed or normalised unless a call asks for it.

    A user id may contain ``/`` or be ``..``: a normalised path would name another user. The ``require_`` methods and
    the ones that read parts of it raise RefusedRequest.
    """

    def __init__(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        remote: str = "",
    ) -> None:
        self.method = method
        self.target = target
        """Path and query exactly as in the request line."""
        self.body = body
        self.remote = remote
        """The address that the connection came from; empty if it is not known."""
        self.path, _, self.query = target.partition("?")
        absolute = self.path.startswith("/")
        self.segments = tuple(self.path[1:].split("/")) if absolute else (self.path,)
        """The path between the slashes, still quoted."""
        self._headers: dict[str, list[str]] = {}
        for name, value in headers:
            self._headers.setdefault(name.lower(), []).append(value)
        host = self.header("Host") or ""
        self.origin = f"https://{host}"
        """The origin for URLs in the reply: clients accept only the origin that they called."""
        self.signed_url = host + target
        """The URL that the client must have signed."""

    def header(self, name: str) -> str | None:
        """The value of a header, the first one if it was repeated; None without it. The name's case does not count."""
        return next(iter(self.header_values(name)), None)

    def header_values(self, name: str) -> list[str]:
        """Every value of a header, in order."""
        return self._headers.get(name.lower(), [])

    def require_host(self, names: frozenset[str]) -> None:
        """Refuse a request (421) for another host than these, in lower case."""
        hosts = self.header_values("Host")
        try:
            name = urlsplit(f"//{hosts[0]}").hostname if len(hosts) == 1 else None
        except ValueError:
            name = None
        if name not in names:
            raise RefusedRequest(
                421, "WRONG_HOST", f"the names of this server are: {', '.join(sorted(names))}"
            )

    def require_content_type(self) -> None:
        """The service's client always sends this, even in session calls, which have no body."""
        if self.header_values("Content-Type") != ["application/json"]:
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
        value = self.json_object()
        missing, unknown = set(required) - set(value), set(value) - {*required, *optional}
        if missing or unknown:
            raise bad_request("BAD_BODY", f"missing: {sorted(missing)}; unknown: {sorted(unknown)}")
        return value

    def json_object(self) -> dict[str, Any]:
        """The JSON object in the body, with any keys."""
        self.require_content_type()
        try:
            value = strict_json(self.body)
        except ValueError:
            what = "the body must be plain JSON in UTF-8, without repeated keys"
            raise bad_request("BAD_BODY", what) from None
        if not isinstance(value, dict):
            raise bad_request("BAD_BODY", "the body must be a JSON object")
        return value


def text_of(value: dict[str, Any], key: str) -> str | None:
    """The text of a key in a body; None for a missing key. Raises RefusedRequest for anything but a non-empty text."""
    if key not in value:
        return None
    text = value[key]
    if not isinstance(text, str) or not text:
        raise bad_request("BAD_BODY", f"{key} must be text and not empty")
    return text


def _decoded(quoted: str) -> str:
    try:
        return unquote_plus(quoted, errors="strict")
    except UnicodeDecodeError:
        raise bad_request("BAD_QUOTING", "quoted text must be UTF-8") from None


@dataclass(frozen=True)
class Reply:
    """A reply, without Date and Content-Length."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Headers = ()
    stream: Callable[[asyncio.Event], AsyncGenerator[bytes, None]] | None = None
    """Yields the body instead, piece by piece, until the event is set: the server stops."""

    @classmethod
    def of(cls, value: dict[str, Any], status: int = 200, headers: Headers = ()) -> Reply:
        """A reply with this JSON object."""
        return cls(status=status, body=json.dumps(value).encode(), headers=headers)

    @classmethod
    def refusing(cls, refusal: RefusedRequest) -> Reply:
        """A reply with the reason of a refusal."""
        if isinstance(refusal, Unknown):  # the service answers with a sentence
            return cls(refusal.status, refusal.detail.encode(), "text/plain; charset=utf-8")
        value = {"reason": refusal.reason, "detail": refusal.detail}
        return cls.of(value, refusal.status, refusal.headers)


# Start, poll and end


DEFAULT_DURATION_SECONDS = 3600
LONGEST_DURATION_SECONDS = 86400
_DURATION = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)


@dataclass(frozen=True)
class Start:
    """The call ``POST /authentication/authenticate_user/<app>/<user>[?methods=a,b][&duration_seconds=n]``."""

    user: str
    methods: tuple[str, ...]
    """The methods to choose from; empty to leave the choice to the service."""
    duration: int
    """Seconds after which the session ends."""
    parameters: dict[str, str]
    """The whole query, decoded."""
    body: dict[str, Any]

    @classmethod
    def of(cls, request: IncomingRequest, *more: str, body: tuple[str, ...] = ()) -> Start:
        """Raises RefusedRequest. `more` are parameters of the query that IAMPASS itself does not have, `body` are
        members of the body."""
        user = request.user_id()
        parameters = request.parameters("methods", "duration_seconds", *more)
        names = [method.name for method in AuthenticationMethod]
        methods = tuple(parameters["methods"].split(",")) if "methods" in parameters else ()
        if len(set(methods)) != len(methods) or not set(methods) <= set(names):
            raise bad_request("BAD_METHODS", f"methods must be some of {', '.join(names)}, each once")
        duration = parameters.get("duration_seconds", str(DEFAULT_DURATION_SECONDS))
        if not _DURATION.fullmatch(duration) or int(duration) > LONGEST_DURATION_SECONDS:
            raise bad_request("BAD_DURATION", f"duration_seconds must be 1 to {LONGEST_DURATION_SECONDS}")
        given = request.json(optional=body)
        return cls(user, methods, int(duration), parameters, given)


def started(status: Status, token: str, secret: str, url: str, **more: object) -> Reply:
    """A request went to the phone. `url` is the URL of the session, to which the last parts of its two calls are added.
    `more` are members that IAMPASS itself does not have."""
    answer = {
        "authenticated": True,
        "session_status": status.name,
        "session_token": token,
        "session_secret": secret,
        "status_url": f"{url}/status",
        "logout_url": f"{url}/logout",
        **more,
    }
    return Reply.of({"authentication_status": answer}, 202)


def not_started(reason: str, **more: object) -> Reply:
    """The person cannot be asked, for example because of `NO_MOBILE_DEVICE`. `more` are members that IAMPASS itself
    does not have."""
    return Reply.of({"authentication_status": {"authenticated": False, "reason": reason, **more}})


def polled(status: Status, **more: object) -> Reply:
    """The answer to a poll, in the outer key that the published client expects and the documentation leaves out.
    `more` are members that IAMPASS itself does not have."""
    answer = {"authenticated": status is Status.active, "session_status": status.name, **more}
    return Reply.of({"authentication_status": answer})


def ended(now: bool) -> Reply:
    """The answer to an end: whether this call has ended the session."""
    return Reply.of({"status": now})


def require_session_call(request: IncomingRequest, *parameters: str) -> dict[str, str]:
    """The query of a poll or an end, which has no body. Raises RefusedRequest."""
    found = request.parameters(*parameters)
    request.require_content_type()
    request.require_no_body()
    return found
