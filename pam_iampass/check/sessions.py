"""The needs of services whose IAMPASS sessions are kept: `session` stacks, the enforcer, no root shell beside them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from pam_iampass.check.catalogue import finding
from pam_iampass.check.machine import Machine
from pam_iampass.check.stacks import Stacks
from pam_iampass.check.ways_in import CONSOLES
from pam_iampass.config import user_table
from pam_iampass.config.settings import Settings
from pam_iampass.enforcer.service import TIMESTAMPS
from pam_iampass.errors import Problem
from pam_iampass.pam.modules import is_ours, our_lines, stem
from pam_iampass.pam.services import USES
from pam_iampass.pam.stack import PamService, PamType
from pam_iampass.system import paths, sudoers
from pam_iampass.system.programs import CommandUnavailable
from pam_iampass.system.sudoers import Sudoers, SudoersRejected
from pam_iampass.text import names

DOAS = Path("/etc/doas.conf")
_PERSIST = re.compile(r"^[^#\n]*\bpersist\b", re.M)
LOGINS = (*CONSOLES, "remote", "cockpit", "xrdp-sesman")
"""The PAM services, besides that of sshd, by which people log in."""
_OPENS_NO_SESSION = ("systemd-user", "polkit-1")
"""Services without a session that a person approves. systemd-user opens sessions only: nothing calls its `auth` stack.
polkit asks in a helper that has ended before the program begins."""


def findings(machine: Machine) -> Iterator[Problem]:
    """Problems that keep sessions of IAMPASS from being kept, or logins from ending with them. Raises OSError."""
    if machine.settings is None:
        machine.not_checked.append(f"kept sessions: {machine.no_settings}")
        return
    in_account = {machine.sshd_service} & set(machine.stacks.with_us_in_account)
    asking = sorted({*machine.stacks.with_us, *filter(None, in_account)})
    try:
        rules = machine.sudoers
    except (SudoersRejected, CommandUnavailable):  # which the subject sudo reports
        rules = None
    yield from kept(machine.stacks, machine.settings, asking, rules=rules)
    yield from untold_owners(machine.settings)


def untold_owners(settings: Settings, enforcer: Path = Path(paths.ENFORCER_SOCKET)) -> Iterator[Problem]:
    """Whether no line about requests of accounts that act for a person is written on terminals of that person.
    `enforcer` is the socket of the service that writes it."""
    acting = {} if settings.gateways else user_table.check(settings.users).acting
    if acting and not enforcer.is_socket():
        agents = names([name for each in acting.values() for name in each])
        yield finding("owners-not-told", "acts_for", f"{enforcer} is not a socket", agents=agents)


def kept(
    stacks: Stacks,
    settings: Settings,
    asking: Iterable[str],
    enforcer: Path = Path(paths.ENFORCER_SOCKET),
    rules: Sudoers | None = None,
) -> Iterator[Problem]:
    """Problems that keep the sessions of the services `asking`, which ask the phone, from being kept and ended.

    `enforcer` is the socket of the service that ends logins, `rules` what sudo reads. Raises OSError.
    """
    keeping = [
        name for name in asking if name not in _OPENS_NO_SESSION and settings.for_service(name).session.keep
    ]
    for name in keeping:
        yield from _of_stack(stacks, name)
    if rules is not None and keeping:
        yield from _remembered_elsewhere(rules)
    if keeping and not enforcer.is_socket():
        yield finding(
            "enforcer-off", "session.keep", f"{enforcer} is not a socket", services=", ".join(keeping)
        )


def sudo_rules(read: Callable[[Path | None], Sudoers] = sudoers.read) -> list[Sudoers]:
    """The settings of each sudo of the machine; its defaults, if the settings cannot be read."""
    found = []
    for file in sudoers.files():
        try:
            found.append(read(file))
        except CommandUnavailable:
            found.append(Sudoers(()))
        except SudoersRejected:  # sudo starts nothing then
            continue
    return found


def remembered(
    services: Iterable[PamService],
    settings: Settings,
    sshd_service: str,
    rules: Callable[[], Sequence[Sudoers]] = sudo_rules,
    doas: Path = DOAS,
) -> Iterator[Problem]:
    """Whether sudo or doas, which keep sessions, start root shells that no phone can end.

    They do while they remember that they have asked. Such a shell ends with the login in which it was started; so
    nothing is wrong if all logins that ask the phone keep their sessions. `sshd_service` is the PAM service of sshd.
    """
    asking = {
        one.name: one
        for one in services
        if our_lines(one) or (one.name == sshd_service and our_lines(one, PamType.ACCOUNT))
    }
    keeping = {name for name in asking if settings.for_service(name).session.keep}
    logins = [name for name in asking if name in (sshd_service, *LOGINS)]
    endless = [name for name in logins if name not in keeping or not our_lines(asking[name], PamType.SESSION)]
    if keeping.issubset(logins) or (logins and not endless):
        return
    keep = f"session.keep for {names(endless)}" if endless else "pam-iampass setup sshd, with session.keep"
    if any(one.remembers and keeping.intersection(one.services) for one in rules()):
        remedy = f"{keep}; or with visudo: Defaults timestamp_timeout=0"
        yield finding("session-remembered", "sudo", "timestamp_timeout is not 0", name="sudo", remedy=remedy)
    if "doas" in keeping and _persists(doas):
        remedy = f"{keep}; or remove persist from {doas}"
        yield finding("session-remembered", "doas", f"{doas}: persist", name="doas", remedy=remedy)


def _persists(doas: Path) -> bool:
    """Whether doas may remember the password; True if its settings cannot be read."""
    try:
        return bool(_PERSIST.search(doas.read_text("utf-8", "replace")))
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _of_stack(stacks: Stacks, name: str) -> Iterator[Problem]:
    stack = stacks.session_stack(name)
    ours = next((index for index, handler in enumerate(stack) if is_ours(handler)), None)
    if ours is not None and all(stem(handler) != "pam_systemd" for handler in stack[ours:]):
        return
    program = next((one for one, services in USES.items() if name in services), name)
    shared = any(is_ours(one) and one.file.name == "common-auth" for one in stacks.auth_stack(name))
    command = "pam-auth-update --enable iampass-session" if shared else f"pam-iampass setup {program}"
    evidence = "session.keep: true" if ours is None else f"{stack[ours]}, before pam_systemd"
    yield finding("session-line-missing", name, evidence, name=name, command=command)


def _remembered_elsewhere(rules: Sudoers) -> Iterator[Problem]:
    """Lines by which sudo remembers whom it has asked where the enforcer, when it revokes, does not look."""
    for line in rules.lines:
        folder = line.name == "timestampdir" and os.path.realpath(str(line.value)) != os.path.realpath(
            TIMESTAMPS[0]
        )
        owner = line.name == "timestampowner" and line.value not in ("root", "#0")
        if line.value and (folder or owner):
            evidence = line.place or f"cvtsudoers: {line}"
            yield finding("sudo-never-asks-again", "sudo", evidence, rule=line, names="after a kept session")
