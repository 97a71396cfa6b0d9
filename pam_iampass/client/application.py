"""The calls of one IAMPASS application, without I/O: each is built here, and its response read to a result."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Callable, TypeVar
from urllib.parse import quote_plus

from .call import Call, JsonObject
from .errors import Declined, printable
from .origin import Origin
from .session import Refusal, Session, read_session, read_status
from .status import AuthenticationMethod, ManagementAPIResult, Status

# The id stands in a header, where a colon ends it, and unquoted in a path.
_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~@!$&'()*+,;=-]+")
# What RFC 3986 allows in a URL. We never call this one: it is shown to a person.
_LINK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")

T = TypeVar("T")


@dataclass(frozen=True)
class Change:
    """A change of a session, as a gateway reports it."""

    status: Status | None
    """The new status; None if the gateway does not know the session, which may be going on."""
    version: int


@dataclass(frozen=True)
class Question:
    """A question of a gateway to a host: does a connection begin in the login of a session there?"""

    session: str
    connection: str
    """The connection, as sshd on the other host names it (`SSH_CONNECTION`)."""


@dataclass(frozen=True)
class News:
    """The news from a gateway for a host that waits."""

    changed: Mapping[str, Change]
    """The changes, by the ids of the sessions."""
    questions: Mapping[str, Question]
    """The questions by their ids. An id is good for one answer."""


@dataclass(frozen=True)
class Redemption:
    """The answer of a gateway to a recovery code."""

    left: int | None
    """How many codes the person has left; None if this one was not accepted."""
    reason: str = ""
    """The reason of a refusal. Not cleaned for a terminal or a log."""
    refusal: Refusal | None = None
    """The gateway's explanation of it."""


@dataclass(frozen=True)
class HostAtGateway:
    """A host, as its gateway describes it. Texts are not cleaned for a terminal or a log."""

    name: str
    group: str
    status: str
    """active, waiting, stopped or suspended."""
    gateways: tuple[str, ...]
    """All gateways, in the order in which this host should ask them; empty if it should ask the ones that it knows."""
    covers: bool = False
    """Whether logins there can cover logins on other hosts."""
    covered: bool = False
    """Whether logins on other hosts can cover logins there."""


@dataclass(frozen=True)
class PersonAtGateway:
    """A person, as a gateway describes them to a host."""

    may_log_in: bool
    """Whether the gateway has such a person asked for logins to the host. It says the same of people of other hosts as
    of names that nobody has."""
    has_phone: bool | None = None
    """None if it is not known."""


@dataclass(frozen=True)
class Application:
    """An application at a server, and the secret that signs its calls. Its methods raise ValueError and TypeError for
    invalid arguments; what they are for is said in `api.py`."""

    origin: Origin
    id: str
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError("application_id is empty or has characters that no id can have")
        if not self.secret:
            raise ValueError("application_secret is empty")

    def start(
        self,
        user: str,
        methods: Sequence[AuthenticationMethod] | None,
        duration: int | None,
        parameters: Mapping[str, str] = MappingProxyType({}),
        command: str = "",
    ) -> Call[Session]:
        """`parameters` are additional ones that gateways know. With a `request_id` among them the call is
        idempotent. `command` is what the login runs; it stands in the body, since proxies write URLs to their logs."""
        if (parameters or command) and not self.origin.gateways:
            raise ValueError("only gateways take further parameters")
        request_id = parameters.get("request_id")
        body = _that_runs(command)
        query = _start_query(methods, duration, parameters, body)
        path = f"authentication/authenticate_user/{self.id}/{path_segment(user)}{query}"

        def read(response: JsonObject) -> Session:
            return read_session(response, self.origin, request_id)

        return self._call("start", path, read, body, rings=True, idempotent=request_id is not None)

    def redeem_code(
        self, user: str, code: str, parameters: Mapping[str, str], command: str
    ) -> Call[Redemption]:
        """Only gateways redeem recovery codes. It is not sent again once it may have been received: a code that was
        used is wrong. `parameters` and `command` are as in `start`, with a `request_id`."""

        def read(response: JsonObject) -> Redemption:
            members = response.child("recovery")
            if members.text("request_id") != parameters["request_id"]:
                raise members.error("it answers another call")
            if members.boolean("accepted"):
                return Redemption(members.number("left"))
            return Redemption(None, members.text("reason"), Refusal.of(members))

        body = {"code": code, **_that_runs(command)}
        query = _start_query(None, None, parameters, body)
        return self._call("recovery", f"fleet/recover/{self.id}/{path_segment(user)}{query}", read, body)

    def watch(
        self, versions: Mapping[str, int], wait: int, until_readable: Callable[[float, int], None] | None
    ) -> Call[News]:
        """Only gateways can be asked for the sessions, by their ids, that have other versions than these."""

        def read(response: JsonObject) -> News:
            changed = {
                id: Change(None, 0)
                if members.is_null("status")
                else Change(read_status(members, "status"), members.number("version"))
                for id, members in response.child("changed").children().items()
            }
            asked = response.child("questions").children() if "questions" in response else {}
            return News(
                changed,
                {id: Question(each.text("session"), each.text("connection")) for id, each in asked.items()},
            )

        body = {"sessions": dict(versions)}
        path = f"fleet/watch/{self.id}?wait={wait}&{_signed(body)}"
        call = self._call("watch", path, read, body, idempotent=True)
        return replace(call, held=wait, until_readable=until_readable, alone=True)

    def confirm(self, question: str, begins: bool, machine: str) -> Call[bool]:
        """Only gateways ask. The result is whether the answer counts. `machine` is as in the parameters of a start."""
        query = f"question={quote_plus(question)}&begins={'yes' if begins else 'no'}"
        path = f"fleet/confirm/{self.id}?{query}{machine and f'&machine={machine}'}"
        return self._call("confirm", path, lambda response: response.boolean("counts"), {})

    def report(self, reports: Sequence[Mapping[str, str | int]], machine: str) -> Call[None]:
        """Only gateways take reports, and they write each one once. `machine` is as in the parameters of a start."""
        body = {"reports": [dict(report) for report in reports]}
        path = f"fleet/report/{self.id}?{_signed(body)}{machine and f'&machine={machine}'}"

        def read(response: JsonObject) -> None:
            response.number("taken")

        return self._call("report", path, read, body, idempotent=True)

    def add_users(self, users: Iterable[str]) -> Call[tuple[list[str], list[str]]]:
        def read(response: JsonObject) -> tuple[list[str], list[str]]:
            found = _confirmed("add users", response).child("users")
            return list(found.texts("created")), list(found.texts("existing"))

        return self._call("add users", f"management/add_users/{self.id}", read, {"users": _user_ids(users)})

    def delete_users(self, users: Iterable[str]) -> Call[ManagementAPIResult]:
        def read(response: JsonObject) -> ManagementAPIResult:
            _confirmed("delete users", response)
            return ManagementAPIResult.success

        body = {"users": _user_ids(users)}
        return self._call("delete users", f"management/delete_users/{self.id}", read, body)

    def registration_link(self, user: str, display_name: str | None) -> Call[str]:
        query = f"?display_name={quote_plus(display_name)}" if display_name else ""
        path = f"management/device_registration_link/{self.id}/{path_segment(user)}{query}"
        name = "registration link"
        return self._call(name, path, lambda response: _link(name, response), idempotent=True)

    def lost_device(self, user: str) -> Call[str]:
        path = f"management/lost_user_mobile_device/{self.id}/{path_segment(user)}"
        return self._call("lost device", path, lambda response: _link("lost device", response))

    def registration_sms(
        self, user: str, display_name: str | None, phone_number: str, message: str | None
    ) -> Call[bool]:
        if not phone_number:
            raise ValueError("phone_number is empty")
        body = {"phone_number": phone_number, "display_name": display_name, "message": message}
        given = {key: value for key, value in body.items() if value is not None}
        path = f"management/send_registration_sms/{self.id}/{path_segment(user)}"
        name = "registration SMS"

        def read(response: JsonObject) -> bool:
            _confirmed(name, response)
            return True

        return self._call(name, path, read, given)

    def has_device(self, user: str) -> Call[ManagementAPIResult]:
        def read(response: JsonObject) -> ManagementAPIResult:
            # IAMPASS leaves the key out if the call failed.
            if "device_registered" not in response:
                raise _declined("device", response)
            registered = response.boolean("device_registered")
            return (
                ManagementAPIResult.has_mobile_device if registered else ManagementAPIResult.no_mobile_device
            )

        path = f"management/has_registered_mobile_device/{self.id}/{path_segment(user)}"
        return self._call("device", path, read, idempotent=True)

    def nothing(self) -> Call[None]:
        """Adds no users: unlike calls about a user, it can only be answered with 404 because of the application."""
        path = f"management/add_users/{self.id}"
        return self._call("application", path, lambda _response: None, {"users": []})

    def host(self) -> Call[HostAtGateway]:
        def read(response: JsonObject) -> HostAtGateway:
            name, group, status = (response.text(key) for key in ("name", "group", "status"))
            try:
                gateways = tuple(Origin.of(url).url for url in response.texts("gateways"))
            except ValueError:
                raise response.error("gateways are not https addresses") from None
            covers, is_covered = (key in response and response.boolean(key) for key in ("covers", "covered"))
            return HostAtGateway(name, group, status, gateways, covers, is_covered)

        return self._call("host", f"fleet/host/{self.id}", read, idempotent=True)

    def people(self, names: Sequence[str], machine: str) -> Call[dict[str, PersonAtGateway]]:
        """Only gateways can be asked. `machine` is as in the parameters of a start."""

        def read(response: JsonObject) -> dict[str, PersonAtGateway]:
            return {
                name: PersonAtGateway(
                    each.boolean("may"),
                    None if "phone" not in each or each.is_null("phone") else each.boolean("phone"),
                )
                for name, each in response.child("people").children().items()
            }

        body = {"names": list(names)}
        path = f"fleet/people/{self.id}?{_signed(body)}{machine and f'&machine={machine}'}"
        return self._call("people", path, read, body, idempotent=True)

    def _call(
        self,
        name: str,
        path: str,
        result: Callable[[JsonObject], T],
        body: dict[str, Any] | None = None,
        *,
        idempotent: bool = False,
        rings: bool = False,
    ) -> Call[T]:
        return Call(
            name,
            "GET" if body is None else "POST",
            f"{self.origin.url}/{path}",
            self.id,
            self.secret,
            result,
            None if body is None else json.dumps(body).encode("ascii"),
            None if body is None else "application/json",
            idempotent=idempotent,
            rings=rings,
        )


def _that_runs(command: str) -> dict[str, str]:
    return {"command": command} if command else {}


def _signed(body: Mapping[str, Any]) -> str:
    """The parameter of a query with the digest of a body: only the query is signed."""
    return f"body_sha256={hashlib.sha256(json.dumps(body).encode()).hexdigest()}"


def path_segment(user_id: str) -> str:
    """A user id quoted for a path. Raises TypeError, or ValueError for an id that would name another path."""
    if not isinstance(user_id, str):
        raise TypeError("user_id must be text")
    if user_id in ("", ".", ".."):
        raise ValueError('user_id must not be empty, "." or ".."')
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in user_id):
        raise ValueError("user_id must not contain control characters or lone surrogates")
    return quote_plus(user_id)


def _start_query(
    methods: Sequence[AuthenticationMethod] | None,
    duration: int | None,
    parameters: Mapping[str, str],
    body: Mapping[str, Any],
) -> str:
    parts = []
    if methods:
        if not all(isinstance(method, AuthenticationMethod) for method in methods):
            raise TypeError("authentication_methods must be AuthenticationMethod members")
        parts.append("methods=" + ",".join(method.name for method in methods))
    if duration is not None:
        if type(duration) is not int:
            raise TypeError("duration_seconds must be a whole number")
        if duration <= 0:
            raise ValueError("duration_seconds must be more than 0")
        parts.append(f"duration_seconds={duration}")
    parts += [f"{name}={quote_plus(value)}" for name, value in parameters.items()]
    if body:
        parts.append(_signed(body))
    return "?" + "&".join(parts) if parts else ""


def _user_ids(users: Iterable[Any]) -> list[str]:
    if isinstance(users, str):
        raise TypeError("users must be a list of ids, not one id")
    ids = [user for user in users if user is not ...]
    if not ids:
        raise ValueError("users is empty")
    for user in ids:
        path_segment(user)  # raises for an id that no other call could use
    return ids


def _confirmed(name: str, response: JsonObject) -> JsonObject:
    """The response, if it says that the call was carried out."""
    if not response.boolean("status"):
        raise _declined(name, response)
    return response


def _link(name: str, response: JsonObject) -> str:
    link = _confirmed(name, response).text("register_url")
    if not _LINK.fullmatch(link):
        raise response.error("register_url is not a URL")
    return link


def _declined(name: str, response: JsonObject) -> Declined:
    if "reason" not in response:
        return Declined(f"{name}: IAMPASS declined, without a reason")
    reason = response.text("reason")
    return Declined(f"{name}: IAMPASS declined: {printable(reason)}", reason=reason)
