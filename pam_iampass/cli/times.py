"""A point in time as an argument: `2h` ago, `today`, or a date."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import click

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def point_in_time(text: str, now: datetime) -> datetime:
    """The time that `text` means, in the time zone of `now`. Raises ValueError.

    Understood are `30m` and the like (s, m, h, d, w before now), `now`, `today`, `yesterday`, `17:30` (of
    today), `2026-11-24` and `2026-11-24 17:30`, with seconds and an offset such as `+01:00` where one likes.
    """
    ago = re.fullmatch("([0-9]{1,6})([smhdw])", text)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    words = {"now": now, "today": midnight, "yesterday": midnight - timedelta(days=1)}
    try:
        if ago:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        if text in words:
            return words[text]
        if re.fullmatch("[0-9]{2}:[0-9]{2}(:[0-9]{2})?", text):
            text = f"{now:%Y-%m-%d} {text}"
        found = datetime.fromisoformat(text)
    except OverflowError:
        raise ValueError(text) from None
    return found if found.tzinfo else found.replace(tzinfo=now.tzinfo)


class PointInTime(click.ParamType):
    """Makes a datetime with a time zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return point_in_time(value, datetime.now().astimezone())
        except ValueError:
            examples = "write for example 2h, 7d, today, yesterday, 17:30 or 2026-11-24"
            self.fail(f"{value!r} is no time; {examples}", param, ctx)
