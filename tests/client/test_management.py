"""Users and devices: what each answer means, against the sandbox and against servers that get it wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

from pam_iampass.client import (
    Declined,
    IampassError,
    ManagementAPI,
    ManagementAPIResult,
    NotFound,
    ProtocolError,
    Refused,
    Unavailable,
)
from tests.client.talk import APPLICATION, CONFIDENTIAL, SECRET, USER, transport_to
from tests.support.scripted_server import REQUEST, ScriptedServer, Step, answer, reset, scripted_server

CALLS: list[tuple[str, tuple[Any, ...]]] = [
    ("add_user", (USER,)),
    ("add_users", ([USER],)),
    ("delete_user", (USER,)),
    ("delete_users", ([USER],)),
    ("get_registration_link", (USER,)),
    ("send_registration_sms", (USER, None, "+15551234567")),
    ("has_registered_mobile_device", (USER,)),
    ("lost_mobile_device", (USER,)),
]
CHANGING = [call for call in CALLS if not call[0].startswith(("get_", "has_"))]


@contextmanager
def manager_of(server: ScriptedServer) -> Iterator[ManagementAPI]:
    with transport_to(server) as transport:
        yield ManagementAPI(APPLICATION, SECRET, transport=transport)


@pytest.mark.parametrize(("name", "arguments"), CALLS)
def test_an_unknown_application_or_user_is_not_found_and_not_asked_for_again(
    name: str, arguments: tuple[Any, ...]
) -> None:
    sentence = f"Client Application {APPLICATION} or User {USER} not found".encode()
    with scripted_server(answer(404, body=sentence)) as server, manager_of(server) as manager:
        with pytest.raises(NotFound, match="404 Not Found") as caught:
            getattr(manager, name)(*arguments)
        assert len(server.requests) == 1
        assert caught.value.may_have_started is False
        assert not any(secret in caught.value.diagnostics() for secret in CONFIDENTIAL)


@pytest.mark.parametrize(
    ("reply", "known"),
    [
        (answer(201, {"status": True, "users": {"created": [], "existing": []}}), True),
        (answer(200, {"status": False, "reason": "NO_USERS"}), True),
        (answer(400), True),
        (answer(404, body=b"Client Application not found"), False),
    ],
)
def test_whether_the_application_is_known_is_asked_without_adding_anybody(reply: Step, known: bool) -> None:
    with scripted_server(reply) as server, manager_of(server) as manager:
        assert manager.knows_application() is known
        (request,) = server.requests
        assert request.body == b'{"users": []}'


@pytest.mark.parametrize(
    ("reply", "kind"), [(answer(401), Refused), (answer(500), Unavailable), (answer(200), ProtocolError)]
)
def test_an_answer_that_says_nothing_about_the_application_is_raised(
    reply: Step, kind: type[Exception]
) -> None:
    with scripted_server(reply) as server, manager_of(server) as manager, pytest.raises(kind):
        manager.knows_application()


HOST = {"name": "web1", "group": "web", "status": "active"}


def test_a_host_learns_of_gateways_by_https_only() -> None:
    named = ["https://a.example.com", "https://b.example.com:8443"]
    wrong = ["http://a.example.com", "https://a.example.com/path", "a.example.com", "https://a\n.example.com"]
    steps = [answer(200, {**HOST, "gateways": gateways}) for gateways in (named, *([one] for one in wrong))]
    with scripted_server(*steps) as server, manager_of(server) as manager:
        assert manager.host().gateways == tuple(named)
        for _ in wrong:
            with pytest.raises(ProtocolError):
                manager.host()


def test_users_that_are_not_added_have_a_reason() -> None:
    with (
        scripted_server(answer(200, {"status": False, "reason": "QUOTA"})) as server,
        manager_of(server) as manager,
        pytest.raises(Declined, match="add users: IAMPASS declined: QUOTA") as caught,
    ):
        manager.add_users([USER])
    assert caught.value.reason == "QUOTA"


@pytest.mark.parametrize(("name", "arguments"), CHANGING)
def test_a_change_that_may_have_been_made_is_not_made_again(name: str, arguments: tuple[Any, ...]) -> None:
    with scripted_server(reset(REQUEST)) as server, manager_of(server) as manager:
        with pytest.raises(Unavailable) as caught:
            getattr(manager, name)(*arguments)
        assert caught.value.may_have_started is True
        assert len(server.requests) == 1


@pytest.mark.parametrize(("name", "arguments"), [call for call in CALLS if call not in CHANGING])
def test_a_question_is_asked_again(name: str, arguments: tuple[Any, ...]) -> None:
    link = {"status": True, "register_url": "https://x/", "device_registered": True}
    with (
        scripted_server(reset(REQUEST), answer(503), answer(200, link)) as server,
        manager_of(server) as manager,
    ):
        assert getattr(manager, name)(*arguments)
        assert len(server.requests) == 3


@pytest.mark.parametrize(("name", "arguments"), CALLS)
def test_an_answer_of_a_wrong_type_is_a_protocol_error(name: str, arguments: tuple[Any, ...]) -> None:
    documents: list[Any] = [
        {"status": "true", "device_registered": "false", "users": {"created": [], "existing": []}},
        {"status": None, "device_registered": None},
        {"status": False, "reason": 7},
        [],
    ]
    for document in documents:
        with scripted_server(answer(200, document)) as server, manager_of(server) as manager:
            with pytest.raises(ProtocolError):
                getattr(manager, name)(*arguments)
            assert len(server.requests) == 1


@pytest.mark.parametrize(
    "users",
    [
        [],
        {"created": [USER]},
        {"created": USER, "existing": []},
        {"created": ["\ud800"], "existing": []},
        {"created": [], "existing": []},
    ],
)
def test_an_answer_that_does_not_say_who_was_added_is_a_protocol_error(users: Any) -> None:
    with (
        scripted_server(answer(200, {"status": True, "users": users})) as server,
        manager_of(server) as manager,
        pytest.raises(ProtocolError),
    ):
        manager.add_user(USER)


@pytest.mark.parametrize(
    "url", ["", "/register/1", "https://x/a b", "https://x/\x1b[2J", "https://x/ü", 7, None]
)
@pytest.mark.parametrize("call", ["get_registration_link", "lost_mobile_device"])
def test_an_invalid_link_is_a_protocol_error(call: str, url: Any) -> None:
    with (
        scripted_server(answer(200, {"status": True, "register_url": url})) as server,
        manager_of(server) as manager,
        pytest.raises(ProtocolError, match="register_url"),
    ):
        getattr(manager, call)(USER)


UNKNOWN, DECLINED = answer(404, body=b"not found"), answer(200, {"status": False, "reason": "no"})
KNOWN_APPLICATION = answer(201, {"status": True, "users": {"created": [], "existing": []}})
WITH_PHONE, WITHOUT = (answer(200, {"status": True, "device_registered": has}) for has in (True, False))


@pytest.mark.parametrize(
    ("name", "replies", "done"),
    [
        ("remove_user", (UNKNOWN, UNKNOWN, KNOWN_APPLICATION), True),
        ("remove_user", (UNKNOWN, UNKNOWN, UNKNOWN), False),
        ("remove_user", (DECLINED, WITHOUT), False),
        ("disable_mobile_device", (UNKNOWN, UNKNOWN, KNOWN_APPLICATION), True),
        ("disable_mobile_device", (UNKNOWN, UNKNOWN, UNKNOWN), False),
        ("disable_mobile_device", (DECLINED, WITHOUT), True),
        ("disable_mobile_device", (DECLINED, WITH_PHONE), False),
        ("disable_mobile_device", (answer(500),), False),
    ],
)
def test_who_is_gone_already_is_no_error_if_iampass_says_so_for_certain(
    name: str, replies: tuple[Step, ...], done: bool
) -> None:
    with scripted_server(*replies) as server, manager_of(server) as manager:
        with nullcontext() if done else pytest.raises(IampassError):
            getattr(manager, name)(USER)
        assert len(server.requests) == len(replies)


def test_a_reason_is_safe_to_print() -> None:
    with scripted_server(answer(200, {"status": False, "reason": "\x1b[2J\n" + "x" * 999})) as server:
        with manager_of(server) as manager, pytest.raises(Declined) as caught:
            manager.delete_user(USER)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 260


@pytest.mark.parametrize(
    ("name", "arguments", "kind"),
    [
        ("add_users", ("alice",), TypeError),
        ("add_users", ([],), ValueError),
        ("add_users", (["alice", ".."],), ValueError),
        ("add_user", ("",), ValueError),
        ("get_registration_link", ("..",), ValueError),
        ("send_registration_sms", (USER, None, ""), ValueError),
        ("has_registered_mobile_device", ("a\nb",), ValueError),
        ("lost_mobile_device", ("..",), ValueError),
    ],
)
def test_arguments_that_make_no_sense_are_refused_before_anything_is_sent(
    name: str, arguments: tuple[Any, ...], kind: type[Exception]
) -> None:
    with scripted_server() as server, manager_of(server) as manager:
        with pytest.raises(kind):
            getattr(manager, name)(*arguments)
        assert server.connections == 0


@pytest.mark.parametrize("result", ManagementAPIResult)
def test_a_result_is_printed_by_its_name(result: ManagementAPIResult) -> None:
    assert str(result) == f"ManagementAPIResult.{result.name}"
    assert result == result.value  # it is the number of the published client all the same
