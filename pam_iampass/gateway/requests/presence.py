"""Presence over hosts: a login that begins in another login of the same person needs no approval of its own.

The hosts on which the person has approved logins are asked whether the connection begins in one of them; if one says
so, IAMPASS is asked whether the session of that login is active. Then the new login has a session that is a child of
that one and ends with it. Whatever fails or takes too long, the phone is asked.

A question is a row, which is told in the answer to the waiting call of the host (`service.watch`). The host answers it
at any gateway, once and in time. Question and answer count only with their MAC.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg

from pam_iampass.client.errors import IampassError
from pam_iampass.client.status import Status
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection, DatabaseError, Lock
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.statements import Statement, each_one, insert, many, now, one, replace
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import Host, HostStatus
from pam_iampass.gateway.people.people import Person
from pam_iampass.gateway.requests import allowed, asking, sessions, starts
from pam_iampass.gateway.requests.asked_start import AskedStart
from pam_iampass.gateway.requests.sessions import HostSession, State
from pam_iampass.outcome import Outcome, SessionEvent
from pam_iampass.session.cover import strength

TABLE = "question"
ANSWER_SECONDS = 2
"""A login waits for hosts and IAMPASS for this time, and a question can be answered within it."""
_FOLLOW_SECONDS = 0.4
"""How often the sessions of covered logins are given the status of their parents."""
_BEFORE_ALL = uuid.UUID(int=0)
_MOST_FOLLOWING = 100
"""Children whose rows one transaction writes."""
MOST = 20
"""Questions that one answer tells a host."""
_MOST_CANDIDATES = 8
"""Sessions of a person, the newest first, about which a start asks."""
_MOST_LOOKED_AT = 200
"""The newest sessions among which they are looked for: many may not cover it."""
QUESTIONS_A_MINUTE = 120
"""The most questions for starts of one host. Beyond that its people are asked on the phone."""
_QUESTIONS_OF_PERSON = 20
"""The most of these for one person, whose starts leave the rest to others."""
_MOST_WRONG = 20
"""Connections of a host from one address (of IPv6: /64), for logins of one person within an hour, that no host has
confirmed. Beyond that it may be guessing, and the person is asked on the phone."""
_SECOND_ANSWER_SECONDS = 0.5
"""The time that other hosts have to say yes, too, after one has: then one of them does not tell the truth."""
_MOST_HOPS = 3
"""The longest chain of logins, each in the one before; the first one was approved on the phone."""


async def start_covered(gateway: Gateway, host: Host, asked: AskedStart) -> HostSession | None:
    """The new session of a login that begins in another login of the person; None if the phone has to be asked."""
    try:
        parent = await asyncio.wait_for(_find_parent(gateway, host, asked), ANSWER_SECONDS)
        return None if parent is None else await _start_child(gateway, host, asked, parent)
    except (TimeoutError, IampassError, DatabaseError, psycopg.Error):
        return None
    except Tampered as error:
        with contextlib.suppress(DatabaseError, psycopg.Error):
            async with gateway.database.transaction() as connection:
                await records.alert(connection, host.name, str(error), person=asked.person)
        return None


async def _find_parent(gateway: Gateway, host: Host, asked: AskedStart) -> HostSession | None:
    """The session in whose login the connection begins, as its host says now, and which is active, as IAMPASS says."""
    questions: dict[uuid.UUID, HostSession] = {}
    async with gateway.database.transaction() as connection:
        # Parallel starts of a host are counted one after the other. The lock is taken with the next statement.
        connection.take(Lock.QUESTIONS, host.id)
        moment = await now(connection)
        for session in await _find_candidates(gateway, connection, host, asked):
            id = uuid.uuid4()
            row = {
                "id": id,
                "asker": host.id,
                "host": session.host,
                "session": session.id,
                "person": asked.person,
                "connection": asked.connection,
                "asked_at": moment,
                "answer": None,
            }
            await insert(connection, TABLE, gateway.keys.sealed(TABLE, row))
            connection.after_commit.append(partial(gateway.held.wake_host, session.host))
            questions[id] = session
    answers = await _wait_for_answers(gateway, questions) if questions else {}
    found = [session for id, session in questions.items() if answers.get(id)]
    hosts_of_it = {session.host for session in found}
    if len(hosts_of_it) > 1:
        await _report_contradiction(gateway, asked, found)
    if len(hosts_of_it) != 1 or (await asking.poll_iampass(gateway, found[0])).status is not Status.active:
        return None
    return found[0]


async def _report_contradiction(gateway: Gateway, asked: AskedStart, found: Sequence[HostSession]) -> None:
    """Write an alert that one connection is said to begin on several hosts."""
    names = sorted({session.host_name for session in found})
    what = f"a connection is said to begin on {' and on '.join(names)}: one of these hosts may lie"
    async with gateway.database.transaction() as connection:
        for name in names:
            await records.alert(connection, name, what, person=asked.person)


_COUNTED = """
SELECT count(*) AS of_host, count(*) FILTER (WHERE person = %(person)s) AS of_person, (
    SELECT count(*) FROM (
        SELECT FROM question
        WHERE asker = %(asker)s AND person = %(person)s
            AND split_part(translate(connection, '%%', ' '), ' ', 1)::inet <<= %(network)s::inet
            AND split_part(connection, ' ', 3) <> ALL(%(own_addresses)s)
            AND asked_at > now() - interval '1 hour'
        GROUP BY connection HAVING bool_or(answer) IS NOT TRUE
    ) AS named
) AS wrong
FROM question WHERE asker = %(asker)s AND asked_at > now() - interval '1 minute'
"""
"""How many questions a host has asked within a minute; and how many connections from a network it has named for logins
of a person that no host has confirmed, or not yet: many at one moment are guesses, too. A connection to an address of
the asking host is no guess. A thief must not take the person's own logins from their bastion."""


async def _find_candidates(
    gateway: Gateway, connection: Connection, host: Host, asked: AskedStart
) -> list[HostSession]:
    """The newest of the person's active sessions on other hosts that may cover a login to this one. This transaction
    has the lock of the host's questions."""
    policy = gateway.settings.policy_of(host.group)
    groups = policy.covered_by if policy is not None else frozenset()
    assert asked.connection is not None  # noqa: S101 - else nobody would be asked
    client, _, server, _ = asked.connection.split(" ")
    address = client.partition("%")[0]
    network = f"{address}/{64 if ':' in address else 32}"  # a client can choose any address of a /64
    (counted,) = await many(
        connection,
        _COUNTED,
        asker=host.id,
        person=asked.person,
        network=network,
        own_addresses=list(host.addresses),
    )
    if server in host.addresses:
        counted["wrong"] = 0
    for name, most, what in (
        ("wrong", _MOST_WRONG, "no host confirms the connections that this host names"),
        ("of_person", _QUESTIONS_OF_PERSON, "this host has asked all questions of a minute for one person"),
        ("of_host", QUESTIONS_A_MINUTE, "this host has asked all its questions of a minute"),
    ):
        if counted[name] >= most:
            what += ": its people are asked on the phone"
            await records.alert(connection, host.name, what, person=asked.person)
            return []
    if await _leads_elsewhere(gateway, connection, host, asked, server):
        return []
    found = []
    for row in await many(
        connection,
        'SELECT NULL AS "session:", session.*, NULL AS "host:", host.*'
        " FROM session JOIN host ON host.id = session.host"
        " WHERE session.person = %(person)s AND session.state = 'open' AND session.status = 'active'"
        " AND host.id <> %(asker)s AND host.status = 'active' AND host.group_name = ANY(%(groups)s)"
        " ORDER BY session.began_at DESC LIMIT %(most)s",
        person=asked.person,
        asker=host.id,
        groups=list(groups),
        most=_MOST_LOOKED_AT,
    ):
        with contextlib.suppress(Tampered):
            session, there = sessions.with_host(gateway, row)
            if _may_cover(gateway, host, asked, session, there):
                found.append(session)
    return found[:_MOST_CANDIDATES]


async def _leads_elsewhere(
    gateway: Gateway, connection: Connection, host: Host, asked: AskedStart, server: str
) -> bool:
    """Whether the address `server`, to which the connection leads, belongs to another host: that is an alert.

    Only an administrator says which addresses a host has. Raises Tampered.
    """
    row = await hosts.with_address(connection, [server.partition("%")[0]], but=host.id)
    if row is None:
        return False
    other = hosts.from_row(gateway, row)
    what = "this host names connections to other hosts: the phone is asked"
    more = f". {server} belongs to {other.name}; if it does not: pam-iampass-gateway host addresses"
    await records.alert(connection, host.name, what, person=asked.person, more=more)
    return True


def _may_cover(
    gateway: Gateway, host: Host, asked: AskedStart, session: HostSession, there: Host | None
) -> bool:
    """Whether a session of the host `there` may cover a login to another host. Rows were verified, but the
    owner of the database has chosen them."""
    own = gateway.settings.policy_of(host.group)
    theirs = None if there is None else gateway.settings.policy_of(there.group)
    if own is None or there is None or theirs is None or there.id == host.id:
        return False
    return (
        session.person == asked.person
        and there.admitted  # it may have joined before its group demanded that
        and "asker" not in session.details  # then another person is logged in there
        and not session.agent
        and there.group in own.covered_by
        and _is_active(session, there)
        and (session.approved or theirs.covers_further)
        and strength(tuple(each.value for each in asked.methods)) <= strength(session.methods)
    )


def _is_active(session: HostSession, host: Host | None) -> bool:
    return (
        host is not None
        and host.status is HostStatus.ACTIVE
        and session.state is State.OPEN
        and session.status is Status.active
    )


async def _wait_for_answers(
    gateway: Gateway, questions: Mapping[uuid.UUID, HostSession]
) -> dict[uuid.UUID, bool]:
    """The answers of hosts, once all have answered, or some time after one has said yes. Raises Tampered."""
    answered = asyncio.Event()
    gateway.unanswered.update(dict.fromkeys(questions, answered))
    until: float | None = None
    try:
        while True:
            answered.clear()
            found = await _read_answers(gateway, questions)
            if any(found.values()) and until is None:
                until = time.monotonic() + _SECOND_ANSWER_SECONDS
            if len(found) == len(questions) or (until is not None and time.monotonic() >= until):
                return found
            left = None if until is None else until - time.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(answered.wait(), left)
    finally:
        for id in questions:
            del gateway.unanswered[id]


async def _read_answers(
    gateway: Gateway, questions: Mapping[uuid.UUID, HostSession]
) -> dict[uuid.UUID, bool]:
    async with gateway.database.statement() as connection:
        rows = await many(
            connection, "SELECT * FROM question WHERE id = ANY(%s) AND answer IS NOT NULL", list(questions)
        )
    found = {}
    for row in rows:
        session = questions.get(row["id"])
        if session is not None:
            values = gateway.keys.verified(TABLE, row, session=session.id, host=session.host)
            found[row["id"]] = values["answer"]
    return found


async def _start_child(
    gateway: Gateway, host: Host, asked: AskedStart, parent: HostSession
) -> HostSession | None:
    """The new session of a login in the login of this one; None if anything speaks against it now. Raises Tampered."""
    async with gateway.database.transaction() as connection:
        # A command that removes the person waits for this transaction, and then finds the session.
        connection.later("SELECT 1 FROM person WHERE name = %s FOR SHARE", (asked.person,))
        locked = await _lock_parent(gateway, connection, parent.id)
        now_asking = await hosts.find(gateway, connection, host.id)
        if locked is None or now_asking is None or not _may_cover(gateway, now_asking, asked, *locked):
            return None
        person = await allowed.find_allowed_person(
            gateway, connection, now_asking, asked.machine, asked.person
        )
        if not isinstance(person, Person) or person.phone_to_disable:
            return None
        if locked[0].began_before_loss(person.phone_lost_at):
            return None
        # A connection is one login, now and later: who says that it leads elsewhere has heard of it.
        used = await one(
            connection,
            "SELECT 1 FROM session WHERE parent = %s AND details->>'ssh_connection' = %s",
            *(parent.id, asked.connection),
        )
        if used is not None:
            return None
        return await _insert_child(gateway, connection, now_asking, asked, locked[0])


async def _insert_child(
    gateway: Gateway, connection: Connection, host: Host, asked: AskedStart, parent: HostSession
) -> HostSession:
    """The session of a login that begins in the login of another session. This transaction has locked the parent's row,
    which is open and active."""
    moment = await now(connection)
    since = parent.began_at if parent.decided_at is None else parent.decided_at
    age = int(parent.details.get("approved_ago", "0")) + max(round((moment - since).total_seconds()), 0)
    columns = {
        "id": uuid.uuid4(),
        "state": State.OPEN.value,
        "status": Status.active.name,
        "deadline": moment,
        "expires_at": min(moment + timedelta(seconds=asked.duration), parent.expires_at),
        "version": sessions.FIRST_VERSION,
        "details": {
            **asked.details,
            "ssh_connection": asked.connection,
            "covered_by": parent.host_name,
            "approved_ago": str(age),
        },
        "parent": parent.id,
    }
    child = await starts.insert_session(gateway, connection, host, asked, moment, **columns)
    reason = f"by the session {parent.id} on {parent.host_name}"
    await sessions.record(connection, child, Outcome.COVERED, reason=reason)
    return child


async def _lock_parent(
    gateway: Gateway, connection: Connection, id: uuid.UUID
) -> tuple[HostSession, Host] | None:
    """A session and its host, locked, if that session and all above it are active. Raises Tampered."""
    first: tuple[HostSession, Host] | None = None
    for _ in range(_MOST_HOPS):
        lock = "SELECT 1 FROM session WHERE id = %s FOR UPDATE", id
        _, row = await each_one(connection, lock, sessions.with_host_statement(gateway, id))
        found = sessions.read_with_host(gateway, row, id)
        if found is None or found[1] is None or not _is_active(*found):
            return None
        first = first or (found[0], found[1])
        if found[0].parent is None:
            return first
        id = found[0].parent
    return None


async def follow_parents(gateway: Gateway) -> None:
    """End the sessions of covered logins with their parents, until this is cancelled."""
    while True:
        await asyncio.sleep(_FOLLOW_SECONDS)
        with contextlib.suppress(DatabaseError, psycopg.Error):
            await _write_statuses(gateway)


async def _write_statuses(gateway: Gateway) -> None:
    """Write the status of each parent in the rows of its children. Raises DatabaseError."""
    last, changed = _BEFORE_ALL, False
    while True:
        async with gateway.database.transaction() as connection:
            rows = await many(
                connection,
                'SELECT NULL AS "child:", child.*, NULL AS "session:", parent.*, NULL AS "host:", host.*,'
                ' NULL AS "over:", child.expires_at <= now() AS over'
                " FROM session AS child LEFT JOIN session AS parent ON parent.id = child.parent"
                " LEFT JOIN host ON host.id = parent.host"
                " WHERE child.state = 'open' AND child.parent IS NOT NULL AND child.id > %s"
                " AND (parent.state IS DISTINCT FROM 'open' OR parent.status IS DISTINCT FROM child.status"
                " OR (host.status IN ('active', 'stopped')) IS NOT TRUE OR child.expires_at <= now())"
                " ORDER BY child.id LIMIT %s FOR UPDATE OF child SKIP LOCKED",
                *(last, _MOST_FOLLOWING),
            )
            for row in rows:
                last = row["child"]["id"]
                try:
                    changed |= await _write_status(gateway, connection, row)
                except Tampered as error:
                    await records.alert(
                        connection, None, f"{error}: no end is seen of what it covers, or is covered by"
                    )
        if len(rows) < _MOST_FOLLOWING:
            if not changed:
                return
            last, changed = _BEFORE_ALL, False  # children of children


async def _write_status(gateway: Gateway, connection: Connection, row: Mapping[str, Any]) -> bool:
    """Write the status of a parent in the row of a child; whether it was another one. Raises Tampered if either row
    does not count: that is no end."""
    locked = gateway.keys.verified(sessions.TABLE, row["child"])
    is_there = row["session"]["id"] is not None
    status = sessions.status_for_children(
        sessions.with_host(gateway, row, id=locked["parent"]) if is_there else None
    )
    if row["over"]["over"] and not status.ended:
        status = Status.timeout  # its own time is over: IAMPASS does not know of it
    if status.name == locked["status"]:
        return False
    columns = {"status": status.name, "version": locked["version"] + 1}
    if status.ended:
        columns["state"] = State.ENDED.value
    session = await sessions.change(gateway, connection, locked, **columns)
    if status.ended:
        await sessions.record(connection, session, None, event=SessionEvent.ENDED.value, reason=status.name)
    return True


# Questions


def questions_statement(host: str) -> Statement:
    """The statement for the questions that this host has not answered yet, whose rows `read_questions` takes."""
    return (
        "SELECT * FROM question WHERE host = %s AND answer IS NULL"
        " AND asked_at > now() - make_interval(secs => %s) ORDER BY asked_at LIMIT %s",
        *(host, ANSWER_SECONDS, MOST),
    )


def read_questions(
    gateway: Gateway, host: str, rows: Iterable[Mapping[str, Any]]
) -> dict[str, dict[str, str]]:
    """The questions in rows, as the host is told them."""
    found = {}
    for row in rows:
        with contextlib.suppress(Tampered):
            values = gateway.keys.verified(TABLE, row, host=host)
            found[str(values["id"])] = {
                "session": str(values["session"]),
                "connection": values["connection"],
            }
    return found


async def write_answer(
    gateway: Gateway, connection: Connection, host: str, id: uuid.UUID, begins: bool
) -> bool:
    """Write the answer of a host; False if it was not asked this, or not within the time, or has answered before.

    Raises Tampered.
    """
    row = await one(
        connection,
        "SELECT * FROM question WHERE id = %s AND host = %s AND answer IS NULL"
        " AND asked_at > now() - make_interval(secs => %s) FOR UPDATE",
        *(id, host, ANSWER_SECONDS),
    )
    if row is None:
        return False
    values: dict[str, Any] = gateway.keys.verified(TABLE, row, id=id, host=host, answer=None)
    await replace(connection, TABLE, "id", gateway.keys.sealed(TABLE, {**values, "answer": begins}))
    connection.after_commit.append(partial(_wake_start, gateway, id))
    return True


async def wake_calls(gateway: Gateway, connection: Connection) -> None:
    """Wake the calls of hosts that have questions to answer, and the starts that wait for an answer which another
    gateway has taken. The rows are verified then."""
    for row in await many(
        connection,
        "SELECT DISTINCT host FROM question WHERE answer IS NULL"
        " AND asked_at > now() - make_interval(secs => %s)",
        ANSWER_SECONDS,
    ):
        gateway.held.wake_host(row["host"])
    if gateway.unanswered:
        statement = "SELECT id FROM question WHERE id = ANY(%s) AND answer IS NOT NULL"
        for row in await many(connection, statement, list(gateway.unanswered)):
            _wake_start(gateway, row["id"])


def _wake_start(gateway: Gateway, id: uuid.UUID) -> None:
    if id in gateway.unanswered:
        gateway.unanswered[id].set()


async def forget_questions(connection: Connection) -> None:
    """Delete the questions that do not count any more."""
    connection.later("DELETE FROM question WHERE asked_at < now() - interval '1 hour'")
