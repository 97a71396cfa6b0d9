"""Name lookups that hang: they hold nobody longer than allowed, and are bounded in number."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pam_iampass.client import (
    AuthenticationAPI,
    Deadline,
    IampassError,
    LocalFailure,
    Transport,
    Unavailable,
    connection,
)
from pam_iampass.client.connection import LOOKUP_JOINED, MOST_LOOKUPS, Lookups, Network
from tests.client.talk import USER, api_to, seconds
from tests.support.in_time import BUSY
from tests.support.scripted_server import authority, scripted_server

ADDRESSES = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 443))]


class NameServer:
    """Says nothing until it is `well`; lookups that have begun before then go on hanging until the test is over."""

    def __init__(self) -> None:
        self.asked = 0
        self.well = False
        self._over = threading.Event()

    def __call__(self, host: str, port: int, **_options: Any) -> list[Any]:
        self.asked += 1
        if not self.well:
            self._over.wait()
        return ADDRESSES

    def end(self) -> None:
        self._over.set()


@pytest.fixture
def server() -> Iterator[NameServer]:
    found = NameServer()
    yield found
    found.end()


@pytest.fixture(autouse=True)
def joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, a lookup of a test is young."""
    monkeypatch.setattr(connection, "LOOKUP_JOINED", 600.0)


def hangs(look_up: Lookups, host: str = "iampass.example.") -> None:
    with pytest.raises(socket.timeout):
        look_up(host, 443, timeout=0.05)


@pytest.mark.parametrize("left", [0.5, 60.0])
def test_a_lookup_that_hangs_ends_at_the_deadline_or_after_the_time_for_connecting(
    server: NameServer, left: float
) -> None:
    """It is an outage only if it had all that time."""
    options = {"url": "https://iampass.example", "network": Network(Lookups(server)), "connect_seconds": 2.0}
    began = time.monotonic()
    with scripted_server() as nobody, api_to(nobody, **options) as api, pytest.raises(Unavailable) as caught:
        api.authenticate_user(USER, deadline=seconds(left))
    assert time.monotonic() - began < min(left, 2.0) + BUSY
    assert "looking up iampass.example failed: timed out" in str(caught.value)
    assert (caught.value.timed_out, caught.value.outage) == (True, left > 2.0)
    assert server.asked == 1


def test_those_who_ask_for_the_same_share_one_lookup(server: NameServer) -> None:
    look_up = Lookups(server)
    for _ in range(3):
        hangs(look_up)
    assert server.asked == 1
    hangs(look_up, "proxy.example.")
    assert server.asked == 2
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.extend(look_up("iampass.example.", 443, timeout=60.0)))
    waiting.start()
    server.end()
    waiting.join()
    assert (found, server.asked) == (ADDRESSES, 2)


def test_a_lookup_that_has_hung_for_long_is_joined_by_nobody(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = Lookups(server)
    hangs(look_up)
    server.well = True
    hangs(look_up)
    monkeypatch.setattr(connection, "LOOKUP_JOINED", 0.0)  # instead of waiting for as long
    assert look_up("iampass.example.", 443, timeout=60.0) == ADDRESSES
    assert LOOKUP_JOINED <= 5.0


def test_what_a_lookup_raises_reaches_all_who_wait_for_it() -> None:
    for error in (socket.gaierror(socket.EAI_AGAIN, "failed"), MemoryError()):

        def fails(*_arguments: Any, error: Exception = error, **_options: Any) -> list[Any]:
            raise error

        with pytest.raises(type(error)):
            Lookups(fails)("iampass.example.", 443, timeout=60.0)


def test_the_number_of_hanging_lookups_is_bounded_and_one_more_is_no_outage(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LOOKUP_JOINED", 0.0)
    exhausted: list[int] = []
    look_up = Lookups(server, lambda: exhausted.append(server.asked))
    for _ in range(MOST_LOOKUPS):
        hangs(look_up)
    assert len(exhausted) == 1
    error = start(Network(look_up))
    assert isinstance(error, LocalFailure)
    assert f"{MOST_LOOKUPS} name lookups hang" in str(error)
    assert server.asked == MOST_LOOKUPS
    server.well = True
    server.end()
    for each in [each for each in threading.enumerate() if each.name == "lookup"]:
        each.join(20)
    assert look_up("iampass.example.", 443, timeout=60.0) == ADDRESSES
    assert len(exhausted) == 1


def test_without_a_thread_there_is_no_lookup_and_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    assert isinstance(start(Network(Lookups(lambda *_, **__: ADDRESSES))), LocalFailure)


def test_a_lookup_that_hangs_while_no_udp_socket_can_be_had_is_no_outage(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_port(*_arguments: Any) -> None:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(socket.socket, "bind", no_port)
    assert isinstance(start(Network(Lookups(server)), connect_seconds=0.1), LocalFailure)


def start(network: Network, **options: Any) -> IampassError:
    """The error of a start over this network."""
    transport = Transport("https://iampass.example", authority().ca_file, network=network, **options)
    with pytest.raises(IampassError) as caught:
        AuthenticationAPI("application", "secret", transport=transport).authenticate_user(
            USER, deadline=Deadline.after(60.0), attempts=1
        )
    return caught.value
