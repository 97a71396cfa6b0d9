"""Times as they are typed and said."""

from __future__ import annotations

import click
import pytest

from pam_iampass.cli.enroll_options import Duration, in_words


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1.0), ("90s", 90.0), ("10m", 600.0), ("2h", 7200.0)])
def test_times_with_their_unit(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "10", "0s", "-1s", "1.5m", "1d", "1 m", "9999999s", "١s"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no time with its unit"):
        Duration().convert(text, None, None)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1.0, "1 second"), (90.0, "90 seconds"), (60.0, "1 minute"), (600.0, "10 minutes"), (7200.0, "2 hours")],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
