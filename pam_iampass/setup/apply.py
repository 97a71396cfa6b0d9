"""Makes the changes of a plan, and takes them back.

In both directions the order keeps everybody's login whole: a PAM file is there before it is chosen, and goes only
when nothing chooses it any more. What is remembered is written first, so that a process that is killed at any
moment leaves what `undo` understands: each file is as it was, or as it was written.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pam_iampass.setup import difference, files
from pam_iampass.setup.errors import Edited, SetupError
from pam_iampass.setup.manifest import FileRecord, Manifest, ServiceRecord, Store
from pam_iampass.setup.plan import Change, Plan
from pam_iampass.setup.reload import Reloaded
from pam_iampass.setup.services import unedited
from pam_iampass.setup.snapshot import Snapshot, take

Tell = Callable[[str, str], None]
"""Told what was done: a word, and to what."""

_LATER = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGTSTP, signal.SIGQUIT})


@contextmanager
def undisturbed() -> Iterator[None]:
    """Meanwhile a closed terminal, Ctrl-C and Ctrl-Z wait: the changes are made, or taken back, in one go."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _LATER)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass(frozen=True)
class Machine:
    """What is outside the files."""

    reload: Callable[[], Reloaded]
    judge: Callable[[Plan], None]
    """Looks at what is in force now; raises SetupError where it must not stay."""
    tell: Tell
    arm: Callable[[], None] = lambda: None
    """Sees to it that a trial ends by itself; called before the first change."""


def apply(plans: Sequence[Plan], manifest: Manifest, store: Store, machine: Machine) -> Manifest:
    """Make the changes; returns what is remembered now. To be called under the lock.

    Raises SetupError or OSError; everything is then as it was before, or the error says what is not.
    """
    earlier = replace(manifest, trial=None)
    for plan in plans:
        manifest = manifest.with_service(plan.service.name, plan.during)
    changes = [change for plan in plans for change in plan.changes]
    files.remove_left_over(change.path for change in changes)
    contents = [file.content for plan in plans for file in plan.service.files]
    store.save(manifest, contents)
    try:
        machine.arm()
        _keep_edited(plans, store, machine.tell)
        _make([change for change in changes if not _is_leftover(change)], machine.tell)
        for plan in plans:
            machine.judge(plan)
        for plan in plans:
            manifest = manifest.with_service(plan.service.name, _finished(plan, machine))
        store.save(manifest, contents)
    except BaseException:
        _take_back(plans, machine)
        with contextlib.suppress(OSError):  # such as a full disk: what is remembered fits this too
            store.save(earlier)
        raise
    return manifest


def undo(
    names: Sequence[str], manifest: Manifest, store: Store, machine: Machine, *, force: bool = False
) -> Manifest:
    """Put the files of these services back as they were; returns what is remembered then. To be called under the lock.

    Raises Edited for a file that is neither as it was nor as it was written, unless `force`; nothing is changed then.
    """
    back: list[Change] = []
    for name in names:
        for record in manifest.services[name].files:
            change = _reversal(record, store, force, machine.tell)
            if change is not None:
                back.append(change)
    files.remove_left_over(record.path for name in names for record in manifest.services[name].files)
    reloaded = _put_back(back, "sshd" in names, machine)
    if reloaded is not None and not reloaded.done:
        remedy = (
            "then do pam-iampass setup --undo once more: it removes the PAM file that sshd may still be using"
        )
        raise SetupError(reloaded.what, remedy)
    for name in names:
        manifest = manifest.with_service(name, None)
    if manifest.trial is not None and not set(manifest.trial.services) & set(manifest.services):
        manifest = replace(manifest, trial=None)
    store.save(manifest)
    return manifest


def conflicts(record: ServiceRecord, store: Store) -> list[tuple[Path, list[str]]]:
    """The files of a service that somebody has changed since, each with what changed."""
    found = []
    for file in record.files:
        current = take(file.path)
        if current.digest not in (*file.written, file.before.digest) and _without_edit(file, current) is None:
            found.append((file.path, difference.lines(file.path, store.written(file), current.content)))
    return found


def in_force(record: ServiceRecord) -> bool:
    """Whether the files that make the service ask the phone are there as they were written."""
    return all(take(file.path).digest in file.written for file in record.files if file.enforcing)


def _is_leftover(change: Change) -> bool:
    """Whether it takes away a file that is chosen no more; sshd may still use it until it is reloaded."""
    return change.then.content is None and not change.enforcing


def _finished(plan: Plan, machine: Machine) -> ServiceRecord:
    """Have the service let go of its old files, and take them away; returns what to remember."""
    reloaded = machine.reload() if plan.service.name == "sshd" and plan.changes else None
    if reloaded is not None:
        _report(reloaded, machine.tell)
        if not reloaded.done:
            return replace(plan.during, complete=True)  # the next setup, or undo, takes them away
    _make([change for change in plan.changes if _is_leftover(change)], machine.tell)
    return plan.after


def _make(changes: Sequence[Change], tell: Tell) -> None:
    ordered = sorted(changes, key=lambda change: change.enforcing)
    staged = files.stage((change.path, change.then) for change in ordered)
    try:
        for change, ready in zip(ordered, staged):
            ready.commit()
            tell(_word(change), str(change.path))
    finally:
        for ready in staged:
            ready.discard()


def _put_back(changes: Sequence[Change], with_sshd: bool, machine: Machine) -> Reloaded | None:
    """First what chooses our PAM files, then, when sshd has let go of them, the files themselves."""
    ordered = sorted(changes, key=lambda change: (_is_leftover(change), change.enforcing))
    staged = files.stage((change.path, change.then) for change in ordered)
    try:
        pairs = list(zip(ordered, staged))
        for change, ready in pairs:
            if not _is_leftover(change):
                ready.commit()
                machine.tell(_word(change), str(change.path))
        reloaded = machine.reload() if with_sshd else None
        if reloaded is not None:
            _report(reloaded, machine.tell)
            if not reloaded.done:
                return reloaded
        for change, ready in pairs:
            if _is_leftover(change):
                ready.commit()
                machine.tell(_word(change), str(change.path))
        return reloaded
    finally:
        for ready in staged:
            ready.discard()


def _take_back(plans: Sequence[Plan], machine: Machine) -> None:
    """After a failure: every file as it was before this plan. What is remembered stays, since it fits both."""
    changes = [
        Change(change.path, change.then, change.now, change.enforcing)
        for plan in plans
        for change in plan.changes
        if take(change.path).content == change.then.content
    ]
    with_sshd = any(plan.service.name == "sshd" for plan in plans) and any(
        change.enforcing for change in changes
    )
    _put_back(changes, with_sshd, machine)


def _reversal(record: FileRecord, store: Store, force: bool, tell: Tell) -> Change | None:
    current = take(record.path)
    if current == record.before:
        return None
    if current.digest not in (*record.written, record.before.digest):
        without = _without_edit(record, current)
        if without is not None:
            return Change(record.path, current, replace(current, content=without), record.enforcing)
        if not force:
            remedy = (
                "put it right by hand, or use --force: what is there is kept then, below the state folder"
            )
            diff = difference.lines(record.path, store.written(record), current.content)
            raise Edited(f"{record.path}: was changed after it was set up", remedy, diff)
        if current.content is not None:
            tell("kept", str(store.keep_edited(record.path, current.content)))
    return Change(record.path, current, record.before, record.enforcing)


def _without_edit(record: FileRecord, current: Snapshot) -> bytes | None:
    if record.edit is None or current.content is None:
        return None
    return unedited(current.content, record.edit)


def _keep_edited(plans: Sequence[Plan], store: Store, tell: Tell) -> None:
    for plan in plans:
        records = {record.path: record for record in plan.during.files}
        for change in plan.changes:
            known = (*records[change.path].written, records[change.path].before.digest)
            if change.now.content is not None and change.now.digest not in known:
                tell("kept", str(store.keep_edited(change.path, change.now.content)))


def _word(change: Change) -> str:
    if change.then.content is None:
        return "removed"
    return "wrote" if change.now.content is None else "changed"


def _report(reloaded: Reloaded, tell: Tell) -> None:
    tell("done" if reloaded.done else "to do", reloaded.what)
