"""The machine that is examined, and whom the report is about: what several subjects need to know."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pam_iampass.check.sshd_match import ADDRESS
from pam_iampass.check.stacks import SET_UID, Stacks, module_folders
from pam_iampass.check.user_status import (
    StateSummary,
    UserState,
    UserStatus,
    UserStatusReport,
    summarize,
    user_status,
)
from pam_iampass.config import settings as settings_file
from pam_iampass.config.settings import Settings
from pam_iampass.errors import ConfigurationError, PamIampassError, Problem
from pam_iampass.pam.stack import PamFiles, dialect
from pam_iampass.system import sshd, sudoers
from pam_iampass.system.programs import CommandUnavailable
from pam_iampass.system.service_user import reading_as
from pam_iampass.system.sshd import Connection, SshdConfigRejected, SshdSettings
from pam_iampass.system.sudoers import Sudoers, SudoersRejected

MAX_USERS = 40
"""Without a user name, the users whose phones and sshd settings are checked: each costs a call."""


@dataclass(frozen=True)
class ConfigReport:
    """The files of the configuration, and everything that is wrong with them."""

    settings_files: tuple[Path, ...]
    table_files: tuple[Path, ...]
    users: int
    problems: tuple[Problem, ...]
    gateways: tuple[str, ...] = ()
    """The gateways that are asked about people."""
    denied: str = ""
    """Which logins are denied until the errors are fixed, in words; empty without errors."""

    @property
    def ok(self) -> bool:
        """Whether the module can work with the configuration."""
        return not any(problem.is_error for problem in self.problems)


@dataclass
class Machine:
    """The facts about it. Everything is looked up once, when a subject first needs it."""

    config: Path
    """The settings file."""
    progress: Callable[[str], None] = lambda what: None
    """Gets what is being done."""
    user: str | None = None
    """The user that the command line names."""
    offline: bool = False
    """Whether IAMPASS is not to be called."""
    address: str = ADDRESS
    """The address that an ssh login comes from."""
    not_checked: list[str] = field(default_factory=list)
    """The things that could not be checked, and why; the subjects add to it."""
    has_device: dict[str, bool] = field(default_factory=dict)
    """Whether users have a phone; filled in by the subject IAMPASS, as far as it was asked."""
    not_here: frozenset[str] = frozenset()
    """Users who may not log in to this host of a gateway; likewise."""
    service_works: bool = False
    """Whether IAMPASS, or a gateway, has answered without an error; likewise."""
    report: ConfigReport | None = None
    """The settings, with everything that is wrong with them; filled in by the subject configuration."""

    @cached_property
    def settings(self) -> Settings | None:
        """The settings as the module reads them, None if they are invalid."""
        with reading_as() as readers:
            return settings_file.check(self.config, readers=readers).settings

    @cached_property
    def invoking(self) -> str | None:
        """The user who called sudo or su for this command, by the name that NSS has."""
        try:
            name = os.environ.get("SUDO_USER") or os.getlogin()
            return pwd.getpwnam(name).pw_name
        except (KeyError, ValueError, OSError):
            return None

    @cached_property
    def named(self) -> str | None:
        """The user that the command line names, by the name that NSS has, if it knows one."""
        try:
            return None if self.user is None else pwd.getpwnam(self.user).pw_name
        except (KeyError, ValueError):
            return self.user

    @cached_property
    def user_report(self) -> UserStatusReport:
        """The status of the users to check. Raises ConfigurationError."""
        return user_status(self.config, None if self.named is None else [self.named])

    @cached_property
    def users(self) -> dict[str, UserStatus]:
        """The status of the users to check, by name. Raises ConfigurationError."""
        return {one.name: one for one in self.user_report.users}

    @cached_property
    def key_users(self) -> dict[str, UserStatus]:
        """The same, with root and the user who called this command. Raises ConfigurationError."""
        return self.users_and(name for name in (self.invoking, "root") if name)

    def users_and(self, names: Iterable[str]) -> dict[str, UserStatus]:
        """The status of the users to check and of others, by name. Raises ConfigurationError."""
        missing = [name for name in names if name not in self.users]
        more = user_status(self.config, missing).users if missing else ()
        return {**self.users, **{one.name: one for one in more}}

    @cached_property
    def asked(self) -> list[str]:
        """The users who are asked on the phone."""
        try:
            return [name for name, one in self.key_users.items() if one.state is UserState.ASKED]
        except ConfigurationError:
            return []

    @cached_property
    def state(self) -> StateSummary | None:
        """The module's state about the users; None if it is unknown."""
        if self.settings is None:
            return None
        try:
            return summarize(self.asked, self.config)
        except PamIampassError as error:
            self.not_checked.append(f"recovery codes and throttle: {error}")
            return None

    @cached_property
    def sudoers(self) -> Sudoers | None:
        """sudoers, None if sudo is not installed. Raises SudoersRejected and CommandUnavailable."""
        return sudoers.read() if sudoers.is_installed() else None

    @cached_property
    def sudo_services(self) -> tuple[str, ...]:
        """The PAM services of sudo, and of `sudo -i`, and of single users, if they are known."""
        try:
            return self.sudoers.services if self.sudoers else ()
        except (SudoersRejected, CommandUnavailable):
            return ()

    @cached_property
    def stacks(self) -> Stacks:
        """All stacks, with the services that sshd and sudo use."""
        chosen = frozenset(filter(None, [self.sshd_service, *self.sudo_services]))
        set_uid = SET_UID | frozenset(self.sudo_services)
        return Stacks(PamFiles(dialect=dialect()), module_folders(), chosen, set_uid)

    @cached_property
    def sshd(self) -> dict[str, SshdSettings] | SshdConfigRejected | CommandUnavailable:
        """sshd's settings for the users to check, or the reason why they are unknown."""
        try:
            return {
                name: sshd.settings(Connection(name, self.address)) for name in self.ssh_users()[:MAX_USERS]
            }
        except (SshdConfigRejected, CommandUnavailable) as error:
            return error

    @cached_property
    def sshd_service(self) -> str | None:
        """The PAM service of sshd, None if sshd is not installed."""
        if isinstance(self.sshd, dict) and self.sshd:
            return next(iter(self.sshd.values())).service
        return "sshd" if sshd.is_installed() else None

    @property
    def no_settings(self) -> str:
        """Why `settings` is None."""
        return "the settings are invalid" if os.geteuid() == 0 else "only root can read the settings"

    def ssh_users(self) -> list[str]:
        """The users whose sshd settings are checked: the named one, or all, root first."""
        if self.named is not None:
            return [self.named]
        try:
            listed = [name for name, one in self.users.items() if one.uid is not None]
        except ConfigurationError:
            listed = []
        wanted = filter(None, ["root", self.invoking, *listed])
        return [name for name in dict.fromkeys(wanted) if "," not in name]
