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
    """The API of one IAMPASS application. Threads can share the object."""

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
        """Makes an API object. `server` is `https://HOST[:PORT]`, `proxy` is `http://HOST:PORT`, and `ca_file` has the
        only certificates to trust (None: the system's). A `transport` replaces these three. `previous_secret` is tried
        after a 401 for the other one.

        Raises ValueError for an invalid argument, and TLSFailure if there are no certificates to trust."""
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
        """Closes the idle connections, also those of a `transport` that was passed in."""
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
    """The calls with which an application asks its users for approval."""

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
        """Sends a request to the user's phone, and returns its session.

        Without methods IAMPASS chooses one. Without a duration the session lasts 3600 s on the server. If IAMPASS
        cannot ask the user, for example because there is no device, the session has failed and has a `failure_reason`.

        The call is repeated only while no byte was sent, so that the user gets one request. Only gateways take
        `parameters` and `command`. They send one request for a `request_id` among the parameters: with it, the call
        can be repeated.
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
        """Redeems a recovery code of the user at a gateway. Each gateway is asked once, the next one only if nothing
        was sent. Returns how many codes are `left`; None for a refusal, with `reason` and `refusal`."""
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
        """Waits for sessions that have other versions than these, and for questions of the gateway, `wait` seconds at
        most. Returns them as `changed` and `questions`, by their ids. One gateway is asked, once."""
        return self._make(self._application.watch(versions, wait, until_readable), deadline, 1)

    def confirm(self, question: str, begins: bool, machine: str, *, deadline: Deadline | None = None) -> bool:
        """Answers a question of a gateway, and returns whether the answer is valid."""
        return self._make(self._application.confirm(question, begins, machine), deadline, 1)

    def report(
        self, reports: Sequence[Mapping[str, str | int]], machine: str, *, deadline: Deadline | None = None
    ) -> None:
        """Reports logins that this machine has decided itself to a gateway."""
        self._make(self._application.report(reports, machine), deadline, 1)


class ManagementAPI(BaseAPI):
    """The calls with which an application manages its users.

    A call raises NotFound if IAMPASS does not know the application or the user, and Declined if IAMPASS did not do
    what was asked. A call that changes something is repeated only while it has certainly changed nothing.
    """

    def add_user(
        self, user: str, *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> ManagementAPIResult:
        """Adds a user. Returns `success`, or `user_exists` if the id exists."""
        created, existing = self.add_users([user], deadline=deadline, pause=pause)
        if existing:
            return ManagementAPIResult.user_exists
        if created:
            return ManagementAPIResult.success
        raise ProtocolError("add users: the response names no user", may_have_started=True)

    def add_users(
        self, users: Iterable[str], *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> tuple[list[str], list[str]]:
        """Adds users. Returns the ids that are new, and the ids that existed. Add fewer than 1,000 users in one call,
        because a response has 128 KiB at most."""
        return self._make(self._application.add_users(users), deadline, pause=pause)

    def delete_user(
        self, user_id: str, *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> ManagementAPIResult:
        """Deletes a user and its devices, and returns `success`. Raises Declined or NotFound for an unknown user."""
        return self.delete_users([user_id], deadline=deadline, pause=pause)

    #: The spelling in the documentation of the published client.
    delete_use = delete_user

    def remove_user(
        self, user_id: str, *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> None:
        """Deletes a user and its devices, if IAMPASS knows the user. Can be repeated."""
        self._carry_out(procedures.remove_user(self._application, user_id), deadline, pause)

    def delete_users(
        self, user_ids: Iterable[str], *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> ManagementAPIResult:
        """Deletes users and their devices, and returns `success`. Ignores `...` among the ids."""
        return self._make(self._application.delete_users(user_ids), deadline, pause=pause)

    def get_registration_link(
        self,
        user_id: str,
        display_name: str | None = None,
        *,
        deadline: Deadline | None = None,
        pause: Pause | None = None,
    ) -> str:
        """Returns a link, which registers the phone that opens it: show it only to the user. The app shows
        `display_name`, which IAMPASS does not store."""
        call = self._application.registration_link(user_id, display_name)
        return self._make(call, deadline, pause=pause)

    def lost_mobile_device(
        self, user_id: str, *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> str:
        """Disables the user's device, and returns a link for another one. After an Unavailable with `may_have_started`,
        `has_registered_mobile_device` says whether the device was disabled."""
        return self._make(self._application.lost_device(user_id), deadline, pause=pause)

    def disable_mobile_device(
        self, user_id: str, *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> None:
        """Disables the user's device, if there is one. Can be repeated."""
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
        """Sends a registration link by SMS, after the text `message`, and returns True. `phone_number` begins with `+`
        and the country code."""
        call = self._application.registration_sms(user_id, display_name, phone_number, message)
        return self._make(call, deadline, pause=pause)

    def has_registered_mobile_device(
        self, user_id: str, *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> ManagementAPIResult:
        """Returns `has_mobile_device` or `no_mobile_device`."""
        return self._make(self._application.has_device(user_id), deadline, pause=pause)

    def knows_application(self, *, deadline: Deadline | None = None, pause: Pause | None = None) -> bool:
        """Returns whether IAMPASS knows the application. The call adds an empty list of users."""
        return self._carry_out(procedures.knows_application(self._application), deadline, pause)

    def knows_user(
        self, user_id: str, *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> bool:
        """Returns False if IAMPASS knows the application and not the user, otherwise True."""
        return self._carry_out(procedures.knows_user(self._application, user_id), deadline, pause)

    def host(self, *, deadline: Deadline | None = None, pause: Pause | None = None) -> HostAtGateway:
        """Returns what a gateway knows of this host: `name`, `group`, `status`, `gateways`, `covers` and `covered`."""
        return self._make(self._application.host(), deadline, pause=pause)

    def people(
        self,
        names: Sequence[str],
        machine: str,
        *,
        deadline: Deadline | None = None,
        pause: Pause | None = None,
    ) -> dict[str, PersonAtGateway]:
        """Asks a gateway about 40 people at most. Returns by name whether they `may_log_in` to this host, and
        `has_phone`, which is None if it is not known."""
        return self._make(self._application.people(names, machine), deadline, pause=pause)
