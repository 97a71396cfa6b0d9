"""Packages that Debian does not have, in a Python of their own: found, or installed from PyPI once."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path


def python_with(name: str, requirements: list[str], imports: str) -> Path:
    """A Python that can do these imports. Raises CalledProcessError where that cannot be had.

    :param name: names the venv; the environment's ``IAMPASS_<NAME>_VENV`` may say another folder.
    """
    folder = os.environ.get(f"IAMPASS_{name.upper()}_VENV")
    venv = Path(folder) if folder else _private_folder(name) / "venv"
    python = venv / "bin" / "python"
    # Tests that run at the same time want it at the same time.
    with venv.with_name(f"{venv.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _imports(python, imports):
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *requirements], check=True)
            subprocess.run([str(python), "-c", imports], check=True)
    return python


def _private_folder(name: str) -> Path:
    # A place in the temporary folder that somebody else could have prepared is not run from.
    folder = Path(tempfile.gettempdir()) / f"pam-iampass-{name}-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        return Path(tempfile.mkdtemp())
    return folder


def _imports(python: Path, imports: str) -> bool:
    command = [str(python), "-c", imports]
    return python.exists() and subprocess.run(command, capture_output=True).returncode == 0
