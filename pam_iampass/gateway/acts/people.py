"""Acts for one person: what is written of them, bypasses, recovery codes and limits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pam_iampass.errors import shown
from pam_iampass.fleet import people as declared
from pam_iampass.fleet.results import Codes, Number, Until
from pam_iampass.gateway.acts.act import Act, Work
from pam_iampass.gateway.acts.names import known, require_row, unknown_host
from pam_iampass.gateway.acts.sessions import EndedSessions, add_ends_of
from pam_iampass.gateway.calls import codes
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person, PersonStatus, Source
from pam_iampass.gateway.requests import bypasses, turns
from pam_iampass.gateway.requests.bypasses import Bypass
from pam_iampass.gateway.sign_in.actors import ActRefused
from pam_iampass.login.throttle import cleared

_NONE = "there were none"
_AGAIN = "run the same command again"


class ChangePerson(declared.ChangePerson, Act[Person]):
    async def change(self, work: Work) -> Person:
        person = await _as_read(work, self.person, self.changed_at)
        require_staying(person)
        if (person.source is Source.LDAP) is not self.by_directory:
            where = "was added here" if self.by_directory else "comes from the directory"
            raise ActRefused(f"{shown(self.person)} {where}", "change the person there")
        values = _values(self)
        work.reason = f"{'by the directory: ' if self.by_directory else ''}{changes(person, values)}"
        return await _changed(work, person, **values)


class LeavePerson(declared.LeavePerson, Act[EndedSessions]):
    """The caller ends the sessions afterwards (`end_sessions`), once everybody who has left is denied."""

    async def change(self, work: Work) -> EndedSessions:
        person = await _as_read(work, self.person, self.changed_at)
        _require(person, PersonStatus.ACTIVE)
        await _changed(work, person, status=PersonStatus.LEAVING)
        ended = await add_ends_of(work.gateway, work.connection, self.person)
        work.reason = f"logins are denied from now on; sessions to end: {len(ended.were_open)}"
        return ended


class ReturnPerson(declared.ReturnPerson, Act[Person]):
    async def change(self, work: Work) -> Person:
        person = await _as_read(work, self.person, self.changed_at)
        _require(person, PersonStatus.LEAVING)
        return await _changed(work, person, status=PersonStatus.ACTIVE, **_values(self))


def require_staying(person: Person) -> None:
    """Raise ActRefused if the person is being removed, or has left the directory."""
    if person.status is PersonStatus.REMOVING:
        remedy = f"run pam-iampass-gateway user remove {person.name} to its end"
        raise ActRefused(f"{shown(person.name)} is being removed", remedy)
    if person.status is PersonStatus.LEAVING:
        raise ActRefused(f"{shown(person.name)} has left the directory", "see: pam-iampass-gateway user sync")


def changes(person: Person, values: Mapping[str, Any]) -> str:
    """The attributes that these values change, in words. Neither names nor numbers stand in records."""
    words = [key.replace("_", " ") for key, value in values.items() if getattr(person, key) != value]
    if "groups" in words:
        before, after = (", ".join(groups) or "none" for groups in (person.groups, values["groups"]))
        words[words.index("groups")] = f"groups {before} to {after}"
    return "; ".join(words)


async def _as_read(work: Work, name: str, changed_at: datetime | None) -> Person:
    """The person, if nobody has changed them since. Raises ActRefused."""
    person = await known(work.gateway, work.connection, name)
    if person.changed_at != changed_at:
        raise ActRefused(f"{shown(name)} was changed meanwhile", _AGAIN)
    return person


def _require(person: Person, status: PersonStatus) -> None:
    """Raise ActRefused unless the person is of the directory, and has this status."""
    if person.source is not Source.LDAP or person.status is not status:
        raise ActRefused(f"{shown(person.name)} is not as the directory was read", _AGAIN)


def _values(act: ChangePerson | ReturnPerson) -> dict[str, Any]:
    """The attributes of a Person as the act has them."""
    return {
        "groups": act.groups,
        "display_name": act.display_name or None,
        "phone_number": act.phone_number or None,
    }


async def _changed(work: Work, person: Person, **values: Any) -> Person:
    """The person as they are then. `perform` has locked the row."""
    return await people.change(work.gateway, work.connection, person.name, **values) or person


class BypassPhone(declared.BypassPhone, Act[Bypass]):
    async def change(self, work: Work) -> Bypass:
        gateway, connection = work.gateway, work.connection
        await known(gateway, connection, self.person)
        for name in self.hosts:
            if await hosts.named(gateway, connection, name) is None:
                raise await unknown_host(connection, name)
        for group in self.groups:
            policy = gateway.settings.policy_of(group)
            if policy is None or not policy.bypasses:
                what = "is not in the settings" if policy is None else "allows no bypasses"
                raise ActRefused(f"the group {shown(group)} {what}", "see `groups` in gateway.yaml")
        bypass = await bypasses.add(
            gateway,
            connection,
            person=self.person,
            seconds=self.seconds,
            services=self.services,
            hosts=self.hosts,
            host_groups=self.groups,
            made_by=work.actor.name,
            reason=self.reason,
        )
        work.until = bypass.ends_at
        work.reason = "; ".join(filter(None, (f"{bypass.through}, {bypass.where}", self.reason)))
        return bypass

    def told(self, done: Bypass) -> Until:
        return Until(done.ends_at)


class EndBypasses(declared.EndBypasses, Act[int]):
    async def change(self, work: Work) -> int:
        await require_row(work.connection, self.person)
        number = await bypasses.remove(work.connection, self.person)
        work.reason = "" if number else _NONE
        return number

    def told(self, done: int) -> Number:
        return Number(done)


class NewCodes(declared.NewCodes, Act[list[str]]):
    async def change(self, work: Work) -> list[str]:
        person = await known(work.gateway, work.connection, self.person)
        return await codes.renew(work.gateway, work.connection, person)

    def told(self, done: list[str]) -> Codes:
        return Codes(done)


class RevokeCodes(declared.RevokeCodes, Act[bool]):
    async def change(self, work: Work) -> bool:
        await require_row(work.connection, self.person)
        revoked = await codes.revoke(work.connection, self.person)
        work.reason = "" if revoked else _NONE
        return revoked

    def told(self, done: bool) -> Number:
        return Number(int(done))


class ClearLimits(declared.ClearLimits, Act[bool]):
    async def change(self, work: Work) -> bool:
        await known(work.gateway, work.connection, self.person)
        await turns.change(work.connection, self.person, lambda state, _: cleared(state))
        return True
