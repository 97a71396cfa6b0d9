"""The words of pages: why something was not done, and what records and rows of the gateway say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
        "Logins on hosts do not need this page. Try again in a minute. If you have just asked for something, it may "
        "have been done: look before you do it again.",
    ),
    "DATABASE_AWAY": Words(
        503, "The gateway's database does not answer", "Nothing was done. Try again in a minute."
    ),
    "UNKNOWN_OUTCOME": Words(
        503, "The outcome is not known", "It may have been done, or not. Look before you do it again."
    ),
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
    "BUSY": Words(429, "The gateway is busy", "Nothing was done. Try again in a moment."),
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
    "ACT_REFUSED": Words(409, "Nothing was done", "It cannot be done now:"),
    "BAD_FIELD": Words(400, "Nothing was done", "A field has a value that it cannot have."),
    "BAD_BODY": Words(400, "Nothing was done", "There is something in it that is no text."),
    "NOT_SIGNED_IN": Words(
        401,
        "Sign in",
        "You are not signed in any more, so nothing was done: a sign-in ends after 30 minutes without use, after 8 "
        "hours, and when the phone is reported lost or the passkey is replaced.",
    ),
    "WRONG_ORIGIN": Words(403, "Nothing was done", "This was not sent by a page of the portal."),
    "NOT_FOUND": Words(404, "There is no such page", "It is gone, or the address is wrong."),
    "NOT_HELPED": Words(
        404,
        "You help nobody with this name",
        "Either nobody has this name, or the person has a group that the help desk does not help. Ask an "
        "administrator.",
    ),
    "TOO_LARGE": Words(413, "Nothing was done", "More was sent than any page of the portal sends."),
    "FAILED": Words(
        500,
        "This page has failed",
        "Your administrator finds the reason in the journal of the portal. If you have just asked for something, it "
        "may have been done: look before you do it again.",
    ),
}


SHOWN_BEFORE = "What it showed is shown only once. If you have not seen it, go back and do it again."
"""What the page of an act says that was done before, in place of what is shown once."""


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
    "IAMPASS_REFUSES": "IAMPASS does not know you, or does not know the gateway: ask an administrator.",
}
NO_PHONE = "NO_MOBILE_DEVICE"
"""Why no phone was asked: the person has none."""


def why_not_rung(ringing: Ringing) -> str:
    """Why a phone was not asked."""
    why = _NOT_RUNG.get(ringing.reason or "", "Your phone could not be asked.")
    return (
        f"{why} Try again in {ringing.seconds:.0f} seconds."
        if ringing.seconds >= 1
        else f"{why} Try again later."
    )


# Rows and records

OUTCOMES: Mapping[str, tuple[str, str]] = {
    "approved": ("approved", "yes"),
    "recovered": ("let in with a recovery code", "wait"),
    "bypassed": ("let in without the phone", "wait"),
    "covered": ("covered by an earlier approval", "quiet"),
    "exempt": ("needs no approval", "quiet"),
    "denied": ("denied", "no"),
    "timed_out": ("not answered in time", "no"),
    "no_device": ("no phone", "no"),
    "unlisted": ("may not log in there", "no"),
    "unavailable": ("could not be asked", "no"),
    "misconfigured": ("not possible from there", "no"),
    "throttled": ("asked too often", "no"),
    "cancelled": ("given up", "quiet"),
}
"""What is said of each outcome of a login, and the class that gives it its colour."""
STATES: Mapping[str, tuple[str, str]] = {
    "waits": ("waits for its turn", "wait"),
    "asked": ("the phone is asked", "wait"),
    "approved": ("approved on the phone", "yes"),
    "denied": ("denied", "no"),
    "over": ("ended without an answer", "quiet"),
    "away": ("the person is away", "wait"),
    "waiting": ("waits to be admitted", "wait"),
    "stopped": ("stopped", "no"),
    "suspended": ("suspended", "no"),
    "leaving": ("leaving", "wait"),
    "removing": ("is being removed", "no"),
}
"""The same for sessions, hosts and people. What is active needs no word."""
ENTRIES: Mapping[str, str] = {
    **{name: act.declared.entry for name, act in DECLARED.items()},
    "host_joined": "host has joined",
    "host_left": "host has left",
    "invited": "link for a first phone",
    "restored_confirm": "restored database accepted",
    "sign_in": "signed in",
    "user_add": "person added",
    "user_missing": "missing rows of people accepted",
    "user_remove": "person removed",
}
"""What is said of what a record of an act names; of others, the words of its name."""
PHONES: Mapping[str, tuple[str, str]] = {
    "registered": ("registered", "yes"),
    "lost": ("reported lost", "no"),
    "none": ("none is registered", "wait"),
}
HELPDESK = "(helpdesk)"
ASKERS: Mapping[str, str] = {"(gateway)": "the portal", HELPDESK: "the help desk"}
"""What has people asked that is no host, by what rows have in place of a host's name."""
_ENDS: Mapping[str, str] = {
    **REASONS,
    "cancelled": "it was refused",
    "closed": "somebody has ended it, or it was logged out",
    "timeout": "its time was over",
}
"""The same, of a login that was open."""
_ID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_NEWS = "; told: "


def words(name: str) -> str:
    """The name of an act or a field as words."""
    return re.sub("[_-]+", " ", name)


def purpose(row: Mapping[str, Any]) -> str:
    """For what somebody is asked, as their page says it."""
    return _purpose(row, row.get("purpose") or "")


def _purpose(row: Mapping[str, Any], name: str) -> str:
    act = DECLARED.get(name) if row.get("host") in ASKERS else None
    return name if act is None else act.declared.purpose or name


def told(row: Mapping[str, Any]) -> tuple[str, str]:
    """What a record says has happened, and the class that gives it its colour."""
    outcome = row.get("outcome") or row.get("reported")
    if outcome:
        said, look = OUTCOMES.get(outcome, (words(outcome), "quiet"))
        said += f" (×{row['lost']})" if row.get("lost") else ""
        return (f"{said}, as the host says", look) if row.get("reported") else (said, look)
    if row["kind"] == "alert":
        return "alert", "no"
    if row["kind"] == "report" and row.get("number"):
        return f"{row['number']} {'login' if row['number'] == 1 else 'logins'}, as only the host says", "no"
    if row["kind"] == "report":
        return "more logins, of which only the host has records", "wait"
    if row["kind"] == "act":
        what = row.get("what", "act")
        if what == "refused":
            what = row.get("refused", "act")
            return f"refused: {ENTRIES.get(what, words(what))}", "no"
        return ENTRIES.get(what, words(what)), ""
    return ("it is over" if row.get("host") in ASKERS else "the login has ended"), "quiet"


def reason(row: Mapping[str, Any]) -> str:
    """Why it has happened, as a record says it, without ids and names that only programs know."""
    if row.get("number"):
        return "This person may not log in there. If nobody knows of these logins, an attacker may control the host."
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
    return "; ".join(filter(None, (said, f"the login has told them: {news}" if news else "")))
