"""Reads the configuration as the module would, and collects everything that is wrong with it."""

from __future__ import annotations

# difflib and yaml are here, and not where they are needed, since the user that the module runs as may
# be unable to read them on a machine that has Python somewhere unusual.
import difflib  # noqa: F401
import grp
import ipaddress
import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable

import yaml  # noqa: F401

from pam_iampass.config import settings, user_table_check
from pam_iampass.doctor import enrollment_advice
from pam_iampass.errors import Problem, Severity, shown
from pam_iampass.system.programs import NotThere, ask
from pam_iampass.system.service_user import SERVICE_USER, reading_as_service_user, service_group

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_iampass.config.value_types import Network

SSHD = "/usr/sbin/sshd"
SSHD_MARGIN = 30
"""Seconds that sshd must give beyond `timeout`, for the prompt and for the way there."""

_OWN_NETWORKS = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "::1/128", "::ffff:127.0.0.0/104")))


@dataclass(frozen=True)
class Inspection:
    """What was read, and what is wrong with it."""

    settings_files: tuple[Path, ...]
    table_files: tuple[Path, ...]
    users: int
    problems: tuple[Problem, ...]

    def count(self, severity: Severity) -> int:
        """How many problems are so bad."""
        return sum(problem.severity is severity for problem in self.problems)

    @property
    def ok(self) -> bool:
        """Whether the module can work with it."""
        return not self.count(Severity.ERROR)


def inspect(config: Path, module_user: str = SERVICE_USER, sshd: str = SSHD) -> Inspection:
    """Read the settings in `config` and the table that they name, and compare them with what `sshd` says of itself.

    Raises nothing that the files can cause.
    """
    table = None
    group = service_group(module_user)
    with reading_as_service_user(module_user):
        examination = settings.check(config, readers=frozenset() if group is None else {group})
        if examination.users is not None:
            users = examination.users
            table = user_table_check.check(users, users.parent / settings.USERS_FOLDER)
    problems = [*examination.problems, *(table.problems if table else ())]
    if examination.settings is not None:
        problems += _advice(config, examination, examination.settings.exempt)
        problems += enrollment_advice.problems(examination.settings)
        problems += _grace_time(config, examination.settings, sshd)
    if os.geteuid() != 0:
        problems.append(_not_root(config))
    return Inspection(
        settings_files=examination.settings.files if examination.settings else (config,),
        table_files=table.files if table else (),
        users=len(table.entries) if table else 0,
        problems=tuple(problems),
    )


def _not_root(config: Path) -> Problem:
    what = "is looked at by somebody other than root, who may be kept from reading the secret and more"
    return Problem(config, None, "", what, "run pam-iampass check as root", Severity.WARNING)


def _advice(
    config: Path, examination: settings.SettingsReport, exempt: settings.ExemptSettings
) -> Iterator[Problem]:
    """What the module takes, but hardly anybody means."""

    def warning(key: str, text: str, what: str, remedy: str) -> Problem:
        line = examination.lines.get((key, text))
        return Problem(config, line, key, f"{shown(text)} {what}", remedy, Severity.WARNING)

    for user in sorted(exempt.users):
        if not _is_known(pwd.getpwnam, user):
            yield warning("exempt.users", user, "is no user that this machine knows", "look at getent passwd")
    for group in sorted(exempt.groups):
        if not _is_known(grp.getgrnam, group):
            yield warning(
                "exempt.groups", group, "is no group that this machine knows", "look at getent group"
            )
    for (key, text), _ in sorted(examination.lines.items(), key=lambda item: item[1]):
        if key == "exempt.networks":
            fault = _network_fault(ipaddress.ip_network(text))
            if fault:
                yield warning(key, text, fault, "name only networks from where nobody else can come")


def _grace_time(config: Path, found: settings.Settings, sshd: str) -> list[Problem]:
    """Whether sshd gives up before the person's time is over."""
    says = _sshd_says(sshd)
    grace, service = says.get("logingracetime", ""), says.get("pamservicename", "sshd")
    timeout = found.for_service(service).timeout
    needed = timeout + SSHD_MARGIN
    if not grace.isdigit() or int(grace) == 0 or int(grace) >= needed:
        return []
    what = f"{timeout:g}s, and {SSHD_MARGIN} more, is longer than sshd waits (LoginGraceTime {grace})"
    remedy = f"set LoginGraceTime {needed:g} in sshd_config, or a shorter timeout for the service {service}"
    return [Problem(config, None, "timeout", what, remedy, Severity.WARNING)]


def _sshd_says(sshd: str) -> dict[str, str]:
    """The settings of sshd as it understands them; none where it is not there, or does not tell."""
    if os.geteuid() != 0 or not os.access(sshd, os.X_OK):
        return {}
    try:
        told = ask(sshd, ["-T"])
    except NotThere:
        return {}
    lines = told.output.splitlines() if told.ok else []
    return {name: value for name, _, value in (line.partition(" ") for line in lines)}


def _is_known(look_up: Callable[[str], object], name: str) -> bool:
    try:
        look_up(name)
    except (KeyError, OSError, ValueError):
        return False
    return True


def _network_fault(network: Network) -> str | None:
    if network.prefixlen == 0:
        return f"is every address of IPv{network.version}"
    if any(network.version == own.version and network.overlaps(own) for own in _OWN_NETWORKS):
        return "holds this machine's own addresses: whoever can forward a port is exempt"
    return None
