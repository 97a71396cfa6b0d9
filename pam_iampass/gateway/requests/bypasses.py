"""Bypasses: an administrator lets one person in without the phone for a while, on all hosts or on some.

The first factor is still required. A start of a bypassed person is answered with `BYPASSED`; a row counts only with its
MAC.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pam_iampass.config.settings import same_program
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.statements import insert, many, now
from pam_iampass.gateway.hosts.hosts import Host

TABLE = "bypass"


@dataclass(frozen=True)
class Bypass:
    """Lets one person in without the phone."""

    person: str
    services: tuple[str, ...]
    """PAM services; empty: all."""
    hosts: tuple[str, ...]
    """Names of hosts; if `host_groups` is empty, too: all."""
    host_groups: tuple[str, ...]
    made_at: datetime
    ends_at: datetime
    made_by: str
    reason: str

    @property
    def through(self) -> str:
        """The services in words."""
        return f"through {', '.join(self.services)}" if self.services else "through all services"

    @property
    def where(self) -> str:
        """The hosts in words."""
        places = [*self.hosts, *(f"the hosts of group {group}" for group in self.host_groups)]
        return f"on {', '.join(places)}" if places else "on all hosts"

    def holds_for(self, host: Host, service: str) -> bool:
        """Whether it is for a login through this service on this host."""
        here = not (self.hosts or self.host_groups)
        here = here or host.name in self.hosts or host.group in self.host_groups
        return here and (not self.services or bool({service, same_program(service)} & set(self.services)))


async def find(
    gateway: Gateway, connection: Connection, host: Host, person: str, service: str
) -> Bypass | None:
    """The bypass for a login of a person, or None."""
    policy = gateway.settings.policy_of(host.group)
    if policy is None or not policy.bypasses:
        return None
    found = await of_person(gateway, connection, person)
    return next((one for one in found if one.holds_for(host, service)), None)


async def of_person(gateway: Gateway, connection: Connection, person: str) -> list[Bypass]:
    """The bypasses of a person that have not ended, in the order in which they end."""
    found, _ = await _read(gateway, connection, "person = %s", person)
    return [one for one in found if one.person == person]


async def listing(gateway: Gateway, connection: Connection) -> tuple[list[Bypass], int]:
    """All bypasses that have not ended, in the order in which they end; and how many rows no gateway has written."""
    return await _read(gateway, connection, "true")


async def add(
    gateway: Gateway,
    connection: Connection,
    *,
    person: str,
    seconds: float,
    services: tuple[str, ...] = (),
    hosts: tuple[str, ...] = (),
    host_groups: tuple[str, ...] = (),
    made_by: str = "",
    reason: str = "",
) -> Bypass:
    """Make a bypass, in place of one of the same person for the same services and hosts. Old ones are forgotten."""
    made = await now(connection)
    ends = made + timedelta(seconds=seconds)
    bypass = Bypass(
        person=person,
        services=services,
        hosts=hosts,
        host_groups=host_groups,
        made_at=made,
        ends_at=ends,
        made_by=made_by,
        reason=reason,
    )
    values: dict[str, Any] = {**vars(bypass), "id": uuid.uuid4()}
    row = {name: list(each) if isinstance(each, tuple) else each for name, each in values.items()}
    await connection.execute(
        "DELETE FROM bypass WHERE ends_at < now()"
        " OR (person = %(person)s AND services = %(services)s::text[] AND hosts = %(hosts)s::text[]"
        " AND host_groups = %(host_groups)s::text[])",
        row,
    )
    await insert(connection, TABLE, gateway.keys.sealed(TABLE, row))
    return bypass


async def remove(connection: Connection, person: str) -> int:
    """End all bypasses of a person; how many had not ended."""
    cursor = await connection.execute("DELETE FROM bypass WHERE person = %s AND ends_at > now()", (person,))
    return cursor.rowcount


async def _read(
    gateway: Gateway, connection: Connection, condition: str, *values: str
) -> tuple[list[Bypass], int]:
    statement = f"SELECT * FROM bypass WHERE ends_at > now() AND {condition} ORDER BY ends_at"  # noqa: S608
    found, tampered = [], 0
    for row in await many(connection, statement, *values):
        try:
            bypass = _bypass(gateway.keys.verified(TABLE, row))
        except Tampered:
            tampered += 1
            continue
        if not gateway.is_over(bypass.ends_at):
            found.append(bypass)
    return found, tampered


def _bypass(values: Mapping[str, Any]) -> Bypass:
    return Bypass(
        person=values["person"],
        services=tuple(values["services"]),
        hosts=tuple(values["hosts"]),
        host_groups=tuple(values["host_groups"]),
        made_at=values["made_at"],
        ends_at=values["ends_at"],
        made_by=values["made_by"],
        reason=values["reason"],
    )
