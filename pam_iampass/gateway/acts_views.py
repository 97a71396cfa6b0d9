"""What the portal reads: views with their filters, each declared once. Who sees what is in `acts/views.py`."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from datetime import datetime, timezone
from typing import Annotated, Any, Callable, TypeVar

from pam_iampass.config.value_types import name_error
from pam_iampass.gateway.actors import Actor
from pam_iampass.gateway.acts.act import flag, text, texts
from pam_iampass.gateway.acts.views import (
    show_hosts,
    show_limits,
    show_own,
    show_people,
    show_records,
    show_sessions,
)
from pam_iampass.gateway.database import Connection
from pam_iampass.gateway.gateway import Gateway
from pam_iampass.gateway.hosts import host_name_error
from pam_iampass.gateway.people import person_name_error
from pam_iampass.gateway.records import Filter
from pam_iampass.outcome import Outcome

Rows = tuple[Sequence[Any], bool]
"""The rows that are wanted and that the actor sees, and whether there are more."""
R = TypeVar("R", bound=Callable[..., Coroutine[Any, Any, Rows]])
VIEWS: dict[str, Callable[..., Coroutine[Any, Any, Rows]]] = {}
"""What reads each view, by the view's name. Annotated parameters are the filter: a check, and what they are for."""
MOST = 500
"""Rows of one answer."""
_LAST = 50


def _number(value: object) -> str | None:
    is_one = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST
    return None if is_one else f"must be a number from 1 to {MOST}"


def _time_error(value: str) -> str | None:
    try:
        found = datetime.fromisoformat(value)
        found.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return "is no time (ISO 8601)"
    return None if found.tzinfo else "has no offset from UTC"


def _outcome_error(value: str) -> str | None:
    return None if value in {each.value for each in Outcome} else "is no outcome"


def _beginning_error(value: str) -> str | None:
    is_one = value.isascii() and value.isprintable() and len(value) <= 64
    return None if is_one else "is no beginning of an id"


_TIME = text(_time_error, empty=True)
_BEGINNING = text(_beginning_error)
_PERSON = text(person_name_error, empty=True)
_HOST = text(host_name_error, empty=True)


def view(name: str) -> Callable[[R], R]:
    """Declare what reads a view."""

    def declare(read: R) -> R:
        VIEWS[name] = read
        return read

    return declare


@view("mine")
async def mine(gateway: Gateway, connection: Connection, actor: Actor) -> Rows:
    """What whoever has signed in has, besides logins and records: one row, with passkeys, sign-ins and codes."""
    return await show_own(gateway, connection, actor), False


@view("people")
async def people(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    begins: Annotated[str, _PERSON, "how their names begin"] = "",
    after: Annotated[str, _PERSON, "the last name of the rows before these"] = "",
) -> Rows:
    """People, by name."""
    found, tampered = await show_people(gateway, connection, actor, begins, after, MOST + 1)
    return found[:MOST], len(found) + len(tampered) > MOST


@view("hosts")
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


@view("sessions")
async def sessions(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    person: Annotated[str, _PERSON, "whose they are"] = "",
) -> Rows:
    """Open sessions, and logins that wait: the oldest first, and children below their parents."""
    found = await show_sessions(gateway, connection, actor, person)
    return found[:MOST], len(found) > MOST


@view("throttle")
async def throttle(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    person: Annotated[str, text(person_name_error), "whose"],
) -> Rows:
    """What counts against the limits of one person: one row, or none."""
    found = await show_limits(gateway, connection, actor, person)
    return [] if found is None else [found], False


@view("records")
async def records(
    gateway: Gateway,
    connection: Connection,
    actor: Actor,
    person: Annotated[str, _PERSON, "whom they name, as `pam-iampass-gateway log NAME`"] = "",
    hosts: Annotated[tuple[str, ...], texts(host_name_error), "on which hosts"] = (),
    services: Annotated[tuple[str, ...], texts(name_error), "through which services"] = (),
    outcomes: Annotated[tuple[str, ...], texts(_outcome_error), "with which outcomes"] = (),
    session: Annotated[str, _BEGINNING, "the beginning of a session's id"] = "",
    login: Annotated[str, _BEGINNING, "the beginning of a login's id"] = "",
    since: Annotated[str, _TIME, "from when (ISO 8601)"] = "",
    until: Annotated[str, _TIME, "until when (ISO 8601)"] = "",
    let_in: Annotated[bool, flag, "whether only logins that let somebody in"] = False,
    last: Annotated[int, _number, f"how many: at most {MOST}, by default {_LAST}"] = _LAST,
) -> Rows:
    """The last records that all of the filter is true of, the oldest first."""
    wanted = Filter(person, hosts, services, outcomes, session, _time(since), _time(until), login, let_in)
    return await show_records(gateway, connection, actor, wanted, last), False


def _time(text: str) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(timezone.utc) if text else None
