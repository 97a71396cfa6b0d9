"""The act that reports a phone lost, and how IAMPASS is told."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated

from pam_iampass.client import IampassError, ManagementAPIResult
from pam_iampass.client.errors import Declined, NotFound, ProtocolError, Unavailable
from pam_iampass.gateway import bypasses, codes, people, records, turns
from pam_iampass.gateway.acts import steps
from pam_iampass.gateway.acts.act import OfPerson, Role, Work, act, flag
from pam_iampass.gateway.acts.names import known
from pam_iampass.gateway.acts.sessions import OPEN, EndedSessions, add_ends, end_sessions
from pam_iampass.gateway.database import one
from pam_iampass.gateway.gateway import Gateway
from pam_iampass.gateway.keys import Tampered
from pam_iampass.gateway.records import Kind
from pam_iampass.gateway.upstream import Lane
from pam_iampass.login import throttle

_SECONDS = 10.0


@dataclass(frozen=True)
class LostPhone:
    """What the report of a lost phone has ended, and what it has left."""

    ended: EndedSessions
    bypasses: int
    """The number of bypasses that were ended."""
    codes: int
    """The number of recovery codes that are good."""
    error: IampassError | None = None
    """Why IAMPASS has not disabled the phone yet."""


@act(
    "phone_lost",
    by={Role.SELF, Role.HELPDESK, Role.ADMIN},
    touch={Role.HELPDESK, Role.ADMIN},
    record="how many sessions there are to end, how many bypasses were ended, how many recovery codes are good; when"
    " IAMPASS has disabled the phone, another record says so",
)
@dataclass(frozen=True)
class ReportLostPhone(OfPerson[LostPhone]):
    """Deny what the phone of the person approves, at once and until IAMPASS has disabled it, and end the person's
    sessions and bypasses."""

    end_codes: Annotated[bool, flag] = False
    """Also revoke the recovery codes: they were lost, too."""

    async def change(self, work: Work) -> LostPhone:
        gateway, connection = work.gateway, work.connection
        await known(gateway, connection, self.person)
        await steps.add_lost_phone(gateway, connection, self.person)
        # A request that has begun is not approved any more, whatever IAMPASS says of it.
        await turns.change(connection, self.person, throttle.phone_lost)
        ended = await add_ends(gateway, connection, f"person = %s AND {OPEN}", self.person)
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

    async def _tell(self, gateway: Gateway) -> IampassError | None:
        try:
            await tell_of_lost_phone(gateway, self.person)
        except IampassError as error:
            return error
        return None


async def tell_of_lost_phone(gateway: Gateway, name: str) -> None:
    """Have IAMPASS disable the phone of a person; the link in its answer, which registers another one, goes nowhere.

    It can be repeated. Raises IampassError, Tampered and DatabaseError.
    """
    async with gateway.database.statement() as connection:
        row = await one(
            connection,
            'SELECT NULL AS "step:", step.*, NULL AS "person:", person.*'
            " FROM step JOIN person ON name = lost_phone_of WHERE name = %s",
            name,
        )
    if row is None:
        return  # the step went with the person, or IAMPASS knows: the phone may be the next one
    step = gateway.keys.verified(steps.TABLE, row["step"], lost_phone_of=name)["id"]
    person = people.from_row(gateway, row["person"], name=name)
    call = gateway.iampass.application.lost_device(person.token)
    try:
        await gateway.iampass.call(call, _SECONDS, Lane.decisions)
    except IampassError as error:
        # IAMPASS may decline for want of a phone. The person would be kept out for ever.
        if isinstance(error, Unavailable) or await _may_have_phone(gateway, person.token):
            raise
    async with gateway.database.transaction() as connection:
        if await steps.lost_phone_is_known(connection, step):
            reason = "disabled at IAMPASS"
            await records.write(connection, Kind.ACT, person=name, what="phone_lost", reason=reason)


async def _may_have_phone(gateway: Gateway, token: str) -> bool:
    """Whether IAMPASS does not say that this person has no phone. Raises IampassError."""
    application = gateway.iampass.application
    try:
        found = await gateway.iampass.call(application.has_device(token), _SECONDS, Lane.decisions)
        return found is not ManagementAPIResult.no_mobile_device
    except (Declined, NotFound):
        pass  # it knows no such person, if it knows the application
    try:
        await gateway.iampass.call(application.nothing(), _SECONDS, Lane.decisions)
    except ProtocolError as error:
        if error.may_have_started:  # anything but a complete 4xx, which may be about the empty list
            raise
    return False
