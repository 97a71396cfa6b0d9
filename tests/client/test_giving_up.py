"""A call that hangs is given up when nobody waits for it any more, and only where that loses nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from typing import Any

import pytest

from pam_iampass.client import AuthenticationAPI, Session, Unavailable
from tests.client.connect_proxy import connect_proxy
from tests.client.talk import USER, api_to, polled, seconds, session_on
from tests.support.in_time import BUSY
from tests.support.scripted_server import (
    ACCEPT,
    ANSWER,
    HANDSHAKE,
    REQUEST,
    Step,
    hang,
    scripted_server,
    slow_handshake,
)

#: Half a second until it is asked.
SOON = 0.5 + BUSY


class NobodyWaits(Exception):
    """What ends the call."""


def gone(_seconds: float) -> None:
    raise NobodyWaits


def given_up_soon(api: AuthenticationAPI) -> bool:
    began = time.monotonic()
    with pytest.raises(NobodyWaits):
        api.authenticate_user(USER, deadline=seconds(20), pause=gone)
    return time.monotonic() - began < SOON


HANGS: dict[str, Step] = {
    "silent when accepted": hang(ACCEPT),
    "silent in the handshake": hang(HANDSHAKE),
    "dripping in the handshake": slow_handshake(0.02),
    "silent after the request": hang(REQUEST),
    "silent in the answer": hang(ANSWER, polled("active")),
    "dripping head": polled("active").dripping(head=0.05),
    "dripping body": polled("active").dripping(body=0.05),
}
CALLS: dict[str, Callable[..., object]] = {"poll": Session.get_status, "end": Session.destroy}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("hanging", HANGS)
def test_a_poll_or_an_end_is_given_up_wherever_it_hangs(call: str, hanging: str) -> None:
    with scripted_server(HANGS[hanging]) as server, session_on(server) as session:
        began = time.monotonic()
        with pytest.raises(NobodyWaits):
            CALLS[call](session, seconds(20), attempts=1, pause=gone)
        assert time.monotonic() - began < SOON
        assert session.in_progress


@pytest.mark.parametrize("hanging", ["silent when accepted", "silent in the handshake"])
def test_a_start_is_given_up_before_its_request_has_left(hanging: str) -> None:
    with scripted_server(HANGS[hanging]) as server, api_to(server) as api:
        assert given_up_soon(api)


@pytest.mark.parametrize("hanging", ["silent after the request", "silent in the answer"])
def test_the_answer_to_a_start_is_waited_for_since_it_alone_tells_which_session_to_end(hanging: str) -> None:
    with scripted_server(HANGS[hanging]) as server, api_to(server) as api, ThreadPoolExecutor(1) as thread:

        def once_asked(wait: float) -> None:
            if server.requests:  # a busy machine may take long to connect, and a call is given up meanwhile
                gone(wait)

        call = thread.submit(api.authenticate_user, USER, deadline=seconds(60), pause=once_asked)
        assert server.wait_for_requests(1, 60)
        with pytest.raises(TimeoutError):
            call.result(1.2)
        server.close()
        with pytest.raises(Unavailable) as caught:
            call.result()
        assert caught.value.may_have_started


def test_a_proxy_that_hangs_is_given_up() -> None:
    with (
        scripted_server() as server,
        connect_proxy(answer=b"", hang=True) as proxy,
        api_to(server, proxy=proxy.url) as api,
    ):
        assert given_up_soon(api)


def test_a_name_look_up_that_hangs_is_given_up() -> None:
    hanging = threading.Event()

    def resolve(*_arguments: Any, **_options: Any) -> list[Any]:
        hanging.wait(20)
        return []

    with scripted_server() as server:
        url = f"https://iampass.example:{server.port}"
        with api_to(server, url=url, resolve=resolve) as api:
            assert given_up_soon(api)
    hanging.set()


def test_a_call_that_is_wanted_goes_on_over_all_its_slices() -> None:
    asked: list[float] = []
    slow = polled("active").dripping(body=0.03)
    with scripted_server(slow) as server, session_on(server) as session:
        session.get_status(seconds(20), attempts=1, pause=asked.append)
        assert session.active
    assert asked
    assert set(asked) == {0.0}
