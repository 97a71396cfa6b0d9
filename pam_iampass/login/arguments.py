"""The module's arguments on a PAM line."""

from __future__ import annotations

from dataclasses import dataclass

from pam_iampass.outcome import Login, Phase
from pam_iampass.system.paths import SETTINGS


@dataclass(frozen=True)
class ModuleArguments:
    """The arguments on a PAM line (pam_iampass(8))."""

    config: str = SETTINGS
    """The path of the settings."""

    first_factor: str | None = None
    """The method that sshd must have accepted before (`publickey`), or None."""

    rescue: str | None = None
    """The account that gets in where no agent runs or the settings cannot be used, or None."""

    debug: bool = False

    unknown: tuple[str, ...] = ()
    """Arguments that are unknown, malformed or repeated: the login is denied because of them."""

    def rescues(self, login: Login) -> bool:
        """Whether `rescue` lets this login in where the settings cannot be used: the rule of the door (`rescue.c`)."""
        if self.rescue is None or self.unknown or login.real_uid != 0 or not login.through_sshd:
            return False
        if login.phase is Phase.ACCOUNT:
            behind_first_factor = self.first_factor is None  # sshd has seen to it
        else:
            behind_first_factor = self.first_factor is not None and login.accepted(self.first_factor)
        return behind_first_factor and login.user == self.rescue

    @classmethod
    def parse(cls, argv: list[str]) -> ModuleArguments:
        """Parse `argv`, whose first word is the name of the module."""
        values: dict[str, str] = {}
        unknown = []
        for argument in argv[1:]:
            name, _, value = argument.partition("=")
            valid = {
                "config": value.startswith("/"),
                "first_factor": value == "publickey",
                "rescue": value != "",
                "debug": argument == "debug",
            }.get(name, False)
            if valid and name not in values:
                values[name] = value
            else:
                unknown.append(argument)
        return cls(
            values.get("config", SETTINGS),
            values.get("first_factor"),
            values.get("rescue"),
            "debug" in values,
            tuple(unknown),
        )
