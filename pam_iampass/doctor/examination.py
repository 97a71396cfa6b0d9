"""One look at the whole machine, subject by subject. Nothing is changed, and no phone rings."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pam_iampass.config import settings as settings_file
from pam_iampass.config.settings import Settings
from pam_iampass.doctor import files, sshd_settings, state_summary, sudoers
from pam_iampass.doctor.agent import AgentExamination
from pam_iampass.doctor.catalogue import KINDS
from pam_iampass.doctor.config_check import inspect
from pam_iampass.doctor.finding import Finding, merged
from pam_iampass.doctor.people import LockoutExamination, PeopleExamination
from pam_iampass.doctor.service import ServiceExamination
from pam_iampass.doctor.sshd import SshdExamination
from pam_iampass.doctor.sshd_settings import ForUser, Sshd
from pam_iampass.doctor.stacks import SET_UID, Stacks, module_folders
from pam_iampass.doctor.state_summary import Memory, remembered
from pam_iampass.doctor.sudo import SudoExamination, su_findings
from pam_iampass.doctor.sudoers import Sudoers
from pam_iampass.doctor.user_status import Report, Standing, State
from pam_iampass.doctor.user_status import report as standing_report
from pam_iampass.errors import ConfigurationError, StateError
from pam_iampass.pam.dialect import dialect
from pam_iampass.pam.stack import PamFiles
from pam_iampass.system.service_user import reading_as_service_user, service_group

_MOST_USERS = 40
"""Users whose phones, and whose settings of sshd, are looked at where nobody is named: each costs a call."""


@dataclass(frozen=True)
class Options:
    """What is looked at."""

    config: Path
    user: str | None = None
    offline: bool = False
    address: str = sshd_settings.ADDRESS


@dataclass(frozen=True)
class Result:
    """What was found, worst first, and what could not be looked at."""

    findings: tuple[Finding, ...]
    unseen: tuple[str, ...]
    looked_at: tuple[str, ...]


@dataclass
class Examination:
    """Looks at one thing after the other. `progress` is told what comes next."""

    options: Options
    progress: Callable[[str], None]
    unseen: list[str] = field(default_factory=list)
    looked_at: list[str] = field(default_factory=list)
    has_device: dict[str, bool] = field(default_factory=dict)

    def result(self) -> Result:
        """Look at everything. Raises nothing that the machine can cause."""
        found: list[Finding] = []
        steps: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
            ("configuration", self._configuration),
            ("files", self._files),
            ("agent", AgentExamination().findings),
            ("users", self._users),
            ("service", self._service),
            ("PAM stacks", self._stacks),
            ("sshd", self._sshd),
            ("sudo and su", self._sudo),
            ("lock-outs", self._lockouts),
        ]
        if os.geteuid() != 0:
            self.unseen.append("much that only root may read: run it as root")
        for name, look in steps:
            self.progress(f"looking at {name}")
            before = len(self.unseen)
            try:
                found += look()
            except (OSError, sshd_settings.NotSeen, sudoers.NotSeen) as error:
                self.unseen.append(f"{name}: {error}")
            if len(self.unseen) == before:
                self.looked_at.append(name)
        return Result(tuple(merged(found)), tuple(dict.fromkeys(self.unseen)), tuple(self.looked_at))

    # What the subjects need of each other

    @cached_property
    def settings(self) -> Settings | None:
        """The settings as the module reads them, None where they are wrong."""
        group = service_group()
        with reading_as_service_user():
            return settings_file.check(
                self.options.config, readers=frozenset() if group is None else {group}
            ).settings

    @cached_property
    def invoking(self) -> str | None:
        """Who called sudo or su for this command, as the machine has it."""
        name = os.environ.get("SUDO_USER") or _login_name()
        try:
            return pwd.getpwnam(name).pw_name if name else None
        except (KeyError, ValueError):
            return None

    @cached_property
    def report(self) -> Report:
        """How everybody who is looked at stands. Raises ConfigurationError."""
        chosen = None if self.options.user is None else [self._name(self.options.user)]
        return standing_report(self.options.config, chosen)

    @cached_property
    def standings(self) -> dict[str, Standing]:
        """The same, by name. Raises ConfigurationError."""
        return {one.name: one for one in self.report.standings}

    @cached_property
    def key_standings(self) -> dict[str, Standing]:
        """The standings of those who must not be locked out, too. Raises ConfigurationError."""
        missing = [name for name in (self.invoking, "root") if name and name not in self.standings]
        more = standing_report(self.options.config, missing).standings if missing else ()
        return {**self.standings, **{one.name: one for one in more}}

    @cached_property
    def memory(self) -> Memory | None:
        """What the module remembers of everybody who is looked at; None where that cannot be told."""
        if self.settings is None:
            return None
        try:
            asked = [name for name, one in self.key_standings.items() if one.state is State.ASKED]
            return remembered(asked, self.settings)
        except (state_summary.NotSeen, ConfigurationError, StateError) as error:
            self.unseen.append(f"recovery codes and throttle: {error}")
            return None

    @cached_property
    def sudoers(self) -> Sudoers | None:
        """What sudoers says, None where there is no sudo. Raises sudoers.Refused and sudoers.NotSeen."""
        return sudoers.read() if sudoers.is_there() else None

    @cached_property
    def sshd(self) -> Sshd:
        return Sshd(self.options.address)

    @cached_property
    def stacks(self) -> Stacks:
        """All stacks, with the services that sshd and sudo are set to use."""
        chosen = {self.sshd_service} if self.sshd_service else set()
        try:
            found = self.sudoers
        except (sudoers.Refused, sudoers.NotSeen):
            found = None
        of_sudo = {found.service, found.login_service} if found else set()
        return Stacks(
            PamFiles(dialect=dialect()),
            module_folders(),
            frozenset(chosen | of_sudo),
            SET_UID | frozenset(of_sudo),
        )

    @cached_property
    def sshd_service(self) -> str | None:
        """The PAM service of sshd, None where that cannot be told."""
        found = self.sshd_for_users
        return next(iter(found.values())).service if found else ("sshd" if self.sshd.is_there else None)

    @cached_property
    def sshd_for_users(self) -> dict[str, ForUser]:
        """sshd's settings for those who are looked at; empty where sshd cannot be asked."""
        if not self.sshd.is_there:
            return {}
        try:
            return {name: self.sshd.for_user(name) for name in self._ssh_users()}
        except (sshd_settings.Refused, sshd_settings.NotSeen):
            return {}

    # The subjects

    def _configuration(self) -> Iterator[Finding]:
        yield from files.configuration(
            problem
            for problem in inspect(self.options.config).problems
            if "somebody other than root" not in problem.what
        )

    def _files(self) -> Iterator[Finding]:
        yield from files.account()
        yield from files.packages()
        yield from files.state_folders()
        pam = [
            file for stack in self.stacks.with_us.values() for file in _files_of(self.stacks, stack.service)
        ]
        modules = [
            folder / name for folder in module_folders() for name in ("pam_iampass.so", "pam_python.so")
        ]
        present = [path for path in (*files.PROGRAMS, *modules, *pam) if path.exists()]
        yield from files.writable(present)

    def _users(self) -> Iterator[Finding]:
        people = self._people()
        if people is None:
            return
        yield from people.findings()
        # Before anything starts a thread: for it this process changes its user for a moment.
        known = self.memory
        chosen = self._name(self.options.user) if self.options.user is not None else None
        if known is not None and chosen in known.rests:
            seconds = f"{known.rests[str(chosen)]:.0f}"
            evidence = f"pam-iampass throttle show {chosen}"
            yield Finding.of(KINDS["user-rests"], "users", evidence, names=chosen, seconds=seconds)

    def _service(self) -> Iterator[Finding]:
        if self.options.offline:
            self.unseen.append("the service: --offline")
            return
        if self.settings is None:
            self.unseen.append("the service: the settings are wrong")
            return
        people = self._people()
        tokens = people.tokens(_MOST_USERS) if people else {}
        if people and len(tokens) == _MOST_USERS:
            self.unseen.append(
                f"phones of all but the first {_MOST_USERS} users: name one to look at that one"
            )
        examination = ServiceExamination(self.settings, self.progress)
        yield from examination.findings(tokens)
        self.has_device = examination.has_device
        if examination.unasked:
            self.unseen.append(f"phones of {len(examination.unasked)} users: there was no time, or no answer")

    def _stacks(self) -> Iterator[Finding]:
        yield from self.stacks.findings(self.sshd_service)
        self.unseen += self.stacks.unread

    def _sshd(self) -> Iterator[Finding]:
        if not self.sshd.is_there:
            self.unseen.append("sshd: is not on this machine")
            return
        users = self._ssh_users()
        try:
            asked = frozenset(name for name, one in self.key_standings.items() if one.state is State.ASKED)
        except ConfigurationError:
            asked = frozenset()
        yield from SshdExamination(self.sshd, users, self.stacks, self.settings, asked).findings()

    def _sudo(self) -> Iterator[Finding]:
        yield from su_findings(self.stacks)
        try:
            found = self.sudoers
        except sudoers.Refused as refused:
            yield sudoers.refused_finding(refused)
            return
        if found is None:
            self.unseen.append("sudo: is not on this machine")
            return
        yield from SudoExamination(found, self.stacks).findings()

    def _lockouts(self) -> Iterator[Finding]:
        if self.settings is None:
            self.unseen.append("lock-outs: the settings are wrong")
            return
        try:
            standings = self.key_standings
        except ConfigurationError:
            return
        try:
            of_sudo = [self.sudoers.service] if self.sudoers else []
        except (sudoers.Refused, sudoers.NotSeen):
            of_sudo = []
        yield from LockoutExamination(
            standings,
            self.has_device,
            self.stacks,
            self.settings,
            self.sshd_for_users,
            self.invoking,
            list(dict.fromkeys([*([self.sshd_service] if self.sshd_service else []), *of_sudo])),
            self.memory.codes if self.memory else None,
        ).findings()

    def _people(self) -> PeopleExamination | None:
        if self.settings is None:
            self.unseen.append("users: the settings are wrong")
            return None
        try:
            chosen = None if self.options.user is None else self._name(self.options.user)
            return PeopleExamination(self.report, self.settings, chosen)
        except ConfigurationError:
            self.unseen.append("users: the table cannot be read")
            return None

    def _ssh_users(self) -> list[str]:
        """Those whose settings of sshd are looked at: the one who was named, or a handful, root among them."""
        if self.options.user is not None:
            return [self._name(self.options.user)]
        try:
            listed = [name for name, one in self.standings.items() if one.uid is not None]
        except ConfigurationError:
            listed = []
        wanted = ["root", *([self.invoking] if self.invoking else []), *listed]
        return [name for name in dict.fromkeys(wanted) if "," not in name][:_MOST_USERS]

    @staticmethod
    def _name(name: str) -> str:
        """The name as NSS has it, where it knows it."""
        try:
            return pwd.getpwnam(name).pw_name
        except (KeyError, ValueError):
            return name


def _files_of(stacks: Stacks, name: str) -> tuple[Path, ...]:
    service = stacks.services[name]
    return getattr(service, "files", ())


def _login_name() -> str | None:
    try:
        return os.getlogin()
    except OSError:
        return None
