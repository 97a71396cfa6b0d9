"""The polls of kept sessions: spread over time, and few while IAMPASS cannot be reached."""

from __future__ import annotations

import random
from collections import Counter

from pam_iampass.client.errors import NotFound, Unavailable
from pam_iampass.session.schedule import FAILURES, LONGEST_PAUSE, PAUSE, Pacing, PollBudget

CHECK = 30.0
COUNT = 3000


def most_at_once(times: list[float]) -> float:
    """The most polls of one second, in relation to an even spread."""
    return max(Counter(int(at) for at in times).values()) / (len(times) / CHECK)


def test_sessions_that_begin_together_are_not_polled_together() -> None:
    pacing = Pacing(random.Random(1).random)
    first = [pacing.first(100.0, CHECK) for _ in range(COUNT)]
    assert all(100.0 <= at <= 130.0 for at in first)
    assert most_at_once(first) < 1.5
    assert most_at_once([pacing.next(at, at + 0.2, CHECK) for at in first]) < 1.5


def test_a_session_keeps_its_place_unless_it_is_late() -> None:
    pacing = Pacing(lambda: 0.5)
    assert pacing.next(100.0, 101.0, CHECK) == 130.0
    assert pacing.next(100.0, 160.0, CHECK) == 175.0


def test_polls_pause_while_iampass_cannot_be_reached_and_are_spread_afterwards() -> None:
    pacing = Pacing(random.Random(1).random)
    for _ in range(FAILURES - 1):
        pacing.failed(Unavailable("poll"), 100.0)
    assert pacing.paused_until == 0.0
    pacing.failed(Unavailable("poll"), 100.0)
    assert pacing.paused_until == 100.0 + PAUSE
    after = [pacing.postponed(100.0, CHECK) for _ in range(COUNT)]
    assert min(after) >= 100.0 + PAUSE
    assert most_at_once([at - PAUSE for at in after]) < 1.5
    pacing.answered()
    assert pacing.paused_until == 0.0


def test_an_answer_about_one_session_does_not_stop_the_polls_of_others() -> None:
    pacing = Pacing()
    for _ in range(10):
        pacing.failed(NotFound("poll"), 100.0)
        pacing.failed(Unavailable("poll", status=500), 100.0)
        pacing.failed(ValueError("another server"), 100.0)
    assert pacing.paused_until == 0.0


def test_iampass_can_ask_for_a_pause() -> None:
    """That of one session, and of all only if it asks several times in a row; never a long one."""
    pacing = Pacing()
    assert pacing.failed(Unavailable("poll", status=429, retry_after=900.0), 100.0) == LONGEST_PAUSE
    assert pacing.failed(Unavailable("poll", status=429, retry_after=20.0), 100.0) == 20.0
    assert pacing.paused_until == 0.0
    pacing.failed(Unavailable("poll", status=503, retry_after=float("inf")), 100.0)
    assert pacing.paused_until == 100.0 + LONGEST_PAUSE
    pacing.answered()
    pacing.failed(Unavailable("poll", status=429, retry_after=20.0), 200.0)
    assert pacing.paused_until == 0.0


def test_after_a_stall_polls_catch_up_slowly() -> None:
    budget, begun = PollBudget(), []
    budget.refill(100.0, 160.0)
    for step in range(1, 31):
        budget.refill(160.0 + step / 10, 160.0)
        taken = 0
        while budget.take():
            budget.done()
            taken += 1
        begun.append(taken)
    assert begun[0] == 105  # of half a second at most, whatever the stall
    assert set(begun[1:]) <= {20, 21, 22}


def test_polls_that_do_not_get_on_are_not_followed_by_more() -> None:
    budget = PollBudget()
    budget.refill(100.0, 160.0)
    assert sum(budget.take() for _ in range(1000)) == 105
    budget.refill(200.0, 160.0)
    assert not budget.take()
    budget.done()
    assert [budget.take(), budget.take()] == [True, False]
