"""Names that acts are given, and what is said of one that nobody has."""

from __future__ import annotations

from difflib import get_close_matches

from pam_iampass.errors import shown
from pam_iampass.gateway import people
from pam_iampass.gateway.acts.act import ActRefused
from pam_iampass.gateway.database import Connection, many, one
from pam_iampass.gateway.gateway import Gateway
from pam_iampass.gateway.keys import Tampered
from pam_iampass.gateway.people import Person

_MOST_COMPARED = 5000
"""Names of about the same length, of which there may be a hundred thousand."""


class UnknownName(ActRefused):
    """A name that nobody has. The remedy names others, so it is for those who may see all people and hosts."""


async def unknown(connection: Connection, name: str, remedy: str) -> UnknownName:
    """The error for a name that no person and no host has. `remedy` is for where no similar name is known."""
    statement = (
        "SELECT name FROM (SELECT name FROM person UNION SELECT name FROM host) AS known"
        " WHERE length(name) BETWEEN %s AND %s LIMIT %s"
    )
    values = (len(name) - 2, len(name) + 2, _MOST_COMPARED)
    near = get_close_matches(name, [row["name"] for row in await many(connection, statement, *values)], 1)
    return UnknownName(f"{shown(name)} is not known here", f"did you mean {near[0]}?" if near else remedy)


async def known(gateway: Gateway, connection: Connection, name: str) -> Person:
    """The person of this name. Raises ActRefused."""
    try:
        person = await people.find(gateway, connection, name)
    except Tampered:
        raise tampered(name) from None
    if person is None:
        raise await _unknown_person(connection, name)
    return person


async def require_row(connection: Connection, name: str) -> None:
    """Raise UnknownName if there is no row of this person. One that no gateway has written is enough to take something
    away."""
    if await one(connection, "SELECT 1 FROM person WHERE name = %s", name) is None:
        raise await _unknown_person(connection, name)


def tampered(name: str) -> ActRefused:
    """The error for the row of a person that does not count."""
    remedy = "find out who has; then: pam-iampass-gateway user remove"
    return ActRefused(f"the row of {shown(name)} was not written by a gateway", remedy)


async def _unknown_person(connection: Connection, name: str) -> UnknownName:
    return await unknown(connection, name, "see: pam-iampass-gateway user list")
