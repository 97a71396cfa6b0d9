"""The module's own files: the configuration, what root runs, and the folders that it remembers things in."""

from __future__ import annotations

import json
import os
import pwd
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from pam_iampass.doctor.catalogue import KINDS
from pam_iampass.doctor.finding import Finding
from pam_iampass.errors import MissingFile, Problem, Severity, UnreadableFile, UntrustedFile
from pam_iampass.system import paths
from pam_iampass.system.programs import NotThere, ask
from pam_iampass.system.service_user import SERVICE_USER
from pam_iampass.system.trusted_folder import mode_of, shell_word, trusted_folder

STATE = (Path(paths.RATE_LIMITS), Path(paths.RECOVERY_CODES).parent, Path(paths.RECOVERY_CODES))
PROGRAMS = tuple(Path(paths.PROGRAMS) / name for name in ("helper", "agent", "pam_iampass.py"))

_PACKAGES = re.compile(r'^sys\.path\.append\("([^"\n]+)"\)$', re.M)
_IMPORTS = "import pam_iampass.login.verification, pam_iampass.relay.helper, requests, yaml, systemd.journal"


def configuration(problems: Iterable[Problem]) -> Iterator[Finding]:
    """What `pam-iampass check` says."""
    for problem in problems:
        kind = "configuration-error" if problem.severity is Severity.ERROR else "configuration-warning"
        place = f"{problem.file}:{problem.line}" if problem.line else str(problem.file)
        what = (
            f"{problem.key} {problem.what}"
            if problem.key and problem.key not in problem.what
            else problem.what
        )
        yield Finding.of(KINDS[kind], "configuration", place, what=what, remedy=problem.remedy)


def account(user: str = SERVICE_USER) -> Iterator[Finding]:
    """Whether the account of the module is there."""
    try:
        pwd.getpwnam(user)
    except KeyError:
        yield Finding.of(KINDS["account-missing"], "files", f"getent passwd {user}: nothing")


def writable(files: Iterable[Path]) -> Iterator[Finding]:
    """Which of these files, or the folders above them, somebody other than root could change."""
    for file in dict.fromkeys(files):
        try:
            real = Path(os.path.realpath(file))
            with trusted_folder(str(real.parent), 0):
                found = real.stat()
        except (MissingFile, UnreadableFile, FileNotFoundError, PermissionError):
            continue
        except UntrustedFile as error:
            yield Finding.of(KINDS["file-writable"], "files", str(error), path=file, remedy=error.remedy)
            continue
        if found.st_uid != 0 or found.st_mode & 0o022:
            word = shell_word(str(real))
            evidence = f"{real}: user {found.st_uid}, {mode_of(found)}"
            remedy = f"chown root {word}; chmod go-w {word}"
            yield Finding.of(KINDS["file-writable"], "files", evidence, path=file, remedy=remedy)


def packages(programs: Iterable[Path] = PROGRAMS) -> Iterator[Finding]:
    """Whether the Python that a login is served with finds the module and what it needs."""
    for program in programs:
        try:
            folder = _PACKAGES.search(program.read_text("utf-8"))
        except OSError:
            continue
        if folder is None:
            continue
        code = f"import sys; sys.path.append({json.dumps(folder.group(1))}); {_IMPORTS}"
        try:
            said = ask("python3", ["-I", "-S", "-B", "-c", code])
        except NotThere:
            return
        if said.status != 0:
            last = said.errors.strip().rpartition("\n")[2]
            evidence = f"python3 -I -S, with {folder.group(1)}: {last}"
            yield Finding.of(KINDS["packages-missing"], "files", evidence, what=last)
        return


def state_folders(folders: Iterable[Path] = STATE, user: str = SERVICE_USER) -> Iterator[Finding]:
    """Whether the folders that the module remembers things in are there, and its own."""
    try:
        owner = pwd.getpwnam(user).pw_uid
    except KeyError:
        return
    for folder in folders:
        what = ""
        try:
            found = folder.lstat()
        except FileNotFoundError:
            what = "is not there"
        except PermissionError:
            continue
        else:
            if not stat.S_ISDIR(found.st_mode):
                what = "is no folder"
            elif found.st_uid != owner:
                what = f"belongs to user {found.st_uid}, not to {user}"
            elif stat.S_IMODE(found.st_mode) & 0o077:
                what = f"is open to others ({mode_of(found)})"
        if what:
            yield Finding.of(KINDS["state-folder"], "files", f"{folder}: {what}", path=folder, what=what)
