"""What sshd would do for a user, as sshd itself says it: `sshd -T -C`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pam_iampass.system.programs import NotThere, ask, find

ADDRESS = "192.0.2.1"
"""Where a login comes from unless one says otherwise: an address that nobody has (RFC 5737)."""

_VERSION = re.compile(r"OpenSSH_(\d+)\.(\d+)")


class Refused(Exception):
    """sshd refuses its configuration."""


class NotSeen(Exception):
    """sshd could not be asked; the text says why."""


@dataclass(frozen=True)
class ForUser:
    """The settings that hold for one user."""

    values: Mapping[str, str]
    """By the keyword in small letters."""

    def is_on(self, keyword: str) -> bool:
        return self.values.get(keyword, "no").lower() == "yes"

    @property
    def service(self) -> str:
        """The PAM service (`PAMServiceName`, since 9.8)."""
        return self.values.get("pamservicename", "sshd")

    @property
    def ways(self) -> list[list[str]]:
        """The lists of methods, each of which gets in. One of one method each where nothing is demanded."""
        said = self.values.get("authenticationmethods", "any").strip()
        if said.lower() == "any":
            return [[method] for method in self.offered]
        return [[one.partition(":")[0] for one in way.split(",")] for way in said.split()]

    @property
    def offered(self) -> list[str]:
        """The methods that are on."""
        keywords = {
            "publickey": "pubkeyauthentication",
            "keyboard-interactive": "kbdinteractiveauthentication",
            "password": "passwordauthentication",
            "hostbased": "hostbasedauthentication",
            "gssapi-with-mic": "gssapiauthentication",
        }
        return [method for method, keyword in keywords.items() if self.is_on(keyword)]

    @property
    def grace(self) -> int:
        """Seconds for a login; 0: no limit."""
        text = self.values.get("logingracetime", "120")
        return int(text) if text.isdigit() else 120

    @property
    def root(self) -> str:
        """What PermitRootLogin says."""
        said = self.values.get("permitrootlogin", "prohibit-password").lower()
        return "prohibit-password" if said == "without-password" else said


class Sshd:
    """The sshd of this machine."""

    def __init__(self, address: str = ADDRESS) -> None:
        self.address = address
        self._known: dict[str, ForUser] = {}

    @property
    def is_there(self) -> bool:
        """Whether sshd is installed."""
        return find("sshd") is not None

    @cached_property
    def version(self) -> tuple[int, int] | None:
        """OpenSSH's version, None where it does not say."""
        try:
            said = ask("sshd", ["-V"])
        except NotThere:
            return None
        found = _VERSION.search(said.errors + said.output)
        return (int(found.group(1)), int(found.group(2))) if found else None

    def for_user(self, name: str) -> ForUser:
        """The settings for a login of this user. Raises Refused and NotSeen."""
        if name not in self._known:
            self._known[name] = self._asked(name)
        return self._known[name]

    def _asked(self, name: str) -> ForUser:
        if any(character in name for character in ",=") or not name:
            message = f"sshd cannot be asked about a user of that name: {name}"
            raise NotSeen(message)
        try:
            said = ask("sshd", ["-T", "-C", f"user={name},host={self.address},addr={self.address}"])
        except NotThere as error:
            raise NotSeen(str(error)) from None
        if said.status != 0:
            # Without keys or its folder sshd does not come to its configuration, for anybody but root.
            if (
                "hostkeys" in said.errors
                or "ermission denied" in said.errors
                or "privilege separation" in said.errors
            ):
                raise NotSeen(f"sshd -T: {said.complaint}")
            raise Refused(said.complaint)
        pairs = (line.partition(" ") for line in said.output.splitlines())
        values: dict[str, str] = {}
        for keyword, _, value in pairs:
            values.setdefault(keyword.lower(), value)
        return ForUser(values)
