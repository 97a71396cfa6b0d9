"""Users, and how they come by a device."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tests.sandbox.signer import Caller, Reply
from tests.support.sandbox import Sandbox


def link_of(caller: Caller, user: str, query: str = "") -> str:
    url: str = caller.get(caller.manage("device_registration_link", user) + query).json["register_url"]
    return url


def device_of(caller: Caller, user: str) -> object:
    return caller.get(caller.manage("has_registered_mobile_device", user)).json


def test_a_link_shows_a_button_and_registers_a_device_once(sandbox: Sandbox, caller: Caller) -> None:
    link = link_of(caller, "bob", "?display_name=Bob+B%26B")
    assert link.startswith(sandbox.url + "/register/")
    page = open_link(caller, "GET", link)
    assert page.status == 200
    assert b'<form method="post"><button class="approve" type="submit">' in page.body
    assert page.headers["Content-Type"].startswith("text/html")
    assert sandbox.users["bob"] is False

    assert open_link(caller, "POST", link).status == 200
    assert device_of(caller, "bob") == {"device_registered": True}
    assert open_link(caller, "POST", link).status == 410
    assert open_link(caller, "GET", link).status == 410
    assert caller.start("bob").authentication["authenticated"] is True


def test_a_link_of_a_deleted_user_is_worth_nothing(sandbox: Sandbox, caller: Caller) -> None:
    link = link_of(caller, "bob")
    sandbox.delete_user("bob")
    sandbox.add_user("bob", device=False)
    assert open_link(caller, "POST", link).status == 410
    assert sandbox.users["bob"] is False


def test_the_page_shows_a_user_name_as_text(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.add_user("<script>{user}", device=False)
    page = open_link(caller, "GET", link_of(caller, "<script>{user}"))
    assert b"<script>" not in page.body
    assert b"&lt;script&gt;{user}" in page.body


@pytest.mark.parametrize("number", ["5551234567", "+0555123456", "+1555", "+1 555 1234567", "+1" + 15 * "5"])
def test_a_malformed_number_gets_no_message(sandbox: Sandbox, caller: Caller, number: str) -> None:
    reply = caller.post(caller.manage("send_registration_sms", "bob"), {"phone_number": number})
    assert reply.json == {"status": False, "reason": "INVALID_PHONE_NUMBER"}
    assert sandbox.messages == ()


def test_a_lost_device_is_disabled_and_a_link_registers_another(sandbox: Sandbox, caller: Caller) -> None:
    begun = caller.start("alice").authentication
    reply = caller.get(caller.manage("lost_user_mobile_device", "alice")).json
    assert reply["status"] is True
    assert device_of(caller, "alice") == {"device_registered": False}
    assert caller.poll(begun) == "closed"
    assert caller.start("alice").authentication["reason"] == "NO_MOBILE_DEVICE"
    assert open_link(caller, "POST", reply["register_url"]).status == 200
    assert device_of(caller, "alice") == {"device_registered": True}
    caller.start("alice")
    sandbox.approve("alice")


def open_link(caller: Caller, method: str, link: str) -> Reply:
    return caller.send(method, urlsplit(link).path, {})
