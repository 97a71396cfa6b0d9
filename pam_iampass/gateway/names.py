"""Names of people and hosts as administrators type them: which ones are known, and which known one may be meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from pam_iampass.errors import EditRefused, shown
from pam_iampass.gateway import hosts
from pam_iampass.gateway.database import Connection, many, one
from pam_iampass.gateway.gateway import Gateway
from pam_iampass.gateway.hosts import Host

_RECORDED_HOSTS = """WITH RECURSIVE recorded AS (
    SELECT min(host) AS name FROM record
    UNION ALL SELECT (SELECT min(host) FROM record WHERE host > recorded.name) FROM recorded WHERE name IS NOT NULL
) SELECT name FROM recorded WHERE name IS NOT NULL"""
"""The hosts that records name: one look into their index for each host, however many records there are."""


async def unknown_person(connection: Connection, name: str) -> EditRefused:
    """The error for the name of a person who is not known here."""
    known = await _names(connection, "SELECT name FROM person")
    return EditRefused(
        f"{shown(name)} is not known here", _remedy(name, known, "pam-iampass-gateway user list")
    )


async def unknown_host(connection: Connection, name: str) -> EditRefused:
    """The error for the name of a host that has not joined."""
    return _unknown_host(name, await _names(connection, "SELECT name FROM host"))


async def find_host(gateway: Gateway, connection: Connection, name: str) -> Host:
    """The host with this name, or the only one whose name goes on with a dot after it: for verbs that only show.

    Raises EditRefused and Tampered.
    """
    found = await hosts.named(gateway, connection, name)
    if found is None:
        known = await _names(connection, "SELECT name FROM host")
        found = await hosts.named(gateway, connection, _only_host(name, known))
    if found is None:
        raise EditRefused(f"the host {shown(name)} has just been removed")
    return found


async def recorded_host(connection: Connection, name: str) -> str:
    """The full name, for this name or its beginning, of a host that has joined or is in the records.

    Raises EditRefused.
    """
    known = await _names(connection, "SELECT name FROM host")
    if name in known:
        return name
    return _only_host(name, {*known, *await _names(connection, _RECORDED_HOSTS)})


async def require_recorded_person(connection: Connection, name: str) -> None:
    """Raise EditRefused unless a person has this name, or a record has."""
    connection.take_time()  # callers have no index
    found = await one(
        connection,
        "SELECT EXISTS (SELECT 1 FROM person WHERE name = %s) OR EXISTS (SELECT 1 FROM record WHERE person = %s)"
        " OR EXISTS (SELECT 1 FROM record WHERE fields->>'caller' = %s) AS known",
        *(name, name, name),
    )
    if found is None or not found["known"]:
        raise await unknown_person(connection, name)


async def _names(connection: Connection, statement: str) -> set[str]:
    return {str(row["name"]) for row in await many(connection, statement)}


def _only_host(name: str, known: set[str]) -> str:
    longer = _longer(name, known)
    if name not in known and len(longer) != 1:
        raise _unknown_host(name, known)
    return name if name in known else longer[0]


def _unknown_host(name: str, known: set[str]) -> EditRefused:
    longer = _longer(name, known)
    if len(longer) > 1:
        return EditRefused(f"there are several hosts {name}", f"write the full name: {', '.join(longer)}")
    remedy = _remedy(name, longer or known, "pam-iampass-gateway host list", cutoff=0 if longer else 0.6)
    return EditRefused(f"there is no host {name}", remedy)


def _longer(name: str, known: Iterable[str]) -> list[str]:
    """The names that go on with a dot after this one."""
    return sorted(each for each in known if each.startswith(f"{name}."))


def _remedy(name: str, known: Iterable[str], verb: str, *, cutoff: float = 0.6) -> str:
    near = get_close_matches(name, sorted(known), 1, cutoff)
    return f"did you mean {near[0]}? Otherwise see: {verb}" if near else f"see: {verb}"
