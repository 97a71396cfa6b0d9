"""How the gateway answers the calls of the portal, which are declared in `portal/calls.py`."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import uuid
from collections.abc import Collection, Coroutine, Mapping
from typing import Any, Callable, TypeVar

from pam_iampass.fleet.act import Check, Role, checks_of, flag, text
from pam_iampass.fleet.names import id_error, label_error
from pam_iampass.gateway.acts import ACTS, rings
from pam_iampass.gateway.acts.act import challenge, checked, first_outcome, made_for, perform, requested, ring
from pam_iampass.gateway.acts.passkeys import passkey_options
from pam_iampass.gateway.acts.rings import TooManyWaitError
from pam_iampass.gateway.base.reasons import RefusedStart
from pam_iampass.gateway.requests import own_requests
from pam_iampass.gateway.requests.sessions import HostSession
from pam_iampass.gateway.serving.acts_service import ActsService, Answered, CallRefused
from pam_iampass.gateway.serving.acts_views import ASIDE, VIEWS
from pam_iampass.gateway.sign_in import links, sign_ins
from pam_iampass.gateway.sign_in.actors import BadParameter, Repeated
from pam_iampass.login.throttle import ip_address
from pam_iampass.portal import calls
from pam_iampass.portal.calls import Call, Error

A = TypeVar("A")
CALLS: dict[type[Call[Any]], Answered] = {}
"""How each call is answered."""
_PHONE_SECONDS = 25.0
"""How long a call waits for a phone; then the portal calls again."""
_RINGS_SECONDS = 20.0
_VIEW_SECONDS = 20.0


def _matches(pattern: str, problem: str) -> Check:
    return text(lambda value: None if re.fullmatch(pattern, value) else problem)


def _object(value: object) -> str | None:
    return None if isinstance(value, dict) else "must be an object"


def _one_of(names: Mapping[str, object], what: str) -> Check:
    return text(lambda value: None if value in names else f"is no {what}")


def _address_error(value: str) -> str | None:
    address = ip_address(value)
    is_one = address is not None and str(address) == value and "%" not in value
    return None if is_one else "is no IP address in its one form"


def _agent_error(value: str) -> str | None:
    is_line = len(value) <= 500 and value.isprintable()
    return None if is_line else "must be one line of at most 500 characters"


_CHECKS: Mapping[str, Check] = {
    "token": _matches("[A-Za-z0-9_-]{43}", "is no token"),
    "binding": _matches("[A-Za-z0-9_-]{43}", "must be 32 bytes in base64url"),
    "answer": _object,
    "remote": text(_address_error),
    "agent": text(_agent_error, empty=True),
    "phone": text(id_error),
    "label": text(label_error),
    "act": _one_of(ACTS, "act"),
    "parameters": _object,
    "once": _matches("[0-9a-f]{16}", "must be 16 hexadecimal digits"),
    "touch": _object,
    "view": _one_of(VIEWS, "view"),
    "filter": _object,
    "by_itself": flag,
    "seen": text(
        lambda value: None if re.fullmatch("[0-9a-f]{32}", value) else "was not answered", empty=True
    ),
}
"""The check of each field by its name, the same in all calls."""


def answers(
    call: type[Call[A]],
) -> Callable[[Callable[[ActsService, Any], Coroutine[Any, Any, A]]], None]:
    """Have a function answer a call."""

    def declare(respond: Callable[[ActsService, Any], Coroutine[Any, Any, A]]) -> None:
        checks = {each.name: _CHECKS[each.name] for each in dataclasses.fields(call)}
        find = sign_ins.require if Error.NOT_SIGNED_IN in call.ERRORS else links.person_of
        CALLS[call] = Answered(checks, respond, find)

    return declare


# Signing in


@answers(calls.BeginSignIn)
async def _begin_sign_in(service: ActsService, call: calls.BeginSignIn) -> calls.Options:
    return calls.Options(sign_ins.sign_in_options(service.gateway, call.binding))


@answers(calls.SignIn)
async def _sign_in(service: ActsService, call: calls.SignIn) -> calls.SignedIn:
    begun = await sign_ins.sign_in(service.gateway, call.binding, call.answer, call.remote, call.agent)
    service.strangers.found(begun.token)
    return calls.SignedIn(begun.token, begun.person, _names(begun.roles), begun.ends_at, begun.is_confirmed)


@answers(calls.ShowSignIn)
async def _show_sign_in(service: ActsService, call: calls.ShowSignIn) -> calls.SignInShown:
    async with service.gateway.database.statement() as connection:
        found = await sign_ins.find(service.gateway, connection, call.token)
    roles = found.actor(service.gateway, "").roles
    return calls.SignInShown(found.person.name, _names(roles), found.passkey.is_confirmed, str(found.id))


def _names(roles: Collection[Role]) -> list[str]:
    return [role.value for role in Role if role in roles and role is not Role.SELF]


# Links


@answers(calls.OpenLink)
async def _open_link(service: ActsService, call: calls.OpenLink) -> calls.LinkOptions:
    offer = await links.options(service.gateway, call.token, call.binding)
    return calls.LinkOptions(offer.options, offer.person, offer.needs_phone)


@answers(calls.RingForLink)
async def _ring_for_link(service: ActsService, call: calls.RingForLink) -> calls.Ringing:
    return _ringing(await links.ring(service.gateway, call.token, call.remote))


@answers(calls.WaitForLink)
async def _wait_for_link(service: ActsService, call: calls.WaitForLink) -> calls.PhoneAnswer:
    made = links.made_for(call.token)
    return await _answer(service, call.phone, made, made)


@answers(calls.UseLink)
async def _use_link(service: ActsService, call: calls.UseLink) -> calls.Registered:
    person = await links.use(
        service.gateway, call.token, call.binding, call.answer, call.label, call.remote, _id(call.phone)
    )
    return calls.Registered(person)


# Acts


@answers(calls.BeginAct)
async def _begin_act(service: ActsService, call: calls.BeginAct) -> calls.Options:
    by = sign_ins.SignedIn(call.token, "", once=call.once)
    return calls.Options(await challenge(service.gateway, by, requested(call.act, call.parameters)))


@answers(calls.DoAct)
async def _do_act(service: ActsService, call: calls.DoAct) -> calls.Done:
    act = requested(call.act, call.parameters)
    by = sign_ins.SignedIn(call.token, call.remote, call.touch, _id(call.phone), call.once)
    try:
        done = await perform(service.gateway, by, act)
    except Repeated:
        first = first_outcome(service.gateway, by, act)
        return calls.Done(await service.unless_stopping(first), repeated=True)
    return calls.Done(dataclasses.asdict(act.told(done)), repeated=False)


@answers(calls.BeginPasskey)
async def _begin_passkey(service: ActsService, call: calls.BeginPasskey) -> calls.Options:
    return calls.Options(await passkey_options(service.gateway, call.token))


# The own phone


@answers(calls.RingForAct)
async def _ring_for_act(service: ActsService, call: calls.RingForAct) -> calls.Ringing:
    by = sign_ins.SignedIn(call.token, call.remote)
    return _ringing(await ring(service.gateway, by, ACTS[call.act]))


@answers(calls.WaitForPhone)
async def _wait_for_phone(service: ActsService, call: calls.WaitForPhone) -> calls.PhoneAnswer:
    gateway = service.gateway
    async with gateway.database.statement() as connection:
        found = await sign_ins.find(gateway, connection, call.token)
    return await _answer(service, call.phone, made_for(found), found.person.name)


# What asks now


@answers(calls.WaitForRings)
async def _wait_for_rings(service: ActsService, call: calls.WaitForRings) -> calls.RingingNow:
    found, now = await _read_rings(service, call.token)
    if now.seen != call.seen:
        return now
    try:
        await service.unless_stopping(service.rings.wait(found, now.seen, _RINGS_SECONDS))
    except TooManyWaitError:
        raise CallRefused(Error.BUSY) from None
    _, now = await _read_rings(service, call.token)
    return now


async def _read_rings(service: ActsService, token: str) -> tuple[sign_ins.SignIn, calls.RingingNow]:
    async with service.ring_reads, service.gateway.database.statement() as connection:
        return await rings.read(service.gateway, connection, token)


# Views


@answers(calls.Look)
async def _look(service: ActsService, call: calls.Look) -> calls.Rows:
    read = VIEWS[call.view]
    try:
        filter = checked(read, checks_of(read), call.filter)
    except BadParameter as error:
        raise CallRefused.of(error, "filter.") from None
    try:
        return await asyncio.wait_for(_read(service, call, filter), _VIEW_SECONDS)
    except asyncio.TimeoutError:
        raise CallRefused(Error.BUSY, "it takes too long: ask for less, or later") from None


async def _read(service: ActsService, call: calls.Look, filter: Mapping[str, Any]) -> calls.Rows:
    gateway = service.gateway
    async with gateway.database.transaction() as connection:
        actor = await sign_ins.actor(gateway, connection, call.token, "", by_itself=call.by_itself)
    if call.view in ASIDE:
        rows, more = await VIEWS[call.view](gateway, actor, **filter)
        return calls.Rows(rows, more)
    async with service.look(call.token), gateway.database.statement() as connection:
        rows, more = await VIEWS[call.view](gateway, connection, actor, **filter)
    return calls.Rows(rows, more)


def _id(phone: str | None) -> uuid.UUID | None:
    return None if phone is None else uuid.UUID(phone)


def _ringing(begun: HostSession | RefusedStart) -> calls.Ringing:
    if isinstance(begun, RefusedStart):
        return calls.Ringing(None, begun.reason.name, begun.wait)
    if begun.reason is not None:
        return calls.Ringing(None, begun.reason, begun.retry_after or 0.0)
    return calls.Ringing(str(begun.id), None, 0.0)


async def _answer(service: ActsService, phone: str, made_for: str, who: str) -> calls.PhoneAnswer:
    answer = own_requests.answer(
        service.gateway, uuid.UUID(phone), made_for, service.patience(_PHONE_SECONDS, who)
    )
    return calls.PhoneAnswer((await service.hold(answer, who)).value)
