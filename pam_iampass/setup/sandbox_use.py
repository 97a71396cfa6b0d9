"""Makes the machine's logins use a sandbox, and restores the configuration afterwards.

The settings file is put aside as it is, under another name, and comes back by a rename. The file in its place differs
only in the keys that lead to the sandbox; secret, certificate and user table of the sandbox are in a folder of their
own, so that the real ones stay as they are.

The owner of the sandbox's folder can approve every login from then on, but must not get at root's files by what they
put into the folder: only the owner's regular files are read from it.

Known limit: a FUSE file system of the owner can delay the command until it is interrupted.
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
from dataclasses import dataclass
from pathlib import Path

import yaml

from pam_iampass.config import settings
from pam_iampass.config.value_types import name_error
from pam_iampass.errors import FileEdited, SetupError, SetupRefused
from pam_iampass.setup import files
from pam_iampass.setup.files import Snapshot, content_of, diff, take, text_of
from pam_iampass.setup.manifest import ManifestStore
from pam_iampass.system import paths
from pam_iampass.system.accounts import Accounts, UnknownAccount
from pam_iampass.system.service_user import SERVICE_USER, config_readers, service_group
from pam_iampass.system.trusted_folder import opened, shell_word

SETTINGS = Path(paths.SETTINGS)
ASIDE = SETTINGS.with_name("iampass.yaml.before-sandbox")
"""The settings from before, while a sandbox is in use."""
EDITED = SETTINGS.with_name("iampass.yaml.edited")
"""A copy of the settings that were edited while a sandbox was in use, and then replaced."""
_OURS = Path(paths.SANDBOX_SETTINGS)
_WRITTEN = _OURS / "iampass.yaml"
"""A copy of what `use` has written to the settings file."""

# As in `sandbox.state_folder`, which may not be installed: `leave` and `setup undo` work without it.
_SERVICE_FILE = "service.json"
_USERS_FILE = "accounts.json"
_LIMIT = 64 * 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_URL = r"https://(127(\.[0-9]{1,3}){3}|\[::1\]|localhost):[0-9]{1,5}"


@dataclass(frozen=True)
class SandboxAccess:
    """The data that a machine needs to use a sandbox. Texts are neither checked nor cleaned."""

    owner: str
    """The user who runs it, and can approve every login."""
    application_id: str
    url: str
    """The URL of the sandbox, which must be on this machine."""
    secret: str
    certificate: str
    """One certificate, PEM."""
    users: tuple[str, ...]
    """The users that the sandbox knows."""


def read(path: Path) -> SandboxAccess:
    """Read what is in a sandbox's folder. Raises SetupRefused."""
    start = f"start the sandbox first: pam-iampass sandbox --state {shell_word(str(path))}"
    try:
        folder = os.open(path, _FOLDER)
    except OSError as error:
        raise SetupRefused(f"{path}: {error.strerror}", start) from None
    try:
        status = os.fstat(folder)
        if status.st_mode & 0o077:
            raise SetupRefused(f"{path}: other users can access it", f"chmod 700 {shell_word(str(path))}")
        service, accounts = (_content(folder, path / name) for name in (_SERVICE_FILE, _USERS_FILE))
        found = json.loads(service)
        users = tuple(map(str, json.loads(accounts)["devices"] if accounts else ()))
        # Raises ValueError for half a surrogate, which no file can contain.
        "".join((str(found["application_id"]), str(found["secret"]), *users)).encode()
        certificate = ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(found["certificate"].strip()))
        ssl.create_default_context(cadata=certificate)
        if not re.fullmatch(_URL, found["url"], re.ASCII):
            raise SetupRefused(f"{path}: the url is not one of a sandbox on this machine", start)
        return SandboxAccess(
            owner=pwd.getpwuid(status.st_uid).pw_name,
            application_id=str(found["application_id"]),
            url=found["url"],
            secret=str(found["secret"]),
            certificate=certificate,
            users=users,
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ssl.SSLError):
        raise SetupRefused(f"{path}: is not the folder of a sandbox", start) from None
    except OSError as error:
        raise SetupRefused(f"{path / str(error.filename)}: {error.strerror}", start) from None
    finally:
        os.close(folder)


def _content(folder: int, path: Path) -> bytes:
    """The content of a file in the folder; empty if there is none. Raises SetupRefused and OSError.

    Only a regular file is read, so that nothing is waited for, and only one of the folder's owner: anything else may be
    a name that the owner has given to another user's file.
    """
    owner, remedy = os.fstat(folder).st_uid, "look at what is in the folder"
    with contextlib.suppress(FileNotFoundError), opened(path.name, _FILE, folder) as file:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != owner:
            raise SetupRefused(f"{path}: is not a regular file of the folder's owner", remedy)
        content = os.read(file, _LIMIT + 1)
        if len(content) > _LIMIT:
            raise SetupRefused(f"{path}: is larger than {_LIMIT} bytes", remedy)
        return content
    return b""


def is_in_use() -> bool:
    """Whether `use` has changed the settings, and `leave` has not restored them."""
    return ASIDE.exists()


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
    content, users = _merged(before.content, access), _users(access)
    try:
        _OURS.mkdir(mode=0o700, exist_ok=True)
        os.chown(_OURS, 0, group)
        _OURS.chmod(0o750)
        # Each token is the user's name, as in the sandbox.
        table = yaml.safe_dump(
            {user: user for user in users}, allow_unicode=True, sort_keys=False, width=10_000
        )
        files.write(_OURS / "application-secret", f"{access.secret}\n".encode(), 0o640, 0, group)
        files.write(_OURS / "ca.pem", access.certificate.encode(), 0o644)
        files.write(_OURS / "users.yaml", table.encode(), 0o640, 0, group)
        files.write(_OURS / "next.yaml", content, 0o640, 0, group)
        report = settings.check(_OURS / "next.yaml", readers=config_readers())
        if report.settings is None:
            details = [problem.what for problem in report.problems]
            what = f"{SETTINGS}: is invalid together with the sandbox's settings"
            raise SetupError(what, "run pam-iampass check, or move the file away", details)
    except BaseException:
        if not is_in_use():
            shutil.rmtree(_OURS, ignore_errors=True)
        raise
    _keep_edits()
    if before.content is None:
        before = Snapshot(b"", 0o640, 0, group)
        files.write(SETTINGS, b"", before.mode, before.uid, before.gid)
    (_OURS / "next.yaml").rename(_WRITTEN)
    if not ASIDE.exists():
        os.link(SETTINGS, ASIDE)  # the file itself: with owner, mode and attributes
    files.write(SETTINGS, content, before.mode, before.uid, before.gid)
    return users


def leave(*, force: bool) -> bool:
    """Bring the settings file back and remove what `use` wrote; False if no sandbox is in use. For root.

    Raises FileEdited for a file that was edited since, and SetupRefused where every login would be denied, unless
    `force`; UntrustedFile and OSError.
    """
    in_use = is_in_use()
    if in_use:
        _before(force)
        if not force:
            require_usable(ASIDE)
        _keep_edits()
        ASIDE.replace(SETTINGS)
        ASIDE.unlink(missing_ok=True)  # a rename does nothing where both are the same file still
    shutil.rmtree(_OURS, ignore_errors=True)
    return in_use


def _before(force: bool) -> Snapshot:
    """The settings file as it was before any sandbox. Raises FileEdited and SetupRefused, unless `force`."""
    if is_in_use():
        if _edited() and not force:
            remedy = "note your changes, then repeat with --force: it keeps a copy of the file"
            raise FileEdited(f"{SETTINGS}: was changed since the sandbox is in use", remedy)
        return take(ASIDE)
    now = take(SETTINGS)
    # Also where the settings only look as if they named one.
    named = re.search(rb"application_id['\"]?[ \t]*:[ \t]*[^\s#~]", now.content or b"")
    if (named or SETTINGS.with_name("joined.yaml").exists()) and not force:
        what = f"{SETTINGS}: names an application, or this host has joined a gateway; the sandbox would answer instead"
        raise SetupRefused(what, "--force uses the sandbox all the same; `leave` restores the file")
    return now


def _edited() -> bool:
    """Whether anyone else has written to the settings file since a sandbox is in use."""
    written = take(_WRITTEN).content if _OURS.exists() else None
    return is_in_use() and take(SETTINGS).content not in (None, written, take(ASIDE).content)


def _keep_edits() -> None:
    if _edited():
        now = take(SETTINGS)
        files.write(EDITED, now.content or b"", now.mode, now.uid, now.gid)


def require_usable(file: Path, *, joined: Path | None = None) -> None:
    """Refuse to use settings again with which every login of a service that asks the phone would be denied. `joined` is
    as in `settings.load`."""
    names = services_denied_by(file, joined=joined)
    if names:
        what = f"{', '.join(names)}: would deny every login, because the settings from before are incomplete"
        raise SetupRefused(what, "run pam-iampass setup undo first; --force restores them nevertheless")


def services_denied_by(file: Path, *, joined: Path | None = None) -> tuple[str, ...]:
    """The services that ask the phone, if these settings deny every login; `joined` is as in `settings.load`."""
    names = ManifestStore(Path(paths.SETUP_STATE)).load().services
    if names and settings.check(file, readers=config_readers(), joined=joined).settings is None:
        return tuple(names)
    return ()


def _merged(before: bytes | None, access: SandboxAccess) -> bytes:
    """The settings with the keys that lead to the sandbox replaced; the others stay."""
    text = text_of(before)
    wanted = {
        "application_id": access.application_id,
        "application_secret_file": f"{_OURS}/application-secret",
        "server": access.url,
        "ca_file": f"{_OURS}/ca.pem",
        "users": f"{_OURS}/users.yaml",
        "proxy": None,
        "joined_file": None,
    }
    for key, value in wanted.items():
        line = f"{key}: {json.dumps(value)}"
        text, count = re.subn(rf"(?m)^{key}[ \t]*:.*$", line.replace("\\", r"\\"), text)
        if not count:
            text += ("" if text.endswith("\n") or not text else "\n") + f"{line}\n"
    return content_of(text)


def _users(access: SandboxAccess) -> list[str]:
    """The sandbox's users who have an account here, in order."""
    found = []
    for user in access.users:
        with contextlib.suppress(UnknownAccount):
            if not name_error(user) and Accounts().named(user).name == user:
                found.append(user)
    return found
