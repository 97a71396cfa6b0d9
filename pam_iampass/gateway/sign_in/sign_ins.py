"""The sign-ins of people at the portal."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pam_iampass.fleet.act import Role
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.records import REFUSALS_A_MINUTE, Kind
from pam_iampass.gateway.base.statements import each_one, insert, many, now, one, replace
from pam_iampass.gateway.people.people import Person
from pam_iampass.gateway.sign_in import passkeys, touches, webauthn
from pam_iampass.gateway.sign_in.actors import (
    Actor,
    NotSignedIn,
    ProofRefused,
    TooMany,
)
from pam_iampass.gateway.sign_in.passkeys import (
    LONGEST_TEXT,
    PASSKEY_SQL,
    Passkey,
    digest_of,
    portal_of,
    require_confirmed,
    restores,
)
from pam_iampass.gateway.sign_in.webauthn import Refused
from pam_iampass.text import clean

SIGN_IN = "sign_in"
VERIFIED = "verified"
VERIFIED_FOR = timedelta(minutes=10)
"""How long a caller stays marked who approved on the phone."""
LONGEST = timedelta(hours=8)
IDLE = timedelta(minutes=30)
"""A sign-in is over after LONGEST, and after this time without anything that the person has done."""
MOST_SIGN_INS = 5
"""Sign-ins of one person; the oldest one ends. What each of them may do at the same time, a person may do so often."""
SIGN_INS_A_MINUTE = 10
"""Sign-ins of one person that begin within a minute."""
RECORDS_A_MINUTE = 60
"""Records of what was done in one sign-in, and of what was refused there; then it has to wait, and no other one."""
MOST_ASKED = 20
"""How often IAMPASS is asked for one link whether there is a phone, and within a minute for one sign-in."""
OF_SIGN_IN = "fields->>'sign_in' = %s"
"""The condition of SQL for the records of a sign-in, by its id."""
_OF_NOBODY = "host IS NULL AND fields ? 'refused' AND NOT fields ? 'sign_in'"
LOCK = """
SELECT 1 FROM person WHERE name = ANY(ARRAY(SELECT person FROM sign_in WHERE digest = %s) || ARRAY[%s]::text[])
ORDER BY name FOR NO KEY UPDATE
"""
"""Locks the row of the person who has signed in, by the digest of the token, and that of another person."""
_SIGN_IN_SQL = """
SELECT NULL AS "time:", now() AS now, NULL AS "sign_in:", sign_in.*, NULL AS "passkey:", passkey.*,
    NULL AS "person:", person.*
FROM sign_in JOIN passkey ON passkey.id = sign_in.passkey JOIN person ON person.name = sign_in.person
WHERE sign_in.digest = %s
"""


@dataclass(frozen=True)
class SignedIn:
    """A claim to have signed in, with its proof, made to ask for an act. Nothing of it is known to be true."""

    token: str = field(repr=False)
    """The token of the sign-in."""
    remote: str
    """The address of the browser, as the portal says."""
    touch: Mapping[str, Any] | None = field(default=None, repr=False)
    """The assertion over the act."""
    phone: uuid.UUID | None = None
    """The id of a request that was approved on the phone."""
    once: str = ""
    """The id of the act: 16 hexadecimal digits, made with the page."""


@dataclass(frozen=True)
class SignIn:
    """A sign-in that is not over."""

    id: uuid.UUID
    person: Person
    passkey: Passkey
    row: Mapping[str, Any] = field(repr=False)

    def actor(self, gateway: Gateway, remote: str) -> Actor:
        """The person as an actor, with the roles of the passkey that the groups of the person still have."""
        operators, roles = gateway.settings.operators, {Role.SELF}
        roles.update(map(Role, self.passkey.roles & operators.roles_of(self.person.groups)))
        helps = operators.helps if Role.HELPDESK in roles else frozenset[str]()
        details = {"remote": clean(remote, LONGEST_TEXT), "sign_in": str(self.id)}
        return Actor(self.person.name, frozenset(roles), "sign-in", details, helps)


@dataclass(frozen=True)
class NewSignIn:
    """A sign-in that has begun."""

    token: str = field(repr=False)
    person: str
    roles: frozenset[Role]
    ends_at: datetime
    is_confirmed: bool
    """False: the passkey is to be approved on the phone first (`passkey_confirm`), since the database was restored."""


# Sign-ins


def sign_in_options(gateway: Gateway, binding: str) -> dict[str, Any]:
    """Options for the browser to sign in by any passkey; `binding` is a secret of this browser's. Raises ActRefused."""
    challenge = touches.challenge(gateway, SIGN_IN, digest_of(binding).hex(), {})
    return webauthn.request_options(portal_of(gateway), challenge)


async def sign_in(
    gateway: Gateway, binding: str, answer: Mapping[str, Any], remote: str, agent: str
) -> NewSignIn:
    """Begin a sign-in with an answer to `sign_in_options` for the same `binding`.

    :param agent: the browser, as it says.

    Raises ProofRefused, another ActRefused, and DatabaseError.
    """
    portal, token = portal_of(gateway), secrets.token_urlsafe(32)
    try:
        challenge, credential = webauthn.challenge_of(answer), webauthn.credential_of(answer)
        # Strangers send what they like: nothing is looked for in the database before.
        touches.require(gateway, challenge, SIGN_IN, digest_of(binding).hex(), {})
        async with gateway.database.transaction() as connection:
            restored = await restores(gateway, connection)
            lock = "SELECT 1 FROM person WHERE name = (SELECT person FROM passkey WHERE id = %s)"
            _, row = await each_one(
                connection, (f"{lock} FOR NO KEY UPDATE", credential), (PASSKEY_SQL, credential)
            )
            if row is None:
                raise Refused("this passkey is not known")
            passkey, person = passkeys.from_row(gateway, row, restored, id=credential)
            webauthn.asserted(portal, answer, challenge, passkey.credential, passkey.owner, named=False)
            await touches.spend(gateway, connection, challenge, SIGN_IN, digest_of(binding).hex(), {})
            of_person = "person = %s AND fields->>'what' = 'sign_in'"
            if await _recent_records(connection, of_person, person.name) >= SIGN_INS_A_MINUTE:
                raise TooMany
            began_at = await now(connection)
            values: dict[str, Any] = {
                "digest": digest_of(token),
                "id": uuid.uuid4(),
                "person": person.name,
                "passkey": credential,
                "began_at": began_at,
                "active_at": began_at,
                "expires_at": began_at + LONGEST,
                "remote": clean(remote, LONGEST_TEXT),
                "agent": clean(agent, LONGEST_TEXT),
            }
            kept = "SELECT digest FROM sign_in WHERE person = %s ORDER BY began_at DESC LIMIT %s"
            connection.later(
                f"DELETE FROM sign_in WHERE person = %s AND digest NOT IN ({kept})".encode(),  # noqa: S608
                (person.name, person.name, MOST_SIGN_INS - 1),
            )
            await insert(connection, SIGN_IN, gateway.keys.sealed(SIGN_IN, values))
            begun = SignIn(values["id"], person, passkey, values)
            actor = begun.actor(gateway, remote)
            by = {**actor.fields, "known_by": "passkey"}
            await records.act(connection, "sign_in", by=by, person=person.name, reason=passkey.label)
    except (Refused, Tampered) as error:
        await record_refusal(gateway, "sign_in", str(error), remote=remote)
        raise ProofRefused(str(error)) from None
    return NewSignIn(token, person.name, actor.roles, began_at + LONGEST, passkey.is_confirmed)


async def find(gateway: Gateway, connection: Connection, token: str) -> SignIn:
    """The sign-in with this token. Raises NotSignedIn, and ActRefused for an old copy of the database."""
    restored = await restores(gateway, connection)
    digest = digest_of(token)
    row = await one(connection, _SIGN_IN_SQL, digest)
    if row is None:
        raise NotSignedIn("no sign-in has this token")
    try:
        values = gateway.keys.verified(SIGN_IN, row["sign_in"], digest=digest)
        passkey, person = passkeys.from_row(
            gateway, row, restored, id=values["passkey"], person=values["person"]
        )
    except (Refused, Tampered) as error:
        raise NotSignedIn(str(error)) from None
    ends_at = min(values["expires_at"], values["active_at"] + IDLE)
    if row["time"]["now"] >= ends_at or gateway.is_over(ends_at):
        raise NotSignedIn("the sign-in is over")
    return SignIn(values["id"], person, passkey, values)


async def require(gateway: Gateway, token: str) -> None:
    """Raise NotSignedIn unless there is a sign-in with this token, and another ActRefused as `find`."""
    async with gateway.database.statement() as connection:
        await find(gateway, connection, token)


async def require_few_records(connection: Connection, found: SignIn) -> None:
    """Raise TooMany if there are RECORDS_A_MINUTE of this sign-in: many acts need no touch. Somebody who has stolen the
    token keeps the owner from nothing in another sign-in."""
    if await _recent_records(connection, OF_SIGN_IN, str(found.id)) >= RECORDS_A_MINUTE:
        raise TooMany


async def _recent_records(connection: Connection, condition: str, *values: object) -> int:
    """How many records of a minute meet a condition of SQL."""
    recent = f"SELECT count(*) AS number FROM record WHERE at > now() - interval '1 minute' AND {condition}"  # noqa: S608
    return int((await one(connection, recent, *values) or {})["number"])


async def note_activity(gateway: Gateway, connection: Connection, found: SignIn) -> None:
    """The person has done something just now."""
    values = {**found.row, "active_at": await now(connection)}
    await replace(connection, SIGN_IN, "digest", gateway.keys.sealed(SIGN_IN, values))


async def actor(
    gateway: Gateway, connection: Connection, token: str, remote: str, *, by_itself: bool = False
) -> Actor:
    """The actor who looks at something.

    :param by_itself: whether the page has asked by itself, which keeps no sign-in from ending.

    Raises NotSignedIn, and another ActRefused if nothing is to be seen.
    """
    found = await find(gateway, connection, token)
    require_confirmed(found.passkey)
    if not by_itself:
        await note_activity(gateway, connection, found)
    return found.actor(gateway, remote)


async def end(
    connection: Connection,
    person: str,
    *,
    id: uuid.UUID | None = None,
    but: uuid.UUID | None = None,
    by: SignIn | None = None,
) -> int:
    """End the sign-ins of a person, whose row is locked: all, or the one with this id, or all `but` one; how many there
    were. Also of rows that no gateway has written.

    :param by: the sign-in of that person by which they end, without a touch: it ends none that began later, since its
        token may have been stolen, and its owner signs in again.
    """
    cursor = await connection.execute(
        "DELETE FROM sign_in WHERE person = %(person)s AND coalesce(id = %(id)s, true)"
        " AND id IS DISTINCT FROM %(but)s AND coalesce(began_at <= %(latest)s, true)",
        {"person": person, "id": id, "but": but, "latest": None if by is None else by.row["began_at"]},
    )
    return cursor.rowcount


async def open_ones(
    gateway: Gateway, connection: Connection, person: str | None = None
) -> list[Mapping[str, Any]]:
    """The rows of the sign-ins of a person, or of all, that are not over, the oldest first."""
    found: list[Mapping[str, Any]] = []
    which, values = ("true", ()) if person is None else ("person = %s", (person,))
    statement = f"SELECT * FROM sign_in WHERE {which} AND expires_at > now() AND active_at > now() - %s"  # noqa: S608
    for row in await many(connection, f"{statement} ORDER BY began_at", *values, IDLE):
        with suppress(Tampered):
            found.append(gateway.keys.verified(SIGN_IN, row))
    return found


async def forget(connection: Connection) -> None:
    """Delete what is over."""
    connection.later("DELETE FROM link WHERE expires_at <= now()")
    connection.later("DELETE FROM sign_in WHERE expires_at <= now() OR active_at <= now() - %s", (IDLE,))


# Callers who approved on the phone


async def mark_verified(
    gateway: Gateway, connection: Connection, by: uuid.UUID, person: str, at: datetime
) -> None:
    """Mark a person as a caller who approved on the phone at this time, for the sign-in with this id, which may have
    ended. The rows of both people are locked. The mark permits nothing."""
    if await one(connection, "SELECT 1 FROM sign_in WHERE id = %s", by) is not None:
        row = {"sign_in": by, "person": person, "at": at}
        await insert(connection, VERIFIED, gateway.keys.sealed(VERIFIED, row))


async def unmark_verified(connection: Connection, person: str, by: uuid.UUID | None = None) -> None:
    """End the mark of a person for the sign-in with this id, or for all."""
    connection.later(
        "DELETE FROM verified WHERE person = %(person)s AND sign_in = coalesce(%(by)s, sign_in)",
        {"person": person, "by": by},
    )


async def verified(gateway: Gateway, connection: Connection, by: str) -> Mapping[str, datetime]:
    """The callers who are marked for the sign-in with this id, and when they approved on the phone."""
    statement = "SELECT * FROM verified WHERE sign_in = %s AND at > now() - %s"
    found = {}
    for row in await many(connection, statement, uuid.UUID(by), VERIFIED_FOR):
        with suppress(Tampered):
            gateway.keys.verified(VERIFIED, row, sign_in=uuid.UUID(by))
            found[row["person"]] = row["at"]
    return found


# Refusals


async def record_refusal(
    gateway: Gateway,
    what: str,
    why: str,
    *,
    remote: str = "",
    by: SignIn | None = None,
    person: str | None = None,
) -> None:
    """Write a record of what was refused. Without a sign-in, all together have a number of them a minute, and the last
    one says so; `require_few_records` bounds those of each sign-in."""
    fields = {"remote": clean(remote, LONGEST_TEXT)} if by is None else by.actor(gateway, remote).fields
    async with gateway.database.transaction() as connection:
        if by is None:
            left = REFUSALS_A_MINUTE - await _recent_records(connection, _OF_NOBODY)
            if left <= 0:
                return
            if left == 1:
                why += "; what else is refused within this minute leaves no record"
        # Records of acts that were done have the act's name as `what`, and are counted by it.
        fields |= {"refused": what, "reason": clean(why)}
        await records.write(connection, Kind.ACT, person=person, what="refused", **fields)
