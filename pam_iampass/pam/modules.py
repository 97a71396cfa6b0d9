"""The modules of a stack: which are ours, their purposes, and what they may return."""

from __future__ import annotations

import enum
import itertools
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pam_iampass.outcome import PamCode
from pam_iampass.pam.lines import CODES
from pam_iampass.pam.stack import Handler, HandlerKind, PamService, PamType

NATIVE, PAM_PYTHON, SCRIPT = "pam_iampass.so", "pam_python.so", "pam_iampass.py"
DEMANDS_KEY = "first_factor=publickey"
TAKES_CODE = "codes"
"""The argument of sshd's `auth` line that only takes a recovery code, and asks no phone."""
ALWAYS = "always"
"""The argument of sudo's `account` line, by which it asks for every command."""

_MOST_COMBINATIONS = 10_000

Module = TypeVar("Module", bound=Hashable)
Result = TypeVar("Result", bound=Hashable)


class Role(enum.Enum):
    """The purpose of a module."""

    OURS = "ours"
    FIRST_FACTOR = "first factor"
    """It asks for the password, or takes the one that was typed."""
    OTHER_FACTOR = "other factor"
    """It asks for something other than a password: a key, a fingerprint, a code; or it is unknown."""
    CONDITION = "condition"
    """It asks nothing, and succeeds or fails."""
    LOCAL_USER = "local user"
    """It succeeds for users of this machine, and fails for users of a directory."""
    FIXED = "fixed"
    """Its return code is always the same."""


def _modules(names: str) -> frozenset[str]:
    return frozenset(f"pam_{name}" for name in names.split())


_FIRST_FACTORS = _modules(
    "unix unix2 tcb sss ldap winbind krb5 systemd_home userdb pwdfile radius_auth himmelblau sss_gss authd"
)
_LOCAL = _modules("unix unix2 tcb systemd_home pwdfile userdb")
"""First factors of users of this machine; the others are for users of a directory."""
_CONDITIONS = _modules(
    "succeed_if access listfile time wheel securetty shells sepermit tally2 usertype selinux_permit filter"
)
_FIXED: dict[str, PamCode] = {
    "pam_deny": PamCode.AUTH_ERR,
    **dict.fromkeys(
        _modules("permit umask keyinit gnome_keyring kwallet5"),
        PamCode.SUCCESS,
    ),
    **dict.fromkeys(
        _modules("env faildelay warn echo issue motd nologin cap group systemd_loadkey"), PamCode.IGNORE
    ),
}


def stem(handler: Handler) -> str:
    """The module's name without folder and `.so`."""
    return handler.name[:-3] if handler.name.endswith(".so") else handler.name


def is_ours(handler: Handler) -> bool:
    """Whether the line is one of our two doors, and decides about logins."""
    return _is_door(handler) and TAKES_CODE not in own_arguments(handler)


def takes_code(handler: Handler) -> bool:
    """Whether the line is one of our two doors, and only takes a recovery code (`login.typed_codes`)."""
    return _is_door(handler) and TAKES_CODE in own_arguments(handler)


def _is_door(handler: Handler) -> bool:
    if handler.kind is not HandlerKind.MODULE:
        return False
    return handler.name == NATIVE or is_pam_python(handler)


def is_pam_python(handler: Handler) -> bool:
    """Whether the line is the pam_python door."""
    script = handler.arguments[0].rpartition("/")[2] if handler.arguments else ""
    return handler.name == PAM_PYTHON and script == SCRIPT


def own_arguments(handler: Handler) -> tuple[str, ...]:
    """The module arguments of our line."""
    return handler.arguments[1:] if is_pam_python(handler) else handler.arguments


def demands_key(handler: Handler) -> bool:
    """Whether our line demands that sshd has accepted a key."""
    return DEMANDS_KEY in own_arguments(handler)


def asks_always(handler: Handler) -> bool:
    """Whether our line asks in sudo's account phase, for every command."""
    return is_ours(handler) and ALWAYS in own_arguments(handler)


def our_lines(service: PamService, kind: PamType = PamType.AUTH) -> list[Handler]:
    """Our lines in a stack of a service."""
    return [handler for handler in service.stacks[kind] if is_ours(handler)]


def pam_python_line(service: PamService) -> Handler | None:
    """The first line that runs a script in pam_python, which crashes inside a Python program."""
    return next((handler for handler in service.handlers if handler.name == PAM_PYTHON), None)


def role(handler: Handler) -> Role:
    """The purpose of the module."""
    name = stem(handler)
    if is_ours(handler):
        return Role.OURS
    if name in _FIRST_FACTORS:
        return Role.FIRST_FACTOR
    if name == "pam_localuser":
        return Role.LOCAL_USER
    if name in _CONDITIONS:
        return Role.CONDITION
    if takes_code(handler):
        return Role.FIXED
    return Role.FIXED if name in _FIXED or name in ("pam_faillock", "pam_debug") else Role.OTHER_FACTOR


def may_refuse(handler: Handler) -> bool:
    """Whether the module decides about logins, and does not only prepare them."""
    return role(handler) is not Role.FIXED or stem(handler) in ("pam_nologin", "pam_faillock", "pam_deny")


@dataclass(frozen=True)
class FirstFactor:
    """The first factor of a simulated login."""

    local: bool
    """Whether the account is of this machine."""
    right: bool
    checker: str
    """The module that knows the account."""


@dataclass(frozen=True)
class Scenario:
    """The facts that decide the return codes of all modules in a simulated login."""

    first_factor: FirstFactor
    conditions: Mapping[tuple[str, tuple[str, ...]], bool]
    """Whether each module that may succeed or fail succeeds, by its name and arguments."""
    ours: int
    """Our return code."""
    missing: frozenset[str]
    """The modules that are not installed."""

    def answer(self, handler: Handler) -> int:
        """The return code of the module."""
        if handler.path in self.missing:
            return PamCode.MODULE_UNKNOWN
        kind, name = role(handler), stem(handler)
        if kind is Role.OURS:
            return self.ours
        if kind is Role.FIRST_FACTOR:
            if name != self.first_factor.checker:
                return PamCode.USER_UNKNOWN
            return PamCode.SUCCESS if self.first_factor.right else PamCode.AUTH_ERR
        if kind is Role.LOCAL_USER:
            return PamCode.SUCCESS if self.first_factor.local else PamCode.PERM_DENIED
        if kind in (Role.CONDITION, Role.OTHER_FACTOR):
            return _success(handler) if self.conditions[condition_of(handler)] else PamCode.AUTH_ERR
        return fixed_answer(handler)


def _success(handler: Handler) -> int:
    """The return code of a condition that is met: pam_wheel without `trust` leaves the decision to others."""
    trusts = stem(handler) != "pam_wheel" or "trust" in handler.arguments
    return PamCode.SUCCESS if trusts else PamCode.IGNORE


def fixed_answer(handler: Handler) -> int:
    """The return code of a module of the role `FIXED`.

    A line that takes a code never succeeds; it ignores logins that it cannot ask, and denies all others.
    """
    name = stem(handler)
    if takes_code(handler):
        return PamCode.IGNORE
    if name == "pam_faillock":
        return PamCode.IGNORE if "authfail" in handler.arguments else PamCode.SUCCESS
    if name == "pam_debug":
        given = [word[5:] for word in handler.arguments if word.startswith("auth=")]
        return CODES.index(given[0]) if given and given[0] in CODES else PamCode.SUCCESS
    return _FIXED[name]


def setcred_answer(handler: Handler, missing: frozenset[str]) -> int:
    """The module's return code for pam_setcred."""
    if handler.path in missing:
        return PamCode.MODULE_UNKNOWN
    if _is_door(handler):
        return PamCode.IGNORE
    if stem(handler) == "pam_deny":
        return PamCode.CRED_ERR
    if stem(handler) in ("pam_permit", "pam_debug"):
        return PamCode.SUCCESS
    ignores = _FIXED.get(stem(handler)) == PamCode.IGNORE or role(handler) is Role.CONDITION
    return PamCode.IGNORE if ignores else PamCode.SUCCESS


def condition_of(handler: Handler) -> tuple[str, tuple[str, ...]]:
    """The key of a condition in `Scenario.conditions`."""
    return stem(handler), handler.arguments


def first_factors(stack: Sequence[Handler], right: bool) -> list[FirstFactor]:
    """A first factor, right or wrong, for each module of the stack that checks one."""
    checkers = dict.fromkeys(stem(handler) for handler in stack if role(handler) is Role.FIRST_FACTOR)
    found = [FirstFactor(checker in _LOCAL, right, checker) for checker in checkers]
    return found or [FirstFactor(True, right, "")]


def conditions(
    stack: Sequence[Handler], failing: Iterable[Role] = ()
) -> Iterator[dict[tuple[str, tuple[str, ...]], bool]]:
    """The `combinations` of results of the conditions and other factors; modules of the roles `failing` fail."""
    varied: dict[tuple[str, tuple[str, ...]], Sequence[bool]] = {}
    failed: dict[tuple[str, tuple[str, ...]], bool] = {}
    for handler in stack:
        kind = role(handler)
        if kind in (Role.CONDITION, Role.OTHER_FACTOR) and handler.kind is HandlerKind.MODULE:
            if kind in tuple(failing):
                failed[condition_of(handler)] = False
            else:
                varied[condition_of(handler)] = (True, False)
    for results in combinations(varied):
        yield {**failed, **results}


def combinations(varied: Mapping[Module, Sequence[Result]]) -> list[dict[Module, Result]]:
    """Combinations of the results that modules may have: all, unless they are too many.

    Then any two modules have all their results together, while all others have the same one, each in its turn. What
    takes three modules to differ from all others is not found.
    """
    if not are_too_many(varied):
        return [dict(zip(varied, results)) for results in itertools.product(*varied.values())]
    found: dict[tuple[Result, ...], None] = {}
    for usual in dict.fromkeys(itertools.chain(*varied.values())):
        others = {module: usual if usual in results else results[0] for module, results in varied.items()}
        for pair in itertools.combinations(varied, 2):
            for two in itertools.product(*(varied[module] for module in pair)):
                found[tuple({**others, **dict(zip(pair, two))}.values())] = None
    return [dict(zip(varied, results)) for results in found]


def are_too_many(varied: Mapping[Module, Sequence[Result]]) -> bool:
    """Whether `combinations` leaves some out."""
    return math.prod(map(len, varied.values())) > _MOST_COMBINATIONS
