"""Runs other programs, to ask them about the machine: with a clean environment, and never for long."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_SECONDS = 10.0


@dataclass(frozen=True)
class Said:
    """What a program answered."""

    status: int
    output: str
    errors: str

    @property
    def complaint(self) -> str:
        """The first line that says what is wrong."""
        told = [line for line in (*self.errors.splitlines(), *self.output.splitlines()) if line.strip()]
        return told[0] if told else f"exit status {self.status}"


class NotThere(Exception):
    """The program is not on this machine, or does not come to an end."""


def find(name: str) -> str | None:
    """The path of a program of the system, None where it is not there."""
    return shutil.which(name, path=_PATH)


def ask(name: str, arguments: Sequence[str]) -> Said:
    """Run a program of the system to its end. Raises NotThere."""
    path = find(name)
    if path is None:
        message = f"{name} is not on this machine"
        raise NotThere(message)
    try:
        done = subprocess.run(  # noqa: S603 - a program of the system, with arguments that no shell sees
            [path, *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            env={"PATH": _PATH, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"},
            cwd="/",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        what = "does not come to an end" if isinstance(error, subprocess.TimeoutExpired) else str(error)
        message = f"{name} {what}"
        raise NotThere(message) from None
    return Said(
        done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    )
