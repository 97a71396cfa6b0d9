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
from pam_iampass.sandbox.errors import Refusal
from pam_iampass.sandbox.reply import ServiceReply
from pam_iampass.sandbox.request import IncomingRequest

Handler = Callable[[Backend, IncomingRequest], ServiceReply]


class Route(NamedTuple):
    """A method, a path in which ``*`` matches one segment, and the handler."""

    method: str
    path: str
    handler: Handler

    def matches(self, request: IncomingRequest) -> bool:
        """Whether the path matches. Segments are compared without decoding."""
        pattern = self.path.split("/")[1:]
        same = all(part in ("*", segment) for part, segment in zip(pattern, request.segments))
        return len(pattern) == len(request.segments) and same


ROUTES: tuple[Route, ...] = (
    Route("POST", "/authentication/authenticate_user/*/*", authentication_calls.start),
    Route("GET", "/session/*/status", authentication_calls.poll),
    Route("POST", "/session/*/logout", authentication_calls.end),
    Route("POST", "/management/add_users/*", management_calls.add_users),
    Route("POST", "/management/delete_users/*", management_calls.delete_users),
    Route("GET", "/management/device_registration_link/*/*", management_calls.link),
    Route("POST", "/management/send_registration_sms/*/*", management_calls.sms),
    Route("GET", "/management/has_registered_mobile_device/*/*", management_calls.device),
    Route("GET", "/management/lost_user_mobile_device/*/*", management_calls.lost_device),
    Route("GET", "/register/*", registration_page.show),
    Route("POST", "/register/*", registration_page.register),
    Route("GET", "/phone", phone_page.page),
    Route("GET", "/phone/events", phone_calls.events),
    Route("GET", "/phone/*", phone_page.asset),
    Route("POST", "/phone/requests/*/*", phone_calls.decide),
    Route("POST", "/phone/sessions/*/*", phone_calls.move),
    Route("POST", "/phone/register/*", phone_calls.register),
    Route("POST", "/phone/devices/*/*", phone_calls.lose_or_find),
    Route("GET", "/sandbox/requests", phone_calls.list_for_script),
    Route("POST", "/sandbox/requests/*/*", phone_calls.decide_for_script),
    Route("GET", "/sandbox/sessions", phone_calls.list_sessions_for_script),
    Route("POST", "/sandbox/sessions/*/*", phone_calls.move_for_script),
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

    return Route(request.method, "", refuse)
