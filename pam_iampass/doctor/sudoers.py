"""What sudoers says, as sudo's own reader tells it: `cvtsudoers -f json`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pam_iampass.doctor.catalogue import KINDS
from pam_iampass.doctor.finding import Finding
from pam_iampass.system.programs import NotThere, ask, find

_FILE = "/etc/sudoers"


class Refused(Exception):
    """sudo refuses its configuration."""


class NotSeen(Exception):
    """sudoers could not be read; the text says why."""


@dataclass(frozen=True)
class Default:
    """One value of a `Defaults` line."""

    name: str
    value: Any
    """A text, True or False, or a list of names."""
    operation: str
    """`list_add` and `list_remove` for a list that others add to."""
    bound: bool
    """Whether it holds for some users, hosts or commands only."""


@dataclass(frozen=True)
class Sudoers:
    """What matters of sudoers."""

    defaults: tuple[Default, ...]
    without_password: tuple[str, ...]
    """For whom some command needs no password."""

    def text(self, name: str, unset: str | None = None) -> str | None:
        """The last value for everybody, `unset` where there is none."""
        found = [default.value for default in self.defaults if default.name == name and not default.bound]
        return str(found[-1]) if found and found[-1] else unset

    def is_off(self, name: str) -> bool:
        """Whether some `Defaults` line switches a flag off, be it for some users only."""
        return any(default.name == name and default.value is False for default in self.defaults)

    def listed(self, name: str) -> list[str]:
        """All that is in, or added to, a list of names, be it for some users only."""
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


def refused_finding(refused: Refused) -> Finding:
    """That sudo refuses its configuration, as a finding."""
    return Finding.of(KINDS["sudoers-broken"], "sudo", str(refused))


def is_there() -> bool:
    """Whether sudo is installed."""
    return find("sudo") is not None


def read() -> Sudoers:
    """What sudoers says. Raises Refused and NotSeen."""
    try:
        checked = ask("visudo", ["-c"])
        told = checked.errors + checked.output
        # visudo wants mode 0440; sudo itself takes any file that nobody else can write.
        if checked.status != 0 and "bad permissions" not in told:
            if "ermission denied" in told:
                raise NotSeen(f"visudo -c: {checked.complaint}")
            raise Refused(f"visudo -c: {checked.complaint}")
        said = ask("cvtsudoers", ["-f", "json", _FILE])
    except NotThere as error:
        raise NotSeen(str(error)) from None
    try:
        document = json.loads(said.output)
    except ValueError:
        raise NotSeen(f"cvtsudoers: {said.complaint}") from None
    return Sudoers(tuple(_defaults(document)), tuple(dict.fromkeys(_without_password(document))))


def _defaults(document: dict[str, Any]) -> Iterator[Default]:
    for group in document.get("Defaults", ()):
        for option in group.get("Options", ()):
            operation = str(option.get("operation", ""))
            for name, value in option.items():
                if name != "operation":
                    yield Default(name, value, operation, bool(group.get("Binding")))


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
