"""Audit records, as they are read back from the journal.

Anybody may write a record with any field but the trusted ones that journald itself adds, such as `_UID`
(systemd.journal-fields(7)). A record counts only where the journal says that root or the module's user
wrote it. Where the log took nothing from the native door but through syslog(3), its record in sudo and su has the real
user id, which is the caller's, and cannot be told from what the caller may have made up: it is marked as unverified.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pam_iampass.audit.journal import AUTHPRIV, ERROR, IDENTIFIER
from pam_iampass.outcome import Outcome, Result

FROM_MODULE = {"SYSLOG_IDENTIFIER": IDENTIFIER}
FROM_DOOR = {"SYSLOG_FACILITY": str(AUTHPRIV), "PRIORITY": str(ERROR)}
"""Fields that records of the module, and of the native door, have in the journal; others have them too."""

# What pam_syslog(3) puts before the native door's line: the name of the module, the service and the phase.
_DOOR = re.compile(r"pam_iampass\([^()\s]*:[a-z]+\): (?=outcome=)")
_WORD = re.compile(r'([a-z_]+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))(?: |$)')
_ESCAPED = re.compile(r'\\(["\\])')


@dataclass(frozen=True)
class AuditRecord:
    """What came of one login. Texts are as they were written: clean them before you show them."""

    time: datetime
    """With its time zone."""
    user: str
    service: str
    rhost: str
    """Empty where the login came from this machine, or nobody knows."""
    outcome: str
    """One of `Outcome`."""
    result: str
    """One of `Result`."""
    elapsed_ms: int
    """Milliseconds from the request until the decision; 0 where none was made."""
    reason: str
    uid: int | None
    """Who wrote it, as the journal has it."""
    verified: bool
    """Whether that is root or the module's user: else anybody may have made it up."""


def interpret(entry: Mapping[str, Any], trusted: Set[int]) -> AuditRecord | None:
    """The audit record that a journal entry is; None where it is none, or must not be believed.

    `entry` is what `systemd.journal.Reader` returns; `trusted` are the user ids that records are believed of.
    """
    uid = entry.get("_UID")
    verified = isinstance(uid, int) and uid in trusted
    door = _DOOR.match(_text(entry.get("MESSAGE")))
    fields = _of_door(door) if door else _of_module(entry) if verified else {}
    if not _makes_sense(fields):
        return None
    elapsed = fields.get("elapsed_ms", "")
    return AuditRecord(
        time=entry["__REALTIME_TIMESTAMP"].astimezone(),
        user=_name(fields, "user"),
        service=_name(fields, "service"),
        rhost=_name(fields, "rhost"),
        outcome=fields["outcome"],
        result=fields["result"],
        elapsed_ms=int(elapsed) if re.fullmatch("[0-9]{1,9}", elapsed) else 0,
        reason=fields.get("reason", ""),
        uid=uid if isinstance(uid, int) else None,
        verified=verified,
    )


def _of_module(entry: Mapping[str, Any]) -> dict[str, str]:
    """What the module wrote: the journal's fields, or those in the line where the record came through syslog."""
    if _text(entry.get("SYSLOG_IDENTIFIER")) != IDENTIFIER:
        return {}
    if "IAMPASS_OUTCOME" in entry:
        names = ("outcome", "result", "user", "service", "rhost", "reason", "elapsed_ms")
        return {name: _text(entry.get(f"IAMPASS_{name.upper()}")) for name in names}
    return _words(_text(entry.get("MESSAGE")))


def _of_door(start: re.Match[str]) -> dict[str, str]:
    """What the native door wrote. It never says that somebody got in: such a line is none of the door's."""
    fields = _words(start.string[start.end() :])
    denied = (fields.get("outcome"), fields.get("result")) == (Outcome.UNAVAILABLE.value, Result.DENIED.value)
    return fields if denied else {}


def _makes_sense(fields: Mapping[str, str]) -> bool:
    return fields.get("outcome") in {one.value for one in Outcome} and fields.get("result") in {
        one.value for one in Result
    }


def _words(line: str) -> dict[str, str]:
    """The fields of a line such as `outcome=denied user="a b" reason=…`, the first of each name."""
    found: dict[str, str] = {}
    place = 0
    while place < len(line):
        word = _WORD.match(line, place)
        if word is None:
            break
        name, quoted, plain = word.groups()
        if name == "reason" and quoted is None:  # the door's last field is as long as the line
            found.setdefault(name, line[word.start(3) :])
            break
        found.setdefault(name, plain if quoted is None else _ESCAPED.sub(r"\1", quoted))
        place = word.end()
    return found


def _name(fields: Mapping[str, str], name: str) -> str:
    """`-` stands for nothing in a line."""
    text = fields.get(name, "")
    return "" if text == "-" else text


def _text(value: object) -> str:
    """A field as text: of a field that stands twice the first value, and bytes that are no UTF-8 as escapes."""
    if isinstance(value, (list, tuple)):
        value = value[0] if value else ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value if isinstance(value, str) else "" if value is None else str(value)
