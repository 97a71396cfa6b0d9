"""A call that is not exactly as the protocol wants it is refused, with a reason, and has no effect.

What is wrong with a signature or a request: tests/unit/server.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import pytest

from pam_iampass.sandbox.calls import ROUTES
from tests.sandbox.signer import Caller, Reply, signed
from tests.support.sandbox import Sandbox

START = "/authentication/authenticate_user/demo/alice"
JSON = {"Content-Type": "application/json"}


def start_with(
    caller: Caller, changed: Mapping[str, str | None], body: bytes = b"{}", target: str = START
) -> Reply:
    headers = {**caller.application(target), **JSON, **changed}
    left = [(name, value) for name, value in headers.items() if value is not None]
    return caller.send("POST", target, left, body)


def test_a_nonce_is_good_once(caller: Caller) -> None:
    headers = caller.application(START)
    assert start_with(caller, headers).status == 202
    reply = start_with(caller, headers)
    assert (reply.status, reply.reason) == (401, "REPLAYED_NONCE")


def test_a_call_that_is_not_as_it_should_be_begins_nothing(caller: Caller) -> None:
    assert caller.start("alice", "?methods=telepathy").reason == "BAD_METHODS"
    assert start_with(caller, {}, b"[]").reason == "BAD_BODY"
    assert start_with(caller, {"Content-Type": None}).reason == "BAD_CONTENT_TYPE"
    assert start_with(caller, {"Authentication": None}).reason == "BAD_HEADERS"
    assert caller.sandbox.sessions == ()


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


def test_methods_and_duration_reach_the_session(caller: Caller) -> None:
    caller.start("alice", "?methods=device,facial&duration_seconds=86400")
    caller.start("alice")
    first, second = caller.sandbox.sessions
    assert (first.methods, first.duration) == (("device", "facial"), 86400)
    assert (second.methods, second.duration) == ((), 3600)


def test_the_wrong_method_is_refused_with_the_right_one(caller: Caller) -> None:
    reply = caller.get(START)
    assert (reply.status, reply.reason, reply.headers["Allow"]) == (405, "WRONG_METHOD", "POST")


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
    assert start_with(caller, {"Content-Length": str(1024 * 1024 + 1)}, b"").status == 413


def test_a_skewed_clock_shows_in_date_and_decides_about_timestamps(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.clock_skew = 1000.0
    reply = caller.start("alice")
    assert (reply.status, reply.reason) == (401, "STALE_TIMESTAMP")
    assert abs(parsedate_to_datetime(reply.headers["Date"]).timestamp() - time.time() - 1000) < 60
    headers = caller.application(START, timestamp=int(time.time()) + 1000)
    assert start_with(caller, headers).status == 202
