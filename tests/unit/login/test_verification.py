"""The steps of a login that are seldom taken: each with real frames, a real sandbox and real state."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from typing import Callable, NoReturn

import pytest

from pam_iampass.audit.journal import SESSION_LEFT_OPEN, Journal
from pam_iampass.client import AuthenticationAPI
from pam_iampass.config.settings import ThrottleSettings as Limits
from pam_iampass.login.at_iampass import AtIampass
from pam_iampass.login.context import Configuration, LoginContext
from pam_iampass.login.throttle import RequestResult
from pam_iampass.login.throttle_store import QueuedLogin
from pam_iampass.module import Module
from pam_iampass.outcome import Login, PamCode
from tests.support.black_hole import black_hole
from tests.support.deadline import DEADLINE
from tests.support.door import Door
from tests.support.sandbox import HttpStatus, Junk, SessionState
from tests.support.setting import ME, Setting
from tests.support.world import wait_until


def left_open(world: Setting) -> list[str]:
    """The reasons in the records of sessions that could not be ended."""
    return [
        record["IAMPASS_REASON"]
        for record in world.records.fields
        if record.get("MESSAGE_ID") == SESSION_LEFT_OPEN
    ]


def test_a_session_that_is_active_before_anyone_was_asked_is_no_approval_and_is_ended(world: Setting) -> None:
    world.configure(unavailable="ignore")
    world.sandbox.misbehave("start", SessionState("active"))
    assert world.login().code == PamCode.ABORT
    assert world.outcome() == ("unavailable", "denied")
    assert world.calls == ["start", "end"]


@pytest.mark.parametrize("status", ["walkaway", "closed"])
def test_what_is_neither_pending_nor_identifying_at_the_start_is_not_polled(
    world: Setting, status: str
) -> None:
    world.sandbox.misbehave("start", SessionState(status))
    assert world.login().code == PamCode.ABORT
    assert world.outcome() == ("denied", "denied")
    assert world.calls == ["start", "end"]


def test_a_session_that_is_identifying_at_the_start_can_be_approved(world: Setting) -> None:
    world.sandbox.misbehave("start", SessionState("identifying"))
    assert world.login().code == PamCode.SUCCESS


@pytest.mark.parametrize(
    "fault", [HttpStatus(500), Junk(b'{"status": false}', "application/json")], ids=["500", "false"]
)
def test_a_session_that_cannot_be_ended_changes_no_decision_and_leaves_a_record(
    world: Setting, fault: HttpStatus | Junk
) -> None:
    world.sandbox.misbehave("end", fault, times=None)
    assert world.login().code == PamCode.SUCCESS
    assert len(left_open(world)) == 1


def test_a_session_that_iampass_has_ended_by_itself_is_not_left_open(world: Setting) -> None:
    world.sandbox.auto = "deny"
    world.sandbox.misbehave("end", Junk(b'{"status": false}', "application/json"), times=None)
    assert world.login().code == PamCode.ABORT
    assert left_open(world) == []


@pytest.mark.parametrize("error", [ValueError("application_id: empty"), ValueError("token")])
def test_what_the_client_cannot_send_is_a_wrong_configuration(world: Setting, error: ValueError) -> None:
    world.configure(unavailable="ignore")

    class Refusing(AuthenticationAPI):
        def authenticate_user(self, *arguments: object, **options: object) -> NoReturn:
            raise error

    def parts(config: str, left: Callable[[str], None]) -> LoginContext:
        context = world.contexts()(config, left)

        def configure() -> Configuration:
            found, sandbox = context.configure(), world.sandbox
            keys = sandbox.application_id, sandbox.application_secret
            assert isinstance(found.decider, AtIampass)
            api = Refusing(*keys, transport=found.decider.api.transport)
            return replace(found, decider=replace(found.decider, api=api))

        return replace(context, configure=configure)

    decider = Module(Journal(world.records), parts, None).pam_sm_authenticate
    settings = f"config={world.folder / 'iampass.yaml'}"
    assert Door(decider, settings, user=ME, service="test").finish().code == PamCode.ABORT
    assert world.outcome() == ("misconfigured", "denied")
    assert world.state.throttle.state(ME).requests == {}


def test_a_user_who_hangs_up_before_the_request_has_gone_out_counts_for_nothing(world: Setting) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        world.configure(server=f"https://127.0.0.1:{silent.getsockname()[1]}", timeout="20s")
        door = world.door()
        connection, _address = silent.accept()
        door.die()
        connection.close()
        door.wait()
    state = world.state.throttle.state(ME)
    assert (state.failures, state.requests) == ({}, {})
    assert world.outcome() == ("cancelled", "denied")


def test_a_time_out_after_waiting_for_another_login_is_no_outage(world: Setting) -> None:
    """Or a user who keeps the other one from ending would pass without the phone."""
    with black_hole() as (host, port):
        world.configure(unavailable="ignore", server=f"https://{host}:{port}", timeout="6s")
        throttle, limits = world.state.throttle, Limits(30.0, 900.0, 30, 10, 0.0)
        older = QueuedLogin(throttle, ME, Login(ME, "test"), throttle.now(), limits)
        assert older.join(DEADLINE) is None
        older.record(RequestResult.NOT_SENT)
        door = world.door(service="login", uid="0")
        wait_until(lambda: len(throttle.state(ME).pending) == 2, "the newer login waits")
        time.sleep(1.5)  # less is left than connecting may take
        older.end()
        assert door.finish().code == PamCode.ABORT
        assert world.outcome() == ("unavailable", "denied")
        assert world.login(service="login", uid="0").code == PamCode.IGNORE


def test_for_a_client_that_has_hung_up_already_no_phone_rings(world: Setting) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, socket.create_connection(listener.getsockname()) as client, listener.accept()[0] as server:
        own, there = client.getsockname(), client.getpeername()
        client.close()
        assert server.recv(1) == b""
        told = world.login(ssh_auth_info="", ssh_connection=f"{own[0]} {own[1]} {there[0]} {there[1]}")
    assert told.code == PamCode.MAXTRIES
    assert world.calls == []
    assert world.outcome() == ("cancelled", "denied")
