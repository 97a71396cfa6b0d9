"""The one server that is talked to, and which URLs belong to it."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import quote_plus

_HTTPS = 443
# Only what goes over the wire unchanged: no user info, fragment, backslash, space, control or non-ASCII
# character.
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
    r"(?P<netloc>(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?)"
    r"(?P<target>/[!-\"$-\[\]-~]*)?"
)


@dataclass(frozen=True)
class Origin:
    """Host (lower case, without brackets) and port of an https or a proxy's http URL."""

    host: str
    port: int

    @classmethod
    def of(cls, server: str) -> Origin:
        """The origin that `server` names: https, host, perhaps a port, nothing else. Raises ValueError."""
        origin, target = _split(server, "https", _HTTPS)
        if target not in ("", "/"):
            raise ValueError("server: only https://HOST or https://HOST:PORT, without a path")
        return origin

    @classmethod
    def of_proxy(cls, proxy: str) -> Origin:
        """The origin of a proxy: `http://HOST:PORT` and nothing else. Raises ValueError."""
        origin, target = _split(proxy, "http", 0)
        if target not in ("", "/") or not origin.port:
            raise ValueError("proxy: only http://HOST:PORT")
        return origin

    @property
    def bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def authority(self) -> str:
        """`HOST:PORT`, always with the port."""
        return f"{self.bracketed}:{self.port}"

    @property
    def url(self) -> str:
        """The shortest URL of this https origin, without a slash at its end."""
        return f"https://{self.bracketed if self.port == _HTTPS else self.authority}"

    def owns(self, url: str) -> bool:
        """Is this a URL of this very server that can be sent exactly as it stands?"""
        try:
            origin, target = _split(url, "https", _HTTPS)
        except ValueError:
            return False
        return origin == self and target != ""


def split_for_wire(url: str) -> tuple[str, str]:
    """The `Host` header and the request's target of a URL, each exactly as the URL has it."""
    match = _URL.fullmatch(url)
    if match is None or not match["target"]:
        raise ValueError("a URL that cannot be sent as it stands")
    return match["netloc"], match["target"]


def path_segment(user_id: str) -> str:
    """A user id as it stands in a path. Raises TypeError, or ValueError for one that would name another
    path."""
    if not isinstance(user_id, str):
        raise TypeError("user_id must be text")
    if user_id in ("", ".", ".."):
        raise ValueError("user_id must not be empty, «.» or «..»")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in user_id):
        raise ValueError("user_id must not hold control characters or lone surrogates")
    return quote_plus(user_id)


def _split(url: str, scheme: str, default_port: int) -> tuple[Origin, str]:
    match = _URL.fullmatch(url)
    if match is None or match["scheme"].lower() != scheme:
        raise ValueError(f"not a plain {scheme}://HOST… URL")
    port = int(match["port"]) if match["port"] else default_port
    if port > 65535 or (match["port"] and port == 0):
        raise ValueError("no such port")
    return Origin(_normal_host(match["host"]), port), match["target"] or ""


def _normal_host(host: str) -> str:
    if host.startswith("["):
        return ipaddress.IPv6Address(host[1:-1]).compressed
    # The codec that socket uses raises for a label that is empty or too long; better now than in the middle
    # of a call.
    host.encode("idna")
    return host.lower()
