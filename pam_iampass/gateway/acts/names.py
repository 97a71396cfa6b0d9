"""Names of people and hosts as somebody gives them: which ones are known, and which known one may be meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from pam_iampass.errors import shown
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.statements import many, one
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import Host
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person
from pam_iampass.gateway.sign_in.actors import ActRefused

_PEOPLE = "see: pam-iampass-gateway user list"
_HOSTS = "see: pam-iampass-gateway host list"
_MOST_COMPARED = 5000
"""The number of names that are compared, at most: a hundred thousand may have about the same length."""
_RECORDED_HOSTS = """WITH RECURSIVE recorded AS (
    SELECT min(host) AS name FROM record
    UNION ALL SELECT (SELECT min(host) FROM record WHERE host > recorded.name) FROM recorded WHERE name IS NOT NULL
) SELECT name FROM recorded WHERE name IS NOT NULL"""
"""The hosts that records name: one look into their index for each host, however many records there are."""


class UnknownName(ActRefused):
    """A name that nobody has. The remedy names others, so it is for those who may see all people and hosts."""


# People


async def unknown_person(connection: Connection, name: str) -> UnknownName:
    """The error for the name of a person who is not known here, or of an account that acts for one."""
    agent = await one(connection, "SELECT person FROM agent WHERE name = %s", name)
    if agent is not None:
        owner = shown(str(agent["person"]))
        remedy = f"name {owner}, or remove the account: pam-iampass-gateway user remove {name}"
        return UnknownName(f"{shown(name)} is no person, but an account that acts for {owner}", remedy)
    remedy = _remedy(name, await _people_like(connection, name), _PEOPLE)
    return UnknownName(f"{shown(name)} is not known here", remedy)


async def known(gateway: Gateway, connection: Connection, name: str) -> Person:
    """The person of this name. Raises ActRefused."""
    try:
        person = await people.find(gateway, connection, name)
    except Tampered:
        raise tampered(name, "user remove") from None
    if person is None:
        raise await unknown_person(connection, name)
    return person


async def require_row(connection: Connection, name: str) -> None:
    """Raise UnknownName if there is no row of this person. One that no gateway has written is enough to take something
    away."""
    if await one(connection, "SELECT 1 FROM person WHERE name = %s", name) is None:
        raise await unknown_person(connection, name)


async def require_recorded_person(connection: Connection, name: str) -> None:
    """Raise UnknownName unless a person has this name, or a record has."""
    connection.take_time()  # only `person` has an index
    found = await one(
        connection,
        "SELECT EXISTS (SELECT 1 FROM person WHERE name = %s) OR EXISTS (SELECT 1 FROM record WHERE person = %s)"
        " OR EXISTS (SELECT 1 FROM record"
        " WHERE %s IN (fields->>'caller', fields->>'asker', fields->>'agent', fields->>'approver')) AS known",
        *(name, name, name),
    )
    if found is None or not found["known"]:
        raise await unknown_person(connection, name)


def tampered(name: str, verb: str) -> ActRefused:
    """The error for the row of a person or a host that does not count, and the verb that removes it."""
    remedy = f"find out who has; then: pam-iampass-gateway {verb}"
    return ActRefused(f"the row of {shown(name)} was not written by a gateway", remedy)


# Hosts


async def unknown_host(connection: Connection, name: str) -> UnknownName:
    """The error for the name of a host that has not joined."""
    return _unknown_host(name, await _joined(connection))


async def lock_host(gateway: Gateway, connection: Connection, name: str) -> Host:
    """The host of this name, which nobody else changes until the transaction ends. Raises ActRefused."""
    try:
        found = await hosts.named(gateway, connection, name)
        if found is not None:
            found = await hosts.change(gateway, connection, found.id)
    except Tampered:
        raise tampered(name, "host remove") from None
    if found is None:
        raise await unknown_host(connection, name)
    return found


async def find_host(gateway: Gateway, connection: Connection, name: str) -> Host:
    """The host with this name, or the only one whose name goes on with a dot after it: for verbs that only show.

    Raises UnknownName and Tampered.
    """
    found = await hosts.named(gateway, connection, name)
    if found is None:
        only = _only_host(name, await _joined(connection))
        found = await hosts.named(gateway, connection, only)
    if found is None:
        raise UnknownName(f"the host {shown(name)} has just been removed")
    return found


async def recorded_host(connection: Connection, name: str) -> str:
    """The full name, for this name or its beginning, of a host that has joined or is in the records.

    Raises UnknownName.
    """
    joined = await _joined(connection)
    if name in joined:
        return name
    return _only_host(name, joined | await _names(connection, _RECORDED_HOSTS))


# Either


async def unknown(connection: Connection, name: str, remedy: str) -> UnknownName:
    """The error for a name that no person and no host has. `remedy` is for what else may be meant."""
    near = await _people_like(connection, name) | await _joined(connection)
    return UnknownName(f"{shown(name)} is not known here", _remedy(name, near, remedy))


async def _joined(connection: Connection) -> set[str]:
    return await _names(connection, "SELECT name FROM host")


async def _people_like(connection: Connection, name: str) -> set[str]:
    statement = "SELECT name FROM person WHERE length(name) BETWEEN %s AND %s LIMIT %s"
    return await _names(connection, statement, len(name) - 2, len(name) + 2, _MOST_COMPARED)


async def _names(connection: Connection, statement: str, *values: object) -> set[str]:
    return {str(row["name"]) for row in await many(connection, statement, *values)}


def _only_host(name: str, among: set[str]) -> str:
    longer = _longer(name, among)
    if name not in among and len(longer) != 1:
        raise _unknown_host(name, among)
    return name if name in among else longer[0]


def _unknown_host(name: str, among: set[str]) -> UnknownName:
    longer = _longer(name, among)
    if len(longer) > 1:
        return UnknownName(f"there are several hosts {name}", f"write the full name: {', '.join(longer)}")
    remedy = _remedy(name, longer or among, _HOSTS, cutoff=0 if longer else 0.6)
    return UnknownName(f"there is no host {name}", remedy)


def _longer(name: str, among: Iterable[str]) -> list[str]:
    """The names that go on with a dot after this one."""
    return sorted(each for each in among if each.startswith(f"{name}."))


def _remedy(name: str, among: Iterable[str], otherwise: str, *, cutoff: float = 0.6) -> str:
    near = get_close_matches(name, sorted(among), 1, cutoff)
    return f"did you mean {near[0]}? Otherwise {otherwise}" if near else otherwise
