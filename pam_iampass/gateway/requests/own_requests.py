"""Requests of the gateway itself: it has a person asked on the phone, not for a login but for what somebody wants to do
at the gateway, such as registering a further passkey.

They are sessions like those of hosts, under the same limits (`starts.py`), of a host that does not exist
(`hosts.GATEWAY`). Only the phone answers them. Whose phone rings is never a name that somebody has typed: it is the
person of a link or a sign-in, or the one whom an act of a help desk concerns, which the desk has confirmed by a touch.

An approval is good once, within GOOD_SECONDS, for what it was asked for: the digest of that is in the session's row.
"""

from __future__ import annotations

import asyncio
import enum
import hashlib
import json
import time
import uuid
from datetime import datetime

from pam_iampass.client.status import Status
from pam_iampass.errors import EditRefused
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.reasons import RefusedStart
from pam_iampass.gateway.base.statements import now
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.people import people, steps
from pam_iampass.gateway.requests import asked_start, sessions, starts
from pam_iampass.gateway.requests.asked_start import AskedStart
from pam_iampass.gateway.requests.sessions import HostSession, State
from pam_iampass.text import clean

SERVICE, HELPDESK_SERVICE = "portal", "helpdesk"
"""They stand for the service in records and in what is shown of sessions. A help desk has one of its own, since an
origin is a service and an address: what somebody at its address asks for does not keep it waiting."""
PATIENCE_SECONDS = 60
"""A request that waits for its turn waits for so long."""
GOOD_SECONDS = 120
"""An approval can be used for this time."""
_LOOK_SECONDS = 0.5


class NotApproved(EditRefused):
    """A person has not approved on the phone what is to be done."""


class Answer(enum.Enum):
    """The state of a request, which in the end is an answer."""

    WAITS = "waits"
    """Another request of the person comes first."""
    ASKED = "asked"
    """The phone rings, or will in a moment."""
    APPROVED = "approved"
    DENIED = "denied"
    OVER = "over"
    """Nobody has answered, no phone could be asked, or the approval cannot be used any more."""

    @property
    def is_final(self) -> bool:
        """Whether waiting for another one is in vain."""
        return self not in (Answer.WAITS, Answer.ASKED)

    @classmethod
    def of(cls, session: HostSession) -> Answer:
        """The state that the row of a request says."""
        if session.state is State.QUEUED:
            return cls.WAITS
        if session.in_progress or (session.state is State.STARTING and session.reason is None):
            return cls.ASKED
        if session.status in (Status.cancelled, Status.failed):
            return cls.DENIED
        return cls.APPROVED if session.approved and session.state is State.OPEN else cls.OVER


async def ask(
    gateway: Gateway, person: str, what: str, remote: str, made_for: str, *, caller: str = ""
) -> HostSession | RefusedStart:
    """Have a person asked on the phone, as soon as it is their turn.

    :param person: whose phone rings.
    :param what: what is to be done, for records, such as `a further passkey`.
    :param remote: the address from which that was asked for.
    :param made_for: the sign-in, link or act for which an approval is good.
    :param caller: the name of somebody else who has the person asked: a help desk, with limits of its own.

    The session may also be one for which no phone has rung: then it has a reason (`NO_MOBILE_DEVICE`: the person has no
    phone). Raises DatabaseError and Tampered.
    """
    service = HELPDESK_SERVICE if caller else SERVICE
    details = {"service": service, "remote": clean(remote, 200), "caller": caller, "purpose": what}
    asked = AskedStart(
        person=person,
        methods=(),
        duration=asked_start.LONGEST_REQUEST_SECONDS,
        patience=PATIENCE_SECONDS,
        request_id=None,
        machine=None,
        connection=None,
        details={name: text for name, text in details.items() if text},
        digest=_digest(person, what, made_for),
    )
    return await starts.start_own(gateway, hosts.HELPDESK if caller else hosts.ITSELF, asked)


async def answer(gateway: Gateway, id: uuid.UUID, made_for: str, seconds: float) -> Answer:
    """Return the state of a request as soon as it has changed, or after this time.

    Raises NotApproved if there is no such request for this, and DatabaseError.
    """
    until, first = time.monotonic() + seconds, None
    while True:
        async with gateway.database.statement() as connection:
            rows = await sessions.find_several(gateway, connection, [id])
        requests = [
            each for each in rows if _is_for(each, each.person, each.details.get("purpose", ""), made_for)
        ]
        if not requests:
            raise NotApproved("there is no such request")
        found = Answer.of(requests[0])
        first = first or found
        left = until - time.monotonic()
        if found.is_final or found is not first or left <= 0 or gateway.held.stopping:
            return found
        await asyncio.sleep(min(_LOOK_SECONDS, left))


async def spend(
    gateway: Gateway, connection: Connection, id: uuid.UUID, person: str, what: str, made_for: str
) -> datetime:
    """Use up, in the transaction of what is done, the approval of this very thing by this person, and return when it
    was given. The transaction has locked the person's row, so that no report of a lost phone comes in between.

    Raises NotApproved and DatabaseError.
    """
    try:
        locked = await sessions.lock_row(gateway, connection, id)
    except Tampered:
        raise _not_approved(what) from None
    session = sessions.from_verified(gateway, locked)
    is_approved = Answer.of(session) is Answer.APPROVED and _is_for(session, person, what, made_for)
    if not is_approved or session.decided_at is None:
        raise _not_approved(what)
    found = await people.find(gateway, connection, person)
    is_lost = found is None or not found.active or session.began_before_loss(found.phone_lost_at)
    age = (await now(connection) - session.decided_at).total_seconds()
    if gateway.restored or is_lost or age > GOOD_SECONDS:
        raise _not_approved(what)
    await sessions.close_row(gateway, connection, locked)
    await steps.add_ended_sessions(gateway, connection, [id])
    return session.decided_at


def _not_approved(what: str) -> NotApproved:
    return NotApproved(f"this was not approved on the phone within {GOOD_SECONDS // 60} minutes: {what}")


def _is_for(session: HostSession, person: str, what: str, made_for: str) -> bool:
    """Whether this is the gateway's own request for just that."""
    return session.is_own and session.parameters == _digest(person, what, made_for)


def _digest(person: str, what: str, made_for: str) -> bytes:
    return hashlib.sha256(json.dumps([person, what, made_for]).encode()).digest()
