"""What has to change for a service to ask the phone: the files that it needs, compared with those that exist."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pam_iampass.setup.errors import FileEdited
from pam_iampass.setup.files import Snapshot, diff, take
from pam_iampass.setup.manifest import FileRecord, Manifest, ServiceRecord
from pam_iampass.setup.services import WantedFile, WantedService


@dataclass(frozen=True)
class Change:
    """One file that has to change."""

    path: Path
    now: Snapshot
    then: Snapshot

    @property
    def diff(self) -> list[str]:
        """The change as a unified diff."""
        return diff(self.path, self.now.content, self.then.content)


@dataclass(frozen=True)
class Plan:
    """All changes for one service, in order."""

    service: WantedService
    changes: tuple[Change, ...]
    during: ServiceRecord
    """The record while the changes are made: everything that may be found if they are interrupted."""
    after: ServiceRecord
    """The record once they are made."""


def make(service: WantedService, manifest: Manifest, now: float, *, force: bool = False) -> Plan:
    """The plan for a service. Raises FileEdited for a file of ours that was edited, unless `force`."""
    earlier = manifest.services.get(service.name)
    known = {file.path: file for file in earlier.files} if earlier else {}
    changes, during, after = [], [], []
    for file in service.files:
        current = take(file.path)
        record = _record(file, current, known.pop(file.path, None), force)
        then = Snapshot(file.content, file.mode)
        if current.content is not None:
            then = replace(current, content=file.content)
        if current.content != file.content:
            changes.append(Change(file.path, current, then))
        during.append(record)
        after.append(replace(record, written=record.written[-1:]))
    for record in known.values():  # no longer needed, such as the drop-in of the way with a prompt
        current = take(record.path)
        restored = record.restored(current)
        if restored != current:
            _refuse_edited(record, current, force)
            changes.append(Change(record.path, current, restored))
        during.append(record)
    since = earlier.since if earlier and not changes else now
    return Plan(
        service,
        tuple(changes),
        ServiceRecord(service.choice, since, False, tuple(during)),
        ServiceRecord(service.choice, since, True, tuple(after)),
    )


def _record(file: WantedFile, current: Snapshot, earlier: FileRecord | None, force: bool) -> FileRecord:
    digest = str(Snapshot(file.content).digest)
    same = current.content == file.content
    if earlier is None:
        if not (same or current.content is None or file.edited or force):
            what = "exists already, with other content than setup would write"
            raise _edited(file.path, current, file.content, what)
        return FileRecord(file.path, current, (digest,), file.edited)
    if not same:
        _refuse_edited(earlier, current, force)
    written = (*(known for known in earlier.written if known != digest), digest)
    return replace(earlier, written=written)


def _refuse_edited(record: FileRecord, current: Snapshot, force: bool) -> None:
    if not (force or record.edited or record.knows(current)):
        raise _edited(record.path, current, record.before.content, "was changed after it was set up")


def _edited(path: Path, current: Snapshot, other: bytes | None, what: str) -> FileEdited:
    remedy = "move the file away, or use --force: a copy is kept below /var/lib/pam-iampass/setup"
    return FileEdited(f"{path}: {what}", remedy, diff(path, current.content, other))
