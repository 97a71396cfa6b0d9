"""Which texts can be a user name or a token."""

from __future__ import annotations

LONGEST = 256
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
    if len(text) > LONGEST:
        return f"has {len(text)} characters; the maximum is {LONGEST}"
    if not text.isprintable() and any(map(_is_control, text)):
        return "contains a control character"
    return None


def _is_control(character: str) -> bool:
    """C0, DEL and C1; and lone surrogates, which cannot be encoded."""
    code = ord(character)
    return code < 0x20 or 0x7F <= code <= 0x9F or 0xD800 <= code <= 0xDFFF
