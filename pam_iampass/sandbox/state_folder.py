"""The sandbox's folder, which no other user can read."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
import weakref
from pathlib import Path

from pam_iampass.errors import PamIampassError, UntrustedFile
from pam_iampass.system import atomic_write
from pam_iampass.system.trusted_folder import opened, trusted_folder

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

CA_FILE = "ca.pem"
"""The certificate of the sandbox's authority, PEM."""
SERVICE_FILE = "service.json"
"""The file for ``pam-iampass sandbox use``: id, URL, secret and certificate authority of the sandbox that ran last."""
USERS_FILE = "accounts.json"


class SandboxError(PamIampassError):
    """The sandbox cannot start; the text says why and what to do."""


class StateFolder:
    """A folder of mode 0700 with files of mode 0600.

    :param path: the folder; None for a temporary one, which ``remove`` deletes.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.temporary = path is None
        try:
            self.path = (path or Path(tempfile.mkdtemp(prefix="pam-iampass-sandbox-"))).absolute()
            # All access is relative to this descriptor: the path may lead to another folder later.
            self._folder = _opened(self.path)
        except OSError as error:
            raise SandboxError(f"{path or tempfile.gettempdir()}: {error.strerror}") from error
        weakref.finalize(self, os.close, self._folder)
        status = os.fstat(self._folder)
        if status.st_uid != os.geteuid():
            raise SandboxError(f"{self.path} must be a folder that belongs to you")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise SandboxError(f"other users can access {self.path}: run chmod 700 {self.path}")

    def read(self, name: str) -> bytes | None:
        """A file's content, or None if it does not exist."""
        with contextlib.suppress(FileNotFoundError), opened(name, _FILE, self._folder) as file:
            return os.read(file, os.fstat(file).st_size)
        return None

    def write(self, name: str, content: bytes) -> Path:
        """Replace a file atomically."""
        temporary = f".{name}.{secrets.token_hex(4)}"
        atomic_write.write(self._folder, name, content, temporary, durable=False)
        return self.path / name

    def secret(self, name: str, given: str | None = None) -> str:
        """A persistent secret: the given one, otherwise the stored one, otherwise a new one."""
        stored = self.read(name)
        if given is None and stored is not None:
            return stored.decode().strip()
        secret = secrets.token_urlsafe(24) if given is None else given
        self.write(name, f"{secret}\n".encode())
        return secret

    def remove(self) -> None:
        """Delete the folder if it is temporary."""
        if self.temporary:
            with contextlib.suppress(OSError):
                for name in os.listdir(self._folder):
                    os.unlink(name, dir_fd=self._folder)
                self.path.rmdir()


def _opened(path: Path) -> int:
    """A descriptor of a folder, which is created if need be. For root, no other user can exchange a folder on its path.

    Raises SandboxError and OSError.
    """
    if os.geteuid() != 0:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, _FOLDER)
    existing = next((parent for parent in path.parents if os.path.lexists(parent)), path)
    try:
        with trusted_folder(str(existing), 0, sticky=True):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with trusted_folder(str(path.parent), 0, sticky=True) as parent:
            return os.open(path.name, _FOLDER, dir_fd=parent)
    except UntrustedFile as error:
        advice = "run the sandbox as that user, or choose a folder such as /var/lib/iampass-sandbox"
        raise SandboxError(f"{error}: {advice}") from error
