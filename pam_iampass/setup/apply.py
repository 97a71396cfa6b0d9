"""Makes the changes of a plan, and undoes them.

The order keeps logins working: a PAM file is written before it is chosen, and removed after nothing chooses it any
more. The manifest is written first, so that a process that is killed at any moment leaves what `undo` understands:
each file is as it was before, or as it was written.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pam_iampass.setup import files
from pam_iampass.setup.edits import unedited
from pam_iampass.setup.errors import SetupError
from pam_iampass.setup.manifest import FileRecord, Manifest, ManifestStore, ServiceRecord
from pam_iampass.setup.plan import Change, Plan
from pam_iampass.setup.reload import Reloaded
from pam_iampass.setup.snapshot import diff, take

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
    judge: Callable[[Plan], None]
    """Checks what is in force now; raises SetupError if it has to be undone."""
    tell: Tell
    arm: Callable[[], None] = lambda: None
    """Starts what ends the trial; called before the first change."""


def apply(plans: Sequence[Plan], manifest: Manifest, store: ManifestStore, machine: Machine) -> Manifest:
    """Make the changes; returns the new manifest. The caller holds the lock.

    Raises SetupError or OSError; everything is then as it was before, or the error says what is not.
    """
    earlier = replace(manifest, trial=None)
    for plan in plans:
        manifest = manifest.with_service(plan.service.name, plan.during)
    changes = [change for plan in plans for change in plan.changes]
    files.remove_temporary(change.path for change in changes)
    contents = [file.content for plan in plans for file in plan.service.files]
    store.save(manifest, contents)
    try:
        machine.arm()
        _keep_edited(plans, store, machine.tell)
        ordered = sorted(changes, key=lambda change: change.enforcing)
        with _staged([change for change in ordered if not change.is_cleanup], machine.tell) as commit:
            commit()
        for plan in plans:
            machine.judge(plan)
        for plan in plans:
            manifest = manifest.with_service(plan.service.name, _finish(plan, machine))
        store.save(manifest, contents)
    except BaseException:
        _roll_back(plans, machine)
        with contextlib.suppress(OSError):  # such as a full disk; the manifest on it describes this state too
            store.save(earlier)
        raise
    return manifest


def undo(name: str, manifest: Manifest, store: ManifestStore, machine: Machine) -> Manifest:
    """Restore the files of a service; returns the new manifest. The caller holds the lock.

    What a file held that was edited is kept in the state folder. Raises SetupError, UntrustedFile or OSError.
    """
    records = manifest.services[name].files
    changes = [_restoring(record, store, machine.tell) for record in records]
    files.remove_temporary(record.path for record in records)
    reloaded = _restore([change for change in changes if change], name == "sshd", machine)
    if reloaded is not None and not reloaded.done:
        remedy = "then repeat: pam-iampass setup undo. It removes the PAM file that sshd may still be using"
        raise SetupError(reloaded.what, remedy)
    manifest = manifest.with_service(name, None)
    if manifest.trial is not None and not set(manifest.trial.services) & set(manifest.services):
        manifest = replace(manifest, trial=None)
    store.save(manifest)
    return manifest


def conflicts(record: ServiceRecord, store: ManifestStore) -> list[tuple[Path, list[str]]]:
    """The files of a service that have been edited since, each with its diff."""
    found = []
    for file in record.files:
        current = take(file.path)
        if not file.knows(current) and unedited(current.content, file.edits) is None:
            found.append((file.path, diff(file.path, store.written(file), current.content)))
    return found


def in_force(record: ServiceRecord) -> bool:
    """Whether the files that make the service ask the phone are as they were written."""
    return all(take(file.path).digest in file.written for file in record.files if file.enforcing)


def _finish(plan: Plan, machine: Machine) -> ServiceRecord:
    """Reload the service, and remove the files that it no longer uses; returns its record."""
    reloaded = _reload(machine) if plan.service.name == "sshd" and plan.changes else None
    if reloaded is not None and not reloaded.done:
        return replace(plan.during, complete=True)  # the next setup, or undo, removes them
    with _staged([change for change in plan.changes if change.is_cleanup], machine.tell) as commit:
        commit()
    return plan.after


@contextmanager
def _staged(changes: Sequence[Change], tell: Tell) -> Iterator[Callable[[], None]]:
    """Get changes ready; what is yielded makes them, in this order."""
    staged = files.stage((change.path, change.then) for change in changes)

    def commit() -> None:
        for change, ready in zip(changes, staged):
            ready.commit()
            tell(_verb(change), str(change.path))

    try:
        yield commit
    finally:
        for ready in staged:
            ready.discard()


def _restore(changes: Sequence[Change], with_sshd: bool, machine: Machine) -> Reloaded | None:
    """First restore what chooses our PAM files; then, once sshd is reloaded, remove our PAM files."""
    ordered = sorted(changes, key=lambda change: change.enforcing)
    cleanup = [change for change in ordered if change.is_cleanup]
    others = [change for change in ordered if not change.is_cleanup]
    with _staged(others, machine.tell) as commit, _staged(cleanup, machine.tell) as commit_cleanup:
        commit()
        reloaded = _reload(machine) if with_sshd else None
        if reloaded is None or reloaded.done:
            commit_cleanup()
    return reloaded


def _roll_back(plans: Sequence[Plan], machine: Machine) -> None:
    """After a failure: restore every file as it was before these plans. The manifest describes both states."""
    changes = [
        replace(change, now=change.then, then=change.now)
        for plan in plans
        for change in plan.changes
        if take(change.path).content == change.then.content
    ]
    enforced = any(change.enforcing for change in changes)
    _restore(changes, enforced and any(plan.service.name == "sshd" for plan in plans), machine)


def _restoring(record: FileRecord, store: ManifestStore, tell: Tell) -> Change | None:
    """What restores a file; None if it is as it was, or if it no longer includes our file."""
    current = take(record.path)
    if current == record.before:
        return None
    if not record.knows(current):
        without = unedited(current.content, record.edits)
        if without is not None:
            return Change(record.path, current, replace(current, content=without), record.enforcing)
        words = (current.content or b"").split()
        if record.edits and not any(edit.own_name.encode() in words for edit in record.edits):
            tell("left", f"{record.path}: it was restored by hand, or by its package")
            return None
        if current.content is not None:
            tell("kept", f"{store.keep_edited(record.path, current.content)}: {record.path} as it was edited")
    return Change(record.path, current, record.before, record.enforcing)


def _keep_edited(plans: Sequence[Plan], store: ManifestStore, tell: Tell) -> None:
    for plan in plans:
        records = {record.path: record for record in plan.during.files}
        for change in plan.changes:
            if change.now.content is not None and not records[change.path].knows(change.now):
                tell("kept", str(store.keep_edited(change.path, change.now.content)))


def _verb(change: Change) -> str:
    if change.then.content is None:
        return "removed"
    return "wrote" if change.now.content is None else "changed"


def _reload(machine: Machine) -> Reloaded:
    reloaded = machine.reload()
    machine.tell("done" if reloaded.done else "to do", reloaded.what)
    return reloaded
