"""A plot of logins by hour and outcome: the heights of its bars, and the rows of the table behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

HOURS = 48
"""The hours of a plot, unless others are wanted."""
HEIGHT = 100.0
WIDTH = 10
"""The width of an hour. The lengths have no unit: the plot is as wide as the page has room for it."""
LOOKS = ("yes", "quiet", "no")
"""The kinds of outcomes: approved on the phone, let in otherwise, not let in."""
_KIND = {"approved": 0, "recovered": 1, "bypassed": 1, "covered": 1, "exempt": 1}
"""The kind of each outcome; all others let nobody in."""
_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Part:
    """A part of a bar, from the top of the plot."""

    look: str
    top: float
    height: float


@dataclass(frozen=True)
class Bar:
    """One hour."""

    hour: datetime
    x: int
    counts: tuple[int, ...]
    """The number of logins of each kind."""
    parts: Sequence[Part]

    @property
    def end(self) -> datetime:
        return self.hour + _HOUR


@dataclass(frozen=True)
class Plot:
    """The bars of the last hours, the oldest first."""

    bars: Sequence[Bar]
    most: int
    """The logins of the hour that has the most."""

    @property
    def totals(self) -> tuple[int, ...]:
        return tuple(map(sum, zip(*(bar.counts for bar in self.bars))))


def plot(rows: Sequence[Mapping[str, Any]], now: datetime, hours: int = HOURS) -> Plot:
    """The plot of rows with `hour` and the number of `logins` by outcome, up to the hour of `now`."""
    last = now.astimezone(timezone.utc).replace(minute=0, second=0, microsecond=0)
    counts = {last - _HOUR * back: [0] * len(LOOKS) for back in reversed(range(hours))}
    for row in rows:
        found = counts.get(datetime.fromisoformat(row["hour"]).astimezone(timezone.utc))
        if found is not None:
            for outcome, number in row["logins"].items():
                found[_KIND.get(outcome, 2)] += number
    most = max(map(sum, counts.values()))
    bars = [
        Bar(hour, WIDTH * place, tuple(each), _parts(each, most))
        for place, (hour, each) in enumerate(counts.items())
    ]
    return Plot(bars, most)


def _parts(counts: Sequence[int], most: int) -> list[Part]:
    parts, top = list[Part](), HEIGHT
    for look, count in zip(LOOKS, counts):
        if count:
            height = HEIGHT * count / most
            top -= height
            parts.append(Part(look, round(top, 2), round(height, 2)))
    return parts
