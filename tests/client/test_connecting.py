"""Look-up, addresses and proxies, each within its time."""

from __future__ import annotations

import resource
import socket
import time
from typing import Any

import pytest

from pam_iampass.client import IampassError, LocalFailure, ProtocolError, Transport, Unavailable
from tests.client.connect_proxy import connect_proxy
from tests.client.talk import DEADLINE, USER, api_to, polled, seconds, session_on
from tests.support.black_hole import black_hole
from tests.support.in_time import BUSY
from tests.support.scripted_server import authority, scripted_server


def resolving_to(*addresses: tuple[str, int]) -> Any:
    def resolve(host: str, port: int, **options: Any) -> list[Any]:
        families = [socket.AF_INET6 if ":" in address[0] else socket.AF_INET for address in addresses]
        return [(family, socket.SOCK_STREAM, 6, "", address) for family, address in zip(families, addresses)]

    return resolve


def test_running_out_of_descriptors_is_no_outage() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with scripted_server() as server, api_to(server) as api:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            with pytest.raises(LocalFailure, match="cannot connect"):
                api.authenticate_user(USER, deadline=seconds(20.0))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_failed_look_up_is_tried_again_and_then_unavailable() -> None:
    tries = []

    def resolve(*arguments: Any, **options: Any) -> list[Any]:
        tries.append(arguments)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    with scripted_server() as server, api_to(server, resolve=resolve) as api:
        with pytest.raises(Unavailable, match="Temporary failure in name resolution") as caught:
            api.authenticate_user(USER, deadline=seconds(20.0))
        assert caught.value.may_have_started is False
        assert len(tries) == 3


def test_a_look_up_that_fails_after_seconds_is_not_repeated() -> None:
    tries = []

    def resolve(*arguments: Any, **options: Any) -> list[Any]:
        tries.append(arguments)
        time.sleep(1.1)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    with scripted_server() as server, api_to(server, resolve=resolve) as api:
        with pytest.raises(Unavailable) as caught:
            api.authenticate_user(USER, deadline=seconds(20.0))
        assert caught.value.outage
        assert len(tries) == 1


def test_a_name_without_addresses_is_no_outage() -> None:
    with (
        scripted_server() as server,
        api_to(server, resolve=resolving_to()) as api,
        pytest.raises(LocalFailure, match="no address"),
    ):
        api.authenticate_user(USER, deadline=seconds(20.0))


def test_a_dead_first_address_leaves_time_for_the_next() -> None:
    with black_hole() as nowhere, scripted_server(polled("active")) as server:
        resolve = resolving_to(nowhere, ("127.0.0.1", server.port))
        with session_on(server, resolve=resolve, connect_seconds=12.0) as session:
            assert session.get_status(seconds(20.0), attempts=1).name == "active"


def test_dead_addresses_cost_the_time_for_connecting_and_a_start_is_not_tried_again() -> None:
    with black_hole() as nowhere, scripted_server() as server:
        resolve = resolving_to(*[nowhere] * 8)
        with api_to(server, resolve=resolve, connect_seconds=2.0) as api:
            before = time.monotonic()
            with pytest.raises(Unavailable, match="timed out") as caught:
                api.authenticate_user(USER, deadline=seconds(40.0))
            assert 1.9 < time.monotonic() - before < 2.0 + BUSY
            assert caught.value.may_have_started is False


def test_only_if_each_address_failed_as_in_an_outage_it_is_one() -> None:
    with scripted_server() as gone:
        pass
    refused = ("127.0.0.1", gone.port)
    # Without an interface, a link-local address is an invalid argument.
    impossible = ("fe80::1", 443)
    with black_hole() as nowhere, scripted_server() as server:
        for addresses, kind, timed_out in (
            ([refused, refused], Unavailable, False),
            ([nowhere, refused], Unavailable, True),
            ([refused, nowhere], Unavailable, True),
            ([refused, impossible], LocalFailure, None),
            ([impossible, refused], LocalFailure, None),
        ):
            options = {"resolve": resolving_to(*addresses), "connect_seconds": 0.2 if timed_out else 20.0}
            with api_to(server, **options) as api, pytest.raises(kind) as caught:
                api.authenticate_user(USER, deadline=seconds(40.0), attempts=1)
            assert caught.value.may_have_started is False
            if isinstance(caught.value, Unavailable):
                assert (caught.value.outage, caught.value.timed_out) == (True, timed_out)


def test_the_deadline_holds_while_connecting() -> None:
    with (
        black_hole() as nowhere,
        scripted_server() as server,
        api_to(server, resolve=resolving_to(nowhere), connect_seconds=60.0) as api,
    ):
        before = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            api.authenticate_user(USER, deadline=seconds(0.3))
        assert time.monotonic() - before < 0.3 + BUSY
        assert not caught.value.outage  # it had not all the time for connecting


def test_a_proxy_is_asked_for_a_tunnel_and_sees_nothing_of_the_request() -> None:
    with scripted_server(polled("active"), polled("active")) as server:
        with (
            connect_proxy(("127.0.0.1", server.port)) as proxy,
            session_on(server, proxy=proxy.url) as session,
        ):
            session.get_status()
            session.get_status()
        target = f"localhost:{server.port}"
        head = f"CONNECT {target} HTTP/1.1\r\nAccept-Encoding: identity\r\nHost: {target}\r\n\r\n"
        assert proxy.heads == [head]
        assert (len(server.requests), server.connections) == (2, 1)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "status 407"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", "status 302"),
        (b"SSH-2.0-OpenSSH\r\n", "invalid response"),
        (b"HTTP/1.1 +20 OK\r\n\r\n", "invalid response"),
        (b"ICY 200 OK\r\n\r\n", "invalid response"),
    ],
)
def test_a_proxy_that_refuses_is_no_outage(answer: bytes, said: str) -> None:
    refused_by_proxy(answer, said, ProtocolError)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "status 502"),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "status 503"),
        (b"HTTP/1.1 200 OK\r\nX: y\r\n", "closed the connection"),
        (b"", "closed the connection"),
    ],
)
def test_a_proxy_that_cannot_serve_is_no_outage(answer: bytes, said: str) -> None:
    error = refused_by_proxy(answer, said, Unavailable)
    assert isinstance(error, Unavailable)
    assert not error.outage


def refused_by_proxy(answer: bytes, said: str, kind: type[IampassError]) -> IampassError:
    """A start through a proxy that answers so: the error, and that it names the proxy."""
    with scripted_server() as server, connect_proxy(answer=answer) as proxy:
        with api_to(server, proxy=proxy.url) as api, pytest.raises(kind, match=said) as caught:
            api.authenticate_user(USER, deadline=seconds(20.0), attempts=1)
        assert caught.value.may_have_started is False
        assert f"the proxy {proxy.url[7:]}" in str(caught.value)
        assert server.connections == 0
        return caught.value


def test_a_proxy_that_says_nothing_ends_at_the_deadline() -> None:
    with (
        scripted_server() as server,
        connect_proxy(answer=b"HTTP/1.1 200", hang=True) as proxy,
        api_to(server, proxy=proxy.url) as api,
    ):
        before = time.monotonic()
        with pytest.raises(Unavailable, match="did not respond in time"):
            api.authenticate_user(USER, deadline=seconds(DEADLINE))
        assert time.monotonic() - before < DEADLINE + BUSY


@pytest.mark.parametrize(
    "proxy",
    [
        "https://host:1",
        "http://a:b@host:1",
        "http://host:1/x",
        "",
    ],
)
def test_only_a_plain_http_proxy_can_be_named(proxy: str) -> None:
    with pytest.raises(ValueError, match=r"proxy|http|port"):
        Transport("https://localhost", authority().ca_file, proxy)
