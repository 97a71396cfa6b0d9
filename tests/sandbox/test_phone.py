"""What the phone page calls, without a browser: who may call it, and what it receives."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.sandbox.signer import Caller, Reply
from tests.support.sandbox import Sandbox

PAGE = Path(__file__).parents[2] / "pam_iampass/sandbox/page"


def bearer(sandbox: Sandbox) -> dict[str, str]:
    """What the page sends once it has read its address."""
    return {"Authorization": f"Bearer {urlsplit(sandbox.phone_url).fragment}"}


def post(sandbox: Sandbox, target: str) -> Reply:
    return Caller(sandbox).send("POST", target, bearer(sandbox))


class Listening:
    """The stream of events, read one by one."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response

    def next(self) -> Any:
        for line in iter(self.response.readline, b""):
            if line.startswith(b"data: "):
                return json.loads(line[len(b"data: ") :])
        raise AssertionError("the stream has ended")


@contextmanager
def listening(sandbox: Sandbox) -> Iterator[Listening]:
    connection = Caller(sandbox).connect()
    connection.request("GET", "/phone/events", headers=bearer(sandbox))
    response = connection.getresponse()
    assert response.status == 200
    assert response.getheader("Content-Type") == "text/event-stream"
    yield Listening(response)
    response.close()
    connection.close()


def test_a_request_is_answered_once(sandbox: Sandbox, caller: Caller) -> None:
    begun = caller.start("alice").authentication
    assert post(sandbox, "/phone/requests/1/deny").status == 200
    assert post(sandbox, "/phone/requests/1/approve").reason == "NOT_PENDING"
    assert caller.poll(begun) == "cancelled"
    for wrong in ("2/approve", "0/deny"):
        assert post(sandbox, f"/phone/requests/{wrong}").reason == "NOT_PENDING"
    for wrong in ("1/cancel", "x/approve", "-1/approve", "99999999999999999999/approve"):
        assert post(sandbox, f"/phone/requests/{wrong}").status == 404


@pytest.mark.parametrize(
    "target", ["/phone/events", "/phone/requests/1/approve", "/phone/register/x", "/phone/devices/lost/alice"]
)
@pytest.mark.parametrize("key", [None, "", "Bearer ", "Bearer wrong", "control"])
def test_without_the_key_nothing_is_shown_or_done(
    sandbox: Sandbox, caller: Caller, target: str, key: str | None
) -> None:
    caller.start("alice")
    token = f"Bearer {sandbox.control_token_file.read_text().strip()}"
    headers = {} if key is None else {"Authorization": token if key == "control" else key}
    reply = caller.send("GET" if target == "/phone/events" else "POST", target, headers)
    assert (reply.status, reply.reason) == (401, "BAD_TOKEN")
    assert sandbox.sessions[0].undecided


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_another_site_is_refused_even_with_the_key(sandbox: Sandbox, caller: Caller, site: str) -> None:
    caller.start("alice")
    headers = {**bearer(sandbox), "Sec-Fetch-Site": site}
    assert caller.send("POST", "/phone/requests/1/approve", headers).reason == "WRONG_SITE"
    assert caller.send("GET", "/phone/events", headers).reason == "WRONG_SITE"
    assert sandbox.sessions[0].undecided


def test_only_post_changes_anything(sandbox: Sandbox, caller: Caller) -> None:
    caller.start("alice")
    for method in ("GET", "HEAD", "PUT"):
        assert caller.send(method, "/phone/requests/1/approve", bearer(sandbox)).status == 405
    assert sandbox.sessions[0].undecided


def test_the_key_lasts_for_one_run(tmp_path: Path) -> None:
    with Sandbox(state=tmp_path / "state") as sandbox:
        before = bearer(sandbox)
    with Sandbox(state=tmp_path / "state") as sandbox:
        assert sandbox.phone_address_file.read_text() == sandbox.phone_url + "\n"
        assert Caller(sandbox).send("POST", "/phone/requests/1/deny", before).reason == "BAD_TOKEN"


def test_every_file_of_the_page_is_fixed_text_that_loads_nothing_from_elsewhere(
    sandbox: Sandbox, caller: Caller
) -> None:
    sandbox.add_user("<script>mallory</script>")
    pages = ["/phone", *(f"/phone/{path.name}" for path in PAGE.iterdir())]
    assert len(pages) > 5
    for target in pages:
        reply = caller.send("GET", target, {})
        assert reply.status == 200
        policy = reply.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Referrer-Policy"] == "no-referrer"
        assert reply.headers["Cache-Control"] == "no-store"
        assert "Set-Cookie" not in reply.headers
        text = reply.body.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://\w|@import|url\(|mallory|innerHTML", text)


@pytest.mark.parametrize(
    "target", ["/phone/", "/phone/../sandbox.py", "/phone/..%2fsandbox.py", "/phone/x.js", "/phone/page"]
)
def test_nothing_but_the_files_of_the_page_is_served(caller: Caller, target: str) -> None:
    assert caller.send("GET", target, {}).status == 404


def test_a_lost_phone_answers_nothing_until_it_is_found(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.add_user("a b/c")
    assert post(sandbox, "/phone/devices/lost/a+b%2Fc").status == 200
    sandbox.auto = "approve"
    begun = caller.start("a b/c").authentication
    with listening(sandbox) as page:
        view = page.next()
        assert [request["lost"] for request in view["requests"]] == [True]
        assert view["users"][-1] == {"user": "a b/c", "quoted": "a+b%2Fc", "device": True, "lost": True}
    assert post(sandbox, "/phone/requests/1/approve").status == 409
    with pytest.raises(LookupError, match="is lost"):
        sandbox.approve("a b/c")
    assert caller.poll(begun) == "pending"
    assert caller.get(caller.manage("has_registered_mobile_device", "a b/c")).json["device_registered"]
    assert post(sandbox, "/phone/devices/found/a+b%2Fc").status == 200
    assert post(sandbox, "/phone/requests/1/approve").status == 200
    assert caller.poll(begun) == "active"


@pytest.mark.parametrize(
    ("target", "status"), [("lost/bob", 409), ("lost/carol", 409), ("sold/alice", 404), ("lost/a%20b", 400)]
)
def test_only_a_registered_phone_can_be_lost(sandbox: Sandbox, target: str, status: int) -> None:
    assert post(sandbox, f"/phone/devices/{target}").status == status
    assert sandbox.users == {"alice": True, "bob": False}


def test_names_and_messages_are_cleaned(sandbox: Sandbox, caller: Caller) -> None:
    name = "\u202ealice\x1b[2J"
    sandbox.add_user(name)
    caller.start(name)
    with listening(sandbox) as page:
        view = page.next()
    assert view["requests"][0]["user"] == "\\u202ealice\\x1b[2J"
    assert view["users"][-1]["user"] == "\\u202ealice\\x1b[2J"


def test_open_pages_are_counted_and_do_not_keep_the_sandbox_from_stopping() -> None:
    with Sandbox() as sandbox:
        with pytest.raises(TimeoutError):
            sandbox.wait_for_phone(0.01)
        with listening(sandbox) as page:
            page.next()
            sandbox.wait_for_phone()
            sandbox.stop()
            with pytest.raises((AssertionError, OSError, http.client.HTTPException)):
                page.next()
