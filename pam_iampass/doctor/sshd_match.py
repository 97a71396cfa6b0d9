"""The administrator's `Match` blocks that lead users to another PAM service or to other methods."""

from __future__ import annotations

import contextlib
import grp
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pam_iampass.doctor.catalogue import finding
from pam_iampass.errors import Problem
from pam_iampass.system import sshd
from pam_iampass.system.programs import CommandUnavailable
from pam_iampass.system.sshd import SshdConfigRejected
from pam_iampass.text import names

_KEYWORDS = ("pamservicename", "authenticationmethods", "usepam", "kbdinteractiveauthentication")
_MOST = 40
"""Calls of `sshd -T`."""
_CONFIGURATION = Path("/etc/ssh/sshd_config")
_OURS = "10-iampass"
_NOBODY = "nobody"


@dataclass(frozen=True)
class MatchBlock:
    """A `Match` line, as far as its users and addresses are spelled out."""

    place: str
    users: tuple[str, ...]
    address: str
    """One that it matches."""
    keywords: set[str] = field(default_factory=set)
    """What it sets, in lower case."""

    def concerned(self, only: str | None) -> list[str]:
        """The users to check, or `only` that one, if the block may change how they get in."""
        users = [only] if only is not None and self.users == (_NOBODY,) else self.users
        if self.keywords.isdisjoint(_KEYWORDS):
            return []
        return [user for user in users if only in (None, user)]

    @classmethod
    def of(cls, line: str, place: str, address: str) -> MatchBlock | None:
        """Read a line of sshd_config; None for any other one. `address` is used where it names none."""
        try:
            words = shlex.split(line.replace("=", " "), comments=True)
        except ValueError:
            return None
        if len(words) < 3 or words[0].lower() != "match":
            return None
        criteria = {name.lower(): _literal(value) for name, value in zip(words[1::2], words[2::2])}
        users = criteria.get("user", ()) or tuple(
            member for group in criteria.get("group", ()) for member in _members(group)
        )
        found = criteria.get("address", ())
        return cls(place, users or (_NOBODY,), found[0].partition("/")[0] if found else address)


def configuration_files() -> list[Path]:
    """The files of sshd's configuration, in the order in which sshd reads them on Debian and Red Hat."""
    included = _CONFIGURATION.with_name("sshd_config.d")
    return [*(sorted(included.glob("*.conf")) if included.is_dir() else ()), _CONFIGURATION]


def match_blocks(address: str, only: str | None) -> Iterator[Problem]:
    """The blocks that change how users get in, or how the user `only` does; not those that we wrote.

    Raises CommandUnavailable and SshdConfigRejected.
    """
    usual, calls = sshd.settings(user=_NOBODY, address=address), 0
    for block in _blocks(configuration_files(), address):
        changed: dict[str, list[str]] = {}
        for user in block.concerned(only)[: _MOST - calls]:
            calls += 1
            with contextlib.suppress(CommandUnavailable, SshdConfigRejected):  # a name or address of no use
                found = sshd.settings(user=user, address=block.address)
                for keyword in block.keywords.intersection(_KEYWORDS):
                    if found.values.get(keyword) != usual.values.get(keyword):
                        changed.setdefault(f"{keyword} {found.values.get(keyword)}", []).append(user)
        for change, users in changed.items():
            who = "some logins" if users == [_NOBODY] else names(users)
            evidence = f"{block.place}; sshd -T -C user={users[0]},addr={block.address}: {change}"
            yield finding("sshd-match", "sshd", evidence, names=who, change=change)


def _blocks(files: list[Path], address: str) -> list[MatchBlock]:
    found: list[MatchBlock] = []
    for file in files:
        if file.name.startswith(_OURS) or not file.is_file():
            continue
        keywords: set[str] = set()
        for number, line in enumerate(file.read_text("utf-8", "replace").splitlines(), 1):
            block = MatchBlock.of(line, f"{file}:{number}", address)
            if block is not None:
                keywords = block.keywords
                found.append(block)
            keywords.update(word.lower() for word in line.replace("=", " ").split()[:1])
    return found


def _literal(patterns: str) -> tuple[str, ...]:
    """The members of a list of patterns that are no patterns."""
    return tuple(word for word in patterns.split(",") if word and not set(word) & set("*?!"))


def _members(group: str) -> list[str]:
    """The listed members of a group; none of one that NSS does not know."""
    try:
        return grp.getgrnam(group).gr_mem
    except (KeyError, ValueError):
        return []
