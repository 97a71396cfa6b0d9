"""When polls come: the promises on latency and on the number of polls, worked out over every moment of approval."""

from __future__ import annotations

import statistics

import pytest

from pam_iampass.login.approval import SHORT_INTERVAL, next_poll

POLL = 0.05
"""Seconds that a poll takes, at most: what a person waits is the time until the next poll, and the poll."""


def moments(timeout: float) -> list[float]:
    """All polls of a login that nobody answers."""
    found: list[float] = []
    moment = next_poll(None, timeout)
    while moment is not None:
        found.append(moment)
        moment = next_poll(moment, timeout)
    return found


def waits(polls: list[float], begin: float, end: float) -> list[float]:
    """How long an approval waits for its poll, for approvals spread evenly from `begin` to `end`."""
    instants = [begin + (end - begin) * step / 2000 for step in range(2000)]
    return [min(poll for poll in polls if poll >= instant) - instant for instant in instants]


def test_half_of_the_early_approvals_are_seen_within_0_35_s_and_most_within_0_7_s() -> None:
    seen = waits(moments(60), 1.0, 20)
    assert statistics.median(seen) <= 0.35 - POLL
    assert statistics.quantiles(seen, n=20)[18] <= 0.7 - POLL


def test_what_is_answered_after_five_seconds_is_seen_by_the_fifth_poll() -> None:
    assert len([moment for moment in moments(60) if moment < 5.02]) == 4


def test_a_later_approval_is_seen_within_a_second() -> None:
    assert statistics.median(waits(moments(60), 20, 59)) <= 1.0


@pytest.mark.parametrize("timeout", [1, 2, 5, 10, 30, 45, 60])
def test_there_are_at_most_54_polls_in_a_minute(timeout: float) -> None:
    assert 1 <= len(moments(timeout)) <= 54


@pytest.mark.parametrize("timeout", [2, 5, 20, 60, 290])
def test_the_last_poll_is_as_late_as_its_answer_can_count(timeout: float) -> None:
    assert moments(timeout)[-1] == pytest.approx(timeout - 0.4)
    assert moments(timeout)[0] >= 1


def test_a_slow_server_is_not_hurried() -> None:
    assert next_poll(7.0, 60) == pytest.approx(7.0 + SHORT_INTERVAL)
    assert next_poll(59.7, 60) is None


def test_logins_that_began_together_do_not_all_ask_together_at_the_end() -> None:
    lasts = []
    for step in range(100):
        moment = next_poll(None, 30, 6.0, step / 100)
        while moment is not None:
            last, moment = moment, next_poll(moment, 30, 6.0, step / 100)
        lasts.append(last)
    assert max(lasts) - min(lasts) > 2
    assert min(lasts) > 25
