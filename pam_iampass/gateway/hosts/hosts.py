"""The hosts of the fleet, and the invites with which hosts join, in the database.

A row counts only with its MAC; secrets are encrypted.
"""

from __future__ import annotations

import base64
import enum
import math
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg.rows import DictRow

from pam_iampass.config.value_types import Network
from pam_iampass.fleet.results import number_of
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.statements import Statement, by_name, each_one, insert, many, one, replace

TABLE = "host"
INVITES = "invite"
GATEWAY = "(gateway)"
"""The id and the name that stand for the gateway itself where sessions and records name a host. No host can have it."""
LOCK = "SELECT 1 FROM host WHERE id = %s FOR UPDATE"
"""Locks the row of a host until the transaction ends."""
_MOST_NAMED = 10
_SEEN_SECONDS = 300.0
"""How often it is written that a host was seen, by each gateway."""


class HostStatus(enum.Enum):
    """Whether a host may ask."""

    WAITING = "waiting"
    """It has joined, and an administrator has not admitted it yet."""
    ACTIVE = "active"
    STOPPED = "stopped"
    """Several people have denied its requests, and the settings stop it for that: its requests are refused, and its
    sessions go on."""
    SUSPENDED = "suspended"
    """Neither its starts nor the calls of its sessions are answered."""

    @property
    def keeps_sessions(self) -> bool:
        """Whether the sessions of such a host go on."""
        return self in (HostStatus.ACTIVE, HostStatus.STOPPED)


@dataclass(frozen=True)
class Asker:
    """An origin of requests on phones: a host, or the gateway itself (`ITSELF`, `HELPDESK`)."""

    id: str
    """The name by which requests of a host call it."""
    name: str

    def is_slowed(self, moment: float) -> bool:
        """Whether the brake holds for it."""
        return False


ITSELF = Asker(GATEWAY, GATEWAY)
HELPDESK = Asker(GATEWAY, "(helpdesk)")
"""The gateway itself, where a help desk has people asked: what they ask for themselves takes nothing from its share."""


@dataclass(frozen=True)
class Host(Asker):
    """A host that has joined."""

    group: str
    secret: str = field(repr=False)
    machine: str | None
    """A digest of its machine-id."""
    status: HostStatus
    joined_at: datetime
    invite: str
    """The id of the invite with which it has joined."""
    slowed_until: datetime | None = None
    """The end of the brake: until then its starts are few."""
    admitted: bool = False
    """Whether an administrator has admitted it, whether its group demands that or not."""
    addresses: tuple[str, ...] = ()
    """Its addresses, as an administrator has set them. No other host has any of them."""
    note: str | None = None
    """The note of an administrator."""

    def is_slowed(self, moment: float) -> bool:
        return self.slowed_until is not None and self.slowed_until.timestamp() > moment


IS_OLDER = """(
    coalesce((SELECT at <> %(newest_at)s FROM record WHERE record.id = %(newest)s),
        coalesce((SELECT min(id) FROM record) < %(newest)s, FALSE)
        OR (SELECT last_value FROM record_id_seq) < %(last_value)s)
    OR (SELECT old_copy FROM fleet) IS TRUE
)"""
"""Whether the database has become an older one since it was looked at, or another gateway has found that it has
(`restored.py`), with the values of `how_far`: no host is answered then until it was looked at again."""


def how_far(gateway: Gateway) -> dict[str, object]:
    """How far this gateway has seen the database come."""
    newest, newest_at, last_value = gateway.how_far
    return {"newest": newest, "newest_at": newest_at, "last_value": last_value}


async def find(gateway: Gateway, connection: Connection, id: str) -> Host | None:
    """The host with this id; None if there is none. Raises Tampered.

    The same query sees whether the database has become an older one.
    """
    (row,) = await each_one(connection, find_statement(gateway, id))
    return read_found(gateway, row, id)


def find_statement(gateway: Gateway, id: str) -> Statement:
    """The statement for the host with this id, whose row `read_found` takes."""
    statement = f"SELECT host.*, {IS_OLDER} AS older FROM host WHERE host.id = %(id)s"  # noqa: S608
    return statement, {**how_far(gateway), "id": id}


def read_found(gateway: Gateway, row: dict[str, Any] | None, id: str) -> Host | None:
    """As `find`, for the row that `find_statement` has found. Raises Tampered."""
    if row is None:
        return None
    if row.pop("older"):
        gateway.restored = True
    return from_row(gateway, row, id=id)


async def named(gateway: Gateway, connection: Connection, name: str) -> Host | None:
    """The host with this name; None if there is none. Raises Tampered."""
    row = await one(connection, "SELECT * FROM host WHERE name = %s", name)
    return None if row is None else from_row(gateway, row, name=name)


async def listing(
    gateway: Gateway,
    connection: Connection,
    condition: str = "true",
    *values: object,
    most: int | None = None,
) -> tuple[list[Host], list[str]]:
    """The first hosts by name that meet a condition of SQL, and the names in rows that no gateway has written: those
    hosts cannot ask."""
    return await by_name(connection, TABLE, lambda row: from_row(gateway, row), condition, values, most)


@dataclass(frozen=True)
class Seen:
    """Observations of a host, kept beside its row: nothing follows from them."""

    at: datetime | None
    """Its last call, to within some minutes; None before the first one."""
    version: str | None
    """The version of pam-iampass, as the host says."""
    address: str | None
    """The address from which it called: a proxy's, if one stands between."""
    open_logins: int
    """Its logins that are open, or wait for their turn."""
    for_a_day: bool
    """Whether it has called, or joined, within a day."""


NEVER_SEEN = Seen(None, None, None, 0, for_a_day=False)


async def seen(connection: Connection, ids: list[str]) -> dict[str, Seen]:
    """Read the observations of these hosts, by their ids."""
    rows = await many(
        connection,
        "SELECT host.id, seen.at, seen.version, seen.address,"
        " coalesce(seen.at, host.joined_at) > now() - interval '1 day' AS for_a_day,"
        " (SELECT count(*) FROM session WHERE session.host_name = host.name AND session.host = host.id"
        " AND state IN ('open', 'queued') AND expires_at > now()) AS open_logins"
        " FROM host LEFT JOIN seen ON seen.host = host.id WHERE host.id = ANY(%s)",
        ids,
    )
    return {
        row["id"]: Seen(
            at=row["at"],
            version=row["version"],
            address=row["address"],
            open_logins=row["open_logins"],
            for_a_day=row["for_a_day"],
        )
        for row in rows
    }


def note_seen(gateway: Gateway, connection: Connection, id: str, address: str, version: str | None) -> None:
    """Write with the next statement that this host has called, unless it was written some minutes ago.

    It waits for no lock: another call that holds the row writes the same.
    """
    moment = time.monotonic()
    if moment - gateway.seen.get(id, -math.inf) < _SEEN_SECONDS:
        return
    gateway.seen[id] = moment
    connection.later(
        "UPDATE seen SET at = now(), version = %s, address = %s WHERE host ="
        " (SELECT host FROM seen WHERE host = %s FOR UPDATE SKIP LOCKED)",
        (version, address or None, id),
    )


async def add(gateway: Gateway, connection: Connection, host: Host) -> None:
    """Add a host. Raises psycopg's UniqueViolation if its name or its id is taken."""
    sealed = {
        "id": host.id,
        "name": host.name,
        "group_name": host.group,
        "secret": gateway.keys.encrypt(host.secret, TABLE, "secret", host.id),
        "machine": host.machine,
        "status": host.status.value,
        "joined_at": host.joined_at,
        "invite": host.invite,
        "slowed_until": host.slowed_until,
        "admitted": host.admitted,
        "addresses": list(host.addresses),
        "note": host.note,
    }
    await insert(connection, TABLE, gateway.keys.sealed(TABLE, sealed))
    await insert(connection, "seen", {"host": host.id})
    await connection.flush()


async def change(gateway: Gateway, connection: Connection, id: str, **columns: Any) -> Host | None:
    """Write columns (`status` is a HostStatus) of the row as it is now, which is locked until the transaction ends.

    Returns the host as it is then; None if there is none. Raises Tampered.
    """
    row = await one(connection, "SELECT * FROM host WHERE id = %s FOR UPDATE", id)
    if row is None:
        return None
    values = {name: each.value if isinstance(each, enum.Enum) else each for name, each in columns.items()}
    sealed = gateway.keys.sealed(TABLE, {**gateway.keys.verified(TABLE, row, id=id), **values})
    await replace(connection, TABLE, "id", sealed)
    return from_row(gateway, sealed)


async def with_address(connection: Connection, addresses: Sequence[str], but: str) -> DictRow | None:
    """The row of a host that has one of these addresses; None if no host has, apart from the one with the id `but`."""
    statement = "SELECT * FROM host WHERE id <> %s AND addresses && %s ORDER BY name LIMIT 1"
    return await one(connection, statement, but, list(addresses))


async def is_its_machine(gateway: Gateway, connection: Connection, host: Host, machine: str | None) -> bool:
    """Whether a host calls from the machine that was the first to say what it is."""
    if machine is not None and host.machine is None:
        _, row = await each_one(connection, (LOCK, host.id), find_statement(gateway, host.id))
        found = read_found(gateway, row, host.id)
        if found is None or found.machine is None:
            found = await change(gateway, connection, host.id, machine=machine)
        host = found or host
    if machine == host.machine:
        return True
    await records.alert(connection, host.name, "another machine uses the credential of this host")
    return False


async def others_of_invite(connection: Connection, name: str) -> str:
    """A sentence that names the hosts that have joined by the invite of this one, the last ones first: one attacker may
    be all of them. Empty if there is no other one that is not suspended."""
    rows = await many(
        connection,
        "SELECT other.name FROM host JOIN host AS other ON other.invite = host.invite AND other.id <> host.id"
        " WHERE host.name = %s AND other.status <> 'suspended' ORDER BY other.joined_at DESC, other.name LIMIT %s",
        *(name, _MOST_NAMED + 1),
    )
    if not rows:
        return ""
    names = [str(row["name"]) for row in rows[:_MOST_NAMED]]
    more = " and others" if len(rows) > _MOST_NAMED else ""
    return f"{', '.join(names)}{more} joined by the same invite: pam-iampass-gateway host suspend NAME"


async def remove(connection: Connection, name: str) -> bool:
    """Remove the host with this name, also one whose row does not count; whether there was one."""
    cursor = await connection.execute("DELETE FROM host WHERE name = %s", (name,))
    return cursor.rowcount > 0


def from_row(gateway: Gateway, row: Mapping[str, Any], **asked: str) -> Host:
    """The host in a row. Raises Tampered."""
    values = gateway.keys.verified(TABLE, row, **asked)
    return Host(
        id=values["id"],
        name=values["name"],
        group=values["group_name"],
        secret=gateway.keys.decrypt(values["secret"], TABLE, "secret", values["id"]),
        machine=values["machine"],
        status=HostStatus(values["status"]),
        joined_at=values["joined_at"],
        invite=values["invite"],
        slowed_until=values["slowed_until"],
        admitted=values["admitted"],
        addresses=tuple(values["addresses"]),
        note=values["note"],
    )


def new_id(kind: str) -> str:
    """A new id for a host (`h`) or an invite (`i`): 60 random bits."""
    return f"{kind}-{base64.b32encode(secrets.token_bytes(8)).decode().lower()[:12]}"


# Invites


@dataclass(frozen=True)
class Invite:
    """A secret with which hosts join."""

    id: str
    secret: str = field(repr=False)
    """It signs the call by which a host joins."""
    group: str
    """The group of the hosts that join with it."""
    uses_left: int
    made_at: datetime
    expires_at: datetime
    name: str | None = None
    """The only host that may use it."""
    network: Network | None = None
    """The only network from which it may be used."""

    @property
    def terms(self) -> str:
        """How many hosts can join with it, and which ones, in words."""
        name = f" named {self.name}" if self.name else ""
        network = f" in {self.network}" if self.network else ""
        return f"{number_of(self.uses_left, 'host', 'hosts')}{name}{network}, group {self.group}"


async def find_invite(gateway: Gateway, connection: Connection, id: str) -> Invite | None:
    """The invite with this id, locked until the transaction ends; None if there is none. Raises Tampered."""
    row = await one(connection, "SELECT * FROM invite WHERE id = %s FOR UPDATE", id)
    return None if row is None else _invite(gateway, row, id=id)


async def invites(gateway: Gateway, connection: Connection) -> list[Invite]:
    """The invites that can still be used, the oldest first, without rows that do not count."""
    found = []
    statement = "SELECT * FROM invite WHERE uses_left > 0 AND expires_at > now() ORDER BY made_at"
    for row in await many(connection, statement):
        try:
            found.append(_invite(gateway, row))
        except Tampered:
            continue
    return found


async def add_invite(gateway: Gateway, connection: Connection, invite: Invite) -> None:
    """Write a new invite."""
    columns = {
        "id": invite.id,
        "secret": gateway.keys.encrypt(invite.secret, INVITES, "secret", invite.id),
        "name": invite.name,
        "network": invite.network,
        "group_name": invite.group,
        "uses_left": invite.uses_left,
        "made_at": invite.made_at,
        "expires_at": invite.expires_at,
    }
    await insert(connection, INVITES, gateway.keys.sealed(INVITES, columns))


async def use_invite(gateway: Gateway, connection: Connection, id: str) -> None:
    """Have one host fewer join with the invite that `find_invite` has locked. Raises Tampered."""
    row = await one(connection, "SELECT * FROM invite WHERE id = %s", id)
    if row is not None:
        values = gateway.keys.verified(INVITES, row, id=id)
        sealed = gateway.keys.sealed(INVITES, {**values, "uses_left": values["uses_left"] - 1})
        await replace(connection, INVITES, "id", sealed)


async def remove_invite(connection: Connection, id: str) -> bool:
    """Remove an invite; whether there was one."""
    cursor = await connection.execute("DELETE FROM invite WHERE id = %s", (id,))
    return cursor.rowcount > 0


async def void_invite_of(
    connection: Connection, name: str, *, retires: bool = False
) -> tuple[str | None, str | None]:
    """Remove the invite with which this host has joined, if it could join again with it. This transaction has locked
    the host's row.

    :param retires: nobody suspects the host, which is about to be removed. Then an invite stays that is bound to a
        network, and to no name: a whole fleet may need it, and a thief with only the host's disk cannot use it.

    Returns the id of the invite that is void now, or None; and the id of the one that stays, or None.
    """
    row = await one(
        connection,
        "SELECT invite.id, %s AND network IS NOT NULL AND invite.name IS NULL AND status = 'active'"
        " AND (slowed_until IS NULL OR slowed_until < now()) AS stays"
        " FROM invite JOIN host ON invite.id = host.invite"
        " WHERE host.name = %s AND uses_left > 0 AND expires_at > now() FOR UPDATE OF invite",
        *(retires, name),
    )
    if row is None or row["stays"]:
        return None, None if row is None else str(row["id"])
    await remove_invite(connection, row["id"])
    return str(row["id"]), None


def _invite(gateway: Gateway, row: dict[str, Any], **asked: str) -> Invite:
    values = gateway.keys.verified(INVITES, row, **asked)
    return Invite(
        id=values["id"],
        secret=gateway.keys.decrypt(values["secret"], INVITES, "secret", values["id"]),
        group=values["group_name"],
        uses_left=values["uses_left"],
        made_at=values["made_at"],
        expires_at=values["expires_at"],
        name=values["name"],
        network=values["network"],
    )
