"""Reads the folder of a sandbox with the rights of its owner, who can put links, pipes and anything else into it.

Only what has the right form is returned: an application id, a secret, an https URL of this machine, and one certificate
of an authority, encoded anew. Nothing else in the folder can get into the configuration.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pam_iampass.errors import StateError, shown
from pam_iampass.sandbox.state_folder import CA_FILE, SECRET_FILE, SERVICE_FILE, USERS_FILE
from pam_iampass.setup.errors import SetupRefused
from pam_iampass.system.service_user import as_service_user
from pam_iampass.system.trusted_folder import shell_word, trusted_folder

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


@contextmanager
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
        if status.st_uid != 0:
            yield folder, _name(status.st_uid, path)
            return
        # Root follows the path itself, so nobody else may be able to lead it elsewhere.
        with trusted_folder(str(path), 0, sticky=True) as trusted:
            yield trusted, "root"
    finally:
        os.close(folder)


def _name(uid: int, path: Path) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise SetupRefused(f"{path}: belongs to user {uid}, who has no account", _start(path)) from None


def _start(path: Path) -> str:
    return f"start the sandbox first: pam-iampass sandbox --state {shell_word(str(path))}"


def _content(folder: int, path: Path) -> dict[str, Any]:
    """The content of the files, as JSON can hold it. Raises StateError."""
    try:
        service = json.loads(_read(folder, SERVICE_FILE, path))
        accounts = json.loads(_read(folder, USERS_FILE, path, missing=b'{"devices": {}}'))
        return {
            "application_id": str(service["application_id"]),
            "url": str(service["url"]),
            "secret": _read(folder, SECRET_FILE, path).decode().strip(),
            "certificate": _authority(_read(folder, CA_FILE, path)),
            "users": [str(user) for user in accounts["devices"]][:_MOST_USERS],
        }
    except (ValueError, TypeError, KeyError, ssl.SSLError):
        raise StateError(f"{path}: is not the folder of a sandbox", _start(path)) from None


def _read(folder: int, name: str, path: Path, missing: bytes | None = None) -> bytes:
    """A regular file of the user that this process is. Raises StateError."""
    try:
        with os.fdopen(os.open(name, _FILE, dir_fd=folder), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                what = f"{path / name}: is not a regular file of the folder's owner"
                raise StateError(what, _start(path))
            content = file.read(_LIMIT + 1)
    except OSError as error:
        if missing is not None and isinstance(error, FileNotFoundError):
            return missing
        raise StateError(f"{path / name}: {error.strerror}", _start(path)) from None
    if len(content) > _LIMIT:
        raise StateError(f"{path / name}: is larger than {_LIMIT} bytes", _start(path))
    return content


def _authority(content: bytes) -> str:
    """The one certificate of an authority in the content, encoded anew. Raises ValueError and SSLError."""
    encoded = ssl.PEM_cert_to_DER_cert(content.decode("ascii").strip())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=encoded)
    if context.cert_store_stats() != {"x509": 1, "crl": 0, "x509_ca": 1}:
        raise ValueError("not the certificate of one authority")
    return ssl.DER_cert_to_PEM_cert(encoded)


def describe(access: SandboxAccess) -> str:
    """One line for people."""
    return f"the sandbox of {shown(access.owner)} at {access.url}, application {access.application_id}"
