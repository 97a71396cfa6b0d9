"""Queries the audit records in the journal."""

from __future__ import annotations

import os
import pwd
import select
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pam_iampass.audit.record import FROM_DOOR, FROM_MODULE, AuditRecord, interpret
from pam_iampass.errors import PamIampassError
from pam_iampass.system import programs
from pam_iampass.system.service_user import SERVICE_USER

ROOT = 0
_MOST_LOOKED_AT = 20_000  # entries that any user can write: enough to report that there are some


class NoJournal(PamIampassError):
    """No journal can be read."""


@dataclass(frozen=True)
class Filter:
    """Selects records; an empty set selects all."""

    users: frozenset[str] = frozenset()
    """Who logs in, who called, or who approved."""
    services: frozenset[str] = frozenset()
    outcomes: frozenset[str] = frozenset()
    since: datetime | None = None
    """With its time zone."""
    session: str = ""
    """The beginning of the id of a kept session."""
    events: bool = False
    """Whether to select events of kept sessions too, where no outcome is selected."""

    def __call__(self, record: AuditRecord) -> bool:
        return (
            (not record.event or (self.events and not self.outcomes))
            and record.session.startswith(self.session)
            and (not self.users or not self.users.isdisjoint({record.user, record.caller, record.approver}))
            and (not self.services or record.service in self.services)
            and (not self.outcomes or record.outcome in self.outcomes)
            and (self.since is None or record.time >= self.since)
        )


@dataclass
class AuditLog:
    """The audit records in the journal of this machine."""

    matches: Filter = field(default_factory=Filter)
    unverified: bool = False
    """Whether to include records that doors wrote in processes of ordinary users: see `record.py`."""
    module_user: str = SERVICE_USER

    def __post_init__(self) -> None:
        self._trusted = _trusted(self.module_user)
        self._reader = self._open(None if self.unverified else self._trusted)
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
        for number, fields in enumerate((FROM_MODULE, FROM_DOOR)):
            if number:
                reader.add_disjunction()
            for uid in uids or ():
                reader.add_match(_UID=str(uid))
            reader.add_match(**fields)
        return reader


def _files() -> Iterator[Path]:
    """The files of journald (systemd-journald.service(8))."""
    for folder in ("/var/log/journal", "/run/log/journal"):
        yield from sorted(Path(folder).glob("*/*.journal"))


def _no_journal() -> NoJournal:
    readable = [file for file in _files() if os.access(file, os.R_OK)]
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


def records_since(moment: float, services: Iterable[str]) -> list[AuditRecord]:
    """The audit records of these PAM services since then, the oldest first. Raises NoJournal."""
    if programs.find("journalctl") is not None:
        programs.run(["journalctl", "-q", "--sync"])
    since = datetime.fromtimestamp(moment, timezone.utc)
    return AuditLog(Filter(services=frozenset(services), since=since)).last(None)
