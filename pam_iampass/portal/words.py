"""The words of pages: why something was not done, and what records and rows of the gateway say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from pam_iampass.fleet import DECLARED
from pam_iampass.fleet.reasons import REASONS
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
        "Try again in a minute. If you have just pressed a button, first check whether the action was done. Logins to "
        "hosts do not need this page.",
    ),
    "DATABASE_AWAY": Words(
        503, "The gateway's database does not answer", "Nothing was changed. Try again in a minute."
    ),
    "UNKNOWN_OUTCOME": Words(
        503, "The outcome is not known", "First check whether the action was done, before you try again."
    ),
    "IAMPASS_AWAY": Words(
        503,
        "IAMPASS does not answer",
        "The gateway has made its part of the change. IAMPASS has not confirmed the rest. Check the page, then try "
        "again.",
    ),
    "RESTORED": Words(
        503,
        "The gateway's database is an old copy",
        "Nobody can sign in until root of a gateway has confirmed the database: pam-iampass-gateway restored.",
    ),
    "STOPPING": Words(503, "The gateway is restarting", "Nothing was changed. Try again in a moment."),
    "BUSY": Words(429, "The gateway is busy", "Nothing was changed. Try again in a moment."),
    "NOT_PERMITTED": Words(403, "You have no permission for this", "If you need it, ask an administrator."),
    "REFUSED": Words(
        403,
        "Your confirmation is not valid",
        "It has expired, was already used, or belongs to another action. Nothing was changed. Go back and try again.",
    ),
    "SIGN_IN_REFUSED": Words(
        403,
        "You are not signed in",
        "The portal does not know this passkey, or the page was open for too long. Try again. If that does not help, "
        "ask your help desk or an administrator for a link.",
    ),
    "LINK_REFUSED": Words(
        403,
        "This link is no longer valid",
        "It has been used, is older than 15 minutes, was replaced by a newer link, or you did not approve on the "
        "phone. In the last case, open it again. Otherwise ask for a new link.",
    ),
    "ACT_REFUSED": Words(409, "Nothing was changed", "This is not possible now:"),
    "BAD_FIELD": Words(400, "Nothing was changed", "A field has a wrong value. Go back and correct it."),
    "BAD_BODY": Words(400, "Nothing was changed", "A field contains characters that are not text."),
    "NOT_SIGNED_IN": Words(
        401,
        "Your sign-in has ended",
        "Nothing was changed. A sign-in ends after 30 minutes without use, after 8 hours, and when your phone is "
        "reported lost or your passkey is replaced.",
    ),
    "WRONG_ORIGIN": Words(403, "Nothing was changed", "This request did not come from a page of the portal."),
    "NOT_FOUND": Words(404, "This page does not exist", "The address is wrong, or the page was removed."),
    "NOT_HELPED": Words(
        404,
        "You cannot help a person with this name",
        "Either no person has this name, or the person has a group that the help desk does not help. Ask an "
        "administrator.",
    ),
    "TOO_LARGE": Words(413, "Nothing was changed", "The request is too large."),
    "FAILED": Words(
        500,
        "This page has failed",
        "If you have just pressed a button, first check whether the action was done. Your administrator finds the "
        "reason in the journal of the portal.",
    ),
}


SHOWN_BEFORE = Words(
    200,
    "This was already done",
    "The result was shown only once. If you did not see it, go back and do it again.",
)
"""The page of an act that was done before, in place of a result that is shown only once."""


def words_of(error: GatewayError, path: str) -> Words:
    """The words for an error of the gateway, on the page with this address."""
    code = error.code
    if code == "REFUSED":
        code = {"/sign-in": "SIGN_IN_REFUSED", "/link": "LINK_REFUSED"}.get("/" + path.split("/")[1], code)
    if error.status == 413:
        code = "TOO_LARGE"
    return WORDS.get(code, WORDS["FAILED"])


_NOT_RUNG = {
    "PHONE_LOST": "Your phone was reported lost, and no other phone is registered. Ask the help desk.",
    "AT_CAPACITY": "Too many of your logins wait for your phone.",
    "HOST_THROTTLED": "Your phone got too many requests.",
    "IAMPASS_AWAY": "IAMPASS does not answer.",
    "IAMPASS_REFUSES": "IAMPASS does not know you or the gateway. Ask an administrator.",
}
NO_PHONE = "NO_MOBILE_DEVICE"
"""Why no phone was asked: the person has none."""


def why_not_rung(ringing: Ringing) -> str:
    """Why a phone was not asked."""
    why = _NOT_RUNG.get(ringing.reason or "", "Your phone got no request.")
    return (
        f"{why} Try again in {ringing.seconds:.0f} seconds."
        if ringing.seconds >= 1
        else f"{why} Try again later."
    )


# Rows and records

OUTCOMES: Mapping[str, tuple[str, str]] = {
    "approved": ("approved on the phone", "yes"),
    "recovered": ("approved by a recovery code", "wait"),
    "bypassed": ("allowed without the phone", "wait"),
    "covered": ("allowed by an earlier approval", "quiet"),
    "exempt": ("exempt from approval", "quiet"),
    "denied": ("denied", "no"),
    "timed_out": ("no answer in time", "no"),
    "no_device": ("no phone registered", "no"),
    "unlisted": ("no permission for this host", "no"),
    "unavailable": ("IAMPASS or gateway unavailable", "no"),
    "misconfigured": ("configuration error", "no"),
    "throttled": ("too many requests", "no"),
    "cancelled": ("login abandoned", "quiet"),
}
"""The words for each outcome of a login, and the class that gives it its colour."""
STATES: Mapping[str, tuple[str, str]] = {
    "waits": ("waits for an earlier request", "wait"),
    "asked": ("the phone is ringing", "wait"),
    "approved": ("approved on the phone", "yes"),
    "denied": ("denied", "no"),
    "over": ("ended without an answer", "quiet"),
    "away": ("the phone is away", "wait"),
    "waiting": ("waits for admission", "wait"),
    "stopped": ("stopped", "no"),
    "suspended": ("suspended", "no"),
    "leaving": ("has left the directory", "wait"),
    "removing": ("removal has begun", "no"),
    "tampered": ("changed from outside", "no"),
}
"""The same for sessions, hosts and people. What is active needs no word."""
HOST_MEANS: Mapping[str, str] = {
    "stopped": "The gateway rejects new requests of this host, because several people denied its requests. Find out "
    "why before you resume the host. Open logins continue.",
    "suspended": "Nobody can log in here by phone until an administrator resumes the host.",
    "silent": "The gateway has heard nothing from this host for a day or longer. Check that the host runs and reaches "
    "the gateway.",
}
"""The consequences of each state of a host, and the next step."""
ENTRIES: Mapping[str, str] = {
    **{name: act.declared.entry for name, act in DECLARED.items()},
    "agent_add": "account acts for a person",
    "agent_remove": "account acts for nobody any more",
    "host_joined": "host has joined",
    "host_left": "host has left",
    "invited": "link for a first phone",
    "restored_confirm": "restored database confirmed",
    "sign_in": "signed in",
    "user_add": "person added",
    "user_missing": "missing people confirmed",
    "user_remove": "person removed",
}
"""The words for a record of an act, by the name of the act. For other names, `words` makes them."""
PHONES: Mapping[str, tuple[str, str]] = {
    "registered": ("registered", "yes"),
    "lost": ("reported lost", "no"),
    "none": ("no phone registered", "wait"),
}
PAGES: Mapping[str, str] = {
    "/": "My account",
    "/people": "People",
    "/access": "Access review",
    "/logins": "Open logins",
    "/hosts": "Hosts",
    "/log": "Log",
}
"""The names of pages that are not about one person or host."""
HELPDESK = "(helpdesk)"
ASKERS: Mapping[str, str] = {"(gateway)": "the portal", HELPDESK: "the help desk"}
"""The words for senders of requests that are not hosts. Rows have the key in place of a host's name."""
_ENDS: Mapping[str, str] = {
    **REASONS,
    "cancelled": "the request was denied",
    "closed": "the user logged out, or the login was ended",
    "timeout": "the session expired",
}
"""The same, of a login that was open."""
_ID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_NEWS = "; told: "


def words(name: str) -> str:
    """The name of an act or a field as words."""
    return re.sub("[_-]+", " ", name)


def back_to(address: str) -> str:
    """The text of a link back to a page, with the name of the page where an address of it says so."""
    path = address.partition("?")[0]
    above, _, last = path.rpartition("/")
    name = PAGES.get(path) or (unquote(last) if above in ("/people", "/hosts") else "")
    return f"Go back to {name}" if name else "Go back"


def purpose(row: Mapping[str, Any]) -> str:
    """For what somebody is asked, as their page says it."""
    return _purpose(row, row.get("purpose") or "")


def _purpose(row: Mapping[str, Any], name: str) -> str:
    act = DECLARED.get(name) if row.get("host") in ASKERS else None
    return name if act is None else act.declared.purpose or name


def told(row: Mapping[str, Any]) -> tuple[str, str]:
    """The words for a record, and the class that gives them their colour."""
    outcome = row.get("outcome") or row.get("reported")
    if outcome:
        said, look = OUTCOMES.get(outcome, (words(outcome), "quiet"))
        said += f" (×{row['lost']})" if row.get("lost") else ""
        return (f"{said}, reported by the host", look) if row.get("reported") else (said, look)
    if row["kind"] == "alert":
        return "alert", "no"
    if row["kind"] == "report" and row.get("number"):
        return (
            f"{row['number']} {'login' if row['number'] == 1 else 'logins'}, reported only by the host",
            "no",
        )
    if row["kind"] == "report":
        return "more logins, recorded only on the host", "wait"
    if row["kind"] == "act":
        what = row.get("what", "act")
        if what == "refused":
            what = row.get("refused", "act")
            return f"refused: {ENTRIES.get(what, words(what))}", "no"
        return ENTRIES.get(what, words(what)), ""
    return ("request ended" if row.get("host") in ASKERS else "login ended"), "quiet"


def reason(row: Mapping[str, Any]) -> str:
    """Why it has happened, as a record says it, without ids and names that only programs know."""
    if row.get("number"):
        return "This person may not log in there. If nobody knows these logins, an attacker may control the host."
    said, _, news = (row.get("reason") or "").partition(_NEWS)
    of, _, code = said.rpartition(": ")
    was_open = row["kind"] == "decision" and not row.get("outcome") and row.get("host") not in ASKERS
    known = _ENDS if was_open else REASONS
    if row["kind"] == "decision" and code in known:
        said = ": ".join(filter(None, (_purpose(row, of), known[code])))
    said = re.sub(f"the session {_ID}", "the login", said)
    said = re.sub(f"^{_ID}; |, {_ID}(?=;)", "", said)
    news = re.sub(r" \(\d\d:\d\d UTC\)|, \d\d:\d\d UTC(?=\))", "", news)  # its own record has the time
    said = said.removeprefix("backoff: ").replace("sessions to end:", "logins to end:")
    return "; ".join(filter(None, (said, f"shown at this login: {news}" if news else "")))
