"""The origin (RFC 6454) of the server or of a proxy, and which URLs belong to it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_PORTS = {"https": 443}
"""Ports that an URL need not name."""
_AUTHORITY = re.compile(r"(?P<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile("[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
# Only what is sent unchanged: no fragment, backslash, space, control or non-ASCII character.
_URL = re.compile(r"[Hh][Tt][Tt][Pp][Ss]://(?P<authority>[^/?#@\\\s]+)(?P<target>/[!-\"$-\[\]-~]*)")


class InvalidOrigin(ValueError):
    """A text that does not name an origin."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"the origin {problem}; {remedy}")
        self.problem = problem
        """The end of a sentence that begins with the text: "has a path"."""
        self.remedy = remedy


@dataclass(frozen=True)
class Origin:
    """Scheme, host (lower case, without brackets) and port."""

    scheme: str
    host: str
    port: int
    gateways: bool = False
    """Whether it stands for several servers (`Gateways`) that each answer all calls."""

    @classmethod
    def of(cls, server: str) -> Origin:
        """The origin in `https://HOST[:PORT]`. Raises InvalidOrigin."""
        return _parse(server, "https", "https://iam-api.com")

    @classmethod
    def of_proxy(cls, proxy: str) -> Origin:
        """The origin in `http://HOST:PORT`. Raises InvalidOrigin."""
        return _parse(proxy, "http", "http://proxy.example.com:3128")

    @property
    def authority(self) -> str:
        """`HOST:PORT`, always with the port."""
        return f"{self._bracketed}:{self.port}"

    @property
    def url(self) -> str:
        """The shortest URL of this origin, without a slash at its end."""
        default = self.port == _PORTS.get(self.scheme)
        return f"{self.scheme}://{self._bracketed if default else self.authority}"

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def owns(self, url: str) -> bool:
        """Whether this is a URL of this https origin that can be sent exactly as it is.

        Of a URL of gateways only path and query are used: any host is theirs.
        """
        try:
            server = f"https://{split_for_wire(url)[0]}"
            return self.gateways or server == self.url or self.of(server) == self
        except ValueError:
            return False


def split_for_wire(url: str) -> tuple[str, str]:
    """The `Host` header and the request target of an https URL, each exactly as in the URL. Raises ValueError."""
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError("a URL that cannot be sent as it is")
    return match["authority"], match["target"]


def _parse(text: str, scheme: str, example: str) -> Origin:
    given, _, rest = text.partition("://")
    if given.lower() != scheme or not text[len(scheme) :].startswith("://"):
        raise InvalidOrigin(f"is not an {scheme} URL", f"write for example {example}")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        raise InvalidOrigin("contains a user name or password", f"write the host alone, such as {example}")
    if rest not in (authority, f"{authority}/"):
        raise InvalidOrigin("has a path", f"write it without one: {scheme}://{authority}")
    match = _AUTHORITY.fullmatch(authority)
    port = int(match["port"] or _PORTS.get(scheme, 1)) if match else 0
    host = _normal_host(match["host"]) if match else None
    if match is None or host is None or not 1 <= port <= 65535:
        raise InvalidOrigin("has no valid host and port", f"write for example {example}")
    if match["port"] is None and scheme not in _PORTS:
        raise InvalidOrigin("has no port", f"write for example {scheme}://{authority.lower()}:3128")
    return Origin(scheme, host, port)


def _normal_host(host: str) -> str | None:
    if not host.startswith("["):
        return host.lower() if all(_LABEL.fullmatch(label) for label in host.split(".")) else None

    try:
        return ipaddress.IPv6Address(host[1:-1]).compressed
    except ValueError:
        return None
