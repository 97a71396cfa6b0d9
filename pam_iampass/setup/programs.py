"""Runs the programs of the machine that know whether a setting is right."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from pam_iampass.setup.errors import SetupError

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": _PATH, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True)
class Finished:
    """What came of a program."""

    status: int
    output: str
    errors: str

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.status == 0

    @property
    def lines(self) -> list[str]:
        """All that it said, without empty lines."""
        return [line for line in (self.errors + "\n" + self.output).splitlines() if line.strip()]


def path_of(name: str) -> str | None:
    """Where a program of the system is; None where there is none."""
    return shutil.which(name, path=_PATH)


def run(command: Sequence[str], timeout: float = 60.0) -> Finished:
    """Run a program of the system with a clean environment. Raises SetupError where there is none, or it hangs."""
    found = path_of(command[0])
    if found is None:
        raise SetupError(f"{command[0]} is not installed", f"install {command[0]}")
    try:
        done = subprocess.run(  # noqa: S603
            [found, *command[1:]],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            env=_ENVIRONMENT,
            cwd="/",
        )
    except subprocess.TimeoutExpired:
        raise SetupError(
            f"{' '.join(command)} did not end within {timeout:g} seconds", "try it by hand"
        ) from None
    output, errors = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    return Finished(done.returncode, output, errors)
