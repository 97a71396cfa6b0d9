"""Which gateway polls IAMPASS for a session.

One gateway polls a session, and what IAMPASS says is written under its lease only: the row's `epoch` counts the
gateways that have had it. A lease ends with its holder, which shows each second that it is alive; one that is late
begins again as another holder. A gateway that does not reach IAMPASS leaves its leases to others. No lock is held while
IAMPASS is called.

The tables have no MAC. An attacker who changes them makes no answer, but can keep one from being seen. So no holder is
taken to be alive for longer than a gateway says, a gateway gives up what it does not remember to have taken, and asks
now and then about sessions that others poll (`watching.py`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.statements import many, one

ALIVE_SECONDS = 4
"""A holder that has not shown for so long that it is alive has lost its leases."""
RENEW_SECONDS = 1.0
MOST_AT_ONCE = 100
"""Leases that one query takes: to verify their rows holds up all else for 40 ms."""
PENDING = "session.status IN ('pending', 'identifying')"
_IS_ALIVE = "until > now() AND until <= clock_timestamp() + make_interval(secs => %s)"
"""The condition of a living holder, with ALIVE_SECONDS: a time that is further ahead was written by no gateway."""
LOCKED = "SELECT holder, epoch FROM lease WHERE session = %s FOR SHARE"
"""The lease of a session, which nobody takes until the transaction ends."""
APPROVED = "session.status NOT IN ('pending', 'identifying') AND session.parent IS NULL"


class Leases:
    """The leases of this process."""

    def __init__(self) -> None:
        self.holder = uuid4()
        self.epochs: dict[UUID, int] = {}
        """The epochs of the sessions that this gateway polls."""
        self.leaves_all = False
        """Whether this gateway leaves its leases to others, since IAMPASS does not answer it."""
        self.renewed_at = math.inf
        """The `time.monotonic()` at which this gateway has last shown that it is alive, or began to do so."""

    async def renew(self, connection: Connection, *, is_cut_off: bool = False) -> None:
        """Show that this gateway is alive. One that was late has no leases any more; one that is cut off from IAMPASS
        leaves all to the other gateways, if there are any."""
        others = f"SELECT 1 FROM lease_holder WHERE id <> %s AND {_IS_ALIVE} LIMIT 1"  # noqa: S608
        connection.after_commit.append(self._renewed)
        self.leaves_all = is_cut_off and bool(await one(connection, others, self.holder, ALIVE_SECONDS))
        if self.leaves_all:
            await self.give_back(connection)
            return
        renewed = await one(
            connection,
            "UPDATE lease_holder SET until = now() + make_interval(secs => %s) WHERE id = %s AND until > now()"
            " RETURNING id",
            *(ALIVE_SECONDS, self.holder),
        )
        if renewed is None:
            holder = uuid4()
            connection.later(
                "INSERT INTO lease_holder VALUES (%s, now() + make_interval(secs => %s))",
                (holder, ALIVE_SECONDS),
            )
            connection.after_commit.append(partial(self._begin_again, holder))

    def _renewed(self) -> None:
        self.renewed_at = time.monotonic()

    def _begin_again(self, holder: UUID) -> None:
        self.holder, self.epochs = holder, {}

    async def give_back(self, connection: Connection) -> None:
        """End all at once: other gateways take the sessions over."""
        connection.later("DELETE FROM lease_holder WHERE id = %s", (self.holder,))
        self.epochs = {}

    async def begin(self, connection: Connection, session: UUID) -> None:
        """Take the lease of a session that this transaction opens."""
        connection.later("INSERT INTO lease VALUES (%s, %s, 1)", (session, self.holder))
        connection.after_commit.append(partial(self.epochs.__setitem__, session, 1))

    async def take(self, connection: Connection, which: str) -> list[UUID]:
        """Take the leases of open sessions (PENDING or APPROVED) that no living holder has; the ids of the sessions."""
        if self.leaves_all:
            return []
        holder = self.holder
        rows = await many(
            connection,
            "INSERT INTO lease SELECT session.id, %s, 1 FROM session"  # noqa: S608 - one of two constants
            " LEFT JOIN lease ON lease.session = session.id"
            f" LEFT JOIN lease_holder ON lease_holder.id = lease.holder AND {_IS_ALIVE}"
            f" WHERE session.state = 'open' AND {which} AND lease_holder.id IS NULL"
            " ORDER BY session.id LIMIT %s"
            " ON CONFLICT (session) DO UPDATE SET holder = excluded.holder, epoch = lease.epoch + 1"
            f" WHERE NOT EXISTS (SELECT FROM lease_holder AS alive WHERE alive.id = lease.holder AND {_IS_ALIVE})"
            " RETURNING session, epoch",
            *(holder, ALIVE_SECONDS, MOST_AT_ONCE, ALIVE_SECONDS),
        )
        taken = {row["session"]: int(row["epoch"]) for row in rows}
        connection.after_commit.append(partial(self._taken, holder, taken))
        return list(taken)

    def _taken(self, holder: UUID, taken: dict[UUID, int]) -> None:
        if holder == self.holder:
            self.epochs.update(taken)

    def is_held(self, session: UUID, epoch: int, lease: Mapping[str, Any] | None) -> bool:
        """Whether this gateway has the lease of a session still under this epoch: the row that `LOCKED` has found says
        so until the transaction ends."""
        is_held = lease is not None and (lease["holder"], lease["epoch"]) == (self.holder, epoch)
        if not is_held and self.epochs.get(session) == epoch:
            del self.epochs[session]
        return is_held

    async def end(self, connection: Connection, session: UUID) -> None:
        """End the lease of a session that is over: nobody polls it any more."""
        connection.later("DELETE FROM lease WHERE session = %s", (session,))
        dropped: Any = partial(self.epochs.pop, session, None)
        connection.after_commit.append(dropped)

    def release(self, connection: Connection, sessions: Collection[UUID]) -> None:
        """Leave the leases of sessions, whoever has them, to the gateway that takes them next."""
        connection.later(
            "UPDATE lease SET holder = gen_random_uuid() WHERE session = ANY(%s)", (list(sessions),)
        )

    async def forget(self, connection: Connection) -> None:
        """Delete what does not count any more, poll no session whose row is gone, and release the leases in this
        gateway's name that it does not remember."""
        known = set(self.epochs)
        connection.later(
            "DELETE FROM lease_holder WHERE until < now() - interval '1 hour'"
            " OR until > clock_timestamp() + make_interval(secs => %s)",
            (ALIVE_SECONDS,),
        )
        connection.later(
            "DELETE FROM lease WHERE NOT EXISTS (SELECT FROM session WHERE id = lease.session AND state = 'open')"
        )
        rows = await many(connection, "SELECT session FROM lease WHERE holder = %s", self.holder)
        leased = {row["session"] for row in rows}
        for session in known - leased:
            self.epochs.pop(session, None)
        self.release(connection, leased - self.epochs.keys())
