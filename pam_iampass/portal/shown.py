"""How values are shown on pages: the environment of the templates, with times and durations. `words.py` has the words.

All text on a page may come from an attacker: a host chooses service, caller and reason, a directory the names of people
and groups. The environment escapes each value and shows characters that do not print as escapes, so that none turns
the line around or hides itself. A template that must keep a value as it is, as in a hidden field, writes `value|e`.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pam_iampass.fleet.sessions import ASKS
from pam_iampass.portal.calls import HOW_TO_USE_CODES
from pam_iampass.portal.offers import OFFERS, REQUEST
from pam_iampass.portal.words import (
    ASKERS,
    ENTRIES,
    HELPDESK,
    HOST_MEANS,
    OUTCOMES,
    STATES,
    back_to,
    purpose,
    reason,
    told,
)
from pam_iampass.text import clean

_LONGEST = 2000
_PART = re.compile(r"(?<=[._@:/-])(?=\w)")
"""Where a line may end within a name."""
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
    made.filters |= {
        "back_to": back_to,
        "browser": browser,
        "duration": duration,
        "exact": exact,
        "moment": moment,
        "name": name,
        "time_left": time_left,
    }
    made.globals |= {"OFFERS": OFFERS, "OUTCOMES": OUTCOMES, "ENTRIES": ENTRIES, "STATES": STATES}
    made.globals |= {"ASKS": ASKS, "REQUEST": REQUEST}
    made.globals |= {"ASKERS": ASKERS, "HELPDESK": HELPDESK, "HOST_MEANS": HOST_MEANS}
    made.globals |= {"purpose": purpose, "reason": reason, "told": told}
    made.globals["how_to_use_codes"] = HOW_TO_USE_CODES
    return made


def _finalize(value: object) -> object:
    if isinstance(value, str) and not isinstance(value, Markup):
        return clean(value, _LONGEST)
    return "" if value is None else value


@lru_cache(maxsize=4096)
def name(text: str) -> Markup:
    """Return a name or an address whose parts stay whole: a line may end behind a dot, but not within a word."""
    parts = Markup("<wbr>").join(_PART.split(clean(text, _LONGEST)))  # it escapes them
    return Markup("<bdi>") + parts + Markup("</bdi>")


def moment(time: datetime | str | None, *, is_exact: bool = False) -> Markup:
    """A time in UTC, which a script shows in the zone of the reader: without seconds, unless `is_exact`."""
    if time is None or not time:
        return Markup("never")
    found = datetime.fromisoformat(time) if isinstance(time, str) else time
    utc = found.astimezone(timezone.utc)
    said = utc.isoformat(" ", "seconds" if is_exact else "minutes").partition("+")[0]
    exact = " data-exact" if is_exact else ""
    iso = utc.isoformat(timespec="seconds")
    return Markup(f'<time datetime="{iso}"{exact}>{said} UTC</time>')  # noqa: S704 - no text of others


def exact(time: datetime | str | None) -> Markup:
    """As `moment`, with seconds."""
    return moment(time, is_exact=True)


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


def time_left(seconds: float) -> Markup:
    """Return what is left of a time, such as `7 h left`. No line ends within it."""
    left = f"{duration(seconds)} left".replace(" ", "&nbsp;")
    return Markup(left)  # noqa: S704 - no text of others


def browser(agent: str) -> str:
    """A browser by what it says of itself, such as `Firefox on Linux`."""
    name = next((name for word, name in _BROWSERS.items() if word in agent), None)
    system = next((word for word in _SYSTEMS if word in agent), None)
    return f"{name} on {system}" if name and system else agent or "a browser"
