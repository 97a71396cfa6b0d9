"""The record of what setup has done, and of what was there before. It is written before anything is changed, so that it
can be undone.

`manifest.json` and `backups/` in the state folder, which only root can enter (0700).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pam_iampass.audit.figures import Sample, family
from pam_iampass.errors import MissingFile, SetupError, SetupRefused, UntrustedFile
from pam_iampass.setup import files
from pam_iampass.setup.edits import without_us
from pam_iampass.setup.files import ABSENT, Snapshot, content_of, text_of
from pam_iampass.system import file_lock, trusted_file

_VERSION = 1
_LIMIT = 4 * 1024 * 1024


@dataclass(frozen=True)
class FileRecord:
    """One file that setup has written, or is about to write."""

    path: Path
    before: Snapshot
    """The state of the path before setup wrote it for the first time."""
    written: tuple[str, ...]
    """The digests of everything that setup may have written there, the last one last."""
    edited: bool
    """Whether it is a PAM file with our lines in it, rather than a file of ours."""

    def knows(self, content: Snapshot) -> bool:
        """Whether this is what was there before or what setup has written, so that nobody has changed it."""
        return content.digest in (*self.written, self.before.digest)

    def restored(self, current: Snapshot) -> Snapshot:
        """The file without what setup has done, whatever else has changed in it."""
        if not self.edited:
            return self.before
        text = None if current.content is None else without_us(self.path, text_of(current.content))
        return ABSENT if text is None else replace(current, content=content_of(text))


@dataclass(frozen=True)
class ServiceRecord:
    """One service that was set up."""

    choice: str
    """`key`, `password`, `quiet` or `codes` for sshd; `always` for a sudo that asks for every command; else empty."""
    since: float
    complete: bool
    """False from before the first change until after the last."""
    files: tuple[FileRecord, ...]
    renewed: tuple[float, ...] = ()
    """When the watch began to edit its files anew, in the last hour."""
    said: str = ""
    """The problem that the watch has reported last; empty if all is well."""
    reported: float = 0.0
    """When the watch has reported it."""


@dataclass(frozen=True)
class Trial:
    """A setup that is undone at its deadline, unless it is confirmed."""

    name: str
    """A name that no other trial has."""
    services: tuple[str, ...]
    started: float
    deadline: float
    earlier: Mapping[str, str] = field(default_factory=dict)
    """The choices of those that were set up before, which they have again at its end."""


@dataclass(frozen=True)
class Manifest:
    """All that setup remembers."""

    services: dict[str, ServiceRecord] = field(default_factory=dict)
    trial: Trial | None = None

    def with_service(self, name: str, record: ServiceRecord | None) -> Manifest:
        """A copy with the record of one service added, replaced in its place, or removed."""
        services = dict(self.services)
        if record is None:
            services.pop(name, None)
        else:
            services[name] = record
        return replace(self, services=services)


class ManifestStore:
    """The state folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "manifest.json"
        self._backups = folder / "backups"

    @contextmanager
    def locked(self, patience: float = 0.0, *, regardless: bool = False) -> Iterator[None]:
        """Keep other setups from running meanwhile.

        If another one still runs after `patience` seconds, go on `regardless`, or raise SetupError.
        """
        self._make_folders()
        with ExitStack() as stack:
            try:
                stack.callback(os.close, file_lock.acquire(None, self.folder / "lock", patience))
            except file_lock.LockHeld:
                if not regardless:
                    raise SetupError(
                        "another pam-iampass setup is running", "wait until it has ended"
                    ) from None
            yield

    def load(self) -> Manifest:
        """Return what is recorded; an empty manifest if nothing was set up. Raises SetupError and UntrustedFile."""
        try:
            text = trusted_file.read(self.file, secret=True, limit=_LIMIT)
        except MissingFile:
            return Manifest()
        try:
            return self._manifest(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError):
            remedy = f"compare {self._backups} with the files of the services; then remove {self.file}"
            raise SetupError(f"{self.file}: cannot be understood", remedy) from None

    def save(self, manifest: Manifest, written: Iterable[bytes] = ()) -> None:
        """Record it, and back up every file that was there before and every content in `written`.

        Prunes backups that are no longer referenced. Removes an empty manifest.
        """
        self._make_folders()
        records = [file for record in manifest.services.values() for file in record.files]
        for content in (*(file.before.content for file in records), *written):
            if content is not None:
                self._back_up(content)
        digests = {digest for file in records for digest in (file.before.digest, *file.written)}
        if not manifest.services and manifest.trial is None:
            self.file.unlink(missing_ok=True)
        else:
            files.write(self.file, json.dumps(_as_object(manifest), indent=2).encode() + b"\n")
        for entry in self._backups.iterdir():
            if entry.name not in digests:
                entry.unlink()

    def keep_edited(self, path: Path, content: bytes) -> Path:
        """Save a file that was edited that is about to be replaced; returns where."""
        folder = self.folder / "edited"
        folder.mkdir(mode=0o700, exist_ok=True)
        kept = folder / f"{path.name}.{time.strftime('%Y%m%dT%H%M%S')}"
        files.write(kept, content)
        return kept

    def written(self, record: FileRecord) -> bytes | None:
        """The content that setup wrote to a file last; None if there is no backup of it."""
        try:
            return trusted_file.read(self._backups / record.written[-1], limit=_LIMIT)
        except (UntrustedFile, IndexError):
            return None

    def _make_folders(self) -> None:
        for folder in (self.folder, self._backups):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = os.stat(self.folder, follow_symlinks=False)
        if found.st_uid != 0 or found.st_mode & 0o077:
            remedy = f"chown root {self.folder}; chmod 0700 {self.folder}"
            raise SetupRefused(f"{self.folder}: others than root can enter it", remedy)

    def _back_up(self, content: bytes) -> None:
        backup = self._backups / str(Snapshot(content).digest)
        if not backup.exists():
            files.write(backup, content)

    def _manifest(self, found: dict[str, Any]) -> Manifest:
        if found["version"] != _VERSION:
            raise ValueError
        services = {
            name: ServiceRecord(
                **{
                    **record,
                    "files": tuple(map(self._file, record["files"])),
                    "renewed": tuple(map(float, record["renewed"])),
                }
            )
            for name, record in found["services"].items()
        }
        trial = found["trial"]
        return Manifest(services, trial and Trial(**{**trial, "services": tuple(trial["services"])}))

    def _file(self, found: dict[str, Any]) -> FileRecord:
        before = self._before(found["before"])
        return FileRecord(Path(found["path"]), before, tuple(found["written"]), found["edited"])

    def _before(self, found: dict[str, Any] | None) -> Snapshot:
        if found is None:
            return ABSENT
        name = found["backup"]
        if os.path.basename(name) != name:
            raise ValueError
        content = trusted_file.read(self._backups / name, limit=_LIMIT)
        snapshot = Snapshot(content, found["mode"], found["uid"], found["gid"])
        if snapshot.digest != name:
            raise ValueError
        return snapshot


def figures(manifest: Manifest, now: float) -> str:
    """The figures of the services that are set up, for node_exporter's textfile collector; empty if there are none."""
    if not manifest.services:
        return ""
    labels = {name: {"service": name} for name in manifest.services}
    records = manifest.services.items()
    in_force = [Sample(int(not record.said), labels[name]) for name, record in records]
    restored = [
        Sample(round(max(record.renewed)), labels[name]) for name, record in records if record.renewed
    ]
    looked = [Sample(round(now))]
    return (
        family("pam_looked_timestamp_seconds", "gauge", "When the PAM files were looked at last.", looked)
        + family("pam_in_force", "gauge", "Whether nothing keeps a service from asking the phone.", in_force)
        + family(
            "pam_restored_timestamp_seconds",
            "gauge",
            "When lines were last put back into a PAM file, or it was tried.",
            restored,
        )
    )


def _as_object(manifest: Manifest) -> dict[str, Any]:
    services = {
        name: {**vars(record), "files": [_file_as_object(file) for file in record.files]}
        for name, record in manifest.services.items()
    }
    return {"version": _VERSION, "services": services, "trial": manifest.trial and vars(manifest.trial)}


def _file_as_object(file: FileRecord) -> dict[str, Any]:
    before = file.before
    backup = {"backup": before.digest, "mode": before.mode, "uid": before.uid, "gid": before.gid}
    return {
        "path": str(file.path),
        "before": None if before.content is None else backup,
        "written": file.written,
        "edited": file.edited,
    }
