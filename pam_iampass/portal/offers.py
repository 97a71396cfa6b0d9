"""Acts as forms: what a form says, has to be done with, and holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Callable

from markupsafe import Markup, escape

from pam_iampass.fleet import DECLARED
from pam_iampass.fleet.act import Declaration, Field, Role

Form = Mapping[str, Any]
OFFERS: Mapping[str, Declaration] = {name: act.declared for name, act in DECLARED.items() if act.declared.by}
"""Each act that anybody but root may do, by its name."""
REQUEST = "of_request"
"""The field of a form that is about a session which waits for an answer. It is for the words alone."""
BELOW = "below"
"""How many logins end with the session that a form is about. It is for the words alone."""


class Unreadable(Exception):
    """A field of a form whose value cannot be what it is for. The text says why, as the end of a sentence."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")


def steps(offer: Declaration, role: Role) -> list[str]:
    """The steps that a script takes before it sends the form: `create`, `ring`, `touch`."""
    made = any(field.kind == "made" for field in offer.fields)
    needed = {"create": made, "ring": role in offer.phone, "touch": role in offer.touch}
    return [step for step, is_needed in needed.items() if is_needed]


def sentence(offer: Declaration, role: Role, given: Mapping[str, Any]) -> str:
    """The sentence that says what the act will do."""
    return _named(offer.own if role is Role.SELF else offer.says, given)


def waits(offer: Declaration, given: Mapping[str, Any]) -> str:
    """The text while the page waits, after the form was sent."""
    return _named(offer.waits, given)


@dataclass(frozen=True)
class Outcome:
    """The result page of an act."""

    title: str
    """The title of the page, as plain text."""
    heading: Markup
    """The same, with names whose parts stay whole, and a time that a script shows in the zone of the reader."""
    then: str
    """The consequences; may be empty."""
    warning: str = ""
    """What is not done yet, or still to do; may be empty."""


def outcome(
    offer: Declaration,
    result: Mapping[str, Any],
    given: Mapping[str, Any],
    *,
    is_own: bool,
    name: Callable[[str], Markup],
    moment: Callable[[str | None], Markup],
) -> Outcome:
    """The result page of an act that was done with `given`; `is_own` if the act concerns the reader."""
    person, until = given.get("person"), result.get("ends_at")
    parts = {
        "Who": "You" if is_own else "{person}",
        "who": "you" if is_own else "{person}",
        "Whose": "Your" if is_own else "{person}’s",
        "of": "" if is_own else " of {person}" if person else " on {host}",
        "it": "request" if given.get(REQUEST) else "login",
        **{each: f"{{{each}}}" for each in ("person", "host", "where", "until")},
    }
    texts = {"person": person or "", "host": given.get("host", "")}
    plain = {**texts, "where": _where(given), "until": _utc(until)}
    shown = {**plain, **{each: name(text) for each, text in texts.items()}, "until": moment(until)}
    done, then = (text.format(**parts) for text in (offer.done(result), offer.then(result)))
    then, _, warning = then.format(**plain).partition("\n")
    return Outcome(done.format(**plain), escape(done).format(**shown), then, warning)


def _utc(time: str | None) -> str:
    return f"{datetime.fromisoformat(time).astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC" if time else ""


def _where(given: Mapping[str, Any]) -> str:
    """On which hosts, and through which services, a bypass is good."""
    hosts = [*given.get("hosts", ()), *(f"hosts of {group}" for group in given.get("groups", ()))]
    services = given.get("services")
    where = f"on {', '.join(hosts) or 'all hosts'}"
    return f"{where} through {', '.join(services)}" if services else where


def _named(text: str, given: Mapping[str, Any]) -> str:
    one = "This request ends and the login is denied" if given.get(REQUEST) else "This login ends"
    if below := given.get(BELOW):
        one = f"This login and the {'login' if below == 1 else f'{below} logins'} below it end"
    logins = one if given.get("session") else "All these logins end"
    return text.format(logins=logins, **{name: given.get(name, "") for name in ("person", "host")})


def read(offer: Declaration, form: Form) -> dict[str, Any]:
    """The parameters in a form. Raises Unreadable."""
    found = {field.name: _read(field, form) for field in offer.fields}
    return {name: value for name, value in found.items() if value is not None}


def _read(field: Field, form: Form) -> Any:
    """The value in a form; None if it is left out. Raises Unreadable."""
    text = str(form.get(field.name, "")).strip()
    if field.kind == "flag":
        return text != ""
    if field.kind == "list":
        return [name for each in text.split(",") if (name := each.strip())] or None
    if field.kind == "choice":
        if text not in (field.choices or {}):
            raise Unreadable(field.label, "is not one of the choices")
        return float(text)
    return text or None
