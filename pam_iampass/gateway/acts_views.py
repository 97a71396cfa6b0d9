"""What the portal reads: views with their filters, each declared once. Who sees what is in `acts/views.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Annotated, Any, Callable, ClassVar, TypeVar

from pam_iampass.config.value_types import name_error
from pam_iampass.gateway.actors import Actor
from pam_iampass.gateway.acts.act import Check, flag, text, texts
from pam_iampass.gateway.acts.views import (
    show_hosts,
    show_limits,
    show_own,
    show_people,
    show_records,
    show_sessions,
)
from pam_iampass.gateway.acts_service import Field
from pam_iampass.gateway.database import Connection
from pam_iampass.gateway.gateway import Gateway
from pam_iampass.gateway.hosts import host_name_error
from pam_iampass.gateway.people import person_name_error
from pam_iampass.gateway.records import Filter
from pam_iampass.outcome import Outcome

V = TypeVar("V", bound="type[Wanted]")
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


def _id_error(value: str) -> str | None:
    return (
        None if value.isascii() and value.isprintable() and len(value) <= 64 else "is no beginning of an id"
    )


_TIME: Check = text(_time_error, empty=True)
_ID: Check = text(_id_error, empty=True)
_PERSON: Check = text(person_name_error, empty=True)


class Wanted:
    """The filter of a view. A subclass is a frozen dataclass, whose fields are annotated with a Field."""

    name: ClassVar[str]

    async def rows(
        self, gateway: Gateway, connection: Connection, actor: Actor
    ) -> tuple[Sequence[Any], bool]:
        """The rows that are wanted and that the actor sees, and whether there are more."""
        raise NotImplementedError


VIEWS: dict[str, type[Wanted]] = {}
"""The filter of each view, by the view's name."""


def view(name: str) -> Callable[[V], V]:
    """Declare a view."""

    def declare(cls: V) -> V:
        cls.name = name
        VIEWS[name] = cls
        return cls

    return declare


@view("mine")
@dataclass(frozen=True)
class Own(Wanted):
    """What whoever has signed in has, besides logins and records: one row, with passkeys, sign-ins and codes."""

    async def rows(
        self, gateway: Gateway, connection: Connection, actor: Actor
    ) -> tuple[Sequence[Any], bool]:
        return await show_own(gateway, connection, actor), False


@view("people")
@dataclass(frozen=True)
class People(Wanted):
    """People, by name."""

    begins: Annotated[str, Field(_PERSON, "how their names begin")] = ""
    after: Annotated[str, Field(_PERSON, "the last name of the rows before these")] = ""

    async def rows(
        self, gateway: Gateway, connection: Connection, actor: Actor
    ) -> tuple[Sequence[Any], bool]:
        found, _ = await show_people(gateway, connection, actor, self.begins, self.after, MOST + 1)
        return found[:MOST], len(found) > MOST


@view("hosts")
@dataclass(frozen=True)
class Hosts(Wanted):
    """Hosts, by name."""

    after: Annotated[
        str, Field(text(host_name_error, empty=True), "the last name of the rows before these")
    ] = ""

    async def rows(
        self, gateway: Gateway, connection: Connection, actor: Actor
    ) -> tuple[Sequence[Any], bool]:
        found, _ = await show_hosts(gateway, connection, actor)
        found = [row for row in found if row["name"] > self.after]
        return found[:MOST], len(found) > MOST


@view("sessions")
@dataclass(frozen=True)
class Sessions(Wanted):
    """Open sessions, and logins that wait: the oldest first, and children below their parents."""

    person: Annotated[str, Field(_PERSON, "whose they are")] = ""

    async def rows(
        self, gateway: Gateway, connection: Connection, actor: Actor
    ) -> tuple[Sequence[Any], bool]:
        found = await show_sessions(gateway, connection, actor)
        found = [row for row in found if self.person in ("", row["user"])]
        return found[:MOST], len(found) > MOST


@view("throttle")
@dataclass(frozen=True)
class Limits(Wanted):
    """What counts against the limits of one person: one row, or none."""

    person: Annotated[str, Field(text(person_name_error), "whose")]

    async def rows(
        self, gateway: Gateway, connection: Connection, actor: Actor
    ) -> tuple[Sequence[Any], bool]:
        found = await show_limits(gateway, connection, actor, self.person)
        return [] if found is None else [found], False


@view("records")
@dataclass(frozen=True)
class Records(Wanted):
    """The last records that all of the filter is true of, the oldest first."""

    person: Annotated[str, Field(_PERSON, "whom they name, as `pam-iampass-gateway log NAME`")] = ""
    hosts: Annotated[tuple[str, ...], Field(texts(host_name_error), "on which hosts")] = ()
    services: Annotated[tuple[str, ...], Field(texts(name_error), "through which services")] = ()
    outcomes: Annotated[tuple[str, ...], Field(texts(_outcome_error), "with which outcomes")] = ()
    session: Annotated[str, Field(_ID, "the beginning of a session's id")] = ""
    login: Annotated[str, Field(_ID, "the beginning of a login's id")] = ""
    since: Annotated[str, Field(_TIME, "from when (ISO 8601)")] = ""
    until: Annotated[str, Field(_TIME, "until when (ISO 8601)")] = ""
    let_in: Annotated[bool, Field(flag, "whether only logins that let somebody in")] = False
    last: Annotated[int, Field(_number, f"how many: at most {MOST}, by default {_LAST}")] = _LAST

    async def rows(
        self, gateway: Gateway, connection: Connection, actor: Actor
    ) -> tuple[Sequence[Any], bool]:
        wanted = Filter(
            self.person,
            self.hosts,
            self.services,
            self.outcomes,
            self.session,
            _time(self.since),
            _time(self.until),
            self.login,
            self.let_in,
        )
        return await show_records(gateway, connection, actor, wanted, self.last), False


def _time(text: str) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(timezone.utc) if text else None
