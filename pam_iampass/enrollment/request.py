"""A request to enroll a user."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass

_PHONE_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")


@dataclass(frozen=True)
class EnrollmentRequest:
    """A user to enroll."""

    user: str
    """The user name as typed."""
    token: str | None = None
    phone_number: str | None = None
    """The number that the registration link is sent to; None to show the link."""
    display_name: str | None = None
    """The name that the IAMPASS app shows."""
    line: int | None = None
    """The line in the file of requests."""


def default_display_name(user: str) -> str:
    """The name that the app shows if none is given: several machines may have a user of that name."""
    return f"{user}@{platform.node()}"


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
