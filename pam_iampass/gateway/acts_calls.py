"""The calls of the portal: signing in, links, acts and views. Each is declared once (`acts_service.py`)."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Annotated, Any

from pam_iampass.gateway import acts_service, own_requests, rings, sign_ins
from pam_iampass.gateway.actors import NotSignedIn, Role
from pam_iampass.gateway.acts import ACTS
from pam_iampass.gateway.acts.act import Check, challenge, flag, made_for, perform, requested, ring, text
from pam_iampass.gateway.acts.passkeys import passkey_options
from pam_iampass.gateway.acts_results import RESULTS
from pam_iampass.gateway.acts_service import ActsService, Call, CallRefused, Error, Field, filled
from pam_iampass.gateway.acts_views import VIEWS, Wanted
from pam_iampass.gateway.database import one
from pam_iampass.gateway.gateway import Gateway
from pam_iampass.gateway.reasons import RefusedStart
from pam_iampass.gateway.rings import TooManyWaitError
from pam_iampass.gateway.sessions import HostSession

CALLS: dict[str, type[Call]] = {}
"""Each call by its path."""
call = partial(acts_service.call, CALLS)

_PHONE_SECONDS = 25.0
"""How long a call waits for a phone; then the portal calls again."""
_RINGS_SECONDS = 20.0
_VIEW_SECONDS = 20.0
MOST_ACTS = 60
"""Acts of one person in a minute."""
_SECRET = re.compile("[A-Za-z0-9_-]{43}")
_SEEN = re.compile("[0-9a-f]{32}")


def _matches(pattern: re.Pattern[str], problem: str) -> Check:
    return text(lambda value: None if pattern.fullmatch(value) else problem)


def _address_error(value: str) -> str | None:
    try:
        return (
            None if str(ipaddress.ip_address(value)) == value and "%" not in value else "is written otherwise"
        )
    except ValueError:
        return "is no IP address"


def _id_error(value: str) -> str | None:
    try:
        return None if str(uuid.UUID(value)) == value else "is written otherwise"
    except ValueError:
        return "is no id of a request"


def _agent_error(value: str) -> str | None:
    is_line = len(value) <= 500 and value.isprintable()
    return None if is_line else "must be one line of at most 500 characters"


def _one_of(names: Any, what: str) -> Check:
    return text(lambda value: None if value in names else f"is no {what}")


def _object(value: object) -> str | None:
    return None if isinstance(value, dict) else "must be an object"


TOKEN = Field(_matches(_SECRET, "is no token"), "the token of the sign-in")
LINK = Field(_matches(_SECRET, "is no token"), "what stands behind `#` in the link")
BINDING = Field(
    _matches(_SECRET, "must be 32 bytes in base64url"),
    "32 random bytes in base64url, which the browser has in a cookie: the challenge is good with them only",
)
REMOTE = Field(text(_address_error), "the IP address of the browser: limits and records go by it")
ANSWER = Field(_object, "what the browser has answered to the options (`PublicKeyCredential.toJSON()`)")
TOUCH = Field(_object, "as `answer`: the touch with which the person agrees, where the act needs one")
LABEL = Field(text(sign_ins.label_error), "how the person calls the passkey")
AGENT = Field(text(_agent_error, empty=True), "the browser, as it says itself")
APPROVED = Field(text(_id_error), "the id of a request that was approved on the phone, where that is needed")
PHONE = Field(text(_id_error), "the id of the request on the phone")
ACT = Field(_one_of(ACTS, "act"), "the act's name: [acts.md](acts.md)")
PARAMETERS = Field(_object, "its parameters")


# Answers


@dataclass(frozen=True)
class Options:
    options: Annotated[dict[str, Any], "what the browser passes on to `navigator.credentials`, as JSON"]


@dataclass(frozen=True)
class LinkOptions:
    options: Annotated[
        dict[str, Any], "what the browser passes on to `navigator.credentials.create`, as JSON"
    ]
    person: Annotated[str, "whom the link is for"]
    phone: Annotated[bool, "whether the phone has to approve it as well: `/link/ring`"]


@dataclass(frozen=True)
class SignedIn:
    token: Annotated[str, "the token of the sign-in, for all further calls; the cookie's content"]
    person: Annotated[str, "who has signed in"]
    roles: Annotated[list[str], "the roles that count in this sign-in, besides the person's own"]
    ends_at: Annotated[datetime, "when it ends; it ends earlier without use"]
    confirmed: Annotated[
        bool,
        "false: nothing else is answered before the passkey was approved on the phone (`passkey_confirm`)",
    ]


@dataclass(frozen=True)
class Ringing:
    phone: Annotated[str | None, "the id of the request; null if the phone was not asked"]
    reason: Annotated[str | None, "why the phone was not asked"]
    seconds: Annotated[float, "how long to wait before it can be asked; 0 if that is not known"]


@dataclass(frozen=True)
class PhoneAnswer:
    state: Annotated[
        str, "`waits` (other requests come first), `asked`, or how it has ended: `approved`, `denied`, `over`"
    ]


@dataclass(frozen=True)
class Registered:
    person: Annotated[str, "whose passkey it is. Nobody is signed in by that"]


@dataclass(frozen=True)
class Done:
    result: Annotated[dict[str, Any], "what the act results in: see below"]


@dataclass(frozen=True)
class Rows:
    rows: Annotated[list[Any], "the rows: see below"]
    more: Annotated[bool, "whether there are more, which were left out"]


@dataclass(frozen=True)
class RingingNow:
    rows: Annotated[
        list[Any],
        "the requests that are on the phone (`status`: `asked`), or wait for their turn (`waits`), the oldest first;"
        " `user` is whose login it is: somebody else's if the person is to approve it as the second one",
    ]
    seen: Annotated[str, "stands for these requests, to be sent with the next call"]


# Signing in


@call("/sign-in/challenge")
@dataclass(frozen=True)
class BeginSignIn(Call):
    """What a browser is asked for so that somebody signs in. No name is given: the passkey says who it is."""

    binding: Annotated[str, BINDING]

    async def respond(self, service: ActsService) -> Options:
        return Options(sign_ins.sign_in_options(service.gateway, self.binding))


@call("/sign-in", Error.REFUSED)
@dataclass(frozen=True)
class SignIn(Call):
    """Sign in with a passkey."""

    binding: Annotated[str, BINDING]
    answer: Annotated[Mapping[str, Any], ANSWER]
    remote: Annotated[str, REMOTE]
    agent: Annotated[str, AGENT] = ""

    async def respond(self, service: ActsService) -> SignedIn:
        begun = await sign_ins.sign_in(service.gateway, self.binding, self.answer, self.remote, self.agent)
        roles = [role.value for role in Role if role in begun.roles and role is not Role.SELF]
        return SignedIn(begun.token, begun.person, roles, begun.ends_at, begun.is_confirmed)


# Links


@call("/link/challenge", Error.REFUSED, Error.ACT_REFUSED)
@dataclass(frozen=True)
class OpenLink(Call):
    """What a browser is asked for to make the passkey that a link registers. The link stays good."""

    token: Annotated[str, LINK]
    binding: Annotated[str, BINDING]

    async def respond(self, service: ActsService) -> LinkOptions:
        offer = await sign_ins.link_options(service.gateway, self.token, self.binding)
        return LinkOptions(dict(offer.options), offer.person, offer.needs_phone)


@call("/link/ring", Error.REFUSED)
@dataclass(frozen=True)
class RingForLink(Call):
    """Have the person whom a link is for asked on the phone. Limits are those of logins."""

    token: Annotated[str, LINK]
    remote: Annotated[str, REMOTE]

    async def respond(self, service: ActsService) -> Ringing:
        return _ringing(await sign_ins.ring_for_link(service.gateway, self.token, self.remote))


@call("/link/answer", Error.REFUSED, Error.BUSY)
@dataclass(frozen=True)
class WaitForLink(Call):
    """What the person has answered on the phone, as soon as it is known."""

    token: Annotated[str, LINK]
    phone: Annotated[str, PHONE]

    async def respond(self, service: ActsService) -> PhoneAnswer:
        return await _answer(service, self.phone, sign_ins.made_for_link(self.token))


@call("/link", Error.REFUSED, Error.ACT_REFUSED)
@dataclass(frozen=True)
class UseLink(Call):
    """Register a passkey with a link, which is used up."""

    token: Annotated[str, LINK]
    binding: Annotated[str, BINDING]
    answer: Annotated[Mapping[str, Any], ANSWER]
    label: Annotated[str, LABEL]
    remote: Annotated[str, REMOTE]
    phone: Annotated[str | None, APPROVED] = None

    async def respond(self, service: ActsService) -> Registered:
        phone = None if self.phone is None else uuid.UUID(self.phone)
        person = await sign_ins.use_link(
            service.gateway, self.token, self.binding, self.answer, self.label, self.remote, phone
        )
        return Registered(person)


# Acts


@call("/act/challenge", Error.NOT_SIGNED_IN, Error.NOT_PERMITTED)
@dataclass(frozen=True)
class BeginAct(Call):
    """What a browser is asked for so that the person agrees to just this act, with a touch of a passkey."""

    token: Annotated[str, TOKEN]
    act: Annotated[str, ACT]
    parameters: Annotated[Mapping[str, Any], PARAMETERS]

    async def respond(self, service: ActsService) -> Options:
        by = sign_ins.SignedIn(self.token, "")
        return Options(await challenge(service.gateway, by, requested(self.act, self.parameters)))


@call(
    "/act",
    Error.NOT_SIGNED_IN,
    Error.NOT_PERMITTED,
    Error.REFUSED,
    Error.ACT_REFUSED,
    Error.BUSY,
    Error.IAMPASS_AWAY,
)
@dataclass(frozen=True)
class DoAct(Call):
    """Carry out an act."""

    token: Annotated[str, TOKEN]
    act: Annotated[str, ACT]
    parameters: Annotated[Mapping[str, Any], PARAMETERS]
    remote: Annotated[str, REMOTE]
    touch: Annotated[Mapping[str, Any] | None, TOUCH] = None
    phone: Annotated[str | None, APPROVED] = None

    async def respond(self, service: ActsService) -> Done:
        act = requested(self.act, self.parameters)
        await _require_few_acts(service.gateway, self.token)
        phone = None if self.phone is None else uuid.UUID(self.phone)
        by = sign_ins.SignedIn(self.token, self.remote, self.touch, phone)
        done = await perform(service.gateway, by, act)
        return Done(RESULTS[type(act)].tell(done))


@call("/passkey/challenge", Error.NOT_SIGNED_IN, Error.NOT_PERMITTED, Error.ACT_REFUSED)
@dataclass(frozen=True)
class BeginPasskey(Call):
    """What a browser is asked for to make a further passkey of whoever has signed in, for the act `passkey_add`."""

    token: Annotated[str, TOKEN]

    async def respond(self, service: ActsService) -> Options:
        return Options(await passkey_options(service.gateway, self.token))


# The own phone


@call("/phone/ring", Error.NOT_SIGNED_IN, Error.NOT_PERMITTED)
@dataclass(frozen=True)
class RingForAct(Call):
    """Have whoever has signed in asked on the own phone whether an act may be carried out."""

    token: Annotated[str, TOKEN]
    act: Annotated[str, ACT]
    remote: Annotated[str, REMOTE]

    async def respond(self, service: ActsService) -> Ringing:
        by = sign_ins.SignedIn(self.token, self.remote)
        return _ringing(await ring(service.gateway, by, ACTS[self.act]))


@call("/phone/answer", Error.NOT_SIGNED_IN, Error.REFUSED, Error.BUSY)
@dataclass(frozen=True)
class WaitForPhone(Call):
    """What the person has answered on the phone, as soon as it is known."""

    token: Annotated[str, TOKEN]
    phone: Annotated[str, PHONE]

    async def respond(self, service: ActsService) -> PhoneAnswer:
        gateway = service.gateway
        async with gateway.database.statement() as connection:
            found = await sign_ins.find(gateway, connection, self.token)
        return await _answer(service, self.phone, made_for(found))


# What asks now


@call("/rings", Error.NOT_SIGNED_IN, Error.NOT_PERMITTED, Error.BUSY)
@dataclass(frozen=True)
class WaitForRings(Call):
    """What asks whoever has signed in on the phone now, once that is something else than was seen, or after 20 s. This
    keeps no sign-in from ending. After BUSY, wait for some seconds."""

    token: Annotated[str, TOKEN]
    seen: Annotated[
        str,
        Field(_matches(_SEEN, "is no `seen`"), "`seen` of the last answer; without, it is answered at once"),
    ] = ""

    async def respond(self, service: ActsService) -> RingingNow:
        found, now = await self._read(service)
        if now.seen == self.seen:
            try:
                await service.unless_stopping(service.rings.wait(found, self.seen, _RINGS_SECONDS))
            except TooManyWaitError:
                raise CallRefused(Error.BUSY) from None
            _, now = await self._read(service)
        return RingingNow(list(now.rows), now.seen)

    async def _read(self, service: ActsService) -> tuple[sign_ins.SignIn, rings.Rings]:
        async with service.ring_reads, service.gateway.database.statement() as connection:
            return await rings.read(service.gateway, connection, self.token)


# Views


@call("/view", Error.NOT_SIGNED_IN, Error.NOT_PERMITTED, Error.BUSY)
@dataclass(frozen=True)
class Look(Call):
    """Read a view: of the rows that exist, those that the person may see, with the fields that they may see."""

    token: Annotated[str, TOKEN]
    view: Annotated[str, Field(_one_of(VIEWS, "view"), "the view's name, see below")]
    filter: Annotated[Mapping[str, Any], Field(_object, "which rows, see below")] = field(
        default_factory=dict
    )
    by_itself: Annotated[
        bool, Field(flag, "whether the page asks by itself: that keeps no sign-in from ending")
    ] = False

    async def respond(self, service: ActsService) -> Rows:
        wanted = filled(VIEWS[self.view], self.filter, "filter.")
        try:
            return await asyncio.wait_for(self._read(service, wanted), _VIEW_SECONDS)
        except asyncio.TimeoutError:
            raise CallRefused(Error.BUSY, "it takes too long: ask for less, or later") from None

    async def _read(self, service: ActsService, wanted: Wanted) -> Rows:
        gateway = service.gateway
        async with gateway.database.transaction() as connection:
            actor = await sign_ins.actor(gateway, connection, self.token, "", by_itself=self.by_itself)
        async with service.views, gateway.database.statement() as connection:
            rows, more = await wanted.rows(gateway, connection, actor)
        return Rows(list(rows), more)


async def _require_few_acts(gateway: Gateway, token: str) -> None:
    """Raise CallRefused if there are MOST_ACTS records of a minute about what this person has done: some acts need no
    touch, and each leaves a record."""
    with suppress(NotSignedIn):  # `perform` refuses it
        async with gateway.database.statement() as connection:
            name = (await sign_ins.find(gateway, connection, token)).person.name
            recent = await one(
                connection,
                "SELECT count(*) AS number FROM record WHERE kind = 'act' AND at > now() - interval '1 minute'"
                " AND fields->>'caller' = %s AND fields->>'known_by' = 'sign-in'",
                name,
            )
        if recent is not None and recent["number"] >= MOST_ACTS:
            raise CallRefused(Error.BUSY)


def _ringing(begun: HostSession | RefusedStart) -> Ringing:
    if isinstance(begun, RefusedStart):
        return Ringing(None, begun.reason.name, begun.wait)
    if begun.reason is not None:
        return Ringing(None, begun.reason, begun.retry_after or 0.0)
    return Ringing(str(begun.id), None, 0.0)


async def _answer(service: ActsService, phone: str, made_for: str) -> PhoneAnswer:
    answer = own_requests.answer(service.gateway, uuid.UUID(phone), made_for, _PHONE_SECONDS)
    return PhoneAnswer((await service.hold(answer)).value)
