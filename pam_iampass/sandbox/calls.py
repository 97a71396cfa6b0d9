"""The calls of applications, and the service behind them: the application, its users' answers, the signatures."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import re
import secrets
from dataclasses import dataclass
from typing import Any, Callable

from pam_iampass.sandbox.errors import Refusal, Unknown, bad_request
from pam_iampass.sandbox.events import EventKind
from pam_iampass.sandbox.protocol import (
    IncomingRequest,
    ServiceReply,
    SignatureCheck,
    read_credentials,
    text_of,
)
from pam_iampass.sandbox.sessions import (
    LONGEST_DURATION_SECONDS,
    METHODS,
    EndedBy,
    SandboxSession,
    SessionStatus,
)
from pam_iampass.sandbox.state import ServiceState


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
        self._signatures = SignatureCheck(clock)

    def require_application(self, request: IncomingRequest) -> None:
        """Raises Refusal unless the path names the application, and the application signed the request."""
        if request.segments[2] != self.application_id:  # whose secret would the signature be checked with?
            raise Unknown("application", request.segments[2])
        self.require_signature(request, self.application_id, self.secret)

    def require_user(self, request: IncomingRequest) -> str:
        """The known user that the path names, in a request of the application. Raises Refusal."""
        self.require_application(request)
        user = request.user_id()
        if self.state.users.has_device(user) is None:
            raise Unknown("user", user)
        return user

    def require_signature(self, request: IncomingRequest, client_id: str, secret: str) -> None:
        """Raises Refusal unless this client signed the request."""
        credentials = read_credentials(request.headers)
        self._signatures.check(credentials, request.signed_url, client_id, secret)


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


_DECISIONS = {Auto.APPROVE: SessionStatus.ACTIVE, Auto.DENY: SessionStatus.CANCELLED}


def start_timers(state: ServiceState, behaviour: Behaviour, session: SandboxSession) -> None:
    """Start a new session's timers: automatic answer, time-out and expiry. Call it in the event loop."""
    loop = asyncio.get_running_loop()
    decision = _DECISIONS.get(Auto(behaviour.auto))
    if decision is not None:
        loop.call_later(behaviour.delay, _decide, state, session.number, decision)
    loop.call_later(behaviour.request_timeout, state.sessions.time_out, session.number)
    loop.call_later(session.duration, state.sessions.expire, session.number)


def _decide(state: ServiceState, number: int, decision: SessionStatus) -> None:
    # Something else may have answered already, or the phone is lost.
    with contextlib.suppress(LookupError):
        state.answer(number, decision)


_DURATION = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)


def start(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``POST /authentication/authenticate_user/<app>/<user>[?methods=a,b][&duration_seconds=n]``.

    The body is ``{}``. The status is 202 if a request went to the phone, 200 if not.
    """
    user = backend.require_user(request)
    parameters = request.parameters("methods", "duration_seconds")
    methods = _methods(parameters.get("methods"))
    duration = _duration(parameters.get("duration_seconds"))
    request.json()
    if not backend.state.users.has_device(user):
        reason = "NO_MOBILE_DEVICE"
        backend.state.report(EventKind.NOT_STARTED, user, reason)
        return ServiceReply.of({"authentication_status": {"authenticated": False, "reason": reason}})
    session = backend.state.sessions.begin(user, methods, duration, backend.behaviour.request_timeout)
    start_timers(backend.state, backend.behaviour, session)
    return _started(session, request.origin)


def poll(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``GET <status_url>``, signed by the session.

    The published client expects an outer key in the answer. The service's documentation shows the answer without it.
    """
    session = _session_of(backend, request)
    session = backend.state.sessions.count_poll(session.number)
    status: dict[str, Any] = {
        "authenticated": session.status is SessionStatus.ACTIVE,
        "session_status": session.status.value,
    }
    return ServiceReply.of({"authentication_status": status})


def end(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``POST <logout_url>``, signed by the session, no body."""
    session = _session_of(backend, request)
    return ServiceReply.of({"status": backend.state.sessions.end(session.number, EndedBy.CLIENT)})


def _methods(text: str | None) -> tuple[str, ...]:
    methods = () if text is None else tuple(text.split(","))
    if len(set(methods)) != len(methods) or not set(methods) <= set(METHODS):
        raise bad_request("BAD_METHODS", f"methods must be some of {', '.join(METHODS)}, each once")
    return methods


def _duration(text: str | None) -> int | None:
    if text is None:
        return None
    if not _DURATION.fullmatch(text) or int(text) > LONGEST_DURATION_SECONDS:
        raise bad_request("BAD_DURATION", f"duration_seconds must be 1 to {LONGEST_DURATION_SECONDS}")
    return int(text)


def _started(session: SandboxSession, origin: str) -> ServiceReply:
    base = f"{origin}/session/{session.path}"
    status = {
        "authenticated": True,
        "session_status": session.status.value,
        "session_token": session.token,
        "session_secret": session.secret,
        "status_url": f"{base}/status",
        "logout_url": f"{base}/logout",
    }
    return ServiceReply.of({"authentication_status": status}, 202)


def _session_of(backend: Backend, request: IncomingRequest) -> SandboxSession:
    session = backend.state.sessions.at_path(request.segments[1])
    if session is None:
        raise Refusal(404, "UNKNOWN_SESSION", "there is no such session")
    backend.require_signature(request, session.token, session.secret)
    request.parameters()
    request.require_content_type()
    request.require_no_body()
    return session


_PHONE_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
_DEFAULT_MESSAGE = "Register this phone for IAMPASS:"


def add_users(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``POST /management/add_users/<app>``, body ``{"users": [id, …]}``; 201 even if all of them exist."""
    users = _users(backend, request)
    new = backend.state.users.add(users)
    created = [user for user in users if new[user]]
    existing = [user for user in users if not new[user]]
    return ServiceReply.of({"status": True, "users": {"created": created, "existing": existing}}, 201)


def delete_users(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``POST /management/delete_users/<app>``, body ``{"users": [id, …]}``; false if one of several is unknown."""
    users = _users(backend, request)
    deleted = [backend.state.delete_user(user) for user in users]
    if not any(deleted):
        raise Unknown("user", users[0])
    return ServiceReply.of({"status": all(deleted)})


def link(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``GET /management/device_registration_link/<app>/<user>[?display_name=…]``."""
    user = backend.require_user(request)
    request.parameters("display_name")
    request.require_no_body()
    return ServiceReply.of({"status": True, "register_url": _new_link(backend, request, user)})


def sms(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``POST /management/send_registration_sms/<app>/<user>``, body with ``phone_number`` and optional texts."""
    user = backend.require_user(request)
    request.parameters()
    value = request.json("phone_number", optional=("display_name", "message"))
    display_name, message = text_of(value, "display_name"), text_of(value, "message")
    phone_number = text_of(value, "phone_number") or ""
    if not _PHONE_NUMBER.fullmatch(phone_number):
        return ServiceReply.of({"status": False, "reason": "INVALID_PHONE_NUMBER"})
    text = f"{message or _DEFAULT_MESSAGE} {_new_link(backend, request, user)}"
    backend.state.users.send_sms(user, phone_number, display_name, text)
    return ServiceReply.of({"status": True})


def device(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``GET /management/has_registered_mobile_device/<app>/<user>``."""
    user = backend.require_user(request)
    request.parameters()
    request.require_no_body()
    return ServiceReply.of({"device_registered": backend.state.users.has_device(user)})


def lost_device(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``GET /management/lost_user_mobile_device/<app>/<user>``: disables the user's device and makes a new link."""
    user = backend.require_user(request)
    request.parameters()
    request.require_no_body()
    backend.state.disable_device(user)
    return ServiceReply.of({"status": True, "register_url": _new_link(backend, request, user)})


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
