"""Points in time as people type them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from pam_iampass.cli.times import point_in_time

HERE = timezone(timedelta(hours=1))
NOW = datetime(2026, 11, 24, 17, 42, 3, 5, HERE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("30m", NOW - timedelta(minutes=30)),
        ("2h", NOW - timedelta(hours=2)),
        ("7d", NOW - timedelta(days=7)),
        ("2w", NOW - timedelta(days=14)),
        ("now", NOW),
        ("today", datetime(2026, 11, 24, tzinfo=HERE)),
        ("yesterday", datetime(2026, 11, 23, tzinfo=HERE)),
        ("09:05", datetime(2026, 11, 24, 9, 5, tzinfo=HERE)),
        ("09:05:07", datetime(2026, 11, 24, 9, 5, 7, tzinfo=HERE)),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=HERE)),
        ("2026-11-01 08:30", datetime(2026, 11, 1, 8, 30, tzinfo=HERE)),
        ("2026-11-01T08:30:01", datetime(2026, 11, 1, 8, 30, 1, tzinfo=HERE)),
        ("2026-11-01T08:30:01+00:00", datetime(2026, 11, 1, 8, 30, 1, tzinfo=timezone.utc)),
    ],
)
def test_a_time_is_understood(text: str, expected: datetime) -> None:
    assert point_in_time(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "2", "2y", "-2h", "soon", "25:00", "2026-13-01", "999999w", "2 h"])
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - it is the argument's, whatever it says
        point_in_time(text, NOW)
