"""Makes the changes of a plan, and undoes them.

The manifest is written first, so that a process that is killed at any moment leaves what `undo` understands: each file
is as it was before, or as it was written.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pam_iampass.pam.lines import is_edited, marked
from pam_iampass.setup import files
from pam_iampass.setup.files import Snapshot, diff, take, text_of
from pam_iampass.setup.manifest import FileRecord, Manifest, ManifestStore, ServiceRecord, Trial
from pam_iampass.setup.plan import Change, Plan
from pam_iampass.setup.reload import Reloaded

Tell = Callable[[str, str], None]
"""Called for each thing that is done, with a verb and its object."""

_DEFERRED = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGTSTP, signal.SIGQUIT})


@contextmanager
def undisturbed() -> Iterator[None]:
    """Defer a closed terminal, Ctrl-C and Ctrl-Z, so that changes are not interrupted halfway."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _DEFERRED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass(frozen=True)
class Machine:
    """What is outside the files."""

    reload: Callable[[], Reloaded]
    tell: Tell
    arm: Callable[[], object] = lambda: None
    """Starts what ends the trial; called before the first change."""


@contextmanager
def applied(
    plans: Sequence[Plan],
    earlier: Manifest,
    store: ManifestStore,
    machine: Machine,
    trial: Trial | None = None,
) -> Iterator[None]:
    """Make the changes, for the caller to check what is in force then; an exception undoes them.

    `earlier` is what was recorded before; `trial` begins with the changes. One that runs already goes on.
    The caller holds the lock. Raises SetupError or OSError; everything is then as it was before, or the error says what
    is not.
    """
    manifest = replace(earlier, trial=trial or earlier.trial)
    for plan in plans:
        manifest = manifest.with_service(plan.service.name, plan.during)
    changes = [change for plan in plans for change in plan.changes]
    files.remove_temporary(change.path for change in changes)
    contents = [file.content for plan in plans for file in plan.service.files]
    store.save(manifest, contents)
    try:
        machine.arm()
        _keep_changed(plans, store, machine.tell)
        _make(changes, machine)
        yield
        for plan in plans:
            manifest = manifest.with_service(plan.service.name, plan.after)
        store.save(manifest, contents)
    except BaseException:
        _roll_back(changes, machine)
        with contextlib.suppress(OSError):  # such as a full disk; the manifest on it describes this state too
            store.save(earlier)
        raise


def undo(name: str, manifest: Manifest, store: ManifestStore, machine: Machine) -> Manifest:
    """Restore the files of a service; returns the new manifest. The caller holds the lock.

    Of lines that were changed, the file is kept in the state folder. Raises SetupError, UntrustedFile or OSError.
    """
    records = manifest.services[name].files
    changes = [_restoring(record, store, machine.tell) for record in reversed(records)]
    files.remove_temporary(record.path for record in records)
    _make([change for change in changes if change], machine)
    manifest = manifest.with_service(name, None)
    if manifest.trial is not None and not set(manifest.trial.services) & set(manifest.services):
        manifest = replace(manifest, trial=None)
    store.save(manifest)
    return manifest


def conflicts(record: ServiceRecord, store: ManifestStore) -> list[tuple[Path, list[str]]]:
    """The files of a service in which what setup has written was changed since, each with its diff."""
    found = []
    for file in record.files:
        current = take(file.path)
        if not _is_as_written(file, current, store):
            found.append((file.path, diff(file.path, store.written(file), current.content)))
    return found


def _is_as_written(record: FileRecord, current: Snapshot, store: ManifestStore) -> bool:
    """Whether a file holds what setup has written; other lines of a PAM file do not matter."""
    if not record.edited:
        return current.digest in record.written
    return marked(text_of(current.content)) == marked(text_of(store.written(record)))


def _make(changes: Sequence[Change], machine: Machine) -> None:
    """Get all changes ready, make them in this order, and reload sshd if its settings are among them."""
    staged = files.stage((change.path, change.then) for change in changes)
    try:
        for change, ready in zip(changes, staged):
            ready.commit()
            machine.tell(_verb(change), str(change.path))
    finally:
        for ready in staged:
            ready.discard()
    if any(change.path.parent.name == "sshd_config.d" for change in changes):
        reloaded = machine.reload()
        machine.tell("done" if reloaded.done else "to do", reloaded.what)


def _roll_back(changes: Sequence[Change], machine: Machine) -> None:
    """After a failure: restore every file as it was before. The manifest describes both states."""
    made = [change for change in reversed(changes) if take(change.path).content == change.then.content]
    _make([replace(change, now=change.then, then=change.now) for change in made], machine)


def _restoring(record: FileRecord, store: ManifestStore, tell: Tell) -> Change | None:
    """What restores a file; None if nothing of ours is in it."""
    current = take(record.path)
    if record.edited and not is_edited(text_of(current.content)):
        if current.content is not None and not record.knows(current):
            tell("left", f"{record.path}: it was restored by hand, or by its package")
        return None
    restored = record.restored(current)
    if restored == current:
        return None
    if current.content is not None and not _is_as_written(record, current, store):
        tell("kept", f"{store.keep_edited(record.path, current.content)}: {record.path} as it was edited")
    return Change(record.path, current, restored)


def _keep_changed(plans: Sequence[Plan], store: ManifestStore, tell: Tell) -> None:
    """Keep the files whose lines of ours a person has changed, before they are written anew."""
    for plan in plans:
        records = {record.path: record for record in plan.during.files}
        for change in plan.changes:
            content, record = change.now.content, records[change.path]
            changed = content is not None and not record.knows(change.now)
            if content is not None and changed and (not record.edited or marked(text_of(content))):
                tell("kept", str(store.keep_edited(change.path, content)))


def _verb(change: Change) -> str:
    if change.then.content is None:
        return "removed"
    return "wrote" if change.now.content is None else "changed"
