"""Answers what `setup` and `check` on a host ask of people beforehand: may they log in there, and have they a phone?

A host learns nothing of anybody else: of a person of other hosts it is told the same as of a name that nobody has, and
the database finds neither. Names of its own people could be guessed. So calls are few, and each leaves a record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from pam_iampass.client.errors import Declined, IampassError, NotFound
from pam_iampass.client.status import ManagementAPIResult
from pam_iampass.fleet.names import person_name_error
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection, DatabaseError
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.reasons import Reason
from pam_iampass.gateway.base.records import Kind
from pam_iampass.gateway.base.statements import many, one
from pam_iampass.gateway.base.upstream import Lane
from pam_iampass.gateway.calls.service import signed_by_host, unavailable, unless_restored
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import Host, HostStatus
from pam_iampass.gateway.people import agents, people
from pam_iampass.gateway.people.people import Person, PersonStatus
from pam_iampass.gateway.requests import asked_start
from pam_iampass.server.http import Route
from pam_iampass.server.messages import IncomingRequest, RefusedRequest, Reply, bad_request
from pam_iampass.server.serving import require_digest
from pam_iampass.text import clean

MOST_NAMES = 40
CALLS_A_MINUTE = 10
CALLS_AN_HOUR = 120
_WHAT = "people_asked"
_SECONDS = 5.0
"""The time for asking IAMPASS about all phones of a call."""


async def answer(gateway: Gateway, request: IncomingRequest) -> Reply:
    """Answer which of these people may log in to the host that asks, and which of those have a phone."""
    try:
        host = await signed_by_host(gateway, request)
        query = request.parameters("machine", "body_sha256")
        require_digest(request, query.get("body_sha256", ""))
        names = _names(request)
        async with gateway.database.transaction() as connection:
            # Parallel calls of a host are counted one after the other: the next statement takes the lock.
            connection.later(hosts.LOCK, (host.id,))
            found = await _find_allowed_people(
                gateway, connection, host, asked_start.machine_of(query), names
            )
    except DatabaseError as error:
        return unavailable(error)
    if isinstance(found, RefusedRequest):
        raise found
    phones = await _ask_for_phones(gateway, {person.name: person for person in found.values()}.values())
    told: dict[str, dict[str, bool | None]] = {name: {"may": False} for name in names}
    told.update({name: {"may": True, "phone": phones.get(person.name)} for name, person in found.items()})
    return Reply.of({"people": told})


def _names(request: IncomingRequest) -> Sequence[str]:
    """The names in a call. Raises RefusedRequest."""
    names = request.json("names")["names"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise bad_request("BAD_BODY", "names must be a list of texts")
    if len(names) > MOST_NAMES:
        raise bad_request("TOO_MANY_NAMES", f"names must be {MOST_NAMES} at most")
    return list(dict.fromkeys(names))


async def _find_allowed_people(
    gateway: Gateway, connection: Connection, host: Host, machine: str | None, names: Sequence[str]
) -> Mapping[str, Person] | RefusedRequest:
    """Whose phones approve the logins of those of these names who may log in to the host, or why it is told nothing; in
    both cases what is written is to be committed. This transaction locks the host's row."""
    if host.status is not HostStatus.ACTIVE:
        waits = host.status is HostStatus.WAITING
        return _refused(Reason.HOST_NOT_ADMITTED if waits else Reason.HOST_SUSPENDED)
    if not await hosts.is_its_machine(gateway, connection, host, machine):
        return _refused(Reason.WRONG_MACHINE)
    asked = await one(
        connection,
        "SELECT count(*) AS hour, count(*) FILTER (WHERE at > now() - interval '1 minute') AS minute FROM record"
        " WHERE host = %s AND at > now() - interval '1 hour' AND fields->>'what' = %s",
        *(host.name, _WHAT),
    )
    if asked is not None and (asked["minute"] >= CALLS_A_MINUTE or asked["hour"] >= CALLS_AN_HOUR):
        await records.alert(
            connection, host.name, "asks too often who may log in: it may be looking for names"
        )
        return _refused(Reason.HOST_THROTTLED)
    found = await _find_people(gateway, connection, host, names)
    reason = f"who may log in there: {len(found)} of {len(names)}: {clean(', '.join(names), 1000)}"
    await records.write(connection, Kind.ACT, host=host.name, what=_WHAT, reason=reason)
    return found


def _refused(reason: Reason) -> RefusedRequest:
    return RefusedRequest(403, reason.name, "this host is not told who may log in")


async def _find_people(
    gateway: Gateway, connection: Connection, host: Host, names: Sequence[str]
) -> Mapping[str, Person]:
    """The people of these names who may log in, and the owners of accounts that may. A row of another person or account
    is not even read: how long that takes would say that there is one."""
    policy = gateway.settings.policy_of(host.group)
    if policy is None:
        return {}
    admitted = "(%(everybody)s OR {0}.groups && %(groups)s)".format
    found = {}
    for row in await many(
        connection,
        'SELECT NULL AS "person:", person.*, NULL AS "agent:", agent.* FROM person'  # noqa: S608 - constants
        " LEFT JOIN agent ON agent.person = person.name AND agent.name = ANY(%(names)s)"
        f" AND {admitted('agent')} WHERE (person.name = ANY(%(names)s) OR agent.name IS NOT NULL)"
        f" AND person.status = %(active)s AND {admitted('person')}",
        names=[name for name in names if person_name_error(name) is None],
        active=PersonStatus.ACTIVE.value,
        everybody=policy.everybody,
        groups=list(policy.people),
    ):
        owner = row["person"]["name"]
        try:
            person = people.from_row(gateway, row["person"])
        except Tampered as error:
            await records.alert(connection, host.name, str(error), person=owner)
            continue
        if not (person.active and policy.admits(person.groups)):
            continue
        if owner in names:
            found[owner] = person
        name = row["agent"]["name"]
        agent = None if name is None else await agents.verified(gateway, connection, row["agent"], name, host)
        if agent is not None and agents.why_not(gateway, agent, person, host) is None:
            found.setdefault(agent.name, person)
    return found


async def _ask_for_phones(gateway: Gateway, found: Collection[Person]) -> dict[str, bool]:
    """Which of these people have a phone, as far as IAMPASS says so in time."""
    phones: dict[str, bool] = {}

    async def ask(person: Person) -> None:
        call = gateway.iampass.application.has_device(person.token)
        async with gateway.asking_for_phones:
            try:
                answered = await gateway.iampass.call(call, _SECONDS, Lane.decisions)
            except (Declined, NotFound):
                phones[person.name] = False
            except IampassError:
                pass
            else:
                phones[person.name] = answered is ManagementAPIResult.has_mobile_device

    tasks = [asyncio.create_task(ask(person)) for person in found]
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
    return phones


ROUTES: tuple[Route[Gateway], ...] = (Route("POST", "/fleet/people/*", unless_restored(answer)),)
