"""The parts of sudoers(5): settings and rules, and the lists of names that they are for."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any


class Scope(enum.Enum):
    """What a `Defaults` line is bound to, with the character that says so (sudoers(5))."""

    EVERYTHING = ""
    USERS = ":"
    HOSTS = "@"
    TARGETS = ">"
    COMMANDS = "!"


@dataclass(frozen=True)
class Member:
    """One member of a list of users, hosts, targets or commands."""

    kind: str
    """As cvtsudoers calls it: username, usergroup, userid, usergid, netgroup, hostname, networkaddr, command …"""
    name: str
    negated: bool = False

    def __str__(self) -> str:
        sign = {"usergroup": "%", "userid": "#", "usergid": "%#", "netgroup": "+"}.get(self.kind, "")
        return f"{'!' if self.negated else ''}{sign}{self.name}"


def listed(members: Iterable[Member], matches: Callable[[Member], bool | None]) -> bool | None:
    """Whether a list contains something: the last member that matches it decides. None if that is unknown."""
    result: bool | None = False
    for member in members:
        matched = matches(member)
        if matched:
            result = not member.negated
        elif matched is None and result is member.negated:
            result = None
    return result


@dataclass(frozen=True)
class SudoersDefault:
    """One value of a `Defaults` line."""

    name: str
    value: Any
    """A text, True or False, or a list of names."""
    operation: str = ""
    """`list_add` or `list_remove` if the list is changed, not replaced."""
    scope: Scope = Scope.EVERYTHING
    binding: tuple[Member, ...] = ()
    """To whom or what it applies; empty in the scope EVERYTHING."""

    def __str__(self) -> str:
        setting = f"{'' if self.value else '!'}{self.name}"
        value = "" if isinstance(self.value, bool) else f"={self.value}"
        return f"Defaults{self.scope.value}{','.join(map(str, self.binding))} {setting}{value}"


@dataclass(frozen=True)
class SudoersRule:
    """Commands that some users may run as some targets."""

    users: tuple[Member, ...]
    hosts: tuple[Member, ...]
    targets: tuple[Member, ...]
    target_groups: tuple[Member, ...]
    commands: tuple[Member, ...]
    authenticate: bool | None
    """False with the tag NOPASSWD, True with PASSWD, None without either."""
    limited: bool
    """Whether it holds for a time only."""

    def covers(self, earlier: SudoersRule) -> bool:
        """Whether it decides all that an earlier rule of the same user decides: the last match holds."""
        groups = _has_all(self.target_groups) or not earlier.target_groups
        return not self.limited and _has_all(self.commands) and _has_all(self.targets) and groups


def _has_all(members: Sequence[Member]) -> bool:
    return any(one.name == "ALL" for one in members) and not any(one.negated for one in members)
