"""The rules of sudoers that keep sudo from asking the phone of its caller, for everybody whom sudo allows anything."""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pam_iampass.doctor.catalogue import finding
from pam_iampass.errors import Problem
from pam_iampass.system.sudo_accounts import SudoAccount
from pam_iampass.system.sudoers import PAM_SERVICES, Sudoers
from pam_iampass.system.sudoers_rules import Scope, SudoersDefault, SudoersRule
from pam_iampass.text import names

_OTHER_USER = ("rootpw", "targetpw", "runaspw")


class LoopholeKind(enum.Enum):
    """How a rule keeps sudo from asking its caller's phone."""

    UNASKED = "sudo-rule-bypasses"
    """sudo authenticates nobody: `!authenticate`, `exempt_group`."""
    OTHER_SERVICE = "sudo-other-service"
    """A PAM service that does not ask the phone."""
    OTHER_USER = "sudo-asks-another"
    """sudo authenticates another user than its caller: `rootpw`, `targetpw`, `runaspw`."""
    FOREVER = "sudo-never-asks-again"
    """An approval never expires: `timestamp_timeout` is negative."""
    NO_PASSWORD = "sudo-no-password"  # noqa: S105 - the tag NOPASSWD
    """The tag NOPASSWD."""


@dataclass(frozen=True)
class Loophole:
    """One rule, and those to whom it applies."""

    kind: LoopholeKind
    rule: str
    evidence: str
    """The lines of sudoers that set it."""
    users: tuple[str, ...]

    @property
    def finding(self) -> Problem:
        """The finding about it."""
        return finding(self.kind.value, "sudo", self.evidence, rule=self.rule, names=names(self.users))


def loopholes(
    sudoers: Sudoers, accounts: Iterable[SudoAccount], asks: Callable[[str], bool]
) -> list[Loophole]:
    """All rules that keep sudo from asking. `asks` says whether a PAM service asks the phone.

    Without the settings `pam_service` and `pam_login_service` for everybody, which are checked as a whole.
    """
    without_password: list[str] = []
    found: dict[tuple[LoopholeKind, SudoersDefault], list[str]] = defaultdict(list)
    for account in accounts:
        rules = account.rules(sudoers)
        if any(rule.authenticate is False for rule in rules):
            without_password.append(account.name)
        for key in _settings(sudoers, account, rules, asks) if rules else ():
            found[key].append(account.name)
    result = []
    for (kind, default), users in found.items():
        evidence = sudoers.places(default.name, default) or f"cvtsudoers: {default}"
        result.append(Loophole(kind, str(default), evidence, tuple(users)))
    if without_password:
        kind, evidence = LoopholeKind.NO_PASSWORD, sudoers.places("NOPASSWD") or "cvtsudoers: NOPASSWD"
        result.append(Loophole(kind, "NOPASSWD", evidence, tuple(without_password)))
    return result


def _settings(
    sudoers: Sudoers, account: SudoAccount, rules: list[SudoersRule], asks: Callable[[str], bool]
) -> Iterator[tuple[LoopholeKind, SudoersDefault]]:
    """The settings in force for an account that keep sudo from asking."""
    for default in account.settings(sudoers, "authenticate"):
        # The tags PASSWD and NOPASSWD hold before the setting.
        if not default.value and any(rule.authenticate is None for rule in rules):
            yield LoopholeKind.UNASKED, default
    for default in account.settings(sudoers, "exempt_group"):
        if default.value and account.is_in(str(default.value)):
            yield LoopholeKind.UNASKED, default
    for name in PAM_SERVICES:
        for default in account.settings(sudoers, name):
            whole = default.scope is Scope.EVERYTHING and name != "pam_askpass_service"
            if not whole and not asks(str(default.value)):
                yield LoopholeKind.OTHER_SERVICE, default
    for name in _OTHER_USER:
        yield from ((LoopholeKind.OTHER_USER, one) for one in account.settings(sudoers, name) if one.value)
    for default in account.settings(sudoers, "timestamp_timeout"):
        if str(default.value).startswith("-"):
            yield LoopholeKind.FOREVER, default
