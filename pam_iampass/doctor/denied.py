"""Which logins are denied until the errors of a configuration are fixed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pam_iampass.config.settings import USERS_FOLDER
from pam_iampass.config.user_table import user_of
from pam_iampass.doctor.line_arguments import ENROLL_AT_LOGIN
from pam_iampass.errors import RUN_AS_ROOT, Problem
from pam_iampass.login.arguments import ModuleArguments
from pam_iampass.pam.modules import our_lines, own_arguments
from pam_iampass.pam.stack import PamFiles, PamType
from pam_iampass.text import clean

_MOST_NAMES = 5


def who_is_denied(config: Path, errors: Sequence[Problem], *, usable: bool, files: PamFiles) -> str:
    """In words. `usable` is whether the settings themselves have no error."""
    if any(problem.remedy == RUN_AS_ROOT for problem in errors):
        return "not everything could be read: run it as root"
    whom = _and(dict.fromkeys(_users(errors) if usable else ["every login is denied"]))
    names = _services(config, files)
    if not names:
        return f"{whom}, once a PAM service uses these settings"
    return f"through {_and(names)}, {whom}"


def _users(errors: Sequence[Problem]) -> Iterator[str]:
    """The users who are denied, where the settings can be used: exempt users are not."""
    single: dict[str, None] = {}
    for problem in errors:
        section, file = problem.key.rpartition(".")[0], problem.file or Path()
        if problem.key == ENROLL_AT_LOGIN:
            yield f"users without a phone are denied by {file}:{problem.line}"
        elif section.rpartition(".")[2] == "asked":
            yield f"users whom {section} does not list are denied"
        elif file.parent.name == USERS_FOLDER:
            single[clean(user_of(file.name) or file.name, 40)] = None
        elif file.name == USERS_FOLDER:
            yield "users who are not exempt are denied"
        else:
            yield f"users who are not exempt and have no file in {USERS_FOLDER} are denied"
    if single:
        yield f"{_and(single)} {'is' if len(single) == 1 else 'are'} denied"


def _services(config: Path, files: PamFiles) -> list[str]:
    """The PAM services whose lines name these settings. Those that libpam cannot use are left out."""
    found = []
    for service in files.usable():
        lines = our_lines(service) + our_lines(service, PamType.ACCOUNT)
        if any(ModuleArguments.parse(["", *own_arguments(line)]).config == str(config) for line in lines):
            found.append(service.name)
    return found


def _and(words: Sequence[str] | dict[str, None]) -> str:
    names = list(words)
    if len(names) > _MOST_NAMES:
        names[_MOST_NAMES - 1 :] = [f"{len(names) - _MOST_NAMES + 1} more"]
    return ", ".join(names[:-1]) + " and " * (len(names) > 1) + names[-1]
