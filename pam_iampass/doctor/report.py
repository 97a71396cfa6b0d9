"""Checks everything that a login depends on. Nothing is changed, and no phone rings."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from pam_iampass.config import settings as settings_file
from pam_iampass.config.settings import AskedSettings, ExemptSettings, Settings
from pam_iampass.doctor import files, session_check, sshd_instances
from pam_iampass.doctor.agent import AgentCheck, SelinuxCheck, unmasked
from pam_iampass.doctor.catalogue import finding
from pam_iampass.doctor.configuration import NOT_ROOT, check_config
from pam_iampass.doctor.iampass import ServiceCheck
from pam_iampass.doctor.sshd import (
    SshdCheck,
    exempt_users,
    outdated_exceptions,
    prompted,
    rejected_finding,
    stale,
)
from pam_iampass.doctor.sshd_instances import SshdInstance
from pam_iampass.doctor.sshd_match import (
    ADDRESS,
    ANYBODY,
    CONFIGURATION,
    SshdConfiguration,
    SshdLogin,
    Witnesses,
    unusual,
)
from pam_iampass.doctor.stacks import SET_UID, Stacks, module_folders
from pam_iampass.doctor.sudo import SudoCheck, loopholes
from pam_iampass.doctor.user_status import (
    StateSummary,
    UserState,
    UserStatus,
    UserStatusReport,
    summarize,
    user_status,
)
from pam_iampass.doctor.users import LockoutCheck, UsersCheck, bypass_findings
from pam_iampass.doctor.ways_in import WaysInCheck
from pam_iampass.errors import (
    RUN_AS_ROOT,
    ConfigurationError,
    PamIampassError,
    Problem,
    Severity,
    UntrustedFile,
)
from pam_iampass.login import policy
from pam_iampass.outcome import Login
from pam_iampass.pam.stack import PamFiles, PamService, dialect
from pam_iampass.system import sshd, sudoers
from pam_iampass.system.accounts import Accounts, LookupFailed, UnknownAccount
from pam_iampass.system.programs import CommandUnavailable
from pam_iampass.system.service_user import reading_as
from pam_iampass.system.sshd import NO_ADDRESS, Connection, SshdConfigRejected, SshdSettings
from pam_iampass.system.sudoers import Sudoers, SudoersRejected
from pam_iampass.text import names

_MAX_USERS = 40
"""Without a user name, the users whose phones and sshd settings are checked: each costs a call."""
_ONLY_IN_CHECK = (
    *("", "service-off", "switched-off", "configuration-readable", "service-group-shared", "su-root-unasked"),
)
"""The kinds of `check`'s problems that no other subject finds here."""


@dataclass(frozen=True)
class Options:
    """What to check."""

    config: Path
    user: str | None = None
    offline: bool = False
    address: str = ADDRESS


@dataclass(frozen=True)
class DoctorReport:
    """The findings, the worst first, and what could not be checked."""

    findings: tuple[Problem, ...]
    not_checked: tuple[str, ...]
    checked: tuple[str, ...]
    failed: tuple[str, ...] = ()
    """The subjects whose check failed: it is not known whether they are well."""


@dataclass
class Doctor:
    """Checks one subject after the other. `progress` gets the name of each."""

    options: Options
    progress: Callable[[str], None]
    not_checked: list[str] = field(default_factory=list)
    has_device: dict[str, bool] = field(default_factory=dict)

    def report(self) -> DoctorReport:
        """Check everything. Raises nothing that the machine can cause."""
        found: list[Problem] = []
        checked: list[str] = []
        failed = [] if os.geteuid() == 0 else ["what only root can read"]
        steps: list[tuple[str, Callable[[], Iterable[Problem]]]] = [
            ("space", files.space),
            ("configuration", self._configuration),
            ("files", self._files),
            ("agent", self._agent),
            ("users", self._users),
            ("service", self._service),
            ("PAM stacks", self._stacks),
            ("sshd", self._sshd),
            ("sudo", self._sudo),
            ("other ways in", self._ways_in),
            ("lock-outs", self._lockouts),
        ]
        if os.geteuid() != 0:
            self.not_checked.append("what only root can read: run it as root")
        for name, check in steps:
            self.progress(f"checking {name}")
            before = len(self.not_checked)
            try:
                found += check()
            except (OSError, CommandUnavailable) as error:
                self.not_checked.append(f"{name}: {error}")
                failed.append(name)
            if len(self.not_checked) == before:
                checked.append(name)
        found = [unmasked(one) for one in merged(found)]
        return DoctorReport(
            tuple(found), tuple(dict.fromkeys(self.not_checked)), tuple(checked), tuple(failed)
        )

    # What several subjects need

    @cached_property
    def settings(self) -> Settings | None:
        """The settings as the module reads them, None if they are invalid."""
        with reading_as() as readers:
            return settings_file.check(self.options.config, readers=readers).settings

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
        name = self.options.user
        try:
            return None if name is None else pwd.getpwnam(name).pw_name
        except (KeyError, ValueError):
            return name

    @cached_property
    def user_report(self) -> UserStatusReport:
        """The status of the users to check. Raises ConfigurationError."""
        return user_status(self.options.config, None if self.named is None else [self.named])

    @cached_property
    def users(self) -> dict[str, UserStatus]:
        """The status of the users to check, by name. Raises ConfigurationError."""
        return {one.name: one for one in self.user_report.users}

    @cached_property
    def key_users(self) -> dict[str, UserStatus]:
        """The same, with root and the user who called this command. Raises ConfigurationError."""
        return self._users_and(name for name in (self.invoking, "root") if name)

    def _users_and(self, names: Iterable[str]) -> dict[str, UserStatus]:
        """The status of the users to check and of others, by name. Raises ConfigurationError."""
        missing = [name for name in names if name not in self.users]
        more = user_status(self.options.config, missing).users if missing else ()
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
            return summarize(self.asked, self.options.config)
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
                name: sshd.settings(Connection(name, self.options.address))
                for name in self._ssh_users()[:_MAX_USERS]
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
    def _no_settings(self) -> str:
        return "the settings are invalid" if os.geteuid() == 0 else "only root can read the settings"

    # The subjects

    def _configuration(self) -> Iterator[Problem]:
        problems = check_config(self.options.config).problems
        unread = [str(problem) for problem in problems if problem.remedy == RUN_AS_ROOT]
        self.not_checked += [what for what in unread if NOT_ROOT not in what]
        told = [problem for problem in problems if problem.remedy != RUN_AS_ROOT]
        yield from files.configuration(one for one in told if one.kind in _ONLY_IN_CHECK)

    def _files(self) -> Iterator[Problem]:
        yield from files.account()
        yield from files.packages()
        services = [
            self.stacks.services[name] for name in {**self.stacks.with_us, **self.stacks.with_us_in_account}
        ]
        pam = [file for one in services if isinstance(one, PamService) for file in one.files]
        modules = [
            folder / name for folder in module_folders() for name in ("pam_iampass.so", "pam_python.so")
        ]
        yield from files.writable(path for path in (*files.PROGRAMS, *modules, *pam) if path.exists())

    def _agent(self) -> Iterator[Problem]:
        yield from AgentCheck().findings()
        sshd_asks = self.sshd_service is not None and self.stacks.asks(self.sshd_service, in_sshd=True)
        yield from SelinuxCheck(sshd_asks, self.stacks.asks("login")).findings()

    def _users(self) -> Iterator[Problem]:
        yield from bypass_findings(self.named)
        check = self._users_check()
        if check is None:
            return
        yield from check.findings()
        # Before any thread is started: this process changes its user for a moment.
        wait = self.state.waits.get(self.named or "") if self.state else None
        if wait is not None:
            evidence = f"pam-iampass throttle show {self.named}"
            yield finding("user-rests", "users", evidence, names=self.named, seconds=f"{wait:.0f}")

    def _service(self) -> Iterator[Problem]:
        if self.options.offline:
            self.not_checked.append("the service: --offline")
            return
        if self.settings is None:
            self.not_checked.append(f"the service: {self._no_settings}")
            return
        users = self._users_check()
        tokens = users.tokens(_MAX_USERS) if users else {}
        if len(tokens) == _MAX_USERS:
            self.not_checked.append(
                f"phones of all but the first {_MAX_USERS} users: name a user to check that one"
            )
        check = ServiceCheck(self.settings, self.progress)
        for found in check.findings(tokens):
            denied = found.kind in ("no-device", "not-at-iampass") and self._is_denied_without_phone()
            yield replace(found, severity=Severity.ERROR) if denied else found
        self.has_device = check.has_device
        if check.unasked:
            self.not_checked.append(f"phones of {len(check.unasked)} users: there was no time, or no answer")

    def _is_denied_without_phone(self) -> bool:
        """Whether the user that the command line names has nothing else to log in with, through any service."""
        status = None if self.named is None else self.users.get(self.named)
        if (
            status is None
            or self.settings is None
            or status.bypasses
            or set(status.services.values()) - {UserState.ASKED}
        ):
            return False
        asking = {*self.stacks.with_us, *self.stacks.with_us_in_account}
        codes = self.state.codes.get(status.name) if self.state else None
        return (
            bool(asking)
            and not codes
            and not any(self.settings.for_service(one).enroll_at_login for one in asking)
        )

    def _stacks(self) -> Iterator[Problem]:
        yield from self.stacks.findings(self.sshd_service)
        off = {name: command for name, command in files.at_removal().items() if not self._asks(name)}
        if off:
            yield finding(
                "off-since-removal",
                "pam",
                str(files.REMOVED),
                names=names(list(off)),
                commands="; ".join(off.values()),
                services=" ".join(off),
            )
        if self.settings is not None:
            in_account = {self.sshd_service} & set(self.stacks.with_us_in_account)
            asking = sorted({*self.stacks.with_us, *filter(None, in_account)})
            try:
                rules = self.sudoers
            except (SudoersRejected, CommandUnavailable):  # `_sudo` reports it
                rules = None
            yield from session_check.findings(self.stacks, self.settings, asking, sudoers=rules)
        self.not_checked += self.stacks.unread

    def _asks(self, name: str) -> bool:
        """Whether a service asks the phone, or all services do that include the shared file `name`."""
        if name == files.SHARED_AUTH:
            lines = "\n".join(self.stacks.files.texts(name)).splitlines()
            return any("pam_iampass" in line.partition("#")[0] for line in lines)
        return self.stacks.asks(name, in_sshd=name == "sshd")

    def _sshd(self) -> Iterator[Problem]:
        if not sshd.is_installed():
            self.not_checked.append("sshd: is not installed")
        elif isinstance(self.sshd, CommandUnavailable):
            raise self.sshd
        else:
            found = list(self._of_sshd(SshdInstance("sshd")))
            yield from found
            if self.settings is not None:
                yield from outdated_exceptions(self.settings)
            for instance in sshd_instances.others():
                others = self._of_sshd(instance)
                yield from (replace(one, key=instance.name) for one in others if one not in found)

    def _of_sshd(self, instance: SshdInstance) -> Iterator[Problem]:
        """The problems of one sshd, with the users to check and with the logins that its Match blocks are about."""
        if instance.unclear:
            yield finding("sshd-instance-unknown", "sshd", instance.unclear, name=instance.name)
            return
        usual = Connection("", self.options.address) if not instance.local else NO_ADDRESS
        users = self._ssh_users()
        try:
            of_its_own = instance.configuration != CONFIGURATION
            configuration = SshdConfiguration.read(instance.configuration, trusted=of_its_own)
            logins = [self._ssh_login(replace(usual, user=user), instance) for user in users[:_MAX_USERS]]
        except UntrustedFile as error:
            yield finding("sshd-instance-unknown", "sshd", str(error), name=instance.name)
            return
        except SshdConfigRejected as rejected:
            yield rejected_finding(rejected)
            return
        by_block: list[SshdLogin] = []
        if not instance.local:  # which has no address that a block could match
            first = [*self.asked, *users]
            spared = (
                self.settings.for_service(self.sshd_service or "sshd").exempt.networks
                if self.settings
                else ()
            )
            witnesses = Witnesses(first, self.options.address, self.named, instance.options, spared)
            for found in witnesses.logins(configuration):
                if isinstance(found, SshdLogin):
                    by_block.append(found)
                else:
                    yield finding("sshd-match-unknown", "sshd", f"{found.place}: {found}")
        known = {login.connection for login in logins}
        judged = [*logins, *(login for login in by_block if login.connection not in known)]
        check = SshdCheck(
            judged,
            self.stacks,
            self.settings,
            frozenset(self.asked),
            self._prompted() if instance.is_usual else {},
            self._is_exempt,
        )
        yield from check.findings()
        if any(self.stacks.asks(login.settings.service, in_sshd=True) for login in logins):
            yield from unusual(by_block, self._ssh_login(replace(usual, user=ANYBODY), instance).settings)
        if len(users) > _MAX_USERS and any(block.is_about_users for block in configuration.blocks):
            self.not_checked.append(
                f"sshd's settings of all but the first {_MAX_USERS} users: name a user to check that one"
            )
        if instance.is_usual:
            yield from stale(configuration)

    def _ssh_login(self, connection: Connection, instance: SshdInstance) -> SshdLogin:
        found = sshd.settings(connection, options=instance.options)
        return SshdLogin(connection, found)

    def _is_exempt(self, login: SshdLogin) -> bool:
        """Whether the settings let a login by ssh pass without the phone."""
        service = self.sshd_service
        if self.settings is None or service is None:
            return False
        wanted = self.settings.for_service(service)
        if login.user == ANYBODY:  # stands for those who are asked
            networks = ExemptSettings(networks=wanted.exempt.networks)
            wanted = replace(wanted, exempt=networks, asked=AskedSettings())
        try:
            account = Accounts().named(login.user)
            asked = Login(login.user, service, rhost=login.connection.address)
            return policy.exemption(account, asked, wanted, Accounts()) is not None
        except (UnknownAccount, LookupFailed, policy.PolicyError):
            return False

    def _prompted(self) -> dict[str, str]:
        """The exempt users from whom sshd demands a prompt, if sshd's PAM service asks in its auth stack."""
        service = self.sshd_service
        if self.settings is None or service is None or not self.stacks.asks(service):
            return {}
        exempt = exempt_users(self.settings.for_service(service).exempt)
        try:
            states = {name: one.services.get(service, one.state) for name, one in self.users.items()}
        except ConfigurationError:
            states = {}
        exempt += [name for name, state in states.items() if state is UserState.EXEMPT]
        wanted = [name for name in dict.fromkeys(exempt) if self.named in (None, name)]
        return prompted(wanted, address=self.options.address)

    def _sudo(self) -> Iterator[Problem]:
        if not sudoers.is_installed():
            self.not_checked.append("sudo: is not installed")
        for source in sudoers.directories():
            self.not_checked.append(f"rules of sudo from {source}: sudo -l -U USER lists them")
        for file in sudoers.files():
            try:
                yield from self._sudoers(file)
            except SudoersRejected as rejected:
                yield finding("sudoers-broken", "sudo", str(rejected))
            except CommandUnavailable as unavailable:
                if unavailable.remedy == RUN_AS_ROOT:
                    raise
                yield finding("sudoers-unread", "sudo", str(unavailable), remedy=unavailable.remedy)

    def _sudoers(self, file: Path | None) -> Iterator[Problem]:
        """The problems of the file that sudo reads, or of one that sudo-rs reads."""
        if file is None and self.sudoers is not None:
            yield from SudoCheck(self.sudoers, self.stacks, self._without_phone, self.named).findings()
        elif self.stacks.asks("sudo"):
            yield from loopholes(sudoers.read(file), self.stacks.asks, self._without_phone, self.named)

    def _ways_in(self) -> Iterator[Problem]:
        check = WaysInCheck(self.stacks)
        yield from check.findings()
        self.not_checked += check.unread

    def _without_phone(self, names: Iterable[str]) -> frozenset[str]:
        """Of some users, those whom the settings let pass without the phone."""
        try:
            users = self._users_and(names)
        except ConfigurationError:
            return frozenset()
        service = next(iter(self.sudo_services), "sudo")
        states = {name: one.services.get(service, one.state) for name, one in users.items()}
        return frozenset(name for name in names if states[name] in (UserState.EXEMPT, UserState.IGNORED))

    def _lockouts(self) -> Iterator[Problem]:
        if self.settings is None:
            self.not_checked.append(f"lock-outs: {self._no_settings}")
            return
        try:
            users = self.key_users
        except ConfigurationError:
            return
        yield from LockoutCheck(
            users,
            self.has_device,
            self.stacks,
            self.settings,
            self.sshd if isinstance(self.sshd, dict) else {},
            self.invoking,
            list(dict.fromkeys(filter(None, [self.sshd_service, *self.sudo_services[:1]]))),
            self.state.codes if self.state else None,
        ).findings()

    def _users_check(self) -> UsersCheck | None:
        if self.settings is None:
            self.not_checked.append(f"users: {self._no_settings}")
            return None
        try:
            return UsersCheck(self.user_report, self.settings, self.named)
        except ConfigurationError:
            self.not_checked.append("users: the table cannot be read")
            return None

    def _ssh_users(self) -> list[str]:
        """The users whose sshd settings are checked: the named one, or all, root first."""
        if self.named is not None:
            return [self.named]
        try:
            listed = [name for name, one in self.users.items() if one.uid is not None]
        except ConfigurationError:
            listed = []
        wanted = filter(None, ["root", self.invoking, *listed])
        return [name for name in dict.fromkeys(wanted) if "," not in name]


def merged(findings: Iterable[Problem]) -> list[Problem]:
    """The findings, the worst first. Findings that differ in their subjects only become one."""
    same: dict[Problem, list[str]] = {}
    for found in findings:
        subjects = same.setdefault(replace(found, key=""), [])
        if found.key not in subjects:
            subjects.append(found.key)
    return sorted(
        (replace(found, key=", ".join(subjects)) for found, subjects in same.items()),
        key=lambda found: [*Severity].index(found.severity),
    )
