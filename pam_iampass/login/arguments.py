"""The module's arguments on a PAM line."""

from __future__ import annotations

from dataclasses import dataclass

from pam_iampass.system.paths import SETTINGS


@dataclass(frozen=True)
class ModuleArguments:
    """The arguments on a PAM line (pam_iampass(8))."""

    config: str = SETTINGS
    """The path of the settings."""

    first_factor: str | None = None
    """The method that sshd must have accepted before (`publickey`), or None."""

    rescue: str | None = None
    """The account that the door lets in where no agent runs, or None. It means nothing here."""

    debug: bool = False

    unknown: tuple[str, ...] = ()
    """Arguments that are unknown, malformed or repeated: the login is denied because of them."""

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
