"""Users, devices and unused registration links as they are kept over a restart."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from pam_iampass.sandbox.errors import SandboxError
from pam_iampass.sandbox.state_folder import StateFolder

ACCOUNTS_FILE = "accounts.json"


@dataclass
class Known:
    """What is known of users at one time."""

    devices: dict[str, bool] = field(default_factory=dict)
    """Each user, and whether it has a device."""
    links: dict[str, str] = field(default_factory=dict)
    """The user of each registration link that was not used yet, by the link's token."""


class AccountsFile:
    """Where they are kept: in a folder that somebody chose. A temporary one remembers nothing."""

    def __init__(self, state: StateFolder) -> None:
        self._state = state

    def load(self) -> Known:
        """What was kept last. Raises SandboxError where the file is not one of ours."""
        content = self._state.read(ACCOUNTS_FILE)
        if content is None:
            return Known()
        try:
            value = json.loads(content.decode("utf-8"))
            known = Known(dict(value["devices"]), dict(value["links"]))
            texts = [*known.devices, *known.links, *known.links.values()]
            if not all(isinstance(text, str) for text in texts) or not {*known.devices.values()} <= {
                True,
                False,
            }:
                raise ValueError("wrong types")
        except (ValueError, TypeError, KeyError) as error:
            raise SandboxError(
                f"{self._state.path / ACCOUNTS_FILE} is broken; remove it to begin without users"
            ) from error
        return known

    def save(self, known: Known) -> None:
        """Keep this, whole or not at all."""
        if not self._state.temporary:
            content = json.dumps({"devices": known.devices, "links": known.links}, indent=1)
            self._state.write(ACCOUNTS_FILE, content.encode())
