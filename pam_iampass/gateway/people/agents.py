"""Accounts that act for a person, such as those of AI agents: the phone of that person, their owner, approves their
logins.

Only root of a gateway says which account acts for whom; what a host says of it does not count. No person has the name
of such an account. It has no phone, codes, bypasses and limits of a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pam_iampass.errors import EditRefused, shown
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.reasons import Reason
from pam_iampass.gateway.base.statements import insert, many, now, one
from pam_iampass.gateway.hosts.hosts import Host
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person

TABLE = "agent"


@dataclass(frozen=True)
class Agent:
    """An account that acts for a person."""

    name: str
    """Compared byte for byte."""
    person: str
    """The name of its owner."""
    owner: str
    """Tells the owner from a later person of the same name."""
    groups: tuple[str, ...]
    made_at: datetime

    def acts_for(self, gateway: Gateway, person: Person) -> bool:
        """Whether this very person is its owner."""
        return self.person == person.name and self.owner == gateway.keys.owner(person.token)


STATEMENT = "SELECT * FROM agent WHERE name = %s"


async def find(gateway: Gateway, connection: Connection, name: str) -> Agent | None:
    """The account with this name that acts for a person; None if there is none. Raises Tampered."""
    row = await one(connection, STATEMENT, name)
    return None if row is None else from_row(gateway, row, name=name)


async def listing(
    gateway: Gateway, connection: Connection, condition: str = "true", *values: object
) -> tuple[list[Agent], list[str]]:
    """The accounts that meet a condition of SQL, by name, and the names in rows that no gateway has written: those
    cannot log in."""
    found, tampered = [], []
    for row in await many(connection, f"SELECT * FROM agent WHERE {condition} ORDER BY name", *values):  # noqa: S608
        try:
            found.append(from_row(gateway, row))
        except Tampered:
            tampered.append(str(row["name"]))
    return found, tampered


def with_owners(
    gateway: Gateway, acting: Iterable[Agent], everybody: Iterable[Person]
) -> list[tuple[Agent, Person | None]]:
    """These accounts, each with its owner, of all people; None if the owner was removed."""
    known = {person.name: person for person in everybody}
    owners = [(agent, known.get(agent.person)) for agent in acting]
    return [
        (agent, owner if owner is not None and agent.acts_for(gateway, owner) else None)
        for agent, owner in owners
    ]


async def of_person(connection: Connection, person: str) -> list[str]:
    """The names of the accounts that act for a person, also in rows that do not count."""
    rows = await many(connection, "SELECT name FROM agent WHERE person = %s ORDER BY name", person)
    return [str(row["name"]) for row in rows]


async def add(
    gateway: Gateway, connection: Connection, name: str, person: str, groups: Sequence[str]
) -> Agent:
    """Add an account that acts for a person. Raises EditRefused and Tampered."""
    connection.later(people.LOCK_FLEET)
    owner = await people.find(gateway, connection, person)
    if await one(connection, "SELECT 1 FROM agent WHERE name = %s", person) is not None:
        raise EditRefused(f"{shown(person)} itself acts for a person", "name the person who is to approve")
    if owner is None or not owner.active:
        what = "is not known here" if owner is None else "cannot log in"
        raise EditRefused(f"{shown(person)} {what}", "see: pam-iampass-gateway user list")
    if await one(connection, "SELECT 1 FROM person WHERE name = %s", name) is not None:
        remedy = f"remove the person first: pam-iampass-gateway user remove {name}"
        raise EditRefused(f"{shown(name)} is a person here", remedy)
    if await one(connection, "SELECT 1 FROM agent WHERE name = %s", name) is not None:
        remedy = f"to change the account, remove it first: pam-iampass-gateway user remove {name}"
        raise EditRefused(f"{shown(name)} is there already", remedy)
    row = {
        "name": name,
        "person": person,
        "owner": gateway.keys.owner(owner.token),
        "groups": list(groups),
        "made_at": await now(connection),
    }
    await people.note_name(gateway, connection, name, removed=False)
    await insert(connection, TABLE, gateway.keys.sealed(TABLE, row))
    return _agent(row)


async def remove(gateway: Gateway, connection: Connection, name: str) -> bool:
    """Delete the row with this name, also one that does not count; whether there was one."""
    connection.later(people.LOCK_FLEET)
    row = await one(connection, "DELETE FROM agent WHERE name = %s RETURNING *", name)
    if row is not None:
        with suppress(Tampered):  # then its name is missing, as that of a person would be
            from_row(gateway, row, name=name)
            await people.note_name(gateway, connection, name, removed=True)
    return row is not None


async def verified(
    gateway: Gateway,
    connection: Connection,
    row: Mapping[str, Any] | None,
    name: str,
    host: Host | None = None,
) -> Agent | None:
    """The account of this name in a row; None if it is a row of nothing. One that no gateway has written is an alert,
    and nothing more."""
    try:
        return None if row is None or row["name"] is None else from_row(gateway, row, name=name)
    except Tampered as error:
        await records.alert(connection, None if host is None else host.name, str(error), person=name)
        return None


def why_not(gateway: Gateway, agent: Agent | None, person: Person, host: Host | None = None) -> Reason | None:
    """Why an account may not act for this person on a host, or on any; None if it may. Whether the person may log in
    there is decided elsewhere."""
    if agent is None or not agent.acts_for(gateway, person):
        return Reason.UNKNOWN_USER
    if host is not None and not gateway.settings.admits(host.group, agent.groups):
        return Reason.NOT_ON_THIS_HOST
    return None


def from_row(gateway: Gateway, row: Mapping[str, Any], **asked: str) -> Agent:
    """The account in a row. Raises Tampered."""
    return _agent(gateway.keys.verified(TABLE, row, **asked))


def _agent(values: Mapping[str, Any]) -> Agent:
    return Agent(
        values["name"], values["person"], values["owner"], tuple(values["groups"]), values["made_at"]
    )
