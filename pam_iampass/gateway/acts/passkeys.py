"""Acts for people who sign in: passkeys, the links that register them, sign-ins, and the code for a lost phone."""

from __future__ import annotations

import json
import uuid
from typing import Any

from pam_iampass.errors import shown
from pam_iampass.fleet import passkeys as declared
from pam_iampass.fleet.results import Codes, Link, Number
from pam_iampass.gateway.acts.act import Act, Work
from pam_iampass.gateway.acts.names import known, require_row
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.statements import one
from pam_iampass.gateway.calls import codes
from pam_iampass.gateway.sign_in import links, passkeys, sign_ins, touches, webauthn
from pam_iampass.gateway.sign_in.actors import ActRefused, ProofRefused
from pam_iampass.gateway.sign_in.links import NewLink
from pam_iampass.gateway.sign_in.passkeys import Phone
from pam_iampass.gateway.sign_in.sign_ins import SignIn
from pam_iampass.gateway.sign_in.webauthn import Refused

_CODE_HOURS = 12
_PURPOSE = "passkey"
"""The purpose of challenges for the registration of a further passkey."""


# Links


class OfLink(declared.OfLink, Act[NewLink]):
    async def make(self, work: Work, *, by_root: bool) -> NewLink:
        """The link; by root, with the roles that the person has now. Raises ActRefused."""
        gateway, connection = work.gateway, work.connection
        person = await known(gateway, connection, self.person)
        if not person.active:
            raise ActRefused(f"{shown(self.person)} cannot log in", "see: pam-iampass-gateway user show")
        roles = gateway.settings.operators.roles_of(person.groups) if by_root else frozenset[str]()
        if by_root and not roles:
            what = f"{shown(self.person)} has no group that gives a role"
            raise ActRefused(
                what, "see `operators` in gateway.yaml, and: pam-iampass-gateway user add --group"
            )
        await links.require_free(gateway, connection, person, by_root=by_root, replaces=self.replaces)
        work.reason = "replaces passkeys" if self.replaces else "adds a passkey"
        return await links.make(
            gateway, connection, person, roles=roles, replaces=self.replaces, made_by=work.actor.name
        )

    def told(self, done: NewLink) -> Link:
        return Link(done.url, done.expires_at)


class LinkOperator(declared.LinkOperator, OfLink):
    async def change(self, work: Work) -> NewLink:
        return await self.make(work, by_root=True)


class LinkPerson(declared.LinkPerson, OfLink):
    async def change(self, work: Work) -> NewLink:
        pending = "SELECT 1 FROM link WHERE person = %s AND roles <> '{}' AND expires_at > now()"
        if await one(work.connection, pending, self.person):
            raise ActRefused("root has made this person a link", "let it be used, or wait until it is void")
        return await self.make(work, by_root=False)


class EndOperator(declared.EndOperator, Act[int]):
    async def change(self, work: Work) -> int:
        connection = work.connection
        await require_row(connection, self.person)
        ended = await sign_ins.end(connection, self.person)
        connection.later("DELETE FROM link WHERE person = %s", (self.person,))
        removed = await connection.execute("DELETE FROM passkey WHERE person = %s", (self.person,))
        work.reason = f"passkeys: {removed.rowcount}; sign-ins: {ended}"
        return removed.rowcount


# One's own passkeys and sign-ins


async def passkey_options(gateway: Gateway, token: str) -> dict[str, Any]:
    """Options for the browser to make a further passkey of the person who has signed in. Raises ActRefused and
    DatabaseError."""
    portal = passkeys.portal_of(gateway)
    async with gateway.database.statement() as connection:
        found = await sign_ins.find(gateway, connection, token)
        passkeys.require_confirmed(found.passkey)
        had, _ = await passkeys.listing(gateway, connection, found.person.name)
    name, owner = found.person.name, found.passkey.owner
    challenge = touches.challenge(gateway, _PURPOSE, str(found.id), {})
    ids = [passkey.credential.id for passkey in had]
    return webauthn.creation_options(portal, challenge, name, found.person.display_name or name, owner, ids)


class AddPasskey(declared.AddPasskey, Act[None]):
    async def change(self, work: Work) -> None:
        gateway, connection, sign_in = work.gateway, work.connection, _sign_in_of(work)
        answer = json.loads(self.answer)
        try:
            challenge = webauthn.challenge_of(answer)
            credential = webauthn.registered(passkeys.portal_of(gateway), answer, challenge)
            await touches.spend(gateway, connection, challenge, _PURPOSE, str(sign_in.id), {})
            await passkeys.add(gateway, connection, sign_in.person, credential, self.label)
        except Refused as error:
            raise ProofRefused(str(error)) from None
        work.reason = self.label


class RemovePasskey(declared.RemovePasskey, Act[None]):
    async def change(self, work: Work) -> None:
        removed = await one(
            work.connection,
            "DELETE FROM passkey WHERE person = %s AND id = %s RETURNING label, roles",
            *(self.person, self.passkey),
        )
        if removed is None:
            raise ActRefused("there is no such passkey")
        if removed["roles"] and work.sign_in is not None and not work.sign_in.passkey.roles:
            raise ActRefused("roles count with that passkey, and not with this one", "sign in with that one")
        work.reason = str(removed["label"])


class ConfirmPasskey(declared.ConfirmPasskey, Act[None]):
    confirms_passkey = True

    async def change(self, work: Work) -> None:
        if work.phone is not Phone.REGISTERED:
            raise ActRefused("there is no phone to approve it on", "the help desk can make a new link")
        await passkeys.confirm(work.gateway, work.connection, _sign_in_of(work).passkey)


class EndSignIns(declared.EndSignIns, Act[int]):
    async def change(self, work: Work) -> int:
        await require_row(work.connection, self.person)
        id = uuid.UUID(self.sign_in) if self.sign_in else None
        ended = await sign_ins.end(work.connection, self.person, id=id, by=work.sign_in)
        work.reason = f"sign-ins: {ended}"
        return ended

    def told(self, done: int) -> Number:
        return Number(done)


def _sign_in_of(work: Work) -> SignIn:
    """The sign-in of the actor. Raises ActRefused for root, who has none."""
    if work.sign_in is None:
        raise ActRefused("only a person who has signed in can do this")
    return work.sign_in


# A lost phone


class CodeForLostPhone(declared.CodeForLostPhone, Act[str]):
    asks_for_phone = True

    async def change(self, work: Work) -> str:
        gateway, connection = work.gateway, work.connection
        person = await known(gateway, connection, self.person)
        if not (person.active and gateway.settings.gives_code_for_lost_phone(person.groups)):
            raise ActRefused("there is no such code for this person", "ask the help desk")
        if work.phone is not Phone.LOST:
            raise ActRefused("the phone is not reported lost, or there is another one")
        had = await one(
            connection,
            "SELECT 1 FROM record WHERE person = %s AND at > now() - interval '7 days' AND kind = 'act'"
            " AND fields->>'what' = %s",
            *(self.person, self.declared.name),
        )
        if had is not None:
            raise ActRefused("there was such a code within a week", "ask the help desk")
        (code,) = await codes.renew(gateway, connection, person, number=1, hours=_CODE_HOURS)
        work.reason = f"one code, for {_CODE_HOURS} hours"
        what = f"{self.person} has made a recovery code for a lost phone"
        await records.alert(connection, None, what, person=self.person)
        return code

    def told(self, done: str) -> Codes:
        return Codes([done])
