"""What setup has done and what was there before: written before anything is changed, so that it can be undone.

`manifest.json` and `backups/` in the state folder, which is root's alone (0700).
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pam_iampass.errors import MissingFile, UntrustedFile
from pam_iampass.setup import files
from pam_iampass.setup.errors import Refused, SetupError
from pam_iampass.setup.snapshot import ABSENT, Snapshot
from pam_iampass.system import trusted_file

_VERSION = 1
_LIMIT = 4 * 1024 * 1024


@dataclass(frozen=True)
class LineEdit:
    """One line of a file of somebody else's, and what stands in its place."""

    line: str
    instead: str


@dataclass(frozen=True)
class FileRecord:
    """One file that setup has written, or is about to."""

    path: Path
    before: Snapshot
    written: tuple[str, ...]
    """The digests of all that setup may have left there; none of it is anybody's work."""
    enforcing: bool
    """Whether it is this file that makes the service ask the phone; such files come last, and go first."""
    edit: LineEdit | None = None
    """Where the file is another package's and one line of it was changed."""


@dataclass(frozen=True)
class ServiceRecord:
    """One service that was set up."""

    choice: str
    """`key` or `password` for sshd; empty for the others."""
    since: float
    complete: bool
    """False from before the first change until after the last."""
    files: tuple[FileRecord, ...]


@dataclass(frozen=True)
class Trial:
    """Something that is undone by itself."""

    name: str
    """Unlike that of any other trial."""
    services: tuple[str, ...]
    started: float
    deadline: float
    keeper: str
    """Who undoes it: `systemd` or `process`."""


@dataclass(frozen=True)
class Manifest:
    """All that setup remembers."""

    services: dict[str, ServiceRecord] = field(default_factory=dict)
    trial: Trial | None = None

    def with_service(self, name: str, record: ServiceRecord | None) -> Manifest:
        """The same with one service put in, or taken out."""
        services = {key: value for key, value in self.services.items() if key != name}
        if record is not None:
            services[name] = record
        return replace(self, services=services)


class Store:
    """The state folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def file(self) -> Path:
        """The manifest."""
        return self.folder / "manifest.json"

    @contextmanager
    def locked(self, patience: float = 0.0, *, regardless: bool = False) -> Iterator[None]:
        """Meanwhile no other setup runs. Waits `patience` seconds; then goes on `regardless`, or raises SetupError."""
        self._make()
        descriptor = os.open(
            self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            if not _taken(descriptor, patience) and not regardless:
                raise SetupError("another pam-iampass setup is running", "wait until it has ended")
            yield
        finally:
            os.close(descriptor)

    def load(self) -> Manifest:
        """What is remembered; nothing, where nothing was set up. Raises SetupError and UntrustedFile."""
        try:
            text = trusted_file.read(self.file, secret=True, limit=_LIMIT)
        except MissingFile:
            return Manifest()
        try:
            return self._manifest(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError):
            remedy = f"look at it, at {self.folder}/backups, and at the files themselves; then remove it"
            raise SetupError(f"{self.file}: cannot be understood", remedy) from None

    def save(self, manifest: Manifest, written: Iterable[bytes] = ()) -> None:
        """Remember it, with the content of every file that was there before, and of those that are `written`.

        Forgets what is needed no more.
        """
        self._make()
        records = [file for record in manifest.services.values() for file in record.files]
        for content in (*(file.before.content for file in records), *written):
            if content is not None:
                self._back_up(content)
        digests = {digest for file in records for digest in (file.before.digest, *file.written)}
        if not manifest.services and manifest.trial is None:
            self.file.unlink(missing_ok=True)
        else:
            files.write(self.file, json.dumps(_as_object(manifest), indent=2).encode() + b"\n")
        for entry in (self.folder / "backups").iterdir():
            if entry.name not in digests:
                entry.unlink()

    def keep_edited(self, path: Path, content: bytes) -> Path:
        """Put aside what somebody has made of a file, since it is about to be replaced."""
        folder = self.folder / "edited"
        folder.mkdir(mode=0o700, exist_ok=True)
        kept = folder / f"{path.name}.{time.strftime('%Y%m%dT%H%M%S')}"
        files.write(kept, content)
        return kept

    def _make(self) -> None:
        for folder in (self.folder, self.folder / "backups"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = os.stat(self.folder, follow_symlinks=False)
        if found.st_uid != 0 or found.st_mode & 0o077:
            raise Refused(
                f"{self.folder}: must be root's alone", f"chown root {self.folder}; chmod 0700 {self.folder}"
            )

    def written(self, record: FileRecord) -> bytes | None:
        """What was written to a file last; None where that is not known."""
        try:
            return trusted_file.read(self.folder / "backups" / record.written[-1], limit=_LIMIT)
        except (UntrustedFile, IndexError):
            return None

    def _back_up(self, content: bytes) -> None:
        backup = self.folder / "backups" / str(Snapshot(content).digest)
        if not backup.exists():
            files.write(backup, content)

    def _manifest(self, told: dict[str, Any]) -> Manifest:
        if told["version"] != _VERSION:
            raise ValueError
        trial = told["trial"]
        return Manifest(
            {name: self._service(record) for name, record in told["services"].items()},
            Trial(**{**trial, "services": tuple(trial["services"])}) if trial else None,
        )

    def _service(self, told: dict[str, Any]) -> ServiceRecord:
        records = tuple(self._file(record) for record in told["files"])
        return ServiceRecord(told["choice"], told["since"], told["complete"], records)

    def _file(self, told: dict[str, Any]) -> FileRecord:
        edit = LineEdit(**told["edit"]) if told["edit"] else None
        before = self._before(told["before"])
        return FileRecord(Path(told["path"]), before, tuple(told["written"]), told["enforcing"], edit)

    def _before(self, told: dict[str, Any] | None) -> Snapshot:
        if told is None:
            return ABSENT
        name = told["backup"]
        if os.path.basename(name) != name:
            raise ValueError
        content = trusted_file.read(self.folder / "backups" / name, limit=_LIMIT)
        found = Snapshot(content, told["mode"], told["uid"], told["gid"])
        if found.digest != name:
            raise ValueError
        return found


def _taken(descriptor: int, patience: float) -> bool:
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.1)
        else:
            return True


def _as_object(manifest: Manifest) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "services": {
            name: {
                "choice": record.choice,
                "since": record.since,
                "complete": record.complete,
                "files": [_file_as_object(file) for file in record.files],
            }
            for name, record in manifest.services.items()
        },
        "trial": asdict(manifest.trial) if manifest.trial else None,
    }


def _file_as_object(file: FileRecord) -> dict[str, Any]:
    before = file.before
    kept = {"backup": before.digest, "mode": before.mode, "uid": before.uid, "gid": before.gid}
    return {
        "path": str(file.path),
        "before": None if before.content is None else kept,
        "written": list(file.written),
        "enforcing": file.enforcing,
        "edit": asdict(file.edit) if file.edit else None,
    }
