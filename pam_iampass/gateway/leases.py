"""Which gateway polls IAMPASS for a session.

One gateway polls a session, and what IAMPASS says is written under its lease only: the row's `epoch` counts the
gateways that have had it. A lease ends with its holder, which shows each second that it is alive; one that is late
begins again as another holder. A gateway that does not reach IAMPASS leaves its leases to others. No lock is held while
IAMPASS is called. The tables have no MAC: an attacker who changes them keeps answers from being seen, and makes none.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from pam_iampass.gateway.database import Connection, many, one

ALIVE_SECONDS = 4
"""A holder that has not shown for so long that it is alive has lost its leases."""
RENEW_SECONDS = 1.0
MOST_AT_ONCE = 100
"""Leases that one query takes: to verify their rows holds up all else for 40 ms."""
PENDING = "session.status IN ('pending', 'identifying')"
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

    async def renew(self, connection: Connection, *, is_cut_off: bool = False) -> None:
        """Show that this gateway is alive. One that was late has no leases any more; one that is cut off from IAMPASS
        leaves all to the other gateways, if there are any."""
        others = "SELECT 1 FROM lease_holder WHERE id <> %s AND until > now() LIMIT 1"
        self.leaves_all = is_cut_off and await one(connection, others, self.holder) is not None
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
            " LEFT JOIN lease_holder ON lease_holder.id = lease.holder AND lease_holder.until > now()"
            f" WHERE session.state = 'open' AND {which} AND lease_holder.id IS NULL"
            " ORDER BY session.id LIMIT %s"
            " ON CONFLICT (session) DO UPDATE SET holder = excluded.holder, epoch = lease.epoch + 1"
            " WHERE NOT EXISTS (SELECT FROM lease_holder AS alive"
            " WHERE alive.id = lease.holder AND alive.until > now())"
            " RETURNING session, epoch",
            *(holder, MOST_AT_ONCE),
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

    async def forget(self, connection: Connection) -> None:
        """Delete what does not count any more, and poll no session whose row is gone."""
        known = set(self.epochs)
        connection.later("DELETE FROM lease_holder WHERE until < now() - interval '1 hour'")
        connection.later(
            "DELETE FROM lease WHERE NOT EXISTS (SELECT FROM session WHERE id = lease.session AND state = 'open')"
        )
        rows = await many(connection, "SELECT session FROM lease WHERE holder = %s", self.holder)
        for session in known - {row["session"] for row in rows}:
            self.epochs.pop(session, None)
