"""What the modules of a stack may answer, as far as it can be known without asking them."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pam_iampass.pam.controls import (
    AUTH_ERR,
    CODES,
    IGNORE,
    MODULE_UNKNOWN,
    SUCCESS,
    USER_UNKNOWN,
)
from pam_iampass.pam.simulation import Answers
from pam_iampass.pam.stack import Handler, Kind

NATIVE, PAM_PYTHON, SCRIPT = "pam_iampass.so", "pam_python.so", "pam_iampass.py"

_MOST_CONDITIONS = 6  # each doubles the ways through a stack


class Role(enum.Enum):
    """What a module is there for."""

    OURS = "ours"
    FIRST_FACTOR = "first factor"
    """It asks for the password, or takes the one that was typed."""
    OTHER_FACTOR = "other factor"
    """It asks for something else than a password: a key, a finger, a code; or we don't know what it asks."""
    CONDITION = "condition"
    """It asks nothing, and says yes or no."""
    SORT_OF_USER = "sort of user"
    """It says yes to users of this machine, and no to those of a directory."""
    FIXED = "fixed"
    """It always answers the same."""


_FIRST_FACTORS = frozenset(
    (
        *(
            "pam_unix",
            "pam_unix2",
            "pam_tcb",
            "pam_sss",
            "pam_ldap",
            "pam_winbind",
            "pam_krb5",
            "pam_systemd_home",
        ),
        *("pam_userdb", "pam_pwdfile", "pam_radius_auth", "pam_himmelblau", "pam_sss_gss", "pam_authd"),
    )
)
_LOCAL = frozenset(("pam_unix", "pam_unix2", "pam_tcb", "pam_systemd_home", "pam_pwdfile", "pam_userdb"))
"""First factors of users of this machine; the others are of a directory."""
_CONDITIONS = frozenset(
    (
        *(
            "pam_succeed_if",
            "pam_access",
            "pam_listfile",
            "pam_time",
            "pam_wheel",
            "pam_securetty",
            "pam_shells",
        ),
        *("pam_sepermit", "pam_tally2", "pam_usertype", "pam_selinux_permit", "pam_filter"),
    )
)
_FIXED = {
    "pam_permit": SUCCESS,
    "pam_deny": AUTH_ERR,
    "pam_env": SUCCESS,
    "pam_faildelay": SUCCESS,
    "pam_umask": SUCCESS,
    "pam_keyinit": SUCCESS,
    "pam_gnome_keyring": SUCCESS,
    "pam_kwallet5": SUCCESS,
    "pam_warn": IGNORE,
    "pam_echo": IGNORE,
    "pam_issue": IGNORE,
    "pam_motd": IGNORE,
    "pam_nologin": IGNORE,
    "pam_cap": IGNORE,
    "pam_group": IGNORE,
    "pam_systemd_loadkey": IGNORE,
}


def stem(handler: Handler) -> str:
    """The module's name without folder and `.so`."""
    return handler.name[:-3] if handler.name.endswith(".so") else handler.name


def is_ours(handler: Handler) -> bool:
    """Whether the line is one of our two doors."""
    if handler.kind is not Kind.MODULE:
        return False
    return handler.name == NATIVE or is_pam_python(handler)


def is_pam_python(handler: Handler) -> bool:
    """Whether the line is the pam_python door."""
    script = handler.arguments[0].rpartition("/")[2] if handler.arguments else ""
    return handler.name == PAM_PYTHON and script == SCRIPT


def own_arguments(handler: Handler) -> tuple[str, ...]:
    """The arguments that the module gets from our line."""
    return handler.arguments[1:] if is_pam_python(handler) else handler.arguments


def role(handler: Handler) -> Role:
    """What the module is there for."""
    name = stem(handler)
    if is_ours(handler):
        return Role.OURS
    if name in _FIRST_FACTORS:
        return Role.FIRST_FACTOR
    if name == "pam_localuser":
        return Role.SORT_OF_USER
    if name in _CONDITIONS:
        return Role.CONDITION
    return Role.FIXED if name in _FIXED or name in ("pam_faillock", "pam_debug") else Role.OTHER_FACTOR


@dataclass(frozen=True)
class Person:
    """Somebody who logs in: where the account is, and whether the first factor is right."""

    local: bool
    right: bool
    checker: str
    """The module that knows the account."""

    @property
    def sort(self) -> str:
        return f"a user whom {self.checker}.so knows"


@dataclass(frozen=True)
class World:
    """What decides the answers of all modules."""

    person: Person
    conditions: Mapping[tuple[str, tuple[str, ...]], bool]
    """What each module that may go either way says, by its name and arguments."""
    ours: int
    """What we answer."""
    missing: frozenset[str]
    """The modules that are not on this machine."""

    def answers(self) -> Answers:
        return self._answer

    def _answer(self, handler: Handler) -> int:
        if handler.path in self.missing:
            return MODULE_UNKNOWN
        kind, name = role(handler), stem(handler)
        if kind is Role.OURS:
            return self.ours
        if kind is Role.FIRST_FACTOR:
            if name != self.person.checker:
                return USER_UNKNOWN
            return SUCCESS if self.person.right else AUTH_ERR
        if kind is Role.SORT_OF_USER:
            return SUCCESS if self.person.local else CODES.index("perm_denied")
        if kind in (Role.CONDITION, Role.OTHER_FACTOR):
            return _yes(handler) if self.conditions[condition_of(handler)] else AUTH_ERR
        return _fixed(handler)


def _yes(handler: Handler) -> int:
    """What a condition says where it is met: pam_wheel only lets others decide, unless it is told to trust."""
    return IGNORE if stem(handler) == "pam_wheel" and "trust" not in handler.arguments else SUCCESS


def _fixed(handler: Handler) -> int:
    name = stem(handler)
    if name == "pam_faillock":
        return IGNORE if "authfail" in handler.arguments else SUCCESS
    if name == "pam_debug":
        given = [word[5:] for word in handler.arguments if word.startswith("auth=")]
        return CODES.index(given[0]) if given and given[0] in CODES else SUCCESS
    return _FIXED[name]


def setcred_answer(handler: Handler, missing: frozenset[str]) -> int:
    """What a module answers to pam_setcred."""
    if handler.path in missing:
        return MODULE_UNKNOWN
    if is_ours(handler):
        return IGNORE
    if stem(handler) == "pam_deny":
        return CODES.index("cred_err")
    if stem(handler) in ("pam_permit", "pam_debug"):
        return SUCCESS
    return IGNORE if _FIXED.get(stem(handler)) == IGNORE or role(handler) is Role.CONDITION else SUCCESS


def condition_of(handler: Handler) -> tuple[str, tuple[str, ...]]:
    """What tells one condition from another."""
    return stem(handler), handler.arguments


def people(stack: Sequence[Handler], right: bool) -> list[Person]:
    """One of each sort of user whose first factor the stack can check."""
    checkers = dict.fromkeys(stem(handler) for handler in stack if role(handler) is Role.FIRST_FACTOR)
    return [Person(checker in _LOCAL, right, checker) for checker in checkers] or [Person(True, right, "")]


def conditions(
    stack: Sequence[Handler], fixed: Iterable[Role] = ()
) -> Iterator[dict[tuple[str, tuple[str, ...]], bool]]:
    """Every way in which the conditions and other factors of the stack may answer; those of `fixed` roles say no.

    Where there are very many, only each one by itself is turned.
    """
    either: list[tuple[str, tuple[str, ...]]] = []
    no: dict[tuple[str, tuple[str, ...]], bool] = {}
    for handler in stack:
        kind = role(handler)
        if kind in (Role.CONDITION, Role.OTHER_FACTOR) and handler.kind is Kind.MODULE:
            name = condition_of(handler)
            if kind in tuple(fixed):
                no[name] = False
            elif name not in either:
                either.append(name)
    if len(either) <= _MOST_CONDITIONS:
        for says in itertools.product((True, False), repeat=len(either)):
            yield {**no, **dict(zip(either, says))}
        return
    for turned in (None, *either):
        for usual in (True, False):
            yield {**no, **{name: usual != (name == turned) for name in either}}
