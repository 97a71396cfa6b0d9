"""The sandbox's folder, which no other user can read."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
from pathlib import Path

from pam_iampass.sandbox.errors import SandboxError
from pam_iampass.system import atomic_write

CA_FILE = "ca.pem"
"""The certificate of the sandbox's authority, PEM."""
SECRET_FILE = "application-secret"  # noqa: S105 - a file name
SERVICE_FILE = "service.json"
"""``application_id`` and ``url`` of the sandbox that ran last."""
USERS_FILE = "accounts.json"


class StateFolder:
    """A folder of mode 0700 with files of mode 0600.

    :param path: the folder; None for a temporary one, which ``remove`` deletes.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.temporary = path is None
        self.path = Path(tempfile.mkdtemp(prefix="pam-iampass-sandbox-")) if path is None else path.absolute()
        self._prepare()

    def _prepare(self) -> None:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = os.lstat(self.path)
        except OSError as error:
            raise SandboxError(f"{self.path}: {error.strerror}") from error
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise SandboxError(f"{self.path} must be a folder that belongs to you")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise SandboxError(f"other users can access {self.path}: run chmod 700 {self.path}")

    def read(self, name: str) -> bytes | None:
        """A file's content, or None if it does not exist."""
        with contextlib.suppress(FileNotFoundError):
            return (self.path / name).read_bytes()
        return None

    def write(self, name: str, content: bytes) -> Path:
        """Replace a file atomically."""
        with atomic_write.open_folder(self.path) as folder:
            atomic_write.write(folder, name, content, f".{name}.{secrets.token_hex(4)}", durable=False)
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
            shutil.rmtree(self.path, ignore_errors=True)
