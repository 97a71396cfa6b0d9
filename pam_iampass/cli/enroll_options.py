"""What the options of `pam-iampass enroll` may be."""

from __future__ import annotations

import re
from typing import Any

import click

from pam_iampass.enrollment.request import display_name_fault, phone_number

_UNITS = {"s": 1, "m": 60, "h": 3600}


class Duration(click.ParamType):
    """A time with its unit; seconds as a number."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Whole seconds, minutes or hours."""
        if isinstance(value, float):
            return value
        found = re.fullmatch("([0-9]{1,6})([smh])", value)
        if not found or int(found[1]) == 0:
            self.fail(f"{value!r} is no time with its unit, such as 90s, 10m or 2h", param, ctx)
        return float(int(found[1]) * _UNITS[found[2]])


class PhoneNumber(click.ParamType):
    """A phone number, as people write it."""

    name = "NUMBER"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The number with nothing but + and digits."""
        try:
            return phone_number(value)
        except ValueError as fault:
            self.fail(f"{value!r} {fault}", param, ctx)


class DisplayName(click.ParamType):
    """What the app shows."""

    name = "NAME"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name as it is."""
        fault = display_name_fault(value)
        if fault:
            self.fail(fault, param, ctx)
        return value


def in_words(seconds: float) -> str:
    """A time as a person says it: `90 seconds`, `10 minutes`, `1 hour`."""
    for unit, size in (("hour", 3600), ("minute", 60)):
        if seconds >= size and seconds % size == 0:
            number = int(seconds // size)
            return f"{number} {unit}" + ("" if number == 1 else "s")
    return f"{seconds:.0f} second" + ("" if seconds == 1 else "s")
