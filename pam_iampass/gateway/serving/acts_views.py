"""Views that the portal reads, with their filters, each declared once. `acts/views.py` says who sees which fields."""

from __future__ import annotations

import re
from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, Callable, TypeVar

from pam_iampass.config.value_types import line_error, name_error
from pam_iampass.fleet.act import Check, flag, text, texts
from pam_iampass.fleet.names import host_name_error, person_name_error
from pam_iampass.gateway.acts.access import show_access
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
    return None if is_one else "is no beginning of an id or an address"


def _act_error(value: str) -> str | None:
    return None if re.fullmatch("[a-z_]{1,40}", value) else "is no kind of act"


_TIME = text(_time_error, empty=True)
_BEGINNING = text(_beginning_error)
_PERSON = text(person_name_error, empty=True)
_HOST = text(host_name_error, empty=True)
_Hosts = Annotated[tuple[str, ...], texts(host_name_error), "on these hosts"]
_Services = Annotated[tuple[str, ...], texts(name_error), "through these services"]
_Outcomes = Annotated[tuple[str, ...], texts(_outcome_error), "with these outcomes"]
_Search = Annotated[
    str,
    text(line_error, empty=True),
    "with this text in the name of the person, in a group of theirs, or in the display name if the actor sees it; of"
    " `sessions`, `records` and `hours`, also in the name of the host, of who asks, or of an account that acts for the"
    " person",
]
_Remote = Annotated[str, _BEGINNING, "from addresses that begin so"]
_LetIn = Annotated[bool, flag, "true: successful logins only"]


def view(read: R) -> R:
    """Declare what reads the view of this name."""
    VIEWS[read.__name__] = read
    return read


@view
async def mine(gateway: Gateway, connection: Connection, actor: Actor) -> Rows:
    """One row about the person who has signed in: passkeys, sign-ins and codes."""
    return await show_own(gateway, connection, actor), False


@view
async def people(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    search: _Search = "",
    person: Annotated[str, _PERSON, "of this person"] = "",
    after: Annotated[str, _PERSON, "the last name of the previous rows"] = "",
    phone_unseen: Annotated[
        bool,
        flag,
        "true: only people of whom no phone was seen, or none since theirs was reported lost",
    ] = False,
) -> Rows:
    """People, by name."""
    found, _ = await show_people(
        gateway, connection, actor, search, after, MOST + 1, name=person, phone_unseen=phone_unseen
    )
    return found[:MOST], len(found) > MOST


@view
async def hosts(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    host: Annotated[str, _HOST, "of this host"] = "",
    after: Annotated[str, _HOST, "the last name of the previous rows"] = "",
) -> Rows:
    """Hosts, by name."""
    found, _ = await show_hosts(gateway, connection, actor, host, after, MOST + 1)
    return found[:MOST], len(found) > MOST


@view
async def sessions(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    person: Annotated[str, _PERSON, "of this person"] = "",
    host: Annotated[str, _HOST, "on this host"] = "",
    search: _Search = "",
) -> Rows:
    """Waiting logins, then open sessions: the oldest first, with the logins that each session covers below it."""
    found = await show_sessions(gateway, connection, actor, person, host, search, MOST + 1)
    return found[:MOST], len(found) > MOST


@view
async def throttle(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    person: Annotated[str, text(person_name_error), "of this person"],
) -> Rows:
    """One row with what counts against the limits of the person, or none."""
    found = await show_limits(gateway, connection, actor, person)
    return [] if found is None else [found], False


@view
async def records(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    person: Annotated[str, _PERSON, "of this person, as with `pam-iampass-gateway log NAME`"] = "",
    concerns: Annotated[
        str,
        _PERSON,
        "that concern this person. All reports of a host on which this person may not log in are one row, with"
        " their `number`",
    ] = "",
    kinds: Annotated[tuple[str, ...], texts(_kind_error), "`act`, `alert`, `decision` or `report`"] = (),
    hosts: _Hosts = (),
    services: _Services = (),
    outcomes: _Outcomes = (),
    remote: _Remote = "",
    acts: Annotated[tuple[str, ...], texts(_act_error), "of these kinds of acts, such as `bypass`"] = (),
    by: Annotated[str, _PERSON, "acts of this person"] = "",
    session: Annotated[str, _BEGINNING, "the beginning of a session's id"] = "",
    login: Annotated[str, _BEGINNING, "the beginning of a login's id"] = "",
    since: Annotated[str, _TIME, "from this time on (ISO 8601)"] = "",
    until: Annotated[str, _TIME, "until this time (ISO 8601)"] = "",
    let_in: _LetIn = False,
    search: _Search = "",
    before: Annotated[int, _up_to(2**62), "written before the record with this `id`"] = 0,
    last: Annotated[int, _up_to(MOST), f"how many: {MOST} at most, {_LAST} without it"] = _LAST,
) -> Rows:
    """The last records that match all fields of the filter, the oldest first."""
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
        acts=acts,
        actor=by,
        remote=remote,
        before=before,
    )
    return await show_records(gateway, connection, actor, wanted, last, search), False


@view
async def may(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    person: Annotated[str, text(person_name_error), "of this person"],
) -> Rows:
    """Returns, for each group of hosts, whether the person may log in, why not (`why`), and whether its hosts accept
    recovery codes. People themselves see only the groups that admit them."""
    return await show_may(gateway, connection, actor, person), False


@view
async def access(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    search: _Search = "",
    after: Annotated[str, _PERSON, "the last name of the previous rows"] = "",
) -> Rows:
    """Returns people for an access review, by name, each with the hosts that admit the person (`hosts`: their
    `group`, `status` and `number`, whether the person `may` log in now, and `why`)."""
    return await show_access(gateway, connection, actor, search, after, MOST)


@view
async def denials(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    person: Annotated[str, text(person_name_error), "of this person"],
    host: Annotated[str, _HOST, "on this host; only admins can name a host without a denial"] = "",
) -> Rows:
    """Why a person could not log in within the last hour (`says`), what helps (`mend`, `act`), and whether it is
    over. The host says `service` and `remote`; all other texts are the gateway's."""
    return await show_denials(gateway, connection, actor, person, host), False


@view
async def phone(
    gateway: Gateway, actor: Actor, person: Annotated[str, text(person_name_error), "of this person"]
) -> Rows:
    """One row, or none: whether IAMPASS knows a phone of the person (`registered`, `none`), or the last one was
    reported lost (`lost`), or IAMPASS does not say (`unknown`)."""
    return await show_phone(gateway, actor, person), False


@view
async def bypasses(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    person: Annotated[str, text(person_name_error), "of this person"],
) -> Rows:
    """Bypasses with which a person can log in without the phone now, in the order in which they end. Without
    `services`, a bypass is for all services; without `hosts` and `groups`, for all hosts."""
    return await show_bypasses(gateway, connection, actor, person), False


@view
async def hours(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    person: Annotated[str, _PERSON, "of this person"] = "",
    hosts: _Hosts = (),
    services: _Services = (),
    outcomes: _Outcomes = (),
    remote: _Remote = "",
    let_in: _LetIn = False,
    search: _Search = "",
    hours: Annotated[
        int, _up_to(_MOST_HOURS), f"of how many hours: {_MOST_HOURS} at most, {_HOURS} without it"
    ] = _HOURS,
) -> Rows:
    """The number of logins by outcome (`logins`), for each hour with logins."""
    since = (await now(connection)).replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours - 1)
    since -= timedelta(microseconds=1)
    wanted = Filter(person, hosts, services, outcomes, since=since, let_in=let_in, remote=remote)
    return await show_hours(gateway, connection, actor, wanted, search), False


@view
async def attention(gateway: Gateway, connection: Connection, actor: Actor) -> Rows:
    """Matters that need attention now. `kind` is `host_waits`, `host_stopped` (people have denied its requests),
    `alert` (of the last day), `damaged` (a row that no gateway has written) or `role_of_nobody`. `what` has the text
    of the alert, the row, or the role."""
    return await show_attention(gateway, connection, actor), False


def _time(text: str) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(timezone.utc) if text else None
