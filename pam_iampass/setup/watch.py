"""Puts our lines back into PAM files that were restored or written anew without them.

A package, a role or a hardening script may write `/etc/pam.d/sshd` anew, and the phone would be off. A line that a
person has commented out stays so, and so does what a setup that was broken off has left, a line that leads past ours,
or a setting of sshd or sudo that keeps them from asking; each is reported once a day. Where the lines of a shared file
were written out (Red Hat), they follow that file.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from pam_iampass.audit.journal import Journal, PamFileEvent, PamFileRecord
from pam_iampass.check import switched_off
from pam_iampass.check.stacks import Stacks, module_folders
from pam_iampass.errors import PamIampassError, Problem, SetupError, SetupRefused
from pam_iampass.pam.lines import marked
from pam_iampass.pam.modules import NATIVE
from pam_iampass.pam.stack import OTHER
from pam_iampass.setup import apply, checks, plan
from pam_iampass.setup.apply import Hooks
from pam_iampass.setup.edits import has_asking_line
from pam_iampass.setup.files import Paths, take, text_of
from pam_iampass.setup.manifest import FileRecord, ManifestStore, ServiceRecord
from pam_iampass.setup.plan import WantedFile, WantedService

MOST = 3
"""How often in an hour the files of a service are edited: more often, something else insists on taking lines out."""
_HOUR = 3600.0
_DAY = 24 * _HOUR
_EARLY = 600.0  # a run that is a little early counts


class PamFileWatch:
    """One look at all files that setup has changed. The caller holds the lock."""

    def __init__(
        self,
        paths: Paths,
        store: ManifestStore,
        hooks: Hooks,
        journal: Journal,
        modules: Sequence[Path] | None = None,
        program: Callable[[str, Stacks], Iterable[Problem]] = lambda name, stacks: (),
    ) -> None:
        """`modules` are the folders of libpam's modules, by default this machine's. `program` yields what in the
        settings of a service's program keeps it from asking the phone."""
        self.modules = module_folders() if modules is None else modules
        self.paths = paths
        self.store = store
        self.hooks = replace(hooks, judge=partial(checks.in_force, paths=paths))
        self.journal = journal
        self._program = program

    def look(self, now: float | None = None) -> list[PamFileRecord]:
        """Put back what is missing; returns what was recorded. Raises SetupError and UntrustedFile."""
        now = time.time() if now is None else now
        manifest = self.store.load()
        over = manifest.trial.services if manifest.trial and now > manifest.trial.deadline else ()
        records = []
        for name in manifest.services:
            if name in over:
                continue  # it is to end, not to be mended
            try:
                found = self._service(name, now)
            except (PamIampassError, OSError) as error:
                found = self._said(PamFileEvent.OFF, name, str(error), now)
            for record in found:
                self.journal.pam_file(record)
            records += found
        return records

    def _service(self, name: str, now: float) -> list[PamFileRecord]:
        record = self.store.load().services[name]
        if not record.complete:
            reason = f"setup was broken off: pam-iampass setup {name}, or pam-iampass setup undo {name}"
            return self._said(PamFileEvent.OFF, name, reason, now, _DAY)
        edited = [file for file in record.files if file.edited]
        if lost := [file.path for file in edited if self._is_lost(file)]:
            return self._renew(name, lost, "", now)
        gone = [str(file.path) for file in edited if take(file.path).content is None]
        if gone and self._other_lets_in():
            what = f"{', '.join(gone)}: no such file, and /etc/pam.d/{OTHER} lets in without the phone"
            reason = f"{what}; if no program uses it any more: pam-iampass setup undo {name}"
            return self._said(PamFileEvent.OFF, name, reason, now, _DAY)
        out = [line for file in edited for line in self._out_of_force(file)]
        if out:
            return self._said(PamFileEvent.OUT_OF_FORCE, name, "; ".join(out), now, _DAY)
        if old := self._outdated(name, record):
            return self._renew(name, old, ": as the files have changed that it includes", now)
        return self._in_force(name, now)

    def _said(
        self, event: PamFileEvent, name: str, reason: str, now: float, pause: float = _HOUR
    ) -> list[PamFileRecord]:
        """A record, unless it was the last one about this service, less than `pause` ago."""
        record = self.store.load().services[name]
        if record.said == reason and 0 <= now - record.reported < pause - _EARLY:
            return []
        self._remember(name, replace(record, said=reason, reported=now))
        return [PamFileRecord(event, name, reason)]

    def _remember(self, name: str, record: ServiceRecord) -> None:
        with contextlib.suppress(OSError):  # such as a full disk: then something is recorded twice
            self.store.save(self.store.load().with_service(name, record))

    def _renew(self, name: str, edited: Sequence[Path], why: str, now: float) -> list[PamFileRecord]:
        """Edit files anew."""
        what = ", ".join(map(str, edited)) + why
        try:
            done = self._apply(name, edited, now)
        except (PamIampassError, OSError) as error:
            return self._said(PamFileEvent.OFF, name, f"{what}: {error}", now)
        what = ", ".join(map(str, done)) + why
        return self._in_force(name, now) or [PamFileRecord(PamFileEvent.RENEWED, name, what)]

    def _outdated(self, name: str, record: ServiceRecord) -> list[Path]:
        """The files in which the shared files ask for other lines of ours, and new files of the program.

        None of them if something is wrong with a shared file, which check says.
        """
        with contextlib.suppress(PamIampassError, OSError):
            service = self._wanted(name, record)
            changed = [file.path for file in service.files if file.edited and not _has_lines_of(file)]
            if changed and not any(
                found.is_error for found in checks.check_stacks(service, self.paths, self.modules)
            ):
                return changed
        return []

    def _in_force(self, name: str, now: float) -> list[PamFileRecord]:
        """Report daily what keeps the service from asking: lines around ours, or settings of its program."""
        record = self.store.load().services[name]
        stacks = Stacks(self.paths.pam_files(), self.modules, frozenset([name]))
        found = (*switched_off.of_files(name, stacks), *self._program(name, stacks))
        if wrong := next((one for one in found if one.is_error), None):
            reason = f"{wrong.key}: {wrong.what} ({wrong.evidence})"
            return self._said(PamFileEvent.OFF, name, reason, now, _DAY)
        if record.said:
            self._remember(name, replace(record, said="", reported=0.0))  # all is well again
        return []

    def _wanted(self, name: str, record: ServiceRecord) -> WantedService:
        """The files of a service as they should be. Raises SetupRefused and UntrustedFile."""
        written = {file.path: text_of(self.store.written(file)) for file in record.files if file.edited}
        return plan.wanted(name, record.choice, self.paths, written=written)

    def _apply(self, name: str, lost: Sequence[Path], now: float) -> list[Path]:
        """Edit the lost files anew, and files that the program has got since; returns those that were edited.

        A package may add a file in the upgrade in which it replaces another: each needs its lines.
        Raises SetupError, UntrustedFile or OSError.
        """
        manifest = self.store.load()
        record = manifest.services[name]
        recent = tuple(moment for moment in record.renewed if 0 <= now - moment < _HOUR)
        if len(recent) >= MOST:
            raise SetupError(f"given up, after {MOST} attempts within an hour", f"pam-iampass setup {name}")
        if not any((folder / NATIVE).exists() for folder in self.modules):
            raise SetupRefused(
                f"{NATIVE} is not installed: no login would succeed", "install pam-iampass again"
            )
        service = self._wanted(name, record)
        # What is wrong with a shared file does not keep the phone off: only what no login would survive does.
        for found in checks.check_stacks(service, self.paths, self.modules):
            if found.is_error and not found.forcible:
                raise SetupRefused(found.what, found.remedy)
        # Before anything is written: the attempt wakes the watch again, also if it fails.
        record = replace(record, renewed=(*recent, now))
        manifest = manifest.with_service(name, record)
        self.store.save(manifest)
        others = tuple(file for file in record.files if not file.edited)
        edited = tuple(file for file in record.files if file.edited)
        service = replace(service, files=tuple(file for file in service.files if file.edited))
        planned = plan.make(service, replace(record, files=edited), now)
        # Complete also meanwhile: if this is killed, the next run goes on.
        during, after = (
            replace(
                each, complete=True, files=(*each.files, *others), since=record.since, renewed=record.renewed
            )
            for each in (planned.during, planned.after)
        )
        known = {file.path for file in edited} - {*lost}
        changes = tuple(change for change in planned.changes if change.path not in known)
        planned = replace(planned, changes=changes, during=during, after=after)
        apply.make_changes([planned], manifest, self.store, self.hooks)
        return [change.path for change in changes]

    def _is_lost(self, file: FileRecord) -> bool:
        """Whether no line of ours that asks is in the file, not even behind a `#`, and the program still has one."""
        current = take(file.path)
        if current.content is None:
            return any((folder / file.path.name).exists() for folder in self.paths.vendor_pam)
        return not has_asking_line(text_of(current.content))

    def _other_lets_in(self) -> bool:
        """Whether a program whose PAM file is gone lets in without the phone: libpam uses `other` then."""
        return Stacks(self.paths.pam_files(), self.modules, frozenset([OTHER])).lets_in_unasked(OTHER)

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
