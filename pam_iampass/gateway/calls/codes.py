"""The recovery codes of the fleet: each lets one person in once, on one host, without the phone.

The row of a person has keyed digests of the codes, and when each was used. That a code is used is committed before the
host is answered; what is not known to be committed is a refusal.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg

from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection, DatabaseAway, DatabaseError, Lock, UnknownOutcome
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.reasons import Reason, explanation_of
from pam_iampass.gateway.base.records import Kind
from pam_iampass.gateway.base.statements import insert, many, now, one, replace
from pam_iampass.gateway.calls.service import signed_by_host
from pam_iampass.gateway.check import restored
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import Host
from pam_iampass.gateway.people import agents
from pam_iampass.gateway.people.people import Person
from pam_iampass.gateway.requests import allowed, asked_start
from pam_iampass.login.recovery import HOW_MANY, make, read, shown
from pam_iampass.login.throttle import Attempt, Refusal, ThrottleState, attempted
from pam_iampass.outcome import Outcome
from pam_iampass.server.http import Route
from pam_iampass.server.messages import IncomingRequest, Reply, bad_request, text_of
from pam_iampass.server.serving import require_digest
from pam_iampass.text import clean

TABLE = "recovery"
_WRONG_OF_HOST = 100
"""Wrong codes of one host in an hour, for all people: more is no person who mistypes."""
_WRONG_OF_PERSON = _WRONG_OF_HOST // 5
"""The same for one person: an attacker who has one password does not keep everybody from their codes."""
_LONGEST_SECONDS = 60
"""How long a host is taken to wait for the answer, if it does not say."""
_NOT_REDEEMED = (
    "The gateway could not redeem the recovery code. Try again in a minute, with another code if need be."
)


_WRONG = """
SELECT at, person, fields->>'remote' AS remote FROM record
WHERE fields ? 'wrong_code' AND at > now() - interval '1 hour' AND NOT EXISTS (
    SELECT FROM record AS act
    WHERE act.person = record.person AND act.at >= record.at AND act.at > now() - interval '1 hour'
        AND act.kind = 'act' AND act.fields->>'what' = 'throttle_clear'
)
"""
"""The wrong codes that count: all of an hour, unless an administrator has said that they do not. Each condition of
time is a bound of its own, so that an index serves it."""


_ROW = "SELECT * FROM recovery WHERE person = %s AND coalesce(ends_at > now(), true)"


@dataclass(frozen=True)
class Codes:
    """A person's codes, without the codes themselves."""

    made_at: datetime
    used_at: tuple[datetime | None, ...]
    """The time at which each code was used; None: it is still good."""


async def stored(gateway: Gateway, connection: Connection, name: str) -> Codes | None:
    """The codes of a person; None without any that can count. Raises Tampered."""
    row = await one(connection, _ROW, name)
    if row is None:
        return None
    values = gateway.keys.verified(TABLE, row, person=name)
    if _are_over(gateway, values):
        return None
    return Codes(values["made_at"], tuple(values["used_at"]))


def _are_over(gateway: Gateway, values: Mapping[str, Any]) -> bool:
    return values["ends_at"] is not None and gateway.is_over(values["ends_at"])


async def renew(
    gateway: Gateway,
    connection: Connection,
    person: Person,
    *,
    number: int = HOW_MANY,
    hours: int | None = None,
) -> list[str]:
    """Replace all codes of a person by this number of new ones and return these, for the person only.

    :param hours: how long they count; None: until they are used.
    """
    codes = [make() for _ in range(number)]
    await store(gateway, connection, person, codes, hours=hours)
    return [shown(code) for code in codes]


async def store(
    gateway: Gateway,
    connection: Connection,
    person: Person,
    codes: Sequence[str],
    *,
    made_at: datetime | None = None,
    hours: int | None = None,
) -> None:
    """Replace all codes of a person by these, as `make` has made them. `hours` is as for `renew`.

    :param made_at: by the database's clock; None for the beginning of the transaction.
    """
    made_at = made_at or await now(connection)
    await revoke(connection, person.name)
    row = {
        "person": person.name,
        "digests": [gateway.keys.code(person.token, code) for code in codes],
        "used_at": [None] * len(codes),
        "made_at": made_at,
        "ends_at": None if hours is None else made_at + timedelta(hours=hours),
    }
    await insert(connection, TABLE, gateway.keys.sealed(TABLE, row))


async def revoke(connection: Connection, name: str) -> bool:
    """Remove all codes of a person; whether there were any."""
    cursor = await connection.execute("DELETE FROM recovery WHERE person = %s", (name,))
    return cursor.rowcount > 0


async def wrong(connection: Connection, name: str) -> int:
    """How many wrong codes count that were typed for a person, on all hosts."""
    return len(await many(connection, f"{_WRONG} AND person = %s", name))


# A host that redeems a code


@dataclass(frozen=True)
class AskedCode:
    """The redemption of a code as a host asks for it."""

    person: str
    code: str = field(repr=False)
    request_id: str
    machine: str | None
    gives_up_at: float
    """The `time.monotonic()` at which nobody waits for the answer any more."""
    details: Mapping[str, str]
    """The details of the login, for the records."""

    @classmethod
    def of(cls, request: IncomingRequest, came_at: float) -> AskedCode:
        """`came_at` is the `time.monotonic()` of the call. Raises RefusedRequest."""
        person = request.user_id()
        given = request.parameters(*asked_start.PARAMETERS)
        require_digest(request, given.get("body_sha256", ""))
        request_id = given.get("request_id", "")
        if not asked_start.is_request_id(request_id):
            raise bad_request("BAD_REQUEST_ID", "request_id must be 22 characters of base64url")
        body = request.json("code", optional=("command",))
        code = read(text_of(body, "code"))
        if code is None:
            raise bad_request("BAD_CODE", "code must have the form of a recovery code")
        details = asked_start.details_of(given, body)
        gives_up_at = came_at + asked_start.seconds_of(given, _LONGEST_SECONDS)
        return cls(person, code, request_id, asked_start.machine_of(given), gives_up_at, details)


async def recover(gateway: Gateway, request: IncomingRequest) -> Reply:
    """Redeem a recovery code of a person. The answer is of the call that it names only."""
    came_at, host = time.monotonic(), None
    with suppress(DatabaseError):
        host = await signed_by_host(gateway, request)
    asked = AskedCode.of(request, came_at)
    found = Reason.DATABASE_AWAY if host is None else await redeem(gateway, host.id, asked)
    answer: dict[str, Any] = {"request_id": asked.request_id, "accepted": isinstance(found, int)}
    if isinstance(found, int):
        answer["left"] = found
    else:
        why, wait = (Reason.TOO_MANY_CODES, found.wait) if isinstance(found, Refusal) else (found, 0.0)
        message = "" if why is Reason.CODES_NOT_HERE else _NOT_REDEEMED
        answer.update(reason=why.name, **explanation_of(why.name, wait, message))
    return Reply.of({"recovery": answer})


async def redeem(gateway: Gateway, host_id: str, asked: AskedCode) -> int | Reason | Refusal:
    """Use up a code: how many are left, else why it was refused. When this returns a number, it is committed.

    Nothing is written once the login has given up, so that no code is used up that let nobody in, unless it is COMMIT
    that takes so long.
    """
    try:
        async with gateway.database.transaction() as connection:
            host = await hosts.find(gateway, connection, host_id)
            if host is None:
                return Reason.HOST_SUSPENDED  # removed since its signature was checked
            found = await _redeemed(gateway, connection, host, asked)
            if isinstance(found, int):
                await _record(connection, host, asked, Outcome.RECOVERED, f"{found} recovery codes are left")
                what = f"a recovery code of {asked.person} was redeemed: {found} are left"
                await records.write(
                    connection, Kind.ALERT, host=host.name, person=asked.person, reason=what, **asked.details
                )
            elif found is Reason.WRONG_CODE:
                await _record(connection, host, asked, Outcome.DENIED, "wrong recovery code", wrong_code="1")
            else:
                why = Reason.TOO_MANY_CODES if isinstance(found, Refusal) else found
                what = f"recovery codes of this host are not looked at: {why.name}"
                await records.alert(connection, host.name, what, person=clean(asked.person, 100))
            await connection.flush()
            if time.monotonic() >= asked.gives_up_at:
                raise TimeoutError
        if isinstance(found, int):
            # Otherwise a database that has lost this very redemption would not be found to be older.
            await restored.look(gateway)
        return Reason.RESTORED if gateway.restored else found
    except (UnknownOutcome, psycopg.Error, Tampered, ValueError, OSError):
        return Reason.TRY_AGAIN
    except DatabaseAway:
        return Reason.DATABASE_AWAY


async def _redeemed(
    gateway: Gateway, connection: Connection, host: Host, asked: AskedCode
) -> int | Reason | Refusal:
    person = await allowed.find_allowed_person(gateway, connection, host, asked.machine, asked.person)
    account = asked.details.get("session_user", "")
    row = await one(connection, agents.STATEMENT, account)
    within = await agents.verified(gateway, connection, row, account, host)
    if within is not None and within.person == asked.person:  # it has become its owner
        person = Reason.UNKNOWN_USER if isinstance(person, Person) else person
    # An unknown person is treated like one without codes: a host learns no names.
    nobody = person in (Reason.UNKNOWN_USER, Reason.NOT_ON_THIS_HOST)
    if isinstance(person, Reason) and not nobody:
        return person
    policy = gateway.settings.policy_of(host.group)
    if policy is None or not policy.codes:
        return Reason.CODES_NOT_HERE
    # Parallel guesses of a host are counted one after the other.
    connection.take(Lock.CODES, host.name)
    refusal = await _too_many(gateway, connection, host, asked)
    if refusal is not None:
        return refusal
    left = None if isinstance(person, Reason) else await _spent(gateway, connection, host, person, asked.code)
    return Reason.WRONG_CODE if left is None else left


async def _too_many(gateway: Gateway, connection: Connection, host: Host, asked: AskedCode) -> Refusal | None:
    """Why no further code of this person from this address, of this person, or of this host at all, is looked at."""
    moment = (await now(connection)).timestamp()
    wrong = await many(connection, f"{_WRONG} AND host = %s ORDER BY id", host.name)
    person, remote = clean(asked.person, 100), asked.details.get("remote", "")
    for own, most in (
        ({"person": person, "remote": remote}, gateway.settings.limits.wrong_codes_per_hour),
        ({"person": person}, _WRONG_OF_PERSON),
        ({}, _WRONG_OF_HOST),
    ):
        counted = [row for row in wrong if all((row[name] or "") == value for name, value in own.items())]
        attempts = tuple(Attempt("", row["at"].timestamp()) for row in counted)
        found = attempted(ThrottleState(attempts=attempts), "", most, moment)
        if isinstance(found, Refusal):
            return found
    return None


async def _spent(
    gateway: Gateway, connection: Connection, host: Host, person: Person, code: str
) -> int | None:
    """Use up a code; how many are left, None if it is wrong. Another host that has the same code waits, and finds it
    used."""
    row = await one(connection, f"{_ROW} FOR UPDATE", person.name)
    if row is None:
        return None
    try:
        values = gateway.keys.verified(TABLE, row, person=person.name)
    except Tampered as error:
        await records.alert(connection, host.name, str(error), person=person.name)
        return None
    if _are_over(gateway, values):
        return None
    digest, place = gateway.keys.code(person.token, code), None
    used: list[datetime | None] = list(values["used_at"])
    for number, each in enumerate(values["digests"]):
        if hmac.compare_digest(each, digest) and used[number] is None:
            place = number
    if place is None:
        return None
    used[place] = await now(connection)
    await replace(connection, TABLE, "person", gateway.keys.sealed(TABLE, {**values, "used_at": used}))
    return used.count(None)


async def _record(
    connection: Connection, host: Host, asked: AskedCode, outcome: Outcome, reason: str, **fields: str
) -> None:
    fields = {**asked.details, "outcome": outcome.value, "reason": reason, **fields}
    await records.write(connection, Kind.DECISION, host=host.name, person=clean(asked.person, 100), **fields)


ROUTES: tuple[Route[Gateway], ...] = (Route("POST", "/fleet/recover/*/*", recover),)
