"""Parses audit records from entries of the journal.

Every user can write a record with any field except those that journald adds, such as `_UID`
(systemd.journal-fields(7)). A record counts only if root or the module's user wrote it, according to the journal.
Records that the native door writes with syslog(3) in sudo and su have the real user id, that of the caller, and
could be forged by the caller: they are marked as unverified.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pam_iampass.audit.journal import AUTHPRIV, ERROR, IDENTIFIER, Act
from pam_iampass.outcome import Outcome, Result, SessionEvent

FROM_MODULE = {"SYSLOG_IDENTIFIER": IDENTIFIER}
FROM_DOOR = {"SYSLOG_FACILITY": str(AUTHPRIV), "PRIORITY": str(ERROR)}
"""Fields of every record of the module, and of the native door; other entries can have them too."""
_NAMES = ("user", "caller", "approver", "service", "rhost", "session", "tty")
_FIELDS = (*_NAMES, "outcome", "result", "event", "reason", "elapsed_ms")

# The prefix of pam_syslog(3) on lines of the native door: the module's name, the service and the phase.
_DOOR = re.compile(r"pam_iampass\([^()\s]*:[a-z]+\): (?=outcome=)")
_WORD = re.compile(r'([a-z_]+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))(?: |$)')
_ESCAPED = re.compile(r'\\(["\\])')


@dataclass(frozen=True)
class AuditRecord:
    """The result of one login, an event of a kept session, or an act of an administrator.

    Texts are not cleaned: clean them before output.
    """

    time: datetime
    """With its time zone."""
    user: str
    """Who logs in: in sudo the caller, in su the target. Whom an act concerns."""
    caller: str
    """Who started the application; empty if unknown, as in sshd. Of an act, the administrator."""
    approver: str
    """Whose phone was asked, or whose recovery code was spent, or who was bypassed; empty if nobody had to approve."""
    service: str
    rhost: str
    """Empty for a local login, or if unknown."""
    outcome: str
    """One of `Outcome`; empty for an event and an act."""
    result: str
    """One of `Result`; for an act `success` or `failed`; empty for an event of a session."""
    elapsed_ms: int
    """Milliseconds from the request until the decision; 0 if no request was made."""
    reason: str
    uid: int | None
    """The writer, according to the journal."""
    verified: bool
    """Whether the writer is root or the module's user: otherwise the record may be forged."""
    session: str = ""
    """The id of the kept session that the login began or was covered by, or that the event is about."""
    event: str = ""
    """One of `SessionEvent` or `Act`; empty for a login."""
    tty: str = ""
    """The terminal of an administrator."""


def interpret(entry: Mapping[str, Any], trusted: Set[int]) -> AuditRecord | None:
    """The audit record in a journal entry; None for other entries and for forged records.

    `entry` comes from `systemd.journal.Reader`; `trusted` are the user ids whose records count.
    """
    uid = entry.get("_UID")
    verified = isinstance(uid, int) and uid in trusted
    door = _DOOR.match(_text(entry.get("MESSAGE")))
    fields = _of_door(door) if door else _of_module(entry) if verified else {}
    if not _is_valid(fields):
        return None
    elapsed = fields.get("elapsed_ms", "")
    # `-` in a line means no value.
    names = {name: "" if fields.get(name) == "-" else fields.get(name, "") for name in _NAMES}
    return AuditRecord(
        time=entry["__REALTIME_TIMESTAMP"].astimezone(),
        **names,
        outcome="" if fields.get("event") else fields["outcome"],
        result=fields.get("result", ""),
        event=fields.get("event", ""),
        elapsed_ms=int(elapsed) if re.fullmatch("[0-9]{1,9}", elapsed) else 0,
        reason=fields.get("reason", ""),
        uid=uid if isinstance(uid, int) else None,
        verified=verified,
    )


def _of_module(entry: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a record of the module; from syslog they are in the message."""
    if _text(entry.get("SYSLOG_IDENTIFIER")) != IDENTIFIER:
        return {}
    if "IAMPASS_OUTCOME" in entry or "IAMPASS_EVENT" in entry:
        return {name: _text(entry.get(f"IAMPASS_{name.upper()}")) for name in _FIELDS}
    return _words(_text(entry.get("MESSAGE")))


def _of_door(start: re.Match[str]) -> dict[str, str]:
    """The fields of a record of the native door, which only records denials; any other line is not from the door."""
    fields = _words(start.string[start.end() :])
    denied = (fields.get("outcome"), fields.get("result")) == (Outcome.UNAVAILABLE.value, Result.DENIED.value)
    return fields if denied else {}


def _is_valid(fields: Mapping[str, str]) -> bool:
    if fields.get("event"):
        return fields["event"] in {each.value for kind in (SessionEvent, Act) for each in kind}
    outcomes, results = {each.value for each in Outcome}, {each.value for each in Result}
    return fields.get("outcome") in outcomes and fields.get("result") in results


def _words(line: str) -> dict[str, str]:
    """The fields of a line such as `outcome=denied user="a b" reason=…`, the first of each name."""
    fields: dict[str, str] = {}
    position = 0
    while word := _WORD.match(line, position):
        name, quoted, plain = word.groups()
        if name == "reason" and quoted is None:  # the door's last field takes the rest of the line
            fields.setdefault(name, line[word.start(3) :])
            break
        fields.setdefault(name, plain if quoted is None else _ESCAPED.sub(r"\1", quoted))
        position = word.end()
    return fields


def _text(value: object) -> str:
    """A field as text: the first value of a repeated field, and bytes that are not UTF-8 as escapes."""
    if isinstance(value, (list, tuple)):
        value = value[0] if value else ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value if isinstance(value, str) else "" if value is None else str(value)
