"""Makes the machine's logins use a sandbox, and restores the configuration afterwards.

Only the keys of the settings file that lead to the sandbox change. Its secret, certificate and user table are in a
folder of their own, so that the real ones stay as they are.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pam_iampass.config import settings
from pam_iampass.errors import MissingFile
from pam_iampass.setup import files, sandbox_settings
from pam_iampass.setup.apply import Tell, undisturbed
from pam_iampass.setup.errors import FileEdited, SetupError, SetupRefused
from pam_iampass.setup.manifest import ManifestStore
from pam_iampass.setup.sandbox_folder import SandboxAccess
from pam_iampass.setup.snapshot import ABSENT, Snapshot, diff, take
from pam_iampass.system import file_lock, paths, trusted_file
from pam_iampass.system.service_user import SERVICE_USER, config_readers, service_group

SETTINGS = Path(paths.SETTINGS)
_OURS = Path(paths.SANDBOX_SETTINGS)
_KEPT = Path(paths.SANDBOX_STATE)
_BEFORE = _KEPT / "iampass.yaml"
_RECORD = _KEPT / "record.json"


def is_in_use() -> bool:
    """Whether `use` has changed the settings, and `leave` has not restored them."""
    return _RECORD.exists()


class SandboxUse:
    """The use of a sandbox by this machine; for root.

    :param tell: called for each thing that is done, with a verb and its object.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def preview(self, access: SandboxAccess, *, force: bool) -> list[str]:
        """The change of the settings file as a unified diff. Raises as `use`."""
        before, now = self._before(force), take(SETTINGS).content
        return diff(SETTINGS, now, sandbox_settings.merged(before.content, access, str(_OURS)))

    def use(self, access: SandboxAccess, *, force: bool) -> list[str]:
        """Use a sandbox; returns the users of this machine that it knows.

        Raises SetupRefused if a real configuration is in use, unless `force`; UntrustedFile, SetupError and OSError.
        """
        with undisturbed(), _locked():
            before = self._before(force)
            self._keep_edited(before)
            content = sandbox_settings.merged(before.content, access, str(_OURS))
            group = _group()
            first = not _RECORD.exists()
            self._save(before, content)
            try:
                users = sandbox_settings.users(access)
                self._write_own(access, users, group)
                self._replace(
                    before if before.content is not None else Snapshot(None, 0o640, 0, group), content
                )
            except BaseException:
                if first:
                    self._forget()
                raise
        return users

    def leave(self, *, force: bool) -> bool:
        """Restore the settings file and remove what `use` wrote; False if no sandbox is in use.

        Raises FileEdited for a file that was edited since, and SetupRefused where every login would be denied, unless
        `force`; UntrustedFile, SetupError and OSError.
        """
        if not is_in_use():
            return False
        with undisturbed(), _locked():
            before, now = _load(), take(SETTINGS)
            if not force:
                _require_unedited(before, now)
                _require_usable(before)
            self._keep_edited(before)
            if now != before:
                self._commit(SETTINGS, before)
            self._forget()
        return True

    def _before(self, force: bool) -> Snapshot:
        """The settings file as it was before any sandbox."""
        now = take(SETTINGS)
        if _RECORD.exists():
            before = _load()
            if not force:
                _require_unedited(before, now)
            return before
        if _OURS.exists():
            raise SetupRefused(f"{_OURS}: exists, but no sandbox is in use", "move it away")
        if not force and sandbox_settings.names_application(now.content):
            what = f"{SETTINGS}: names an application; its logins would be answered by the sandbox instead"
            raise SetupRefused(what, "--force uses the sandbox all the same; `leave` restores the file")
        return now

    def _keep_edited(self, before: Snapshot) -> None:
        now = take(SETTINGS)
        if now.content is not None and _edited(before, now):
            files.write(_KEPT / "edited", now.content)
            self._tell("kept", str(_KEPT / "edited"))

    def _save(self, before: Snapshot, content: bytes) -> None:
        if before.content is not None:
            files.write(_BEFORE, before.content)
        attributes = {"mode": before.mode, "uid": before.uid, "gid": before.gid}
        written = [*_written(), str(Snapshot(content).digest)]
        record = {"existed": before.content is not None, **attributes, "written": written}
        files.write(_RECORD, json.dumps(record).encode() + b"\n")

    def _write_own(self, access: SandboxAccess, users: list[str], group: int) -> None:
        _OURS.mkdir(mode=0o700, exist_ok=True)
        os.chown(_OURS, 0, group)
        _OURS.chmod(0o750)
        secret = Snapshot(f"{access.secret}\n".encode(), 0o640, 0, group)
        self._commit(_OURS / "application-secret", secret)
        self._commit(_OURS / "ca.pem", Snapshot(access.certificate.encode()))
        table = sandbox_settings.table(users).encode()
        self._commit(_OURS / "users.yaml", Snapshot(table, 0o640, 0, group))

    def _replace(self, before: Snapshot, content: bytes) -> None:
        """Replace the settings file, once it is certain that the module can use the new one."""
        (ready,) = files.stage([(SETTINGS, replace(before, content=content))])
        try:
            report = settings.check(files.temporary(SETTINGS), readers=config_readers())
            if report.settings is None:
                details = [problem.what for problem in report.problems]
                what = f"{SETTINGS}: is invalid together with the sandbox's settings"
                raise SetupError(what, "run pam-iampass check, or move the file away", details)
            ready.commit()
            self._tell("wrote", str(SETTINGS))
        finally:
            ready.discard()

    def _commit(self, path: Path, wanted: Snapshot) -> None:
        (ready,) = files.stage([(path, wanted)])
        ready.commit()
        self._tell("removed" if wanted.content is None else "wrote", str(path))

    def _forget(self) -> None:
        if _OURS.exists():
            shutil.rmtree(_OURS)
            self._tell("removed", str(_OURS))
        _RECORD.unlink(missing_ok=True)
        _BEFORE.unlink(missing_ok=True)


@contextmanager
def _locked() -> Iterator[None]:
    """Keep other processes from doing the same. Makes the folder that remembers."""
    _KEPT.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = file_lock.acquire(None, _KEPT / "lock", 0.0)
    except file_lock.LockHeld:
        raise SetupError("another pam-iampass sandbox is changing the settings", "try again") from None
    try:
        yield
    finally:
        os.close(descriptor)


def _record() -> dict[str, Any]:
    found = json.loads(trusted_file.read(_RECORD, secret=True))
    assert isinstance(found, dict)  # noqa: S101 - only root can have written it
    return found


def _written() -> tuple[str, ...]:
    """The digests of everything that `use` has written to the settings file."""
    try:
        return tuple(_record()["written"])
    except MissingFile:
        return ()


def _load() -> Snapshot:
    """The settings file before `use`."""
    record = _record()
    if not record["existed"]:
        return ABSENT
    content = trusted_file.read(_BEFORE, secret=True)
    return Snapshot(content, record["mode"], record["uid"], record["gid"])


def _edited(before: Snapshot, now: Snapshot) -> bool:
    return now.digest not in (before.digest, *_written())


def _require_unedited(before: Snapshot, now: Snapshot) -> None:
    if _edited(before, now):
        remedy = "note your changes, then repeat with --force: it keeps a copy of the file"
        raise FileEdited(f"{SETTINGS}: was changed since the sandbox is in use", remedy)


def _require_usable(before: Snapshot) -> None:
    """Refuse to restore settings with which every login of a service that asks the phone would be denied."""
    names = ManifestStore(Path(paths.SETUP_STATE)).load().services
    if not names:
        return
    if before.content is None or settings.check(_BEFORE, readers=config_readers()).settings is None:
        what = f"{', '.join(names)}: would deny every login, because the settings from before are incomplete"
        raise SetupRefused(what, "run pam-iampass setup undo first; --force restores them all the same")


def _group() -> int:
    group = service_group()
    if group is None:
        raise SetupRefused(f"there is no group {SERVICE_USER}", "run systemd-sysusers")
    return group
