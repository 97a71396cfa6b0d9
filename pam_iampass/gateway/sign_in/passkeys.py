"""The passkeys of people, which sign in to the portal."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from pam_iampass.client import IampassError
from pam_iampass.client.procedures import has_phone
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway, carry_out
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.settings import PortalSettings
from pam_iampass.gateway.base.statements import insert, many, now, one, replace
from pam_iampass.gateway.base.upstream import Lane
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person
from pam_iampass.gateway.sign_in.actors import (
    ActRefused,
    NotPermitted,
)
from pam_iampass.gateway.sign_in.webauthn import Credential, Refused

TABLE = "passkey"
MOST_PASSKEYS = 10
"""Passkeys of one person."""

_ASK_SECONDS = 10.0


LONGEST_TEXT = 200

PASSKEY_SQL = """
SELECT NULL AS "passkey:", passkey.*, NULL AS "person:", person.*
FROM passkey JOIN person ON person.name = passkey.person WHERE passkey.id = %s
"""


@dataclass(frozen=True)
class Passkey:
    """A passkey that counts."""

    credential: Credential
    person: str
    owner: str
    label: str
    roles: frozenset[str]
    """The names of the roles that count with it: the person had them when root made the link; none with other links."""
    made_at: datetime
    is_confirmed: bool
    """Whether the database was not restored since the passkey was made or approved on the phone."""


class Phone(enum.Enum):
    """Whether a person has a phone."""

    REGISTERED = "registered"
    NONE = "none"
    LOST = "lost"
    """It was reported lost, or is gone at IAMPASS, and there is no other one yet."""


def digest_of(token: str) -> bytes:
    """The digest of a token, by which its row is found."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def portal_of(gateway: Gateway) -> PortalSettings:
    """Where people sign in. Raises ActRefused if that is nowhere."""
    if gateway.settings.portal is None:
        raise ActRefused("nobody can sign in here", "write `portal: {origin: https://…}` into gateway.yaml")
    return gateway.settings.portal


async def restores(gateway: Gateway, connection: Connection) -> int:
    """How often a restored database was confirmed. Raises ActRefused while one waits for that, and Tampered."""
    row = await one(
        connection,
        f'SELECT NULL AS "seen:", {hosts.IS_OLDER} AS older, NULL AS "fleet:", fleet.* FROM fleet',  # noqa: S608
        **hosts.how_far(gateway),
    )
    if row is None or row["seen"]["older"]:
        gateway.restored = True
    if row is None or gateway.restored:
        raise ActRefused("the database is an old copy", "see: pam-iampass-gateway restored")
    return int(gateway.keys.verified("fleet", row["fleet"])["restores"])


async def phone_of(gateway: Gateway, person: Person) -> Phone:
    """Whether this person has a phone. Raises ActRefused if IAMPASS does not say, and DatabaseError."""
    if person.phone_to_disable:
        return Phone.LOST
    procedure = has_phone(gateway.iampass.application, person.token)
    try:
        is_there = await carry_out(gateway.iampass, procedure, _ASK_SECONDS, Lane.decisions)
    except IampassError:
        raise ActRefused("IAMPASS does not say whether there is a phone", "try again in a minute") from None
    if is_there and not person.had_phone:
        async with gateway.database.transaction() as connection:
            await people.note_phone(gateway, connection, person)
    if is_there:
        return Phone.REGISTERED
    return Phone.LOST if person.had_phone or person.phone_lost_at is not None else Phone.NONE


def require_confirmed(passkey: Passkey) -> None:
    """Raise NotPermitted for a passkey that is to be approved on the phone first."""
    if not passkey.is_confirmed:
        raise NotPermitted("the database was restored: approve this passkey on the phone first")


async def listing(
    gateway: Gateway, connection: Connection, name: str | None = None
) -> tuple[list[Passkey], int]:
    """The passkeys of a person, or of all, the oldest first, and the number of rows that do not count."""
    restored = await restores(gateway, connection)
    found, tampered = [], 0
    which, values = ("true", ()) if name is None else ("passkey.person = %s", (name,))
    statement = PASSKEY_SQL.replace("passkey.id = %s", which)
    for row in await many(connection, f"{statement} ORDER BY passkey.made_at", *values):
        try:
            found.append(from_row(gateway, row, restored)[0])
        except (Refused, Tampered):
            tampered += 1
    return found, tampered


async def add(
    gateway: Gateway,
    connection: Connection,
    person: Person,
    credential: Credential,
    label: str,
    *,
    roles: Collection[str] = (),
) -> None:
    """Add a passkey of a person, whose row is locked. Raises ActRefused, and Refused if somebody has it."""
    restored = await restores(gateway, connection)
    had = await one(connection, "SELECT count(*) AS number FROM passkey WHERE person = %s", person.name)
    if had is not None and had["number"] >= MOST_PASSKEYS:
        raise ActRefused(f"there are {MOST_PASSKEYS} passkeys already", "remove one first")
    values = {
        "id": credential.id,
        "person": person.name,
        "owner": gateway.keys.owner(person.token),
        "public_key": credential.public_key,
        "label": label,
        "roles": sorted(roles),
        "made_at": await now(connection),
        "restores": restored,
    }
    await insert(connection, TABLE, gateway.keys.sealed(TABLE, values))
    try:
        await connection.flush()
    except psycopg.errors.UniqueViolation:
        raise Refused("the id of the passkey is that of another one") from None


async def confirm(gateway: Gateway, connection: Connection, passkey: Passkey) -> None:
    """The person has approved this passkey on the phone since the database was restored."""
    restored = await restores(gateway, connection)
    row = await one(connection, "SELECT * FROM passkey WHERE id = %s", passkey.credential.id)
    values = gateway.keys.verified(TABLE, row or {}, id=passkey.credential.id)
    await replace(connection, TABLE, "id", gateway.keys.sealed(TABLE, {**values, "restores": restored}))


def from_row(
    gateway: Gateway, row: Mapping[str, Any], restored: int, **asked: object
) -> tuple[Passkey, Person]:
    """The passkey in a row of `passkey` and `person`, and whose it is. Raises Refused and Tampered."""
    values = gateway.keys.verified(TABLE, row["passkey"], **asked)
    person = people.from_row(gateway, row["person"], name=values["person"])
    is_confirmed = values["restores"] == restored
    require_same_person(gateway, values, person)
    if values["roles"] and not is_confirmed:
        raise Refused("the passkey of an operator is from before the database was restored")
    credential = Credential(values["id"], values["public_key"])
    kept = {name: values[name] for name in ("person", "owner", "label", "made_at")}
    roles = frozenset(values["roles"])
    return Passkey(credential, roles=roles, is_confirmed=is_confirmed, **kept), person


def require_same_person(gateway: Gateway, values: Mapping[str, Any], person: Person) -> None:
    """Raise Refused unless a row is of this very person, who can log in."""
    if values["owner"] != gateway.keys.owner(person.token):
        raise Refused("it is of an earlier person of this name")
    if not person.active:
        raise Refused(f"{person.name} cannot log in")


async def is_by_root(connection: Connection, person: str) -> bool:
    """Whether a person has a passkey by a link of root's. Rows are not verified: a wrong one gives nobody anything."""
    statement = "SELECT 1 FROM passkey WHERE person = %s AND roles <> '{}' LIMIT 1"
    return await one(connection, statement, person) is not None


async def people_by_root(connection: Connection) -> frozenset[str]:
    """Everybody of whom `is_by_root` is true."""
    rows = await many(connection, "SELECT DISTINCT person FROM passkey WHERE roles <> '{}'")
    return frozenset(row["person"] for row in rows)
