"""How many requests of a host there may be, and the brake for a host whose requests nobody approves."""

from __future__ import annotations

from datetime import datetime, timedelta

from pam_iampass.client.status import Status
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection, Lock
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.reasons import Reason, RefusedStart
from pam_iampass.gateway.base.records import Kind
from pam_iampass.gateway.base.settings import LimitSettings
from pam_iampass.gateway.base.statements import each_one, one
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import Asker, Host, HostStatus
from pam_iampass.gateway.requests import sessions, turns
from pam_iampass.gateway.requests.sessions import HostSession
from pam_iampass.login.throttle import Pending

ASKED = "parent IS NULL AND state <> 'not_started' AND state <> 'queued'"
"""The condition of a session for which a phone was asked, or may be."""

UNAPPROVED = f"""(SELECT count(*) FROM (SELECT FROM session WHERE session.host_name = host.name AND {ASKED}
    AND NOT approved AND reason IS DISTINCT FROM '{Reason.OWNER_FIRST.name}'
    AND began_at > now() - interval '1 hour' LIMIT %(most_unapproved)s) AS found) AS unapproved"""  # noqa: S608
"""The number of requests of a host within an hour that were not approved, up to a limit. One that the gateway has ended
because the person logs in themselves is none."""

_MOST_WHILE_SLOWED = 3
"""Requests that are not approved, of a slowed host to a person who approved there lately."""

AT_LIMIT = RefusedStart(Reason.HOST_THROTTLED, "too many requests of this host were not approved")
"""The answer to a start of a host that has reached `host_requests_per_hour`."""

_BRAKE_PEOPLE = 3
_WITHDRAWN_PEOPLE = 10
"""If a host has ended the requests of this many people before they have answered, an administrator should look."""
_WITHDRAWN_OF_PERSON = 5
"""The same for such requests to one person."""
_CANCELLED_BY_PERSON = 5
"""If one person has denied this many requests within an hour, somebody else may make them."""
_BRAKE_MINUTES = 10
ANSWERED_SECONDS = 20
"""A request that ends unanswered sooner is taken to be withdrawn by its host: nobody can be expected to answer it."""


def lock_starts(connection: Connection, host_id: str) -> None:
    """Have other starts of a host wait, from the next statement on, until this transaction ends."""
    connection.take(Lock.STARTS, host_id)


async def is_at_limit(connection: Connection, host: Host, limits: LimitSettings) -> bool:
    """Whether a host has reached its limit, now that other starts of it wait until this transaction ends."""
    lock_starts(connection, host.id)
    most = limits.host_requests_per_hour
    statement = f"SELECT {UNAPPROVED} FROM host WHERE id = %(id)s"  # noqa: S608
    counted = await one(connection, statement, most_unapproved=most, id=host.id)
    return counted is not None and await exceeds_limit(connection, host, counted["unapproved"], most)


async def exceeds_limit(connection: Connection, asker: Asker, unapproved: int, most: int) -> bool:
    """Whether a host, or the gateway itself, has reached the limit of requests that are not approved, and no more
    people have approved some in an hour than not: a busy host may have many of both, and one accomplice may approve
    many. This is an alert, and so is a quarter of the limit."""
    quarter = max(most // 4, 1)
    if unapproved < quarter:
        return False
    counted = await one(
        connection,
        "SELECT count(DISTINCT person) FILTER (WHERE approved) AS approved,"  # noqa: S608
        " count(DISTINCT person) FILTER (WHERE NOT approved) AS unapproved"
        f" FROM session WHERE host_name = %s AND {ASKED} AND began_at > now() - interval '1 hour'",
        asker.name,
    )
    if counted is None or counted["approved"] > counted["unapproved"]:
        return False
    exceeds = unapproved >= most
    what = "many requests" if exceeds else f"{quarter} requests or more"
    share = "" if exceeds else "a quarter of "
    what = f"{what} of this host were not approved within an hour ({share}host_requests_per_hour)"
    await records.alert(connection, asker.name, what)
    return exceeds


async def is_held_back(connection: Connection, asker: Asker, before: turns.Turns, login: Pending) -> bool:
    """Whether the brake, which holds for a host, keeps a login there from the phone.

    A person who approved there lately has a few requests of their own, whatever others do. All others together have
    one a minute. A person who just did not approve one has none: people who cancel do not take it from the rest. The
    transaction has locked the starts of the host.
    """
    since = before.now - _BRAKE_MINUTES * 60
    own = sum(at > since for at in turns.requests_of_host(before, login).values())
    if login.is_familiar:
        return own >= _MOST_WHILE_SLOWED
    statement = (
        f"SELECT 1 FROM session WHERE host_name = %s AND {ASKED}"  # noqa: S608
        f" AND began_at > now() - interval '1 minute' AND NOT {turns.FAMILIAR} LIMIT 1"
    )
    recent = await one(connection, statement, asker.name)
    return own > 0 or recent is not None


async def brake(
    gateway: Gateway, connection: Connection, host: Host, person: str, status: Status, moment: datetime
) -> list[HostSession]:
    """Slow a host down if three people have denied its requests, unless as many people have approved some. An owner
    who cancels the request of an account that acts for them says nothing of the host.

    :param status: cancelled; else the host has ended a request before it could be answered.

    Returns the requests on phones of a host that is stopped by this: nobody may approve them any more.
    """
    statement = """
        SELECT
            count(DISTINCT person) FILTER (WHERE status = 'cancelled' AND NOT details ? 'agent') AS cancelled,
            count(DISTINCT person) FILTER (WHERE withdrawn) AS withdrawn,
            count(DISTINCT person) FILTER (WHERE approved) AS approved,
            count(*) FILTER (WHERE withdrawn AND person = %s) AS of_person
        FROM session, LATERAL (SELECT NOT approved AND reason IS DISTINCT FROM 'OWNER_FIRST' AND (status = 'closed'
            OR status = 'timeout' AND decided_at - began_at < make_interval(secs => %s)) AS withdrawn) AS way
        WHERE host_name = %s AND began_at > now() - interval '1 hour'
            AND decided_at > now() - make_interval(mins => %s)
    """
    _, counted = await each_one(
        connection,
        (hosts.LOCK, host.id),
        (statement, person, ANSWERED_SECONDS, host.name, _BRAKE_MINUTES),
    )
    if counted is None:
        return []
    if status is not Status.cancelled:
        many_people = counted["withdrawn"] >= max(_WITHDRAWN_PEOPLE, counted["approved"] + 1)
        if many_people or counted["of_person"] >= _WITHDRAWN_OF_PERSON:
            await records.alert(
                connection, host.name, "this host ends its requests before people have answered"
            )
        return []
    if counted["cancelled"] < max(_BRAKE_PEOPLE, counted["approved"] + 1):
        return []
    policy = gateway.settings.groups.get(host.group)
    stops = policy is not None and policy.suspend_by_itself
    if stops:
        # An administrator may have suspended it meanwhile.
        locked = await hosts.change(gateway, connection, host.id)
        if locked is None or locked.status is not HostStatus.ACTIVE:
            return []
    what = f"{counted['cancelled']} people have denied requests of this host"
    others = await hosts.others_of_invite(connection, host.name)
    more = f"; {others}" if others else ""
    if stops:
        await hosts.change(gateway, connection, host.id, status=HostStatus.STOPPED)
        reason = f"{what}: it may not ask any more{more}"
        await records.write(connection, Kind.ALERT, host=host.name, what="host_stopped", reason=reason)
        return await sessions.find_ringing_of_host(gateway, connection, host.name)
    await hosts.change(gateway, connection, host.id, slowed_until=moment + timedelta(minutes=_BRAKE_MINUTES))
    await records.alert(connection, host.name, f"{what}: it is slowed down", more=more)
    return []


async def report_cancels(connection: Connection, person: str) -> None:
    """Write an alert if a person has denied many requests within an hour, whichever hosts they came from."""
    counted = await one(
        connection,
        "SELECT count(*) AS cancelled, array_agg(DISTINCT host_name ORDER BY host_name) AS hosts FROM session"
        " WHERE person = %s AND status = %s AND began_at > now() - interval '1 hour' AND NOT details ? 'agent'",
        *(person, Status.cancelled.name),
    )
    if counted is not None and counted["cancelled"] >= _CANCELLED_BY_PERSON:
        what = (
            f"{person} has denied {_CANCELLED_BY_PERSON} requests or more within an hour, of"
            f" {', '.join(counted['hosts'])}: somebody may have their password"
        )
        await records.alert(connection, None, what, person=person)
