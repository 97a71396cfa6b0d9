"""Why a person could not log in: the last denials within an hour, and what keeps the person out now.

The state of now decides. It is looked at with the rules by which a start is decided (`requests/starts.py`), and nothing
is written. A cause that is on record, and holds no longer, is shown as over.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Union

from pam_iampass.fleet.act import Role
from pam_iampass.fleet.denials import CAUSES, DENIALS, DenialRow
from pam_iampass.gateway.acts.views import roles_for_all, roles_for_each
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.records import Filter, Kind
from pam_iampass.gateway.base.statements import many, one
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import HELPDESK, ITSELF, Host, HostStatus
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person
from pam_iampass.gateway.requests import bypasses, turns
from pam_iampass.gateway.requests.host_limits import AT_LIMIT, is_held_back
from pam_iampass.gateway.sign_in.actors import Actor
from pam_iampass.login.throttle import Cause, Refusal
from pam_iampass.outcome import Outcome

_MOST_HOSTS = 10
_REQUEST_SECONDS = 60.0
_LAST = """
    SELECT DISTINCT ON (record.host, record.fields->>'outcome') record.id, record.at, record.host, record.fields,
        coalesce(session.reason, record.fields->>'reason', '') AS reason
    FROM record LEFT JOIN session ON session.id = (record.fields->>'session')::uuid
    WHERE record.person = %s AND record.at > now() - interval '1 hour' AND record.kind = 'decision'
        AND record.fields ? 'outcome' AND NOT record.fields ?| '{asker,agent}' AND record.host <> ALL(%s)
        AND record.id > coalesce((SELECT max(id) FROM record
            WHERE person = %s AND kind = 'act' AND fields->>'what' = 'user_add'), 0)
    ORDER BY record.host, record.fields->>'outcome', record.id DESC
"""
"""The last record of each outcome of a person's own logins, on each host: neither of who had the name before, nor of
logins for which the person was asked as the second one, or for an account that acts for them."""
_ANSWERED = """
    SELECT 1 FROM record WHERE id > %s AND kind = 'decision' AND (fields->>'outcome' IN ('approved', 'timed_out')
        OR fields->>'outcome' = 'denied' AND fields->>'reason' IN ('cancelled', 'failed')) LIMIT 1
"""
"""Whether IAMPASS has answered a request of anybody since a record."""
_OF_NOW = {
    "UNKNOWN_USER",
    "PHONE_LOST",
    "NOT_ON_THIS_HOST",
    "HOST_SUSPENDED",
    "HOST_STOPPED",
    "HOST_NOT_ADMITTED",
    "HOST_THROTTLED",
    "AT_CAPACITY",
    "NO_TURN",
    "RESTORED",
}
"""The causes that are over if they are not found now."""
_Limit = tuple[Union[datetime, None], Union["_Decision", None]]
"""When a cause of now ends, and the denial from whose origin a login is refused; None where there is no such."""
_NO_LIMIT: _Limit = (None, None)
_STATUSES = {
    HostStatus.WAITING: "HOST_NOT_ADMITTED",
    HostStatus.STOPPED: "HOST_STOPPED",
    HostStatus.SUSPENDED: "HOST_SUSPENDED",
}


@dataclass(frozen=True)
class _Decision:
    """The last record of one outcome on a host."""

    id: int
    at: datetime
    fields: Mapping[str, str]
    reason: str

    @property
    def is_denial(self) -> bool:
        return self.fields["outcome"] not in records.LET_IN

    @property
    def shows_phone(self) -> bool:
        """Whether a phone was asked."""
        is_approved = self.fields["outcome"] == Outcome.APPROVED.value
        return is_approved or self.cause in ("cancelled", "failed", "timeout")

    @property
    def cause(self) -> str:
        """The cause in `CAUSES`. No text of a host is in it."""
        outcome, reason = self.fields["outcome"], self.reason
        if outcome == Outcome.THROTTLED.value and reason not in CAUSES:
            return "HOST_LIMIT" if reason == AT_LIMIT.why else "HOST_THROTTLED"
        if outcome == Outcome.NO_DEVICE.value and reason != "PHONE_LOST":
            return "NO_MOBILE_DEVICE"
        known = {"PHONE_LOST_MEANWHILE": "PHONE_LOST", "wrong recovery code": "WRONG_CODE"}.get(
            reason, reason
        )
        return known if known in CAUSES else "OTHER"


async def show_denials(
    gateway: Gateway, connection: Connection, actor: Actor, name: str, host: str = ""
) -> list[DenialRow]:
    """Why a person could not log in: what keeps them out now, and the last denials, of each host with denials within an
    hour, the last one first; nothing if the actor does not see the person. If there is none, one row says so.

    :param host: only on this host. Admins and root may name any host; to others, a host without a denial shows nothing.
    """
    roles = (await roles_for_each(gateway, connection, actor, roles_for_all(actor, DENIALS), [name]))[name]
    person = None
    with suppress(Tampered):
        person = await people.find(gateway, connection, name) if roles else None
    if person is None:
        return []
    by_host: dict[str, list[_Decision]] = {}
    for row in await many(connection, _LAST, name, [ITSELF.name, HELPDESK.name], name):
        decision = _Decision(row["id"], row["at"], row["fields"], row["reason"])
        by_host.setdefault(row["host"], []).append(decision)
    wanted = _last_first(by_host)
    if host:
        if host not in wanted and Role.ADMIN not in roles:
            return []
        wanted = [host]
    looking = await _Looking.at(gateway, connection, person, by_host)
    rows = [row for each in wanted[:_MOST_HOSTS] for row in await looking.rows_of(each)]
    if not any(decision.is_denial for each in wanted for decision in by_host.get(each, ())):
        those = by_host.get(host, []) if host else [each for found in by_host.values() for each in found]
        rows += [_row(cause) for cause in looking.of_person if not host]
        rows.append(_row("LET_IN" if any(not each.is_denial for each in those) else "NO_REQUEST", host))
    return [DENIALS.show(roles, row) for row in rows]


def _last_first(by_host: Mapping[str, Sequence[_Decision]]) -> list[str]:
    """The hosts with denials, those with the last ones first."""
    last = {
        host: max((each.id for each in found if each.is_denial), default=0) for host, found in by_host.items()
    }
    return sorted((host for host in last if last[host]), key=lambda host: -last[host])


@dataclass(frozen=True)
class _Looking:
    """Looks at the state of now."""

    gateway: Gateway
    connection: Connection
    person: Person
    by_host: Mapping[str, Sequence[_Decision]]
    turns: turns.Turns
    of_person: Sequence[str]
    """The causes that keep the person out everywhere."""

    @classmethod
    async def at(
        cls,
        gateway: Gateway,
        connection: Connection,
        person: Person,
        by_host: Mapping[str, Sequence[_Decision]],
    ) -> _Looking:
        found = {
            "RESTORED": gateway.restored,
            "UNKNOWN_USER": not person.active,
            "PHONE_LOST": person.phone_to_disable,
        }
        of_person = [cause for cause, holds in found.items() if holds]
        now = await turns.read(connection, person.name)
        return cls(gateway, connection, person, by_host, now, of_person)

    async def rows_of(self, name: str) -> list[DenialRow]:
        """Returns the causes that keep the person out of a host now, and the last denials there with another cause."""
        there = sorted(self.by_host.get(name, ()), key=lambda each: -each.id)
        denials = [each for each in there if each.is_denial]
        host = None
        with suppress(Tampered):
            host = await hosts.named(self.gateway, self.connection, name)
        found, needs_phone = await self._of_now(host, denials)
        rows = []
        for cause, (until, denial) in found.items():
            same = denial or next((each for each in denials if each.cause == cause), None)
            rows.append(_row(cause, name, same, until=until))
        let_in = max((each.id for each in there if not each.is_denial), default=0)
        for each in denials:
            is_told = each.cause in found or (each.cause in ("HOST_THROTTLED", "NO_TURN") and found)
            if not is_told:
                is_over = each.id < let_in or not needs_phone or await self._is_over(each)
                rows.append(_row(each.cause, name, each, is_over=is_over))
        rows += [_row("LET_IN_BY_HOST", name, time=last) for last in await self._reported(name) if denials]
        return sorted(rows, key=lambda row: row["is_over"])

    async def _of_now(
        self, host: Host | None, denials: Sequence[_Decision]
    ) -> tuple[dict[str, _Limit], bool]:
        """The causes that keep the person out on a host now, and whether a login needs the phone."""
        found: dict[str, _Limit] = dict.fromkeys(self.of_person, _NO_LIMIT)
        if host is None:
            return {**found, "HOST_REMOVED": _NO_LIMIT}, True
        if host.status in _STATUSES:
            found[_STATUSES[host.status]] = _NO_LIMIT
        if not self.gateway.settings.admits(host.group, self.person.groups):
            found["NOT_ON_THIS_HOST"] = _NO_LIMIT
        if denials and not found.keys() - {"PHONE_LOST"}:
            service = denials[0].fields.get("service", "")
            name = self.person.name
            if await bypasses.find(self.gateway, self.connection, host, name, service) is not None:
                return {}, False
        for each in denials:
            for cause, until in (await self._limits(host, each)).items():
                known, _ = found.get(cause, _NO_LIMIT)
                if cause not in found or (until and known and until > known):
                    found[cause] = until, each
        return found, True

    async def _limits(self, host: Host, denial: _Decision) -> dict[str, datetime | None]:
        """The limits that would refuse a login from where this one came, as `starts._admit_by_phone` has them."""
        before, limits = self.turns, self.gateway.settings.limits
        until = before.now + _REQUEST_SECONDS
        login = turns.login_of(self.person.name, host.name, denial.fields, uuid.uuid4(), before.now, until)
        is_slowed = host.is_slowed(before.now)
        login = await turns.recognized(self.connection, before, login, limits, at_once=is_slowed)
        if is_slowed and await is_held_back(self.connection, host, before, login):
            return {"HOST_SLOWED": host.slowed_until}
        refusal = turns.joined(before, login, limits)
        if not isinstance(refusal, Refusal):
            return {}
        if refusal.cause is not Cause.LIMIT:
            return {"AT_CAPACITY": None}
        cause = "BACKOFF" if before.state.backoff(login, limits, before.now) else "HOURLY_LIMIT"
        return {cause: datetime.fromtimestamp(before.now + refusal.wait, timezone.utc)}

    async def _is_over(self, denial: _Decision) -> bool:
        """Whether a cause that is on record, and was not found now, is known to keep the person out no longer."""
        if denial.cause in ("NO_MOBILE_DEVICE", "IAMPASS_REFUSES"):
            return self._has_phone_since(denial)
        if denial.cause == "IAMPASS_AWAY":
            return await one(self.connection, _ANSWERED, denial.id) is not None
        return denial.cause in _OF_NOW

    def _has_phone_since(self, denial: _Decision) -> bool:
        """Whether a phone of the person was asked since, or a look of a moment ago has shown one."""
        later = [each for found in self.by_host.values() for each in found if each.id > denial.id]
        looked_at, phone = self.gateway.phones.get((self.person.name, self.person.phone_lost_at), (0.0, ""))
        age = self.turns.now - denial.at.timestamp()
        was_seen = phone == "registered" and time.monotonic() - looked_at < age
        return was_seen or any(each.shows_phone for each in later)

    async def _reported(self, name: str) -> list[datetime]:
        """When the host says that it let the person in by itself, the last time within the hour."""
        since = datetime.fromtimestamp(self.turns.now - 3600.0, timezone.utc)
        wanted = Filter(
            hosts=[name], since=since, kinds=[Kind.REPORT.value], concerns=self.person.name, let_in=True
        )
        return [last for _, _, last in await records.reported_by_host(self.connection, wanted)]


def _row(
    cause: str,
    host: str = "",
    denial: _Decision | None = None,
    *,
    time: datetime | None = None,
    until: datetime | None = None,
    is_over: bool = False,
) -> DenialRow:
    """A row for one cause. Only `service` and `remote` are what a host says."""
    fields = denial.fields if denial else {}
    words = CAUSES[cause]
    return {
        "cause": cause,
        "says": words.says,
        "host": host,
        "time": denial.at if denial else time,
        "service": fields.get("service", ""),
        "remote": fields.get("remote", ""),
        "until": until,
        "is_over": is_over,
        "mend": "" if is_over else words.mend,
        "act": "" if is_over else words.act,
    }
