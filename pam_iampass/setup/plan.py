"""What there is to change for a service to ask the phone: its files as they shall be, against those that are there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pam_iampass.setup import difference
from pam_iampass.setup.errors import Edited
from pam_iampass.setup.manifest import FileRecord, LineEdit, Manifest, ServiceRecord
from pam_iampass.setup.services import WantedFile, WantedService
from pam_iampass.setup.snapshot import Snapshot, take


@dataclass(frozen=True)
class Change:
    """One file that is not as it shall be."""

    path: Path
    now: Snapshot
    then: Snapshot
    enforcing: bool

    @property
    def diff(self) -> list[str]:
        """What changes in it."""
        return difference.lines(self.path, self.now.content, self.then.content)


@dataclass(frozen=True)
class Plan:
    """All changes for one service."""

    service: WantedService
    changes: tuple[Change, ...]
    during: ServiceRecord
    """What is remembered while it is done: all that may be found if it is broken off."""
    after: ServiceRecord
    """What is remembered once it is done."""


def make(service: WantedService, manifest: Manifest, now: float, *, force: bool = False) -> Plan:
    """The plan for a service. Raises Edited for a file that is neither ours nor as it shall be, unless `force`."""
    earlier = manifest.services.get(service.name)
    known = {file.path: file for file in earlier.files} if earlier else {}
    changes, during, after = [], [], []
    for file in service.files:
        current = take(file.path)
        record = _record(file, current, known.pop(file.path, None), force)
        then = replace(current, content=file.content) if current.content is not None else _new(file)
        if current.content != file.content:
            changes.append(Change(file.path, current, then, file.enforcing))
        during.append(record)
        after.append(replace(record, written=record.written[-1:]))
    for record in known.values():  # what the service needs no more, such as the file of another first factor
        current = take(record.path)
        if current != record.before:
            _refuse_edited(record, current, force)
            changes.append(Change(record.path, current, record.before, record.enforcing))
        during.append(record)
    since = earlier.since if earlier and not changes else now
    return Plan(
        service,
        tuple(changes),
        ServiceRecord(service.choice, since, False, tuple(during)),
        ServiceRecord(service.choice, since, True, tuple(after)),
    )


def _new(file: WantedFile) -> Snapshot:
    return Snapshot(file.content, file.mode)


def _record(file: WantedFile, current: Snapshot, earlier: FileRecord | None, force: bool) -> FileRecord:
    digest = Snapshot(file.content).digest
    assert digest is not None  # noqa: S101
    if earlier is None:
        if (
            current.content is not None
            and current.content != file.content
            and file.edit is None
            and not force
        ):
            raise _edited(
                file.path, current, file.content, "is there already, and is not what would be written"
            )
        return FileRecord(file.path, current, (digest,), file.enforcing, file.edit)
    if current.content != file.content:
        if file.edit is not None and current.digest not in (*earlier.written, earlier.before.digest):
            # The line was put back by hand, or by its package: what is there now is what undo restores.
            return replace(earlier, before=current, written=(*earlier.written, digest), edit=file.edit)
        _refuse_edited(earlier, current, force)
    written = (*(known for known in earlier.written if known != digest), digest)
    edit = file.edit
    if edit is not None and earlier.edit is not None:
        edit = LineEdit(earlier.edit.line, edit.instead)  # it was the other of our files that stood there
    return replace(earlier, written=written, edit=edit or earlier.edit)


def _refuse_edited(record: FileRecord, current: Snapshot, force: bool) -> None:
    if not force and current.digest not in (*record.written, record.before.digest):
        raise _edited(record.path, current, record.before.content, "was changed after it was set up")


def _edited(path: Path, current: Snapshot, other: bytes | None, what: str) -> Edited:
    remedy = (
        "keep what is yours elsewhere and remove the file, or use --force (what is there is kept for --undo)"
    )
    return Edited(f"{path}: {what}", remedy, difference.lines(path, current.content, other))
