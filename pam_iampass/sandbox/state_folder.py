"""The sandbox's own folder: what is in it was never, not for a moment, readable by anybody else."""

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


class StateFolder:
    """A folder of mode 0700 with files of mode 0600.

    :param path: the folder; None for a temporary one, which ``remove`` takes away again.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.temporary = path is None
        self.path = Path(tempfile.mkdtemp(prefix="pam-iampass-sandbox-")) if path is None else path.absolute()
        self._prepare()

    def _prepare(self) -> None:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = os.lstat(self.path)
        except OSError as error:
            raise SandboxError(f"{self.path}: {error.strerror}") from error
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise SandboxError(f"{self.path} must be a folder that belongs to you")
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise SandboxError(f"others can look into {self.path}: make it yours with chmod 700 {self.path}")

    def read(self, name: str) -> bytes | None:
        """A file's content, None where there is no such file."""
        with contextlib.suppress(FileNotFoundError):
            return (self.path / name).read_bytes()
        return None

    def write(self, name: str, content: bytes) -> Path:
        """Write a file whole or not at all."""
        with atomic_write.open_folder(self.path) as folder:
            atomic_write.write(folder, name, content, f".{name}.{secrets.token_hex(4)}", durable=False)
        return self.path / name

    def remembered(self, name: str, wanted: str | None = None) -> str:
        """A secret that outlives a restart: the wanted one, else the one of last time, else a new one."""
        known = self.read(name)
        if wanted is None and known is not None:
            return known.decode().strip()
        secret = secrets.token_urlsafe(24) if wanted is None else wanted
        self.write(name, f"{secret}\n".encode())
        return secret

    def remove(self) -> None:
        """Take a temporary folder away; one that somebody chose stays."""
        if self.temporary:
            shutil.rmtree(self.path, ignore_errors=True)
