"""What the phone page calls. Its key comes in a header: no cookie is set, so no other page can borrow it."""

from __future__ import annotations

from pam_iampass.sandbox.answer import Answer, StreamedAnswer
from pam_iampass.sandbox.body import require_no_body
from pam_iampass.sandbox.errors import Refusal
from pam_iampass.sandbox.incoming import Incoming
from pam_iampass.sandbox.service import Service
from pam_iampass.sandbox.sessions import SessionStatus
from pam_iampass.text import clean

_DECISIONS = {
    "approve": SessionStatus.ACTIVE,
    "deny": SessionStatus.FAILED,
    "identify": SessionStatus.IDENTIFYING,
}


def events(service: Service, incoming: Incoming) -> Answer:
    """``GET /phone/events``: server-sent events, each with all that there is to show."""
    _require_page(service, incoming)
    return StreamedAnswer(content_type="text/event-stream", stream=service.phone.respond)


def decide(service: Service, incoming: Incoming) -> Answer:
    """``POST /phone/requests/<number>/approve`` (or ``deny``, ``identify``), no body."""
    _require_page(service, incoming)
    require_no_body(incoming.body)
    number, verb = incoming.target.segments[2:]
    if verb not in _DECISIONS or not (number.isascii() and number.isdigit() and len(number) < 10):
        raise Refusal(404, "UNKNOWN_CALL", f"a request can be: {', '.join(_DECISIONS)}")
    try:
        service.world.sessions.decide(int(number), _DECISIONS[verb])
    except LookupError:
        raise Refusal(409, "NOT_PENDING", "this request does not wait for an answer any more") from None
    return Answer.of({})


def register(service: Service, incoming: Incoming) -> Answer:
    """``POST /phone/register/<token>``: registers a device through a registration link, no body."""
    _require_page(service, incoming)
    require_no_body(incoming.body)
    user = service.world.accounts.use_link(incoming.target.segments[2])
    if user is None:
        raise Refusal(410, "LINK_NOT_VALID", "this link was used before, or its user is gone")
    return Answer.of({"user": clean(user)})


def _require_page(service: Service, incoming: Incoming) -> None:
    # A second fence: no page of another site gets as far as to guess at the key.
    if incoming.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise Refusal(403, "WRONG_SITE", "only the phone page itself may call this")
    incoming.require_bearer(service.phone_key, "phone key")
