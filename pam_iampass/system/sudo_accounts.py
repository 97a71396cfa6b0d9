"""What sudoers says about one account: its rules, and the settings that apply to it."""

from __future__ import annotations

import contextlib
import functools
import grp
import os
import pwd
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pam_iampass.system.sudoers import Sudoers
from pam_iampass.system.sudoers_rules import Member, Scope, SudoersDefault, SudoersRule, listed


@dataclass(frozen=True)
class SudoAccount:
    """An account that may use sudo."""

    name: str
    uid: int
    gid: int

    def is_in(self, group: str) -> bool:
        """Whether a group, by its name, has this account as a member. A group that does not exist has none."""
        return self._is_member(_group(group))

    def matches(self, member: Member) -> bool | None:
        """Whether a member of a list of users means this account; None for netgroups and groups of plugins."""
        if member.kind == "username":
            return member.name == "ALL" or member.name.casefold() == self.name.casefold()
        if member.kind == "usergroup":
            return self.is_in(member.name)
        if member.kind == "userid":
            return member.name == str(self.uid)
        if member.kind == "usergid":
            return member.name == str(self.gid) or self._is_member(_group(int(member.name)))
        return None

    def rules(self, sudoers: Sudoers) -> list[SudoersRule]:
        """The rules that apply, without those that a later one replaces."""
        found: list[SudoersRule] = []
        for rule in sudoers.rules:
            applies = (listed(rule.users, self.matches), listed(rule.hosts, is_this_host))
            if all(applies):
                found = [earlier for earlier in found if not rule.covers(earlier)]
            if False not in applies:
                found.append(rule)
        return found

    def settings(self, sudoers: Sudoers, name: str) -> list[SudoersDefault]:
        """The lines of which one decides a setting: more than one if that depends on target, command or netgroup."""
        found: list[SudoersDefault] = []
        for default in sudoers.defaults:
            applies = self._applies(default) if default.name == name else False
            if applies:
                found = []
            if applies is not False:
                found.append(default)
        return found

    def _applies(self, default: SudoersDefault) -> bool | None:
        if default.scope is Scope.EVERYTHING:
            return True
        if default.scope is Scope.USERS:
            return listed(default.binding, self.matches)
        return listed(default.binding, is_this_host) if default.scope is Scope.HOSTS else None

    def _is_member(self, group: grp.struct_group | None) -> bool:
        return group is not None and (self.gid == group.gr_gid or self.name in group.gr_mem)


def sudo_accounts(sudoers: Sudoers, more: Iterable[str] = ()) -> Iterator[SudoAccount]:
    """All accounts but root's that NSS lists, that sudoers or its groups name, or that are in `more`."""
    _group.cache_clear()
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    lists = [rule.users for rule in sudoers.rules] + [default.binding for default in sudoers.defaults]
    named = {member for members in lists for member in members}
    groups = (_group(member.name) for member in named if member.kind == "usergroup")
    wanted = {member.name for member in named if member.kind == "username"}.union(
        more, *(group.gr_mem for group in groups if group)
    )
    for name in wanted - {*known}:
        with contextlib.suppress(KeyError, ValueError):
            known[name] = pwd.getpwnam(name)
    for name in sorted(known):
        if known[name].pw_uid != 0:
            yield SudoAccount(name, known[name].pw_uid, known[name].pw_gid)


def is_this_host(member: Member) -> bool | None:
    """Whether a member of a list of hosts means this machine; None for addresses, netgroups and other domains."""
    if member.kind != "hostname":
        return None
    host, pattern = os.uname().nodename.lower(), member.name.lower()
    if pattern == "all" or fnmatchcase(host, pattern):
        return True
    same = fnmatchcase(host.partition(".")[0], pattern.partition(".")[0])
    return None if same and ("." in host) != ("." in pattern) else False


@functools.cache
def _group(name_or_gid: str | int) -> grp.struct_group | None:
    try:
        return grp.getgrnam(name_or_gid) if isinstance(name_or_gid, str) else grp.getgrgid(name_or_gid)
    except KeyError:
        return None
