"""The calls of applications, and the service behind them: the application, its users' answers, the signatures."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import re
import secrets
from dataclasses import dataclass
from typing import Callable

from pam_iampass.client.status import Status
from pam_iampass.sandbox.events import EventKind
from pam_iampass.sandbox.sessions import EndedBy, SandboxSession
from pam_iampass.sandbox.state import ServiceState
from pam_iampass.server.http import Route
from pam_iampass.server.messages import (
    IncomingRequest,
    RefusedRequest,
    Reply,
    Start,
    Unknown,
    bad_request,
    ended,
    not_started,
    polled,
    require_session_call,
    started,
    text_of,
)
from pam_iampass.server.signatures import NoncesInMemory, require_signature


class Backend:
    """The service with its one application.

    :param control_token: the bearer token of control calls.
    :param clock: returns the service's Unix time in seconds.
    """

    def __init__(
        self,
        application_id: str,
        secret: str,
        state: ServiceState,
        behaviour: Behaviour,
        control_token: str,
        clock: Callable[[], float],
    ) -> None:
        self.application_id = application_id
        self.secret = secret
        self.state = state
        self.behaviour = behaviour
        self.control_token = control_token
        self.clock = clock
        # New for each run: a page from an earlier run must not control this one.
        self.phone_key = secrets.token_urlsafe(18)
        self._nonces = NoncesInMemory()

    def _require_signature(self, request: IncomingRequest, client_id: str, secret: str) -> None:
        """Raises RefusedRequest unless this client, whose secret this is, has signed the request."""
        self._nonces.use_up(require_signature(request, client_id, secret, self.clock()))

    def require_application(self, request: IncomingRequest) -> None:
        """Raises RefusedRequest unless the path names the application, and the application signed the request."""
        if request.segments[2] != self.application_id:
            raise Unknown("application", request.segments[2])
        self._require_signature(request, self.application_id, self.secret)

    def require_user(self, request: IncomingRequest) -> str:
        """The known user that the path names, in a request of the application. Raises RefusedRequest."""
        self.require_application(request)
        user = request.user_id()
        if self.state.users.has_device(user) is None:
            raise Unknown("user", user)
        return user

    def require_session(self, request: IncomingRequest) -> SandboxSession:
        """The session that the path names, in a call that it signed itself. Raises RefusedRequest."""
        session = self.state.sessions.at_path(request.segments[1])
        if session is None:
            raise RefusedRequest(404, "UNKNOWN_SESSION", "there is no such session")
        self._require_signature(request, session.token, session.secret)
        require_session_call(request)
        return session


class Auto(str, enum.Enum):
    """The automatic answer to requests."""

    APPROVE = "approve"
    DENY = "deny"
    IGNORE = "ignore"
    """The request times out; nobody is asked."""
    ASK = "ask"
    """The request waits for an answer from a terminal, a test or a control call."""


@dataclass(eq=False)
class Behaviour:
    """How users behave. It may be changed at any time, for the requests that begin afterwards."""

    auto: Auto | str = Auto.ASK
    """The automatic answer; see Auto."""
    delay: float = 0.0
    """Seconds until ``auto`` answers."""
    request_timeout: float = 60.0
    """Seconds until a request without an answer becomes ``timeout``."""


_DECISIONS = {Auto.APPROVE: Status.active, Auto.DENY: Status.cancelled}


def start_timers(state: ServiceState, behaviour: Behaviour, session: SandboxSession) -> None:
    """Start a new session's timers: automatic answer, time-out and expiry. Call it in the event loop."""
    loop = asyncio.get_running_loop()
    decision = _DECISIONS.get(Auto(behaviour.auto))
    if decision is not None:
        loop.call_later(behaviour.delay, _decide, state, session.number, decision)
    loop.call_later(behaviour.request_timeout, state.sessions.time_out, session.number)
    loop.call_later(session.duration, state.sessions.expire, session.number)


def _decide(state: ServiceState, number: int, decision: Status) -> None:
    # Something else may have answered already, or the phone is lost.
    with contextlib.suppress(LookupError):
        state.answer(number, decision)


async def start(backend: Backend, request: IncomingRequest) -> Reply:
    """The status is 202 if a request went to the phone, 200 if not."""
    user = backend.require_user(request)
    asked = Start.of(request)
    if not backend.state.users.has_device(user):
        reason = "NO_MOBILE_DEVICE"
        backend.state.report(EventKind.NOT_STARTED, user, reason)
        return not_started(reason)
    session = backend.state.sessions.begin(
        user, asked.methods, asked.duration, backend.behaviour.request_timeout
    )
    start_timers(backend.state, backend.behaviour, session)
    return started(session.status, session.token, session.secret, f"{request.origin}/session/{session.path}")


async def poll(backend: Backend, request: IncomingRequest) -> Reply:
    """``GET <status_url>``, signed by the session."""
    session = backend.require_session(request)
    return polled(backend.state.sessions.count_poll(session.number).status)


async def end(backend: Backend, request: IncomingRequest) -> Reply:
    """``POST <logout_url>``, signed by the session, no body."""
    session = backend.require_session(request)
    return ended(backend.state.sessions.end(session.number, EndedBy.CLIENT))


_PHONE_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
_DEFAULT_MESSAGE = "Register this phone for IAMPASS:"


async def add_users(backend: Backend, request: IncomingRequest) -> Reply:
    """``POST /management/add_users/<app>``, body ``{"users": [id, …]}``; 201 even if all of them exist."""
    users = _users(backend, request)
    new = backend.state.users.add(users)
    created = [user for user in users if new[user]]
    existing = [user for user in users if not new[user]]
    return Reply.of({"status": True, "users": {"created": created, "existing": existing}}, 201)


async def delete_users(backend: Backend, request: IncomingRequest) -> Reply:
    """``POST /management/delete_users/<app>``, body ``{"users": [id, …]}``; false if one of several is unknown."""
    users = _users(backend, request)
    deleted = [backend.state.delete_user(user) for user in users]
    if not any(deleted):
        raise Unknown("user", users[0])
    return Reply.of({"status": all(deleted)})


async def link(backend: Backend, request: IncomingRequest) -> Reply:
    """``GET /management/device_registration_link/<app>/<user>[?display_name=…]``."""
    user = backend.require_user(request)
    request.parameters("display_name")
    request.require_no_body()
    return Reply.of({"status": True, "register_url": _new_link(backend, request, user)})


async def sms(backend: Backend, request: IncomingRequest) -> Reply:
    """``POST /management/send_registration_sms/<app>/<user>``, body with ``phone_number`` and optional texts."""
    user = backend.require_user(request)
    request.parameters()
    value = request.json("phone_number", optional=("display_name", "message"))
    display_name, message = text_of(value, "display_name"), text_of(value, "message")
    phone_number = text_of(value, "phone_number") or ""
    if not _PHONE_NUMBER.fullmatch(phone_number):
        return Reply.of({"status": False, "reason": "INVALID_PHONE_NUMBER"})
    text = f"{message or _DEFAULT_MESSAGE} {_new_link(backend, request, user)}"
    backend.state.users.send_sms(user, phone_number, display_name, text)
    return Reply.of({"status": True})


async def device(backend: Backend, request: IncomingRequest) -> Reply:
    """``GET /management/has_registered_mobile_device/<app>/<user>``."""
    user = backend.require_user(request)
    request.parameters()
    request.require_no_body()
    return Reply.of({"device_registered": backend.state.users.has_device(user)})


async def lost_device(backend: Backend, request: IncomingRequest) -> Reply:
    """``GET /management/lost_user_mobile_device/<app>/<user>``: disables the user's device and makes a new link."""
    user = backend.require_user(request)
    request.parameters()
    request.require_no_body()
    backend.state.disable_device(user)
    return Reply.of({"status": True, "register_url": _new_link(backend, request, user)})


def _users(backend: Backend, request: IncomingRequest) -> list[str]:
    """The user ids of a signed request, each once, in order."""
    backend.require_application(request)
    request.parameters()
    users = request.json("users")["users"]
    if not isinstance(users, list) or not users:
        raise bad_request("BAD_BODY", "users must be a list and not empty")
    if not all(isinstance(user, str) and user and user.isprintable() for user in users):
        raise bad_request("BAD_BODY", "each user must be text, not empty, without control characters")
    return list(dict.fromkeys(users))


def _new_link(backend: Backend, request: IncomingRequest, user: str) -> str:
    return f"{request.origin}/register/{backend.state.users.make_link(user)}"


ROUTES = (
    Route("POST", "/authentication/authenticate_user/*/*", start),
    Route("GET", "/session/*/status", poll),
    Route("POST", "/session/*/logout", end),
    Route("POST", "/management/add_users/*", add_users),
    Route("POST", "/management/delete_users/*", delete_users),
    Route("GET", "/management/device_registration_link/*/*", link),
    Route("POST", "/management/send_registration_sms/*/*", sms),
    Route("GET", "/management/has_registered_mobile_device/*/*", device),
    Route("GET", "/management/lost_user_mobile_device/*/*", lost_device),
)
"""The calls of the wire protocol."""
