"""A call is repeated only where that is harmless, and only as long as there is time."""

from __future__ import annotations

import email.utils
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_iampass.client import ManagementAPI, ManagementAPIResult, Unavailable
from pam_iampass.client.call import http_time, retry_after_seconds
from tests.client.talk import (
    APPLICATION,
    SECRET,
    USER,
    api_to,
    polled,
    seconds,
    session_on,
    started,
    transport_to,
)
from tests.support.scripted_server import (
    ACCEPT,
    ANSWER,
    HANDSHAKE,
    REQUEST,
    Step,
    answer,
    close,
    reset,
    scripted_server,
)

PASSING = [
    reset(ACCEPT),
    close(HANDSHAKE),
    reset(REQUEST),
    close(ANSWER),
    answer(502),
    answer(503),
    answer(504),
]


@pytest.mark.parametrize("fault", PASSING)
def test_polls_and_ends_survive_two_passing_faults(fault: Step) -> None:
    waits: list[float] = []
    with (
        scripted_server(fault, fault, polled("active")) as server,
        session_on(server, pause=waits.append) as session,
    ):
        assert session.get_status().name == "active"
        server.add(fault, fault, answer(200, {"status": True}))
        assert session.destroy() is True
    assert waits == [0.25, 0.5, 0.25, 0.5]


def test_the_third_fault_in_a_row_is_reported() -> None:
    with scripted_server(answer(503), reset(REQUEST), answer(504), polled("active")) as server:
        with session_on(server) as session, pytest.raises(Unavailable, match="504"):
            session.get_status()
        assert len(server.requests) == 3


@pytest.mark.parametrize("fault", [*PASSING, answer(429), answer(429, headers={"Retry-After": "0"})])
def test_one_attempt_means_one(fault: Step) -> None:
    with scripted_server(fault, polled("active")) as server, session_on(server) as session:
        with pytest.raises(Unavailable):
            session.get_status(attempts=1)
        assert server.connections == 1
        assert len(server.requests) <= 1


@pytest.mark.parametrize(
    "fault",
    [
        reset(REQUEST),
        close(ANSWER),
        *map(answer, (429, 500, 502, 503, 504)),
        answer(429, headers={"Retry-After": "0"}),
    ],
)
def test_a_start_that_may_have_reached_the_service_is_never_repeated(fault: Step) -> None:
    with scripted_server(fault) as server, api_to(server) as api:
        server.add(started(server))
        with pytest.raises(Unavailable):
            api.authenticate_user(USER)
        assert len(server.requests) == 1


@pytest.mark.parametrize("fault", [reset(ACCEPT), close(ACCEPT), reset(HANDSHAKE), close(HANDSHAKE)])
def test_a_start_of_which_nothing_has_left_is_repeated(fault: Step) -> None:
    with scripted_server(fault, fault) as server, api_to(server) as api:
        server.add(started(server))
        assert api.authenticate_user(USER).in_progress
        assert (len(server.requests), server.connections) == (1, 3)


def test_what_the_pause_raises_ends_the_call() -> None:
    class Gone(Exception):
        pass

    def pause(wait: float) -> None:
        raise Gone

    with scripted_server(answer(503), polled("active")) as server, session_on(server) as session:
        with pytest.raises(Gone):
            session.get_status(pause=pause)
        assert len(server.requests) == 1
        assert session.get_status().name == "active"


def date(moment: float) -> str:
    return email.utils.formatdate(moment, usegmt=True)


NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "2"}, 2.0),
        ({"Retry-After": " 07 "}, 7.0),
        ({"Retry-After": "0"}, 0.25),
        ({"Retry-After": date(NOW + 3)}, 3.0),
        ({"Retry-After": date(NOW - 3600)}, 0.25),
        ({"Retry-After": date(NOW + 1004), "Date": date(NOW + 1000)}, 4.0),
        ({"Retry-After": "soon"}, 0.25),
        ({"Retry-After": "-5"}, 0.25),
        ({}, 0.25),
    ],
)
@pytest.mark.parametrize("call", ["delete users", "poll"])
def test_a_429_is_obeyed_by_calls_that_ring_no_phone(headers: dict[str, str], wait: float, call: str) -> None:
    waits: list[float] = []
    options: dict[str, Any] = {"pause": waits.append, "wall_clock": lambda: NOW}
    with scripted_server(answer(429, headers=headers)) as server:
        if call == "poll":
            server.add(polled("active"))
            with session_on(server, **options) as session:
                assert session.get_status().name == "active"
        else:
            server.add(answer(200, {"status": True}))
            with transport_to(server, **options) as transport:
                manager = ManagementAPI(APPLICATION, SECRET, transport=transport)
                assert manager.delete_user(USER) == ManagementAPIResult.success
        assert len(server.requests) == 2
    assert waits == [wait]


@pytest.mark.parametrize(
    "wait", ["30", "3600", "9" * 400, date(NOW + 86_400), "Fri, 31 Dec 9999 23:59:59 GMT"]
)
def test_a_429_that_asks_for_more_time_than_there_is_ends_the_call_at_once(wait: str) -> None:
    waits: list[float] = []
    with scripted_server(answer(429, headers={"Retry-After": wait})) as server:
        with (
            session_on(server, pause=waits.append, wall_clock=lambda: NOW) as session,
            pytest.raises(Unavailable, match="asks to wait") as caught,
        ):
            session.get_status(seconds(20.0))
        assert len(server.requests) == 1
    assert waits == []
    assert caught.value.retry_after is not None
    assert caught.value.retry_after >= 20.0
    assert caught.value.status == 429
    assert caught.value.may_have_started is False


def test_a_server_that_always_says_now_is_not_asked_in_a_tight_loop() -> None:
    waits: list[float] = []
    faults = [answer(429, headers={"Retry-After": "0"})] * 6
    with (
        scripted_server(*faults, polled("active")) as server,
        session_on(server, pause=waits.append) as session,
    ):
        session.get_status()
    assert waits == [0.25, 0.5, 1.0, 2.0, 2.0, 2.0]


@given(st.text(), st.floats(0, 2**33))
def test_any_retry_after_is_read_or_ignored(text: str, now: float) -> None:
    wait = retry_after_seconds(text, now)
    assert wait is None or wait >= 0.0


def test_text_that_is_no_date_is_ignored() -> None:
    assert [http_time(text) for text in (None, "", "yesterday", "Mon, 99 Foo 2020 99:99:99 GMT", "0")] == [
        None
    ] * 5
    assert http_time("Tue, 14 Nov 2023 22:13:20 -0000") == NOW
    assert retry_after_seconds("9" * 10, 0.0) == math.inf
