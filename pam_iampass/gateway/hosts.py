"""The hosts of the fleet in the database. A row counts only with its MAC; secrets are encrypted."""

from __future__ import annotations

import base64
import enum
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pam_iampass.gateway.database import Connection, insert, many, one, replace
from pam_iampass.gateway.gateway import Gateway
from pam_iampass.gateway.keys import Tampered

TABLE = "host"


class HostStatus(enum.Enum):
    """Whether a host may ask."""

    WAITING = "waiting"
    """It has joined, and an administrator has not admitted it yet."""
    ACTIVE = "active"
    SUSPENDED = "suspended"
    """Neither its starts nor the calls of its sessions are answered."""


@dataclass(frozen=True)
class Host:
    """A host that has joined."""

    id: str
    """What it calls itself in its requests."""
    name: str
    group: str
    secret: str = field(repr=False)
    machine: str | None
    """A digest of its machine-id."""
    status: HostStatus
    joined_at: datetime
    invite: str
    """The id of the invite with which it has joined."""
    slowed_until: datetime | None = None
    """The brake: until then its starts are few."""


async def find(gateway: Gateway, connection: Connection, id: str) -> Host | None:
    """The host with this id; None if there is none. Raises Tampered."""
    row = await one(connection, "SELECT * FROM host WHERE id = %s", id)
    return None if row is None else _host(gateway, row)


async def named(gateway: Gateway, connection: Connection, name: str) -> Host | None:
    """The host with this name; None if there is none. Raises Tampered."""
    row = await one(connection, "SELECT * FROM host WHERE name = %s", name)
    return None if row is None else _host(gateway, row)


async def listing(gateway: Gateway, connection: Connection) -> tuple[list[Host], list[str]]:
    """All hosts by name, and the names in rows that no gateway has written: those hosts cannot ask."""
    hosts, tampered = [], []
    for row in await many(connection, "SELECT * FROM host ORDER BY name"):
        try:
            hosts.append(_host(gateway, row))
        except Tampered:
            tampered.append(str(row["name"]))
    return hosts, tampered


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
    }
    await insert(connection, TABLE, gateway.keys.sealed(TABLE, sealed))


async def change(gateway: Gateway, connection: Connection, id: str, **columns: Any) -> Host | None:
    """Write columns (`status` is a HostStatus) of the row as it is now, which is locked until the transaction ends.

    Returns the host as it is then; None if there is none. Raises Tampered.
    """
    row = await one(connection, "SELECT * FROM host WHERE id = %s FOR UPDATE", id)
    if row is None:
        return None
    values = {name: each.value if isinstance(each, enum.Enum) else each for name, each in columns.items()}
    sealed = gateway.keys.sealed(TABLE, {**gateway.keys.verified(TABLE, row), **values})
    await replace(connection, TABLE, "id", sealed)
    return _host(gateway, sealed)


async def remove(connection: Connection, name: str) -> bool:
    """Remove the host with this name, also one whose row does not count; whether there was one."""
    cursor = await connection.execute("DELETE FROM host WHERE name = %s", (name,))
    return cursor.rowcount > 0


def _host(gateway: Gateway, row: dict[str, Any]) -> Host:
    values = gateway.keys.verified(TABLE, row)
    return Host(
        values["id"],
        values["name"],
        values["group_name"],
        gateway.keys.decrypt(values["secret"], TABLE, "secret", values["id"]),
        values["machine"],
        HostStatus(values["status"]),
        values["joined_at"],
        values["invite"],
        values["slowed_until"],
    )


def new_id(kind: str) -> str:
    """A new id for a host (`h`) or an invite (`i`): 60 random bits."""
    return f"{kind}-{base64.b32encode(secrets.token_bytes(8)).decode().lower()[:12]}"
