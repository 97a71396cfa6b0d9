"""Who is to be enrolled."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PHONE_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")


@dataclass(frozen=True)
class Applicant:
    """Somebody who is to be enrolled, with what was said about them."""

    user: str
    """The user's name, as it was written."""
    token: str | None = None
    phone_number: str | None = None
    """Where to send the registration link; None: it is shown."""
    display_name: str | None = None
    """What the IAMPASS app shows to the person."""
    line: int | None = None
    """Where it stands in a file of many."""


def phone_number(text: str) -> str:
    """A number in the form that IAMPASS takes (E.164), without the spaces and so on that people write into it.

    Raises ValueError, whose text is the end of a sentence.
    """
    number = re.sub(r"[ ()./-]", "", text)
    if not _PHONE_NUMBER.fullmatch(number):
        raise ValueError("is no phone number with + and the country's code, such as +1 555 123 4567")
    return number


def display_name_fault(text: str) -> str | None:
    """Why this cannot be shown as a name, as the end of a sentence, or None where it can."""
    if len(text) > 100:
        return "is longer than 100 characters"
    return None if text.isprintable() else "holds characters that cannot be seen"
