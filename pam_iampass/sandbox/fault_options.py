"""Faults on the command line: ``start:status=503,times=2``, ``poll:hang``.

One table is used for parsing, for the help and for error messages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Callable, NamedTuple

from pam_iampass.sandbox import faults
from pam_iampass.sandbox.calls import SERVICE_CALLS, CallKind
from pam_iampass.sandbox.faults import Fault


@dataclass(frozen=True)
class PlannedFault:
    """A fault for calls of one kind."""

    kind: CallKind
    fault: Fault
    times: int | None
    """None for always."""


class FaultOption(NamedTuple):
    """A fault on the command line. Its parameters are the fields of the fault."""

    name: str
    fault: type[Fault]
    example: str
    meaning: str


FAULTS = (
    FaultOption("status", faults.HttpStatus, "status=503,retry-after=2", "another HTTP status"),
    FaultOption("redirect", faults.Redirect, "redirect=https://e.example/", "a redirect"),
    FaultOption("junk", faults.Junk, "junk", "a web page instead of JSON"),
    FaultOption("empty", faults.Empty, "empty", "no body"),
    FaultOption("oversized", faults.Oversized, "oversized=1048576", "a body of this many bytes"),
    FaultOption("compressed", faults.Compressed, "compressed", "gzip that was not asked for"),
    FaultOption(
        "foreign-url", faults.ForeignURL, "foreign-url=https://e.example", "session URLs of another origin"
    ),
    FaultOption(
        "session-status",
        faults.SessionState,
        "session-status=walkaway",
        "another session_status, known or not",
    ),
    FaultOption("replace", faults.ReplacedKey, "replace=authenticated,value=1", "a key with another value"),
    FaultOption("missing", faults.MissingKey, "missing=status_url", "a missing key"),
    FaultOption("truncated", faults.Truncated, "truncated=5", "the body ends after this many bytes"),
    FaultOption("drip", faults.Drip, "drip=0.5,head=yes", "a byte every 0.5 s; the headers too"),
    FaultOption("hang", faults.Hang, "hang=10,sent=0", "silence for 10 s (no number: for ever)"),
    FaultOption("reset", faults.Reset, "reset=0", "the connection breaks after this many bytes"),
    FaultOption("dropped", faults.Dropped, "dropped", "a correct reply, then the connection ends"),
)
_BY_NAME = {option.name: option for option in FAULTS}


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


_READERS: Mapping[str, Callable[[str], Any]] = {
    "str": str,
    "bytes": str.encode,
    "int": _count,
    "float": _seconds,
    "bool": _flag,
    "Any": _json,
}


def _parameters(fault: type[Any]) -> dict[str, tuple[str, Callable[[str], Any]]]:
    """The parameters of a fault: for each name the field, and the function that reads its value."""
    parameters = {}
    for field in fields(fault):
        kind = str(field.type).partition(" | ")[0]
        read = _http_status if (field.name, kind) == ("status", "int") else _READERS.get(kind)
        if read is not None:
            parameters[field.name.replace("_", "-")] = (field.name, read)
    return parameters


def parse_fault(text: str) -> PlannedFault:
    """Parse ``CALL:FAULT[=VALUE][,NAME=VALUE…]``. Raises ValueError with the reason."""
    call, _, rest = text.partition(":")
    words = [word.partition("=") for word in rest.split(",")]
    option = _BY_NAME.get(words[0][0])
    if option is None:
        raise ValueError(f"{words[0][0]!r} is no fault")
    parameters = _parameters(option.fault)
    times: int | None = 1
    values: dict[str, Any] = {}
    for position, (name, equals, value) in enumerate(words):
        if position == 0 and not equals:
            continue
        if name == "times" and position:
            times = None if value == "always" else _read(name, _count, value)
            continue
        first = next(iter(parameters))  # the fault's own value sets its first parameter
        key = name if position else first if first != "acts" else ""
        if key not in parameters:
            names = ", ".join([*parameters, "times"])
            raise ValueError(f"{option.name} does not take {name!r}; it takes: {names}")
        field, read = parameters[key]
        values[field] = _read(name, read, value)
    return PlannedFault(_kind(call), option.fault(**values), times)


def _kind(text: str) -> CallKind:
    names = [kind.value for kind in SERVICE_CALLS]
    if text.replace("-", "_") not in names:
        raise ValueError(f"{text!r} is no call; there are: {', '.join(names)}")
    return CallKind(text.replace("-", "_"))


def _read(name: str, read: Callable[[str], Any], value: str) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f"{name}={value}: {error}") from None


def table_text() -> str:
    """The table for the help."""
    width = max(len(option.example) for option in FAULTS)
    lines = [f"  {option.example:{width}}  {option.meaning}" for option in FAULTS]
    calls = [kind.value for kind in SERVICE_CALLS]
    return "\n".join(
        [
            f"--fault CALL:FAULT, where CALL is one of {', '.join(calls[:4])},",
            f"{', '.join(calls[4:])},",
            "and FAULT one of:",
            *lines,
            "Each also takes times=N or times=always (default: once), and acts=yes or",
            "acts=no: whether the call has its effect before the fault. By default",
            "status and redirect have none; the others do.",
        ]
    )
