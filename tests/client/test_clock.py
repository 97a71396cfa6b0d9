"""A clock that is off is worked around once, and named."""

from __future__ import annotations

import email.utils

import pytest

from pam_iampass.client import Refused, Unavailable
from tests.client.talk import USER, api_to, polled, session_on, started
from tests.support.scripted_server import ACCEPT, Step, answer, reset, scripted_server

NOW = 1_700_000_000.0


def refusal(offset: float, status: int = 401) -> Step:
    """A refusal by a server whose clock is that far ahead of ours."""
    return answer(status, {}, headers={"Date": email.utils.formatdate(NOW + offset, usegmt=True)})


def timestamps(server: object) -> list[int]:
    return [
        int(request.header("X-IAMPASS-Authentication-Timestamp")) - int(NOW)
        for request in server.requests  # type: ignore[attr-defined]
    ]


def test_each_response_says_how_far_the_servers_clock_is_ahead() -> None:
    answers = refusal(25), refusal(-7), answer(401, {}, headers={"Date": "yesterday"})
    with scripted_server(*answers) as server, api_to(server, wall_clock=lambda: NOW) as api:
        found = [api.transport.clock_offset]
        for _ in answers:
            with pytest.raises(Refused):
                api.authenticate_user(USER)
            found.append(api.transport.clock_offset)
    assert found == [None, 25, -7, None]


@pytest.mark.parametrize("offset", [31, -31, 3600, -86_400])
def test_a_start_is_signed_again_with_the_servers_time_and_the_session_remembers_it(offset: int) -> None:
    with scripted_server(refusal(offset)) as server, api_to(server, wall_clock=lambda: NOW) as api:
        server.add(started(server), polled("pending"), answer(200, {"status": True}))
        session = api.authenticate_user(USER)
        session.get_status(attempts=1)
        session.destroy()
        assert timestamps(server) == [0, offset, offset, offset]


@pytest.mark.parametrize("offset", [0, 30, -30])
def test_a_refusal_by_a_clock_like_ours_is_final(offset: int) -> None:
    with scripted_server(refusal(offset)) as server, api_to(server, wall_clock=lambda: NOW) as api:
        with pytest.raises(Refused) as caught:
            api.authenticate_user(USER)
        assert caught.value.clock_offset is None
        assert "clock is" not in str(caught.value)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("offset", "said"), [(3600, "clock is 3600 s behind"), (-90, "clock is 90 s ahead of")]
)
def test_a_second_refusal_says_by_how_much_the_clock_is_off(offset: int, said: str) -> None:
    with scripted_server(refusal(offset), refusal(offset)) as server:
        with api_to(server, wall_clock=lambda: NOW) as api, pytest.raises(Refused, match=said) as caught:
            api.authenticate_user(USER)
        assert caught.value.clock_offset == offset
        assert caught.value.may_have_started is False
        assert "timedatectl" in caught.value.diagnostics()
        assert len(server.requests) == 2


def test_a_403_is_no_matter_of_clocks() -> None:
    with scripted_server(refusal(3600, 403)) as server, api_to(server, wall_clock=lambda: NOW) as api:
        with pytest.raises(Refused) as caught:
            api.authenticate_user(USER)
        assert caught.value.clock_offset is None
        assert caught.value.status == 403
        assert len(server.requests) == 1


def test_a_clock_that_is_set_right_later_is_noticed() -> None:
    with scripted_server(refusal(3600), polled("active"), refusal(0), *[polled("active")] * 2) as server:
        with session_on(server, wall_clock=lambda: NOW) as session:
            for _ in range(3):
                session.get_status(attempts=1)
        assert timestamps(server) == [0, 3600, 3600, 0, 0]


def test_a_server_that_is_gone_after_its_refusal_is_no_outage_that_may_be_ignored() -> None:
    with scripted_server(refusal(3600).then("close"), *[reset(ACCEPT)] * 3) as server:
        with api_to(server, wall_clock=lambda: NOW) as api, pytest.raises(Unavailable) as caught:
            api.authenticate_user(USER)
        assert caught.value.outage is False
        assert len(server.requests) == 1
