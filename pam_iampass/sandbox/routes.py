"""The table of calls: from method and path to the handler."""

from __future__ import annotations

from typing import Callable, NamedTuple

from pam_iampass.sandbox import (
    authentication_calls,
    management_calls,
    phone_calls,
    phone_page,
    registration_page,
)
from pam_iampass.sandbox.backend import Backend
from pam_iampass.sandbox.calls import CallKind
from pam_iampass.sandbox.errors import Refusal
from pam_iampass.sandbox.reply import ServiceReply
from pam_iampass.sandbox.request import IncomingRequest

Handler = Callable[[Backend, IncomingRequest], ServiceReply]


class Route(NamedTuple):
    """A method, a path in which ``*`` matches one segment, and the handler."""

    method: str
    path: str
    kind: CallKind
    handler: Handler

    def matches(self, request: IncomingRequest) -> bool:
        """Whether the path matches. Segments are compared without decoding."""
        pattern = self.path.split("/")[1:]
        same = all(part in ("*", segment) for part, segment in zip(pattern, request.segments))
        return len(pattern) == len(request.segments) and same


ROUTES: tuple[Route, ...] = (
    Route("POST", "/authentication/authenticate_user/*/*", CallKind.START, authentication_calls.start),
    Route("GET", "/session/*/status", CallKind.POLL, authentication_calls.poll),
    Route("POST", "/session/*/logout", CallKind.END, authentication_calls.end),
    Route("POST", "/management/add_users/*", CallKind.ADD_USERS, management_calls.add_users),
    Route("POST", "/management/delete_users/*", CallKind.DELETE_USERS, management_calls.delete_users),
    Route("GET", "/management/device_registration_link/*/*", CallKind.LINK, management_calls.link),
    Route("POST", "/management/send_registration_sms/*/*", CallKind.SMS, management_calls.sms),
    Route("GET", "/management/has_registered_mobile_device/*/*", CallKind.DEVICE, management_calls.device),
    Route("GET", "/management/lost_user_mobile_device/*/*", CallKind.LOST, management_calls.lost_device),
    Route("GET", "/register/*", CallKind.PAGE, registration_page.show),
    Route("POST", "/register/*", CallKind.PAGE, registration_page.register),
    Route("GET", "/phone", CallKind.PHONE, phone_page.page),
    Route("GET", "/phone/events", CallKind.PHONE, phone_calls.events),
    Route("GET", "/phone/*", CallKind.PHONE, phone_page.asset),
    Route("POST", "/phone/requests/*/*", CallKind.PHONE, phone_calls.decide),
    Route("POST", "/phone/sessions/*/*", CallKind.PHONE, phone_calls.move),
    Route("POST", "/phone/register/*", CallKind.PHONE, phone_calls.register),
    Route("POST", "/phone/devices/*/*", CallKind.PHONE, phone_calls.lose_or_find),
    Route("GET", "/sandbox/requests", CallKind.CONTROL, phone_calls.list_for_script),
    Route("POST", "/sandbox/requests/*/*", CallKind.CONTROL, phone_calls.decide_for_script),
    Route("GET", "/sandbox/sessions", CallKind.CONTROL, phone_calls.list_sessions_for_script),
    Route("POST", "/sandbox/sessions/*/*", CallKind.CONTROL, phone_calls.move_for_script),
)


def find_route(request: IncomingRequest) -> Route:
    """The route of a request; without one, a route that refuses it with 404 or 405."""
    matching: dict[str, Route] = {}
    for each in ROUTES:
        if each.matches(request):
            matching.setdefault(each.method, each)
    route: Route | None = matching.get(request.method)
    if route is not None:
        return route
    refusal = Refusal(404, "UNKNOWN_CALL", "there is no such call")
    if matching:
        allow = (("Allow", ", ".join(matching)),)
        refusal = Refusal(405, "WRONG_METHOD", f"the method of this call is {' or '.join(matching)}", allow)

    def refuse(backend: Backend, request: IncomingRequest) -> ServiceReply:
        raise refusal

    return Route(request.method, "", CallKind.UNKNOWN, refuse)
