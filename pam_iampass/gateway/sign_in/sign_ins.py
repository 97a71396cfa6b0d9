"""Passkeys, the links that register them, and the sign-ins of people at the portal.

A row counts only with its MAC, and only for the very person for whom it was made. Code that changes rows of a person
has locked that person's row first, so that removing a person and ending sign-ins waits for nobody who waits for it.
Until a database that was restored is confirmed, no row counts.
"""

from __future__ import annotations

import enum
import hashlib
import secrets
import uuid
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg

from pam_iampass.client import IampassError
from pam_iampass.client.procedures import has_phone
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.database import Connection, each_one, insert, many, now, one, replace
from pam_iampass.gateway.base.gateway import Gateway, carry_out
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.reasons import RefusedStart
from pam_iampass.gateway.base.records import REFUSALS_A_MINUTE, Kind
from pam_iampass.gateway.base.settings import PortalSettings
from pam_iampass.gateway.base.upstream import Lane
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person
from pam_iampass.gateway.requests import own_requests
from pam_iampass.gateway.requests.own_requests import NotApproved
from pam_iampass.gateway.requests.sessions import HostSession
from pam_iampass.gateway.sign_in import touches, webauthn
from pam_iampass.gateway.sign_in.actors import (
    Actor,
    ActRefused,
    BadParameter,
    NotPermitted,
    NotSignedIn,
    ProofRefused,
    Role,
    TooMany,
)
from pam_iampass.gateway.sign_in.webauthn import Credential, Refused
from pam_iampass.text import clean

LINK, PASSKEY, SIGN_IN = "link", "passkey", "sign_in"
"""The tables."""
LONGEST = timedelta(hours=8)
IDLE = timedelta(minutes=30)
"""A sign-in is over after LONGEST, and after this time without anything that the person has done."""
LINK_TIME = timedelta(minutes=15)
MOST_SIGN_INS = 5
"""Sign-ins of one person; the oldest one ends. What each of them may do at the same time, a person may do so often."""
SIGN_INS_A_MINUTE = 10
"""Sign-ins of one person that begin within a minute."""
RECORDS_A_MINUTE = 60
"""Records of what was done in one sign-in, and of what was refused there; then it has to wait, and no other one."""
MOST_ASKED = 20
"""How often IAMPASS is asked for one link whether there is a phone, and within a minute for one sign-in."""
MOST_PASSKEYS = 10
"""Passkeys of one person."""
A_PASSKEY = "a passkey"
"""The subject that a person approves on the phone to register a passkey with a link."""
_ASK_SECONDS = 10.0
_LONGEST_LABEL = 60
_LONGEST_TEXT = 200
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
_PASSKEY_SQL = """
SELECT NULL AS "passkey:", passkey.*, NULL AS "person:", person.*
FROM passkey JOIN person ON person.name = passkey.person WHERE passkey.id = %s
"""
_LINK_SQL = """
SELECT NULL AS "time:", now() AS now, NULL AS "link:", link.*, NULL AS "person:", person.*
FROM link JOIN person ON person.name = link.person WHERE link.digest = %s
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


@dataclass(frozen=True)
class Passkey:
    """A passkey that counts."""

    credential: Credential
    person: str
    owner: str
    label: str
    roles: frozenset[str]
    """The names of the roles that count with it: the person had them when root made the link; none with other links."""
    made_at: datetime
    is_confirmed: bool
    """Whether the database was not restored since the passkey was made or approved on the phone."""


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
        details = {"remote": clean(remote, _LONGEST_TEXT), "sign_in": str(self.id)}
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


class Phone(enum.Enum):
    """Whether a person has a phone."""

    REGISTERED = "registered"
    NONE = "none"
    LOST = "lost"
    """It was reported lost, or is gone at IAMPASS, and there is no other one yet."""


def digest_of(token: str) -> bytes:
    """The digest of a token, by which its row is found."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def portal_of(gateway: Gateway) -> PortalSettings:
    """Where people sign in. Raises ActRefused if that is nowhere."""
    if gateway.settings.portal is None:
        raise ActRefused("nobody can sign in here", "write `portal: {origin: https://…}` into gateway.yaml")
    return gateway.settings.portal


async def restores(gateway: Gateway, connection: Connection) -> int:
    """How often a restored database was confirmed. Raises ActRefused while one waits for that, and Tampered."""
    row = await one(
        connection,
        f'SELECT NULL AS "seen:", {hosts.IS_OLDER} AS older, NULL AS "fleet:", fleet.* FROM fleet',  # noqa: S608
        *hosts.how_far(gateway),
    )
    if row is None or row["seen"]["older"]:
        gateway.restored = True
    if row is None or gateway.restored:
        raise ActRefused("the database is an old copy", "see: pam-iampass-gateway restored")
    return int(gateway.keys.verified("fleet", row["fleet"])["restores"])


async def phone_of(gateway: Gateway, person: Person) -> Phone:
    """Whether this person has a phone. Raises ActRefused if IAMPASS does not say, and DatabaseError."""
    if person.phone_to_disable:
        return Phone.LOST
    procedure = has_phone(gateway.iampass.application, person.token)
    try:
        is_there = await carry_out(gateway.iampass, procedure, _ASK_SECONDS, Lane.decisions)
    except IampassError:
        raise ActRefused("IAMPASS does not say whether there is a phone", "try again in a minute") from None
    if is_there and not person.had_phone:
        async with gateway.database.transaction() as connection:
            await people.note_phone(gateway, connection, person)
    if is_there:
        return Phone.REGISTERED
    return Phone.LOST if person.had_phone or person.phone_lost_at is not None else Phone.NONE


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
                connection, (f"{lock} FOR NO KEY UPDATE", credential), (_PASSKEY_SQL, credential)
            )
            if row is None:
                raise Refused("this passkey is not known")
            passkey, person = _passkey_of(gateway, row, restored, id=credential)
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
                "remote": clean(remote, _LONGEST_TEXT),
                "agent": clean(agent, _LONGEST_TEXT),
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
        passkey, person = _passkey_of(gateway, row, restored, id=values["passkey"], person=values["person"])
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


def require_confirmed(passkey: Passkey) -> None:
    """Raise NotPermitted for a passkey that is to be approved on the phone first."""
    if not passkey.is_confirmed:
        raise NotPermitted("the database was restored: approve this passkey on the phone first")


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
        "DELETE FROM sign_in WHERE person = %s AND coalesce(id = %s, true) AND id IS DISTINCT FROM %s"
        " AND coalesce(began_at <= %s, true)",
        (person, id, but, None if by is None else by.row["began_at"]),
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


# Passkeys


def label_error(label: str) -> str | None:
    """Why a passkey cannot have this label, as the end of a sentence."""
    if not label.strip() or len(label) > _LONGEST_LABEL:
        return f"must have 1 to {_LONGEST_LABEL} characters"
    return None if label.isprintable() else "has a character that cannot be shown"


async def passkeys(
    gateway: Gateway, connection: Connection, name: str | None = None
) -> tuple[list[Passkey], int]:
    """The passkeys of a person, or of all, the oldest first, and the number of rows that do not count."""
    restored = await restores(gateway, connection)
    found, tampered = [], 0
    which, values = ("true", ()) if name is None else ("passkey.person = %s", (name,))
    statement = _PASSKEY_SQL.replace("passkey.id = %s", which)
    for row in await many(connection, f"{statement} ORDER BY passkey.made_at", *values):
        try:
            found.append(_passkey_of(gateway, row, restored)[0])
        except (Refused, Tampered):
            tampered += 1
    return found, tampered


async def add_passkey(
    gateway: Gateway,
    connection: Connection,
    person: Person,
    credential: Credential,
    label: str,
    *,
    roles: Collection[str] = (),
) -> None:
    """Add a passkey of a person, whose row is locked. Raises ActRefused, and Refused if somebody has it."""
    restored = await restores(gateway, connection)
    had = await one(connection, "SELECT count(*) AS number FROM passkey WHERE person = %s", person.name)
    if had is not None and had["number"] >= MOST_PASSKEYS:
        raise ActRefused(f"there are {MOST_PASSKEYS} passkeys already", "remove one first")
    values = {
        "id": credential.id,
        "person": person.name,
        "owner": gateway.keys.owner(person.token),
        "public_key": credential.public_key,
        "label": label,
        "roles": sorted(roles),
        "made_at": await now(connection),
        "restores": restored,
    }
    await insert(connection, PASSKEY, gateway.keys.sealed(PASSKEY, values))
    try:
        await connection.flush()
    except psycopg.errors.UniqueViolation:
        raise Refused("the id of the passkey is that of another one") from None


async def confirm_passkey(gateway: Gateway, connection: Connection, passkey: Passkey) -> None:
    """The person has approved this passkey on the phone since the database was restored."""
    restored = await restores(gateway, connection)
    row = await one(connection, "SELECT * FROM passkey WHERE id = %s", passkey.credential.id)
    values = gateway.keys.verified(PASSKEY, row or {}, id=passkey.credential.id)
    await replace(connection, PASSKEY, "id", gateway.keys.sealed(PASSKEY, {**values, "restores": restored}))


def _passkey_of(
    gateway: Gateway, row: Mapping[str, Any], restored: int, **asked: object
) -> tuple[Passkey, Person]:
    """The passkey in a row of `passkey` and `person`, and whose it is. Raises Refused and Tampered."""
    values = gateway.keys.verified(PASSKEY, row["passkey"], **asked)
    person = people.from_row(gateway, row["person"], name=values["person"])
    is_confirmed = values["restores"] == restored
    _require_same_person(gateway, values, person)
    if values["roles"] and not is_confirmed:
        raise Refused("the passkey of an operator is from before the database was restored")
    credential = Credential(values["id"], values["public_key"])
    kept = {name: values[name] for name in ("person", "owner", "label", "made_at")}
    roles = frozenset(values["roles"])
    return Passkey(credential, roles=roles, is_confirmed=is_confirmed, **kept), person


def _require_same_person(gateway: Gateway, values: Mapping[str, Any], person: Person) -> None:
    """Raise Refused unless a row is of this very person, who can log in."""
    if values["owner"] != gateway.keys.owner(person.token):
        raise Refused("it is of an earlier person of this name")
    if not person.active:
        raise Refused(f"{person.name} cannot log in")


# Links


@dataclass(frozen=True)
class NewLink:
    """A link that registers a passkey."""

    url: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True)
class LinkOffer:
    """Describes a link before it is used."""

    person: str
    options: Mapping[str, Any]
    """Options for the browser to make the passkey."""
    needs_phone: bool
    """Whether the person must approve on the phone as well."""


@dataclass(frozen=True)
class _Link:
    person: Person
    roles: tuple[str, ...]
    replaces: bool
    made_by: str
    row: Mapping[str, Any] = field(repr=False)


async def make_link(
    gateway: Gateway,
    connection: Connection,
    person: Person,
    *,
    roles: Collection[str],
    replaces: bool,
    made_by: str,
) -> NewLink:
    """A link for a person, whose row is locked; an earlier one is void. Raises ActRefused.

    :param roles: which count with its passkey; none unless root makes the link.
    """
    portal, token, moment = portal_of(gateway), secrets.token_urlsafe(32), await now(connection)
    values: dict[str, Any] = {
        "person": person.name,
        "digest": digest_of(token),
        "owner": gateway.keys.owner(person.token),
        "roles": sorted(roles),
        "replaces": replaces,
        "made_by": made_by,
        "made_at": moment,
        "expires_at": moment + LINK_TIME,
        "restores": await restores(gateway, connection),
        "asked": 0,
    }
    connection.later("DELETE FROM link WHERE person = %s", (person.name,))
    await insert(connection, LINK, gateway.keys.sealed(LINK, values))
    return NewLink(f"{portal.origin}/link#{token}", values["expires_at"])


async def link_options(gateway: Gateway, token: str, binding: str) -> LinkOffer:
    """Describe a link to the browser that is to use it; it stays good. Raises ActRefused and DatabaseError."""
    portal = portal_of(gateway)
    try:
        link, phone = await _phone_of_link(gateway, token)
    except (Refused, Tampered) as error:
        raise ProofRefused(str(error)) from None
    async with gateway.database.statement() as connection:
        known, _ = await passkeys(gateway, connection, link.person.name)
    name, owner = link.person.name, gateway.keys.owner(link.person.token)
    challenge = touches.challenge(gateway, LINK, digest_of(binding).hex(), _what_of_link(token))
    ids = [passkey.credential.id for passkey in known]
    options = webauthn.creation_options(portal, challenge, name, link.person.display_name or name, owner, ids)
    return LinkOffer(name, options, phone is Phone.REGISTERED)


async def person_of_link(gateway: Gateway, token: str) -> Person:
    """The person whom a link is for. Raises ProofRefused, another ActRefused, and DatabaseError."""
    try:
        async with gateway.database.statement() as connection:
            return (await _find_link(gateway, connection, token)).person
    except (Refused, Tampered) as error:
        raise ProofRefused(str(error)) from None


async def ring_for_link(gateway: Gateway, token: str, remote: str) -> HostSession | RefusedStart:
    """Have the person whom a link is for asked on the phone, as `own_requests.ask`."""
    person = await person_of_link(gateway, token)
    return await own_requests.ask(gateway, person.name, A_PASSKEY, remote, made_for_link(token))


def made_for_link(token: str) -> str:
    """The mark of a request on the phone that is for this link."""
    return f"link {digest_of(token).hex()}"


async def use_link(
    gateway: Gateway,
    token: str,
    binding: str,
    answer: Mapping[str, Any],
    label: str,
    remote: str = "",
    phone: uuid.UUID | None = None,
) -> str:
    """Register a passkey with an answer to `link_options` for the same `binding`; whose it is. The link is used up, and
    nobody is signed in.

    :param phone: the id of a request that the person has approved, if they have a phone.

    Raises ProofRefused, another ActRefused, and DatabaseError.
    """
    portal, problem = portal_of(gateway), label_error(label)
    if problem:
        raise BadParameter("label", problem)
    name = None
    try:
        challenge = webauthn.challenge_of(answer)
        credential = webauthn.registered(portal, answer, challenge)
        link, has_phone = await _phone_of_link(gateway, token)
        name = link.person.name
        async with gateway.database.transaction() as connection:
            connection.later("SELECT 1 FROM person WHERE name = %s FOR NO KEY UPDATE", (name,))
            link = await _find_link(gateway, connection, token)
            binding_digest = digest_of(binding).hex()
            await touches.spend(gateway, connection, challenge, LINK, binding_digest, _what_of_link(token))
            if has_phone is Phone.REGISTERED:
                await spend_approval(gateway, connection, phone, name, A_PASSKEY, made_for_link(token))
            await _register(gateway, connection, link, credential, label, remote)
    except (Refused, Tampered) as error:
        await record_refusal(gateway, "passkey_add", str(error), remote=remote, person=name)
        raise ProofRefused(str(error)) from None
    return name


async def spend_approval(
    gateway: Gateway, connection: Connection, phone: uuid.UUID | None, person: str, what: str, made_for: str
) -> None:
    """Spend the approval of a person on the phone. Raises Refused."""
    if phone is None:
        raise Refused("it was not approved on the phone")
    try:
        await own_requests.spend(gateway, connection, phone, person, what, made_for)
    except NotApproved as error:
        raise Refused(str(error)) from None


async def _register(
    gateway: Gateway, connection: Connection, link: _Link, credential: Credential, label: str, remote: str
) -> None:
    name = link.person.name
    await require_free_for_link(
        gateway, connection, link.person, by_root=bool(link.roles), replaces=link.replaces
    )
    # An operator keeps no passkey that a help desk may have registered.
    removed = await connection.execute(
        "DELETE FROM passkey WHERE person = %s AND (%s OR (%s AND roles = '{}'))",
        (name, link.replaces, bool(link.roles)),
    )
    await add_passkey(gateway, connection, link.person, credential, label, roles=link.roles)
    connection.later("DELETE FROM link WHERE person = %s", (name,))
    by = {"caller": name, "known_by": "link", "remote": clean(remote, _LONGEST_TEXT)}
    reason = f"{label}; the link was made by {link.made_by}; passkeys replaced: {removed.rowcount}"
    await records.act(connection, "passkey_add", by=by, person=name, reason=reason)
    if removed.rowcount:
        await records.alert(connection, None, f"the passkeys of {name} were replaced", person=name)


async def require_free_for_link(
    gateway: Gateway, connection: Connection, person: Person, *, by_root: bool, replaces: bool
) -> None:
    """Raise ActRefused for a link that root has not made, unless the person has no role and no passkey, or it replaces
    them and none of them is from root's link."""
    if by_root:
        return
    has_role = bool(gateway.settings.operators.roles_of(person.groups))
    if has_role or await has_passkey_by_root(connection, person.name):
        what = "this person has a role, or a passkey by a link of root's"
        raise ActRefused(what, "only root makes them another link")
    if not replaces and await one(connection, "SELECT 1 FROM passkey WHERE person = %s LIMIT 1", person.name):
        raise ActRefused("this person has a passkey already", "let the link replace it if it is lost")


async def has_passkey_by_root(connection: Connection, person: str) -> bool:
    """Whether a person has a passkey by a link of root's. Rows are not verified: a wrong one gives nobody anything."""
    statement = "SELECT 1 FROM passkey WHERE person = %s AND roles <> '{}' LIMIT 1"
    return await one(connection, statement, person) is not None


async def people_with_passkeys_by_root(connection: Connection) -> frozenset[str]:
    """Everybody of whom `has_passkey_by_root` is true."""
    rows = await many(connection, "SELECT DISTINCT person FROM passkey WHERE roles <> '{}'")
    return frozenset(row["person"] for row in rows)


async def _phone_of_link(gateway: Gateway, token: str) -> tuple[_Link, Phone]:
    """The link, and whether its person has a phone: IAMPASS is asked a bounded number of times for one link. Raises
    Refused, Tampered, another ActRefused, and DatabaseError."""
    digest = digest_of(token)
    lock = b"SELECT 1 FROM person WHERE name = (SELECT person FROM link WHERE digest = %s) FOR NO KEY UPDATE"
    async with gateway.database.transaction() as connection:
        connection.later(lock, (digest,))
        link = await _find_link(gateway, connection, token)
        if link.row["asked"] >= MOST_ASKED:
            raise Refused("the link was opened too often")
        values = {**link.row, "asked": link.row["asked"] + 1}
        await replace(connection, LINK, "digest", gateway.keys.sealed(LINK, values))
    return link, await phone_of(gateway, link.person)


async def _find_link(gateway: Gateway, connection: Connection, token: str) -> _Link:
    """The link with this token. Raises Refused, Tampered, and ActRefused for an old copy of the database."""
    restored = await restores(gateway, connection)
    row = await one(connection, _LINK_SQL, digest_of(token))
    if row is None:
        raise Refused("there is no such link any more")
    values = gateway.keys.verified(LINK, row["link"], digest=digest_of(token))
    person = people.from_row(gateway, row["person"], name=values["person"])
    _require_same_person(gateway, values, person)
    is_over = row["time"]["now"] >= values["expires_at"] or gateway.is_over(values["expires_at"])
    if is_over or values["restores"] != restored:
        raise Refused("the link is not good any more")
    return _Link(person, tuple(values["roles"]), values["replaces"], values["made_by"], values)


def _what_of_link(token: str) -> dict[str, str]:
    return {"link": digest_of(token).hex()}


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
    fields = {"remote": clean(remote, _LONGEST_TEXT)} if by is None else by.actor(gateway, remote).fields
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
