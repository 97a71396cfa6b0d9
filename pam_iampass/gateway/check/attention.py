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
    found = []
    for row in await many(connection, f"SELECT * FROM {table}"):  # noqa: S608 - a name of ours
        try:
            gateway.keys.verified(table, row)
        except Tampered:
            found.append(f"{table} {row.get('name') or row.get('id') or row['person']}")
    return found


def roles_of_nobody(settings: GatewaySettings, had: Collection[str]) -> Mapping[str, frozenset[str]]:
    """The roles whose groups nobody has, with these groups; `had` are the groups that people have."""
    roles = settings.operators.roles.items()
    return {role: named for role, named in roles if named and named.isdisjoint(had)}


async def find_waiting_hosts(gateway: Gateway, connection: Connection) -> list[Matter]:
    """The hosts that wait to be admitted, or were stopped since people have cancelled their requests."""
    kinds = {HostStatus.WAITING: "host_waits", HostStatus.STOPPED: "host_stopped"}
    listed, _ = await hosts.listing(gateway, connection)
    found = [
        Matter(kinds[host.status], "", host=host.name, since=host.joined_at)
        for host in listed
        if host.status in kinds
    ]
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
            damaged += await find_damaged(gateway, connection, table)
    statement = "SELECT DISTINCT unnest(groups) AS name FROM person WHERE status = %s"
    had = {row["name"] for row in await many(connection, statement, PersonStatus.ACTIVE.value)}
    return [
        *(Matter("damaged", what) for what in damaged[:MOST]),
        *(Matter("role_of_nobody", role) for role in roles_of_nobody(gateway.settings, had)),
    ]
