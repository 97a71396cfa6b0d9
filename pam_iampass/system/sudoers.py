"""The settings and rules of sudoers that concern PAM, according to `cvtsudoers -f json`, with their lines."""

from __future__ import annotations

import enum
import grp
import json
import os
import pwd
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pam_iampass.errors import RUN_AS_ROOT
from pam_iampass.system.programs import CommandUnavailable, find, run
from pam_iampass.text import names

SUDOERS = Path("/etc/sudoers")
SUDOERS_RS = Path("/etc/sudoers-rs")
"""The file that sudo-rs reads instead, if it exists."""

PAM_SERVICES = ("pam_service", "pam_login_service", "pam_askpass_service")
"""The settings that name the PAM service: usually, for `sudo -i`, and for `sudo -A`."""

NO_PASSWORD = "NOPASSWD"  # noqa: S105 - a tag of sudoers
_CHECKED_FILE = re.compile(r"^(/[^:]*): (?:parsed OK|bad permissions)", re.M)
_LOGICAL_LINE = re.compile(r"(?:[^\\\n]|\\.|\\\n)+")


class SudoersRejected(Exception):
    """visudo rejects sudo's configuration."""


class Scope(enum.Enum):
    """The scope of a `Defaults` line, with the character that says so (sudoers(5))."""

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
        signs = {"usergroup": "%", "userid": "#", "usergid": "%#", "netgroup": "+", "nonunixgroup": "%:"}
        sign = signs.get(self.kind, "")
        return f"{'!' if self.negated else ''}{sign}{self.name}"


@dataclass(frozen=True)
class SudoersLine:
    """One setting of a `Defaults` line, or one rule with the tag NOPASSWD."""

    name: str
    """The name of the setting; NOPASSWD for a rule."""
    value: Any
    """A text, True or False, or a list; the commands of a rule."""
    scope: Scope = Scope.EVERYTHING
    members: tuple[Member, ...] = ()
    """The members that it applies to; empty in the scope EVERYTHING."""
    place: str = ""
    """The lines that set it, with file and number; several if it cannot be told which one it is."""

    def __str__(self) -> str:
        whom = ", ".join(map(str, self.members))
        if self.name == NO_PASSWORD:
            return f"{whom} {NO_PASSWORD}: {self.value}"
        value = "" if isinstance(self.value, bool) else f"={self.value}"
        return f"Defaults{self.scope.value}{whom} {'' if self.value else '!'}{self.name}{value}"

    @property
    def users(self) -> tuple[Member, ...]:
        """The users whom it names; empty if it may apply to any user."""
        if self.name == "exempt_group":
            return (Member("usergroup", str(self.value)),)
        return self.members if self.scope is Scope.USERS else ()

    @property
    def accounts(self) -> frozenset[str] | None:
        """The accounts of `users`, without root; None if they are not known, or may be all."""
        found: set[str] = set()
        for member in self.users:
            named = None if member.negated else _accounts(member)
            if named is None:
                return None
            found |= named
        return frozenset(found) if self.users else None


@dataclass(frozen=True)
class Sudoers:
    """The lines that count on this host. Which of several lines holds for a user is not decided here."""

    lines: tuple[SudoersLine, ...]

    def text(self, name: str) -> str | None:
        """The last value that applies to everybody; None if there is none."""
        found = [line.value for line in self.lines if line.name == name and line.scope is Scope.EVERYTHING]
        return str(found[-1]) if found and found[-1] else None

    @property
    def service(self) -> str:
        """The PAM service of sudo."""
        return self.text("pam_service") or "sudo"

    @property
    def login_service(self) -> str:
        """The PAM service of `sudo -i`."""
        return self.text("pam_login_service") or "sudo-i"

    @property
    def remembers(self) -> bool:
        """Whether sudo may run a program without asking, since it has just asked (timestamp_timeout in sudoers(5))."""
        found = [line for line in self.lines if line.name == "timestamp_timeout"]
        last = [line for line in found if line.scope is Scope.EVERYTHING][-1:]
        others = [line for line in found if line.scope is not Scope.EVERYTHING]
        return not last or any(line.value and float(line.value) != 0.0 for line in (*last, *others))

    @property
    def services(self) -> tuple[str, ...]:
        """The PAM services of sudo, of `sudo -i`, and the ones that only some users, commands and the like have."""
        named = [str(line.value) for line in self.lines if line.name in PAM_SERVICES]
        return tuple(dict.fromkeys([self.service, self.login_service, *named]))


def is_installed() -> bool:
    """Whether sudo is installed."""
    return find("sudo") is not None


def files() -> list[Path | None]:
    """The files to `read`: sudo's (None), if it is installed, and sudo-rs's, if it is another one."""
    found: list[Path | None] = [None] if is_installed() else []
    if SUDOERS_RS.exists():
        found.append(SUDOERS_RS)
    elif not found and find("sudo-rs") is not None:
        found.append(SUDOERS)
    return found


def directories(nsswitch: Path = Path("/etc/nsswitch.conf")) -> list[str]:
    """The sources of rules other than files, as sss (sudoers.ldap(5)). cvtsudoers does not read them."""
    text = nsswitch.read_text("utf-8", "replace") if nsswitch.exists() else ""
    found = re.findall(r"^[ \t]*sudoers:([^#\n]*)", text, re.M)
    return [word for word in " ".join(found).split() if word.isalpha() and word != "files"]


def other_plugins(configuration: Path = Path("/etc/sudo.conf")) -> list[str]:
    """The lines of sudo.conf(5) that load a plug-in other than sudo's own."""
    own = re.compile(r"\S+ sudoers_\w+ (\S*/)?sudoers\.so\b")
    return [line for line in _plugins(configuration) if not own.match(line)]


def _plugins(configuration: Path) -> list[str]:
    """The lines that load plug-ins. sudo ignores the case of the word, and goes on after a backslash at the end."""
    text = configuration.read_text("utf-8", "replace") if configuration.exists() else ""
    lines = (" ".join(line.split()) for line in text.replace("\\\n", "").splitlines())
    return [line for line in lines if line.lower().startswith("plugin")]


def version_of_sudo_rs() -> tuple[int, ...] | None:
    """The version of sudo-rs; None if it is not installed, or does not say."""
    program = find("sudo-rs")
    try:
        found = re.search(r"\b(\d+)\.(\d+)\.(\d+)\b", run([program, "--version"]).output if program else "")
    except CommandUnavailable:
        return None
    return tuple(map(int, found.groups())) if found else None


def read(file: Path | None = None) -> Sudoers:
    """The contents of a sudoers file and of what it includes. Raises SudoersRejected and CommandUnavailable.

    Without `file`, of the one that sudo reads: /etc/sudoers, or another one that sudo.conf(5) names.
    """
    checked = run(["visudo", "-c", *([] if file is None else ["-f", str(file)])])
    text = checked.errors + checked.output
    # visudo wants mode 0440; sudo itself accepts any file that nobody else can write.
    if not checked.ok and "bad permissions" not in text:
        what = f"visudo -c: {checked.complaint}"
        if "ermission denied" in text:
            raise CommandUnavailable(what, RUN_AS_ROOT)
        raise SudoersRejected(what)
    written = [line for name in _CHECKED_FILE.findall(text) for line in _written(Path(name))]
    main = file or _in_force()
    # In JSON, bindings to users and to targets look the same.
    document = _converted(main, "-d", "global,user,host,command")
    for_targets = _converted(main, "-d", "runas", "-s", "aliases,privileges")
    lines = (
        *_defaults(document, written),
        *_defaults(for_targets, written, Scope.TARGETS),
        *_rules(document, written),
    )
    return Sudoers(lines)


def _in_force(configuration: Path = Path("/etc/sudo.conf")) -> Path:
    """The file that sudo reads: /etc/sudoers, or the one that sudo.conf(5) gives to its plug-in."""
    named = re.search(r" sudoers_file=(\S+)", "\n".join(_plugins(configuration)))
    return Path(named[1]) if named else SUDOERS


def _converted(file: Path, *options: str) -> dict[str, Any]:
    """Aliases are expanded. cvtsudoers writes nothing if nothing is selected."""
    result = run(["cvtsudoers", "-e", "-f", "json", *options, str(file)])
    try:
        document: dict[str, Any] = json.loads(result.output or "{}" if result.ok else "")
    except ValueError:
        raise CommandUnavailable(f"cvtsudoers: {result.complaint}", "run visudo -c") from None
    return document


def _defaults(
    document: dict[str, Any], written: list[tuple[str, str]], scope: Scope | None = None
) -> Iterator[SudoersLine]:
    scopes = {"command": Scope.COMMANDS, "hostname": Scope.HOSTS, "networkaddr": Scope.HOSTS}
    for group in document.get("Defaults", ()):
        binding = _members(group.get("Binding", ()))
        bound = scope or (scopes.get(binding[0].kind, Scope.USERS) if binding else Scope.EVERYTHING)
        if bound is Scope.HOSTS and _are_elsewhere(binding):
            continue
        for option in group.get("Options", ()):
            for name, value in option.items():
                if name == "operation":
                    continue
                words = [*([value] if isinstance(value, str) else []), *(one.name for one in binding)]
                place = _place(written, rf"Defaults{bound.value or ' '}.*\b{name}\b", words)
                yield SudoersLine(name, value, bound, binding, place)


def _rules(document: dict[str, Any], written: list[tuple[str, str]]) -> Iterator[SudoersLine]:
    for spec in document.get("User_Specs", ()):
        users = _members(spec.get("User_List", ()))
        for commands in spec.get("Cmnd_Specs", ()):
            tagged = any(option.get("authenticate") is False for option in commands.get("Options", ()))
            if tagged and not _are_elsewhere(_members(spec.get("Host_List", ()))):
                place = _place(written, rf".*\b{NO_PASSWORD}\b", [one.name for one in users])
                allowed = names(map(str, _members(commands.get("Commands", ()))))
                yield SudoersLine(NO_PASSWORD, allowed, Scope.USERS, users, place)


def _members(found: Iterable[dict[str, Any]]) -> tuple[Member, ...]:
    """The name is the first key of each object; a command may have digests too."""
    members = []
    for member in found:
        kind, name = next((kind, name) for kind, name in member.items() if kind != "negated")
        members.append(Member(kind, str(name), bool(member.get("negated"))))
    return tuple(members)


def _accounts(member: Member) -> set[str] | None:
    """The accounts of a member of a list of users, without root; None if they are not known, or may be all."""
    try:
        if member.kind == "username" and member.name != "ALL":
            entries = [pwd.getpwnam(member.name)]
        elif member.kind == "userid":
            entries = [pwd.getpwuid(int(member.name))]
        elif member.kind in ("usergroup", "usergid"):
            by_name = member.kind == "usergroup"
            group = grp.getgrnam(member.name) if by_name else grp.getgrgid(int(member.name))
            own = {entry.pw_name for entry in pwd.getpwall() if entry.pw_gid == group.gr_gid}
            return {*own, *group.gr_mem} - {"root"} or None
        else:
            return None
    except (KeyError, ValueError, OverflowError):
        return None
    return {entry.pw_name for entry in entries if entry.pw_uid != 0}


def _are_elsewhere(hosts: Iterable[Member]) -> bool:
    """Whether a list of hosts does not mean this machine. Addresses, netgroups and negations may mean it."""
    own = os.uname().nodename.lower().partition(".")[0]
    return all(
        host.kind == "hostname"
        and not host.negated
        and host.name != "ALL"
        and not fnmatchcase(own, host.name.lower().partition(".")[0])
        for host in hosts
    )


def _written(file: Path) -> Iterator[tuple[str, str]]:
    """File and number, and the text, of each line; one that ends in a backslash goes on."""
    text = file.read_text("utf-8", "replace")
    for found in _LOGICAL_LINE.finditer(text):
        number = text.count("\n", 0, found.start()) + 1
        yield f"{file}:{number}", " ".join(found.group().replace("\\\n", " ").split())


def _place(written: Iterable[tuple[str, str]], pattern: str, words: Iterable[str]) -> str:
    """The lines that match, if possible those with all words in them: cvtsudoers does not know lines, nor aliases."""
    wanted = re.compile(rf"(?!#[^0-9]){pattern}")
    found = [line for line in written if wanted.match(line[1])]
    exact = [
        line for line in found if all(re.search(rf"(?<!\w){re.escape(word)}\b", line[1]) for word in words)
    ]
    return "; ".join(f"{place}: {text}" for place, text in (exact or found)[:5])
