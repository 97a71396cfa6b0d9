"""The problems of sshd."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pam_iampass.config.settings import Settings
from pam_iampass.config.value_types import Prompt
from pam_iampass.doctor import sshd_exempt
from pam_iampass.doctor.account_check import AccountCheck
from pam_iampass.doctor.catalogue import finding
from pam_iampass.doctor.config_check import SSHD_MARGIN
from pam_iampass.doctor.sshd_limits import limits
from pam_iampass.doctor.sshd_match import configuration_files
from pam_iampass.doctor.stack_check import StackCheck
from pam_iampass.doctor.stacks import Stacks
from pam_iampass.errors import Problem, Severity
from pam_iampass.pam.modules import Role, role
from pam_iampass.system import sshd
from pam_iampass.system.sshd import SshdConfigRejected, SshdSettings
from pam_iampass.text import names

_KEYBOARD, _PASSWORD, _KEY = "keyboard-interactive", "password", "publickey"
_SHOWS_TEXT = (10, 3)
_FACTORS = (Role.FIRST_FACTOR, Role.OTHER_FACTOR)
_HOW = {_KEY: "A key alone", "hostbased": "A host's key alone", "gssapi-with-mic": "A Kerberos ticket alone"}
_KEY_ONLY = ("prohibit-password", "forced-commands-only")
_PID_FILES = (Path("/run/sshd.pid"), Path("/var/run/sshd.pid"))


@dataclass(frozen=True)
class SshdCheck:
    """sshd's settings for some users, and the stacks that they use."""

    found: Mapping[str, SshdSettings]
    stacks: Stacks
    settings: Settings | None
    with_token: frozenset[str] = frozenset()
    """The users who are asked on the phone."""
    prompted: Mapping[str, str] = field(default_factory=dict)
    """The exempt users whom sshd admits by no way without a prompt, with their AuthenticationMethods."""

    def findings(self) -> Iterator[Problem]:
        """Everything that is wrong."""
        for service in dict.fromkeys(settings.service for settings in self.found.values()):
            users = {user: settings for user, settings in self.found.items() if settings.service == service}
            if self.stacks.asks(service):
                yield from self._of_service(self.stacks.with_us[service], users)
            elif service in self.stacks.with_us_in_account:
                yield from self._in_account(self.stacks.with_us_in_account[service], users)
            else:
                where = f"{self.stacks.files.path(service)} does not name pam_iampass"
                yield finding("sshd-unprotected", "sshd", where)
        yield from self._exceptions()
        yield from _stale()

    def _of_service(self, stack: StackCheck, users: dict[str, SshdSettings]) -> Iterator[Problem]:
        grouped: dict[tuple[str, str, str], list[str]] = defaultdict(list)
        for user, settings in users.items():
            if user == "root" and settings.root_login == "no":
                continue
            faults = list(self._faults(stack, user, settings))
            around = any(kind == "sshd-key-bypasses" for kind, _evidence, _how in faults)
            for kind, evidence, how in faults:
                if around and kind == "sshd-key-not-demanded":
                    continue  # the same line fixes both
                grouped[kind, evidence, how].append(user)
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
        yield from self._limits(stack.service, next(iter(users.values())))
        yield from self._text(stack)
        if self._asks_in_account(stack.service) and any(map(_takes_any, users.values())):
            yield finding("sshd-asks-in-both", "sshd", str(stack.ours), place=stack.ours.place)
        if self._enrolls(stack.service) and not stack.demands_key:
            yield finding("sshd-no-enrolment", "sshd", str(stack.ours))

    def _faults(self, stack: StackCheck, user: str, settings: SshdSettings) -> Iterator[tuple[str, str, str]]:
        """The kind of each fault, the evidence, and what lets users in."""
        if not settings.is_on("usepam"):
            yield "sshd-pam-off", "sshd -T: usepam no", ""
            return
        evidence = f"sshd -T: authenticationmethods {settings.values.get('authenticationmethods', 'any')}"
        for methods in settings.method_lists:
            if _KEYBOARD not in methods and _PASSWORD not in methods:
                if set(methods) <= set(settings.offered) and not self._asks_in_account(stack.service):
                    yield "sshd-key-bypasses", evidence, _HOW.get(methods[0], f"{methods[0]} alone")
                continue
            if _KEYBOARD in methods and not settings.is_on("kbdinteractiveauthentication"):
                yield "sshd-no-prompt", "sshd -T: kbdinteractiveauthentication no", ""
                continue
            yield from self._asking(stack, methods, evidence)
        asks = any(_KEYBOARD in methods or _PASSWORD in methods for methods in settings.method_lists)
        if user == "root" and settings.root_login in _KEY_ONLY and asks:
            yield "sshd-root-refused", f"sshd -T: permitrootlogin {settings.root_login}", ""

    def _asking(self, stack: StackCheck, methods: list[str], evidence: str) -> Iterator[tuple[str, str, str]]:
        """The faults of a list of methods that reaches the stack."""
        asking = methods.index(_KEYBOARD) if _KEYBOARD in methods else methods.index(_PASSWORD)
        key_first = _KEY in methods[:asking]
        if _KEYBOARD not in methods:
            yield "sshd-password-method", evidence, ""
        if stack.demands_key:
            if not key_first:
                yield "sshd-key-not-demanded", evidence, ""
        elif stack.phone_alone:
            yield ("sshd-key-not-insisted" if key_first else "sshd-phone-only"), evidence, ""

    def _in_account(self, stack: AccountCheck, users: dict[str, SshdSettings]) -> Iterator[Problem]:
        """The faults of a service that asks in the account phase, after any first factor."""
        grouped: dict[tuple[str, str], list[str]] = defaultdict(list)
        no_factor = not any(role(one) in _FACTORS for one in self.stacks.auth_stack(stack.service))
        for user, settings in users.items():
            evidence = f"sshd -T: authenticationmethods {settings.values.get('authenticationmethods', 'any')}"
            if not settings.is_on("usepam"):
                grouped["sshd-pam-off", "sshd -T: usepam no"].append(user)
                continue
            if any(_KEYBOARD in methods[:-1] for methods in settings.method_lists):
                grouped["sshd-phone-before-key", evidence].append(user)
            if no_factor and any(set(methods) <= {_KEYBOARD, _PASSWORD} for methods in settings.method_lists):
                grouped["sshd-no-factor", evidence].append(user)
        for (kind, evidence), whom in grouped.items():
            yield finding(kind, "sshd", evidence, names=names(whom), place=stack.ours.place)
        if self._enrolls(stack.service):
            yield finding("sshd-no-enrolment", "sshd", str(stack.ours))
        yield from self._limits(stack.service, next(iter(users.values())))

    def _enrolls(self, service: str) -> bool:
        return self.settings is not None and self.settings.for_service(service).enroll_at_login

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

    def _exceptions(self) -> Iterator[Problem]:
        """Whether sshd spares exempt users the prompt, and nobody else."""
        if self.prompted:
            user, methods = next(iter(self.prompted.items()))
            evidence = f"sshd -T -C user={user}: authenticationmethods {methods}"
            yield finding("sshd-exempt-prompted", "sshd", evidence, names=names(self.prompted))
        difference = sshd_exempt.outdated(self.settings) if self.settings else None
        if difference is not None:
            evidence = f"{sshd_exempt.DROP_IN} {difference}"
            yield finding("sshd-exceptions-outdated", "sshd", evidence)

    def _text(self, stack: StackCheck) -> Iterator[Problem]:
        if self.settings is None or self.settings.for_service(stack.service).prompt is not Prompt.NEVER:
            return
        version = sshd.version()
        if version is not None and version < _SHOWS_TEXT:
            yield finding("sshd-text-hidden", "sshd", f"OpenSSH {'.'.join(map(str, version))}; prompt: never")


def _takes_any(settings: SshdSettings) -> bool:
    return settings.values.get("authenticationmethods", "any").lower() == "any"


def rejected_finding(rejected: SshdConfigRejected) -> Problem:
    """The finding for a configuration that sshd rejects."""
    kind = "sshd-no-prompt" if f'"{_KEYBOARD}"' in str(rejected) else "sshd-broken"
    return finding(kind, "sshd", f"sshd -T: {rejected}", names="everybody")


def _stale() -> Iterator[Problem]:
    """Whether the running sshd is older than its configuration."""
    started = next((moment for moment in map(_started, _PID_FILES) if moment is not None), None)
    if started is None:
        return
    for file in configuration_files():
        if file.exists() and file.stat().st_mtime > started + 1:
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
