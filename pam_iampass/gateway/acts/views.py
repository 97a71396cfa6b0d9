"""Views: what may be read of a fleet, and by whom.

For each role, a view names the fields that it shows; no other field of a row leaves this file. The person and helpdesk
see rows of some people only. A row is of the person whom the gateway has written there (`person` of a session and of a
record), whatever a host says of the caller.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

from pam_iampass.client.status import Status
from pam_iampass.fleet.act import Role
from pam_iampass.fleet.hosts import HOSTS, HostRow
from pam_iampass.fleet.passkeys import OWN, OwnRow
from pam_iampass.fleet.people import LIMITS, PEOPLE, LimitsRow, PersonRow
from pam_iampass.fleet.records import RECORDS, RecordRow
from pam_iampass.fleet.sessions import SESSIONS, SessionRow
from pam_iampass.fleet.view import View
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.records import Filter, Kind, Record
from pam_iampass.gateway.base.statements import many, one
from pam_iampass.gateway.calls import codes
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import NEVER_SEEN, Host, Seen
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person
from pam_iampass.gateway.requests import sessions, turns
from pam_iampass.gateway.requests.sessions import HostSession, State
from pam_iampass.gateway.sign_in import passkeys, sign_ins
from pam_iampass.gateway.sign_in.actors import Actor
from pam_iampass.login.throttle import summary

_MAY_NOT_LOG_IN = "host <> ALL(SELECT name FROM host WHERE group_name = ANY(%s))"
"""The condition of a record of a host that is in none of these groups."""
_HAS = "strpos(lower(concat_ws(chr(10), {})), lower(%s)) > 0"
"""The condition that one of some texts has a part, in upper or lower case. A part is one line, and has no wildcards."""
_PHONE_UNSEEN = """
    (NOT had_phone OR phone_lost_at IS NOT NULL) AND NOT EXISTS (
        SELECT 1 FROM record WHERE record.person = name AND fields->>'outcome' IN ('approved', 'covered')
        AND at > greatest(phone_lost_at, '-infinity', (
            SELECT max(at) FROM record AS added
            WHERE added.person = name AND kind = 'act' AND fields->>'what' = 'user_add')))
"""
"""The condition of a person of whom no phone was seen: neither by a look, nor by an approval that is on record; a look
from before the phone was reported lost does not count, nor does anything of another person who had the name before."""


async def show_people(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    search: str = "",
    after: str = "",
    most: int | None = None,
    *,
    name: str = "",
    phone_unseen: bool = False,
) -> tuple[list[PersonRow], list[str]]:
    """The people whom the actor sees, by name, and the names in rows that no gateway has written.

    :param search: as `searched`.
    :param name: the name of the only person who is wanted.
    :param after: the name after which theirs must come; with `most`, for a part of a long list.
    :param phone_unseen: whether only people are shown of whom no phone was seen here, or none since theirs was reported
        lost: who has none now, only IAMPASS knows, and it would have to be asked about each of them.
    """
    sees_all = roles_for_all(actor, PEOPLE)
    seen, values = whom(actor, sees_all, "name")
    unseen = _PHONE_UNSEEN if phone_unseen else "true"
    has_text, texts = await searched(gateway, connection, actor, sees_all, search)
    condition = f"{has_text} AND %s IN ('', name) AND name > %s AND {seen} AND {unseen}"
    found, tampered = await people.listing(
        gateway, connection, condition, *texts, name, after, *values, most=most
    )
    not_helped = await _not_helped(connection, actor)
    by = actor.details.get("sign_in")
    verified = await sign_ins.verified(gateway, connection, by) if by else {}
    rows = []
    for person in found:
        row: PersonRow = {
            **person_row(person),
            "is_helped": person.name not in not_helped,
            "caller_verified": verified.get(person.name),
        }
        rows.append(PEOPLE.show(sees_all | roles_for(actor, person), row))
    return rows, tampered


async def show_hosts(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    name: str = "",
    after: str = "",
    most: int | None = None,
) -> tuple[list[HostRow], list[str]]:
    """As `show_people`, of hosts.

    :param name: of the only host that is shown.
    """
    roles = roles_for_all(actor, HOSTS)
    if not roles:
        return [], []
    condition, value = ("name = %s", name) if name else ("name > %s", after)
    found, tampered = await hosts.listing(gateway, connection, condition, value, most=most)
    seen = await hosts.seen(connection, [host.id for host in found])
    return [HOSTS.show(roles, host_row(host, seen.get(host.id, NEVER_SEEN))) for host in found], tampered


async def show_sessions(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    person: str = "",
    host: str = "",
    search: str = "",
    most: int = 500,
) -> list[SessionRow]:
    """The open sessions that the actor sees, or those of one person or on one host, as `sessions.listing` has them.

    :param search: as `searched`, of the person, or a part of the name of the host, of whoever asks, or of an account
        that acts for the person; the sessions that cover one with this text are shown, too.
    """
    sees_all = roles_for_all(actor, SESSIONS)
    seen, values = whom(actor, sees_all)
    wanted = {"person = %s": person, "host_name = %s": host}
    given = {column: value for column, value in wanted.items() if value}
    condition, values = " AND ".join([seen, *given]), [*values, *given.values()]
    if search:
        has_text, texts = await searched(gateway, connection, actor, sees_all, search)
        named = _HAS.format("host_name, details->>'asker', details->>'agent'")
        found_ones = f"({named} OR person IN (SELECT name FROM person WHERE {has_text}))"  # noqa: S608
        covering = f"SELECT parent FROM session WHERE {sessions.OPEN} AND {condition} AND {found_ones}"  # noqa: S608
        condition += f" AND ({found_ones} OR id IN ({covering}))"
        values = [*values, search, *texts, *values, search, *texts]
    found, _ = await sessions.listing(gateway, connection, condition, *values, most=most)
    roles = await roles_for_each(
        gateway, connection, actor, sees_all, (session.person for session, _, _ in found)
    )
    not_helped = await _not_helped(connection, actor)
    rows = []
    for session, _, left in found:
        if roles[session.person]:
            row: SessionRow = {
                **_session_row(session, left),
                "is_helped": session.person not in not_helped,
            }
            rows.append(SESSIONS.show(roles[session.person], row))
    return rows


async def show_limits(gateway: Gateway, connection: Connection, actor: Actor, name: str) -> LimitsRow | None:
    """The limits of a person, in a transaction; None if nobody has this name, or the actor does not see the person."""
    roles = (await roles_for_each(gateway, connection, actor, roles_for_all(actor, LIMITS), [name]))[name]
    if not roles or await one(connection, "SELECT 1 FROM person WHERE name = %s", name) is None:
        return None
    found = await turns.locked(connection, name)
    limits = gateway.settings.limits
    counted = summary(found.state, limits, limits.of_agents, found.now)
    wrong = await codes.wrong(connection, name)
    row: dict[str, Any] = {"user": name, **counted, "wrong_codes_in_the_last_hour": wrong}
    return LIMITS.show(roles, cast(LimitsRow, row))


async def show_records(
    gateway: Gateway, connection: Connection, actor: Actor, wanted: Filter, most: int, search: str = ""
) -> list[RecordRow]:
    """The last `most` records that are wanted and that the actor sees, the oldest first. Of their own, people see no
    alerts, and nothing of who had their name before.

    :param search: as `searched_record`.

    If `wanted.concerns` names a person, each host on which that person may not log in has one row for all its reports,
    with their `number`: root of a host can report any login, and would push the other records off a page.
    """
    sees_all = roles_for_all(actor, RECORDS)
    seen, values = whom(actor, sees_all)
    own = await roles_for_each(gateway, connection, actor, sees_all, [actor.name])
    if own[actor.name] == {Role.SELF}:
        added = await record_of_adding(connection, actor.name) or {"id": 0, "at": None}
        # A host may report a login later, of somebody who had the name before.
        is_later = "id >= %s AND coalesce(coalesce(said_at, at) >= %s, true)"
        seen = f"{seen} AND (person <> %s OR (kind <> %s AND {is_later}))"
        values = [*values, actor.name, Kind.ALERT.value, added["id"], added["at"]]
    if search:
        has_text, texts = await searched_record(gateway, connection, actor, sees_all, search)
        seen, values = f"{seen} AND {has_text}", [*values, *texts]
    rows: list[RecordRow] = []
    if wanted.concerns:
        person = None
        with suppress(Tampered):
            person = await people.find(gateway, connection, wanted.concerns)
        had = () if person is None else person.groups
        groups = [name for name, policy in gateway.settings.groups.items() if policy.admits(had)]
        values = [*values, groups]
        claims = await records.reported_by_host(
            connection, replace(wanted, of=(f"{seen} AND {_MAY_NOT_LOG_IN}", values))
        )
        rows += [
            {
                "kind": Kind.REPORT.value,
                "host": host,
                "person": wanted.concerns,
                "number": number,
                "time": time,
            }
            for host, number, time in claims
        ]
        seen = f"{seen} AND NOT (kind = 'report' AND {_MAY_NOT_LOG_IN})"
    rows += map(_record_row, await records.read(connection, replace(wanted, of=(seen, values)), most))
    roles = await roles_for_each(gateway, connection, actor, sees_all, (row["person"] for row in rows))
    rows.sort(key=lambda row: row["time"])
    return [RECORDS.show(roles[row["person"]], row) for row in rows if roles[row["person"]]]


async def record_of_adding(connection: Connection, name: str) -> Mapping[str, Any] | None:
    """The `id` and `at` of the record that the person with this name was added; None if there is none any more."""
    return await one(
        connection,
        "SELECT id, at FROM record WHERE person = %s AND kind = 'act' AND fields->>'what' = 'user_add'"
        " ORDER BY id DESC LIMIT 1",
        name,
    )


async def show_own(gateway: Gateway, connection: Connection, actor: Actor) -> list[OwnRow]:
    """Show everything that the person who looks has: one row, or none for root's command."""
    person = None
    if Role.SELF in actor.roles:
        with suppress(Tampered):
            person = await people.find(gateway, connection, actor.name)
    if person is None:
        return []
    left = 0
    with suppress(Tampered):  # such codes do not count
        stored = await codes.stored(gateway, connection, person.name)
        left = 0 if stored is None else stored.used_at.count(None)
    own_passkeys, _ = await passkeys.listing(gateway, connection, person.name)
    row: OwnRow = {
        "user": person.name,
        "groups": list(person.groups),
        "phone_lost_at": person.phone_lost_at,
        "code_for_lost_phone": gateway.settings.gives_code_for_lost_phone(person.groups),
        "codes_left": left,
        "passkeys": [
            {
                "id": each.credential.id,
                "label": each.label,
                "made_at": each.made_at,
                "roles": sorted(each.roles),
            }
            for each in own_passkeys
        ],
        "sign_ins": [
            {
                "id": str(each["id"]),
                "began_at": each["began_at"],
                "active_at": each["active_at"],
                "ends_at": each["expires_at"],
                "remote": each["remote"],
                "agent": each["agent"],
            }
            for each in await sign_ins.open_ones(gateway, connection, person.name)
        ],
    }
    return [OWN.show(frozenset({Role.SELF}), row)]


# Who sees whom


async def searched(
    gateway: Gateway, connection: Connection, actor: Actor, sees_all: Collection[Role], text: str
) -> tuple[str, list[object]]:
    """A condition of SQL, with its values, that a row of `person` has this text in the name or in a group, or in the
    display name if the actor sees that. Nobody is found by what the actor does not see. Upper and lower case are the
    same."""
    if not text:
        return "true", []
    seen, values = ("true", list[object]()) if Role.ADMIN in sees_all else whom(actor, (), "name")
    named = await people.with_display_name(gateway, connection, text, seen, *values)
    return f"({_HAS.format('name, array_to_string(groups, chr(10))')} OR name = ANY(%s))", [text, named]


async def searched_record(
    gateway: Gateway, connection: Connection, actor: Actor, sees_all: Collection[Role], text: str
) -> tuple[str, list[object]]:
    """A condition of SQL, with its values, that a record has this text in the name of its host or of its person, who
    may have been removed, of whoever asks, or of an account that acts for the person; or that the person is `searched`.
    All these fields are shown to whoever sees the record."""
    has_text, texts = await searched(gateway, connection, actor, sees_all, text)
    # To change the case of a text takes longest: names of hosts have none, and of people who were removed, only that of
    # ASCII is changed.
    names = """strpos(host, lower(%s)) > 0 OR strpos(lower(person COLLATE "C"), lower(%s COLLATE "C")) > 0"""
    asks = _HAS.format("fields->>'asker', fields->>'agent'")
    asks = f"fields ?| array['asker', 'agent'] AND {asks}"
    of_person = f"person IN (SELECT name FROM person WHERE {has_text})"  # noqa: S608
    return f"({names} OR ({asks}) OR {of_person})", [text, text, text, *texts]


def roles_for_all(actor: Actor, view: View[Any]) -> frozenset[Role]:
    """The roles by which an actor sees the rows of everybody."""
    roles = actor.roles | ({Role.ADMIN} if Role.ROOT in actor.roles else set())
    return roles & {Role.AUDITOR, Role.ADMIN} & view.fields.keys()


def roles_for(actor: Actor, person: Person) -> frozenset[Role]:
    """The roles by which an actor sees the rows of this person in particular."""
    found = set()
    if Role.SELF in actor.roles and person.name == actor.name:
        found.add(Role.SELF)
    if actor.may_help(person.groups):
        found.add(Role.HELPDESK)
    return frozenset(found)


def whom(actor: Actor, sees_all: Collection[Role], column: str = "person") -> tuple[str, list[object]]:
    """A condition of SQL, with its values: the column has the name of somebody whose rows the actor may see. What it is
    true of may have been written by no gateway: `roles_for` decides."""
    own = [actor.name] if Role.SELF in actor.roles else []
    if sees_all:
        return "true", []
    if Role.HELPDESK not in actor.roles:
        return f"{column} = ANY(%s)", [own]
    helped = "SELECT name FROM person WHERE name = ANY(%s) OR (groups <> '{}' AND groups <@ %s)"
    return f"{column} IN ({helped})", [own, list(actor.helps)]


async def roles_for_each(
    gateway: Gateway, connection: Connection, actor: Actor, sees_all: frozenset[Role], names: Iterable[str]
) -> dict[str, frozenset[Role]]:
    """The roles by which an actor sees the rows of the people with these names, in rows that were found."""
    found = dict.fromkeys(names, sees_all)
    asked = list(found) if Role.HELPDESK in actor.roles else [actor.name]
    for row in await many(connection, "SELECT * FROM person WHERE name = ANY(%s)", asked):
        with suppress(Tampered):
            person = people.from_row(gateway, row)
            found[person.name] = sees_all | roles_for(actor, person)
    return found


async def _not_helped(connection: Connection, actor: Actor) -> frozenset[str]:
    """The people for whom the actor does nothing, although a help desk sees them."""
    is_helpdesk = Role.HELPDESK in actor.roles and Role.ADMIN not in actor.roles
    return await passkeys.people_by_root(connection) if is_helpdesk else frozenset()


# Rows


def person_row(person: Person) -> PersonRow:
    """All of a person that may be shown: the token of IAMPASS is shown nowhere."""
    return {
        "user": person.name,
        "groups": list(person.groups),
        "display_name": person.display_name,
        "phone_number": person.phone_number,
        "source": person.source.value,
        "status": person.status.value,
        "changed_at": person.changed_at,
    }


def host_row(host: Host, seen: Seen) -> HostRow:
    """All of a host that may be shown."""
    return {
        "name": host.name,
        "id": host.id,
        "group": host.group,
        "status": host.status.value,
        "admitted": host.admitted,
        "addresses": list(host.addresses),
        "note": host.note,
        "machine": host.machine,
        "joined": host.joined_at,
        "invite": host.invite,
        "slowed_until": host.slowed_until,
        "seen": seen.at,
        "seen_within_a_day": seen.for_a_day,
        "version": seen.version,
        "address": seen.address,
        "open_logins": seen.open_logins,
    }


def _session_row(session: HostSession, left: float) -> SessionRow:
    return {
        "id": str(session.id),
        "parent": None if session.parent is None else str(session.parent),
        "user": session.person,
        "asker": None if session.asker == session.person else session.asker,
        "agent": session.agent or None,
        "host": session.host_name,
        "service": session.details.get("service"),
        "remote": session.details.get("remote"),
        "caller": session.details.get("caller"),
        "purpose": session.details.get("purpose"),
        "since": session.began_at,
        "status": status_of(session),
        "seconds_left": round(left),
    }


def status_of(session: HostSession) -> str:
    """How an open session is shown: it waits for its turn, its request is on a phone (`asked`), or it is kept."""
    if session.state is State.QUEUED:
        return "waits"
    return {Status.active: "active", Status.walkaway: "away"}.get(session.status or Status.pending, "asked")


def _record_row(record: Record) -> RecordRow:
    own = {"id": record.id, "time": record.time, "written": record.written, "kind": record.kind.value}
    return cast(RecordRow, {**record.fields, **own, "host": record.host, "person": record.person})
