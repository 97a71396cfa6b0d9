"""How many logins of a person may wait at a gateway."""

from __future__ import annotations

import pytest

pytest.importorskip("psycopg")

from pam_iampass.gateway.requests import turns
from pam_iampass.gateway.requests.turns import Turns
from pam_iampass.login.throttle import MOST_PENDING, Cause, Pending, Refusal, ThrottleState
from tests.support.gateway import LIMITS

NOW = 100_000.0


@pytest.mark.parametrize("is_usual", [False, True])
def test_logins_from_many_origins_take_a_third_of_the_places_on_one_host(is_usual: bool) -> None:
    state = ThrottleState()

    def come(number: int, host: str, is_usual: bool) -> ThrottleState | Refusal:
        origin, ident = f"origin {number}", f"{host} {number}"
        login = Pending(origin, ident, NOW, NOW, NOW + 60.0, host=host, is_usual=is_usual)
        return turns.joined(Turns("alice", state, NOW), login, LIMITS)

    for number in range(MOST_PENDING // 3):
        found = come(number, "web17", is_usual)
        assert isinstance(found, ThrottleState)
        state = found
    assert come(-1, "web17", is_usual) == Refusal(Cause.AT_CAPACITY)
    assert isinstance(come(-1, "web17", not is_usual), ThrottleState)
    assert isinstance(come(-1, "web18", is_usual), ThrottleState)
