"""Runs other programs, to ask them about the machine: with a clean environment, and never for long."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Said:
    """What a program answered."""

    status: int
    output: str
    errors: str

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.status == 0

    @property
    def lines(self) -> list[str]:
        """All that it said, what is wrong first, without empty lines."""
        return [line for line in (self.errors + "\n" + self.output).splitlines() if line.strip()]

    @property
    def complaint(self) -> str:
        """The first line that says what is wrong."""
        return self.lines[0] if self.lines else f"exit status {self.status}"


class NotThere(Exception):
    """The program is not on this machine, or does not come to an end."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


def find(name: str) -> str | None:
    """The path of a program of the system, None where it is not there."""
    return shutil.which(name, path=_PATH)


def ask(name: str, arguments: Sequence[str], seconds: float = 10.0) -> Said:
    """Run a program of the system to its end, within so many seconds. Raises NotThere."""
    path = find(name)
    if path is None:
        raise NotThere(f"{name} is not on this machine", f"install {name}")
    try:
        done = subprocess.run(  # noqa: S603 - a program of the system, with arguments that no shell sees
            [path, *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            env={"PATH": _PATH, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"},
            cwd="/",
        )
    except subprocess.TimeoutExpired:
        what = f"{' '.join([name, *arguments])} did not end within {seconds:g} seconds"
        raise NotThere(what, "try it by hand") from None
    except OSError as error:
        raise NotThere(f"{name} cannot be run: {error.strerror}", "try it by hand") from None
    output, errors = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    return Said(done.returncode, output, errors)
