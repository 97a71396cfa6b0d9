"""Reads the audit records in the journal.

Every user can write a record with any field except those that journald adds, such as `_UID`
(systemd.journal-fields(7)). A record counts only if root or the module's user wrote it, according to the journal.
Records that the native door writes with syslog(3) in sudo and su have the real user id, which is the caller's, and
could be forged by the caller: they are marked as unverified.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import select
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pam_iampass.audit.journal import ALERT, AUTHPRIV, ERROR, IDENTIFIER, Act
from pam_iampass.errors import PamIampassError
from pam_iampass.outcome import Outcome, Result, SessionEvent
from pam_iampass.system import programs
from pam_iampass.system.service_user import SERVICE_USER

FROM_MODULE = {"SYSLOG_IDENTIFIER": IDENTIFIER}
FROM_DOOR = {"SYSLOG_FACILITY": str(AUTHPRIV), "PRIORITY": str(ERROR)}
"""Fields of every record of the module, and of the native door; other entries can have them too."""
_RESCUED = {**FROM_MODULE, "PRIORITY": str(ALERT)}
"""Fields of the record of a door that lets the account of `rescue=` in; the writer is root."""
_NAMES = ("user", "caller", "approver", "person", "service", "rhost", "session", "tty", "login", "command")
_FIELDS = (*_NAMES, "outcome", "result", "event", "reason", "elapsed_ms")

# The prefix of pam_syslog(3) on lines of the native door: the module's name, the service and the phase.
_DOOR = re.compile(r"pam_iampass\([^()\s]*:[a-z]+\): (?=outcome=)")
_WORD = re.compile(r'([a-z_]+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))(?: |$)')
_ESCAPED = re.compile(r'\\(["\\])')


@dataclass(frozen=True)
class AuditRecord:
    """The result of one login, an event of a kept session, an act of an administrator, or an alert of a gateway.

    Texts are not cleaned: clean them before output.
    """

    time: datetime
    """The time of the record, with its time zone."""
    kind: str
    """`decision` of a login, `session` for an event of one, `act`; at a gateway also `alert`, and `report` for what
    only a host says."""
    host: str
    """The host's name: its own, or at a gateway the one with which it has joined."""
    user: str
    """The user who logs in: in sudo the caller, in su the target. For an act, the person whom it concerns."""
    caller: str
    """The user who started the application; empty if unknown, as in sshd. For an act, the administrator."""
    approver: str
    """The person whose phone was asked, whose recovery code was spent, or who was bypassed; empty if nobody had to
    approve."""
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
    """The writer, according to the journal; None if unknown, and at a gateway."""
    verified: bool
    """Whether the writer is root or the module's user: otherwise the record may be forged. At a gateway, False for what
    only a host says."""
    session: str = ""
    """The id of the kept session that the login began or was covered by, or that the event is about."""
    event: str = ""
    """One of `SessionEvent` or `Act`; empty for a login."""
    tty: str = ""
    """The terminal of an administrator."""
    person: str = ""
    """The person who logs in, if that is neither the user nor the approver: a second person must approve."""
    login: str = ""
    """The id of the login, the same on its host and at its gateway."""
    command: str = ""
    """The command that sudo, su or doas were called for; empty if unknown."""
    key: str = ""
    """The fingerprint of the ssh key of the login; only a gateway has it."""

    @property
    def let_in(self) -> bool:
        """Whether somebody was let in."""
        return bool(self.outcome) and self.result != Result.DENIED.value

    def to_json(self) -> dict[str, Any]:
        """The record as an object, with the same members on hosts and gateways."""
        return {**asdict(self), "time": self.time.isoformat()}


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
    event = fields.get("event", "")
    # A door had no agent to give its login an id.
    if not event and not names["login"] and "__CURSOR" in entry:
        names["login"] = hashlib.sha256(entry["__CURSOR"].encode()).hexdigest()[:32]
    return AuditRecord(
        time=entry["__REALTIME_TIMESTAMP"].astimezone(),
        kind=kind_of(event),
        host=_text(entry.get("_HOSTNAME")),
        **names,
        outcome="" if event else fields["outcome"],
        result=fields.get("result", ""),
        event=event,
        elapsed_ms=int(elapsed) if re.fullmatch("[0-9]{1,9}", elapsed) else 0,
        reason=fields.get("reason", ""),
        uid=uid if isinstance(uid, int) else None,
        verified=verified,
    )


def kind_of(event: str) -> str:
    """The kind of a record with this event, empty for a login."""
    if not event:
        return "decision"
    return "session" if event in {each.value for each in SessionEvent} else "act"


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


ROOT = 0
_MOST_LOOKED_AT = 20_000  # entries that any user can write: enough to report that there are some


class NoJournal(PamIampassError):
    """No journal can be read."""


@dataclass(frozen=True)
class Filter:
    """Selects records; an empty set selects all."""

    users: frozenset[str] = frozenset()
    """The people who log in (also into an account that several people share), who called, or who approved."""
    services: frozenset[str] = frozenset()
    outcomes: frozenset[str] = frozenset()
    since: datetime | None = None
    """The time of the first records, with its time zone."""
    until: datetime | None = None
    """The time before which the last records are, with its time zone."""
    session: str = ""
    """The beginning of the id of a kept session."""
    login: str = ""
    """The beginning of the id of a login."""
    let_in: bool = False
    """Whether to select only logins that let somebody in."""
    events: bool = False
    """Whether to select events of kept sessions too, where no outcome is selected."""

    def __call__(self, record: AuditRecord) -> bool:
        return (
            (not record.event or (self.events and not self.outcomes))
            and record.session.startswith(self.session)
            and record.login.startswith(self.login)
            and (record.let_in or not self.let_in)
            and (not self.users or not self.users.isdisjoint(_people(record)))
            and (not self.services or record.service in self.services)
            and (not self.outcomes or record.outcome in self.outcomes)
            and (self.since is None or record.time >= self.since)
            and (self.until is None or record.time < self.until)
        )


def _people(record: AuditRecord) -> set[str]:
    return {record.user, record.caller, record.approver, record.person}


@dataclass
class AuditLog:
    """The audit records in the journal of this machine."""

    matches: Filter = field(default_factory=Filter)
    unverified: bool = False
    """Whether to include records that doors wrote in processes of ordinary users."""
    module_user: str = SERVICE_USER
    rescues: bool = False
    """Whether to look only for the logins that a native door has let in without an agent. Few entries are read then."""

    def __post_init__(self) -> None:
        self._trusted = _trusted(self.module_user)
        uids = frozenset({ROOT}) if self.rescues else None if self.unverified else self._trusted
        self._reader = self._open(uids)
        self._newest: str | None = None

    def last(self, number: int | None) -> list[AuditRecord]:
        """The last `number` records, or all, the oldest first."""
        records: list[AuditRecord] = []
        self._reader.seek_tail()
        self._newest = None
        while number is None or len(records) < number:
            entry = self._reader.get_previous()
            if not entry:
                break
            self._newest = self._newest or entry["__CURSOR"]
            if self._is_too_old(entry):
                break
            record = self._matching(entry)
            if record is not None:
                records.append(record)
        records.reverse()
        return records

    def follow(self, number: int) -> Iterator[AuditRecord]:
        """The last records (at least one), and then each new one. Does not end."""
        yield from self.last(number)
        if self._newest is None:
            self._reader.seek_head()
        else:
            self._reader.seek_cursor(self._newest)
            self._reader.get_next()
        poller = select.poll()
        poller.register(self._reader.fileno(), self._reader.get_events())
        while True:
            while entry := self._reader.get_next():
                record = self._matching(entry)
                if record is not None:
                    yield record
            poller.poll(self._reader.get_timeout_ms())
            self._reader.process()

    def hidden(self) -> int:
        """How many matching records are left out because they are unverified."""
        reader = self._open(None)
        reader.seek_tail()
        number = 0
        for _ in range(_MOST_LOOKED_AT):
            entry = reader.get_previous()
            if not entry or self._is_too_old(entry):
                break
            record = interpret(entry, self._trusted)
            number += record is not None and not record.verified and self.matches(record)
        return number

    def _matching(self, entry: dict[str, Any]) -> AuditRecord | None:
        record = interpret(entry, self._trusted)
        if record is None or not (record.verified or self.unverified):
            return None
        return record if self.matches(record) else None

    def _is_too_old(self, entry: dict[str, Any]) -> bool:
        since = self.matches.since
        return since is not None and bool(entry["__REALTIME_TIMESTAMP"].astimezone() < since)

    def _open(self, uids: frozenset[int] | None) -> Any:
        """A reader of possible audit records, written by these users or by any user. Raises NoJournal."""
        from systemd import journal

        reader = journal.Reader()
        if not (reader.has_persistent_files() or reader.has_runtime_files()):
            raise _no_journal()
        for number, fields in enumerate((_RESCUED,) if self.rescues else (FROM_MODULE, FROM_DOOR)):
            if number:
                reader.add_disjunction()
            for uid in uids or ():
                reader.add_match(_UID=str(uid))
            reader.add_match(**fields)
        return reader


def _no_journal() -> NoJournal:
    folders = ("/var/log/journal", "/run/log/journal")  # systemd-journald.service(8)
    files = [file for folder in folders for file in sorted(Path(folder).glob("*/*.journal"))]
    readable = [file for file in files if os.access(file, os.R_OK)]
    if readable:  # libsystemd silently skips files with features that it was not built for
        remedy = "install libzstd1 for compressed files; journalctl --header shows which features a file uses"
        return NoJournal(f"libsystemd on this machine cannot read {readable[0]}", remedy)
    remedy = "run it as root; on a machine without journald search the authpriv log for pam_iampass"
    return NoJournal("there is no journal that this user can read", remedy)


def _trusted(module_user: str) -> frozenset[int]:
    """root, and the module's user if it exists."""
    try:
        return frozenset({ROOT, pwd.getpwnam(module_user).pw_uid})
    except KeyError:
        return frozenset({ROOT})


def records_since(
    moment: float, services: Iterable[str] = (), users: Iterable[str] = ()
) -> list[AuditRecord]:
    """The audit records since then, of these PAM services and people if any are given, the oldest first. Raises
    NoJournal."""
    if programs.find("journalctl") is not None:
        programs.run(["journalctl", "-q", "--sync"])
    since = datetime.fromtimestamp(moment, timezone.utc)
    return AuditLog(Filter(frozenset(users), frozenset(services), since=since)).last(None)


def rescues_since(moment: float, most: int) -> list[AuditRecord]:
    """The last logins since then that a native door has let in without an agent. Their ids are made from their places
    in the journal. Raises NoJournal."""
    since = datetime.fromtimestamp(moment, timezone.utc)
    return AuditLog(Filter(since=since, let_in=True), rescues=True).last(most)
