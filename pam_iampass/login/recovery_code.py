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
    """A new code, without dashes, as it is hashed and compared."""
    number = int.from_bytes(os.urandom(LENGTH * 5 // 8), "big")
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(LENGTH)))


def shown(code: str) -> str:
    """A code in the form for people: `xxxx-xxxx-xxxx-xxxx`."""
    return "-".join(code[place : place + GROUP] for place in range(0, LENGTH, GROUP))


def read(text: str) -> str | None:
    """The code that was typed, None where the text does not have the form of one and so is no attempt.

    sshd's answer for a person whom it has refused (`conversation.SSHD_REFUSED`) does not have it.
    """
    if len(text) > 4 * LENGTH or not text.isascii():
        return None
    code = text.lower().translate(_READ)
    return code if len(code) == LENGTH and set(code) <= set(ALPHABET) else None
