"""Several gateways in place of one server: which is asked, what is repeated, and when nothing was sent."""

from __future__ import annotations

import email.utils
import hashlib
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pam_iampass.client import (
    AuthenticationAPI,
    Deadline,
    Gateways,
    IampassError,
    LocalFailure,
    ManagementAPI,
    ProtocolError,
    Refused,
    Session,
    Status,
    TLSFailure,
    Transport,
    Unavailable,
)
from pam_iampass.client.application import PersonAtGateway, Redemption
from pam_iampass.client.call import signature_text
from pam_iampass.client.connection import Network
from tests.client.talk import APPLICATION, SECRET, SESSION_SECRET, TOKEN, polled, started
from tests.support.black_hole import black_hole
from tests.support.scripted_server import (
    ACCEPT,
    ANSWER,
    HANDSHAKE,
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

#: A port at which nothing listens.
CLOSED = "https://localhost:1"
ID = "request-id-of-22-chars"
NONCE = 4711


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def gateways(*servers: ScriptedServer | str, **options: Any) -> Iterator[AuthenticationAPI]:
    urls = [each if isinstance(each, str) else each.url for each in servers]
    options = {"pause": lambda seconds: None, "nonce": lambda: NONCE, **options}
    transport = Gateways(urls, authority().ca_file, **options)
    try:
        yield AuthenticationAPI(APPLICATION, SECRET, transport=transport)
    finally:
        transport.close()


@contextmanager
def two(*steps: Step, second: tuple[Step, ...] = ()) -> Iterator[tuple[ScriptedServer, ScriptedServer]]:
    with ExitStack() as stack:
        first = stack.enter_context(scripted_server(*steps))
        yield first, stack.enter_context(scripted_server(*second))


def start(api: AuthenticationAPI, request_id: str | None = ID, **options: Any) -> Session:
    parameters = {} if request_id is None else {"request_id": request_id}
    options = {"deadline": Deadline.after(8.0), **options}
    return api.authenticate_user("alice", parameters=parameters, **options)


def failure(api: AuthenticationAPI, request_id: str | None = ID, **options: Any) -> IampassError:
    with pytest.raises(IampassError) as caught:
        start(api, request_id, **options)
    return caught.value


def not_started(reason: str, **members: Any) -> Step:
    return answer(200, {"authentication_status": {"authenticated": False, "reason": reason, **members}})


def unsent(reason: str = "IAMPASS_AWAY", request_id: Any = ID, nonce: Any = str(NONCE)) -> Step:
    return not_started(reason, nothing_sent={"request_id": request_id, "nonce": nonce})


def is_outage(error: IampassError) -> bool:
    return isinstance(error, Unavailable) and error.outage


# Recovery codes


def redeem(api: AuthenticationAPI) -> Redemption:
    return api.redeem_code(
        "alice", "0" * 16, {"request_id": ID, "service": "sshd"}, deadline=Deadline.after(8.0)
    )


def redeemed(request_id: str = ID, **members: Any) -> Step:
    return answer(200, {"recovery": {"request_id": request_id, "accepted": True, "left": 9, **members}})


def test_a_code_is_redeemed_with_its_digest_in_the_signed_query() -> None:
    with two(redeemed()) as (first, second), gateways(first, second) as api:
        assert redeem(api) == Redemption(9)
        (request,) = first.requests
        url = urlsplit(request.target)
        assert url.path == f"/fleet/recover/{APPLICATION}/alice"
        digest = hashlib.sha256(request.body).hexdigest()
        assert parse_qs(url.query) == {"request_id": [ID], "service": ["sshd"], "body_sha256": [digest]}
        assert request.body == b'{"code": "0000000000000000"}'


def test_reports_are_sent_with_the_digest_of_their_body_and_again_if_the_answer_is_lost() -> None:
    with (
        two(reset(ANSWER), second=(answer(200, {"taken": 1}),)) as (first, second),
        gateways(first, second) as api,
    ):
        api.report([{"login": "0" * 32, "ago": 3}], "m", deadline=Deadline.after(8.0))
        (lost,), (taken,) = first.requests, second.requests
        url = urlsplit(taken.target)
        assert url.path == f"/fleet/report/{APPLICATION}"
        digest = hashlib.sha256(taken.body).hexdigest()
        assert parse_qs(url.query) == {"body_sha256": [digest], "machine": ["m"]}
        assert (
            taken.body
            == lost.body
            == b'{"reports": [{"login": "00000000000000000000000000000000", "ago": 3}]}'
        )


def test_whether_a_login_begins_here_is_confirmed_once() -> None:
    with two(answer(200, {"counts": True})) as (first, second), gateways(first, second) as api:
        assert api.confirm("a question", True, "m", deadline=Deadline.after(8.0))
        url = urlsplit(first.requests[0].target)
        assert url.path == f"/fleet/confirm/{APPLICATION}"
        assert parse_qs(url.query) == {"question": ["a question"], "begins": ["yes"], "machine": ["m"]}


@pytest.mark.parametrize("fault", [reset(REQUEST), close(ANSWER), answer(503), answer(403), answer(200, {})])
def test_a_code_that_may_have_left_is_sent_to_no_other_gateway(fault: Step) -> None:
    with two(fault) as (first, second), gateways(first, second) as api:
        with pytest.raises(IampassError) as caught:
            redeem(api)
        assert not is_outage(caught.value)
        assert (len(first.requests), second.connections) == (1, 0)


def test_a_code_is_sent_to_the_first_gateway_that_can_be_reached_and_to_none_is_an_outage() -> None:
    with scripted_server(redeemed()) as server, gateways(CLOSED, server) as api:
        assert redeem(api).left == 9
    with gateways(CLOSED, CLOSED) as api, pytest.raises(Unavailable) as caught:
        redeem(api)
    assert (is_outage(caught.value), caught.value.may_have_started) == (True, False)


@pytest.mark.parametrize(
    "step",
    [redeemed("request-id-of-22-charz"), redeemed(left=True), redeemed(left="9"), redeemed(accepted="yes")],
)
def test_an_answer_about_another_code_is_invalid(step: Step) -> None:
    with scripted_server(step) as server, gateways(server) as api, pytest.raises(ProtocolError):
        redeem(api)


# Which one is asked


def test_a_gateway_says_who_may_log_in_and_who_has_a_phone() -> None:
    told = {
        "alice": {"may": True, "phone": True},
        "bob": {"may": True, "phone": None},
        "carol": {"may": False},
    }
    with scripted_server(answer(200, {"people": told})) as server:
        transport = Gateways([server.url], authority().ca_file, pause=lambda seconds: None)
        try:
            api = ManagementAPI(APPLICATION, SECRET, transport=transport)
            found = api.people(["alice", "bob", "carol"], "", deadline=Deadline.after(8.0))
        finally:
            transport.close()
        (request,) = server.requests
        url = urlsplit(request.target)
        assert url.path == f"/fleet/people/{APPLICATION}"
        assert parse_qs(url.query) == {"body_sha256": [hashlib.sha256(request.body).hexdigest()]}
    assert found == {
        "alice": PersonAtGateway(True, True),
        "bob": PersonAtGateway(True, None),
        "carol": PersonAtGateway(False),
    }


def test_the_first_is_asked_as_long_as_it_answers() -> None:
    with two() as (first, second), gateways(first, second) as api:
        first.add(started(first), polled("active"))
        session = start(api)
        assert session.get_status() is Status.active
        assert (len(first.requests), second.connections) == (2, 0)


@pytest.mark.parametrize(
    "fault", [reset(ACCEPT), close(HANDSHAKE), reset(REQUEST), close(ANSWER), answer(503)]
)
def test_one_that_fails_is_asked_after_the_others_for_30_seconds(fault: Step) -> None:
    clock = Clock()
    with two(fault) as (first, second), gateways(first, second, clock=clock) as api:
        second.add(started(second), polled("pending"), polled("active"))
        session = start(api)
        before = len(first.requests)
        clock.now += 29.0
        session.get_status()
        assert (len(first.requests), len(second.requests)) == (before, 2)
        clock.now += 2.0
        first.add(polled("active"))
        session.get_status()
        assert (len(first.requests), len(second.requests)) == (before + 1, 2)


def test_one_call_alone_tries_again_one_that_has_failed() -> None:
    clock = Clock()
    with two(reset(ACCEPT), hang(REQUEST)) as (first, second), gateways(first, second, clock=clock) as api:
        second.add(started(second), polled("pending"))
        session = start(api)
        clock.now += 31.0

        def wait() -> None:
            with suppress(IampassError):  # the test is over
                start(api, deadline=Deadline.after(60.0))

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert first.wait_for_requests(1)
        assert session.get_status() is Status.pending
        assert (len(first.requests), len(second.requests)) == (1, 2)
    waiting.join(60.0)


def test_one_that_was_passed_by_is_asked_if_the_others_fail() -> None:
    with two(reset(ACCEPT)) as (first, second), gateways(first, second) as api:
        second.add(started(second), reset(REQUEST))
        first.add(polled("active"))
        assert start(api).get_status() is Status.active


def test_each_request_is_signed_for_the_gateway_that_is_asked() -> None:
    with two(reset(REQUEST)) as (first, second), gateways(first, second) as api:
        second.add(started(second))
        start(api)
        for server in (first, second):
            (request,) = server.requests
            assert request.header("Host") == server.url[8:]
            stamp = request.header("X-IAMPASS-Authentication-Timestamp") or ""
            signed = signature_text(SECRET, str(NONCE), server.url[8:] + request.target, stamp)
            assert request.header("Authentication") == f"hmac {APPLICATION}:{NONCE}:{signed}"


def test_of_the_urls_of_a_session_only_path_and_query_are_used() -> None:
    elsewhere = {"status_url": "https://evil.example/session/7?x=1", "logout_url": "https://gone.example/end"}
    with two() as (first, second), gateways(first, second) as api:
        first.add(started(first, **elsewhere), reset(ACCEPT))
        second.add(polled("active"), answer(200, {"status": True}))
        session = Session.Schema(api).loads(Session.Schema().dumps(start(api)))
        first.add(reset(REQUEST))
        assert (session.get_status(), session.destroy()) == (Status.active, True)
        assert [request.target for request in second.requests] == ["/session/7?x=1", "/end"]
        assert second.requests[0].header("Host") == second.url[8:]


def test_a_session_of_gateways_goes_to_no_other_iampass() -> None:
    with scripted_server() as server:
        plain = AuthenticationAPI(APPLICATION, SECRET, transport=Transport(server.url, server.ca_file))
        urls = ("https://gw.example/end", "https://gw.example/status")
        text = Session.Schema().dumps(Session(Status.pending, TOKEN, SESSION_SECRET, *urls))
        with pytest.raises(ValueError, match="does not belong"):
            Session.Schema(plain).loads(text)


# What is repeated


@pytest.mark.parametrize("fault", [reset(REQUEST), close(ANSWER), answer(502), answer(504)])
def test_a_start_with_an_id_is_repeated_after_any_failure_with_the_same_id_and_a_new_nonce(
    fault: Step,
) -> None:
    nonces = iter(range(1, 100))
    with (
        two(fault, second=(fault,)) as (first, second),
        gateways(first, second, nonce=lambda: next(nonces)) as api,
    ):
        first.add(started(first))
        assert start(api).in_progress
        requests = [first.requests[0], *second.requests, *first.requests[1:]]
        sent = [(request.header("Authentication") or "").split(":")[1] for request in requests]
        assert sent == ["1", "2", "3"]
        assert len({request.target for request in requests}) == 1
        assert parse_qs(urlsplit(requests[0].target).query) == {"request_id": [ID]}


@pytest.mark.parametrize("fault", [reset(REQUEST), close(ANSWER), answer(503), answer(429)])
def test_a_start_without_an_id_is_not_repeated_once_it_may_have_left(fault: Step) -> None:
    with two(fault) as (first, second), gateways(first, second) as api:
        error = failure(api, None)
        assert error.may_have_started
        assert (len(first.requests), second.connections) == (1, 0)


def test_a_gateway_that_says_nothing_is_left_for_the_next_one_in_time() -> None:
    with two(hang(REQUEST)) as (first, second), gateways(first, second, answer_seconds=3.0) as api:
        second.add(started(second))
        assert start(api).in_progress


@pytest.mark.parametrize(
    "step", [answer(401), answer(403), answer(404), answer(400), answer(200, {}), answer(500)]
)
def test_an_answer_is_no_reason_to_ask_another(step: Step) -> None:
    with two(step) as (first, second), gateways(first, second) as api:
        assert not is_outage(failure(api))
        assert second.connections == 0


def test_further_parameters_are_quoted_and_signed_and_only_for_gateways() -> None:
    parameters = {"request_id": ID, "service": "a b&c=d", "remote": "2001:db8::1"}
    with two() as (first, second), gateways(first, second) as api:
        first.add(started(first))
        api.authenticate_user("al ice", parameters=parameters)
        path, _, query = first.requests[0].target.partition("?")
        assert path.endswith("/al+ice")
        assert query == f"request_id={ID}&service=a+b%26c%3Dd&remote=2001%3Adb8%3A%3A1"


def test_a_plain_server_gets_no_parameters() -> None:
    with scripted_server(unsent()) as server:
        api = AuthenticationAPI(APPLICATION, SECRET, transport=Transport(server.url, server.ca_file))
        with pytest.raises(ValueError, match="only gateways"):
            start(api)
        assert server.connections == 0


# Polls that wait


def held(version: int, status: str = "pending") -> Step:
    return answer(200, {"authentication_status": {"session_status": status, "version": version}})


def test_gateways_hold_polls_and_another_server_does_not() -> None:
    with scripted_server() as server, gateways(server) as api:
        server.add(started(server, wait=25, version=1), started(server), started(server, wait=25, version=1))
        assert (start(api).longest_wait, start(api).longest_wait) == (25, 0)
        plain = AuthenticationAPI(APPLICATION, SECRET, transport=Transport(server.url, server.ca_file))
        assert plain.authenticate_user("alice").longest_wait == 0
        plain.close()


@pytest.mark.parametrize("wait", [True, "25", 2.5, None])
def test_a_wait_is_a_whole_number(wait: Any) -> None:
    with scripted_server() as server, gateways(server) as api:
        server.add(started(server, wait=wait))
        assert isinstance(failure(api), ProtocolError)


def test_a_poll_that_waits_names_the_version_of_the_last_answer() -> None:
    with scripted_server() as server, gateways(server) as api:
        server.add(started(server, wait=25, version=1), held(1), held(2, "active"), polled("active"))
        session = start(api)
        assert session.get_status(wait=25) is Status.pending
        assert session.get_status(wait=9) is Status.active
        session.get_status()
        queries = [urlsplit(request.target).query for request in server.requests[1:]]
        assert queries == ["wait=25&version=1", "wait=9&version=1", ""]
        assert session.version == 2


def test_a_poll_that_waits_has_that_time_beside_the_usual_one() -> None:
    with two() as (first, second), gateways(first, second, answer_seconds=3.0) as api:
        first.add(started(first, wait=25, version=1), hang(REQUEST))
        second.add(held(2, "active"))
        session, began = start(api), time.monotonic()
        assert session.get_status(wait=1) is Status.active
        assert time.monotonic() - began >= 4.0


def test_an_exception_while_it_waits_ends_the_call_and_its_connection() -> None:
    class Over(Exception):
        pass

    def until_readable(seconds: float, descriptor: int) -> None:
        waited.append(seconds)
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        if not poller.poll(500):
            raise Over

    waited: list[float] = []
    with scripted_server() as server, gateways(server) as api:
        server.add(started(server, wait=25, version=1), hang(REQUEST), polled("active"))
        session = start(api)
        with pytest.raises(Over):
            session.get_status(wait=25, until_readable=until_readable)
        assert 25 < waited[-1] <= 35
        assert session.get_status() is Status.active
        assert server.connections == 2


# Idle connections


def test_an_idle_connection_to_a_gateway_is_kept_for_calls_that_may_be_repeated() -> None:
    with scripted_server() as server, gateways(server, idle_seconds=0.0) as api:
        server.add(started(server), polled("active"), started(server))
        start(api).get_status()
        start(api)
        assert (len(server.requests), server.connections) == (3, 1)
    with scripted_server() as server, gateways(server, idle_seconds=0.0, kept_seconds=0.0) as api:
        server.add(started(server), polled("active"))
        start(api).get_status()
        assert server.connections == 2


def test_a_code_is_not_sent_over_a_connection_that_its_gateway_may_be_about_to_close() -> None:
    with scripted_server() as server, gateways(server, idle_seconds=0.0) as api:
        server.add(started(server), redeemed())
        start(api)
        assert redeem(api) == Redemption(9)
        assert server.connections == 2


def test_a_start_that_meets_the_end_of_an_idle_connection_is_repeated_with_its_id() -> None:
    with scripted_server() as server, gateways(server) as api:
        server.add(started(server), reset(REQUEST), started(server))
        start(api, "request-id-of-the-first")
        assert start(api).in_progress
        assert server.connections == 2
        assert [parse_qs(urlsplit(each.target).query)["request_id"] for each in server.requests[1:]] == [
            [ID]
        ] * 2


def test_the_silence_of_a_gateway_that_has_lost_its_power_ends_its_idle_connection() -> None:
    connections: list[socket.socket] = []

    def connect(*arguments: Any, **options: Any) -> socket.socket:
        connections.append(socket.create_connection(*arguments, **options))
        return connections[-1]

    with scripted_server() as server, gateways(server, network=Network(create_connection=connect)) as api:
        server.add(started(server))
        start(api)
        assert connections[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert connections[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000


# What is an outage


def test_it_is_an_outage_only_if_no_gateway_can_be_reached() -> None:
    with gateways(CLOSED, CLOSED) as api:
        error = failure(api)
        assert (is_outage(error), error.may_have_started) == (True, False)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (reset(REQUEST), Unavailable),
        (close(HANDSHAKE), Unavailable),
        (answer(503), Unavailable),
        (answer(401), Refused),
        (answer(200, {}), ProtocolError),
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_one_that_fails_in_another_way_makes_it_none(fault: Step, kind: type, first: bool) -> None:
    with scripted_server(*[fault] * 3) as server:
        order = (server, CLOSED) if first else (CLOSED, server)
        with gateways(*order) as api:
            error = failure(api)
            assert (type(error), is_outage(error)) == (kind, False)
            assert error.may_have_started or kind is Refused or fault.stage == HANDSHAKE


def test_a_gateway_with_a_wrong_certificate_makes_it_none() -> None:
    with scripted_server(certificate="untrusted") as server, gateways(CLOSED, server) as api:
        assert isinstance(failure(api), TLSFailure)
    with scripted_server(certificate="untrusted") as server, gateways(server, CLOSED) as api:
        assert isinstance(failure(api), TLSFailure)


def test_the_clock_that_differs_is_that_of_the_gateway_that_was_asked_last() -> None:
    ahead = answer(401, {}, headers={"Date": email.utils.formatdate(3600, usegmt=True)})
    with scripted_server(ahead) as server, gateways(CLOSED, server, wall_clock=lambda: 0.0) as api:
        server.add(started(server))
        assert start(api).session_status is Status.pending
        assert (api.transport.clock_offset, api.transport.clock_correction) == (None, 3600)


def test_a_gateway_whose_name_nobody_knows_makes_it_none() -> None:
    def look_up(host: str, *arguments: Any, timeout: float, **options: Any) -> Any:
        if host != "localhost":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return socket.getaddrinfo(host, *arguments, **options)

    with gateways("https://unknown.example", CLOSED, network=Network(look_up)) as api:
        assert isinstance(failure(api), LocalFailure)


def test_one_that_cannot_be_connected_to_in_time_is_an_outage_and_not_tried_twice() -> None:
    attempts = []

    def look_up(*arguments: Any, timeout: float, **options: Any) -> Any:
        attempts.append(arguments)
        return socket.getaddrinfo(*arguments, **options)

    options = {"connect_seconds": 0.3, "network": Network(look_up)}
    with black_hole() as (host, port), gateways(f"https://{host}:{port}", **options) as api:
        assert is_outage(failure(api))
        assert len(attempts) == 1
        assert not is_outage(failure(api, deadline=Deadline.after(0.2)))


# Nothing was sent


@pytest.mark.parametrize("reason", ["IAMPASS_AWAY", "DATABASE_AWAY"])
def test_a_gateway_may_say_that_nothing_was_sent(reason: str) -> None:
    with scripted_server(unsent(reason)) as server, gateways(server) as api:
        error = failure(api)
        assert (is_outage(error), error.may_have_started) == (True, False)
        assert reason in str(error)
        assert len(server.requests) == 1


def test_it_is_an_outage_only_if_the_other_gateways_say_so_too() -> None:
    with two(unsent(), second=(unsent(),)) as servers, gateways(*servers) as api:
        assert is_outage(failure(api))
    with two(unsent()) as (first, second), gateways(first, second) as api:
        second.add(started(second))
        assert start(api).in_progress
    with two(unsent()) as (first, second), gateways(first, second) as api:
        second.add(not_started("IAMPASS_AWAY"))
        assert start(api).failure_reason == "IAMPASS_AWAY"


@pytest.mark.parametrize(
    "step",
    [
        unsent(nonce=str(NONCE + 1)),
        unsent(nonce=""),
        unsent(nonce="None"),
        unsent(request_id="request-id-of-another"),
        unsent(request_id=""),
        unsent("HOST_THROTTLED"),
        unsent("TRY_AGAIN"),
        unsent("NO_MOBILE_DEVICE"),
        unsent("iampass_away"),
        not_started("IAMPASS_AWAY"),
        not_started("IAMPASS_AWAY", **{"Nothing_sent": {"request_id": ID, "nonce": str(NONCE)}}),
        answer(
            200,
            {
                "authentication_status": {"authenticated": False, "reason": "IAMPASS_AWAY"},
                "nothing_sent": {"request_id": ID, "nonce": str(NONCE)},
            },
        ),
    ],
)
def test_a_statement_about_anything_else_is_not_believed(step: Step) -> None:
    with scripted_server(step) as server, gateways(server) as api:
        session = start(api)
        assert session.failed
        assert session.failure_reason


@pytest.mark.parametrize(
    "said",
    [
        True,
        None,
        ID,
        [ID, str(NONCE)],
        {},
        {"request_id": ID},
        {"nonce": str(NONCE)},
        {"request_id": ID, "nonce": NONCE},
        {"request_id": [ID], "nonce": str(NONCE)},
    ],
)
def test_a_statement_of_another_type_is_an_invalid_response(said: Any) -> None:
    with scripted_server(not_started("IAMPASS_AWAY", nothing_sent=said)) as server, gateways(server) as api:
        error = failure(api)
        assert isinstance(error, ProtocolError)
        assert error.may_have_started


def test_a_statement_without_an_id_in_the_request_is_not_believed() -> None:
    with scripted_server(unsent(request_id="None")) as server, gateways(server) as api:
        assert start(api, None).failure_reason == "IAMPASS_AWAY"


@pytest.mark.parametrize("fault", [reset(REQUEST), close(ANSWER), answer(503)])
def test_a_statement_after_an_attempt_that_may_have_left_is_not_believed(fault: Step) -> None:
    with two(fault, second=(unsent(),)) as (first, second), gateways(first, second) as api:
        error = failure(api, attempts=1)
        assert (is_outage(error), error.may_have_started) == (False, True)
    with scripted_server(fault, unsent()) as server, gateways(server) as api:
        error = failure(api)
        assert (is_outage(error), error.may_have_started) == (False, True)
        assert len(server.requests) == 2


def test_a_statement_after_a_refused_signature_is_not_believed() -> None:
    wrong_clock = answer(401, headers={"Date": "Thu, 01 Jan 2099 00:00:00 GMT"})
    with scripted_server(wrong_clock, unsent()) as server, gateways(server) as api:
        assert not is_outage(failure(api))
        assert len(server.requests) == 2


def test_an_old_statement_told_again_is_not_believed() -> None:
    nonces = iter(range(NONCE, NONCE + 9))
    with scripted_server(unsent(), unsent()) as server, gateways(server, nonce=lambda: next(nonces)) as api:
        assert is_outage(failure(api))
        assert start(api).failure_reason == "IAMPASS_AWAY"


def bypassed(request_id: Any = ID, nonce: Any = str(NONCE)) -> Step:
    return not_started("BYPASSED", bypassed={"request_id": request_id, "nonce": nonce})


def test_a_gateway_may_say_that_the_person_is_bypassed() -> None:
    with scripted_server(bypassed()) as server, gateways(server) as api:
        assert start(api).failure_reason == "BYPASSED"


@pytest.mark.parametrize(
    "step",
    [
        not_started("BYPASSED"),
        bypassed("request-id-of-22-charz"),
        bypassed(nonce=str(NONCE + 1)),
        bypassed(nonce=NONCE),
        not_started("BYPASSED", nothing_sent={"request_id": ID, "nonce": str(NONCE)}),
    ],
)
def test_a_bypass_for_another_request_is_not_believed(step: Step) -> None:
    with scripted_server(step) as server, gateways(server) as api:
        assert isinstance(failure(api), ProtocolError)


def test_iampass_itself_and_a_start_without_an_id_are_not_believed_that_a_person_is_bypassed() -> None:
    with scripted_server(bypassed()) as server, gateways(server) as api:
        assert isinstance(failure(api, None), ProtocolError)
    with scripted_server(bypassed()) as server:
        api = AuthenticationAPI(APPLICATION, SECRET, server.url, authority().ca_file)
        with pytest.raises(ProtocolError):
            api.authenticate_user("alice")


def test_a_poll_is_never_answered_that_nothing_was_sent() -> None:
    with scripted_server() as server, gateways(server) as api:
        server.add(started(server), unsent())
        with pytest.raises(ProtocolError):
            start(api).get_status(attempts=1)
