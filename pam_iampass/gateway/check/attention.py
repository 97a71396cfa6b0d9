"""Matters that need somebody now: hosts that wait, alerts, rows that no gateway has written, roles of nobody."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.records import Kind, Record
from pam_iampass.gateway.base.settings import GatewaySettings
from pam_iampass.gateway.base.statements import many
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import HostStatus
from pam_iampass.gateway.people.people import PersonStatus

SIGNED = (
    *("host", "invite", "person", "recovery", "bypass", "session", "fleet"),
    *("link", "passkey", "sign_in", "step", "question"),
)
"""The tables whose rows have a MAC."""
MOST = 100
"""The number of matters that are told of each kind, at most."""


@dataclass(frozen=True)
class Matter:
    """Something that needs attention."""

    kind: str
    """`host_waits`, `host_stopped`, `alert`, `damaged` or `role_of_nobody`."""
    what: str
    """The text of an alert, the damaged row, or the role; empty for a host."""
    host: str = ""
    person: str = ""
    since: datetime | None = None


async def find_damaged(gateway: Gateway, connection: Connection, table: str) -> list[str]:
    """The rows of a table that no gateway has written, each in words."""
    rows = await many(connection, f"SELECT * FROM {table}")  # noqa: S608 - a name of ours
    return [damage for row in rows if (damage := _damage(gateway, table, row))]


def _damage(gateway: Gateway, table: str, row: Mapping[str, Any]) -> str:
    """The row in words; empty if a gateway has written it."""
    try:
        gateway.keys.verified(table, row)
    except Tampered:
        return f"{table} {row.get('name') or row.get('id') or row['person']}"
    return ""


def roles_of_nobody(settings: GatewaySettings, had: Collection[str]) -> Mapping[str, frozenset[str]]:
    """The roles whose groups nobody has, with these groups; `had` are the groups that people have."""
    roles = settings.operators.roles.items()
    return {role: named for role, named in roles if named and named.isdisjoint(had)}


_VERSIONS = "SELECT array_agg(ctid::text || '/' || xmin::text) AS versions FROM {}"
_OF_VERSIONS = "SELECT *, ctid::text || '/' || xmin::text AS version FROM {} WHERE ctid = ANY(%s::tid[])"


async def _find_damaged_now(gateway: Gateway, connection: Connection, table: str) -> list[str]:
    """As `find_damaged`, but each version of a row is verified once in the life of a gateway: to verify 10,000 rows
    takes most of a second. PostgreSQL gives each change of a row a new `xmin`."""
    known = gateway.verified.setdefault(table, {})
    (row,) = await many(connection, _VERSIONS.format(table))
    versions = set(row["versions"] or ())
    for gone in known.keys() - versions:
        del known[gone]
    places = [version.partition("/")[0] for version in versions - known.keys()]
    for row in await many(connection, _OF_VERSIONS.format(table), places) if places else ():
        version = row.pop("version")
        known[version] = _damage(gateway, table, row)
    return [damage for damage in known.values() if damage]


async def find_waiting_hosts(gateway: Gateway, connection: Connection) -> list[Matter]:
    """The hosts that wait to be admitted, or were stopped because people have denied their requests."""
    kinds = {HostStatus.WAITING: "host_waits", HostStatus.STOPPED: "host_stopped"}
    condition, wanted = "status = ANY(%s)", [status.value for status in kinds]
    listed, _ = await hosts.listing(gateway, connection, condition, wanted)
    found = [Matter(kinds[host.status], "", host=host.name, since=host.joined_at) for host in listed]
    return found[:MOST]


async def find_alerts(connection: Connection, of: tuple[str, list[Any]]) -> list[Matter]:
    """The alerts of a day, the newest first. One that is repeated is told once. If there are too many, each host has
    its share, so that it pushes off none of others.

    :param of: a condition of SQL that `person` must meet, with its values.
    """
    condition, values = of
    statement = f"""
        SELECT * FROM (
            SELECT *, row_number() OVER (PARTITION BY host ORDER BY id DESC) AS place FROM (
                SELECT DISTINCT ON (host, person, fields->>'reason') * FROM record
                WHERE kind = %s AND at > now() - interval '1 day' AND {condition}
                ORDER BY host, person, fields->>'reason', id DESC
            ) AS newest
        ) AS placed ORDER BY place, id DESC LIMIT %s
    """  # noqa: S608
    rows = await many(connection, statement, Kind.ALERT.value, *values, MOST)
    found = map(Record.of, sorted(rows, key=lambda row: -row["id"]))
    return [
        Matter("alert", each.fields.get("reason", ""), each.host, each.person, each.time) for each in found
    ]


async def find_of_fleet(gateway: Gateway, connection: Connection) -> list[Matter]:
    """Find damaged rows, and roles that nobody has. There may be thousands of rows of sessions, steps and questions, so
    they are left to `check`."""
    damaged = []
    for table in SIGNED:
        if table not in ("session", "step", "question"):
            damaged += await _find_damaged_now(gateway, connection, table)
    statement = "SELECT DISTINCT unnest(groups) AS name FROM person WHERE status = %s"
    had = {row["name"] for row in await many(connection, statement, PersonStatus.ACTIVE.value)}
    return [
        *(Matter("damaged", what) for what in damaged[:MOST]),
        *(Matter("role_of_nobody", role) for role in roles_of_nobody(gateway.settings, had)),
    ]
