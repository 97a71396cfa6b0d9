"""How values are shown on pages: the environment of the templates, with times, durations and the words for outcomes.

All text on a page may come from an attacker: a host chooses service, caller and reason, a directory the names of people
and groups. The environment escapes each value and shows characters that do not print as escapes, so that none turns
the line around or hides itself. A template that must keep a value as it is, as in a hidden field, writes `value|e`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pam_iampass.portal.offers import OFFERS
from pam_iampass.text import clean

_LONGEST = 2000
OUTCOMES: Mapping[str, tuple[str, str]] = {
    "approved": ("approved", "yes"),
    "recovered": ("let in with a recovery code", "wait"),
    "bypassed": ("let in by a bypass", "wait"),
    "covered": ("covered by an earlier approval", "quiet"),
    "exempt": ("needs no approval", "quiet"),
    "denied": ("denied", "no"),
    "timed_out": ("not answered in time", "no"),
    "no_device": ("no phone", "no"),
    "unlisted": ("not listed", "no"),
    "unavailable": ("could not be asked", "no"),
    "misconfigured": ("misconfigured", "no"),
    "throttled": ("asked too often", "no"),
    "cancelled": ("given up", "quiet"),
}
"""What is said of each outcome of a login, and the class that gives it its colour."""
STATES: Mapping[str, tuple[str, str]] = {
    "waits": ("waits for its turn", "wait"),
    "asked": ("the phone is asked", "wait"),
    "away": ("the person is away", "wait"),
    "waiting": ("waits to be admitted", "wait"),
    "stopped": ("stopped", "no"),
    "suspended": ("suspended", "no"),
    "leaving": ("leaving", "wait"),
    "removing": ("is being removed", "no"),
}
"""The same for sessions, hosts and people. What is active needs no word."""
ACTS: Mapping[str, str] = {
    "bypass": "may log in without the phone for a while",
    "bypass_end": "needs the phone again",
    "code_for_lost_phone": "one code for a lost phone",
    "host_admit": "admitted",
    "host_resume": "resumed",
    "host_suspend": "suspended",
    "link_used": "passkey registered with a link",
    "passkey_add": "further passkey registered",
    "passkey_confirm": "passkey approved after a restore",
    "passkey_remove": "passkey removed",
    "person_link": "link for a passkey",
    "phone_lost": "phone reported lost",
    "phone_new": "link for a new phone",
    "phone_verify": "a caller was to be verified",
    "recovery_new": "new recovery codes",
    "recovery_revoke": "recovery codes revoked",
    "session_end": "logins ended",
    "session_not_me": "a login is not theirs",
    "sign_in_end": "signed out",
    "throttle_clear": "limits cleared",
}
"""What is said of an act; of others, the words of its name."""
PHONES: Mapping[str, tuple[str, str]] = {
    "registered": ("registered", "yes"),
    "lost": ("reported lost", "no"),
    "none": ("none", "wait"),
}
_BROWSERS = {"Edg": "Edge", "Firefox": "Firefox", "Chrome": "Chrome", "Safari": "Safari"}
_SYSTEMS = {
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Android": "Android",
    "Windows": "Windows",
    "Mac OS": "macOS",
    "Linux": "Linux",
}


def environment(folder: Path) -> Environment:
    """The environment of the templates in a folder."""
    made = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"browser": browser, "duration": duration, "moment": moment}
    made.globals |= {"OFFERS": OFFERS, "OUTCOMES": OUTCOMES, "STATES": STATES, "told": told}
    return made


def _finalize(value: object) -> object:
    if isinstance(value, str) and not isinstance(value, Markup):
        return clean(value, _LONGEST)
    return "" if value is None else value


def moment(time: datetime | str | None) -> Markup:
    """A time in UTC, which a script shows in the zone of the reader."""
    if time is None or not time:
        return Markup("never")
    found = datetime.fromisoformat(time) if isinstance(time, str) else time
    utc = found.astimezone(timezone.utc)
    return Markup('<time datetime="{}">{}</time>').format(
        utc.isoformat(timespec="seconds"), f"{utc:%Y-%m-%d %H:%M} UTC"
    )


def duration(seconds: float) -> str:
    """A number of seconds in its largest units, such as `7 h 5 min`."""
    left = max(0, round(seconds))
    if left < 120:
        return f"{left} s"
    minutes = left // 60
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} days"


def browser(agent: str) -> str:
    """A browser by what it says of itself, such as `Firefox on Linux`."""
    name = next((name for word, name in _BROWSERS.items() if word in agent), None)
    system = next((word for word in _SYSTEMS if word in agent), None)
    return f"{name} on {system}" if name and system else agent or "a browser"


def words(name: str) -> str:
    """The name of an act or a field as words."""
    return re.sub("[_-]+", " ", name)


def told(row: Mapping[str, Any]) -> tuple[str, str]:
    """What a record says has happened, and the class that gives it its colour."""
    outcome = row.get("outcome") or row.get("reported")
    if outcome:
        said, look = OUTCOMES.get(outcome, (words(outcome), "quiet"))
        return (f"{said}, as the host says", look) if row.get("reported") else (said, look)
    if row["kind"] == "alert":
        return "alert", "no"
    if row["kind"] == "act":
        what = row.get("what", "act")
        return ACTS.get(what, words(what)), ""
    return words(row.get("event", "") or "the session has ended"), "quiet"
