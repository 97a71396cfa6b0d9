"""The people of the fleet in the database: who may be asked, by which token. A row counts only with its MAC.

A person's token at IAMPASS is random and is never taken from anywhere. Token, phone number and name for the app are
encrypted.
"""

from __future__ import annotations

import dataclasses
import enum
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pam_iampass.errors import EditRefused, shown
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection, Lock
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.records import Kind
from pam_iampass.gateway.base.settings import GatewaySettings
from pam_iampass.gateway.base.settings_schema import Invite
from pam_iampass.gateway.base.statements import by_name, insert, many, now, one, replace
from pam_iampass.gateway.base.upstream import Lane
from pam_iampass.gateway.hosts import hosts

TABLE = "person"
NOBODY = bytes(32)
"""The digest of no names."""
_ASK_SECONDS = 10.0
_MESSAGES_OF_HOST = 10
"""Registration links in an hour that logins to one host have sent."""
_MOST_KNOWN = 100_000
"""Display names that a process keeps."""
_ENCRYPTED = ("token", "display_name", "phone_number")


LOCK = "SELECT 1 FROM person WHERE name = ANY(%s) ORDER BY name FOR NO KEY UPDATE"
"""Locks the rows of people until the transaction ends, in the order in which all do that."""
LOCK_FLEET = "SELECT 1 FROM fleet FOR UPDATE"
"""Locks the row of the fleet, before those of people and of accounts that act for them, to add or remove some."""


class Source(enum.Enum):
    """Where a person comes from."""

    LOCAL = "local"
    """An administrator has added the person."""
    LDAP = "ldap"
    """The directory has the person, and also says when they have left."""


class PersonStatus(enum.Enum):
    """Whether a person can log in."""

    ACTIVE = "active"
    LEAVING = "leaving"
    """The directory has the person no longer. They are removed some time later, unless they return."""
    REMOVING = "removing"
    """An administrator removes the person, or the time is over: IAMPASS is still to be told."""


@dataclass(frozen=True)
class Person:
    """A person who may be asked on the phone."""

    name: str
    """Compared byte for byte."""
    token: str = field(repr=False)
    """The id at IAMPASS."""
    groups: tuple[str, ...] = ()
    display_name: str | None = field(default=None, repr=False)
    """The name that the app shows."""
    phone_number: str | None = field(default=None, repr=False)
    """Where messages with a registration link are sent."""
    source: Source = Source.LOCAL
    status: PersonStatus = PersonStatus.ACTIVE
    changed_at: datetime | None = None
    """The time by the database's clock; None before there is a row."""
    phone_lost_at: datetime | None = None
    """The time by the database's clock at which a phone was last reported lost; None if none ever was."""
    phone_to_disable: bool = False
    """Whether IAMPASS has not disabled that phone yet: what it approves lets nobody in."""
    phone_told_at: datetime | None = field(default=None, compare=False)
    """When IAMPASS was last told to disable that phone; None if no gateway tells it."""
    directory_id: str | None = None
    """The directory's id of this very person, so that a later one of the same name is another."""
    invites: bool = True
    """Whether a login without a phone may send a registration link: not once a phone was reported lost, since the
    number may be on that one, and its finder may make the login. A database that was restored may not know of the
    report: there it says more than `phone_lost_at`."""
    had_phone: bool = False
    """Whether IAMPASS was ever seen to have a phone: then one that is gone there is lost, too, and a passkey alone gets
    no other one."""

    @property
    def active(self) -> bool:
        """Whether the person can log in."""
        return self.status is PersonStatus.ACTIVE


def new_token() -> str:
    """The token of a new person: 128 random bits."""
    return secrets.token_urlsafe(16)


def account_name_error(name: str) -> str | None:
    """Why no account can have this name of a person, as the end of a sentence.

    It follows the relaxed rules of systemd (systemd.io/USER_NAMES), which hold for directories, too.
    """
    for wrong, what in (
        (":" in name, "has a colon"),
        (name.isdecimal(), "has digits only"),
        (name.startswith("-"), "begins with a hyphen"),
        (name != name.strip(), "begins or ends with a space"),
    ):
        if wrong:
            return f"{what}, and is the name of no account"
    return None


async def find(gateway: Gateway, connection: Connection, name: str) -> Person | None:
    """The person with this name, whatever the status; None if there is none. Raises Tampered."""
    row = await one(connection, "SELECT * FROM person WHERE name = %s", name)
    return None if row is None else from_row(gateway, row, name=name)


async def listing(
    gateway: Gateway,
    connection: Connection,
    condition: str = "true",
    *values: object,
    most: int | None = None,
) -> tuple[list[Person], list[str]]:
    """The first people by name who meet a condition of SQL, and the names in rows that no gateway has written: those
    cannot log in."""
    return await by_name(connection, TABLE, lambda row: from_row(gateway, row), condition, values, most)


async def with_display_name(
    gateway: Gateway, connection: Connection, part: str, condition: str, *values: object
) -> list[str]:
    """The names of people who meet a condition of SQL and have this text in their display name. The database cannot
    search for it, since it is encrypted. Upper and lower case are the same. The other columns are not verified. Each
    display name is decrypted once."""
    known, found = gateway.display_names, []
    if len(known) > _MOST_KNOWN:
        known.clear()
    part = part.casefold()
    statement = f"SELECT name, display_name FROM person WHERE display_name IS NOT NULL AND {condition}"  # noqa: S608
    for row in await many(connection, statement, *values):
        name, sealed = row["name"], row["display_name"]
        with suppress(Tampered):
            if (shown := known.get((name, sealed))) is None:
                shown = gateway.keys.decrypt(sealed, TABLE, "display_name", name).casefold()
                known[name, sealed] = shown
            if part in shown:
                found.append(name)
    return found


async def add(gateway: Gateway, connection: Connection, person: Person) -> Person:
    """Add a person; returns what was written. Raises psycopg's UniqueViolation if there is one with this name, and
    EditRefused if an account that acts for a person has it."""
    connection.later(LOCK_FLEET)
    await require_no_agent(connection, person.name)
    await note_name(gateway, connection, person.name, removed=False)
    row = gateway.keys.sealed(TABLE, await _columns(gateway, connection, person))
    await insert(connection, TABLE, row)
    await connection.flush()
    return from_row(gateway, row)


async def require_no_agent(connection: Connection, name: str) -> None:
    """Raise EditRefused if an account that acts for a person has this name."""
    if await one(connection, "SELECT 1 FROM agent WHERE name = %s", name) is not None:
        what = f"{shown(name)} is an account that acts for a person, and no person"
        raise EditRefused(what, f"remove the account first: pam-iampass-gateway user remove {name}")


async def change(gateway: Gateway, connection: Connection, name: str, **values: Any) -> Person | None:
    """Change these attributes of a Person, as the row is now; it is locked until the transaction ends.

    Returns what was written, with columns that only a newer release knows as they were; None if there is nobody of that
    name. Raises Tampered.
    """
    found = await one(connection, "SELECT * FROM person WHERE name = %s FOR UPDATE", name)
    if found is None:
        return None
    changed = dataclasses.replace(from_row(gateway, found, name=name), **values)
    written = {**gateway.keys.verified(TABLE, found), **await _columns(gateway, connection, changed)}
    row = gateway.keys.sealed(TABLE, written)
    await replace(connection, TABLE, "name", row)
    return from_row(gateway, row)


def app_name(person: Person, settings: GatewaySettings) -> str:
    """The name of a person that the app shows: several gateways may have one of the same name."""
    return person.display_name or f"{person.name}@{settings.names[0]}"


async def invite(gateway: Gateway, person: Person, host: str) -> bool:
    """Send a person of the directory a registration link, after a login to a host without a phone, if the settings say
    so; False if that host has had too many sent. Not after a lost phone: its finder would register it again.

    At most once an hour. Raises DatabaseError, psycopg.Error, Tampered and IampassError.
    """
    directory = gateway.settings.directory
    if directory is None or directory.invite is not Invite.FIRST_LOGIN or person.source is not Source.LDAP:
        return True
    if person.phone_number is None or not person.invites:
        return True
    async with gateway.database.transaction() as connection:
        connection.later("SELECT 1 FROM person WHERE name = %s FOR UPDATE", (person.name,))
        if await find(gateway, connection, person.name) != person:
            return True
        sent = "FROM record WHERE fields->>'what' = 'invited' AND at > now() - interval '1 hour'"
        if await one(connection, f"SELECT 1 {sent} AND person = %s", person.name):
            return True
        connection.take(Lock.MESSAGES, host)
        of_host = await one(connection, f"SELECT count(*) AS sent {sent} AND host = %s", host)
        if of_host is not None and of_host["sent"] >= _MESSAGES_OF_HOST:
            return False
        reason = "logs in and has no phone: a message is sent"
        await records.write(
            connection, Kind.ACT, host=host, person=person.name, what="invited", reason=reason
        )
    name = app_name(person, gateway.settings)
    call = gateway.iampass.application.registration_sms(person.token, name, person.phone_number, None)
    await gateway.iampass.call(call, _ASK_SECONDS, Lane.decisions)
    return True


async def stop_invites(gateway: Gateway, connection: Connection, source: Source) -> bool:
    """Have no login send a registration link to anybody from a source; whether one could have. It is no change of
    these people: `changed_at` stays."""
    stopped = False
    statement = "SELECT * FROM person WHERE invites AND source = %s FOR UPDATE"
    for row in await many(connection, statement, source.value):
        with suppress(Tampered):  # such a person cannot log in
            await _note(gateway, connection, row, invites=False)
            stopped = True
    return stopped


async def note_phone(gateway: Gateway, connection: Connection, person: Person) -> None:
    """IAMPASS has a phone of this very person. It is no change of the person: `changed_at` stays."""
    row = await one(connection, "SELECT * FROM person WHERE name = %s FOR UPDATE", person.name)
    if row is not None and from_row(gateway, row, name=person.name).token == person.token:
        await _note(gateway, connection, row, had_phone=True)


async def note_disabled_phone(gateway: Gateway, connection: Connection, person: Person) -> bool:
    """IAMPASS has disabled the phone of this very person that was lost; whether it had still to be told, and no phone
    was reported lost since. It is no change of the person."""
    row = await one(connection, "SELECT * FROM person WHERE name = %s FOR UPDATE", person.name)
    found = None if row is None else from_row(gateway, row, name=person.name)
    if row is None or found is None or not found.phone_to_disable:
        return False
    if (found.token, found.phone_lost_at) != (person.token, person.phone_lost_at):
        return False
    await _note(gateway, connection, row, phone_to_disable=False, phone_told_at=None)
    return True


async def take_lost_phones(
    gateway: Gateway, connection: Connection, again_seconds: float, most: int
) -> list[str]:
    """The people whose lost phones IAMPASS is to be told of, and was not within this time. It is told of them now, by
    this gateway: not in an old copy of the database. A row that no gateway has written is reported."""
    taken, moment = [], await now(connection)
    for row in await many(
        connection,
        f"SELECT * FROM person WHERE NOT {hosts.IS_OLDER} AND phone_to_disable"  # noqa: S608
        " AND phone_told_at < now() - make_interval(secs => %(again)s)"
        " ORDER BY phone_told_at LIMIT %(most)s FOR NO KEY UPDATE SKIP LOCKED",
        **hosts.how_far(gateway),
        again=again_seconds,
        most=most,
    ):
        name = str(row["name"])
        try:
            await _note(gateway, connection, row, phone_told_at=moment)
            taken.append(name)
        except Tampered as error:
            what = f"IAMPASS cannot be told of the lost phone of {name}: {error}"
            await records.alert(connection, None, what, person=name)
    return taken


async def keep_lost_phones(gateway: Gateway, connection: Connection) -> list[str]:
    """Have no gateway tell IAMPASS of a lost phone that was reported so far; the names of these people, who stay
    denied."""
    kept = []
    statement = "SELECT * FROM person WHERE phone_to_disable ORDER BY name FOR UPDATE"
    for row in await many(connection, statement):
        with suppress(Tampered):  # such a person cannot log in
            await _note(gateway, connection, row, phone_told_at=None)
            kept.append(str(row["name"]))
    return kept


async def _note(gateway: Gateway, connection: Connection, locked: Mapping[str, Any], **columns: Any) -> None:
    """Write columns of a row that this transaction has locked; `changed_at` stays. Raises Tampered."""
    row = gateway.keys.sealed(TABLE, {**gateway.keys.verified(TABLE, locked), **columns})
    await replace(connection, TABLE, "name", row)


async def remove(gateway: Gateway, connection: Connection, name: str) -> bool:
    """Delete the row with this name, also one that does not count; whether there was one. A person whose row did not
    count is missing then, until an administrator accepts that."""
    connection.later(LOCK_FLEET)
    row = await one(connection, "DELETE FROM person WHERE name = %s RETURNING *", name)
    if row is not None:
        with suppress(Tampered):
            from_row(gateway, row, name=name)
            await note_name(gateway, connection, name, removed=True)
    return row is not None


# Rows that were deleted in the database


@dataclass(frozen=True)
class Names:
    """The names in the rows of people, and of accounts that act for them, at one moment."""

    found: frozenset[str]
    """Also those of rows that do not count."""
    digest: bytes
    """The digest of the names in all rows. A name that is in two rows, as after a restore, counts twice."""
    are_missing: bool
    """Whether they are not exactly the names that were added and not removed."""


async def names(gateway: Gateway, connection: Connection) -> Names:
    """The names in the rows of people and of accounts that act for them. Nobody adds or removes any until the
    transaction ends. Raises Tampered."""
    connection.later(LOCK_FLEET)
    those = "SELECT name FROM person UNION ALL SELECT name FROM agent"
    row = await one(connection, f"SELECT *, ARRAY({those}) AS names FROM fleet")  # noqa: S608
    found = [] if row is None else row.pop("names")
    digest = _digest_of(gateway, found)
    return Names(frozenset(found), digest, _fleet(gateway, row)["people"] != digest)


async def accept_missing(gateway: Gateway, connection: Connection) -> None:
    """Take the names that are there for those of all people who were added and not removed. Raises Tampered."""
    digest = (await names(gateway, connection)).digest
    fleet = _fleet(gateway, await one(connection, "SELECT * FROM fleet"))
    await replace(connection, "fleet", "id", gateway.keys.sealed("fleet", {**fleet, "people": digest}))


async def note_name(gateway: Gateway, connection: Connection, name: str, *, removed: bool) -> None:
    """Note that a person, or an account that acts for one, was added or removed. This transaction has locked the row of
    the fleet. Raises Tampered.

    If a row was deleted and its name is added again, the name is in the sum twice: nobody can make the sum right by
    deleting the row once more.
    """
    row = await one(connection, "SELECT * FROM fleet")
    if row is not None:  # else nobody joins from the directory
        fleet, number = _fleet(gateway, row), gateway.keys.name(name)
        before = int.from_bytes(fleet["people"], "big")
        digest = _digest(before - number if removed else before + number)
        await replace(connection, "fleet", "id", gateway.keys.sealed("fleet", {**fleet, "people": digest}))


def _fleet(gateway: Gateway, row: Mapping[str, Any] | None) -> dict[str, Any]:
    if row is None:
        raise Tampered("fleet: there is no row: run pam-iampass-gateway init")
    return gateway.keys.verified("fleet", row)


def _digest_of(gateway: Gateway, found: Iterable[str]) -> bytes:
    return _digest(sum(map(gateway.keys.name, found)))


def _digest(number: int) -> bytes:
    return (number % (1 << 8 * len(NOBODY))).to_bytes(len(NOBODY), "big")


async def _columns(gateway: Gateway, connection: Connection, person: Person) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": person.name,
        "groups": list(person.groups),
        "source": person.source.value,
        "status": person.status.value,
        "directory_id": person.directory_id,
        "phone_lost_at": person.phone_lost_at,
        "phone_to_disable": person.phone_to_disable,
        "phone_told_at": person.phone_told_at,
        "invites": person.invites,
        "had_phone": person.had_phone,
        "changed_at": await now(connection),
    }
    for column in _ENCRYPTED:
        plain = getattr(person, column)
        row[column] = None if plain is None else gateway.keys.encrypt(plain, TABLE, column, person.name)
    return row


def from_row(gateway: Gateway, row: Mapping[str, Any], **asked: str) -> Person:
    """The person in a row. Raises Tampered."""
    values = gateway.keys.verified(TABLE, row, **asked)
    plain: dict[str, Any] = {column: values[column] for column in _ENCRYPTED}
    for column, sealed in plain.items():
        if sealed is not None:
            plain[column] = gateway.keys.decrypt(sealed, TABLE, column, values["name"])
    return Person(
        name=values["name"],
        groups=tuple(values["groups"]),
        source=Source(values["source"]),
        status=PersonStatus(values["status"]),
        changed_at=values["changed_at"],
        directory_id=values["directory_id"],
        phone_lost_at=values["phone_lost_at"],
        phone_to_disable=values["phone_to_disable"],
        phone_told_at=values["phone_told_at"],
        invites=values["invites"],
        had_phone=values["had_phone"],
        **plain,
    )
