"""Makes the changes of a plan, and undoes them.

The manifest is written first, so that a process that is killed at any moment leaves what `undo` understands: each file
is as it was before, or as it was written.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pam_iampass.errors import Problem, SetupError
from pam_iampass.pam.lines import is_edited, marked
from pam_iampass.setup import files
from pam_iampass.setup.files import Change, Snapshot, diff, take, text_of
from pam_iampass.setup.manifest import FileRecord, Manifest, ManifestStore, ServiceRecord, Trial
from pam_iampass.setup.plan import Plan, WantedService
from pam_iampass.setup.sshd import Reloaded

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
class Hooks:
    """Steps to take besides changing the files."""

    reload: Callable[[], Reloaded]
    tell: Tell
    judge: Callable[[WantedService], Iterable[Problem]] = lambda service: ()
    """Yields what is wrong with the files of a service as they are then; an error undoes the changes."""
    arm: Callable[[], object] = lambda: None
    """Starts what ends the trial; called before the first change."""


def make_changes(
    plans: Sequence[Plan], earlier: Manifest, store: ManifestStore, hooks: Hooks, trial: Trial | None = None
) -> None:
    """Make the changes, and undo them if the programs reject the result.

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
        hooks.arm()
        _keep_changed(plans, store, hooks.tell)
        _write(changes, hooks)
        for plan in plans:
            for found in hooks.judge(plan.service):
                if found.is_error:
                    undone = "; the changes were undone" if changes else ""
                    raise SetupError(f"{found.what}{undone}", found.remedy)
            manifest = manifest.with_service(plan.service.name, plan.after)
        store.save(manifest, contents)
    except BaseException:
        made = [change for change in reversed(changes) if take(change.path).content == change.then.content]
        _write([replace(change, now=change.then, then=change.now) for change in made], hooks)
        with contextlib.suppress(OSError):  # such as a full disk; the manifest on it describes this state too
            store.save(earlier)
        raise


def undo(name: str, manifest: Manifest, store: ManifestStore, hooks: Hooks) -> Manifest:
    """Restore the files of a service; returns the new manifest. The caller holds the lock.

    If lines of ours were changed, a copy of the file is kept in the state folder. Raises SetupError, UntrustedFile or
    OSError.
    """
    records = manifest.services[name].files
    changes = [_restoring(record, store, hooks.tell) for record in reversed(records)]
    files.remove_temporary(record.path for record in records)
    _write([change for change in changes if change], hooks)
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


def _write(changes: Sequence[Change], hooks: Hooks) -> None:
    """Get all changes ready, make them in this order, and reload sshd if its settings are among them."""
    files.prepare(changes)
    try:
        for change in changes:
            change.commit()
            verb = "wrote" if change.now.content is None else "changed"
            hooks.tell("removed" if change.then.content is None else verb, str(change.path))
    finally:
        files.remove_temporary(change.path for change in changes if change.then.content is not None)
    if any(change.path.parent.name == "sshd_config.d" for change in changes):
        reloaded = hooks.reload()
        hooks.tell("done" if reloaded.done else "to do", reloaded.what)


def _restoring(record: FileRecord, store: ManifestStore, tell: Tell) -> Change | None:
    """The change that restores a file; None if nothing of ours is in it."""
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
