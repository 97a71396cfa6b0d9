"""Acts for the phone of a person: a lost one is reported, and the next one registered. How IAMPASS is told."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from pam_iampass.client import IampassError
from pam_iampass.client.call import Call
from pam_iampass.client.procedures import disable_phone
from pam_iampass.errors import shown
from pam_iampass.fleet import phones as declared
from pam_iampass.fleet import results
from pam_iampass.fleet.act import OfPerson
from pam_iampass.gateway.acts.act import Act, Work
from pam_iampass.gateway.acts.names import known
from pam_iampass.gateway.acts.sessions import EndedSessions, add_ends_of, end_sessions
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.gateway import Gateway, carry_out
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.records import Kind
from pam_iampass.gateway.base.statements import now, one
from pam_iampass.gateway.base.upstream import Lane
from pam_iampass.gateway.calls import codes
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person, app_name
from pam_iampass.gateway.requests import bypasses, turns
from pam_iampass.gateway.sign_in import sign_ins
from pam_iampass.gateway.sign_in.actors import ActRefused

_SECONDS = 10.0


@dataclass(frozen=True)
class LostPhone:
    """The effect of a report of a lost phone: what it has ended, and what it has left."""

    ended: EndedSessions
    bypasses: int
    """The number of bypasses that were ended."""
    codes: int
    """The number of recovery codes that are good."""
    error: IampassError | None = None
    """Why IAMPASS has not disabled the phone yet."""


class ReportLostPhone(declared.ReportLostPhone, Act[LostPhone]):
    async def change(self, work: Work) -> LostPhone:
        gateway, connection = work.gateway, work.connection
        if self.end_codes and work.sign_in is not None and work.actor.name == self.person:
            raise ActRefused("the report alone revokes none of your own codes", "revoke them as well")
        await known(gateway, connection, self.person)
        lost_at = told_at = await now(connection)
        # By the time of turns, whose lock a start has: a request that has begun until then is not approved any more,
        # whatever IAMPASS says of it.
        with suppress(Tampered):  # such turns let nobody in
            lost_at = datetime.fromtimestamp((await turns.locked(connection, self.person)).now, timezone.utc)
        lost = {"phone_lost_at": lost_at, "phone_to_disable": True, "phone_told_at": told_at}
        await people.change(gateway, connection, self.person, invites=False, **lost)
        mine = work.sign_in if work.actor.name == self.person else None
        await sign_ins.end(connection, self.person, but=None if mine is None else mine.id, by=mine)
        await sign_ins.unmark_verified(connection, self.person)
        ended = await add_ends_of(gateway, connection, self.person)
        bypassed = await bypasses.remove(connection, self.person)
        if self.end_codes:
            await codes.revoke(connection, self.person)
        left = 0
        with suppress(Tampered):  # such codes do not count
            stored = await codes.stored(gateway, connection, self.person)
            left = 0 if stored is None else stored.used_at.count(None)
        ends = f"sessions to end: {len(ended.were_open)}; bypasses ended: {bypassed}"
        work.reason = f"{ends}; recovery codes left: {left}"
        return LostPhone(ended, bypassed, left)

    async def after(self, gateway: Gateway, done: LostPhone) -> LostPhone:
        ended, error = await asyncio.gather(end_sessions(gateway, done.ended), self._tell(gateway))
        return replace(done, ended=ended, error=error)

    def told(self, done: LostPhone) -> results.LostPhone:
        ended = done.ended.told
        return results.LostPhone(ended.ended, ended.errors, done.bypasses, done.codes, done.error is None)

    async def _tell(self, gateway: Gateway) -> IampassError | None:
        try:
            await tell_of_lost_phone(gateway, self.person)
        except IampassError as error:
            return error
        return None


async def tell_of_lost_phone(gateway: Gateway, name: str, *, goes_on: bool = False) -> None:
    """Have IAMPASS disable the phone of a person. It can be repeated.

    Raises IampassError, Tampered and DatabaseError.

    :param goes_on: whether nobody has reported it now, but a gateway goes on with a report: not with one in an old copy
        of the database, where the phone may be the next one.
    """
    async with gateway.database.statement() as connection:
        row = await one(
            connection,
            f'SELECT NULL AS "copy:", {hosts.IS_OLDER} AS older, NULL AS "person:", person.* FROM person'  # noqa: S608
            " WHERE name = %(name)s",
            **hosts.how_far(gateway),
            name=name,
        )
    if row is None or (goes_on and row["copy"]["older"]):
        return
    person = people.from_row(gateway, row["person"], name=name)
    if not person.phone_to_disable:
        return  # IAMPASS knows: the phone may be the next one
    procedure = disable_phone(gateway.iampass.application, person.token)
    await carry_out(gateway.iampass, procedure, _SECONDS, Lane.decisions)
    async with gateway.database.transaction() as connection:
        if await people.note_disabled_phone(gateway, connection, person):
            reason = "disabled at IAMPASS"
            await records.write(connection, Kind.ACT, person=name, what="phone_lost", reason=reason)


# The next phone


@dataclass(frozen=True)
class Registration:
    """A link that registers a phone. Anyone who opens it can approve the person's logins."""

    call: Call[Any] = field(repr=False)
    """It has IAMPASS make the link, or send it."""
    url: str | None = field(default=None, repr=False)
    """The link; None if it was sent."""


class OfNextPhone(OfPerson[results.Link], Act[Registration]):
    """An act that has IAMPASS make a link. Nobody goes on with it if the process is stopped: the link is for the
    actor."""

    async def ready(self, work: Work) -> Person:
        """The person, if a phone may be registered. Raises ActRefused."""
        person = await known(work.gateway, work.connection, self.person)
        if not person.active:
            raise ActRefused(f"{shown(self.person)} cannot log in", "see: pam-iampass-gateway user show")
        require_no_lost_phone(person)
        return person

    def ask(
        self, work: Work, person: Person, number: str | None, message: str = "", display_name: str = ""
    ) -> Registration:
        """The link that IAMPASS is to make, or to send to this number after the message."""
        name = display_name or app_name(person, work.gateway.settings)
        application = work.gateway.iampass.application
        work.reason = f"IAMPASS is asked {'to send' if number else 'for'} a link"
        if number:
            return Registration(application.registration_sms(person.token, name, number, message or None))
        return Registration(application.registration_link(person.token, name))

    async def after(self, gateway: Gateway, done: Registration) -> Registration:
        answer = await gateway.iampass.call(done.call, _SECONDS, Lane.decisions)
        return replace(done, url=answer if isinstance(answer, str) else None)

    def told(self, done: Registration) -> results.Link:
        return results.Link(done.url)


class EnrollPhone(declared.EnrollPhone, OfNextPhone):
    async def change(self, work: Work) -> Registration:
        person = await self.ready(work)
        return self.ask(work, person, self.number, self.message, self.display_name)


class NewPhone(declared.NewPhone, OfNextPhone):
    async def change(self, work: Work) -> Registration:
        person = await self.ready(work)
        if self.sends and person.phone_number is None:
            what = f"no phone number of {shown(self.person)} is known here"
            raise ActRefused(what, "have the link shown")
        return self.ask(work, person, person.phone_number if self.sends else None)


def require_no_lost_phone(person: Person) -> None:
    """Raise ActRefused if IAMPASS is still to disable the lost phone of a person: it would disable the next one."""
    if person.phone_to_disable:
        what = f"IAMPASS has not disabled the lost phone of {shown(person.name)} yet"
        again = "gateways tell it again each half a minute (after a restore of the database, only `phone lost` does)"
        raise ActRefused(what, f"{again}; why it has not: pam-iampass-gateway log")
