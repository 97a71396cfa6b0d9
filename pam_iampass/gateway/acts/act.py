"""Acts: what is done to the fleet, by whom, and how it is carried out.

An act is declared in `fleet/`: its parameters, its name in the records, who may do it, and who of them must confirm it
by a touch of their passkey. Nothing but `perform` carries one out, for root's command as for everybody. Its errors are
in `actors.py`.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Callable, ClassVar, Generic, TypeVar

from pam_iampass.errors import shown
from pam_iampass.fleet.act import DECLARED, Check, Declared, Role
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection, UnknownOutcome
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.reasons import RefusedStart
from pam_iampass.gateway.base.statements import one
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person
from pam_iampass.gateway.requests import own_requests
from pam_iampass.gateway.requests.sessions import HostSession
from pam_iampass.gateway.sign_in import links, passkeys, sign_ins, touches, webauthn
from pam_iampass.gateway.sign_in.actors import (
    Actor,
    ActRefused,
    BadParameter,
    NotPermitted,
    NotSignedIn,
    ProofRefused,
    Repeated,
    TooMany,
)
from pam_iampass.gateway.sign_in.passkeys import Phone, phone_of
from pam_iampass.gateway.sign_in.sign_ins import SignedIn, SignIn
from pam_iampass.gateway.sign_in.webauthn import Refused

T = TypeVar("T")
_PURPOSE = "act"
"""The purpose of challenges for touches."""


def checked(
    declared: Callable[..., object], checks: Mapping[str, Check], values: Mapping[str, object]
) -> dict[str, Any]:
    """Check values that may be anything, to be passed to a class or a function by name: all that it needs, each as its
    check demands. A list becomes a tuple. Raises BadParameter."""
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    for name in given:
        if name not in checks:
            raise BadParameter(name, "is not known here")
    needed = inspect.signature(declared).parameters
    for name, check in checks.items():
        if name in given:
            problem = check(given[name])
        else:
            problem = "is missing" if needed[name].default is inspect.Parameter.empty else None
        if problem:
            raise BadParameter(name, problem)
    return given


@dataclass
class Work:
    """The transaction of an act, and what `perform` will record of it."""

    gateway: Gateway
    connection: Connection
    actor: Actor
    person: str | None
    """Whom it concerns."""
    host: str | None = None
    reason: str = ""
    """The result, for the record. A time in it would be in the zone of the gateway: see `until`."""
    until: datetime | None = None
    """The end of the result, for the record."""
    invite: str = ""
    """The id of the invite that it concerns."""
    sign_in: SignIn | None = None
    """The sign-in of the actor; None for root's command."""
    phone: Phone | None = None
    """Whether the person whom it concerns has a phone, if the act needs to know; who had to has approved on it."""


ACTS: dict[str, type[Act[Any]]] = {}
"""Each act by its name."""


class Act(Declared[Any], Generic[T]):
    """How a declared act is carried out. T is what it results in. Raises BadParameter."""

    asks_for_phone: ClassVar[bool] = False
    """Whether it depends on whether the person has a phone."""
    confirms_passkey: ClassVar[bool] = False
    """Whether it can be done with a passkey from before the database was restored."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # A subclass of such a class takes nobody's place.
        if any(base in DECLARED.values() for base in cls.__bases__):
            ACTS[cls.declared.name] = cls

    def __post_init__(self) -> None:
        for name, check in self.declared.checks.items():
            problem = check(getattr(self, name))
            if problem:
                raise BadParameter(name, problem)

    async def change(self, work: Work) -> T:
        """Make the changes in the database, all in the transaction of `work`. Raises ActRefused."""
        raise NotImplementedError

    async def after(self, gateway: Gateway, done: T) -> T:
        """Carry out what cannot be in that transaction, such as telling IAMPASS; the result. It can be repeated."""
        return done


def requested(name: str, parameters: Mapping[str, object]) -> Act[Any]:
    """The act of this name with these parameters, which may be anything. Raises BadParameter."""
    cls = ACTS.get(name)
    if cls is None:
        raise BadParameter(name, "is no act")
    return cls(**checked(cls, cls.declared.checks, parameters))


# The policy


async def perform(gateway: Gateway, by: Actor | SignedIn, act: Act[T]) -> T:
    """Carry out an act: all of it and its record in one transaction, then what follows from it; the result.

    1. Ask IAMPASS, if the act depends on whether the person has a phone: not for the token of a sign-in alone.
    2. Lock the rows of the actor and of the target, in the order of their names. Nothing is read before, apart from
       the name of the person who has signed in. Code that ends a sign-in or removes a passkey locks the person, too.
    3. Read the sign-in, the actor's roles and the target's groups as they are now; demand that the act is permitted.
    4. Spend the id of the act, which is good in this sign-in only; demand the touch, which covers the id, and spend the
       approval on the phone, if the role by which the act is permitted needs them.
    5. Change, write the record, commit. A refusal leaves a record of its own, and counts as an act.

    Raises ActRefused and DatabaseError; nothing was changed then, unless it is UnknownOutcome or comes from `after`.
    Raises Repeated if the act was done before: `first_outcome` has its outcome.
    """
    if isinstance(by, SignedIn):
        try:
            return await _perform_signed_in(gateway, by, act)
        except (TooMany, Repeated):
            raise
        except ActRefused as refusal:
            await _record_refusal(gateway, by, act, refusal)
            raise
    else:
        if Role.ROOT not in by.roles:  # nothing has shown who it is
            raise NotPermitted(f"{shown(by.name)} may not do this: {act.declared.name}")
        phone = await _phone(gateway, act.target) if act.asks_for_phone else None
        async with gateway.database.transaction() as connection:
            connection.later(people.LOCK, ([by.name, act.target],))
            done = await _change(Work(gateway, connection, by, act.target, phone=phone), act)
        return await act.after(gateway, done)


async def _perform_signed_in(gateway: Gateway, by: SignedIn, act: Act[T]) -> T:
    async with gateway.database.statement() as connection:
        before = await _permitted(gateway, connection, by, act)
        spent = "SELECT 1 FROM nonce WHERE client = %s AND nonce = %s"
        if await one(connection, spent, *_id_of(by, before.sign_in)):
            raise Repeated
    asks = act.asks_for_phone or before.role in act.declared.phone
    if asks and before.role in act.declared.touch:
        _require_touch(gateway, by, before.sign_in, act)
    phone = await phone_of(gateway, before.target) if asks and before.target is not None else None
    key = _key_of(by)
    outcome = None
    try:
        async with gateway.database.transaction() as connection:
            connection.later(sign_ins.LOCK, (passkeys.digest_of(by.token), act.target))
            found = await _permitted(gateway, connection, by, act)
            await _spend_id(connection, by, found.sign_in)
            outcome = gateway.outcomes.begin(key, _what(act))
            await sign_ins.note_activity(gateway, connection, found.sign_in)
            if found.role in act.declared.touch:
                _require_touch(gateway, by, found.sign_in, act)
            if asks and found.phone_lost_at != before.phone_lost_at:
                raise ActRefused("the phone was reported lost meanwhile", "begin again")
            if found.role in act.declared.phone:
                await _spend_approval(gateway, connection, by, found.sign_in, act, phone)
            work = Work(gateway, connection, found.actor, act.target, sign_in=found.sign_in, phone=phone)
            done = await _change(work, act)
    except BaseException:  # also a call that is cancelled: a repeat may wait for the outcome
        if outcome is not None:
            outcome.fail(UnknownOutcome("the act was not done, or may have been"))
            gateway.outcomes.forget(key)
        raise
    try:
        done = await act.after(gateway, done)
    except BaseException as error:  # also a call that is cancelled, as above
        outcome.fail(error if isinstance(error, Exception) else UnknownOutcome("the gateway has stopped"))
        raise
    outcome.succeed(act.told(done))
    return done


_ID = re.compile("[0-9a-f]{16}")


def _key_of(by: SignedIn) -> tuple[bytes, str]:
    """Under which the outcome of an act is remembered."""
    return passkeys.digest_of(by.token), by.once


def _id_of(by: SignedIn, sign_in: SignIn) -> tuple[str, int]:
    """The id of an act, which the page has chosen, as it is spent: another sign-in cannot spend it. Raises
    ProofRefused."""
    if not _ID.fullmatch(by.once):
        raise ProofRefused("the act has no id")
    return f"act {sign_in.id}", int(by.once, 16)


async def _spend_id(connection: Connection, by: SignedIn, sign_in: SignIn) -> None:
    """Raises Repeated. The id is kept for as long as there can be a sign-in to repeat the act."""
    spent = await connection.execute(
        "INSERT INTO nonce VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (*_id_of(by, sign_in), sign_in.row["expires_at"]),
    )
    if spent.rowcount == 0:
        raise Repeated


async def first_outcome(gateway: Gateway, by: SignedIn, act: Act[Any]) -> Mapping[str, Any]:
    """Returns the outcome of an act that was done before, without the parts that are shown once. Only after Repeated:
    nothing is checked here. Raises ProofRefused if the id was another act's, UnknownOutcome if nothing is remembered,
    and what the act has raised."""
    outcome = gateway.outcomes.find(_key_of(by))
    if outcome is None:
        raise UnknownOutcome("the act was done before; its outcome is not remembered")
    if outcome.what != _what(act):
        raise ProofRefused("the id was spent for another act")
    return await outcome.result()


async def _change(work: Work, act: Act[T]) -> T:
    """Make the changes, and write the record."""
    verified = {}
    if work.sign_in is not None and act.target is not None:
        callers = await sign_ins.verified(work.gateway, work.connection, str(work.sign_in.id))
        if act.target in callers:
            verified = {"caller_verified": callers[act.target].isoformat()}
    done = await act.change(work)
    await records.act(
        work.connection,
        act.declared.name,
        by={**work.actor.fields, **verified},
        host=work.host,
        person=work.person,
        reason=work.reason,
        until=work.until,
        invite=work.invite,
    )
    return done


@dataclass(frozen=True)
class _Permitted:
    """A person who may do an act, with the role that lets them."""

    sign_in: SignIn
    actor: Actor
    role: Role
    target: Person | None

    @property
    def phone_lost_at(self) -> datetime | None:
        """When a phone of the target was last reported lost."""
        return None if self.target is None else self.target.phone_lost_at


async def _permitted(gateway: Gateway, connection: Connection, by: SignedIn, act: Act[Any]) -> _Permitted:
    """Raises NotSignedIn, NotPermitted and TooMany. A name that the person may not see is refused as if unknown."""
    sign_in = await sign_ins.find(gateway, connection, by.token)
    await sign_ins.require_few_records(connection, sign_in)
    if not act.confirms_passkey:
        passkeys.require_confirmed(sign_in.passkey)
    actor, target = sign_in.actor(gateway, by.remote), None
    if act.target is not None:
        with suppress(Tampered):  # nobody is known to have such groups
            target = await people.find(gateway, connection, act.target)
    role = _role(actor, act, target)
    if role is Role.HELPDESK and target and await passkeys.is_by_root(connection, target.name):
        role = None  # such a person is, or was, an operator
    if role is None:
        raise NotPermitted(f"{shown(actor.name)} may not do this: {act.declared.name}")
    return _Permitted(sign_in, actor, role, target)


def _role(actor: Actor, act: Act[Any], target: Person | None) -> Role | None:
    """The role by which the actor may do this, if any. For themselves, people act as the person that they are: any
    other role would spare them the phone."""
    may = act.declared.by & actor.roles
    if act.target == actor.name:
        return Role.SELF if Role.SELF in may else None
    if Role.ADMIN in may:
        return Role.ADMIN
    is_helped = target is not None and actor.may_help(target.groups)
    return Role.HELPDESK if Role.HELPDESK in may and is_helped else None


async def challenge(gateway: Gateway, by: SignedIn, act: Act[Any]) -> dict[str, Any]:
    """Options for the browser to ask for a touch over this act. Raises ActRefused and DatabaseError."""
    portal = passkeys.portal_of(gateway)
    async with gateway.database.statement() as connection:
        found = await _permitted(gateway, connection, by, act)
    made = touches.challenge(gateway, _PURPOSE, str(found.sign_in.id), _touched(act, by))
    return webauthn.request_options(portal, made, [found.sign_in.passkey.credential.id])


async def ring(gateway: Gateway, by: SignedIn, act: type[Act[Any]]) -> HostSession | RefusedStart:
    """Have the person who has signed in asked on the phone, for an act that needs it, as `own_requests.ask`."""
    async with gateway.database.statement() as connection:
        sign_in = await sign_ins.find(gateway, connection, by.token)
    if Role.SELF not in act.declared.phone:
        raise NotPermitted(f"no phone is asked for {act.declared.name}")
    name = sign_in.person.name
    return await own_requests.ask(gateway, name, act.declared.name, by.remote, made_for(sign_in))


def _require_touch(gateway: Gateway, by: SignedIn, sign_in: SignIn, act: Act[Any]) -> None:
    """Demand a touch over this very act and its id, with which it is spent. Raises ProofRefused. Only the passkey of
    the sign-in counts: another one may be of a lesser kind."""
    portal, passkey = passkeys.portal_of(gateway), sign_in.passkey
    try:
        if by.touch is None:
            raise Refused("there is no touch")
        made = webauthn.challenge_of(by.touch)
        webauthn.asserted(portal, by.touch, made, passkey.credential, passkey.owner, named=True)
        touches.require(gateway, made, _PURPOSE, str(sign_in.id), _touched(act, by))
    except Refused as error:
        raise ProofRefused(str(error)) from None


async def _spend_approval(
    gateway: Gateway,
    connection: Connection,
    by: SignedIn,
    sign_in: SignIn,
    act: Act[Any],
    phone: Phone | None,
) -> None:
    """Raises ProofRefused, and another ActRefused.

    People who have never had a phone have nothing to approve on. A phone that was reported lost, which people can do by
    themselves, or that is gone at IAMPASS, spares nobody the approval: a passkey alone must not abolish the phone.
    """
    if phone is Phone.LOST:
        what = "the phone was reported lost, or is gone, and this must be approved on the phone"
        raise ActRefused(what, "the help desk can have the next one registered")
    who, what = sign_in.person.name, act.declared.name
    try:
        if phone is not Phone.NONE:
            await links.spend_approval(gateway, connection, by.phone, who, what, made_for(sign_in))
    except Refused as error:
        raise ProofRefused(str(error)) from None


async def _phone(gateway: Gateway, name: str | None) -> Phone | None:
    """Whether the person of this name has a phone, for root; None if nobody is known."""
    async with gateway.database.statement() as connection:
        person = None if name is None else await people.find(gateway, connection, name)
    return None if person is None else await phone_of(gateway, person)


def made_for(sign_in: SignIn) -> str:
    """The mark of a request on the phone that is for this sign-in."""
    return f"sign-in {sign_in.id}"


def _what(act: Act[Any]) -> dict[str, Any]:
    """All that happens by an act."""
    return {"act": act.declared.name, "parameters": dataclasses.asdict(act)}


def _touched(act: Act[Any], by: SignedIn) -> dict[str, Any]:
    """All that a touch is good for."""
    return {**_what(act), "once": by.once}


async def _record_refusal(gateway: Gateway, by: SignedIn, act: Act[Any], refusal: ActRefused) -> None:
    why = refusal.why if isinstance(refusal, (NotSignedIn, ProofRefused)) else refusal.what
    try:
        async with gateway.database.statement() as connection:
            found = await sign_ins.find(gateway, connection, by.token)
    except NotSignedIn:
        found = None
    except ActRefused:  # nothing is written to an old copy of the database
        return
    # What is refused to others is not in what was done to a person: it would push that off.
    is_own = found is not None and found.person.name == act.target
    if act.target is not None and not is_own:
        why = f"for {act.target}: {why}"
    await sign_ins.record_refusal(
        gateway, act.declared.name, why, remote=by.remote, by=found, person=act.target if is_own else None
    )
