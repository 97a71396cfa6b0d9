"""The published client in a Python of its own: found, or installed from PyPI once."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from pam_iampass.sandbox import Sandbox

REQUIREMENT = "IAMPASS==0.0.32"
_DRIVER = Path(__file__).with_name("witness_driver.py")
_IMPORTS = "import IAMPASS.management_api, IAMPASS.authentication_api"


def witness_python() -> Path:
    """A Python that can import the published client. Raises CalledProcessError where that cannot be had."""
    folder = os.environ.get("IAMPASS_WITNESS_VENV")
    venv = Path(folder) if folder else _private_folder() / "venv"
    python = venv / "bin" / "python"
    # Tests that run at the same time want it at the same time.
    with venv.with_name(f"{venv.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _imports(python):
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", REQUIREMENT], check=True)
            subprocess.run([str(python), "-c", _IMPORTS], check=True)
    return python


def _private_folder() -> Path:
    # A place in the temporary folder that somebody else could have prepared is not run from.
    folder = Path(tempfile.gettempdir()) / f"pam-iampass-witness-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        return Path(tempfile.mkdtemp())
    return folder


def _imports(python: Path) -> bool:
    command = [str(python), "-c", _IMPORTS]
    return python.exists() and subprocess.run(command, capture_output=True).returncode == 0


class Witness:
    """A process that makes the calls it is told to, one line of JSON each way."""

    def __init__(self, python: Path, sandbox: Sandbox, application_secret: str | None = None) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "IAMPASS_SERVER": sandbox.url,
            "SSL_CERT_FILE": str(sandbox.ca_file),
            "APPLICATION_ID": sandbox.application_id,
            "APPLICATION_SECRET": application_secret or sandbox.application_secret,
        }
        self._process = subprocess.Popen(
            [str(python), "-I", "-W", "ignore", str(_DRIVER)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def __enter__(self) -> Witness:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate(timeout=10)

    def call(self, name: str, *arguments: Any, **named: Any) -> Any:
        """What the client's method returned."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([name, arguments, named]), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())
