"""Puts our lines back into PAM files that were restored or written anew without them.

A package, a role or a hardening script may write `/etc/pam.d/sshd` anew, and the phone would be off. What a person has
put out of force by a `#` stays so, and is reported once a day. Where the lines of a shared file were written out (Red
Hat), they follow that file.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pam_iampass.audit.journal import Journal, PamFileEvent, PamFileRecord
from pam_iampass.doctor.stacks import module_folders
from pam_iampass.errors import PamIampassError
from pam_iampass.setup import apply, plan, services
from pam_iampass.setup.apply import Machine
from pam_iampass.setup.checks import stacks
from pam_iampass.setup.edits import is_edited, marked
from pam_iampass.setup.errors import SetupError, SetupRefused
from pam_iampass.setup.manifest import FileRecord, Manifest, ManifestStore, ServiceRecord
from pam_iampass.setup.paths import Paths
from pam_iampass.setup.services import WantedFile, WantedService
from pam_iampass.setup.snapshot import take, text_of

MOST = 3
"""How often in an hour the lines of a service are put back: more often, something else insists on taking them out."""
_HOUR = 3600.0
_DAY = 86400.0 - 600.0  # a run that is a little early counts


class Watch:
    """One look at all files that setup has changed. The caller holds the lock."""

    def __init__(
        self,
        paths: Paths,
        store: ManifestStore,
        machine: Machine,
        journal: Journal,
        modules: Sequence[Path] | None = None,
    ) -> None:
        """`modules` are the folders of libpam's modules; those of this machine if they are not given."""
        self.modules = module_folders() if modules is None else modules
        self.paths = paths
        self.store = store
        self.machine = machine
        self.journal = journal

    def look(self, now: float | None = None) -> list[PamFileRecord]:
        """Put back what is missing; returns what was recorded. Raises SetupError and UntrustedFile."""
        now = time.time() if now is None else now
        manifest = self.store.load()
        records = []
        for name in manifest.services:
            manifest, found = self._service(name, manifest, now)
            records += found
        for record in records:
            self.journal.pam_file(record)
        return records

    def _service(self, name: str, manifest: Manifest, now: float) -> tuple[Manifest, list[PamFileRecord]]:
        record = manifest.services[name]
        edited = [file for file in record.files if file.edited]
        lost = [file for file in edited if self._is_lost(file)]
        if lost:
            return self._put_back(name, lost, manifest, now)
        out = [line for file in edited for line in self._out_of_force(file)]
        if not out:
            return self._follow(name, manifest, now)
        if now - record.reported < _DAY:
            return manifest, []
        manifest = manifest.with_service(name, replace(record, reported=now))
        self.store.save(manifest)
        return manifest, [PamFileRecord(PamFileEvent.OUT_OF_FORCE, name, "; ".join(out))]

    def _put_back(
        self, name: str, lost: Sequence[FileRecord], manifest: Manifest, now: float
    ) -> tuple[Manifest, list[PamFileRecord]]:
        record = manifest.services[name]
        what = ", ".join(str(file.path) for file in lost)
        recent = tuple(moment for moment in record.renewed if 0 <= now - moment < _HOUR)
        if len(recent) >= MOST:
            reason = f"{what}: restored again, after {MOST} times within an hour: pam-iampass setup {name}"
            return manifest, [PamFileRecord(PamFileEvent.OFF, name, reason)]
        try:
            manifest = self._apply(name, record, [file.path for file in lost], (*recent, now), manifest, now)
        except (PamIampassError, OSError) as error:
            return manifest, [PamFileRecord(PamFileEvent.OFF, name, f"{what}: {error}")]
        return manifest, [PamFileRecord(PamFileEvent.RENEWED, name, what)]

    def _follow(self, name: str, manifest: Manifest, now: float) -> tuple[Manifest, list[PamFileRecord]]:
        """Change our lines where the shared files ask for others, or a file of the program is new."""
        record = manifest.services[name]
        try:
            service = self._wanted(name, record)
            old = [file.path for file in service.files if file.edited and not _has_lines_of(file)]
            if not old or any(found.is_error for found in stacks.check(service, self.paths, self.modules)):
                return manifest, []  # doctor says what is wrong with the shared file
            manifest = self._apply(name, record, old, record.renewed, manifest, now)
        except (PamIampassError, OSError):
            return manifest, []
        what = f"{', '.join(map(str, old))}: as the files have changed that it includes"
        return manifest, [PamFileRecord(PamFileEvent.RENEWED, name, what)]

    def _wanted(self, name: str, record: ServiceRecord) -> WantedService:
        """The files of a service as they should be. Raises SetupRefused and UntrustedFile."""
        written = {file.path: text_of(self.store.written(file)) for file in record.files if file.edited}
        return services.wanted(name, record.choice, self.paths, written=written)

    def _apply(
        self,
        name: str,
        record: ServiceRecord,
        lost: Sequence[Path],
        renewed: tuple[float, ...],
        manifest: Manifest,
        now: float,
    ) -> Manifest:
        """Edit the lost files anew. Raises SetupError, UntrustedFile or OSError."""
        service = self._wanted(name, record)
        # What is wrong with a shared file does not keep the phone off: only what no login would survive does.
        broken = [
            found
            for found in stacks.check(service, self.paths, self.modules)
            if found.is_error and not found.forcible
        ]
        if broken:
            raise SetupRefused(broken[0].what, broken[0].remedy)
        others = tuple(file for file in record.files if not file.edited)
        edited = tuple(file for file in record.files if file.edited)
        service = replace(service, files=tuple(file for file in service.files if file.edited))
        planned = plan.make(service, Manifest({name: replace(record, files=edited)}), now)
        during, after = (
            replace(each, files=(*each.files, *others), since=record.since, renewed=renewed)
            for each in (planned.during, planned.after)
        )
        changes = tuple(change for change in planned.changes if change.path in lost)
        planned = replace(planned, changes=changes, during=during, after=after)
        with apply.applied([planned], manifest, self.store, self.machine):
            for found in stacks.judged(service, self.paths):
                raise SetupError(found.what, found.remedy)
        return self.store.load()

    def _is_lost(self, file: FileRecord) -> bool:
        """Whether nothing of ours is in the file, and the program still has one."""
        current = take(file.path)
        if current.content is None:
            return any(path.exists() for path in self.paths.vendor(file.path.name))
        return not is_edited(text_of(current.content))

    def _out_of_force(self, file: FileRecord) -> list[str]:
        """The lines of ours that were taken out of force."""
        current = take(file.path).content
        if current is None:
            return []
        there = marked(text_of(current))
        return [
            f"{file.path}: {line}" for line in marked(text_of(self.store.written(file))) if line not in there
        ]


def _has_lines_of(file: WantedFile) -> bool:
    """Whether the file has the lines of ours that it should have, wherever a person has moved them."""
    there = marked(text_of(take(file.path).content))
    return sorted(there) == sorted(marked(text_of(file.content)))
