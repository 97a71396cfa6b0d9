"""Acts as forms: what a form says, has to be done with, and holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pam_iampass.fleet import DECLARED
from pam_iampass.fleet.act import Declaration, Field, Role

Form = Mapping[str, Any]
OFFERS: Mapping[str, Declaration] = {name: act.declared for name, act in DECLARED.items() if act.declared.by}
"""Each act that anybody but root may do, by its name."""


class Unreadable(Exception):
    """A field of a form whose value cannot be what it is for. The text says why, as the end of a sentence."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")


def steps(offer: Declaration, role: Role) -> list[str]:
    """What a script has to do before the form is sent: `create`, `ring`, `touch`."""
    made = any(field.kind == "made" for field in offer.fields)
    needed = {"create": made, "ring": role in offer.phone, "touch": role in offer.touch}
    return [step for step, is_needed in needed.items() if is_needed]


def sentence(offer: Declaration, role: Role, given: Mapping[str, Any]) -> str:
    """What will happen."""
    return _named(offer.own if role is Role.SELF else offer.says, given)


def waits(offer: Declaration, given: Mapping[str, Any]) -> str:
    """What the page waits for once the form was sent."""
    return _named(offer.waits, given)


def done(offer: Declaration, result: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """What has happened."""
    return _named(offer.done(result), given)


def _named(text: str, given: Mapping[str, Any]) -> str:
    logins = "This login ends" if given.get("session") else "All these logins end"
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
