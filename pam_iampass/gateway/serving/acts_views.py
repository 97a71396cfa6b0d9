"""Views that the portal reads, with their filters, each declared once. `acts/views.py` says who sees which fields."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Callable, TypeVar

from pam_iampass.config.value_types import name_error
from pam_iampass.fleet.act import Check, flag, text, texts
from pam_iampass.fleet.names import host_name_error, person_name_error
from pam_iampass.gateway.acts.denials import show_denials
from pam_iampass.gateway.acts.page_views import (
    show_attention,
    show_bypasses,
    show_hours,
    show_may,
    show_phone,
)
from pam_iampass.gateway.acts.views import (
    show_hosts,
    show_limits,
    show_own,
    show_people,
    show_records,
    show_sessions,
)
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.records import Filter, Kind
from pam_iampass.gateway.base.statements import now
from pam_iampass.gateway.sign_in.actors import Actor
from pam_iampass.outcome import Outcome

Rows = tuple[Sequence[Any], bool]
"""The rows that are wanted and that the actor sees, and whether there are more."""
R = TypeVar("R", bound=Callable[..., Coroutine[Any, Any, Rows]])
VIEWS: dict[str, Callable[..., Coroutine[Any, Any, Rows]]] = {}
"""Functions that read the views, by a view's name. Annotated parameters are the filter: a check, and a description."""
ASIDE = ("phone",)
"""Views that ask IAMPASS: nothing waits for them, and they take no connection to the database."""
MOST = 500
"""Rows of one answer."""
_LAST = 50
_HOURS = 24
_MOST_HOURS = 168


def _up_to(most: int) -> Check:
    def error(value: object) -> str | None:
        is_one = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most
        return None if is_one else f"must be a number from 1 to {most}"

    return error


def _time_error(value: str) -> str | None:
    try:
        found = datetime.fromisoformat(value)
        found.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return "is no time (ISO 8601)"
    return None if found.tzinfo else "has no offset from UTC"


def _outcome_error(value: str) -> str | None:
    return None if value in {each.value for each in Outcome} else "is no outcome"


def _kind_error(value: str) -> str | None:
    return None if value in {each.value for each in Kind} else "is no kind of record"


def _beginning_error(value: str) -> str | None:
    is_one = value.isascii() and value.isprintable() and len(value) <= 64
    return None if is_one else "is no beginning of an id"


_TIME = text(_time_error, empty=True)
_BEGINNING = text(_beginning_error)
_PERSON = text(person_name_error, empty=True)
_HOST = text(host_name_error, empty=True)


def view(read: R) -> R:
    """Declare what reads the view of this name."""
    VIEWS[read.__name__] = read
    return read


@view
async def mine(gateway: Gateway, connection: Connection, actor: Actor) -> Rows:
    """One row with what the person who has signed in has, besides logins and records: passkeys, sign-ins and codes."""
    return await show_own(gateway, connection, actor), False


@view
async def people(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    begins: Annotated[str, _PERSON, "how their names begin"] = "",
    after: Annotated[str, _PERSON, "the last name of the rows before these"] = "",
    phone_unseen: Annotated[
        bool,
        flag,
        "whether only people of whom no phone was seen here, or none since theirs was reported lost",
    ] = False,
) -> Rows:
    """People, by name."""
    found, tampered = await show_people(
        gateway, connection, actor, begins, after, MOST + 1, phone_unseen=phone_unseen
    )
    return found[:MOST], len(found) + len(tampered) > MOST


@view
async def hosts(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    after: Annotated[str, _HOST, "the last name of the rows before these"] = "",
) -> Rows:
    """Hosts, by name."""
    found, _ = await show_hosts(gateway, connection, actor)
    found = [row for row in found if row["name"] > after]
    return found[:MOST], len(found) > MOST


@view
async def sessions(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    person: Annotated[str, _PERSON, "whose they are"] = "",
) -> Rows:
    """Open sessions, and logins that wait: the oldest first, and children below their parents."""
    found = await show_sessions(gateway, connection, actor, person)
    return found[:MOST], len(found) > MOST


@view
async def throttle(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    person: Annotated[str, text(person_name_error), "whose"],
) -> Rows:
    """One row with what counts against the limits of a person, or none."""
    found = await show_limits(gateway, connection, actor, person)
    return [] if found is None else [found], False


@view
async def records(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    person: Annotated[str, _PERSON, "whom they name, as `pam-iampass-gateway log NAME`"] = "",
    concerns: Annotated[
        str,
        _PERSON,
        "the person whom the records concern. All reports of a host on which this person may not log in are one row"
        " with their `number`",
    ] = "",
    kinds: Annotated[tuple[str, ...], texts(_kind_error), "`act`, `alert`, `decision` or `report`"] = (),
    hosts: Annotated[tuple[str, ...], texts(host_name_error), "on which hosts"] = (),
    services: Annotated[tuple[str, ...], texts(name_error), "through which services"] = (),
    outcomes: Annotated[tuple[str, ...], texts(_outcome_error), "with which outcomes"] = (),
    session: Annotated[str, _BEGINNING, "the beginning of a session's id"] = "",
    login: Annotated[str, _BEGINNING, "the beginning of a login's id"] = "",
    since: Annotated[str, _TIME, "from when (ISO 8601)"] = "",
    until: Annotated[str, _TIME, "until when (ISO 8601)"] = "",
    let_in: Annotated[bool, flag, "whether only logins that let somebody in"] = False,
    last: Annotated[int, _up_to(MOST), f"how many: at most {MOST}, by default {_LAST}"] = _LAST,
) -> Rows:
    """The last records that all of the filter is true of, the oldest first."""
    wanted = Filter(
        person,
        hosts,
        services,
        outcomes,
        session,
        _time(since),
        _time(until),
        login,
        let_in,
        concerns=concerns,
        kinds=kinds,
    )
    return await show_records(gateway, connection, actor, wanted, last), False


@view
async def may(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    person: Annotated[str, text(person_name_error), "whose logins"],
) -> Rows:
    """Whether a person may log in, and why not (`why`), to the hosts of each group. For people themselves, only groups
    that admit them."""
    return await show_may(gateway, connection, actor, person), False


@view
async def denials(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    person: Annotated[str, text(person_name_error), "whose logins"],
    host: Annotated[str, _HOST, "on which host; admins may name any, others one with a denial"] = "",
) -> Rows:
    """Why a person could not log in within the last hour (`says`), what mends it (`mend`, `act`), and whether it is
    over. `service` and `remote` are what the host says; all other texts are the gateway's own."""
    return await show_denials(gateway, connection, actor, person, host), False


@view
async def phone(
    gateway: Gateway, actor: Actor, person: Annotated[str, text(person_name_error), "whose"]
) -> Rows:
    """Whether a person has a phone: `registered`, `none`, `lost` if it was reported lost and there is no other one yet,
    or `unknown` if IAMPASS, which is asked, does not say. One row, or none."""
    return await show_phone(gateway, actor, person), False


@view
async def bypasses(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    person: Annotated[str, text(person_name_error), "who is let in without the phone"],
) -> Rows:
    """Bypasses that let a person in without the phone now, in the order in which they end. Without `services`, a bypass
    holds through all of them; without `hosts` and `groups`, on all hosts."""
    return await show_bypasses(gateway, connection, actor, person), False


@view
async def hours(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    person: Annotated[str, _PERSON, "whom their records name"] = "",
    hosts: Annotated[tuple[str, ...], texts(host_name_error), "on which hosts"] = (),
    services: Annotated[tuple[str, ...], texts(name_error), "through which services"] = (),
    hours: Annotated[int, _up_to(_MOST_HOURS), f"of how many hours: by default {_HOURS}"] = _HOURS,
) -> Rows:
    """How many logins there were, by outcome (`logins`), in each hour that had some."""
    since = (await now(connection)).replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours - 1)
    wanted = Filter(person, hosts, services, since=since - timedelta(microseconds=1))
    return await show_hours(gateway, connection, actor, wanted), False


@view
async def attention(gateway: Gateway, connection: Connection, actor: Actor) -> Rows:
    """Matters that need somebody now. `kind` is `host_waits`, `host_stopped` (people have cancelled its requests),
    `alert` (of the last day), `damaged` (a row that no gateway has written) or `role_of_nobody`; `what` has the text
    of an alert, the row, or the role."""
    return await show_attention(gateway, connection, actor), False


def _time(text: str) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(timezone.utc) if text else None
