"""Steps: what IAMPASS is still to be told after an act, a row for each, which is committed with the act.

The process that performs the act takes them at once, and a row goes when IAMPASS knows. Gateways take the rows that are
left (`watching.py`): the process was stopped, or IAMPASS has not answered. So a step may be taken twice; its effect is
the same.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pam_iampass.gateway import hosts, records
from pam_iampass.gateway.database import Connection, insert, many, now, one, replace
from pam_iampass.gateway.gateway import Gateway
from pam_iampass.gateway.keys import Tampered

TABLE = "step"
AGAIN_SECONDS = 30.0
"""A step is taken again after this time, which is longer than IAMPASS is waited for."""
_MOST_AT_ONCE = 100
_WRITTEN_AT_ONCE = 500
"""Rows that are made between two statements, since PostgreSQL does not wait for long."""


@dataclass(frozen=True)
class Step:
    """One of these is given."""

    lost_phone_of: str | None
    """The person whose phone IAMPASS has to disable."""
    ended_session: uuid.UUID | None
    """The session that IAMPASS has to end."""


async def add_lost_phone(gateway: Gateway, connection: Connection, person: str) -> None:
    """Let the phone of this person, who must be known and locked, approve no login until IAMPASS has disabled it."""
    connection.later("DELETE FROM step WHERE lost_phone_of = %s", (person,))
    await _add(gateway, connection, await now(connection), lost_phone_of=person)


async def add_ended_sessions(gateway: Gateway, connection: Connection, sessions: Sequence[uuid.UUID]) -> None:
    """These sessions are to end."""
    moment = await now(connection)
    for number, session in enumerate(sessions, 1):
        await _add(gateway, connection, moment, ended_session=session)
        if number % _WRITTEN_AT_ONCE == 0:
            await connection.flush()


async def waits_for_iampass(connection: Connection, person: str) -> bool:
    """Whether the phone of this person was reported lost, and IAMPASS does not know it yet."""
    return await one(connection, "SELECT 1 FROM step WHERE lost_phone_of = %s", person) is not None


async def all_who_wait_for_iampass(connection: Connection) -> frozenset[str]:
    """Everybody of whom `waits_for_iampass` is true."""
    rows = await many(connection, "SELECT lost_phone_of FROM step WHERE lost_phone_of IS NOT NULL")
    return frozenset(row["lost_phone_of"] for row in rows)


async def lost_phone_is_known(connection: Connection, step: uuid.UUID) -> bool:
    """IAMPASS has disabled the phone that this step is about; whether it had still to be told."""
    cursor = await connection.execute("DELETE FROM step WHERE id = %s", (step,))
    return cursor.rowcount > 0


def ended_sessions_are_known(connection: Connection, sessions: Sequence[uuid.UUID]) -> None:
    """IAMPASS has ended these sessions, or they are not there any more."""
    connection.later("DELETE FROM step WHERE ended_session = ANY(%s)", (list(sessions),))


async def take(gateway: Gateway) -> list[Step]:
    """Steps that nobody has taken for a while: they are this gateway's for AGAIN_SECONDS. A row that no gateway has
    written is none, and is reported; there is none in an old copy of the database."""
    found = []
    async with gateway.database.transaction() as connection:
        rows = await many(
            connection,
            f"SELECT * FROM step WHERE NOT {hosts.IS_OLDER} AND tried_at < now() - make_interval(secs => %s)"  # noqa: S608
            " ORDER BY tried_at LIMIT %s FOR UPDATE SKIP LOCKED",
            *(*hosts.how_far(gateway), AGAIN_SECONDS, _MOST_AT_ONCE),
        )
        moment = await now(connection)
        for row in rows:
            try:
                values = gateway.keys.verified(TABLE, row)
            except Tampered as error:
                connection.later("UPDATE step SET tried_at = %s WHERE id = %s", (moment, row["id"]))
                await records.alert(connection, None, str(error))
                continue
            await replace(connection, TABLE, "id", gateway.keys.sealed(TABLE, {**values, "tried_at": moment}))
            found.append(Step(values["lost_phone_of"], values["ended_session"]))
    return found


async def _add(gateway: Gateway, connection: Connection, moment: datetime, **what: Any) -> None:
    row = {"id": uuid.uuid4(), "lost_phone_of": None, "ended_session": None, **what, "tried_at": moment}
    await insert(connection, TABLE, gateway.keys.sealed(TABLE, row))
