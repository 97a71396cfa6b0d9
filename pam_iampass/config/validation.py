"""What a user's name and a token may look like, wherever they stand."""

from __future__ import annotations

LONGEST = 256
"""Characters of a name or a token, at most."""


def token_fault(token: str) -> str | None:
    """Why `token` cannot be a token, as the end of a sentence, or None where it can.

    A token stands in the path of a request: `.` and `..` would turn it into the path of another one.
    """
    if token in (".", ".."):
        return "would change the address that is called"
    return _fault(token)


def name_fault(name: str) -> str | None:
    """Why `name` cannot be the name of a user or a group, as the end of a sentence, or None where it can."""
    if "/" in name:
        return "holds a slash"
    return _fault(name)


def _fault(text: str) -> str | None:
    if not text:
        return "is empty"
    if len(text) > LONGEST:
        return f"has {len(text)} characters, {LONGEST} is the most"
    if not text.isprintable() and any(map(_is_control, text)):
        return "holds a control character"
    return None


def _is_control(character: str) -> bool:
    """C0, DEL and C1; and lone surrogates, which cannot be sent to anybody."""
    code = ord(character)
    return code < 0x20 or 0x7F <= code <= 0x9F or 0xD800 <= code <= 0xDFFF
