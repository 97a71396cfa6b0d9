"""Users and their devices: adds and deletes users, and gets devices registered."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterable
from typing import Any, Callable
from urllib.parse import quote_plus

from .answer import Document
from .application import Application
from .deadline import Deadline
from .errors import Declined, ProtocolError, printable
from .exchange import Call
from .origin import path_segment

# What RFC 3986 lets stand in a URL, which is not ours to call: it is shown to a person.
_LINK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")


Pause = Callable[[float], None]


class ManagementAPIResult(enum.IntEnum):
    """What came of a call. Names and values are those of the published client."""

    success = 0
    failed = 1
    """No call here returns it: what fails is raised, and says why."""
    user_exists = 2
    has_mobile_device = 3
    no_mobile_device = 4


class ManagementAPI(Application):
    """The calls by which an application manages its users. Threads may share it.

    Without a deadline each call takes 30 s at most. `pause` waits in place of `time.sleep`, for the seconds that it
    is given; what it raises ends the call. Each raises IampassError, Declined where IAMPASS says
    that it did not do what was asked; ValueError and TypeError for arguments that make no sense, before
    anything is sent. A call that changes something is repeated only while it is certain that it has not.
    """

    def add_user(
        self, user: str, *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> ManagementAPIResult:
        """Adds a user: `success`, or `user_exists` where there is one with this id."""
        created, existing = self.add_users([user], deadline=deadline, pause=pause)
        if existing:
            return ManagementAPIResult.user_exists
        if created:
            return ManagementAPIResult.success
        raise ProtocolError("add users: the answer names nobody", may_have_started=True)

    def add_users(
        self, users: Iterable[str], *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> tuple[list[str], list[str]]:
        """Adds users. Returns the ids that were created, and those that existed before.

        An answer has 64 KiB at most, so a thousand users or more are better added in several calls.
        """
        path = f"/management/add_users/{self.application_id}"
        call = self._call("add users", "POST", path, _json({"users": _user_ids(users)}))
        answered = self._done(call, deadline, pause).child("users")
        return list(answered.texts("created")), list(answered.texts("existing"))

    def delete_user(
        self, user_id: str, *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> ManagementAPIResult:
        """Deletes a user and its devices: `success`, else it raises Declined (an unknown user, say)."""
        return self.delete_users([user_id], deadline=deadline, pause=pause)

    #: The page of the published client spells it so.
    delete_use = delete_user

    def delete_users(
        self, user_ids: Iterable[str], *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> ManagementAPIResult:
        """Deletes users and their devices: `success`, else it raises Declined.

        `...` among the ids, as the page of the published client has it, stands for nobody.
        """
        path = f"/management/delete_users/{self.application_id}"
        call = self._call("delete users", "POST", path, _json({"users": _user_ids(user_ids)}))
        self._done(call, deadline, pause)
        return ManagementAPIResult.success

    def get_registration_link(
        self,
        user_id: str,
        display_name: str | None = None,
        *,
        deadline: Deadline | None = None,
        pause: Pause | None = None,
    ) -> str:
        """A link that makes a device of this user of the phone that opens it. Keep it from everybody else.

        The app shows `display_name` to the person; IAMPASS does not keep it.
        """
        query = f"?display_name={quote_plus(display_name)}" if display_name else ""
        path = f"/management/device_registration_link/{self.application_id}/{path_segment(user_id)}{query}"
        call = self._call("registration link", "GET", path, harmless_to_repeat=True)
        answered = self._done(call, deadline, pause)
        link = answered.text("register_url")
        if not _LINK.fullmatch(link):
            raise answered.error("register_url is no URL")
        return link

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
        """Has IAMPASS send such a link to a phone: True, else it raises Declined.

        `phone_number` begins with `+` and the country's code; the link is put behind `message`.
        """
        if not phone_number:
            raise ValueError("phone_number: empty")
        body = {"phone_number": phone_number, "display_name": display_name, "message": message}
        given = {key: value for key, value in body.items() if value is not None}
        path = f"/management/send_registration_sms/{self.application_id}/{path_segment(user_id)}"
        self._done(self._call("registration SMS", "POST", path, _json(given)), deadline, pause)
        return True

    def has_registered_mobile_device(
        self, user_id: str, *, deadline: Deadline | None = None, pause: Pause | None = None
    ) -> ManagementAPIResult:
        """Has the user a device? `has_mobile_device` or `no_mobile_device`."""
        path = f"/management/has_registered_mobile_device/{self.application_id}/{path_segment(user_id)}"
        call = self._call("device", "GET", path, harmless_to_repeat=True)
        answered = self.transport.call(call, deadline, pause=pause).document
        # That the key is missing is how IAMPASS says that the call failed.
        if "device_registered" not in answered:
            raise _declined(call, answered)
        registered = answered.truth("device_registered")
        return ManagementAPIResult.has_mobile_device if registered else ManagementAPIResult.no_mobile_device

    def _done(self, call: Call, deadline: Deadline | None, pause: Pause | None) -> Document:
        """The answer that says that it was done."""
        answered = self.transport.call(call, deadline, pause=pause).document
        if not answered.truth("status"):
            raise _declined(call, answered)
        return answered


def _declined(call: Call, answered: Document) -> Declined:
    if "reason" not in answered:
        return Declined(f"{call.name}: IAMPASS says no, without a reason")
    reason = answered.text("reason")
    return Declined(f"{call.name}: IAMPASS says no: {printable(reason)}", reason=reason)


def _user_ids(users: Iterable[Any]) -> list[str]:
    if isinstance(users, str):
        raise TypeError("users must be a list of ids, not one id")
    ids = [user for user in users if user is not ...]
    if not ids:
        raise ValueError("users: empty")
    for user in ids:
        path_segment(user)  # who cannot stand in a path can never be asked
    return ids


def _json(members: dict[str, Any]) -> bytes:
    return json.dumps(members).encode("ascii")
