"""Runs programs of the system, with a clean environment and a time limit."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from pam_iampass.errors import PamIampassError

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class CommandResult:
    """The result of a program that has ended."""

    status: int
    output: str
    errors: str

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.status == 0

    @property
    def lines(self) -> list[str]:
        """Standard error, then standard output, without empty lines."""
        return [line for line in (self.errors + "\n" + self.output).splitlines() if line.strip()]

    @property
    def complaint(self) -> str:
        """The first of `lines`."""
        return self.lines[0] if self.lines else f"exit status {self.status}"


class CommandUnavailable(PamIampassError):
    """The program is not installed, cannot be run, does not end or does not answer the question."""


class CommandOverdue(CommandUnavailable):
    """The program was stopped because it did not end in time. It may have done its work."""


def find(name: str) -> str | None:
    """The path of a program of the system; None if it is not installed."""
    return shutil.which(name, path=PATH)


def found(name: str) -> str:
    """As `find`. Raises CommandUnavailable if it is not installed."""
    path = find(name)
    if path is None:
        raise CommandUnavailable(f"{name} is not installed", f"install {name}")
    return path


def run(command: Sequence[str], timeout: float = 30.0, *, stdin: bytes = b"") -> CommandResult:
    """Run a program of the system to its end, for at most `timeout` seconds. Raises CommandUnavailable.

    :param stdin: what it reads.
    """
    name, *arguments = command
    path = found(name)
    try:
        done = subprocess.run(  # noqa: S603 - a program of the system, with arguments that no shell sees
            [path, *arguments],
            check=False,
            input=stdin,
            capture_output=True,
            timeout=timeout,
            env={"PATH": PATH, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"},
            cwd="/",
        )
    except subprocess.TimeoutExpired:
        what = f"{' '.join(command)} did not end within {timeout:g} seconds"
        raise CommandOverdue(what, "run it by hand") from None
    except OSError as error:
        raise CommandUnavailable(f"{name} cannot be run: {error.strerror}", "run it by hand") from None
    output, errors = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    return CommandResult(done.returncode, output, errors)
