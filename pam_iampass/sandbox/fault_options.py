"""Faults as words on a command line: ``start:status=503,times=2``, ``poll:hang``.

One table says which there are; it parses them, and is what the help and the errors print.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, NamedTuple

from pam_iampass.sandbox import faults
from pam_iampass.sandbox.calls import SERVICE_CALLS, CallKind
from pam_iampass.sandbox.faults import Fault


@dataclass(frozen=True)
class PlannedFault:
    """A fault, and which calls it is for."""

    kind: CallKind
    fault: Fault
    times: int | None
    """None for always."""


class Setting(NamedTuple):
    """A word of a fault that takes a value: the field it sets, and how its text is read."""

    field: str
    read: Callable[[str], Any]


class Row(NamedTuple):
    """A fault's name, what it makes, its settings (the first may be given as the fault's own value)."""

    name: str
    fault: Callable[..., Fault]
    settings: Mapping[str, Setting]
    example: str
    meaning: str


def _flag(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("yes or no")
    return text == "yes"


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError("a whole number")
    return int(text)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise ValueError("seconds, 0 or more")
    return seconds


def _http_status(text: str) -> int:
    if not 200 <= _count(text) <= 599:
        raise ValueError("an HTTP status, 200 to 599")
    return int(text)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


_BYTES = Setting("body", str.encode)
_STATUS = Setting("status", _http_status)
_SENT = Setting("sent", _count)

TABLE = (
    Row(
        "status",
        faults.Status,
        {"status": _STATUS, "retry-after": Setting("retry_after", str), "body": _BYTES},
        "status=503,retry-after=2",
        "another HTTP status",
    ),
    Row(
        "redirect",
        faults.Redirect,
        {"location": Setting("location", str), "status": _STATUS},
        "redirect=https://e.example/",
        "a redirect",
    ),
    Row("junk", faults.Junk, {"body": _BYTES}, "junk", "a page where JSON belongs"),
    Row("empty", faults.Empty, {}, "empty", "no body"),
    Row(
        "oversized",
        faults.Oversized,
        {"size": Setting("size", _count)},
        "oversized=1048576",
        "a body of so many bytes",
    ),
    Row("compressed", faults.Compressed, {}, "compressed", "gzip, though nobody asked for it"),
    Row(
        "foreign-url",
        faults.ForeignURL,
        {"origin": Setting("origin", str)},
        "foreign-url=https://e.example",
        "the session's URLs lead elsewhere",
    ),
    Row(
        "session-status",
        faults.SessionState,
        {"status": Setting("status", str)},
        "session-status=walkaway",
        "another session_status, known or not",
    ),
    Row(
        "replace",
        faults.Replaced,
        {"key": Setting("key", str), "value": Setting("value", _json)},
        "replace=authenticated,value=1",
        "a key with another value",
    ),
    Row("missing", faults.Missing, {"key": Setting("key", str)}, "missing=status_url", "a key is not there"),
    Row(
        "truncated",
        faults.Truncated,
        {"keep": Setting("keep", _count)},
        "truncated=5",
        "the body breaks off after so many bytes",
    ),
    Row(
        "drip",
        faults.Drip,
        {"seconds": Setting("seconds", _seconds), "head": Setting("head", _flag)},
        "drip=0.5,head=yes",
        "a byte every 0.5 s; the headers too",
    ),
    Row(
        "hang",
        faults.Hang,
        {"seconds": Setting("seconds", _seconds), "sent": _SENT},
        "hang=10,sent=0",
        "silence for 10 s (no number: for ever)",
    ),
    Row("reset", faults.Reset, {"sent": _SENT}, "reset=0", "the connection breaks after so many bytes"),
    Row("dropped", faults.Dropped, {}, "dropped", "a right answer, then the connection ends"),
)
_ROWS = {row.name: row for row in TABLE}


def parse_fault(text: str) -> PlannedFault:
    """Read ``CALL:FAULT[=VALUE][,WORD=VALUE…]``. Raises ValueError that says what is wrong."""
    call, _, rest = text.partition(":")
    words = [word.partition("=") for word in rest.split(",")]
    row = _ROWS.get(words[0][0])
    if row is None:
        raise ValueError(f"{words[0][0]!r} is no fault")
    times: int | None = 1
    values: dict[str, Any] = {}
    for position, (name, equals, value) in enumerate(words):
        if position == 0 and not equals:
            continue
        if name == "times" and position:
            times = None if value == "always" else _read(name, _count, value)
        else:
            setting = _setting(row, name, position == 0)
            values[setting.field] = _read(name, setting.read, value)
    return PlannedFault(_kind(call), row.fault(**values), times)


def _kind(text: str) -> CallKind:
    names = [kind.value for kind in SERVICE_CALLS]
    if text.replace("-", "_") not in names:
        raise ValueError(f"{text!r} is no call; there are: {', '.join(names)}")
    return CallKind(text.replace("-", "_"))


def _setting(row: Row, name: str, own_value: bool) -> Setting:
    settings = {**row.settings, "acts": Setting("acts", _flag)}
    if own_value and row.settings:
        return next(iter(row.settings.values()))
    if own_value or name not in settings:
        raise ValueError(f"{row.name} does not take {name!r}; it takes: {', '.join([*settings, 'times'])}")
    return settings[name]


def _read(name: str, read: Callable[[str], Any], value: str) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f"{name}={value}: {error}") from None


def table_text() -> str:
    """The table for people."""
    width = max(len(row.example) for row in TABLE)
    lines = [f"  {row.example:{width}}  {row.meaning}" for row in TABLE]
    calls = [kind.value for kind in SERVICE_CALLS]
    return "\n".join(
        [
            f"--fault CALL:FAULT, where CALL is one of {', '.join(calls[:3])},",
            f"{', '.join(calls[3:])},",
            "and FAULT one of:",
            *lines,
            "Each also takes times=N or times=always (else once), and acts=yes or acts=no:",
            "whether the call has its effect before the answer goes wrong. Without it,",
            "status and redirect have none; the others do.",
        ]
    )
