"""The request target exactly as it was sent: nothing is decoded, collapsed or normalised before its time.

A user id may hold ``/`` or be ``..``; a path that was tidied up would be another user's.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote_plus, unquote_plus

from pam_iampass.sandbox.errors import bad_request


@dataclass(frozen=True)
class Target:
    """A raw path, cut at its slashes, and a raw query."""

    segments: tuple[str, ...]
    """What stands between the slashes, still quoted, without the empty text before the first."""
    query: str
    """What follows the first question mark; empty where there is none."""

    @classmethod
    def parse(cls, raw: str) -> Target:
        """Cut the target of a request line; a path that does not start with a slash is one segment."""
        path, _, query = raw.partition("?")
        segments = path[1:].split("/") if path.startswith("/") else [path]
        return cls(tuple(segments), query)

    def parameters(self, allowed: frozenset[str]) -> dict[str, str]:
        """The decoded query. Raises Refusal (400) for an unknown, repeated, empty or malformed parameter."""
        found: dict[str, str] = {}
        for pair in self.query.split("&") if self.query else ():
            name, equals, value = pair.partition("=")
            if name not in allowed:
                raise bad_request("UNKNOWN_PARAMETER", f"this call has no parameter {name!r}")
            if name in found:
                raise bad_request("REPEATED_PARAMETER", f"{name} is there twice")
            if not equals or not value:
                raise bad_request("EMPTY_PARAMETER", f"{name} has no value")
            found[name] = decoded(value)
        return found


def decoded(quoted: str) -> str:
    """Undo form-quoting. Raises Refusal (400) where the bytes are not UTF-8."""
    try:
        return unquote_plus(quoted, errors="strict")
    except UnicodeDecodeError:
        raise bad_request("BAD_QUOTING", "quoted text must be UTF-8") from None


def user_id(segment: str) -> str:
    """The user id of a path segment, which must be quoted as ``quote_plus`` does (a space is ``+``)."""
    user = decoded(segment)
    if not user or quote_plus(user) != segment:
        raise bad_request("BAD_QUOTING", "the user id must be form-quoted, as quote_plus does it")
    return user
