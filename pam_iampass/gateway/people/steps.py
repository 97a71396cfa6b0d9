"""Steps: what IAMPASS is still to be told after an act, which is committed with the act.

A session that is to be ended is a row of its own, since a row that is deleted ends nothing later. A lost phone that is
to be disabled is in the row of its person, so that nobody makes the phone count again by deleting rows.

The process that performs the act takes its steps at once, and they go when IAMPASS knows. Gateways take the steps that
are left (`watching.py`): the process was stopped, or IAMPASS has not answered. So a step may be taken twice; its effect
is the same.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.statements import insert, many, now, replace
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.people import people

TABLE = "step"
AGAIN_SECONDS = 30.0
"""A step is taken again after this time, which is longer than IAMPASS is waited for."""
_MOST_AT_ONCE = 100
_WRITTEN_AT_ONCE = 500
"""Rows that are made between two statements, since PostgreSQL does not wait for long."""


@dataclass(frozen=True)
class Steps:
    """Steps that a gateway has taken."""

    lost_phones_of: list[str]
    """People whose phones IAMPASS has to disable."""
    ended_sessions: list[uuid.UUID]
    """Sessions that IAMPASS has to end."""


async def add_ended_sessions(gateway: Gateway, connection: Connection, sessions: Sequence[uuid.UUID]) -> None:
    """These sessions are to end."""
    moment = await now(connection)
    for number, session in enumerate(sessions, 1):
        row = {"id": uuid.uuid4(), "ended_session": session, "tried_at": moment}
        await insert(connection, TABLE, gateway.keys.sealed(TABLE, row))
        if number % _WRITTEN_AT_ONCE == 0:
            await connection.flush()


def ended_sessions_are_known(connection: Connection, sessions: Sequence[uuid.UUID]) -> None:
    """IAMPASS has ended these sessions, or they are not there any more."""
    connection.later("DELETE FROM step WHERE ended_session = ANY(%s)", (list(sessions),))


async def take(gateway: Gateway) -> Steps:
    """Steps that nobody has taken for a while: they are this gateway's for AGAIN_SECONDS. A row that no gateway has
    written is none, and is reported; there is none in an old copy of the database."""
    found = []
    async with gateway.database.transaction() as connection:
        lost = await people.take_lost_phones(gateway, connection, AGAIN_SECONDS, _MOST_AT_ONCE)
        rows = await many(
            connection,
            f"SELECT * FROM step WHERE NOT {hosts.IS_OLDER}"  # noqa: S608
            " AND tried_at < now() - make_interval(secs => %(again)s)"
            " ORDER BY tried_at LIMIT %(most)s FOR UPDATE SKIP LOCKED",
            **hosts.how_far(gateway),
            again=AGAIN_SECONDS,
            most=_MOST_AT_ONCE,
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
            found.append(values["ended_session"])
    return Steps(lost, found)
