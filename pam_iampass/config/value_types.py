"""The sense of a setting: makes values of texts, and says why where it cannot.

Each function takes the text of one YAML scalar and returns the value, or raises Fault.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable, ClassVar, TypeVar, Union

from pam_iampass.client.origin import InvalidOrigin, Origin
from pam_iampass.config.node_reader import Fault
from pam_iampass.config.validation import name_fault

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    Network = Union[IPv4Network, IPv6Network]

METHODS = ("acceptance", "device", "facial")
"""The ways of authenticating that IAMPASS knows."""

LONGEST_TIMEOUT = 290
"""Seconds. A door waits 300 s at most; what is left is for ending the session and answering PAM."""

LONGEST_COOL_OFF = 900
"""Seconds. Nobody is kept from the phone for longer after a refusal."""

_E = TypeVar("_E", bound=enum.Enum)


class Prompt(enum.Enum):
    """When the person is asked to press Enter before the request goes out."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class Unavailable(enum.Enum):
    """What happens where IAMPASS is out of reach."""

    DENY = "deny"
    IGNORE = "ignore"


class AskForCode(enum.Enum):
    """When a person is asked for a recovery code after the phone has not helped, where there was no prompt before."""

    NEVER = "never"
    UNAVAILABLE = "unavailable"
    UNANSWERED = "unanswered"


class Approver(enum.Enum):
    """Whose phone is asked."""

    USER = "user"
    RUSER = "ruser"


@dataclass(frozen=True)
class Unlisted:
    """What happens to a user who is in no table."""

    ignore: bool = False
    """Whether the login goes on without a second factor."""
    template: str | None = None
    """A token in which `{user}` stands for the user's name, where such a user is asked by that."""

    DENY: ClassVar[Unlisted]
    IGNORE: ClassVar[Unlisted]

    def token_for(self, user: str) -> str | None:
        """The user's token after the template, not checked yet; None where there is no template."""
        return None if self.template is None else self.template.replace("{user}", user)


Unlisted.DENY = Unlisted()
Unlisted.IGNORE = Unlisted(ignore=True)


def choice(kind: type[_E]) -> Callable[[str], _E]:
    """Reads one of the values of an enum."""

    def read(text: str) -> _E:
        try:
            return kind(text)
        except ValueError:
            raise Fault("is not known", f"write {_one_of([member.value for member in kind])}") from None

    return read


def method(text: str) -> str:
    if text not in METHODS:
        raise Fault("is no method that IAMPASS knows", f"write {_one_of(METHODS)}")
    return text


def duration(shortest: int, longest: int) -> Callable[[str], float]:
    """Reads seconds, from `shortest` to `longest`."""

    def read(text: str) -> float:
        found = re.fullmatch("([0-9]{1,6})([a-z]*)", text)
        if not found or found[2] not in ("", "s", "m"):
            raise Fault("is not a duration", "write whole seconds or minutes, such as 60s or 2m")
        if not found[2]:
            raise Fault("has no unit", f"write {text}s for seconds, {text}m for minutes")
        seconds = int(found[1]) * (60 if found[2] == "m" else 1)
        if not shortest <= seconds <= longest:
            raise Fault("is out of range", f"write a duration from {shortest}s to {longest}s")
        return float(seconds)

    return read


def truth(text: str) -> bool:
    """`true` or `false`, and none of the other words that YAML has for them."""
    if text not in ("true", "false"):
        raise Fault("is neither true nor false", "write true or false")
    return text == "true"


def number(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number, from `least` to `most`."""

    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,6}", text):
            raise Fault("is not a whole number", f"write a number from {least} to {most}")
        if not least <= int(text) <= most:
            raise Fault("is out of range", f"write a number from {least} to {most}")
        return int(text)

    return read


def application_id(text: str) -> str:
    if not re.fullmatch("[!-~]{1,256}", text) or re.search("[/?#%:\\\\]", text) or text in (".", ".."):
        raise Fault("cannot be an application id", "copy the id that IAMPASS shows for your application")
    return text


def absolute_path(text: str) -> Path:
    if not text.startswith("/"):
        raise Fault("is not an absolute path", "write the path from / on")
    if not text.isprintable():
        raise Fault("is a path with characters that cannot be seen", "rename the file")
    return Path(text)


def server(text: str) -> str:
    """`https://host` or `https://host:port`, in lower case."""
    return _url(Origin.of, text)


def proxy(text: str) -> str:
    """`http://host:port`, in lower case."""
    return _url(Origin.of_proxy, text)


def _url(read: Callable[[str], Origin], text: str) -> str:
    try:
        return read(text).url
    except InvalidOrigin as invalid:
        raise Fault(invalid.problem, invalid.remedy) from None


def network(text: str) -> Network:
    import ipaddress

    example = "write an address and a prefix length, such as 192.0.2.0/24 or 2001:db8::/32"
    address, slash, prefix = text.partition("/")
    if "%" in text or (slash and not re.fullmatch("[0-9]{1,3}", prefix)):
        raise Fault("is not a network", example)
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise Fault("is not a network", example) from None
    if str(found.network_address) != str(ipaddress.ip_address(address)):
        what = f"has bits set behind the prefix of {prefix}"
        raise Fault(what, f"write {found}, or {address} for that one address")
    return found


def account_name(text: str) -> str:
    """The name of a user or a group."""
    if text.startswith("!"):
        remedy = "list only those who are exempt; nobody else is: these lists hold names and no exceptions"
        raise Fault("is a negation, which is not understood here", remedy)
    fault = name_fault(text)
    if fault:
        raise Fault(fault, "write a name as getent passwd or getent group shows it")
    return text


def unlisted(text: str) -> Unlisted:
    if text == "deny":
        return Unlisted.DENY
    if text == "ignore":
        return Unlisted.IGNORE
    if "{" not in text and "}" not in text:
        raise Fault("is not known", 'write deny, ignore, or a template such as "{user}@example.com"')
    rest = text.replace("{user}", "", 1)
    if rest == text or "{" in rest or "}" in rest:
        raise Fault("is not a proper template", "write {user} once, and no other braces")
    if not rest.isprintable() or len(rest) >= 256:
        raise Fault("is no template for a token", "write a shorter one, without control characters")
    return Unlisted(template=text)


def service_name(text: str) -> str:
    if text != text.lower():
        raise Fault("is in capitals, but PAM turns service names to lower case", f"write {text.lower()}")
    if not text or not text.isprintable() or "/" in text or " " in text:
        raise Fault("cannot be a PAM service", "write the name of a file in /etc/pam.d")
    return text


def _one_of(values: list[str] | tuple[str, ...]) -> str:
    return f"{', '.join(values[:-1])} or {values[-1]}"
