"""Points in time and durations as people type them, and durations in words."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import click
import pytest

from pam_iampass.cli.output import duration
from pam_iampass.cli.parameters import DURATION, POINT_IN_TIME, SHORT_DURATION, point_in_time

HERE = timezone(timedelta(hours=1))
NOW = datetime(2026, 11, 24, 17, 42, 3, 5, HERE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("2h", NOW - timedelta(hours=2)),
        ("7d", NOW - timedelta(days=7)),
        ("7 days ago", NOW - timedelta(days=7)),
        ("5 min ago", NOW - timedelta(minutes=5)),
        ("1 week", NOW - timedelta(weeks=1)),
        ("1h 30min ago", NOW - timedelta(minutes=90)),
        ("now", NOW),
        ("today", datetime(2026, 11, 24, tzinfo=HERE)),
        ("yesterday", datetime(2026, 11, 23, tzinfo=HERE)),
        ("09:05", datetime(2026, 11, 24, 9, 5, tzinfo=HERE)),
        ("yesterday 18:00", datetime(2026, 11, 23, 18, tzinfo=HERE)),
        ("today 08:30:01", datetime(2026, 11, 24, 8, 30, 1, tzinfo=HERE)),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=HERE)),
        ("2026-11-01 08:30", datetime(2026, 11, 1, 8, 30, tzinfo=HERE)),
        ("2026-11-01T08:30:01+00:00", datetime(2026, 11, 1, 8, 30, 1, tzinfo=timezone.utc)),
    ],
)
def test_a_time_is_understood(text: str, expected: datetime) -> None:
    assert point_in_time(text, NOW) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2",
        "2y",
        "-2h",
        "soon",
        "25:00",
        "2026-13-01",
        "999999w",
        "ago",
        "now ago",
        "2 days hence",
        "1 month ago",
    ],
)
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is not a point in time such as"):
        point_in_time(text, NOW)
    with pytest.raises(click.BadParameter, match="is not a point in time such as"):
        POINT_IN_TIME.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("1s", 1), ("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400)),
        *(("1 m", 60), ("90 seconds", 90), ("2 hours", 7200), ("1h30m", 5400), ("1000ms", 1)),
    ],
)
def test_times_with_their_unit(text: str, seconds: int) -> None:
    found = DURATION.convert(text, None, None)
    assert (found, type(found)) == (seconds, int)


def test_a_short_time_is_understood_where_parts_of_a_second_count() -> None:
    assert SHORT_DURATION.convert("500ms", None, None) == 0.5
    assert SHORT_DURATION.convert("2 min", None, None) == 120


@pytest.mark.parametrize("text", ["", "10", "0s", "-1s", "1.5m", "1y", "9999999s", "١s", "1h 30", "m", "1 M"])
def test_what_is_no_time(text: str) -> None:
    for times in (DURATION, SHORT_DURATION):
        with pytest.raises(click.BadParameter, match="is not a duration such as"):
            times.convert(text, None, None)


def test_a_part_of_a_second_is_no_time_elsewhere() -> None:
    with pytest.raises(click.BadParameter, match="is not a whole number of seconds"):
        DURATION.convert("500ms", None, None)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1.0, "1 second"), (90.0, "90 seconds"), (60.0, "1 minute"), (600.0, "10 minutes"), (7200.0, "2 hours")],
)
def test_times_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words
