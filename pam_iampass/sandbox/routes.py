"""Which call is which: the one table from method and path to what answers it."""

from __future__ import annotations

from typing import Callable, NamedTuple

from pam_iampass.sandbox import (
    authentication_calls,
    control_calls,
    management_calls,
    phone_calls,
    phone_page,
    registration_page,
)
from pam_iampass.sandbox.answer import Answer
from pam_iampass.sandbox.calls import CallKind
from pam_iampass.sandbox.errors import Refusal
from pam_iampass.sandbox.incoming import Incoming
from pam_iampass.sandbox.service import Service
from pam_iampass.sandbox.target import Target

Handler = Callable[[Service, Incoming], Answer]


class Route(NamedTuple):
    """A method, a path in which ``*`` stands for one segment, and what answers."""

    method: str
    path: str
    kind: CallKind
    handler: Handler

    def matches(self, target: Target) -> bool:
        """Whether the path is of this shape. Segments are compared as they were sent."""
        pattern = self.path.split("/")[1:]
        pairs = zip(pattern, target.segments)
        same = all(part in ("*", segment) for part, segment in pairs)
        return len(pattern) == len(target.segments) and same


ROUTES: tuple[Route, ...] = (
    Route("POST", "/authentication/authenticate_user/*/*", CallKind.START, authentication_calls.start),
    Route("GET", "/session/*/status", CallKind.POLL, authentication_calls.poll),
    Route("POST", "/session/*/logout", CallKind.END, authentication_calls.end),
    Route("POST", "/management/add_users/*", CallKind.ADD_USERS, management_calls.add_users),
    Route("POST", "/management/delete_users/*", CallKind.DELETE_USERS, management_calls.delete_users),
    Route("GET", "/management/device_registration_link/*/*", CallKind.LINK, management_calls.link),
    Route("POST", "/management/send_registration_sms/*/*", CallKind.SMS, management_calls.sms),
    Route("GET", "/management/has_registered_mobile_device/*/*", CallKind.DEVICE, management_calls.device),
    Route("GET", "/register/*", CallKind.PAGE, registration_page.show),
    Route("POST", "/register/*", CallKind.PAGE, registration_page.register),
    Route("GET", "/phone", CallKind.PHONE, phone_page.page),
    Route("GET", "/phone/events", CallKind.PHONE, phone_calls.events),
    Route("GET", "/phone/*", CallKind.PHONE, phone_page.asset),
    Route("POST", "/phone/requests/*/*", CallKind.PHONE, phone_calls.decide),
    Route("POST", "/phone/register/*", CallKind.PHONE, phone_calls.register),
    Route("GET", "/sandbox/requests", CallKind.CONTROL, control_calls.list_requests),
    Route("POST", "/sandbox/requests/*/*", CallKind.CONTROL, control_calls.decide),
)


def find_route(method: str, target: Target) -> Route:
    """The route of a call; where there is none, one that refuses it with 404 or 405."""
    matching: dict[str, Route] = {}
    for each in ROUTES:
        if each.matches(target):
            matching.setdefault(each.method, each)
    route: Route | None = matching.get(method)
    if route is not None:
        return route
    refusal = Refusal(404, "UNKNOWN_CALL", "there is no such call")
    if matching:
        allow = (("Allow", ", ".join(matching)),)
        refusal = Refusal(405, "WRONG_METHOD", f"this call is made with {' or '.join(matching)}", allow)
    return Route(method, "", CallKind.UNKNOWN, _refusing(refusal))


def _refusing(refusal: Refusal) -> Handler:
    def refuse(service: Service, incoming: Incoming) -> Answer:
        raise refusal

    return refuse
