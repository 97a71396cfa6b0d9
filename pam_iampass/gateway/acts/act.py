"""Acts: what is done to the fleet, by whom, and how it is carried out.

An act is a frozen dataclass of its parameters, which is declared once: its name in the records, who may do it, and who
of them must confirm it by a touch of their passkey. Nothing but `perform` carries one out, for root's command as for
everybody.

    EditRefused
    └── ActRefused           nothing was changed
        ├── NotPermitted     the actor may not do this
        ├── BadParameter     names the parameter, and what is wrong with it
        └── UnknownName      nobody has the name (`names.py`)
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Callable, ClassVar, Generic, TypeVar, get_type_hints

from pam_iampass.errors import EditRefused, shown
from pam_iampass.gateway import records
from pam_iampass.gateway.database import Connection
from pam_iampass.gateway.gateway import Gateway
from pam_iampass.gateway.people import person_name_error

T = TypeVar("T")
A = TypeVar("A", bound="type[Act[Any]]")
_MOST = 100
"""Values of one parameter."""


class ActRefused(EditRefused):
    """An act that was not carried out. Nothing was changed."""


class NotPermitted(ActRefused):
    """The actor may not do this."""


class BadParameter(ActRefused):
    """A parameter that an act cannot have. `name` is the parameter's, as it was given."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{shown(name)} {problem}")
        self.name = name


# Who acts


class Role(enum.Enum):
    """What somebody is to the fleet, or to the person whom an act concerns."""

    SELF = "the person"
    """The act concerns the actor."""
    AUDITOR = "auditor"
    """Looks, and does nothing."""
    HELPDESK = "helpdesk"
    ADMIN = "admin"
    ROOT = "root"
    """Root of a gateway, who may do everything."""


@dataclass(frozen=True)
class Actor:
    """Who acts, and how they are known."""

    name: str
    roles: frozenset[Role]
    known_by: str
    """What has shown who it is: `command` for root of this gateway."""
    details: Mapping[str, str] = field(default_factory=dict)
    """More about that, for the record, such as `remote`."""
    helps: frozenset[str] = frozenset()
    """The groups of the people whom a helpdesk helps. Who also has another group is not among them."""

    @classmethod
    def root(cls) -> Actor:
        """The administrator who runs this command as root of a gateway."""
        fields = records.administrator_fields()
        return cls(fields.pop("caller"), frozenset({Role.ROOT}), fields.pop("known_by"), fields)

    @property
    def fields(self) -> dict[str, str]:
        """What records say of the actor."""
        return {**self.details, "caller": self.name, "known_by": self.known_by}


# Parameters

Check = Callable[[object], "str | None"]
"""Says what is wrong with a value, as the end of a sentence; None if nothing is."""


def text(error: Callable[[str], str | None], *, empty: bool = False) -> Check:
    """A text for which `error` says nothing; or, with `empty`, the empty one."""

    def check(value: object) -> str | None:
        if not isinstance(value, str):
            return "must be a text"
        return None if empty and not value else error(value)

    return check


def texts(error: Callable[[str], str | None]) -> Check:
    """A tuple of such texts."""

    def check(value: object) -> str | None:
        if not isinstance(value, tuple) or len(value) > _MOST:
            return f"must be a list of at most {_MOST} texts"
        return next(filter(None, map(text(error), value)), None)

    return check


def seconds(most: float) -> Check:
    """A positive number of seconds, and not more than `most`."""

    def check(value: object) -> str | None:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= most:
            return None
        return f"must be a number of seconds, more than 0 and at most {most:.0f}"

    return check


def flag(value: object) -> str | None:
    """The check of a parameter that is True or False."""
    return None if isinstance(value, bool) else "must be true or false"


# Acts


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
    """The result, for the record."""


@dataclass(frozen=True)
class Declaration:
    """What is fixed about all acts of a class."""

    name: str
    """`what` of the records."""
    by: frozenset[Role]
    """Who may do it, besides root."""
    touch: frozenset[Role]
    """Who of them must confirm it by a touch of their passkey."""
    record: str
    """What the record's reason says; empty if it has none."""
    checks: Mapping[str, Check]
    """What each parameter must be."""


ACTS: dict[str, type[Act[Any]]] = {}
"""Each act by its name."""


@dataclass(frozen=True)
class Act(Generic[T]):
    """What somebody wants to do, with all parameters. T is what it results in. Raises BadParameter."""

    declared: ClassVar[Declaration]

    def __post_init__(self) -> None:
        for name, check in self.declared.checks.items():
            problem = check(getattr(self, name))
            if problem:
                raise BadParameter(name, problem)

    @property
    def target(self) -> str | None:
        """The name of the person whom it concerns; None if it concerns nobody, or several."""
        return None

    async def change(self, work: Work) -> T:
        """Make the changes in the database, all in the transaction of `work`. Raises ActRefused."""
        raise NotImplementedError

    async def after(self, gateway: Gateway, done: T) -> T:
        """Carry out what cannot be in that transaction, such as telling IAMPASS; the result. It can be repeated."""
        return done


@dataclass(frozen=True)
class OfPerson(Act[T]):
    """An act that concerns one person."""

    person: Annotated[str, text(person_name_error)]

    @property
    def target(self) -> str:
        return self.person


def act(
    name: str, *, by: Collection[Role] = (), touch: Collection[Role] | None = None, record: str = ""
) -> Callable[[A], A]:
    """Declare an act. Without `touch`, everybody of `by` must confirm it by a touch of their passkey."""

    def declare(cls: A) -> A:
        hints = get_type_hints(cls, include_extras=True)
        checks = {each.name: hints[each.name].__metadata__[0] for each in dataclasses.fields(cls)}
        needs_touch = frozenset(by if touch is None else touch)
        cls.declared = Declaration(name, frozenset(by), needs_touch, record, checks)
        ACTS[name] = cls
        return cls

    return declare


def requested(name: str, parameters: Mapping[str, object]) -> Act[Any]:
    """The act of this name with these parameters, of which nothing is known yet. Raises BadParameter."""
    cls = ACTS.get(name)
    if cls is None:
        raise BadParameter(name, "is no act")
    for given in parameters:
        if given not in cls.declared.checks:
            raise BadParameter(str(given), f"is no parameter of {name}")
    for each in dataclasses.fields(cls):
        if each.default is dataclasses.MISSING and each.name not in parameters:
            raise BadParameter(each.name, "is missing")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in parameters.items()}
    return cls(**values)


async def perform(gateway: Gateway, actor: Actor, act: Act[T]) -> T:
    """Carry out an act: all of it and its record in one transaction, then what follows from it; the result.

    The rows of the actor and of the target are locked, in the order of their names, before anything is read. Raises
    ActRefused and DatabaseError; nothing was changed then, unless it is UnknownOutcome or comes from `after`.
    """
    _require_permitted(actor, act)
    async with gateway.database.transaction() as connection:
        lock = "SELECT 1 FROM person WHERE name = ANY(%s) ORDER BY name FOR NO KEY UPDATE"
        connection.later(lock, ([actor.name, act.target],))
        work = Work(gateway, connection, actor, act.target)
        done = await act.change(work)
        await records.act(
            connection,
            act.declared.name,
            by=actor.fields,
            host=work.host,
            person=work.person,
            reason=work.reason,
        )
    return await act.after(gateway, done)


def _require_permitted(actor: Actor, act: Act[Any]) -> None:
    """The policy. Root of a gateway may do everything. Nobody else acts yet, whatever the declarations say: nothing
    shows who they are, whom they may help, and that they have touched a passkey. Raises NotPermitted."""
    if Role.ROOT not in actor.roles:
        raise NotPermitted(f"{shown(actor.name)} may not do this: {act.declared.name}")
