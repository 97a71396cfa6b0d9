"""Converts the texts of settings to values.

Each function takes the text of one YAML scalar and returns the value, or raises InvalidValue. The last ones are about
texts from anywhere, such as a file of people.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Callable, ClassVar, TypeVar, Union

from pam_iampass.client.origin import InvalidOrigin, Origin
from pam_iampass.client.status import AuthenticationMethod

Network = Union[IPv4Network, IPv6Network]

METHODS = tuple(method.value for method in AuthenticationMethod)
"""The authentication methods of IAMPASS."""

LONGEST_TIMEOUT = 290
"""Seconds. A door waits at most 300 s; the rest is for ending the session and answering PAM."""

LONGEST_COOL_OFF = 900
"""Seconds: the maximum backoff after a refusal."""

LONGEST_SPACING = 30
"""Seconds: the maximum time between two requests."""

LONGEST_SESSION = 24 * 3600
"""Seconds: the longest that a session can be kept."""

LONGEST_BYPASS = 86400.0
"""Seconds: the longest that a bypass can last."""
_LONGEST_LINE = 200

_PHONE_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

_E = TypeVar("_E", bound=enum.Enum)


class InvalidValue(Exception):
    """A value that a setting does not accept."""

    def __init__(self, what: str, remedy: str, value: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        """The rest of a sentence that begins with the value: "is not a duration"."""
        self.remedy = remedy
        self.value = value
        """The value as it may be shown, if it holds a secret; None: as it was written."""


@dataclass(frozen=True)
class ValueType:
    """The values that a setting accepts."""

    description: str
    """The description for the reference page and for errors."""
    read: Callable[[str], Any]
    """Converts a text to a value. Raises InvalidValue."""
    example: str
    """A valid value, as written in the file."""
    many: bool = False
    """Whether the setting is a list of such values."""
    nullable: bool = False
    """Whether the setting accepts `null`."""


class Prompt(enum.Enum):
    """Whether the user must press Enter before the request is sent."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


#: The PAM services for which `unavailable: ignore` has an effect. Others are called by users, who can cause an outage
#: for themselves.
OUTAGE_SERVICES = ("sshd", "login")


class WhenUnavailable(enum.Enum):
    """The rule for logins while IAMPASS is unreachable."""

    DENY = "deny"
    IGNORE = "ignore"


class AskForCode(enum.Enum):
    """When a user is asked for a recovery code after the request, in applications without a prompt before it."""

    NEVER = "never"
    UNAVAILABLE = "unavailable"
    UNANSWERED = "unanswered"


class Approver(enum.Enum):
    """The rule for whose phone is asked."""

    USER = "user"
    CALLER = "caller"
    KEY = "key"
    LOGIN = "login"


@dataclass(frozen=True)
class SecondPerson:
    """Other people than the person who logs in, who are asked one after the other."""

    names: tuple[str, ...] = ()
    """Names of the user table, in this order."""
    group: str | None = None
    """A group of the machine; its members are asked in the order of their names."""
    allow_self: bool = False
    """Whether the person who logs in may be asked as well."""


class Otherwise(enum.Enum):
    """The rule where nothing names the person who must approve."""

    DENY = "deny"
    USER = "user"


class Enforcement(enum.Enum):
    """The action on a login when its session was ended, or when the phone is no longer near."""

    END = "end"
    LOCK = "lock"
    REVOKE = "revoke"


@dataclass(frozen=True)
class UnlistedUsers:
    """The rule for users who are not in the table."""

    ignore: bool = False
    """Whether the login continues without a second factor."""
    template: str | None = None
    """The token of such a user, with `{user}` for the user's name."""
    everybody: bool = False
    """Whether it is the token of users in the table, too."""

    DENY: ClassVar[UnlistedUsers]
    IGNORE: ClassVar[UnlistedUsers]

    def token_for(self, user: str) -> str | None:
        """The user's token from the template, not yet validated; None without a template."""
        return None if self.template is None else self.template.replace("{user}", user)


UnlistedUsers.DENY = UnlistedUsers()
UnlistedUsers.IGNORE = UnlistedUsers(ignore=True)


def choice(values: type[_E]) -> Callable[[str], _E]:
    """Reads a value of an enum."""

    def read(text: str) -> _E:
        try:
            return values(text)
        except ValueError:
            raise InvalidValue("is unknown", f"write {_one_of([each.value for each in values])}") from None

    return read


def method(text: str) -> str:
    if text not in METHODS:
        raise InvalidValue("is not a method of IAMPASS", f"write {_one_of(METHODS)}")
    return text


METHOD_LIST = ValueType(
    "a list of acceptance, device and facial", method, example="[acceptance, facial]", many=True
)


def duration_seconds(text: str) -> int:
    """The seconds of a duration, as settings and the command have them: 90s, 10m, 2h, 1d or 1w. Raises InvalidValue."""
    match = re.fullmatch("([0-9]{1,6})([a-z]*)", text)
    if not match or match[2] not in ("", *_UNITS):
        raise InvalidValue(
            "is not a duration", "write a whole number and s, m, h, d or w, such as 60s, 2m or 1h"
        )
    if not match[2]:
        raise InvalidValue("has no unit", f"write {text}s for seconds, {text}m for minutes")
    return int(match[1]) * _UNITS[match[2]]


def duration(shortest: int, longest: int) -> Callable[[str], float]:
    """Reads a duration in seconds, from `shortest` to `longest`."""

    def read(text: str) -> float:
        seconds = duration_seconds(text)
        if not shortest <= seconds <= longest:
            raise InvalidValue("is out of range", f"write a duration from {shortest}s to {longest}s")
        return float(seconds)

    return read


def boolean(text: str) -> bool:
    """`true` or `false`, but none of YAML's other words for them."""
    if text not in ("true", "false"):
        raise InvalidValue("is neither true nor false", "write true or false")
    return text == "true"


def number(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number, from `least` to `most`."""

    def read(text: str) -> int:
        remedy = f"write a number from {least} to {most}"
        if not re.fullmatch("[0-9]{1,6}", text):
            raise InvalidValue("is not a whole number", remedy)
        if not least <= int(text) <= most:
            raise InvalidValue("is out of range", remedy)
        return int(text)

    return read


def application_id(text: str) -> str:
    if not re.fullmatch("[!-~]{1,256}", text) or re.search("[/?#%:\\\\]", text) or text in (".", ".."):
        raise InvalidValue(
            "is not a valid application id", "copy the id that IAMPASS shows for your application"
        )
    return text


def absolute_path(text: str) -> Path:
    if not text.startswith("/"):
        raise InvalidValue("is not an absolute path", "write a path that begins with /")
    if not text.isprintable():
        raise InvalidValue("is a path with invisible characters", "rename the file")
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
        raise InvalidValue(invalid.problem, invalid.remedy) from None


def network(text: str) -> Network:
    remedy = "write an address and a prefix length, such as 192.0.2.0/24 or 2001:db8::/32"
    address, slash, prefix = text.partition("/")
    if "%" in text or (slash and not re.fullmatch("[0-9]{1,3}", prefix)):
        raise InvalidValue("is not a network", remedy)
    try:
        value = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidValue("is not a network", remedy) from None
    if str(value.network_address) != str(ipaddress.ip_address(address)):
        what = f"has bits set after the prefix of {prefix}"
        raise InvalidValue(what, f"write {value}, or {address} for that one address")
    return value


@dataclass(frozen=True)
class ExemptRule:
    """A user or a group that is exempt in one network."""

    text: str
    is_group: bool
    name: str
    network: Network


def exempt_rule(text: str) -> ExemptRule:
    """`user NAME from NETWORK` or `group NAME from NETWORK`."""
    match = re.fullmatch("(user|group) (.+) from ([^ ]+)", text)
    if match is None:
        raise InvalidValue("is not a rule", "write user NAME from NETWORK, or group NAME from NETWORK")
    return ExemptRule(text, match[1] == "group", account_name(match[2]), network(match[3]))


def account_name(text: str) -> str:
    """The name of a user or a group."""
    if text.startswith("!"):
        remedy = "list only exempt names: lists do not support exceptions"
        raise InvalidValue("is a negation, which is not supported", remedy)
    error = name_error(text)
    if error:
        raise InvalidValue(error, "write a name as getent passwd or getent group shows it")
    return text


USER_NAME = ValueType("a name of the user table", account_name, example="carol")


def unlisted_users(text: str) -> UnlistedUsers:
    if text == "deny":
        return UnlistedUsers.DENY
    if text == "ignore":
        return UnlistedUsers.IGNORE
    if "{" not in text and "}" not in text:
        raise InvalidValue("is unknown", 'write deny, ignore, or a template such as "{user}@example.com"')
    rest = text.replace("{user}", "", 1)
    if rest == text or "{" in rest or "}" in rest:
        raise InvalidValue("is not a valid template", "write {user} once, and no other braces")
    if not rest.isprintable() or len(rest) >= 256:
        raise InvalidValue("is not a template for a token", "write a shorter one, without control characters")
    return UnlistedUsers(template=text)


def service_name(text: str) -> str:
    if text != text.lower():
        raise InvalidValue("has capital letters, but PAM uses lower case", f"write {text.lower()}")
    if not text or not text.isprintable() or "/" in text or " " in text:
        raise InvalidValue("is not a valid PAM service name", "write the name of a file in /etc/pam.d")
    return text


def _one_of(values: list[str] | tuple[str, ...]) -> str:
    return f"{', '.join(values[:-1])} or {values[-1]}"


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""C0, DEL and C1; and lone surrogates, which cannot be encoded."""
LONGEST_NAME = 256
"""Maximum length of a name or a token, in characters."""


def token_error(token: str) -> str | None:
    """Why `token` cannot be a token, as the end of a sentence; None for a valid one.

    A token is part of the URL of a request: `.` and `..` would change the path.
    """
    if token in (".", ".."):
        return "would change the URL of the request"
    return _error(token)


def name_error(name: str) -> str | None:
    """Why `name` cannot be the name of a user or a group, as the end of a sentence; None for a valid one."""
    if "/" in name:
        return "contains a slash"
    return _error(name)


def _error(text: str) -> str | None:
    if not text:
        return "is empty"
    if len(text) > LONGEST_NAME:
        return f"has {len(text)} characters; the maximum is {LONGEST_NAME}"
    if not text.isprintable() and _CONTROL.search(text):
        return "contains a control character"
    return None


def phone_number(text: str) -> str:
    """The number in the form that IAMPASS requires (E.164), without spaces and punctuation.

    Raises ValueError, whose text completes a sentence about the number.
    """
    number = re.sub(r"[ ()./-]", "", text)
    if not _PHONE_NUMBER.fullmatch(number):
        raise ValueError("is not a phone number with + and country code, such as +1 555 123 4567")
    return number


def plain_name(text: str) -> str:
    """The name, if the app can display it. Raises ValueError, whose text completes a sentence about the name."""
    if len(text) > 100:
        raise ValueError("is longer than 100 characters")
    if not text.isprintable():
        raise ValueError("contains invisible characters")
    return text


_MAIL_ADDRESS = re.compile(
    r"[A-Za-z0-9_]([A-Za-z0-9_+='~-]|\.(?!\.|@)){0,63}"
    r"@(?=.{1,253}\Z)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)


def mail_address(text: str) -> str:
    """The address of one mailbox (RFC 5321), as programs that send mail take it for nothing else: no quotes, comments
    or further addresses, no file, program or route. Raises ValueError, whose text completes a sentence about it."""
    if not text.isascii():
        raise ValueError("has letters outside of ASCII; write the domain as xn--…")
    if len(text) > 254 or not _MAIL_ADDRESS.fullmatch(text):
        raise ValueError("is not one plain mail address, such as alice@example.com")
    return text


_PORTS = {"https": 443, "http": 80}
"""Ports that browsers leave out of an origin."""


def web_origin(text: str) -> str:
    """The origin of the portal in the form in which browsers send it (WHATWG URL): the two are compared as texts."""
    remedy = "write for example https://iampass.example.com"
    if not text.isascii():
        raise InvalidValue("has letters that browsers send as xn--…", "write the name in that form")
    match = re.fullmatch(r"(https?)://([a-z0-9.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?/?", text.lower())
    if match is None:
        raise InvalidValue("is not https://, a host name and perhaps a port", remedy)
    scheme, host, port = match[1], match[2], int(match[3] or _PORTS[match[1]])
    labels = host.split(".")
    if host.startswith("[") or re.fullmatch("[0-9]+|0x[0-9a-f]*", labels[-1]):
        raise InvalidValue("has an IP address, for which browsers make no passkeys", remedy)
    valid = all(re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", label) for label in labels)
    if not valid or len(host) > 253 or not 0 < port < 65536:
        raise InvalidValue("has no valid host name and port", remedy)
    sent = f"{scheme}://{host}" if port == _PORTS[scheme] else f"{scheme}://{host}:{port}"
    if scheme == "http" and host != "localhost":
        what = "is not encrypted: browsers make passkeys over http for localhost only"
        raise InvalidValue(what, "write the https address of the portal")
    if text != sent:
        raise InvalidValue("is not written as browsers send it", f"write {sent}")
    return text


def listen_address(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})", text)
    if not match or not 0 < int(match[3]) < 65536:
        raise InvalidValue("is not an address with a port", "write for example 0.0.0.0:8443 or [::]:8443")
    return match[1] or match[2], int(match[3])


def address_of_machine(text: str) -> str | None:
    """An address in its one form; None if it is none, or one that every machine has."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    address = getattr(address, "ipv4_mapped", None) or address
    is_everywhere = address.is_loopback or address.is_link_local or address.is_unspecified
    return None if is_everywhere or address.is_multicast else str(address)


def line_error(text: str) -> str | None:
    """Why this cannot be a text that others read in terminals, spreadsheets and pages, such as the reason of a bypass,
    as the end of a sentence; None for a valid one."""
    if not text.strip() or not text.isprintable() or len(text) > _LONGEST_LINE:
        return f"is not a text of one line and at most {_LONGEST_LINE} characters"
    return None
