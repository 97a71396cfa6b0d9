"""Links with which people register their first passkey, or a new one."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pam_iampass.fleet.names import label_error
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.reasons import RefusedStart
from pam_iampass.gateway.base.statements import insert, now, one, replace
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person
from pam_iampass.gateway.requests import own_requests
from pam_iampass.gateway.requests.own_requests import NotApproved
from pam_iampass.gateway.requests.sessions import HostSession
from pam_iampass.gateway.sign_in import passkeys, sign_ins, touches, webauthn
from pam_iampass.gateway.sign_in.actors import (
    ActRefused,
    BadParameter,
    ProofRefused,
)
from pam_iampass.gateway.sign_in.passkeys import (
    LONGEST_TEXT,
    Phone,
    digest_of,
    phone_of,
    portal_of,
    require_same_person,
    restores,
)
from pam_iampass.gateway.sign_in.webauthn import Credential, Refused
from pam_iampass.text import clean

TABLE = "link"

LINK_TIME = timedelta(minutes=15)

A_PASSKEY = "a passkey"
"""The subject that a person approves on the phone to register a passkey with a link."""

_LINK_SQL = """
SELECT NULL AS "time:", now() AS now, NULL AS "link:", link.*, NULL AS "person:", person.*
FROM link JOIN person ON person.name = link.person WHERE link.digest = %s
"""


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


async def make(
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
    await insert(connection, TABLE, gateway.keys.sealed(TABLE, values))
    return NewLink(f"{portal.origin}/link#{token}", values["expires_at"])


async def options(gateway: Gateway, token: str, binding: str) -> LinkOffer:
    """Describe a link to the browser that is to use it; it stays good. Raises ActRefused and DatabaseError."""
    portal = portal_of(gateway)
    try:
        link, phone = await _phone(gateway, token)
    except (Refused, Tampered) as error:
        raise ProofRefused(str(error)) from None
    async with gateway.database.statement() as connection:
        known, _ = await passkeys.listing(gateway, connection, link.person.name)
    name, owner = link.person.name, gateway.keys.owner(link.person.token)
    challenge = touches.challenge(gateway, TABLE, digest_of(binding).hex(), _what(token))
    ids = [passkey.credential.id for passkey in known]
    options = webauthn.creation_options(portal, challenge, name, link.person.display_name or name, owner, ids)
    return LinkOffer(name, options, phone is Phone.REGISTERED)


async def person_of(gateway: Gateway, token: str) -> Person:
    """The person whom a link is for. Raises ProofRefused, another ActRefused, and DatabaseError."""
    try:
        async with gateway.database.statement() as connection:
            return (await _find(gateway, connection, token)).person
    except (Refused, Tampered) as error:
        raise ProofRefused(str(error)) from None


async def ring(gateway: Gateway, token: str, remote: str) -> HostSession | RefusedStart:
    """Have the person whom a link is for asked on the phone, as `own_requests.ask`."""
    person = await person_of(gateway, token)
    return await own_requests.ask(gateway, person.name, A_PASSKEY, remote, made_for(token))


def made_for(token: str) -> str:
    """The mark of a request on the phone that is for this link."""
    return f"link {digest_of(token).hex()}"


async def use(
    gateway: Gateway,
    token: str,
    binding: str,
    answer: Mapping[str, Any],
    label: str,
    remote: str = "",
    phone: uuid.UUID | None = None,
) -> str:
    """Register a passkey with an answer to `options` for the same `binding`; whose it is. The link is used up, and
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
        link, has_phone = await _phone(gateway, token)
        name = link.person.name
        async with gateway.database.transaction() as connection:
            connection.later("SELECT 1 FROM person WHERE name = %s FOR NO KEY UPDATE", (name,))
            link = await _find(gateway, connection, token)
            binding_digest = digest_of(binding).hex()
            await touches.spend(gateway, connection, challenge, TABLE, binding_digest, _what(token))
            if has_phone is Phone.REGISTERED:
                await spend_approval(gateway, connection, phone, name, A_PASSKEY, made_for(token))
            await _register(gateway, connection, link, credential, label, remote)
    except (Refused, Tampered) as error:
        await sign_ins.record_refusal(gateway, "passkey_add", str(error), remote=remote, person=name)
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
    await require_free(gateway, connection, link.person, by_root=bool(link.roles), replaces=link.replaces)
    # An operator keeps no passkey that a help desk may have registered.
    removed = await connection.execute(
        "DELETE FROM passkey WHERE person = %s AND (%s OR (%s AND roles = '{}'))",
        (name, link.replaces, bool(link.roles)),
    )
    await passkeys.add(gateway, connection, link.person, credential, label, roles=link.roles)
    connection.later("DELETE FROM link WHERE person = %s", (name,))
    by = {"caller": name, "known_by": "link", "remote": clean(remote, LONGEST_TEXT)}
    reason = f"{label}; the link was made by {link.made_by}; passkeys replaced: {removed.rowcount}"
    await records.act(connection, "passkey_add", by=by, person=name, reason=reason)
    if removed.rowcount:
        await records.alert(connection, None, f"the passkeys of {name} were replaced", person=name)


async def require_free(
    gateway: Gateway, connection: Connection, person: Person, *, by_root: bool, replaces: bool
) -> None:
    """Raise ActRefused for a link that root has not made, unless the person has no role and no passkey, or it replaces
    them and none of them is from root's link."""
    if by_root:
        return
    has_role = bool(gateway.settings.operators.roles_of(person.groups))
    if has_role or await passkeys.is_by_root(connection, person.name):
        what = "this person has a role, or a passkey by a link of root's"
        raise ActRefused(what, "only root makes them another link")
    if not replaces and await one(connection, "SELECT 1 FROM passkey WHERE person = %s LIMIT 1", person.name):
        raise ActRefused("this person has a passkey already", "let the link replace it if it is lost")


async def _phone(gateway: Gateway, token: str) -> tuple[_Link, Phone]:
    """The link, and whether its person has a phone: IAMPASS is asked a bounded number of times for one link. Raises
    Refused, Tampered, another ActRefused, and DatabaseError."""
    digest = digest_of(token)
    lock = b"SELECT 1 FROM person WHERE name = (SELECT person FROM link WHERE digest = %s) FOR NO KEY UPDATE"
    async with gateway.database.transaction() as connection:
        connection.later(lock, (digest,))
        link = await _find(gateway, connection, token)
        if link.row["asked"] >= sign_ins.MOST_ASKED:
            raise Refused("the link was opened too often")
        values = {**link.row, "asked": link.row["asked"] + 1}
        await replace(connection, TABLE, "digest", gateway.keys.sealed(TABLE, values))
    return link, await phone_of(gateway, link.person)


async def _find(gateway: Gateway, connection: Connection, token: str) -> _Link:
    """The link with this token. Raises Refused, Tampered, and ActRefused for an old copy of the database."""
    restored = await restores(gateway, connection)
    row = await one(connection, _LINK_SQL, digest_of(token))
    if row is None:
        raise Refused("there is no such link any more")
    values = gateway.keys.verified(TABLE, row["link"], digest=digest_of(token))
    person = people.from_row(gateway, row["person"], name=values["person"])
    require_same_person(gateway, values, person)
    is_over = row["time"]["now"] >= values["expires_at"] or gateway.is_over(values["expires_at"])
    if is_over or values["restores"] != restored:
        raise Refused("the link is not good any more")
    return _Link(person, tuple(values["roles"]), values["replaces"], values["made_by"], values)


def _what(token: str) -> dict[str, str]:
    return {"link": digest_of(token).hex()}
