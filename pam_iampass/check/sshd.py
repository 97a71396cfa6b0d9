"""The problems of sshd: who gets in without the phone, who is kept out, and whom it spares the prompt."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from pam_iampass.check import sshd_instances
from pam_iampass.check.catalogue import finding
from pam_iampass.check.machine import MAX_USERS, Machine
from pam_iampass.check.sshd_instances import SshdInstance
from pam_iampass.check.sshd_match import (
    ADDRESS,
    ANYBODY,
    CONFIGURATION,
    SshdConfiguration,
    SshdLogin,
    Witnesses,
)
from pam_iampass.check.stack_check import AccountCheck, StackCheck
from pam_iampass.check.stacks import Stacks
from pam_iampass.check.user_status import UserState
from pam_iampass.config.settings import AskedSettings, ExemptSettings, Settings
from pam_iampass.config.sshd_exceptions import criteria_in, exceptions
from pam_iampass.errors import ConfigurationError, Problem, Severity, UntrustedFile
from pam_iampass.login import policy
from pam_iampass.outcome import Login
from pam_iampass.pam.modules import Role, role
from pam_iampass.system import sshd
from pam_iampass.system.accounts import Accounts, LookupFailed, UnknownAccount
from pam_iampass.system.programs import CommandUnavailable
from pam_iampass.system.sshd import NO_ADDRESS, Connection, SshdConfigRejected, SshdSettings
from pam_iampass.text import names

DROP_IN = Path("/etc/ssh/sshd_config.d/10-iampass.conf")
SET_UP = "pam-iampass setup sshd"

_MOST = 20
"""Calls of `sshd -T` about exempt users."""
SSHD_MARGIN = 30
"""Seconds of LoginGraceTime beyond `timeout`: for connecting, the key, the password and the prompt."""

_KEYBOARD, _PASSWORD, _KEY = "keyboard-interactive", "password", "publickey"
_FACTORS = (Role.FIRST_FACTOR, Role.OTHER_FACTOR)
_HOW = {_KEY: "A key alone", "hostbased": "A host's key alone", "gssapi-with-mic": "A Kerberos ticket alone"}
_KEY_ONLY = ("prohibit-password", "forced-commands-only")
_PID_FILES = (Path("/run/sshd.pid"), Path("/var/run/sshd.pid"))

_UNASKED = ("sshd-pam-off", "sshd-unasked", "sshd-key-bypasses", "sshd-prompt-skipped")
"""The kinds of findings that are about whether the phone is asked, and how."""
_MANY = 100
"""The most logins that are expected to wait at the same time; higher limits are not reported."""
_FEW_TRIES = 3
"""The attempts that clients with several keys, or with a key before the password, need."""


def findings(machine: Machine) -> Iterator[Problem]:
    """Everything that is wrong with the sshd of this machine, and with its others."""
    if not sshd.is_installed():
        machine.not_checked.append("sshd: is not installed")
        return
    if isinstance(machine.sshd, CommandUnavailable):
        raise machine.sshd
    found = list(_of_instance(machine, SshdInstance("sshd")))
    yield from found
    for instance in sshd_instances.others():
        others = _of_instance(machine, instance)
        yield from (replace(one, key=instance.name) for one in others if one not in found)


def _of_instance(machine: Machine, instance: SshdInstance) -> Iterator[Problem]:
    """The problems of one sshd, with the users to check and with the logins that its Match blocks are about."""
    users = machine.ssh_users()
    service = machine.sshd_service or "sshd"
    spared = machine.settings.for_service(service).exempt.networks if machine.settings else ()
    witnesses = Witnesses([*machine.asked, *users], machine.address, machine.named, instance.options, spared)
    found = _read(instance, users[:MAX_USERS], witnesses)
    yield from found.problems
    if found.configuration is None:
        return
    yield from SshdCheck(
        found.logins,
        machine.stacks,
        machine.settings,
        frozenset(machine.asked),
        _exempt_and_prompted(machine) if instance.is_usual else {},
        partial(_is_exempt, machine.settings, machine.sshd_service),
    ).findings()
    if len(users) > MAX_USERS and any(block.is_about_users for block in found.configuration.blocks):
        machine.not_checked.append(
            f"sshd's settings of all but the first {MAX_USERS} users: name a user to check that one"
        )
    if instance.is_usual:
        yield from stale(found.configuration)


def unasked(
    stacks: Stacks, settings: Settings | None, only: str | None = None, configuration: Path = CONFIGURATION
) -> Iterator[Problem]:
    """Yields the ways around the phone in sshd with this configuration, and in the other sshds of the machine.

    Whoever logs in: of the Match blocks also those about users, unless `only` this user is meant. Raises
    CommandUnavailable and OSError.
    """
    if not sshd.is_installed():
        return
    spared = settings.for_service("sshd").exempt.networks if settings else ()
    usual = SshdInstance("sshd", () if configuration == CONFIGURATION else ("-f", str(configuration)))
    told: list[Problem] = []
    for instance in (usual, *sshd_instances.others()):
        found = _read(instance, [ANYBODY], Witnesses((), ADDRESS, only, instance.options, spared))
        check = SshdCheck(found.logins, stacks, settings, is_exempt=partial(_is_exempt, settings, "sshd"))
        problems = [*found.problems, *(one for one in check.findings() if one.kind in _UNASKED)]
        if instance is usual:
            told = problems
            yield from told
        else:
            yield from (replace(one, key=instance.name) for one in problems if one not in told)
        if instance.is_usual and found.configuration is not None:
            yield from stale(found.configuration)


@dataclass(frozen=True)
class _Read:
    """An sshd's configuration, and some logins with the settings that hold for them."""

    configuration: SshdConfiguration | None
    """None if sshd rejects it, or if it was not read."""
    logins: Sequence[SshdLogin]
    problems: Sequence[Problem]
    """Why something is not known."""


def _read(instance: SshdInstance, users: Sequence[str], witnesses: Witnesses) -> _Read:
    """Logins of these users, and those that Match blocks are about. Raises CommandUnavailable and OSError."""
    if instance.unclear:
        return _Read(
            None, (), [finding("sshd-instance-unknown", "sshd", instance.unclear, name=instance.name)]
        )
    usual = Connection("", witnesses.address) if not instance.local else NO_ADDRESS

    def login(user: str) -> SshdLogin:
        connection = replace(usual, user=user)
        return SshdLogin(connection, sshd.settings(connection, options=instance.options))

    try:
        of_its_own = instance.configuration != CONFIGURATION
        configuration = SshdConfiguration.read(instance.configuration, trusted=of_its_own)
        logins = [login(user) for user in users]
    except UntrustedFile as error:
        return _Read(None, (), [finding("sshd-instance-unknown", "sshd", str(error), name=instance.name)])
    except SshdConfigRejected as rejected:
        kind = "sshd-no-prompt" if f'"{_KEYBOARD}"' in str(rejected) else "sshd-broken"
        return _Read(None, (), [finding(kind, "sshd", f"sshd -T: {rejected}", names="everybody")])
    known = {one.connection for one in logins}
    problems = []
    for found in witnesses.logins(configuration) if not instance.local else ():  # without an address to match
        if not isinstance(found, SshdLogin):
            problems.append(finding("sshd-match-unknown", "sshd", f"{found.place}: {found}"))
        elif found.connection not in known:
            logins.append(found)
    return _Read(configuration, logins, problems)


def _is_exempt(settings: Settings | None, service: str | None, login: SshdLogin) -> bool:
    """Whether the settings let a login by ssh pass without the phone."""
    if settings is None or service is None:
        return False
    wanted = settings.for_service(service)
    if login.user == ANYBODY:  # stands for those who are asked
        networks = ExemptSettings(networks=wanted.exempt.networks)
        wanted = replace(wanted, exempt=networks, asked=AskedSettings())
    try:
        account = Accounts().named(login.user)
        asked = Login(login.user, service, rhost=login.connection.address)
        return policy.exemption(account, asked, wanted, Accounts()) is not None
    except (UnknownAccount, LookupFailed, policy.PolicyError):
        return False


def _exempt_and_prompted(machine: Machine) -> dict[str, str]:
    """The exempt users from whom sshd demands a prompt, if sshd's PAM service asks in its auth stack."""
    service = machine.sshd_service
    if machine.settings is None or service is None or not machine.stacks.asks(service):
        return {}
    exempt = exempt_users(machine.settings.for_service(service).exempt)
    try:
        states = {name: one.services.get(service, one.state) for name, one in machine.users.items()}
    except ConfigurationError:
        states = {}
    exempt += [name for name, state in states.items() if state is UserState.EXEMPT]
    wanted = [name for name in dict.fromkeys(exempt) if machine.named in (None, name)]
    return prompted(wanted, address=machine.address)


@dataclass(frozen=True)
class SshdCheck:
    """sshd's settings for some users, and the stacks that they use."""

    logins: Sequence[SshdLogin]
    stacks: Stacks
    settings: Settings | None
    with_token: frozenset[str] = frozenset()
    """The users who are asked on the phone."""
    prompted: Mapping[str, str] = field(default_factory=dict)
    """The exempt users whom sshd admits by no way without a prompt, with their AuthenticationMethods."""
    is_exempt: Callable[[SshdLogin], bool] = lambda login: False
    """Whether the settings let a login pass without the phone."""

    def findings(self) -> Iterator[Problem]:
        """Everything that is wrong."""
        services = {"sshd", *(login.settings.service for login in self.logins)}
        asking = {service for service in services if self.stacks.asks(service, in_sshd=True)}
        by_service: dict[str, list[SshdLogin]] = defaultdict(list)
        for login in self.logins:
            service = login.settings.service
            around = bool(asking) and (login.block is not None or service not in asking)
            if not (around and self.is_exempt(login)):
                by_service[service].append(login)
        for service, logins in by_service.items():
            if self.stacks.asks(service):
                yield from self._of_service(self.stacks.with_us[service], logins)
            elif service in self.stacks.with_us_in_account:
                yield from self._in_account(self.stacks.with_us_in_account[service], logins)
            elif asking:
                yield from _unasked(logins)
            else:
                where = f"{self.stacks.files.path(service)} does not name pam_iampass"
                yield finding("way-in-open", "sshd", where, program="sshd", name="sshd")
        if self.prompted:
            user, methods = next(iter(self.prompted.items()))
            evidence = f"sshd -T -C user={user}: authenticationmethods {methods}"
            what = f"it is demanded of {names(self.prompted)}"
            yield finding("sshd-exempt-prompted", "sshd", evidence, what=what)

    def _of_service(self, stack: StackCheck, logins: Sequence[SshdLogin]) -> Iterator[Problem]:
        grouped: dict[tuple[str, str, str], list[str]] = defaultdict(list)
        for login in logins:
            if login.user == "root" and login.settings.root_login == "no":
                continue
            faults = list(self._faults(stack, login))
            around = any(kind == "sshd-key-bypasses" for kind, _evidence, _how in faults)
            for kind, evidence, how in faults:
                if around and kind == "sshd-key-not-demanded":
                    continue  # the same line fixes both
                grouped[kind, evidence, how].append(login.name)
        for (kind, evidence, how), whom in grouped.items():
            # Without a token root is not meant to log in by ssh.
            mild = kind == "sshd-root-refused" and "root" not in self.with_token
            yield finding(
                kind,
                "sshd",
                evidence,
                Severity.NOTE if mild else None,
                how=how,
                names=names(whom),
                place=stack.ours.place,
            )
        yield from self._limits(stack.service, logins[0].settings)

    def _faults(self, stack: StackCheck, login: SshdLogin) -> Iterator[tuple[str, str, str]]:
        """The kind of each fault, the evidence, and what lets users in."""
        settings = login.settings
        if not settings.is_on("usepam"):
            yield "sshd-pam-off", login.evidence("usepam"), ""
            return
        evidence = login.evidence("authenticationmethods", "any")
        for methods in settings.method_lists:
            if _KEYBOARD not in methods and _PASSWORD not in methods:
                if not set(methods) <= set(settings.offered):
                    continue
                if not self._asks_in_account(stack.service):
                    yield "sshd-key-bypasses", evidence, _HOW.get(methods[0], f"{methods[0]} alone")
                elif not self.is_exempt(login):
                    yield "sshd-prompt-skipped", evidence, ""
                continue
            if _KEYBOARD in methods and not settings.is_on("kbdinteractiveauthentication"):
                yield "sshd-no-prompt", login.evidence("kbdinteractiveauthentication"), ""
                continue
            yield from self._asking(stack, methods, evidence)
        asks = any(_KEYBOARD in methods or _PASSWORD in methods for methods in settings.method_lists)
        if login.user == "root" and settings.root_login in _KEY_ONLY and asks:
            yield "sshd-root-refused", login.evidence("permitrootlogin"), ""

    def _asking(self, stack: StackCheck, methods: list[str], evidence: str) -> Iterator[tuple[str, str, str]]:
        """The faults of a list of methods that reaches the stack."""
        asking = methods.index(_KEYBOARD) if _KEYBOARD in methods else methods.index(_PASSWORD)
        key_first = _KEY in methods[:asking]
        if _KEYBOARD not in methods:
            yield "sshd-password-method", evidence, ""
        if stack.demands_key:
            if not key_first:
                yield "sshd-key-not-demanded", evidence, ""
        elif stack.phone_alone and not key_first:
            yield "sshd-phone-only", evidence, ""

    def _in_account(self, stack: AccountCheck, logins: Sequence[SshdLogin]) -> Iterator[Problem]:
        """The faults of a service that asks in the account phase, after any first factor."""
        grouped: dict[tuple[str, str], list[str]] = defaultdict(list)
        takes_code = self.stacks.takes_code(stack.service)
        no_factor = not any(role(one) in _FACTORS for one in self.stacks.auth_stack(stack.service))
        for login in logins:
            settings, evidence = login.settings, login.evidence("authenticationmethods", "any")
            if not settings.is_on("usepam"):
                grouped["sshd-pam-off", login.evidence("usepam")].append(login.name)
                continue
            before = any(_KEYBOARD in methods[:-1] for methods in settings.method_lists)
            if takes_code and not (before and settings.is_on("kbdinteractiveauthentication")):
                grouped["sshd-no-code", evidence].append(login.name)
            elif takes_code and settings.is_on("passwordauthentication"):
                password = login.evidence("passwordauthentication")
                grouped["sshd-code-before-password", password].append(login.name)
            elif before and not takes_code:
                grouped["stack-wrong-rings", evidence].append(login.name)
            if no_factor and any(set(methods) <= {_KEYBOARD, _PASSWORD} for methods in settings.method_lists):
                grouped["sshd-phone-only", evidence].append(login.name)
        without_code = sum(len(whom) for (kind, _), whom in grouped.items() if kind == "sshd-no-code")
        for (kind, evidence), whom in grouped.items():
            everybody = kind == "sshd-no-code" and without_code == len(logins)
            level = Severity.WARNING if everybody else None
            yield finding(kind, "sshd", evidence, level, names=names(whom), place=stack.ours.place)
        yield from self._limits(stack.service, logins[0].settings)

    def _limits(self, service: str, settings: SshdSettings) -> Iterator[Problem]:
        yield from limits(settings)
        if self.settings is None or not settings.grace_time:
            return
        timeout = round(self.settings.for_service(service).timeout)
        if settings.grace_time < timeout + SSHD_MARGIN:
            yield finding(
                "sshd-grace-short",
                "sshd",
                f"sshd -T: logingracetime {settings.grace_time}; timeout: {timeout}s for {service}",
                Severity.ERROR if settings.grace_time <= timeout else None,
                grace=settings.grace_time,
                timeout=timeout,
                enough=timeout + SSHD_MARGIN,
            )

    def _asks_in_account(self, service: str) -> bool:
        return service in self.stacks.with_us_in_account


def _unasked(logins: Sequence[SshdLogin]) -> Iterator[Problem]:
    """Logins by a service that does not ask, while the service of other logins does."""
    grouped: dict[str, list[str]] = defaultdict(list)
    for login in logins:
        if login.user != "root" or login.settings.root_login != "no":
            grouped[login.evidence("pamservicename")].append(login.name)
    for evidence, whom in grouped.items():
        yield finding("sshd-unasked", "sshd", evidence, names=names(whom))


def stale(configuration: SshdConfiguration) -> Iterator[Problem]:
    """Whether the running sshd is older than its configuration."""
    started = next((moment for moment in map(_started, _PID_FILES) if moment is not None), None)
    if started is None:
        return
    for file in configuration.files:
        if file.stat().st_mtime > started + 1:
            yield finding("sshd-stale", "sshd", f"{file} is newer than the running sshd")
            return


def _started(pid_file: Path) -> float | None:
    """When the process of a pid file started or last reloaded its configuration, as Unix time."""
    try:
        pid = int(pid_file.read_text("ascii"))
        # On SIGHUP sshd executes itself again, and writes its pid file.
        return max(os.stat(f"/proc/{pid}").st_mtime, pid_file.stat().st_mtime)
    except (OSError, ValueError):
        return None


def limits(settings: SshdSettings) -> Iterator[Problem]:
    """The limits that are low for logins that wait for a phone."""
    yield from _startups(settings.values.get("maxstartups", ""))
    tries = settings.values.get("maxauthtries", "")
    if tries.isdigit() and int(tries) < _FEW_TRIES:
        what = f"a client at its failed attempt number {tries}, before the phone is asked"
        remedy = "Set MaxAuthTries 6, which is sshd's default"
        yield _limit(what, f"maxauthtries {tries}", remedy, Severity.WARNING)
    if settings.values.get("persourcepenaltyexemptlist", "none") == "none":
        yield from _penalties(settings.values.get("persourcepenalties", "no"))


def _startups(value: str) -> Iterator[Problem]:
    """MaxStartups, `start:rate:full`: refuses `rate` % beyond `start` unauthenticated connections, all at `full`."""
    numbers = value.split(":")
    if len(numbers) == 3 and all(map(str.isdigit, numbers)) and int(numbers[0]) < _MANY:
        start, rate, full = map(int, numbers)
        what = f"while {start} logins wait, {rate} % of new connections; while {full} wait, all"
        remedy = "Set MaxStartups to more than the logins that may wait at once, such as 100:30:200"
        yield _limit(what, f"maxstartups {value}", remedy)


def _penalties(value: str) -> Iterator[Problem]:
    """PerSourcePenalties: failures add up to seconds, which are enforced once they are more than `min`."""
    seconds = dict(part.partition(":")[::2] for part in value.split())
    each, least = seconds.get("authfail", "0"), seconds.get("min", "15")
    if each.isdigit() and least.isdigit() and int(each):
        failures = int(least) // int(each) + 1
        what = f"after {failures} quick failures all logins from that address, {least} s or longer"
        evidence = f"persourcepenalties authfail:{each} min:{least}; persourcepenaltyexemptlist none"
        remedy = "Set PerSourcePenaltyExemptList to the addresses that many people share, if there are any"
        yield _limit(what, evidence, remedy)


def _limit(what: str, setting: str, remedy: str, severity: Severity | None = None) -> Problem:
    return finding("sshd-limits", "sshd", f"sshd -T: {setting}", severity, what=what, remedy=remedy)


def exempt_users(exempt: ExemptSettings) -> list[str]:
    """The users of this machine whom `exempt` names or who are in one of its groups, as far as NSS lists them."""
    found = dict.fromkeys(sorted(exempt.users))
    for name in sorted(exempt.groups):
        with contextlib.suppress(KeyError, ValueError):
            group = grp.getgrnam(name)
            found |= dict.fromkeys(group.gr_mem)
            found |= {user.pw_name: None for user in pwd.getpwall() if user.pw_gid == group.gr_gid}
    return [name for name in found if _exists(name)]


def prompted(users: Iterable[str], *, address: str = "127.0.0.1", file: Path | None = None) -> dict[str, str]:
    """The ones among these users whom sshd admits by no way without a prompt, with their AuthenticationMethods.

    Only the first few are checked. Raises SshdConfigRejected.
    """
    found = {}
    for name in list(users)[:_MOST]:
        with contextlib.suppress(CommandUnavailable):  # a name that sshd -T does not take
            settings = sshd.settings(
                Connection(name, address),
                options=[] if file is None else ["-f", str(file)],
                create_folder=file is not None,
            )
            if not is_spared(settings) and not (name == "root" and settings.root_login == "no"):
                found[name] = settings.values.get("authenticationmethods", "any")
    return found


def is_spared(settings: SshdSettings) -> bool:
    """Whether sshd admits the user by some methods without a prompt."""
    return any(_KEYBOARD not in methods for methods in settings.method_lists)


def outdated(settings: Settings, file: Path = DROP_IN) -> str | None:
    """How our drop-in differs from the settings; None if it does not, or if it belongs to a way without a prompt.

    Raises OSError.
    """
    try:
        text = file.read_text("utf-8", "replace")
    except FileNotFoundError:
        return None
    values = sshd.keywords(text)
    if _KEYBOARD not in values.get("authenticationmethods", "") or is_spared(SshdSettings(values)):
        return None
    wanted = exceptions(settings.for_service(values.get("pamservicename", "sshd"))).criteria
    return "; ".join(_differences(criteria_in(text), wanted)) or None


def _differences(found: tuple[str, ...], wanted: tuple[str, ...]) -> Iterator[str]:
    for each in wanted:
        if each not in found:
            yield f"has no `Match {each}`"
    for each in found:
        if each not in wanted:
            yield f"has `Match {each}`, which is not in the settings"


def _exists(name: str) -> bool:
    try:
        return pwd.getpwnam(name).pw_name == name
    except (KeyError, ValueError):
        return False
