"""What sudoers contains, according to `cvtsudoers -f json`, and whether sudo accepts it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pam_iampass.system.programs import CommandResult, CommandUnavailable, find, run

SUDOERS = Path("/etc/sudoers")


@dataclass(frozen=True)
class SudoersDefault:
    """One value of a `Defaults` line."""

    name: str
    value: Any
    """A text, True or False, or a list of names."""
    operation: str
    """`list_add` or `list_remove` if the list is changed, not replaced."""
    bound: bool
    """Whether it applies to some users, hosts or commands only."""


@dataclass(frozen=True)
class Sudoers:
    """The parts of sudoers that concern PAM."""

    defaults: tuple[SudoersDefault, ...]
    without_password: tuple[str, ...]
    """Users and groups that need no password for some command."""

    def text(self, name: str) -> str | None:
        """The last value that applies to everybody; None if there is none."""
        found = [default.value for default in self.defaults if default.name == name and not default.bound]
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

    @property
    def service(self) -> str:
        """The PAM service of sudo."""
        return self.text("pam_service") or "sudo"

    @property
    def login_service(self) -> str:
        """The PAM service of `sudo -i`."""
        return self.text("pam_login_service") or "sudo-i"


def is_installed() -> bool:
    """Whether sudo is installed."""
    return find("sudo") is not None


def check(file: Path | None = None) -> CommandResult:
    """What visudo says of `file`, or of the configuration in force. Raises CommandUnavailable."""
    return run(["visudo", "-c", *(["-f", str(file)] if file is not None else [])])


def read(file: Path = SUDOERS) -> Sudoers:
    """The contents of a sudoers file and of what it includes. Raises CommandUnavailable."""
    result = run(["cvtsudoers", "-f", "json", str(file)])
    try:
        document = json.loads(result.output)
    except ValueError:
        raise CommandUnavailable(f"cvtsudoers: {result.complaint}", "run visudo -c") from None
    return Sudoers(tuple(_defaults(document)), tuple(dict.fromkeys(_without_password(document))))


def _defaults(document: dict[str, Any]) -> Iterator[SudoersDefault]:
    for group in document.get("Defaults", ()):
        for option in group.get("Options", ()):
            operation = str(option.get("operation", ""))
            for name, value in option.items():
                if name != "operation":
                    yield SudoersDefault(name, value, operation, bool(group.get("Binding")))


def _without_password(document: dict[str, Any]) -> Iterator[str]:
    for spec in document.get("User_Specs", ()):
        free = any(
            option.get("authenticate") is False
            for commands in spec.get("Cmnd_Specs", ())
            for option in commands.get("Options", ())
        )
        for user in spec.get("User_List", ()) if free else ():
            for kind, name in user.items():
                yield f"%{name}" if kind == "usergroup" else str(name)
