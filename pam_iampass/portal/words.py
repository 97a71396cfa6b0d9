"""What a page says when something was not done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pam_iampass.portal.calls import Ringing
from pam_iampass.portal.gateway import GatewayError


@dataclass(frozen=True)
class Words:
    """The title of a page, and what it says."""

    status: int
    title: str
    says: str


WORDS: Mapping[str, Words] = {
    "AWAY": Words(
        503,
        "The gateway does not answer",
        "Logins on hosts do not need this page. Try again in a minute. If you have just asked for something, it may "
        "have been done: look before you do it again.",
    ),
    "DATABASE_AWAY": Words(
        503, "The gateway's database does not answer", "Nothing was done. Try again in a minute."
    ),
    "UNKNOWN_OUTCOME": Words(503, "It may have been done, or not", "Look before you do it again."),
    "IAMPASS_AWAY": Words(
        503,
        "IAMPASS does not answer",
        "What had to be changed at the gateway was changed, and IAMPASS has not done the rest. Look, and try again.",
    ),
    "RESTORED": Words(
        503,
        "The gateway's database is an old copy",
        "Nobody can sign in, and nothing is shown, before root of a gateway has looked at it: pam-iampass-gateway "
        "restored.",
    ),
    "STOPPING": Words(503, "The gateway starts again", "Nothing was done. Try again in a moment."),
    "BUSY": Words(429, "There is too much to do", "Nothing was done. Try again in a moment."),
    "NOT_PERMITTED": Words(403, "You may not do or see this", "If you should, ask an administrator."),
    "REFUSED": Words(
        403,
        "The confirmation does not count",
        "It is too old, was used before, or was for something else. Nothing was done. Go back and begin again.",
    ),
    "SIGN_IN_REFUSED": Words(
        403,
        "You are not signed in",
        "This passkey does not count here: it is not known, or no longer, or the page was open for too long. Try "
        "again. If that does not help, ask your help desk or an administrator for a link.",
    ),
    "LINK_REFUSED": Words(
        403,
        "The link does not count",
        "It was used, or is older than 15 minutes, or there is a newer one; or it was not approved on the phone. Open "
        "it again from where you have got it, or ask for another one.",
    ),
    "ACT_REFUSED": Words(409, "Nothing was done", "It cannot be done now."),
    "BAD_FIELD": Words(400, "Nothing was done", "A field has a value that it cannot have."),
    "BAD_BODY": Words(400, "Nothing was done", "There is something in it that is no text."),
    "NOT_SIGNED_IN": Words(
        401,
        "Sign in",
        "You are not signed in any more, so nothing was done: a sign-in ends after 30 minutes without use, and after 8 "
        "hours.",
    ),
    "WRONG_ORIGIN": Words(403, "Nothing was done", "This was not sent by a page of the portal."),
    "NOT_FOUND": Words(404, "There is no such page", "It is gone, or the address is wrong."),
    "TOO_LARGE": Words(413, "Nothing was done", "More was sent than any page of the portal sends."),
    "FAILED": Words(
        500, "This page has failed", "Your administrator finds the reason in the journal of the portal."
    ),
}


def words_of(error: GatewayError, path: str) -> Words:
    """What is said of an error of the gateway, on a page with this address."""
    code = error.code
    if code == "REFUSED":
        code = {"/sign-in": "SIGN_IN_REFUSED", "/link": "LINK_REFUSED"}.get("/" + path.split("/")[1], code)
    if error.status == 413:
        code = "TOO_LARGE"
    return WORDS.get(code, WORDS["FAILED"])


_NOT_RUNG = {
    "PHONE_LOST": "Your phone was reported lost, and there is no other one yet: ask the help desk.",
    "AT_CAPACITY": "Too many logins of yours wait for your phone.",
    "HOST_THROTTLED": "Your phone was asked too often.",
    "IAMPASS_AWAY": "IAMPASS does not answer.",
}
NO_PHONE = "NO_MOBILE_DEVICE"
"""The reason of a request of who has no phone."""


def why_not_rung(ringing: Ringing) -> str:
    """Why a phone was not asked."""
    why = _NOT_RUNG.get(ringing.reason or "", "Your phone could not be asked.")
    return (
        f"{why} Try again in {ringing.seconds:.0f} seconds."
        if ringing.seconds >= 1
        else f"{why} Try again later."
    )
