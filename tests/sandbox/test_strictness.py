"""A call that is not exactly as the protocol wants it is refused, with a reason."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import pytest

from pam_iampass.sandbox.server import ROUTES
from tests.sandbox.signer import Caller, Reply, signed
from tests.support.sandbox import Sandbox

START = "/authentication/authenticate_user/demo/alice"
JSON = {"Content-Type": "application/json"}
VERSION = "X-IAMOASS-Authentication-Version"
TIMESTAMP = "X-IAMPASS-Authentication-Timestamp"


def start_with(
    caller: Caller, changed: Mapping[str, str | None], body: bytes = b"{}", target: str = START
) -> Reply:
    headers = {**caller.application(target), **JSON, **changed}
    left = [(name, value) for name, value in headers.items() if value is not None]
    return caller.send("POST", target, left, body)


@pytest.mark.parametrize("header", ["Authentication", TIMESTAMP, VERSION])
def test_a_missing_signing_header_is_refused(caller: Caller, header: str) -> None:
    reply = start_with(caller, {header: None})
    assert (reply.status, reply.reason) == (401, "BAD_HEADERS")


@pytest.mark.parametrize("header", ["Authentication", TIMESTAMP, VERSION])
def test_a_signing_header_that_is_there_twice_is_refused(caller: Caller, header: str) -> None:
    headers = {**caller.application(START), **JSON}
    reply = caller.send("POST", START, [*headers.items(), (header, headers[header])], b"{}")
    assert (reply.status, reply.reason) == (401, "BAD_HEADERS")


@pytest.mark.parametrize(
    ("header", "value", "reason"),
    [
        (VERSION, "2", "BAD_VERSION"),
        ("Authentication", "Bearer demo", "BAD_AUTHENTICATION"),
        ("Authentication", "hmac demo:1", "BAD_AUTHENTICATION"),
        ("Authentication", "hmac demo:1:x:y", "BAD_AUTHENTICATION"),
        ("Authentication", "hmac demo::x", "BAD_NONCE"),
        ("Authentication", "hmac demo:-1:x", "BAD_NONCE"),
        ("Authentication", "hmac demo:007:x", "BAD_NONCE"),
        ("Authentication", f"hmac demo:{2**64}:x", "BAD_NONCE"),
        pytest.param("Authentication", f"hmac demo:{'9' * 5000}:x", "BAD_NONCE", id="endless nonce"),
        ("Authentication", "hmac demo:1:AAAAAAAAAAAAAAAAAAAAAA==", "BAD_SIGNATURE"),
        ("Authentication", "hmac other:1:x", "UNKNOWN_CLIENT"),
        (TIMESTAMP, "now", "BAD_TIMESTAMP"),
        (TIMESTAMP, "9" * 30, "BAD_TIMESTAMP"),
        (TIMESTAMP, str(int(time.time()) - 1), "BAD_SIGNATURE"),
    ],
)
def test_a_wrong_signing_header_is_refused(caller: Caller, header: str, value: str, reason: str) -> None:
    reply = start_with(caller, {header: value})
    assert (reply.status, reply.reason) == (401, reason)


def test_the_largest_nonce_is_accepted_and_only_once(caller: Caller) -> None:
    for nonce in ("0", str(2**64 - 1)):
        chosen = caller.application(START, nonce=nonce)
        assert start_with(caller, chosen).status == 202
        reply = start_with(caller, chosen)
        assert (reply.status, reply.reason) == (401, "REPLAYED_NONCE")


def test_a_nonce_cannot_be_used_up_by_a_client_that_cannot_sign(caller: Caller) -> None:
    headers = caller.application(START, nonce="77")
    assert start_with(caller, {"Authentication": "hmac demo:77:wrong"}).reason == "BAD_SIGNATURE"
    assert start_with(caller, headers).status == 202


@pytest.mark.parametrize(("offset", "status"), [(-310, 401), (-290, 202), (290, 202), (310, 401)])
def test_a_timestamp_must_be_within_five_minutes(caller: Caller, offset: int, status: int) -> None:
    reply = start_with(caller, caller.application(START, timestamp=int(time.time()) + offset))
    assert reply.status == status
    if status == 401:
        assert reply.reason == "STALE_TIMESTAMP"


@pytest.mark.parametrize(
    "url", ["https://elsewhere.example" + START, "https://127.0.0.1:1" + START, "https://127.0.0.1:1/x?y=z"]
)
def test_a_signature_for_another_url_is_refused(caller: Caller, url: str) -> None:
    reply = start_with(caller, signed("demo", "s3cret", url))
    assert (reply.status, reply.reason) == (401, "BAD_SIGNATURE")


def test_the_query_is_signed_too(caller: Caller) -> None:
    reply = start_with(caller, caller.application(START), target=START + "?duration_seconds=60")
    assert reply.reason == "BAD_SIGNATURE"


def test_a_wrong_secret_is_refused_with_the_time_of_the_server(caller: Caller) -> None:
    reply = start_with(caller, signed("demo", "wrong", caller.sandbox.url + START))
    assert (reply.status, reply.reason) == (401, "BAD_SIGNATURE")
    assert abs(parsedate_to_datetime(reply.headers["Date"]).timestamp() - time.time()) < 60


@pytest.mark.parametrize(
    ("method", "path"),
    [
        (each.method, each.path)
        for each in ROUTES
        if each.path.startswith(("/authentication/", "/management/"))
    ],
)
def test_an_application_that_does_not_exist_is_not_found_by_any_call(
    caller: Caller, method: str, path: str
) -> None:
    target = path.replace("*", "other", 1).replace("*", "alice")
    reply = caller.send(method, target, signed("other", "s3cret", caller.sandbox.url + target))
    assert (reply.status, reply.body) == (404, b"There is no application other.")
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("value", [None, "text/plain", "application/json; charset=utf-8", "application/JSON"])
def test_content_type_must_be_that_of_the_client(caller: Caller, value: str | None) -> None:
    reply = start_with(caller, {"Content-Type": value})
    assert (reply.status, reply.reason) == (400, "BAD_CONTENT_TYPE")


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'{"a": 1}', b"{} x", b"\xff", b'"text"'])
def test_the_body_of_a_start_is_an_empty_object(caller: Caller, body: bytes) -> None:
    reply = start_with(caller, {}, body)
    assert (reply.status, reply.reason) == (400, "BAD_BODY")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("?colour=red", "UNKNOWN_PARAMETER"),
        ("?duration_seconds=1&duration_seconds=1", "REPEATED_PARAMETER"),
        ("?methods=", "EMPTY_PARAMETER"),
        ("?duration_seconds=60&", "UNKNOWN_PARAMETER"),
        ("?methods=telepathy", "BAD_METHODS"),
        ("?methods=device,device", "BAD_METHODS"),
        ("?methods=%FF", "BAD_QUOTING"),
        ("?duration_seconds=0", "BAD_DURATION"),
        ("?duration_seconds=86401", "BAD_DURATION"),
        ("?duration_seconds=1.5", "BAD_DURATION"),
        ("?duration_seconds=060", "BAD_DURATION"),
    ],
)
def test_a_wrong_query_is_refused(caller: Caller, query: str, reason: str) -> None:
    reply = caller.start("alice", query)
    assert (reply.status, reply.reason) == (400, reason)
    assert caller.sandbox.sessions == ()


def test_methods_and_duration_reach_the_session(caller: Caller) -> None:
    caller.start("alice", "?methods=device,facial&duration_seconds=86400")
    caller.start("alice")
    first, second = caller.sandbox.sessions
    assert (first.methods, first.duration) == (("device", "facial"), 86400)
    assert (second.methods, second.duration) == ((), 3600)


@pytest.mark.parametrize("segment", ["a%20b", "a@b", "%61lice", "a%2fb", "%FF"])
def test_a_user_id_that_is_not_form_quoted_is_refused(caller: Caller, segment: str) -> None:
    reply = caller.post(f"/authentication/authenticate_user/demo/{segment}", {})
    assert (reply.status, reply.reason) == (400, "BAD_QUOTING")


def test_the_wrong_method_is_refused_with_the_right_one(caller: Caller) -> None:
    reply = caller.get(START)
    assert (reply.status, reply.reason, reply.headers["Allow"]) == (405, "WRONG_METHOD", "POST")


@pytest.mark.parametrize("host", ["elsewhere.example", "127.0.0.1.elsewhere.example:443", "[::1", ""])
def test_another_host_name_is_refused(caller: Caller, host: str) -> None:
    reply = caller.send("GET", "/sandbox/requests", {"Host": host})
    assert (reply.status, reply.reason) == (421, "WRONG_HOST")


def test_urls_lead_to_the_name_that_was_called(caller: Caller) -> None:
    origin = f"https://localhost:{caller.sandbox.port}"
    headers = {**signed("demo", "s3cret", origin + START), **JSON, "Host": f"localhost:{caller.sandbox.port}"}
    begun = caller.send("POST", START, headers, b"{}").authentication
    assert begun["status_url"].startswith(origin + "/")
    assert begun["logout_url"].startswith(origin + "/")


@pytest.mark.parametrize("call", ["device_registration_link", "has_registered_mobile_device"])
def test_a_get_has_no_body_and_no_unknown_parameter(caller: Caller, call: str) -> None:
    target = caller.manage(call, "alice")
    assert caller.send("GET", target, caller.application(target), b"{}").reason == "UNEXPECTED_BODY"
    assert caller.get(target + "?colour=red").reason == "UNKNOWN_PARAMETER"


def test_a_large_body_is_refused_before_it_is_read(caller: Caller) -> None:
    assert start_with(caller, {}, b"x" * (1024 * 1024 + 1)).status == 413


def test_a_skewed_clock_shows_in_date_and_decides_about_timestamps(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.clock_skew = 1000.0
    reply = caller.start("alice")
    assert (reply.status, reply.reason) == (401, "STALE_TIMESTAMP")
    assert abs(parsedate_to_datetime(reply.headers["Date"]).timestamp() - time.time() - 1000) < 60
    headers = caller.application(START, timestamp=int(time.time()) + 1000)
    assert start_with(caller, headers).status == 202
