"""The installation: the service's user, programs and packages, who can change them, room for the agent's state."""

from __future__ import annotations

import json
import os
import pwd
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pam_iampass.check.catalogue import finding
from pam_iampass.check.machine import Machine
from pam_iampass.check.stacks import Stacks, module_folders
from pam_iampass.errors import MissingFile, Problem, UnreadableFile, UntrustedFile
from pam_iampass.pam.stack import PamService
from pam_iampass.system import paths, trusted_file
from pam_iampass.system.accounts import user_name
from pam_iampass.system.database import RESERVE
from pam_iampass.system.programs import CommandUnavailable, run
from pam_iampass.system.service_user import SERVICE_USER
from pam_iampass.system.trusted_folder import mode_of, shell_word, trusted_folder
from pam_iampass.text import names

STATE = Path(paths.STATE).parent
SHARED_AUTH = "common-auth"
"""The shared file into which pam-auth-update puts its profile."""
REMOVED = Path(paths.SETUP_STATE, "removed.json")
"""The record of what asked the phone when the package was removed. `setup undo --removal` writes it; a plain `setup
undo` takes the service out of it."""
PROGRAMS = tuple(Path(paths.PROGRAMS) / name for name in ("agent", "pam_iampass.py"))
_NEEDED_BYTES = 4 * RESERVE
_NEEDED_FILES = 16

_PACKAGES = re.compile(r'^sys\.path\.append\("([^"\n]+)"\)$', re.M)
_IMPORTS = "import pam_iampass.agent.server"


def findings(machine: Machine) -> Iterator[Problem]:
    """The service's user, the packages, what users other than root can change, and what a removal has left off."""
    try:
        pwd.getpwnam(SERVICE_USER)
    except KeyError:
        yield finding("account-missing", "files", f"getent passwd {SERVICE_USER} finds nothing")
    yield from packages()
    services = map(
        machine.stacks.services.get, {**machine.stacks.with_us, **machine.stacks.with_us_in_account}
    )
    pam = [file for one in services if isinstance(one, PamService) for file in one.files]
    modules = [folder / name for folder in module_folders() for name in ("pam_iampass.so", "pam_python.so")]
    yield from writable(path for path in (*PROGRAMS, *modules, *pam) if path.exists())
    off = {name: command for name, command in at_removal().items() if not _asks(name, machine.stacks)}
    if off:
        whom, commands = names(list(off)), "; ".join(off.values())
        what = f"{whom} asked the phone until pam-iampass was removed, and does not any more"
        remedy = f"{commands}; or, to leave it off: pam-iampass setup undo {' '.join(off)}"
        yield finding("switched-off", "pam", str(REMOVED), what=what, remedy=remedy)


def _asks(name: str, stacks: Stacks) -> bool:
    """Whether a service asks the phone, or all services do that include the shared file `name`."""
    if name == SHARED_AUTH:
        lines = "\n".join(stacks.files.texts(name)).splitlines()
        return any("pam_iampass" in line.partition("#")[0] for line in lines)
    return stacks.asks(name, in_sshd=name == "sshd")


def writable(files: Iterable[Path]) -> Iterator[Problem]:
    """The files that users other than root can change, or replace in a folder above."""
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
