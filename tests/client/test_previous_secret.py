"""A secret that is being changed: the previous one is tried after a 401 to the new one, and never otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pam_iampass.client import AuthenticationAPI, ManagementAPI, NotFound, Refused, Unavailable
from tests.client.talk import APPLICATION, SECRET, USER, started, transport_to
from tests.client.test_authentication import signature_holds
from tests.support.scripted_server import ACCEPT, ScriptedServer, answer, reset, scripted_server

NEW = "new-secret-text"
REJECTED = answer(401)


@contextmanager
def api_with_both(server: ScriptedServer) -> Iterator[AuthenticationAPI]:
    with transport_to(server) as transport:
        yield AuthenticationAPI(APPLICATION, NEW, transport=transport, previous_secret=SECRET)


def signed_with(server: ScriptedServer) -> list[str]:
    """The secret that each request was signed with."""
    return [
        next(secret for secret in (NEW, SECRET) if signature_holds(request, APPLICATION, secret))
        for request in server.requests
    ]


def test_a_new_secret_that_is_accepted_is_the_only_one_that_is_used() -> None:
    with scripted_server() as server, api_with_both(server) as api:
        server.add(started(server))
        assert api.authenticate_user(USER).in_progress
        assert signed_with(server) == [NEW]
        assert not api.used_previous_secret


def test_a_new_secret_that_is_rejected_is_followed_by_the_previous_one_in_every_call() -> None:
    with scripted_server(REJECTED) as server, api_with_both(server) as api:
        for _ in range(2):
            server.add(started(server), REJECTED)
            assert api.authenticate_user(USER).in_progress
            assert api.used_previous_secret
        assert signed_with(server) == [NEW, SECRET] * 2


def test_two_rejected_secrets_are_a_refusal_after_two_requests() -> None:
    with scripted_server(REJECTED, REJECTED) as server, api_with_both(server) as api:
        with pytest.raises(Refused):
            api.authenticate_user(USER)
        assert signed_with(server) == [NEW, SECRET]
        assert not api.used_previous_secret


@pytest.mark.parametrize("status", [403, 404, 500])
def test_after_any_other_error_the_previous_secret_is_not_tried(status: int) -> None:
    with scripted_server(answer(status)) as server, api_with_both(server) as api:
        with pytest.raises((Refused, NotFound, Unavailable)):
            api.authenticate_user(USER, attempts=1)
        assert signed_with(server) == [NEW]


def test_management_calls_are_made_with_either_secret_too() -> None:
    yes = answer(200, {"status": True, "device_registered": True})
    with scripted_server(REJECTED, yes) as server, transport_to(server) as transport:
        api = ManagementAPI(APPLICATION, NEW, transport=transport, previous_secret=SECRET)
        api.has_registered_mobile_device(USER)
        assert signed_with(server) == [NEW, SECRET]


def test_no_secret_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted_server() as server, api_with_both(server) as api:
        print(api, repr(api))
    shown = capsys.readouterr().out
    assert NEW not in shown
    assert SECRET not in shown


def test_a_server_that_is_gone_before_the_previous_secret_is_tried_is_no_outage_that_may_be_ignored() -> None:
    with (
        scripted_server(REJECTED.then("close"), *[reset(ACCEPT)] * 3) as server,
        api_with_both(server) as api,
    ):
        with pytest.raises(Unavailable) as caught:
            api.authenticate_user(USER)
        assert caught.value.outage is False
        assert len(server.requests) == 1
