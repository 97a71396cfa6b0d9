"""How many requests of a host there may be, and the brake for a host whose requests nobody approves."""

from __future__ import annotations

from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection, Lock
from pam_iampass.gateway.base.reasons import Reason, RefusedStart
from pam_iampass.gateway.base.settings import LimitSettings
from pam_iampass.gateway.base.statements import one
from pam_iampass.gateway.hosts.hosts import Asker, Host
from pam_iampass.gateway.requests import asking, turns
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
    since = before.now - asking.BRAKE_MINUTES * 60
    own = sum(at > since for at in turns.requests_of_host(before, login).values())
    if login.is_familiar:
        return own >= _MOST_WHILE_SLOWED
    statement = (
        f"SELECT 1 FROM session WHERE host_name = %s AND {ASKED}"  # noqa: S608
        f" AND began_at > now() - interval '1 minute' AND NOT {turns.FAMILIAR} LIMIT 1"
    )
    recent = await one(connection, statement, asker.name)
    return own > 0 or recent is not None
