"""What sudoers contains, according to `cvtsudoers -f json`, and whether sudo accepts it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pam_iampass.system.programs import CommandResult, CommandUnavailable, find, run
from pam_iampass.system.sudoers_rules import Member, Scope, SudoersDefault, SudoersRule

SUDOERS = Path("/etc/sudoers")

PAM_SERVICES = ("pam_service", "pam_login_service", "pam_askpass_service")
"""The settings that name the PAM service: usually, for `sudo -i`, and for `sudo -A`."""

_CHECKED_FILE = re.compile(r"^(/[^:]*): (?:parsed OK|bad permissions)", re.M)
_LOGICAL_LINE = re.compile(r"(?:[^\\\n]|\\.|\\\n)+")


@dataclass(frozen=True)
class Sudoers:
    """The parts of sudoers that concern PAM."""

    defaults: tuple[SudoersDefault, ...]
    rules: tuple[SudoersRule, ...]
    lines: tuple[tuple[str, str], ...] = ()
    """File and line number, and the text, of every line."""

    def text(self, name: str) -> str | None:
        """The last value that applies to everybody; None if there is none."""
        found = [
            default.value
            for default in self.defaults
            if default.name == name and default.scope is Scope.EVERYTHING
        ]
        return str(found[-1]) if found and found[-1] else None

    def is_off(self, name: str) -> bool:
        """Whether a flag is switched off, for everybody or for some users."""
        return any(default.name == name and default.value is False for default in self.defaults)

    def listed(self, name: str) -> list[str]:
        """All names that a list contains, for everybody or for some users."""
        return [
            str(one)
            for default in self.defaults
            if default.name == name and isinstance(default.value, list) and default.operation != "list_remove"
            for one in default.value
        ]

    def places(self, word: str, default: SudoersDefault | None = None) -> str:
        """The lines that contain a word, or that set a default, with their files; empty if there are none.

        Lines are not known to cvtsudoers: where aliases stand for the names, other lines with that setting are too.
        """
        start = f"Defaults{default.scope.value}" if default else ""
        wanted = re.compile(rf"(?!#[^0-9]){start}.*\b{word}\b")
        found = [(place, text) for place, text in self.lines if wanted.match(text)]
        value = [default.value] if default and isinstance(default.value, str) else []
        names = [*value, *(one.name for one in default.binding)] if default else []
        exact = [
            line for line in found if all(re.search(rf"\b{re.escape(name)}\b", line[1]) for name in names)
        ]
        return "; ".join(f"{place}: {text}" for place, text in (exact or found)[:5])

    @property
    def service(self) -> str:
        """The PAM service of sudo."""
        return self.text("pam_service") or "sudo"

    @property
    def login_service(self) -> str:
        """The PAM service of `sudo -i`."""
        return self.text("pam_login_service") or "sudo-i"

    @property
    def services(self) -> tuple[str, ...]:
        """The PAM services of sudo, of `sudo -i`, and those that only some users, commands and the like have."""
        named = [str(default.value) for default in self.defaults if default.name in PAM_SERVICES]
        return tuple(dict.fromkeys([self.service, self.login_service, *named]))


def is_installed() -> bool:
    """Whether sudo is installed."""
    return find("sudo") is not None


def directories(nsswitch: Path = Path("/etc/nsswitch.conf")) -> list[str]:
    """The sources of rules other than files, as sss (sudoers.ldap(5)). cvtsudoers does not read them."""
    text = nsswitch.read_text("utf-8", "replace") if nsswitch.exists() else ""
    found = re.findall(r"^[ \t]*sudoers:([^#\n]*)", text, re.M)
    return [word for word in " ".join(found).split() if word.isalpha() and word != "files"]


def check(file: Path | None = None) -> CommandResult:
    """What visudo says of `file`, or of the configuration in force. Raises CommandUnavailable."""
    return run(["visudo", "-c", *(["-f", str(file)] if file is not None else [])])


def read(file: Path = SUDOERS, checked: CommandResult | None = None) -> Sudoers:
    """The contents of a sudoers file and of what it includes. Raises CommandUnavailable.

    With `checked`, what `check` said of the file, also the lines.
    """
    # In JSON, bindings to users and to targets look the same.
    document = _converted(file, "-d", "global,user,host,command")
    for_targets = _converted(file, "-d", "runas", "-s", "aliases,privileges")
    defaults = (*_defaults(document), *_defaults(for_targets, Scope.TARGETS))
    return Sudoers(defaults, tuple(_rules(document)), tuple(_lines(checked)) if checked else ())


def _converted(file: Path, *options: str) -> dict[str, Any]:
    """Aliases are expanded. cvtsudoers writes nothing if nothing is selected."""
    result = run(["cvtsudoers", "-e", "-f", "json", *options, str(file)])
    try:
        document: dict[str, Any] = json.loads(result.output or "{}" if result.ok else "")
    except ValueError:
        raise CommandUnavailable(f"cvtsudoers: {result.complaint}", "run visudo -c") from None
    return document


def _defaults(document: dict[str, Any], scope: Scope | None = None) -> Iterator[SudoersDefault]:
    for group in document.get("Defaults", ()):
        binding = _members(group.get("Binding", ()))
        for option in group.get("Options", ()):
            operation = str(option.get("operation", ""))
            for name, value in option.items():
                if name != "operation":
                    yield SudoersDefault(name, value, operation, scope or _scope(binding), binding)


def _scope(binding: Sequence[Member]) -> Scope:
    if not binding:
        return Scope.EVERYTHING
    kinds = {"command": Scope.COMMANDS, "hostname": Scope.HOSTS, "networkaddr": Scope.HOSTS}
    return kinds.get(binding[0].kind, Scope.USERS)


def _members(found: Iterable[dict[str, Any]]) -> tuple[Member, ...]:
    """The name is the first key of each object; a command may have digests too."""
    members = []
    for member in found:
        kind, name = next((kind, name) for kind, name in member.items() if kind != "negated")
        members.append(Member(kind, str(name), bool(member.get("negated"))))
    return tuple(members)


def _rules(document: dict[str, Any]) -> Iterator[SudoersRule]:
    for spec in document.get("User_Specs", ()):
        users, hosts = _members(spec.get("User_List", ())), _members(spec.get("Host_List", ()))
        for commands in spec.get("Cmnd_Specs", ()):
            options = {
                name: value for option in commands.get("Options", ()) for name, value in option.items()
            }
            yield SudoersRule(
                users,
                hosts,
                _members(commands.get("runasusers", ())),
                _members(commands.get("runasgroups", ())),
                _members(commands.get("Commands", ())),
                options.get("authenticate"),
                limited="notbefore" in options or "notafter" in options,
            )


def _lines(checked: CommandResult) -> Iterator[tuple[str, str]]:
    """The lines of all files that visudo has read; a line that ends in a backslash goes on."""
    for name in _CHECKED_FILE.findall(checked.output + checked.errors):
        text = Path(name).read_text("utf-8", "replace")
        for found in _LOGICAL_LINE.finditer(text):
            number = text.count("\n", 0, found.start()) + 1
            yield f"{name}:{number}", " ".join(found.group().replace("\\\n", " ").split())
