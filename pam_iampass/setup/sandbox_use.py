"""Makes the machine's logins use a sandbox, and restores the configuration afterwards.

The settings file is put aside as it is, under another name, and comes back by a rename. The file in its place differs
only in the keys that lead to the sandbox; secret, certificate and user table of the sandbox are in a folder of their
own, so that the real ones stay as they are.

The sandbox's folder belongs to a user who can put links, pipes and anything else into it. It is read with that user's
rights, and only what has the right form is taken from it: an application id, a secret, an https URL of this machine,
one certificate of an authority, encoded anew, and names of users.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pam_iampass.config import settings
from pam_iampass.config.validation import name_error, token_error
from pam_iampass.errors import StateError
from pam_iampass.setup import files
from pam_iampass.setup.errors import FileEdited, SetupError, SetupRefused
from pam_iampass.setup.manifest import ManifestStore
from pam_iampass.setup.snapshot import ABSENT, Snapshot, diff, take
from pam_iampass.system import paths
from pam_iampass.system.accounts import Accounts, UnknownAccount
from pam_iampass.system.service_user import SERVICE_USER, as_service_user, config_readers, service_group
from pam_iampass.system.trusted_folder import shell_word, trusted_folder

SETTINGS = Path(paths.SETTINGS)
ASIDE = SETTINGS.with_name("iampass.yaml.before-sandbox")
EDITED = SETTINGS.with_name("iampass.yaml.edited")
"""A copy of the settings that were edited while a sandbox was in use, and then replaced."""
_OURS = Path(paths.SANDBOX_SETTINGS)
_WRITTEN = _OURS / "iampass.yaml"
"""What `use` has written to the settings file."""

# As in `sandbox.state_folder`, which may not be installed: `leave` and `setup undo` work without it.
_SERVICE_FILE = "service.json"
_USERS_FILE = "accounts.json"
_LIMIT = 64 * 1024
_MOST_USERS = 1000
_PATIENCE = 10.0  # seconds: the owner's file system may answer slowly, or never
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_FORMS = {
    "application_id": r"[A-Za-z0-9._~-]{1,256}",
    "url": r"https://(127(\.[0-9]{1,3}){3}|\[::1\]|localhost):[0-9]{1,5}",
    "secret": r"[!-~]{1,256}",
    "certificate": r"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]{1,65536}\n-----END CERTIFICATE-----\n",
}


@dataclass(frozen=True)
class SandboxAccess:
    """What a machine needs to use a sandbox."""

    owner: str
    """The user who runs it, and can approve every login."""
    application_id: str
    url: str
    secret: str
    certificate: str
    """Of the sandbox's authority, PEM."""
    users: tuple[str, ...]
    """The users that the sandbox knows. Not cleaned."""


def read(path: Path) -> SandboxAccess:
    """What is in a sandbox's folder. Raises SetupRefused, UntrustedFile and CannotSwitchUser."""
    with _opened(path) as (folder, owner):
        try:
            found = as_service_user(lambda: _content(folder, path), owner, patience=_PATIENCE)
        except StateError as error:
            raise SetupRefused(error.what, error.remedy) from None
    for name, form in _FORMS.items():
        if not re.fullmatch(form, found[name], re.ASCII):
            raise SetupRefused(f"{path}: the {name} is not one of a sandbox on this machine", _start(path))
    return SandboxAccess(owner, **{**found, "users": tuple(found["users"])})


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[int, str]]:
    """The folder, which cannot be exchanged from now on, and the name of its owner."""
    try:
        folder = os.open(path, _FOLDER)
    except OSError as error:
        raise SetupRefused(f"{path}: {error.strerror}", _start(path)) from None
    try:
        status = os.fstat(folder)
        if status.st_mode & 0o077:
            raise SetupRefused(f"{path}: other users can access it", f"chmod 700 {shell_word(str(path))}")
        if status.st_uid == 0:
            # Root follows the path itself, so nobody else may be able to lead it elsewhere.
            with trusted_folder(str(path), 0, sticky=True) as trusted:
                yield trusted, "root"
            return
        try:
            owner = pwd.getpwuid(status.st_uid).pw_name
        except KeyError:
            what = f"{path}: belongs to user {status.st_uid}, who has no account"
            raise SetupRefused(what, _start(path)) from None
        yield folder, owner
    finally:
        os.close(folder)


def _start(path: Path) -> str:
    return f"start the sandbox first: pam-iampass sandbox --state {shell_word(str(path))}"


def _content(folder: int, path: Path) -> dict[str, Any]:
    """The content of the files, as JSON can hold it. Raises StateError."""
    service, accounts = (_read(folder, name, path) for name in (_SERVICE_FILE, _USERS_FILE))
    try:
        found = {name: str(json.loads(service)[name]) for name in _FORMS}
        encoded = ssl.PEM_cert_to_DER_cert(found["certificate"].strip())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=encoded)
        if context.cert_store_stats() != {"x509": 1, "crl": 0, "x509_ca": 1}:
            raise ValueError("not the certificate of one authority")
        users = [str(user) for user in json.loads(accounts or b'{"devices": {}}')["devices"]]
        return {**found, "certificate": ssl.DER_cert_to_PEM_cert(encoded), "users": users[:_MOST_USERS]}
    except (ValueError, TypeError, KeyError, ssl.SSLError):
        raise StateError(f"{path}: is not the folder of a sandbox", _start(path)) from None


def _read(folder: int, name: str, path: Path) -> bytes:
    """A regular file of the user that this process is; empty if it does not exist. Raises StateError."""
    try:
        with os.fdopen(os.open(name, _FILE, dir_fd=folder), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                what = f"{path / name}: is not a regular file of the folder's owner"
                raise StateError(what, _start(path))
            content = file.read(_LIMIT + 1)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise StateError(f"{path / name}: {error.strerror}", _start(path)) from None
    if len(content) > _LIMIT:
        raise StateError(f"{path / name}: is larger than {_LIMIT} bytes", _start(path))
    return content


def is_in_use() -> bool:
    """Whether `use` has changed the settings, and `leave` has not restored them."""
    return ASIDE.exists() or _OURS.exists()


def preview(access: SandboxAccess, *, force: bool) -> list[str]:
    """The change of the settings file as a unified diff. Raises as `use`."""
    return diff(SETTINGS, take(SETTINGS).content, _merged(_before(force).content, access))


def use(access: SandboxAccess, *, force: bool) -> list[str]:
    """Use a sandbox; returns the users of this machine that it knows. For root.

    Raises SetupRefused if a real configuration is in use, and FileEdited if it was edited since another sandbox is in
    use, unless `force`; UntrustedFile, SetupError and OSError.
    """
    before, group = _before(force), service_group()
    if group is None:
        raise SetupRefused(f"there is no group {SERVICE_USER}", "run systemd-sysusers")
    content, users, first = _merged(before.content, access), _users(access), not _OURS.exists()
    _keep_edits(before)
    try:
        _OURS.mkdir(mode=0o700, exist_ok=True)
        os.chown(_OURS, 0, group)
        _OURS.chmod(0o750)
        # Each token is the user's name, as in the sandbox.
        table = yaml.safe_dump(
            {user: user for user in users}, allow_unicode=True, sort_keys=False, width=10_000
        )
        _write(_OURS / "application-secret", f"{access.secret}\n".encode(), 0o640, 0, group)
        _write(_OURS / "ca.pem", access.certificate.encode())
        _write(_OURS / "users.yaml", table.encode(), 0o640, 0, group)
        _write(_OURS / "next.yaml", content, 0o640, 0, group)
        report = settings.check(_OURS / "next.yaml", readers=config_readers())
        if report.settings is None:
            details = [problem.what for problem in report.problems]
            what = f"{SETTINGS}: is invalid together with the sandbox's settings"
            raise SetupError(what, "run pam-iampass check, or move the file away", details)
    except BaseException:
        if first:
            shutil.rmtree(_OURS, ignore_errors=True)
        raise
    (_OURS / "next.yaml").rename(_WRITTEN)
    if before.content is None:
        before = Snapshot(b"", 0o640, 0, group)
    elif not ASIDE.exists():
        os.link(SETTINGS, ASIDE)  # the file itself: with owner, mode and attributes
    _write(SETTINGS, content, before.mode, before.uid, before.gid)
    return users


def leave(*, force: bool) -> bool:
    """Bring the settings file back and remove what `use` wrote; False if no sandbox is in use. For root.

    Raises FileEdited for a file that was edited since, and SetupRefused where every login would be denied, unless
    `force`; UntrustedFile and OSError.
    """
    if not is_in_use():
        return False
    aside = ASIDE.exists()
    if aside or _is_written():
        before = _before(force)
        if not force:
            _require_usable()
        _keep_edits(before)
        if aside:
            ASIDE.replace(SETTINGS)
            ASIDE.unlink(missing_ok=True)  # a rename does nothing where both are the same file still
        else:
            SETTINGS.unlink()
    # Otherwise an earlier `leave`, or `use`, was interrupted: the settings do not lead here.
    shutil.rmtree(_OURS, ignore_errors=True)
    return True


def _before(force: bool) -> Snapshot:
    """The settings file as it was before any sandbox."""
    now = take(SETTINGS)
    if ASIDE.exists():
        before = take(ASIDE)
        if not force and _edited(before):
            remedy = "note your changes, then repeat with --force: it keeps a copy of the file"
            raise FileEdited(f"{SETTINGS}: was changed since the sandbox is in use", remedy)
        return before
    if _is_written():
        return ABSENT
    # Also where the settings only look as if they named one.
    named = re.search(rb"application_id['\"]?[ \t]*:[ \t]*[^\s#~]", now.content or b"")
    if named and not force:
        what = f"{SETTINGS}: names an application; its logins would be answered by the sandbox instead"
        raise SetupRefused(what, "--force uses the sandbox all the same; `leave` restores the file")
    return now


def _is_written() -> bool:
    """Whether the settings file has what `use` wrote to it."""
    return _WRITTEN.exists() and take(SETTINGS).content == take(_WRITTEN).content


def _edited(before: Snapshot) -> bool:
    now = take(SETTINGS).content
    return now not in (None, before.content) and not _is_written()


def _keep_edits(before: Snapshot) -> None:
    if ASIDE.exists() and _edited(before):
        now = take(SETTINGS)
        _write(EDITED, now.content or b"", now.mode, now.uid, now.gid)


def _require_usable() -> None:
    """Refuse to restore settings with which every login of a service that asks the phone would be denied."""
    names = ManifestStore(Path(paths.SETUP_STATE)).load().services
    if names and settings.check(ASIDE, readers=config_readers()).settings is None:
        what = f"{', '.join(names)}: would deny every login, because the settings from before are incomplete"
        raise SetupRefused(what, "run pam-iampass setup undo first; --force restores them all the same")


def _merged(before: bytes | None, access: SandboxAccess) -> bytes:
    """The settings with the keys that lead to the sandbox replaced; the others stay."""
    text = (before or b"").decode("utf-8", "surrogateescape")
    wanted = {
        "application_id": access.application_id,
        "application_secret_file": f"{_OURS}/application-secret",
        "server": access.url,
        "ca_file": f"{_OURS}/ca.pem",
        "users": f"{_OURS}/users.yaml",
    }
    for key, value in wanted.items():
        line = f"{key}: {json.dumps(value)}"
        text, count = re.subn(rf"(?m)^{key}[ \t]*:.*$", line, text)
        if not count:
            text += ("" if text.endswith("\n") or not text else "\n") + f"{line}\n"
    text = re.sub(r"(?m)^proxy[ \t]*:.*$", "proxy: null", text)
    return text.encode("utf-8", "surrogateescape")


def _users(access: SandboxAccess) -> list[str]:
    """The sandbox's users who have an account here, in order."""
    found = []
    accounts = Accounts()
    for user in access.users:
        with contextlib.suppress(UnknownAccount):
            if not name_error(user) and not token_error(user) and accounts.named(user).name == user:
                found.append(user)
    return found


def _write(path: Path, content: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
    (ready,) = files.stage([(path, Snapshot(content, mode, uid, gid))])
    ready.commit()
