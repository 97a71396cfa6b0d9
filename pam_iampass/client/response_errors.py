"""From a complete response to its JSON object, or to the error that its status means."""

from __future__ import annotations

import http
from typing import TYPE_CHECKING

from .deadline import Deadline
from .errors import IampassError, NotFound, ProtocolError, Refused, Unavailable, clock_difference
from .json_object import JsonObject
from .request import SignedRequest
from .retries import http_time, retry_after_seconds

if TYPE_CHECKING:
    import requests

CLOCK_TOLERANCE = 30.0
"""Seconds by which clocks may differ before the clock is blamed for a refusal."""


def json_object(
    response: requests.Response, request: SignedRequest, server: str, deadline: Deadline, now: float
) -> JsonObject:
    """The JSON object in a 2xx. `now` is our Unix time. Raises Refused, NotFound, Unavailable or ProtocolError."""
    if not 200 <= response.status_code < 300:
        raise _error_of(response, request, server, deadline, now)
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        what = f"{request.name}: the response is compressed without being asked to"
        raise ProtocolError(what, may_have_started=True)
    return JsonObject.parse(response.content, request.name)


def _error_of(
    response: requests.Response, request: SignedRequest, server: str, deadline: Deadline, now: float
) -> IampassError:
    status, call = response.status_code, request.name
    if status in (401, 403):
        return _refusal(response, call, server, now)
    if status == 404:
        return NotFound(f"{call}: {server} responded with {_named(status)}")
    if status == 429 or 500 <= status < 600:
        return _outage(response, request, server, deadline, now)
    if 300 <= status < 400:
        return ProtocolError(f"{call}: {server} redirects ({_named(status)})", may_have_started=True)
    return ProtocolError(
        f"{call}: {server} responded with {_named(status)}", may_have_started=not 400 <= status < 500
    )


def _refusal(response: requests.Response, call: str, server: str, now: float) -> Refused:
    text = f"{call}: {server} refused with {_named(response.status_code)}"
    offset = _clock_offset(response, now) if response.status_code == 401 else None
    if offset is None:
        return Refused(text, status=response.status_code)
    return Refused(
        f"{text}; {clock_difference(offset)}",
        status=response.status_code,
        clock_offset=offset,
        remedy="Set this machine's clock (timedatectl); if it is right, check application_id and the secret.",
    )


def _clock_offset(response: requests.Response, now: float) -> float | None:
    theirs = http_time(response.headers.get("Date"))
    return theirs - now if theirs is not None and abs(theirs - now) > CLOCK_TOLERANCE else None


def _outage(
    response: requests.Response, request: SignedRequest, server: str, deadline: Deadline, now: float
) -> Unavailable:
    status, headers = response.status_code, response.headers
    text = f"{request.name}: {server} responded with {_named(status)}"
    # A date counts from the server's own clock, if it sends its time.
    server_now = http_time(headers.get("Date"))
    wait = retry_after_seconds(headers.get("Retry-After"), now if server_now is None else server_now)
    if wait is not None:
        asked = f"{wait:.0f} s" if wait < 1e9 else "an absurdly long time"
        too_long = ", longer than there is time" if wait >= deadline.remaining() else ""
        text = f"{text} and asks to wait {asked}{too_long}"
    # A gateway may have passed the request on before it gave up.
    begun = status != 429 or request.rings
    return Unavailable(text, may_have_started=begun, status=status, retry_after=wait)


def _named(status: int) -> str:
    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
