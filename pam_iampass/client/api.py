"""The API objects: the calls of an application, made over a transport."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Callable, TypeVar

from . import procedures
from .application import Application, HostAtGateway, News, PersonAtGateway, Redemption
from .attempts import DEFAULT_SECONDS
from .call import ATTEMPTS, Call
from .connection import Deadline
from .errors import ProtocolError, Refused, Unavailable
from .gateways import Gateways
from .http import Transport
from .origin import Origin
from .procedures import Procedure, run
from .session import Session
from .status import AuthenticationMethod, ManagementAPIResult

SERVER = "https://iam-api.com"

Pause = Callable[[float], None]
T = TypeVar("T")


class BaseAPI:
    """The API of one IAMPASS application. Threads may share it."""

    def __init__(
        self,
        application_id: str,
        application_secret: str,
        server: str = SERVER,
        ca_file: str | os.PathLike[str] | None = None,
        proxy: str | None = None,
        *,
        transport: Transport | Gateways | None = None,
        previous_secret: str = "",
    ) -> None:
        """`server` is `https://HOST[:PORT]`, `ca_file` contains the only certificates to trust (None: the
        system's), `proxy` is `http://HOST:PORT`. A `transport` replaces these three. While the secret is being changed,
        `previous_secret` is tried after a 401 to the other one. Raises ValueError for an
        invalid argument, and TLSFailure if there are no certificates to trust."""
        origin = transport.origin if transport else Origin.of(server)
        self._application = Application(origin, application_id, application_secret)
        self.application_id = application_id
        self._previous_secret = previous_secret
        self.used_previous_secret = False
        """Whether the last call was rejected with the secret, and not with the previous one."""
        self.transport: Transport | Gateways = transport or Transport(server, ca_file, proxy)
        """The connections; other API objects may share them."""

    def __repr__(self) -> str:
        server = self.transport.origin.url
        return f"{type(self).__name__}(application_id={self.application_id!r}, server={server!r})"

    def close(self) -> None:
        """Closes the idle connections, also the connections of a `transport` that was passed in."""
        self.transport.close()

    def _make(
        self,
        call: Call[T],
        deadline: Deadline | None,
        attempts: int = ATTEMPTS,
        pause: Pause | None = None,
    ) -> T:
        """As `Transport.call`, and once more with the previous secret if the other one is rejected with 401."""
        deadline = deadline or Deadline.after(DEFAULT_SECONDS)
        self.used_previous_secret = False
        try:
            return self.transport.call(call, deadline, attempts=attempts, pause=pause)
        except Refused as refused:
            if refused.status != 401 or not self._previous_secret:
                raise
        call = replace(call, secret=self._previous_secret)
        self.used_previous_secret = True
        try:
            return self.transport.call(call, deadline, attempts=attempts, pause=pause)
        except Refused:
            self.used_previous_secret = False
            raise
        except Unavailable as unavailable:
            unavailable.outage = False  # the request was sent, and refused
            raise

    def _carry_out(self, procedure: Procedure[T], deadline: Deadline | None, pause: Pause | None) -> T:
        return run(procedure, lambda call: self._make(call, deadline, pause=pause))


class AuthenticationAPI(BaseAPI):
    """The calls by which an application has its users authenticated. Threads may share it."""

    def authenticate_user(
        self,
        user_id: str,
        authentication_methods: Sequence[AuthenticationMethod] | None = None,
        duration_seconds: int | None = None,
        *,
        parameters: Mapping[str, str] = MappingProxyType({}),
        command: str = "",
        deadline: Deadline | None = None,
        attempts: int = ATTEMPTS,
        pause: Callable[[float], None] | None = None,
    ) -> Session:
        """Makes IAMPASS send its request to the user's phone.

        Without methods IAMPASS chooses; without a duration the session lasts 3600 s on the server. If IAMPASS
        cannot ask the user (no device, for example), the session has failed and has a `failure_reason`. Without a
        deadline the call takes 30 s at most. It is retried only while no byte of it was sent, at gateways also with a
        `request_id` among the `parameters`, which only they take, as they do the `command` that the login runs: those
        with the same id ring at most once. Raises IampassError, ValueError, TypeError.
        """
        call = self._application.start(user_id, authentication_methods, duration_seconds, parameters, command)
        session = self._make(call, deadline, attempts, pause)
        session.transport = self.transport
        return session

    def redeem_code(
        self,
        user_id: str,
        code: str,
        parameters: Mapping[str, str],
        *,
        command: str = "",
        deadline: Deadline | None = None,
        pause: Pause | None = None,
    ) -> Redemption:
        """Has a gateway redeem a recovery code of the user; IAMPASS itself has none. Each gateway is asked once, the
        next one only if nothing was sent. Not in the published client. Raises IampassError."""
        return self._make(
            self._application.redeem_code(user_id, code, parameters, command), deadline, 1, pause
        )

    def watch(
        self,
        versions: Mapping[str, int],
        wait: int,
        *,
        until_readable: Callable[[float, int], None] | None = None,
        deadline: Deadline | None = None,
    ) -> News:
        """Asks a gateway which of these sessions, by their ids, have another version, and for its questions. It answers
        once there are any, or after `wait` seconds. `until_readable` is as in Call. One gateway is asked, once. Not in
        the published client. Raises IampassError."""
        return self._make(self._application.watch(versions, wait, until_readable), deadline, 1)

    def confirm(self, question: str, begins: bool, machine: str, *, deadline: Deadline | None = None) -> bool:
        """Answers a question of a gateway from this machine; whether the answer counts. Not in the published client.
        Raises IampassError."""
        return self._make(self._application.confirm(question, begins, machine), deadline, 1)

    def report(
        self, reports: Sequence[Mapping[str, str | int]], machine: str, *, deadline: Deadline | None = None
    ) -> None:
        """Tells a gateway of logins to this machine that it has not decided. Not in the published client. Raises
        IampassError."""
        self._make(self._application.report(reports, machine), deadline, 1)


class ManagementAPI(BaseAPI):
    """The calls by which an application manages its users. Threads may share it.

    Without a deadline each call takes 30 s at most. `pause` waits in place of `time.sleep`, for the seconds that it
    is given; an exception that it raises ends the call. Each call raises IampassError, in particular NotFound if
    IAMPASS does not know the application or the user, and Declined if it did not do what was asked. Invalid arguments
    raise ValueError or TypeError, before anything is sent. A call that changes something is retried only while it is
    certain that it has not.
    """

    def add_user(
        self, user: str, *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> ManagementAPIResult:
        """Adds a user: `success`, or `user_exists` if there is one with this id."""
        created, existing = self.add_users([user], deadline=deadline, pause=pause)
        if existing:
            return ManagementAPIResult.user_exists
        if created:
            return ManagementAPIResult.success
        raise ProtocolError("add users: the response names no user", may_have_started=True)

    def add_users(
        self, users: Iterable[str], *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> tuple[list[str], list[str]]:
        """Adds users. Returns the ids that were created, and the ids that existed before.

        A response has 128 KiB at most: add a thousand users or more in several calls.
        """
        return self._make(self._application.add_users(users), deadline, pause=pause)

    def delete_user(
        self, user_id: str, *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> ManagementAPIResult:
        """Deletes a user and its devices: `success`. Raises Declined or NotFound for an unknown user."""
        return self.delete_users([user_id], deadline=deadline, pause=pause)

    #: The spelling in the documentation of the published client.
    delete_use = delete_user

    def remove_user(
        self, user_id: str, *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> None:
        """Deletes a user and its devices as `delete_user` does. It can be repeated: that IAMPASS knows no such user is
        no error, if it knows the application. Not in the published client."""
        self._carry_out(procedures.remove_user(self._application, user_id), deadline, pause)

    def delete_users(
        self, user_ids: Iterable[str], *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> ManagementAPIResult:
        """Deletes users and their devices: `success`. Raises Declined.

        `...` among the ids, as in the documentation of the published client, is ignored.
        """
        return self._make(self._application.delete_users(user_ids), deadline, pause=pause)

    def get_registration_link(
        self,
        user_id: str,
        display_name: str | None = None,
        *,
        deadline: Deadline | None = None,
        pause: Pause | None = None,
    ) -> str:
        """A link that registers the phone that opens it as a device of this user. Show it to nobody else.

        The app shows `display_name` to the person; IAMPASS does not store it.
        """
        call = self._application.registration_link(user_id, display_name)
        return self._make(call, deadline, pause=pause)

    def lost_mobile_device(
        self, user_id: str, *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> str:
        """Disables the user's device, and returns a link that registers another one. Show it to nobody else.

        Not in the published client. After an Unavailable with `may_have_started`, ask
        `has_registered_mobile_device` whether the device was disabled.
        """
        return self._make(self._application.lost_device(user_id), deadline, pause=pause)

    def disable_mobile_device(
        self, user_id: str, *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> None:
        """Disables the user's device as `lost_mobile_device` does, and drops the link. It can be repeated: if IAMPASS
        declines and then says that the user has none, or that there is no such user, that is no error.

        Not in the published client.
        """
        self._carry_out(procedures.disable_phone(self._application, user_id), deadline, pause)

    def send_registration_sms(
        self,
        user_id: str,
        display_name: str | None,
        phone_number: str,
        message: str | None = None,
        *,
        deadline: Deadline | None = None,
        pause: Pause | None = None,
    ) -> bool:
        """Makes IAMPASS send such a link to a phone: True. Raises Declined.

        `phone_number` begins with `+` and the country code; the text is `message` and the link.
        """
        call = self._application.registration_sms(user_id, display_name, phone_number, message)
        return self._make(call, deadline, pause=pause)

    def has_registered_mobile_device(
        self, user_id: str, *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> ManagementAPIResult:
        """Whether the user has a device: `has_mobile_device` or `no_mobile_device`."""
        return self._make(self._application.has_device(user_id), deadline, pause=pause)

    def knows_application(self, *, deadline: Deadline | None = None, pause: Pause | None = None) -> bool:
        """Whether IAMPASS knows the application. The call adds no users: the list is empty. Unlike calls about a user,
        it can only be answered with 404 because of the application. Not in the published client."""
        return self._carry_out(procedures.knows_application(self._application), deadline, pause)

    def knows_user(
        self, user_id: str, *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> bool:
        """Whether IAMPASS may know a user: that it does not is certain only if it knows the application. Not in the
        published client."""
        return self._carry_out(procedures.knows_user(self._application, user_id), deadline, pause)

    def host(self, *, deadline: Deadline | None = None, pause: Pause | None = None) -> HostAtGateway:
        """The host that this is to a gateway."""
        return self._make(self._application.host(), deadline, pause=pause)

    def people(
        self,
        names: Sequence[str],
        machine: str,
        *,
        deadline: Deadline | None = None,
        pause: Pause | None = None,
    ) -> dict[str, PersonAtGateway]:
        """Asks a gateway about these people, 40 at most, for the host that asks from this machine: whether they may log
        in there, and have a phone. Not in the published client. Raises IampassError."""
        return self._make(self._application.people(names, machine), deadline, pause=pause)
