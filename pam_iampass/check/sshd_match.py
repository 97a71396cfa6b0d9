"""The files of sshd's configuration, and the connections that its `Match` blocks are about."""

from __future__ import annotations

import contextlib
import glob
import grp
import ipaddress
import os
import pwd
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pam_iampass.config.value_types import Network
from pam_iampass.system import sshd, trusted_file
from pam_iampass.system.programs import CommandUnavailable
from pam_iampass.system.sshd import Connection, SshdConfigRejected, SshdSettings

CONFIGURATION = Path("/etc/ssh/sshd_config")
ADDRESS = "192.0.2.1"
"""The default address of an ssh login: one that nobody has (RFC 5737)."""
ANYBODY = "nobody"
"""The user who stands for everybody whom a block does not name."""
KEYWORDS = (
    *("pamservicename", "authenticationmethods", "usepam", "permitrootlogin"),
    *("kbdinteractiveauthentication", "challengeresponseauthentication", "passwordauthentication"),
    *("pubkeyauthentication", "hostbasedauthentication", "gssapiauthentication"),
)
"""The keywords that decide whether a login asks the phone."""

_DEPTH = 16
"""Levels of Include that sshd allows; relative paths are below /etc/ssh, in files of other folders too."""
_MOST_CALLS, _MOST_USERS = 200, 10
"""Calls of `sshd -T`, and users of one block."""
_CONSTANT = ("version", "all")
"""Criteria that do not depend on the connection."""
_FIELDS = {
    "address": "address",
    "host": "host",
    "localaddress": "local_address",
    "localport": "local_port",
    "rdomain": "routing_domain",
}
"""The criteria about the connection, and their fields in Connection."""


@dataclass(frozen=True)
class MatchBlock:
    """A `Match` line with what it sets, also by files that it includes."""

    place: str
    criteria: tuple[tuple[str, str], ...]
    """Name, in lower case, and patterns; also the criteria of the block that includes its file."""
    keywords: set[str] = field(default_factory=set)
    """The keywords that it sets, in lower case."""

    @property
    def counts(self) -> bool:
        """Whether it may change who is asked."""
        return not self.keywords.isdisjoint(KEYWORDS)

    @property
    def is_about_users(self) -> bool:
        """Whether it may change who is asked, for some users."""
        return self.counts and any(name in ("user", "group") for name, _patterns in self.criteria)

    def __str__(self) -> str:
        return "Match " + " ".join(f"{name} {patterns}".strip() for name, patterns in self.criteria)


@dataclass(frozen=True)
class SshdConfiguration:
    """The files of a configuration in the order in which sshd reads them, and their blocks."""

    files: tuple[Path, ...]
    blocks: tuple[MatchBlock, ...]

    @classmethod
    def read(cls, file: Path = CONFIGURATION, *, trusted: bool = False) -> SshdConfiguration:
        """Read a file and what it includes. Raises OSError; with `trusted`, UntrustedFile.

        `trusted`: only if root alone can write all of it, because `sshd -T` quotes what a file includes.
        """
        files: list[Path] = []
        blocks: list[MatchBlock] = []
        _read(file, trusted, None, files, blocks)
        return cls(tuple(files), tuple(blocks))


@dataclass(frozen=True)
class SshdLogin:
    """A login, and the settings of sshd that hold for it."""

    connection: Connection
    settings: SshdSettings
    block: MatchBlock | None = None
    """The block that it was made up for."""

    @property
    def user(self) -> str:
        return self.connection.user

    @property
    def name(self) -> str:
        """The user, for a message."""
        if self.user != ANYBODY:
            return self.user
        return "everybody" if self.block is None else "some logins"

    def evidence(self, keyword: str, default: str = "") -> str:
        """How a setting is seen."""
        setting = f"{keyword} {self.settings.values.get(keyword, default)}"
        if self.block is None:
            return f"sshd -T: {setting}"
        return f"{self.block.place}: {self.block}; sshd -T -C {self.connection}: {setting}"


@dataclass(frozen=True)
class Witnesses:
    """Finds logins that Match blocks are about."""

    users: Iterable[str]
    """The users to try first."""
    address: str
    """The address of a login where a block names none."""
    only: str | None = None
    """The user whom the report is about."""
    options: tuple[str, ...] = ()
    spared: Sequence[Network] = ()
    """Networks whose logins need no phone: addresses outside of them tell more."""

    def logins(self, configuration: SshdConfiguration) -> Iterator[SshdLogin | MatchBlock]:
        """A few logins for each block that may change whether the phone is asked.

        A block is yielded itself if no logins show what it does.
        """
        calls = 0
        for block in configuration.blocks:
            if not block.counts or block.criteria == (("all", ""),):
                continue
            connections = self.connections(block)
            if connections is None or calls + len(connections) > _MOST_CALLS:
                yield block
                continue
            calls += len(connections)
            for connection in connections:
                try:
                    found = sshd.settings(connection, options=self.options)
                except (CommandUnavailable, SshdConfigRejected):  # a name or an address of no use
                    yield block
                    break
                yield SshdLogin(connection, found, block)

    def connections(self, block: MatchBlock) -> list[Connection] | None:
        """Some connections that match the block, none if nobody's does; None if they are not found."""
        if any(name == "invalid-user" for name, _patterns in block.criteria):
            return []  # whom NSS does not know is denied before any prompt
        fields = {}
        for name in dict.fromkeys(name for name, _patterns in block.criteria):
            if name in _FIELDS:
                value = self._value(name, [patterns for one, patterns in block.criteria if one == name])
                if value is None:
                    return None
                fields[_FIELDS[name]] = value
            elif name not in (*_CONSTANT, "user", "group"):
                return None
        connection = replace(Connection(ANYBODY, self.address), **fields)
        users = self._users(block)
        return None if users is None else [replace(connection, user=user) for user in users]

    def _value(self, name: str, all_patterns: list[str]) -> str | None:
        """A value that all lists of patterns of a criterion match; None if there is none that is found."""
        is_address = name in ("address", "localaddress")
        usual: dict[str, list[str]] = {
            "address": [self.address, "127.0.0.1", "::1"],
            "localaddress": ["127.0.0.1", "192.0.2.1"],
            "host": [self.address, "host.example.com"],
            "localport": ["22"],
        }
        samples = [sample for patterns in all_patterns for sample in _samples(patterns)]
        candidates: list[str] = [*usual.get(name, []), *samples]
        found = [
            value
            for value in candidates
            if "," not in value
            and all(
                matches_list(patterns, value, _address if is_address else _glob) for patterns in all_patterns
            )
        ]
        if name == "address":
            found.sort(key=lambda value: any(ipaddress.ip_address(value) in one for one in self.spared))
        return found[0] if found else None

    def _users(self, block: MatchBlock) -> list[str] | None:
        by_name = [patterns for name, patterns in block.criteria if name == "user"]
        by_group = [patterns for name, patterns in block.criteria if name == "group"]
        if not by_name and not by_group:
            return [self.only or ANYBODY]

        def matches(user: str) -> bool:
            return all(matches_list(patterns, user) for patterns in by_name) and (
                not by_group or all(_in_groups(patterns, _groups(user)) for patterns in by_group)
            )

        if self.only is not None:
            return [self.only] if matches(self.only) else []
        accounts = (one.pw_name for one in pwd.getpwall())
        found = []
        for user in dict.fromkeys([*self.users, *_members(by_group), *accounts]):
            if matches(user):
                found.append(user)
            if len(found) == _MOST_USERS:
                return found
        if by_group:  # NSS need not list everybody
            return found or None
        made_up = [name for patterns in by_name for name in _samples(patterns)]
        return found or [name for name in made_up if matches(name)][:1] or None


def matches_list(
    patterns: str, text: str, matches: Callable[[str, str], bool] = lambda pattern, text: _glob(pattern, text)
) -> bool:
    """Whether a list of patterns matches a text, and none that is negated (ssh_config(5), PATTERNS)."""
    words = [word for word in patterns.split(",") if word]
    if any(matches(word[1:], text) for word in words if word.startswith("!")):
        return False
    return any(matches(word, text) for word in words if not word.startswith("!"))


def _read(
    file: Path,
    trusted: bool,
    outer: MatchBlock | None,
    files: list[Path],
    blocks: list[MatchBlock],
    depth: int = 0,
) -> None:
    files.append(file)
    block = outer
    content = trusted_file.read(file) if trusted else file.read_bytes()
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        keyword, words = _words(line)
        if keyword == "match":
            criteria = (*(outer.criteria if outer else ()), *_criteria(words))
            block = MatchBlock(f"{file}:{number}", criteria)
            blocks.append(block)
        elif keyword == "include" and depth < _DEPTH:
            for pattern in words:
                for found in sorted(glob.glob(os.path.join(CONFIGURATION.parent, pattern))):
                    _read(Path(found), trusted, block, files, blocks, depth + 1)
        if block is not None:
            block.keywords.add(keyword)


def _words(line: str) -> tuple[str, list[str]]:
    """The keyword of a line of sshd_config, in lower case, and its arguments."""
    found = re.match(r"\s*([A-Za-z]+)(?:\s*=\s*|\s+)(.*)", line)
    if found is None:
        return "", []
    try:
        return found[1].lower(), shlex.split(found[2], comments=True)
    except ValueError:
        return found[1].lower(), found[2].split()


def _criteria(words: list[str]) -> Iterator[tuple[str, str]]:
    """The criteria of a `Match` line: `User a`, `User=a`, or a single word."""
    rest = iter(words)
    for word in rest:
        name, separator, patterns = word.partition("=")
        name = name.lower()
        if name in ("all", "invalid-user"):
            yield name, ""
        else:
            yield name, patterns if separator else next(rest, "")


def _samples(patterns: str) -> Iterator[str]:
    """Texts that each match one of the patterns without `!`."""
    for word in patterns.split(","):
        if not word.startswith("!"):
            sample, _, is_network = word.partition("/")
            with contextlib.suppress(ValueError):
                if is_network:
                    yield str(ipaddress.ip_network(word, strict=False).broadcast_address)
            for filling in ("", "x", "1", "1.1", "1.1.1"):
                yield sample.replace("*", filling).replace("?", filling[:1] or "x")


def _glob(pattern: str, text: str) -> bool:
    parts = (re.escape(one) if one not in "*?" else {"*": ".*", "?": "."}[one] for one in pattern)
    return re.fullmatch("".join(parts), text, re.S) is not None


def _address(pattern: str, text: str) -> bool:
    with contextlib.suppress(ValueError):
        found = ipaddress.ip_address(text)
        with contextlib.suppress(ValueError):
            return found in ipaddress.ip_network(pattern, strict=False)
        return _glob(pattern, text)
    return False  # sshd takes only what is an address


def _in_groups(patterns: str, groups: list[str]) -> bool:
    """Whether the patterns match one of the groups. As in sshd, no group may be negated."""
    negated = [word[1:] for word in patterns.split(",") if word.startswith("!")]
    if any(_glob(word, group) for word in negated for group in groups):
        return False
    return any(matches_list(patterns, group) for group in groups)


def _groups(user: str) -> list[str]:
    try:
        ids = os.getgrouplist(user, pwd.getpwnam(user).pw_gid)
    except (KeyError, ValueError, OSError):
        return []
    found = []
    for gid in ids:
        with contextlib.suppress(KeyError):
            found.append(grp.getgrgid(gid).gr_name)
    return found


def _members(by_group: Iterable[str]) -> Iterator[str]:
    """The listed members of groups that are named."""
    for patterns in by_group:
        for name in patterns.split(","):
            with contextlib.suppress(KeyError, ValueError):
                yield from grp.getgrnam(name).gr_mem
