"""Where `enroll_at_login` would let whoever knows a password register a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pam_iampass.errors import Problem, Severity
from pam_iampass.pam.service_lines import FOLDERS, Line, lines

if TYPE_CHECKING:
    from pam_iampass.config.settings import Settings

_MODULES = ("pam_iampass.so", "pam_iampass.py")
_WHAT = "enrols at login without first_factor=publickey, so logins of those who have no phone are refused"


def problems(settings: Settings, folders: tuple[Path, ...] = FOLDERS) -> Iterator[Problem]:
    """A problem for each PAM line of ours that has no `first_factor=publickey` though its service enrols at login.

    What cannot be read is left out.
    """
    told: set[tuple[Path, int]] = set()
    for service in sorted({name for folder in folders for name in _names(folder)}):
        if not settings.for_service(service).enroll_at_login:
            continue
        for line in _lines(service, folders):
            place = (line.file, line.number)
            if (
                _is_ours(line)
                and "first_factor=publickey" not in line.arguments.split()
                and place not in told
            ):
                told.add(place)
                remedy = (
                    "add first_factor=publickey to the line if it is one of sshd's; else write enroll_at_login "
                    f"under the services of sshd only, or services: {{{service}: {{enroll_at_login: false}}}}"
                )
                yield Problem(line.file, line.number, "enroll_at_login", _WHAT, remedy, Severity.ERROR)


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []


def _lines(service: str, folders: tuple[Path, ...]) -> list[Line]:
    try:
        return lines(service, folders)
    except OSError:
        return []


def _is_ours(line: Line) -> bool:
    words = [line.module, *line.arguments.split()]
    return line.phase == "auth" and any(word.rpartition("/")[2] in _MODULES for word in words)
