"""The gateway's calls of IAMPASS: what the client has not, or has in another way."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest

from pam_iampass.client import LocalFailure, Refused, Session, Status, Unavailable, connection
from pam_iampass.client.call import Call
from pam_iampass.client.connection import Deadline, Network
from pam_iampass.client.errors import IampassError
from pam_iampass.gateway.base.settings import GatewaySettings
from pam_iampass.gateway.base.tcp import first_reachable
from pam_iampass.gateway.base.upstream import Lane, Upstream
from tests.client.talk import (
    APPLICATION,
    DEADLINE,
    SECRET,
    SESSION_SECRET,
    TOKEN,
    USER,
    polled,
    started,
)
from tests.client.test_authentication import signature_holds
from tests.support.black_hole import black_hole
from tests.support.in_time import BUSY
from tests.support.scripted_server import (
    ACCEPT,
    REQUEST,
    ScriptedServer,
    Step,
    answer,
    authority,
    close,
    hang,
    reset,
    scripted_server,
)

T = TypeVar("T")


def play(test: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return asyncio.run(test())


@asynccontextmanager
async def upstream_to(server: ScriptedServer, **options: Any) -> AsyncIterator[Upstream]:
    options = {"ca_file": server.ca_file, "jitter": lambda: 0.0, **options}
    upstream = Upstream(server.url, APPLICATION, options.pop("secret", SECRET), **options)
    try:
        yield upstream
    finally:
        await upstream.close()


def a_poll(server: ScriptedServer, path: str = f"/status/{TOKEN}") -> Call[Status]:
    session = Session(Status.pending, TOKEN, SESSION_SECRET, f"{server.url}/l", f"{server.url}{path}")
    call = session.poll()
    assert call is not None
    return call


async def start(upstream: Upstream, user: str = USER, seconds: float = 20.0, **options: Any) -> Session:
    call = upstream.application.start(user, None, None)
    return await upstream.call(call, seconds, Lane.decisions, **{"attempts": 1, **options})


async def failure(work: Coroutine[Any, Any, Any]) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        await work
    return caught.value


def test_polls_that_hang_leave_room_for_a_start_and_wait_for_no_outage() -> None:
    async def test() -> None:
        connections = {Lane.polls: 2}
        with scripted_server(hang(REQUEST), hang(REQUEST)) as server:
            async with upstream_to(server, connections=connections) as upstream:
                poll = a_poll(server)
                hanging = [asyncio.create_task(upstream.call(poll, 20.0, Lane.polls)) for _ in range(2)]
                assert await asyncio.to_thread(server.wait_for_requests, 2)
                error = await failure(upstream.call(poll, 0.2, Lane.polls))
                assert "in use" in str(error)
                assert (error.may_have_started, error.timed_out, error.outage) == (False, True, False)
                server.add(started(server))
                assert (await start(upstream)).in_progress
                for task in hanging:
                    task.cancel()
                await asyncio.gather(*hanging, return_exceptions=True)
                server.add(polled("active"))
                assert await upstream.call(poll, 20.0, Lane.polls) is Status.active

    play(test)


def test_a_call_of_another_server_is_not_made() -> None:
    async def test() -> None:
        with scripted_server(polled("active")) as server, scripted_server() as other:
            async with upstream_to(other) as upstream:
                with pytest.raises(ValueError, match="another server"):
                    await upstream.call(a_poll(server), 20.0, Lane.polls)
            assert (server.connections, other.connections) == (0, 0)

    play(test)


@pytest.mark.parametrize("ending", ["reset", "cut", "close"])
def test_a_kept_alive_connection_that_ends_under_a_request_may_have_carried_it(ending: str) -> None:
    async def test() -> None:
        with scripted_server() as server:
            server.add(started(server), Step(stage=REQUEST, ending=ending), started(server))
            async with upstream_to(server) as upstream:
                await start(upstream)
                error = await failure(start(upstream))
            assert (error.may_have_started, error.outage) == (True, False)
            assert (len(server.requests), server.connections) == (2, 1)

    play(test)


@pytest.mark.parametrize("fault", [reset(REQUEST), close(REQUEST)])
def test_a_poll_whose_connection_ends_is_not_repeated_behind_our_back(fault: Step) -> None:
    """aiohttp would send a GET again, signed with the same nonce."""

    async def test() -> None:
        with scripted_server(polled("pending"), fault, polled("active")) as server:
            async with upstream_to(server) as upstream:
                poll = a_poll(server)
                await upstream.call(poll, 20.0, Lane.polls, attempts=1)
                error = await failure(upstream.call(poll, 20.0, Lane.polls, attempts=1))
                assert error.may_have_started
                assert len(server.requests) == 2
                assert await upstream.call(poll, 20.0, Lane.polls) is Status.active
            nonces = {str(request.header("Authentication")).split(":")[1] for request in server.requests}
            assert len(nonces) == 3

    play(test)


def test_what_a_server_sends_unasked_is_no_answer_to_the_next_request() -> None:
    async def test() -> None:
        later = answer(200, {"authentication_status": {"session_status": "active"}})
        pending = polled("pending")
        with scripted_server(pending) as server:
            async with upstream_to(server) as upstream:
                streams: list[Any] = []
                original = server._serve_request

                def serve(stream: Any, number: int) -> bool:
                    streams.append(stream)
                    return original(stream, number)

                server._serve_request = serve  # type: ignore[method-assign]
                poll = a_poll(server)
                assert await upstream.call(poll, 20.0, Lane.polls) is Status.pending
                await asyncio.to_thread(streams[0].send, later.head + later.body)
                await asyncio.sleep(0.05)
                server.add(pending)
                assert await upstream.call(poll, 20.0, Lane.polls) is Status.pending
            assert server.connections == 2

    play(test)


def test_what_answers_is_not_away_whatever_it_says() -> None:
    async def test() -> None:
        said = [answer(status=status) for status in (404, 500, 503, 400, 302)]
        with scripted_server(*(step for each in said for step in (reset(REQUEST), each))) as server:
            async with upstream_to(server) as upstream:
                for _ in said:
                    for is_away in (True, False):
                        with pytest.raises(IampassError):
                            await upstream.call(a_poll(server), 20.0, Lane.polls, attempts=1)
                        assert (upstream.failing_since is not None) is is_away
                with pytest.raises(Unavailable, match="no time is left"):
                    await upstream.call(a_poll(server), 0.0, Lane.polls, attempts=1)
                assert upstream.failing_since is None

    play(test)


def test_calls_that_need_addresses_at_the_same_time_share_a_lookup_and_its_outage() -> None:
    async def test() -> None:
        lookups = []
        asked, go_on = threading.Event(), threading.Event()

        def resolve(*arguments: Any, **options: Any) -> list[Any]:
            lookups.append(arguments)
            asked.set()
            go_on.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

        with scripted_server() as server:
            async with upstream_to(server, network=Network(resolve)) as upstream:
                calls = [asyncio.create_task(failure(start(upstream))) for _ in range(20)]
                await asyncio.to_thread(asked.wait)
                await asyncio.sleep(0.05)
                go_on.set()
                errors = await asyncio.gather(*calls)
        assert {(error.outage, error.may_have_started) for error in errors} == {(True, False)}
        assert len(lookups) == 1

    play(test)


def test_one_unreachable_address_delays_no_other_call() -> None:
    """Connecting is no thread's work: a hundred starts find out at the same time that nobody answers."""

    async def test() -> None:
        with black_hole() as nowhere, scripted_server() as server:

            def resolve(*arguments: Any, **options: Any) -> list[Any]:
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", nowhere)]

            async with upstream_to(server, network=Network(resolve), connect_seconds=1.0) as upstream:
                before = time.monotonic()
                errors = await asyncio.gather(*(failure(start(upstream)) for _ in range(100)))
                assert time.monotonic() - before < 1.0 + BUSY
        assert {(error.outage, error.timed_out, error.may_have_started) for error in errors} == {
            (True, True, False)
        }

    play(test)


def test_an_event_loop_that_is_held_up_makes_no_outage() -> None:
    async def test() -> None:
        def resolve(*arguments: Any, **options: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]

        with scripted_server() as server:
            server.add(started(server))
            async with upstream_to(server, network=Network(resolve), connect_seconds=0.3) as upstream:
                starting = asyncio.create_task(start(upstream))
                while not starting.done():
                    await asyncio.sleep(0)
                    time.sleep(0.6)
                assert (await starting).in_progress

    play(test)


def test_a_connection_that_was_made_while_the_event_loop_was_held_up_is_one() -> None:
    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
            address = listener.getsockname()
            with socket.create_connection(address):  # there is no room for more
                found = (socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
                connecting = asyncio.create_task(first_reachable([found], Deadline.after(2.0)))
                for _ in range(3):
                    await asyncio.sleep(0)
                assert not connecting.done()
                until = time.monotonic() + 3.0
                # The kernel tries again after a second.
                accepted = [listener.accept()[0] for _ in range(2)]
                time.sleep(max(0.0, until - time.monotonic()))
                (await connecting).close()
                for sock in accepted:
                    sock.close()

    play(test)


def test_an_address_has_its_time_even_if_the_event_loop_was_held_up_before_it() -> None:
    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            refusing = closed.getsockname()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            addresses = (refusing, listener.getsockname())
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
            asyncio.get_running_loop().call_soon(time.sleep, 0.4)
            (await first_reachable(found, Deadline.after(0.3))).close()

    play(test)


def test_a_lookup_that_fails_since_this_machine_cannot_ask_is_no_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_port(kind: socket.SocketKind) -> socket.socket:
        raise OSError(errno.EADDRNOTAVAIL, "no port")

    def hang(host: str, port: int, *, timeout: float, **options: Any) -> list[Any]:
        time.sleep(timeout)
        raise TimeoutError("timed out")

    async def test() -> None:
        with scripted_server() as server:
            async with upstream_to(server, network=Network(hang), connect_seconds=0.1) as upstream:
                for _ in range(5):
                    with pytest.raises(LocalFailure):
                        await start(upstream)

    monkeypatch.setattr(connection, "socket_of_both_families", no_port)
    play(test)


def test_a_lookup_that_is_answered_late_is_waited_for() -> None:
    """As one is whose thread, or the event loop, was held up."""

    def late(*arguments: Any, timeout: float, **options: Any) -> Any:
        time.sleep(timeout + 0.7)
        return socket.getaddrinfo(*arguments, **options)

    async def test() -> None:
        with scripted_server() as server:
            server.add(started(server))
            async with upstream_to(server, network=Network(late), connect_seconds=1.0) as upstream:
                assert (await start(upstream)).in_progress

    play(test)


def test_a_lookup_that_does_not_end_is_no_outage() -> None:
    ends = threading.Event()

    def hang(*arguments: Any, **options: Any) -> list[Any]:
        ends.wait(20)
        return []

    async def test() -> None:
        with scripted_server() as server:
            async with upstream_to(server, network=Network(hang), connect_seconds=0.1) as upstream:
                error = await failure(start(upstream, seconds=1.0))
                ends.set()
        assert (error.outage, error.may_have_started) == (False, False)

    play(test)


def test_nothing_in_the_environment_changes_whom_the_gateway_talks_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / "netrc").write_text("machine localhost login eve password eve\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority().ca_file))

    async def test() -> None:
        with scripted_server(polled("active")) as server:
            async with upstream_to(server) as upstream:
                assert await upstream.call(a_poll(server), 20.0, Lane.polls) is Status.active
            assert server.requests[0].header("Authorization") is None
            async with upstream_to(server, ca_file=None) as upstream:
                with pytest.raises(Exception, match="certificate"):
                    await upstream.call(a_poll(server), 20.0, Lane.polls)
            assert len(server.requests) == 1

    play(test)


NEW, REJECTED = "new-secret-text", answer(401)


def test_the_previous_secret_is_tried_after_a_401_to_the_other_one() -> None:
    async def test() -> None:
        with scripted_server(REJECTED) as server:
            server.add(started(server), started(server))
            async with upstream_to(server, secret=NEW, previous_secret=SECRET) as upstream:
                assert (await start(upstream)).in_progress
                assert upstream.used_previous_secret
                assert (await start(upstream)).in_progress
                assert not upstream.used_previous_secret
            secrets = [
                next(secret for secret in (NEW, SECRET) if signature_holds(request, APPLICATION, secret))
                for request in server.requests
            ]
            assert secrets == [NEW, SECRET, NEW]

    play(test)


@pytest.mark.parametrize("status", [403, 404, 500])
def test_after_any_other_error_the_previous_secret_is_not_tried(status: int) -> None:
    async def test() -> None:
        with scripted_server(answer(status)) as server:
            async with upstream_to(server, secret=NEW, previous_secret=SECRET) as upstream:
                with pytest.raises(Exception, match=str(status)):
                    await start(upstream)
            assert len(server.requests) == 1

    play(test)


def test_calls_of_a_session_know_no_previous_secret() -> None:
    async def test() -> None:
        with scripted_server(REJECTED) as server:
            async with upstream_to(server, secret=NEW, previous_secret=SECRET) as upstream:
                with pytest.raises(Refused):
                    await upstream.call(a_poll(server), 20.0, Lane.polls)
            assert len(server.requests) == 1

    play(test)


def test_a_server_that_is_gone_before_the_previous_secret_is_tried_is_no_outage() -> None:
    async def test() -> None:
        gone = [reset(ACCEPT)] * 3
        with scripted_server(REJECTED.then("close"), *gone) as server:
            async with upstream_to(server, secret=NEW, previous_secret=SECRET) as upstream:
                error = await failure(start(upstream))
            assert not error.outage
            assert len(server.requests) == 1

    play(test)


def test_the_settings_name_server_application_proxy_and_limit() -> None:
    async def test() -> None:
        with scripted_server() as server:
            server.add(started(server), hang(REQUEST))
            settings = SimpleNamespace(
                server=server.url,
                application_id=APPLICATION,
                application_secret=SECRET,
                previous_secret="",
                server_ca_file=Path(server.ca_file),
                proxy=None,
                limits=SimpleNamespace(calls_at_once=1),
            )
            upstream = Upstream.of(cast(GatewaySettings, settings))
            assert (await start(upstream)).in_progress
            hanging = asyncio.create_task(failure(start(upstream)))
            assert await asyncio.to_thread(server.wait_for_requests, 2)
            call = upstream.application.start(USER, None, None)
            assert "in use" in str(await failure(upstream.call(call, 0.2, Lane.decisions)))
            server.close()
            await asyncio.wait_for(hanging, DEADLINE)
            await upstream.close()

    play(test)
