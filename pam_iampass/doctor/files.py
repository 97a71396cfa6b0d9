"""The module's files: the configuration, the programs that root runs, and room for the agent's state."""

from __future__ import annotations

import json
import os
import pwd
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pam_iampass.doctor.catalogue import finding
from pam_iampass.errors import MissingFile, Problem, UnreadableFile, UntrustedFile
from pam_iampass.system import paths, trusted_file
from pam_iampass.system.accounts import user_name
from pam_iampass.system.database import RESERVE
from pam_iampass.system.programs import CommandUnavailable, run
from pam_iampass.system.service_user import SERVICE_USER
from pam_iampass.system.trusted_folder import mode_of, shell_word, trusted_folder

STATE = Path(paths.STATE).parent
SHARED_AUTH = "common-auth"
"""Into which pam-auth-update puts its profile."""
REMOVED = Path(paths.SETUP_STATE, "removed.json")
"""What asked the phone when the package was removed. `setup undo --removal` writes it, and `setup undo` forgets."""
PROGRAMS = tuple(Path(paths.PROGRAMS) / name for name in ("agent", "pam_iampass.py"))
_NEEDED_BYTES = 4 * RESERVE
_NEEDED_FILES = 16

_PACKAGES = re.compile(r'^sys\.path\.append\("([^"\n]+)"\)$', re.M)
_IMPORTS = "import pam_iampass.module, pam_iampass.relay.service"


def configuration(problems: Iterable[Problem]) -> Iterator[Problem]:
    """The problems that `pam-iampass check` reports."""
    for problem in problems:
        usual = "configuration-error" if problem.is_error else "configuration-warning"
        place = f"{problem.file}:{problem.line}" if problem.line else str(problem.file)
        named = not problem.key or problem.key in problem.what
        what = problem.what if named else f"{problem.key} {problem.what}"
        yield finding(problem.kind or usual, "configuration", place, what=what, remedy=problem.remedy)


def account(user: str = SERVICE_USER) -> Iterator[Problem]:
    """Whether the module's user exists."""
    try:
        pwd.getpwnam(user)
    except KeyError:
        yield finding("account-missing", "files", f"getent passwd {user} finds nothing")


def writable(files: Iterable[Path]) -> Iterator[Problem]:
    """Those of the files that users other than root can change, or replace in a folder above."""
    for file in dict.fromkeys(files):
        try:
            real = Path(os.path.realpath(file))
            with trusted_folder(str(real.parent), 0):
                found = real.stat()
        except (MissingFile, UnreadableFile, FileNotFoundError, PermissionError):
            continue
        except UntrustedFile as error:
            yield finding("file-writable", "files", str(error), path=file, remedy=error.remedy)
            continue
        if found.st_uid != 0 or found.st_mode & 0o022:
            word = shell_word(str(real))
            evidence = f"{real}: user {user_name(found.st_uid)}, {mode_of(found)}"
            remedy = f"chown root {word}; chmod go-w {word}"
            yield finding("file-writable", "files", evidence, path=file, remedy=remedy)


def packages(programs: Iterable[Path] = PROGRAMS) -> Iterator[Problem]:
    """Whether the Python of a login finds the module and the packages that it needs."""
    for program in programs:
        try:
            folder = _PACKAGES.search(program.read_text("utf-8"))
        except OSError:
            continue
        if folder is None:
            continue
        code = f"import sys; sys.path.append({json.dumps(folder.group(1))}); {_IMPORTS}"
        try:
            result = run(["python3", "-I", "-S", "-B", "-c", code])
        except CommandUnavailable:
            return
        if not result.ok:
            last = result.errors.strip().rpartition("\n")[2]
            evidence = f"python3 -I -S, with {folder.group(1)}: {last}"
            yield finding("packages-missing", "files", evidence, what=last)
        return


def at_removal(file: Path = REMOVED) -> dict[str, str]:
    """The PAM files that asked the phone when the package was removed, each with the command that switches it on."""
    try:
        found = json.loads(trusted_file.read(file))
        return {str(name): str(command) for name, command in found.items()}
    except (UntrustedFile, ValueError, AttributeError):
        return {}


def space(folder: Path = STATE) -> Iterator[Problem]:
    """Whether the agent can write its state, beyond the reserve in its file."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return
    left = found.f_bavail * found.f_frsize
    if found.f_flag & os.ST_RDONLY:
        what = "is read-only"
    elif left < _NEEDED_BYTES:
        what = f"has {left} bytes left"
    elif found.f_files and found.f_favail < _NEEDED_FILES:
        what = f"has room for {found.f_favail} more files"
    else:
        return
    yield finding("state-full", "files", f"the file system {what}", path=folder)
