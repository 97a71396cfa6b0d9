"""The calls of hosts: start, poll and end, as IAMPASS has them."""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from collections.abc import Mapping
from typing import Any

import psycopg

from pam_iampass.audit.figures import OTHER
from pam_iampass.client.errors import IampassError, NotFound
from pam_iampass.client.status import Status
from pam_iampass.gateway.base import metrics, records
from pam_iampass.gateway.base.connection import Connection, DatabaseAway, DatabaseError
from pam_iampass.gateway.base.database import work_for
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.reasons import Reason, RefusedStart, explanation_of, reason_for_host
from pam_iampass.gateway.base.statements import together
from pam_iampass.gateway.base.waiting import LOGIN_SECONDS, LONGEST_SECONDS, MOST_WATCHED
from pam_iampass.gateway.hosts import hosts, news
from pam_iampass.gateway.hosts.hosts import Host
from pam_iampass.gateway.requests import asked_start, asking, presence, sessions, starts
from pam_iampass.gateway.requests.asked_start import AskedStart
from pam_iampass.gateway.requests.sessions import HostSession, State
from pam_iampass.gateway.requests.starts import SpendNonce, spend_nothing
from pam_iampass.server.http import Handler, Route
from pam_iampass.server.messages import (
    IncomingRequest,
    RefusedRequest,
    Reply,
    Unknown,
    bad_request,
    ended,
    not_started,
    polled,
    require_session_call,
    started,
    unauthorized,
)
from pam_iampass.server.serving import Bounds, owner_of, require_digest
from pam_iampass.server.signatures import (
    NONCE_SECONDS,
    WINDOW_SECONDS,
    Credentials,
    replayed,
    require_signature,
)
from pam_iampass.text import clean

_NONCE_SECONDS = NONCE_SECONDS + WINDOW_SECONDS
"""The clocks of gateways differ."""
BOUNDS = Bounds(body=16 * 1024)
"""The bounds of what the gateway takes from anyone who can connect."""
STOPPING = Reply.of({"reason": "STOPPING", "detail": "ask another gateway"}, 503)
"""The answer to a call that is held while its gateway stops."""
_RESTORED = Reply.of(
    {
        "reason": Reason.RESTORED.name,
        "detail": "the database is an old copy that nobody has confirmed, or was not looked at yet",
    },
    503,
)
_WAITING = ("wait", "version")
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_USER_AGENT = re.compile(r"pam-iampass/([0-9A-Za-z.+~-]{1,40})")
_LOOKED_SECONDS = 1.0
"""A request that was on the phone, of a host that may ask, is taken to be there still for this time."""


async def start(gateway: Gateway, request: IncomingRequest) -> Reply:
    """Have a person asked on the phone."""
    came_at = time.monotonic()
    credentials = Credentials.of(request)
    try:
        host, _ = await _host_that_signed(gateway, request)
        asked, spend_nonce = AskedStart.of(request), _note_call_of(gateway, host, request, credentials)
        found = await starts.start(gateway, host.id, asked, presence.start_covered, came_at, spend_nonce)
    except psycopg.errors.UniqueViolation:
        raise replayed() from None
    except RefusedRequest as refusal:
        if refusal.reason != "STALE_TIMESTAMP":
            raise
        asked = AskedStart.of(request)
        found = await starts.refuse_start(gateway, request.segments[2], asked, Reason.CLOCK_OFF)
    except DatabaseAway as away:
        # The first look-up has failed: nothing was done for this request, whatever host has signed it.
        return _not_started(Reason.DATABASE_AWAY.name, request, credentials, nothing_sent=away.unreachable)
    except DatabaseError:
        found = RefusedStart(Reason.DATABASE_AWAY)
    if isinstance(found, RefusedStart):
        return _not_started(found.reason.name, request, credentials, wait=found.wait)
    if found.reason is not None and found.status is None:
        nothing_sent = found.nothing_sent and found.state is State.NOT_STARTED
        return _not_started(found.reason, request, credentials, nothing_sent=nothing_sent)
    if found.status is None:
        return _not_started(Reason.TRY_AGAIN.name, request, credentials)
    more: dict[str, Any] = dict(_explain_to_host(found))
    if found.request_id is not None:
        more |= {"wait": LOGIN_SECONDS, "version": sessions.FIRST_VERSION}
    # A repeat gets the answer that the first call got; polls say how it goes on.
    status, answer = Status.pending, "queued" if found.state is State.QUEUED else "started"
    if found.parent is not None:
        if found.state is not State.OPEN or found.status is not Status.active:
            return _not_started(Reason.TRY_AGAIN.name, request, credentials)
        status, answer = Status.active, "covered"
        covered = {"host": found.details["covered_by"], "age": int(found.details["approved_ago"])}
        more |= {
            "version": found.version,
            "covered": {**covered, "request_id": found.request_id, "nonce": credentials.nonce},
        }
    metrics.STARTS.labels(answer).inc()
    return started(
        status,
        gateway.keys.session_token(found.id),
        gateway.keys.session_secret(found.id),
        f"{request.origin}/session/{found.id}",
        **more,
    )


def _explain_to_host(session: HostSession) -> dict[str, Any]:
    """The members that a host is told beside the status, of a request that has waited for its turn."""
    if session.request_id is None:
        return {}
    if session.state is State.QUEUED:
        return {"queued": True, "counts_given_up": True}
    if session.reason is None:
        return {}
    reason = reason_for_host(session.reason)
    return {"reason": reason, **explanation_of(reason, session.retry_after or 0.0)}


def _tell_news(session: HostSession) -> dict[str, str]:
    """The member with what is new for a person who has approved the login, which its host is to show."""
    is_new = session.status is Status.active and news.TEXT in session.details
    return {"news": session.details[news.TEXT]} if is_new else {}


def _not_started(
    reason: str,
    request: IncomingRequest,
    credentials: Credentials,
    *,
    nothing_sent: bool = False,
    wait: float = 0.0,
) -> Reply:
    """The answer, with the statement that nothing of this very request has left the gateway, if that is so."""
    known = reason in Reason.__members__ or reason == "NO_MOBILE_DEVICE"
    metrics.STARTS.labels(reason if known else OTHER).inc()
    reason = reason_for_host(reason)
    more: dict[str, Any] = {}
    with contextlib.suppress(RefusedRequest):
        request_id = request.parameters("methods", "duration_seconds", *asked_start.PARAMETERS).get(
            "request_id"
        )
        if request_id is not None and asked_start.is_request_id(request_id):
            echo = {"request_id": request_id, "nonce": credentials.nonce}
            if reason == Reason.BYPASSED.name:
                return not_started(reason, bypassed=echo)
            more = {**explanation_of(reason, wait)}
            if nothing_sent:
                more["nothing_sent"] = echo
    return not_started(reason, **more)


async def poll(gateway: Gateway, request: IncomingRequest) -> Reply:
    """The status of a session. A request on the phone is watched already; otherwise IAMPASS is asked now.

    With `wait`, the answer comes once the session has another version than `version`, or that many seconds have passed.
    """
    try:
        id, query, _ = _session_that_signed(gateway, request, *_WAITING)
        if query:
            return await _poll_when_changed(gateway, id, *_waiting(query))
        status = _on_the_phone(gateway, id)
        if status is not None:
            return polled(status)
        session = await _find_session(gateway, id)
        if session.state is State.OPEN and not session.in_progress:
            session = await asking.poll_iampass(gateway, session)
    except (DatabaseError, IampassError, Tampered) as error:
        return unavailable(error)
    if session.status is None:
        raise _unknown_session()
    return polled(session.status, **_explain_to_host(session), **_tell_news(session))


async def _poll_when_changed(gateway: Gateway, id: uuid.UUID, seconds: int, version: int) -> Reply:
    """Raises RefusedRequest, DatabaseError and IampassError."""
    with gateway.held.hold(id, {id: version}) as call:
        # If it has another version nevertheless, the next look of the held calls finds out.
        is_new = version == sessions.FIRST_VERSION and _on_the_phone(gateway, id) is Status.pending
        session = None if is_new else await _find_session(gateway, id)
        final = session is not None and session.state in (State.ENDED, State.NOT_STARTED)
        if (session is None or session.version == version) and not final and seconds > 0:
            await call.wait(seconds)
            if gateway.held.stopping:
                return STOPPING
            session = None
        session = session or await _find_session(gateway, id)
    if session.status is None:
        raise _unknown_session()
    return polled(session.status, version=session.version, **_explain_to_host(session), **_tell_news(session))


def _on_the_phone(gateway: Gateway, id: uuid.UUID) -> Status | None:
    """The status of a request that is on a phone, as was seen just now; None if it is not known to be there."""
    if time.monotonic() - gateway.looked_at >= _LOOKED_SECONDS:
        return None
    return gateway.waiting.get(id)


async def watch(gateway: Gateway, request: IncomingRequest) -> Reply:
    """Tell a host the changes of its kept sessions: once one of them has another version than the host has seen, or
    the host has questions to answer, or after `wait` seconds."""
    try:
        host, credentials = await _host_that_signed(gateway, request)
        spend_nonce = _note_call_of(gateway, host, request, credentials)
        query = request.parameters("wait", "body_sha256")
        require_digest(request, query.get("body_sha256", ""))
        seconds, _ = _waiting(query)
        versions = _watched(request)
        with gateway.held.hold(host.id, versions, of_login=False) as call:
            news = await _read_news(gateway, host.id, versions, spend_nonce)
            if not any(news.values()) and seconds > 0:
                await call.wait(seconds)
                if gateway.held.stopping:
                    return STOPPING
                news = await _read_news(gateway, host.id, versions)
    except DatabaseError as error:
        return unavailable(error)
    return Reply.of(news)


async def confirm(gateway: Gateway, request: IncomingRequest) -> Reply:
    """A host answers whether a connection begins in a login there."""
    try:
        host = require_active(await signed_by_host(gateway, request))
        query = request.parameters("question", "begins", "machine")
        id, begins = query.get("question", ""), query.get("begins", "")
        if not _UUID.fullmatch(id) or begins not in ("yes", "no"):
            raise bad_request("BAD_ANSWER", "question must be the id of one, and begins yes or no")
        async with gateway.database.transaction() as connection:
            counts = await hosts.is_its_machine(gateway, connection, host, asked_start.machine_of(query))
            counts = counts and await presence.write_answer(
                gateway, connection, host.id, uuid.UUID(id), begins == "yes"
            )
    except DatabaseError as error:
        return unavailable(error)
    except Tampered as error:
        await _alert(gateway, f"{error}: {id}")
        counts = False
    return Reply.of({"counts": counts})


def _watched(request: IncomingRequest) -> dict[uuid.UUID, int]:
    """The sessions in the body, with the versions that the host has seen. Raises RefusedRequest."""
    given = request.json("sessions")["sessions"]
    if not isinstance(given, dict) or len(given) > MOST_WATCHED:
        raise bad_request("BAD_BODY", f"sessions must be an object with at most {MOST_WATCHED} members")
    versions = {}
    for id, version in given.items():
        if type(version) is not int or not 0 <= version < 10**18 or not _UUID.fullmatch(id):
            raise bad_request("BAD_BODY", "sessions must have ids and versions")
        versions[uuid.UUID(id)] = version
    return versions


async def _read_news(
    gateway: Gateway,
    host_id: str,
    versions: Mapping[uuid.UUID, int],
    spend_nonce: SpendNonce = spend_nothing,
) -> dict[str, dict[str, Any]]:
    """The changed sessions and the questions, as the host is told them. A session that is not known is not over.

    :param spend_nonce: uses up the nonce of the call.

    Raises RefusedRequest and DatabaseError.
    """
    host = None
    try:
        async with gateway.database.statement() as connection:
            spend_nonce(connection)
            host_rows, changed, asked = await together(
                connection,
                hosts.find_statement(gateway, host_id),
                sessions.changed_statement(host_id, versions),
                presence.questions_statement(host_id),
            )
        host = hosts.read_found(gateway, host_rows[0] if host_rows else None, host_id)
    except psycopg.errors.UniqueViolation:
        raise replayed() from None
    except Tampered as error:
        await _alert(gateway, f"{error}: {clean(host_id, 40)}")
    host = require_active(host)
    found, tampered = sessions.read_changed(gateway, host, changed)
    for what in tampered:
        await _alert(gateway, what, host.name)
    told: dict[str, dict[str, str | int | None]] = {
        str(id): {"status": None}
        if session is None or session.status is None
        else {"status": session.status.name, "version": session.version}
        for id, session in found.items()
    }
    return {"changed": told, "questions": presence.read_questions(gateway, host_id, asked)}


def _waiting(query: Mapping[str, str]) -> tuple[int, int]:
    """The seconds for which a call may be held, and the version that its host has seen. Raises RefusedRequest."""
    seconds, version = query.get("wait", "0"), query.get("version", "0")
    if not (re.fullmatch(r"[0-9]{1,4}", seconds) and re.fullmatch(r"[0-9]{1,18}", version)):
        raise bad_request(
            "BAD_WAIT", "wait must be a number of seconds, and version the one of the last answer"
        )
    return min(int(seconds), LONGEST_SECONDS), int(version)


async def end(gateway: Gateway, request: IncomingRequest) -> Reply:
    """End a session."""
    try:
        id, query, credentials = _session_that_signed(gateway, request, "given_up")
        session = await _find_session(gateway, id, _spend_nonce_of(str(id), credentials))
        return ended(await asking.end_session(gateway, session, given_up=query.get("given_up") == "yes"))
    except (DatabaseError, IampassError, Tampered) as error:
        return unavailable(error)


async def not_for_hosts(gateway: Gateway, request: IncomingRequest) -> Reply:
    """Management: only the gateway's own command makes these calls."""
    raise RefusedRequest(403, "NOT_FOR_HOSTS", "a host's credential allows start, poll and end only")


def unless_restored(handler: Handler[Gateway]) -> Handler[Gateway]:
    """The handler, for calls to which an old copy of the database has no answer: neither that a session goes on or is
    over, nor that a host is one of the fleet. It may also be found to be one while a call is held."""

    async def handle(gateway: Gateway, request: IncomingRequest) -> Reply:
        if gateway.restored:
            return _RESTORED
        reply = await handler(gateway, request)
        return _RESTORED if gateway.restored else reply

    return handle


def unavailable(error: DatabaseError | IampassError | Tampered) -> Reply:
    """The answer where a gateway cannot say anything. That IAMPASS does not know a session is no failure of a gateway,
    and another one would get the same answer."""
    if isinstance(error, NotFound):
        return Reply.of({"reason": "UNKNOWN_AT_IAMPASS", "detail": "IAMPASS does not know this session"}, 404)
    away = Reason.IAMPASS_AWAY if isinstance(error, IampassError) else Reason.DATABASE_AWAY
    return Reply.of({"reason": away.name, "detail": "ask again"}, 503)


def _unknown_session() -> RefusedRequest:
    return RefusedRequest(404, "UNKNOWN_SESSION", "there is no such session")


async def signed_by_host(gateway: Gateway, request: IncomingRequest) -> Host:
    """The host that the third part of the path names, which has signed the request, whatever its status.

    The nonce is used up. Raises RefusedRequest and DatabaseError.
    """
    host, credentials = await _host_that_signed(gateway, request)
    async with gateway.database.statement() as connection:
        await use_up_nonce(connection, host.id, credentials)
    return host


async def _host_that_signed(gateway: Gateway, request: IncomingRequest) -> tuple[Host, Credentials]:
    """As `signed_by_host`; the nonce is to be used up with the next statement (`_spend_nonce_of`)."""
    id = request.segments[2]
    work_for_sender(request)
    try:
        async with gateway.database.statement() as connection:
            host = await hosts.find(gateway, connection, id)
    except Tampered as error:
        await _alert(gateway, f"{error}: {clean(id, 40)}")
        raise unauthorized("UNKNOWN_CLIENT", "the row of this host was not written by a gateway") from None
    if host is None:
        raise Unknown("application", id)
    credentials = require_signature(request, id, host.secret, gateway.clock())
    work_for(id)
    return host, credentials


async def _alert(gateway: Gateway, what: str, host: str | None = None) -> None:
    async with gateway.database.transaction() as connection:
        await records.alert(connection, host, what)


def _session_that_signed(
    gateway: Gateway, request: IncomingRequest, *parameters: str
) -> tuple[uuid.UUID, Mapping[str, str], Credentials]:
    """The id in the path, in a call that this session has signed, if there is one, and the query with these parameters
    at most. Raises RefusedRequest."""
    try:
        id = uuid.UUID(request.segments[1])
    except ValueError:
        raise _unknown_session() from None
    if str(id) != request.segments[1]:
        raise _unknown_session()
    work_for_sender(request)
    # A GET changes nothing: its nonce is not kept.
    keys = gateway.keys
    credentials = require_signature(request, keys.session_token(id), keys.session_secret(id), gateway.clock())
    work_for_sender(request, known=True)
    return id, require_session_call(request, *parameters), credentials


async def _find_session(
    gateway: Gateway, id: uuid.UUID, spend_nonce: SpendNonce = spend_nothing
) -> HostSession:
    """The session with this id, of a host that may ask; `spend_nonce` uses up the nonce of the call. Raises
    RefusedRequest and DatabaseError."""
    try:
        async with gateway.database.statement() as connection:
            spend_nonce(connection)
            found = await sessions.find_with_host(gateway, connection, id)
    except psycopg.errors.UniqueViolation:
        raise replayed() from None
    except Tampered as error:
        await _alert(gateway, f"{error}: {id}")
        found = None
    if found is None:
        raise _unknown_session()
    session, host = found
    work_for(require_active(host).id)
    return session


def require_active(host: Host | None) -> Host:
    if host is None:
        raise unauthorized("UNKNOWN_CLIENT", "this host was removed")
    if not host.status.keeps_sessions:
        raise RefusedRequest(403, Reason.HOST_SUSPENDED.name, "this host is suspended")
    return host


def work_for_sender(request: IncomingRequest, *, known: bool = False) -> None:
    """Count the work for a request as its address's, until a signature shows whose it is (`known`)."""
    work_for(owner_of(request.remote) if request.remote else "", known=known)


def _spend_nonce_of(client: str, credentials: Credentials) -> SpendNonce:
    """Uses up the nonce of a request that this client has signed, whatever gateway it is sent to. Nothing of the
    transaction is written if it was used before."""
    values = client, int(credentials.nonce), _NONCE_SECONDS
    statement = "INSERT INTO nonce VALUES (%s, %s, now() + make_interval(secs => %s))"
    return lambda connection: connection.later(statement, values)


def _note_call_of(
    gateway: Gateway, host: Host, request: IncomingRequest, credentials: Credentials
) -> SpendNonce:
    """Uses up the nonce of a request that this host has signed, and now and then notes that the host was seen."""
    spend_nonce = _spend_nonce_of(host.id, credentials)
    version = _USER_AGENT.fullmatch(request.header("User-Agent") or "")

    def note(connection: Connection) -> None:
        spend_nonce(connection)
        hosts.note_seen(gateway, connection, host.id, request.remote, version and version[1])

    return note


async def use_up_nonce(connection: Connection, client: str, credentials: Credentials) -> None:
    """Raises RefusedRequest if this client has sent the nonce of a request before."""
    _spend_nonce_of(client, credentials)(connection)
    try:
        await connection.flush()
    except psycopg.errors.UniqueViolation:
        raise replayed() from None


ROUTES: tuple[Route[Gateway], ...] = (
    Route("POST", "/authentication/authenticate_user/*/*", start),
    Route("GET", "/session/*/status", unless_restored(poll)),
    Route("POST", "/session/*/logout", unless_restored(end)),
    Route("POST", "/fleet/watch/*", unless_restored(watch)),
    Route("POST", "/fleet/confirm/*", unless_restored(confirm)),
    *(
        Route(method, f"/management/*/{rest}", not_for_hosts)
        for method in ("GET", "POST")
        for rest in ("*", "*/*")
    ),
)
"""The calls that a gateway answers."""
