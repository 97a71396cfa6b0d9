"""Whose turn it is on a person's phone, and how often it may ring, over all hosts and gateways.

The rules are those of one host (`login/throttle.py`). The state of a person is one row, which is locked for the
transaction that changes it, and never while IAMPASS is called. Times are the database's, in seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cached_property
from typing import Any, Callable

from psycopg.types.json import Jsonb

from pam_iampass.gateway.base.connection import Connection, Lock
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.settings import LimitSettings
from pam_iampass.gateway.base.statements import many, one
from pam_iampass.login import throttle
from pam_iampass.login.throttle import (
    MOST_PENDING,
    Cause,
    Pending,
    Refusal,
    RequestResult,
    ThrottleState,
)

END_SECONDS = 15.0
"""The time after its deadline in which a request is ended: then its turn is over, whatever has become of it."""
_LATELY = """FROM record
    WHERE record.person = session.person AND record.host = session.host_name
        AND record.fields->>'outcome' IN ('approved', 'covered') AND NOT record.fields ? 'agent'
        AND record.at > greatest(
            now() - interval '30 days', (SELECT joined_at FROM host WHERE host.name = session.host_name))"""
FAMILIAR = f"EXISTS (SELECT {_LATELY})"
"""Whether the person of a session has approved on its host lately, or had a login covered, since that has joined. What
they approve for accounts that act for them does not count."""
_MOST_LOOKED_AT = 200
"""The number of approvals of a person on a host, from the last one back, whose origins are usual."""
COLUMNS = """turn.person, turn.state, extract(epoch FROM greatest(
    clock_timestamp(), least(coalesce(turn.changed_at, '-infinity'), clock_timestamp() + interval '1 minute')
))::float8 AS now"""
"""The columns of a row, or of none. The time does not go back: the clock of a promoted standby may be behind."""
ROW = f"SELECT {COLUMNS} FROM (SELECT) AS none LEFT JOIN turn ON turn.person = %s"  # noqa: S608
"""The statement for the row of a person, who may have none."""


@dataclass(frozen=True)
class Turns:
    """The state of a person as it was read."""

    person: str
    written: ThrottleState
    """The state of the row, with parts that do not count any more."""
    now: float

    @classmethod
    def of(cls, row: Mapping[str, Any], person: str | None = None) -> Turns:
        """The turns in a row; if it is one of nothing, `person` has none. Raises Tampered, also if it is the row of
        somebody else."""
        try:
            if person is not None and row["person"] is None:
                return cls(person, ThrottleState(), row["now"])
            if person not in (None, row["person"]):
                raise ValueError(person)
            datetime.fromtimestamp(row["now"], timezone.utc)
            return cls(row["person"], ThrottleState.from_json(row["state"]), row["now"])
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
            raise Tampered(f"turn: the row of {row['person']} was not written by a gateway") from None

    @cached_property
    def state(self) -> ThrottleState:
        """The state without the parts that do not count any more. A request whose gateway has written no result, and
        has died perhaps, was not approved."""
        return throttle.expired(self.written, self.now).current(self.now)

    @property
    def overdue(self) -> list[Pending]:
        """The logins whose turn has not come in time."""
        return [each for each in self.written.pending if not each.has_turn and each.until <= self.now]

    @property
    def due(self) -> bool:
        """Whether there is something to do for a login that waits."""
        return bool(self.overdue) or self.state.first(self.now) is not None


def lock(connection: Connection, person: str) -> None:
    """Lock the turns of a person with the next statement, until the transaction ends; there may be no row yet."""
    connection.take(Lock.TURNS, person)


async def locked(connection: Connection, person: str) -> Turns:
    """The turns of a person, which nobody else changes until the transaction ends. Raises Tampered."""
    lock(connection, person)
    return await read(connection, person)


async def read(connection: Connection, person: str) -> Turns:
    """The turns of a person, which others may change meanwhile. Raises Tampered."""
    row = await one(connection, ROW, person)
    assert row is not None  # noqa: S101 - a row of nothing is joined
    return Turns.of(row, person)


async def write(connection: Connection, turns: Turns, state: ThrottleState) -> None:
    """Write the state of a person whose turns this transaction has locked. Logins that are overdue stay until their
    sessions are ended (`queue.py`)."""
    state = replace(state, pending=(*turns.overdue, *state.pending))
    waits = any(not each.has_turn for each in state.pending)
    connection.later(
        "INSERT INTO turn (person, state, waits, changed_at)"
        " VALUES (%(person)s, %(state)s, %(waits)s, to_timestamp(%(now)s)) ON CONFLICT (person) DO UPDATE"
        " SET state = excluded.state, waits = excluded.waits, changed_at = excluded.changed_at",
        {"person": turns.person, "state": Jsonb(state.to_json()), "waits": waits, "now": turns.now},
    )


async def change(
    connection: Connection, person: str, event: Callable[[ThrottleState, float], ThrottleState | Refusal]
) -> ThrottleState | Refusal:
    """Carry out an event of `login/throttle.py` now; returns the state afterwards, or the refusal. Raises Tampered."""
    turns = await locked(connection, person)
    found = event(turns.state, turns.now)
    if isinstance(found, ThrottleState):
        await write(connection, turns, found)
    return found


async def waiting(connection: Connection) -> list[Turns]:
    """The turns of all people with a login that waits, without rows that cannot be read."""
    found = []
    for row in await many(connection, f"SELECT {COLUMNS} FROM turn WHERE waits"):  # noqa: S608
        try:
            found.append(Turns.of(row))
        except Tampered:
            continue
    return found


async def forget(connection: Connection) -> None:
    """Delete what does not count any more, without waiting for a login that has its row locked."""
    connection.later(
        "DELETE FROM turn WHERE person IN (SELECT person FROM turn"
        " WHERE changed_at < now() - make_interval(secs => %s) FOR UPDATE SKIP LOCKED)",
        (throttle.HOUR,),
    )


# Events of sessions


def ident(host: str, session: object) -> str:
    """The name in the state for a session of the host with this name."""
    return f"{host} {session}"


async def recognized(
    connection: Connection,
    turns: Turns,
    login: Pending,
    limits: LimitSettings,
    agent: str = "",
    *,
    at_once: bool = False,
) -> Pending:
    """The login, with what is known of its host, its origin, and hosts on which that fails, if anything depends on it:
    something of this state, or (`at_once`) of the host's. For a login of an account that acts for the person, `agent`
    is its name; without it, what was known when it came counts."""
    if login.is_agents and not agent:
        return login
    state = turns.state
    failing = state.hosts_failing(login)
    is_limited = state.wait_for_cap(limits, turns.now) or share_refusal(turns, login, limits)
    if not (at_once or state.pending or failing or is_limited):
        return login
    # Of such an account, what the person has approved for it counts, and nothing else.
    lately = (
        _LATELY.replace("NOT record.fields ? 'agent'", "record.fields->>'agent' = %(agent)s")
        if agent
        else _LATELY
    )
    known = await one(
        connection,
        f"""
        SELECT EXISTS (SELECT {lately}) AS is_familiar,
            (SELECT jsonb_agg(DISTINCT jsonb_build_array(fields->>'service', fields->>'remote'))
                FROM (SELECT fields {lately} ORDER BY at DESC LIMIT {_MOST_LOOKED_AT}) AS found
                WHERE NOT fields ? 'asker') AS places,
            (SELECT count(*)
                FROM (SELECT session.person, unnest(%(failing)s::text[]) AS host_name) AS session
                WHERE NOT EXISTS (SELECT {lately})) AS strange_hosts
        FROM (SELECT %(person)s AS person, %(host)s AS host_name) AS session
        """,  # noqa: S608
        failing=failing,
        person=turns.person,
        host=login.host,
        agent=agent,
    )
    assert known is not None  # noqa: S101 - the statement returns a row
    usual = {origin_key(turns.person, login.host, *place) for place in known["places"] or ()}
    return replace(
        login,
        is_familiar=known["is_familiar"],
        is_usual=login.origin in usual,
        strange_hosts=known["strange_hosts"],
    )


def origin_key(person: str, host: str, service: str | None, remote: str | None, asker: str = "") -> str:
    """The key that stands for the origin of a login in the state of a person. Within an hour, a host has the same name
    when it has left and joined again."""
    return throttle.key_of(person, throttle.origin(service or "", remote, f" on {host}"), asker)


def login_of(
    person: str, host: str, details: Mapping[str, str], session: object, moment: float, until: float
) -> Pending:
    """The login of a session on the host with this name, which waits from this moment on."""
    agent = details.get("agent", "")
    origin = origin_key(person, host, details.get("service"), details.get("remote"), details.get("asker", ""))
    return Pending(
        origin=throttle.key_of(person, "", agent) if agent else origin,
        ident=ident(host, session),
        began=moment,
        since=moment,
        until=until,
        host=host,
        is_agents=bool(agent),
    )


def requests_of_host(turns: Turns, login: Pending) -> dict[str, float]:
    """The requests of a login's host to the person that were not approved: those of accounts that act for the person,
    if it is one of them, else the person's own."""
    requests = turns.state.of_agents if login.is_agents else turns.state.requests
    return {name: at for name, at in requests.items() if name.partition(" ")[0] == login.host}


def _over_all_hosts(login: Pending, limits: LimitSettings) -> LimitSettings:
    """The limits of a person over all hosts, for this login. On a host where the person has approved lately, a third
    more, and from where that was, another third: hosts that nobody uses, and logins from elsewhere, do not keep the
    person out. Accounts that act for the person share a limit of their own."""
    if login.is_agents:
        return limits.of_agents
    more = _share(limits) * (login.is_familiar + login.is_usual)
    return replace(limits, requests_per_hour=limits.requests_per_hour + more)


def joined(turns: Turns, login: Pending, limits: LimitSettings) -> ThrottleState | Refusal:
    """A login takes its turn, or waits for it. Neither an origin nor a host takes the place of all others. Another host
    can say that its logins come from where the person is: those of each take one place of the origin here. From a usual
    origin, only the logins of this host from there take places, and those from other usual origins there. Logins of
    accounts that act for the person take none of the person's own places."""
    pending = [each for each in turns.state.pending if each.is_agents is login.is_agents]
    of_origin = [each for each in pending if each.origin == login.origin]
    places = sum(each.host == login.host for each in of_origin)
    if not login.is_usual:
        places += len({each.host for each in of_origin} - {login.host})
    alike = sum(each.host == login.host and each.is_usual == login.is_usual for each in pending)
    most = max(MOST_PENDING // 3, limits.logins_at_once if login.is_usual else 0)
    if places >= limits.logins_at_once or alike >= most:
        return Refusal(Cause.AT_CAPACITY)
    refusal = share_refusal(turns, login, limits)
    state = turns.state if login.is_agents else _without_held(turns.state)
    return refusal or throttle.joined(state, login, _over_all_hosts(login, limits))


def _without_held(state: ThrottleState) -> ThrottleState:
    """The state in which no account that acts for the person still has the turn of a request that IAMPASS has not
    answered (`finish`): the person's own login does not wait for that. Nobody polls such a request, so that the phone
    approves nothing by it."""
    return replace(
        state, pending=tuple(each for each in state.pending if not (each.is_agents and each.decided))
    )


def tried(turns: Turns, login: Pending, limits: LimitSettings) -> ThrottleState | Refusal:
    """A login that has waited takes its turn, if it may now."""
    refusal = share_refusal(turns, login, limits)
    return refusal or throttle.tried(turns.state, login, _over_all_hosts(login, limits), turns.now)


def share_refusal(turns: Turns, login: Pending, limits: LimitSettings) -> Refusal | None:
    """Why its host may not have the person asked for a login: one host gets a third of the requests of an hour, and a
    usual origin there another one. Accounts that act for the person get two thirds of theirs on one host."""
    share, of_all = _share(limits) * (1 + login.is_usual), "a third of requests_per_hour"
    if login.is_agents:
        share = max(limits.agents_requests_per_hour * 2 // 3, 1)
        of_all = "two thirds of agents.requests_per_hour"
    own = replace(turns.state, requests=requests_of_host(turns, login))
    wait = own.wait_for_cap(replace(limits, requests_per_hour=share), turns.now)
    if not wait:
        return None
    reason = f"{share} requests of this host within an hour were not approved ({of_all})"
    return Refusal(Cause.LIMIT, reason, wait)


def _share(limits: LimitSettings) -> int:
    return max(limits.requests_per_hour // 3, 1)


def holding(state: ThrottleState, login: Pending, until: float) -> ThrottleState:
    """The login has its turn until then, if its result does not become known before."""
    return replace(
        state,
        pending=tuple(
            replace(each, until=until) if each.ident == login.ident else each for each in state.pending
        ),
    )


def is_withdrawn(turns: Turns, ident: str) -> bool:
    """Whether the request of an account that acts for the person ends because the person has one of their own."""
    return any(each.ident == ident and turns.state.is_withdrawn(each) for each in turns.state.pending)


async def finish(
    connection: Connection,
    turns: Turns,
    ident: str,
    result: RequestResult,
    limits: LimitSettings,
    held: float = 0.0,
) -> None:
    """A request is on the phone no longer, or has never been: the next one may come, if need be after `held` seconds.
    This transaction has locked the turns."""
    for login in turns.state.pending:
        if login.ident == ident:
            state = throttle.decided(turns.state, login, result, limits, turns.now)
            if result is RequestResult.NOT_SENT:
                state = throttle.rang_nobody(state, login, turns.now)
            if held and not turns.state.is_withdrawn(login):
                over = holding(state, login, turns.now + held)
            else:
                over = throttle.ended(state, login, turns.now)
            await write(connection, turns, over)


async def leave(connection: Connection, person: str, ident: str, *, failed: bool) -> None:
    """A login that waits for its turn gives up; `failed` if that counts as a request that was not approved: a failure,
    and one of the requests that its host may make. Raises Tampered."""
    turns = await locked(connection, person)
    for login in turns.state.pending:
        if login.ident == ident and not login.has_turn:
            state = throttle.left(turns.state, login, turns.now, failed=failed)
            if failed:
                state = throttle.counted(state, login, turns.now)
            await write(connection, turns, state)
