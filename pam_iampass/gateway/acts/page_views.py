"""Views that only the portal's pages need: where a person may log in, their phone and bypasses, logins by hour, and
what needs attention. `views.py` has the others, and who sees whom."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import cast

from pam_iampass.fleet.act import Role
from pam_iampass.fleet.people import BYPASSES, MAY, BypassRow, MayRow
from pam_iampass.fleet.phones import PHONE, PhoneRow
from pam_iampass.fleet.records import ATTENTION, HOURS, AttentionRow, HourRow
from pam_iampass.gateway.acts.access import LEFT, LOST
from pam_iampass.gateway.acts.views import (
    record_of_adding,
    roles_for,
    roles_for_all,
    roles_for_each,
    searched_record,
    whom,
)
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.records import Filter
from pam_iampass.gateway.base.settings import GroupSettings
from pam_iampass.gateway.base.statements import many
from pam_iampass.gateway.check import attention
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person
from pam_iampass.gateway.requests import bypasses
from pam_iampass.gateway.sign_in import passkeys, sign_ins
from pam_iampass.gateway.sign_in.actors import Actor, ActRefused

PHONE_SECONDS = 10.0
"""The time for which an answer of IAMPASS about a phone is shown."""


async def show_may(gateway: Gateway, connection: Connection, actor: Actor, name: str) -> list[MayRow]:
    """Say for each group of hosts in the settings whether a person may log in there, or why not. People themselves are
    told nothing of groups that do not admit them."""
    roles = (await roles_for_each(gateway, connection, actor, roles_for_all(actor, MAY), [name]))[name]
    person = await _find(gateway, connection, name) if roles else None
    if person is None:
        return []
    found = []
    for group, policy in sorted(gateway.settings.groups.items()):
        if roles != {Role.SELF} or policy.admits(person.groups):
            why = _why_not(person, policy, is_lost=person.phone_to_disable)
            row: MayRow = {"group": group, "may": not why, "why": why, "codes": policy.codes}
            found.append(MAY.show(roles, row))
    return found


def _why_not(person: Person, policy: GroupSettings, *, is_lost: bool) -> list[str]:
    """All reasons why a person may not log in to hosts of a group; empty if they may."""
    why = [] if person.active else [f"the person {LEFT[person.status]}"]
    if not policy.admits(person.groups):
        why.append(f"it {policy.whom}")
    return [*why, f"the phone {LOST}"] if is_lost else why


async def show_phone(gateway: Gateway, actor: Actor, name: str) -> list[PhoneRow]:
    """Whether a person has a phone: one row, or none if the actor does not see the person. IAMPASS is asked, which
    takes 10 s at most, for few at the same time, about each person once in PHONE_SECONDS, and MOST_ASKED times a minute
    for one sign-in, which then is told `unknown`: nobody has to touch a passkey for it. That there is one is remembered
    (`people.note_phone`)."""
    async with gateway.database.statement() as connection:
        roles = (await roles_for_each(gateway, connection, actor, roles_for_all(actor, PHONE), [name]))[name]
        person = await _find(gateway, connection, name) if roles else None
    if person is None:
        return []
    async with gateway.asking_for_phones:
        at, phone = gateway.phones.get((name, person.phone_lost_at), (-math.inf, "unknown"))
        if time.monotonic() - at >= PHONE_SECONDS:
            if not _may_ask(gateway, actor.details.get("sign_in", "")):
                return [
                    PHONE.show(roles, {"user": name, "phone": "unknown", "lost_at": person.phone_lost_at})
                ]
            phone = "unknown"
            with suppress(ActRefused):
                phone = (await passkeys.phone_of(gateway, person)).value
            gateway.phones[name, person.phone_lost_at] = time.monotonic(), phone
    return [PHONE.show(roles, {"user": name, "phone": phone, "lost_at": person.phone_lost_at})]


def _may_ask(gateway: Gateway, sign_in: str) -> bool:
    """Whether IAMPASS may be asked once more for a sign-in, which counts."""
    asked, now = gateway.asked_for_phones, time.monotonic()
    while asked and asked[0][0] < now - 60.0:
        asked.popleft()
    if sum(of == sign_in for _, of in asked) >= sign_ins.MOST_ASKED:
        return False
    asked.append((now, sign_in))
    return True


async def show_bypasses(gateway: Gateway, connection: Connection, actor: Actor, name: str) -> list[BypassRow]:
    """The bypasses of a person that hold now, in the order in which they end; none if the actor does not see the
    person."""
    roles = (await roles_for_each(gateway, connection, actor, roles_for_all(actor, BYPASSES), [name]))[name]
    if not roles:
        return []
    return [
        BYPASSES.show(
            roles,
            {
                "user": found.person,
                "services": [*found.services],
                "hosts": [*found.hosts],
                "groups": [*found.host_groups],
                "made_at": found.made_at,
                "ends_at": found.ends_at,
                "made_by": found.made_by,
                "reason": found.reason,
            },
        )
        for found in await bypasses.of_person(gateway, connection, name)
    ]


async def show_hours(
    gateway: Gateway, connection: Connection, actor: Actor, wanted: Filter, search: str = ""
) -> list[HourRow]:
    """How many logins there were that are wanted and that the actor sees, for each hour in which there were some. Of
    their own, people see nothing of who had their name before.

    :param search: as `searched_record`.
    """
    roles, number = roles_for_all(actor, HOURS), Counter[tuple[datetime, str]]()
    has_text, texts = "true", list[object]()
    if search:
        has_text, texts = await searched_record(gateway, connection, actor, roles, search)

    def among(names: Sequence[str]) -> tuple[str, list[object]]:
        return f"person = ANY(%s) AND {has_text}", [list(names), *texts]

    if roles:
        number.update(await records.by_hour(connection, replace(wanted, of=(has_text, texts))))
    else:
        roles, own, helped = actor.roles, list[str](), list[str]()
        for person in await _visible(gateway, connection, actor):
            (own if roles_for(actor, person) == {Role.SELF} else helped).append(person.name)
        number.update(await records.by_hour(connection, replace(wanted, of=among(helped))))
        added = await record_of_adding(connection, actor.name)
        since = [moment for moment in (wanted.since, added and added["at"]) if moment]
        wanted = replace(wanted, of=among(own), since=max(since, default=None))
        number.update(await records.by_hour(connection, wanted))
    hours: dict[datetime, dict[str, int]] = {}
    for (hour, outcome), count in sorted(number.items()):
        hours.setdefault(hour, {})[outcome] = count
    return [HOURS.show(roles, {"hour": hour, "logins": logins}) for hour, logins in hours.items()]


async def show_attention(gateway: Gateway, connection: Connection, actor: Actor) -> list[AttentionRow]:
    """Matters that need somebody now: what is wrong with the fleet, and the alerts of a day; for the help desk, alerts
    about people whom it helps."""
    roles = roles_for_all(actor, ATTENTION)
    if roles:
        found = [
            *await attention.find_waiting_hosts(gateway, connection),
            *await attention.find_of_fleet(gateway, connection),
            *await attention.find_alerts(connection, ("true", [])),
        ]
    else:
        roles = actor.roles & {Role.HELPDESK}
        visible = await _visible(gateway, connection, actor) if roles else ()
        helped = [person.name for person in visible if Role.HELPDESK in roles_for(actor, person)]
        found = await attention.find_alerts(connection, _among(helped))
    return [ATTENTION.show(roles, cast(AttentionRow, dataclasses.asdict(each))) for each in found]


async def _find(gateway: Gateway, connection: Connection, name: str) -> Person | None:
    with suppress(Tampered):
        return await people.find(gateway, connection, name)
    return None


async def _visible(gateway: Gateway, connection: Connection, actor: Actor) -> Sequence[Person]:
    """The people whom an actor sees who does not see everybody."""
    condition, values = whom(actor, (), "name")
    found = []
    for row in await many(connection, f"SELECT * FROM person WHERE {condition}", *values):  # noqa: S608
        with suppress(Tampered):
            person = people.from_row(gateway, row)
            if roles_for(actor, person):
                found.append(person)
    return found


def _among(names: Sequence[str]) -> tuple[str, list[object]]:
    """The condition of SQL that a record is of one of these people, with its values."""
    return "person = ANY(%s)", [list(names)]
