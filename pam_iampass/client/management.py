"""Users and their devices: adds and deletes users, and gets devices registered."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterable
from typing import Any, Callable
from urllib.parse import quote_plus

from .base_api import BaseAPI, path_segment
from .deadline import Deadline
from .errors import Declined, NotFound, ProtocolError, printable
from .json_object import JsonObject
from .request import SignedRequest

# What RFC 3986 allows in a URL. We never call this one: it is shown to a person.
_LINK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")


Pause = Callable[[float], None]


class ManagementAPIResult(enum.IntEnum):
    """The result of a call. Names and values are those of the published client."""

    success = 0
    failed = 1
    """Never returned here: a failure is raised, and says why."""
    user_exists = 2
    has_mobile_device = 3
    no_mobile_device = 4


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
        """Adds users. Returns the ids that were created, and those that existed before.

        A response has 64 KiB at most: add a thousand users or more in several calls.
        """
        path = f"/management/add_users/{self.application_id}"
        request = self._request("add users", "POST", path, _json({"users": _user_ids(users)}))
        response = self._done(request, deadline, pause).child("users")
        return list(response.texts("created")), list(response.texts("existing"))

    def delete_user(
        self, user_id: str, *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> ManagementAPIResult:
        """Deletes a user and its devices: `success`. Raises Declined or NotFound for an unknown user."""
        return self.delete_users([user_id], deadline=deadline, pause=pause)

    #: The spelling in the documentation of the published client.
    delete_use = delete_user

    def delete_users(
        self, user_ids: Iterable[str], *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> ManagementAPIResult:
        """Deletes users and their devices: `success`. Raises Declined.

        `...` among the ids, as in the documentation of the published client, is ignored.
        """
        path = f"/management/delete_users/{self.application_id}"
        request = self._request("delete users", "POST", path, _json({"users": _user_ids(user_ids)}))
        self._done(request, deadline, pause)
        return ManagementAPIResult.success

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
        query = f"?display_name={quote_plus(display_name)}" if display_name else ""
        path = f"/management/device_registration_link/{self.application_id}/{path_segment(user_id)}{query}"
        return self._link(self._request("registration link", "GET", path, idempotent=True), deadline, pause)

    def lost_mobile_device(
        self, user_id: str, *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> str:
        """Disables the user's device, and returns a link that registers another one. Show it to nobody else.

        Not in the published client. After an Unavailable with `may_have_started`, ask
        `has_registered_mobile_device` whether the device was disabled.
        """
        path = f"/management/lost_user_mobile_device/{self.application_id}/{path_segment(user_id)}"
        return self._link(self._request("lost device", "GET", path), deadline, pause)

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
        if not phone_number:
            raise ValueError("phone_number is empty")
        body = {"phone_number": phone_number, "display_name": display_name, "message": message}
        given = {key: value for key, value in body.items() if value is not None}
        path = f"/management/send_registration_sms/{self.application_id}/{path_segment(user_id)}"
        self._done(self._request("registration SMS", "POST", path, _json(given)), deadline, pause)
        return True

    def has_registered_mobile_device(
        self, user_id: str, *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> ManagementAPIResult:
        """Whether the user has a device: `has_mobile_device` or `no_mobile_device`."""
        path = f"/management/has_registered_mobile_device/{self.application_id}/{path_segment(user_id)}"
        request = self._request("device", "GET", path, idempotent=True)
        response = self._call(request, deadline, pause=pause).json
        # IAMPASS leaves the key out if the call failed.
        if "device_registered" not in response:
            raise _declined(request, response)
        registered = response.boolean("device_registered")
        return ManagementAPIResult.has_mobile_device if registered else ManagementAPIResult.no_mobile_device

    def knows_application(self, *, deadline: Deadline | None = None, pause: Pause | None = None) -> bool:
        """Whether IAMPASS knows the application. The call adds no users: the list is empty. Unlike calls about a user,
        it can only be answered with 404 because of the application. Not in the published client."""
        path = f"/management/add_users/{self.application_id}"
        request = self._request("application", "POST", path, _json({"users": []}))
        try:
            self._call(request, deadline, pause=pause)
        except NotFound:
            return False
        except ProtocolError as error:
            if error.may_have_started:  # anything but a complete 4xx, which may be about the empty list
                raise
        return True

    def _link(self, request: SignedRequest, deadline: Deadline | None, pause: Pause | None) -> str:
        """The registration link in the response."""
        response = self._done(request, deadline, pause)
        link = response.text("register_url")
        if not _LINK.fullmatch(link):
            raise response.error("register_url is not a URL")
        return link

    def _done(self, request: SignedRequest, deadline: Deadline | None, pause: Pause | None) -> JsonObject:
        """The response that confirms that it was done."""
        response = self._call(request, deadline, pause=pause).json
        if not response.boolean("status"):
            raise _declined(request, response)
        return response


def _declined(request: SignedRequest, response: JsonObject) -> Declined:
    if "reason" not in response:
        return Declined(f"{request.name}: IAMPASS declined, without a reason")
    reason = response.text("reason")
    return Declined(f"{request.name}: IAMPASS declined: {printable(reason)}", reason=reason)


def _user_ids(users: Iterable[Any]) -> list[str]:
    if isinstance(users, str):
        raise TypeError("users must be a list of ids, not one id")
    ids = [user for user in users if user is not ...]
    if not ids:
        raise ValueError("users is empty")
    for user in ids:
        path_segment(user)  # raises for an id that no other call could use
    return ids


def _json(members: dict[str, Any]) -> bytes:
    return json.dumps(members).encode("ascii")
