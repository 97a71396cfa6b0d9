"""A recovery code as text: 80 random bits in four groups of four, for people to read and type.

The alphabet is that of Crockford's Base32 in lower case: no i, l, o and u. What is typed may be in capitals, with or
without dashes and spaces; i and l are read as 1, o as 0.
"""

from __future__ import annotations

import os

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 16
"""Characters of 5 bits."""
GROUP = 4

_READ = {ord("i"): "1", ord("l"): "1", ord("o"): "0", ord("-"): None, ord(" "): None}


def make() -> str:
    """A new code, as it is stored and compared: without dashes."""
    number = int.from_bytes(os.urandom(LENGTH * 5 // 8), "big")
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(LENGTH)))


def shown(code: str) -> str:
    """A code as a person reads it: `xxxx-xxxx-xxxx-xxxx`."""
    return "-".join(code[place : place + GROUP] for place in range(0, LENGTH, GROUP))


def read(text: str) -> str | None:
    """The code that somebody typed; None where the text is not shaped like one, and so no attempt.

    What sshd answers in the place of a person whom it has refused is not (`conversation.SSHD_REFUSED`).
    """
    if len(text) > 4 * LENGTH or not text.isascii():
        return None
    code = text.lower().translate(_READ)
    return code if len(code) == LENGTH and set(code) <= set(ALPHABET) else None
