"""From a complete answer to its document, or to the error that its status means."""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Protocol

from .answer import Document
from .deadline import Deadline
from .errors import IampassError, ProtocolError, Refused, Unavailable
from .retries import http_time, retry_after_seconds

CLOCK_TOLERANCE = 30.0
"""Seconds by which clocks may differ without being blamed."""


class CompleteAnswer(Protocol):
    """What has come over the wire."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> bytes: ...


def document_of(answer: CompleteAnswer, call: str, server: str, deadline: Deadline, now: float) -> Document:
    """The document of a 2xx. `now` is our Unix time. Raises Refused, Unavailable or ProtocolError for all
    else."""
    if not 200 <= answer.status < 300:
        raise _error_of(answer, call, server, deadline, now)
    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise ProtocolError(
            f"{call}: the answer is compressed, which was not asked for", may_have_started=True
        )
    return Document.parse(answer.body, call)


def _error_of(answer: CompleteAnswer, call: str, server: str, deadline: Deadline, now: float) -> IampassError:
    status = answer.status
    if status in (401, 403):
        return _refusal(answer, call, server, now)
    if status == 429 or 500 <= status < 600:
        return _outage(answer, call, server, deadline, now)
    if 300 <= status < 400:
        return ProtocolError(f"{call}: {server} sends us elsewhere ({_named(status)})", may_have_started=True)
    return ProtocolError(
        f"{call}: {server} answered {_named(status)}", may_have_started=not 400 <= status < 500
    )


def _refusal(answer: CompleteAnswer, call: str, server: str, now: float) -> Refused:
    text = f"{call}: {server} refused with {_named(answer.status)}"
    offset = _clock_offset(answer, now) if answer.status == 401 else None
    if offset is None:
        return Refused(text, status=answer.status)
    side = "behind" if offset > 0 else "ahead of"
    return Refused(
        f"{text}; this machine's clock is {abs(offset):.0f} s {side} the server's",
        status=answer.status,
        clock_offset=offset,
        remedy="Set this machine's clock (timedatectl); if it is right, check application_id and the secret.",
    )


def _clock_offset(answer: CompleteAnswer, now: float) -> float | None:
    theirs = http_time(answer.headers.get("Date"))
    return theirs - now if theirs is not None and abs(theirs - now) > CLOCK_TOLERANCE else None


def _outage(answer: CompleteAnswer, call: str, server: str, deadline: Deadline, now: float) -> Unavailable:
    text = f"{call}: {server} answered {_named(answer.status)}"
    # A date counts from the server's own clock where it tells the time.
    server_now = http_time(answer.headers.get("Date"))
    wait = retry_after_seconds(answer.headers.get("Retry-After"), now if server_now is None else server_now)
    if wait is not None:
        asked = f"{wait:.0f} s" if wait < 1e9 else "an absurdly long time"
        too_long = ", longer than there is time" if wait >= deadline.remaining() else ""
        text = f"{text} and asks to wait {asked}{too_long}"
    return Unavailable(text, status=answer.status, retry_after=wait)


def _named(status: int) -> str:
    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
