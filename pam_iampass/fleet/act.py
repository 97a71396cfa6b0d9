"""How an act is declared: a frozen dataclass of its parameters, with who may do it and what people are told of it.

A gateway's act is a subclass, which says what it changes (`gateway/acts/`). The portal shows the declaration as a form.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Callable, ClassVar, Generic, TypeVar, get_args, get_origin, get_type_hints

from pam_iampass.fleet.names import host_name_error, person_name_error
from pam_iampass.fleet.results import Result

R = TypeVar("R", bound=Result)
A = TypeVar("A", bound="type[Declared[Any]]")
_MOST = 100
"""Values of one parameter."""


class Role(enum.Enum):
    """The relation of an actor to the fleet, or to the person whom an act concerns."""

    SELF = "the person"
    """The act concerns the actor."""
    AUDITOR = "auditor"
    """Looks, and does nothing."""
    HELPDESK = "helpdesk"
    ADMIN = "admin"
    ROOT = "root"
    """Root of a gateway, who may do everything."""


SELF, HELPDESK, ADMIN = Role.SELF, Role.HELPDESK, Role.ADMIN
EVERYBODY = frozenset({SELF, HELPDESK, ADMIN})


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


def texts(error: Callable[[str], str | None], most: int = _MOST) -> Check:
    """A tuple of such texts."""

    def check(value: object) -> str | None:
        if not isinstance(value, tuple) or len(value) > most:
            return f"must be a list of at most {most} texts"
        return next(filter(None, map(text(error), value)), None)

    return check


def seconds(most: float) -> Check:
    """A positive number of seconds, and not more than `most`."""

    def check(value: object) -> str | None:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= most:
            return None
        return f"must be a number of seconds, more than 0 and at most {most:.0f}"

    return check


def number(most: int) -> Check:
    """A whole number from 1 to `most`."""

    def check(value: object) -> str | None:
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most:
            return None
        return f"must be a whole number from 1 to {most}"

    return check


def time(value: object) -> str | None:
    """The check of a parameter that is a time."""
    return None if isinstance(value, datetime) else "must be a time"


def flag(value: object) -> str | None:
    """The check of a parameter that is True or False."""
    return None if isinstance(value, bool) else "must be true or false"


def checks_of(declared: Callable[..., object]) -> dict[str, Check]:
    """The checks with which the fields of a class, or the parameters of a function, are annotated."""
    hints = get_type_hints(declared, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if get_origin(hint) is Annotated}


@dataclass(frozen=True)
class Field:
    """A parameter as a form has it, the second annotation of the parameter. Without this, only the page gives it."""

    label: str = ""
    hint: str = ""
    required: bool = False
    choices: Mapping[str, str] | None = None
    """The numbers that can be chosen, each with its label."""
    is_made: bool = False
    """Whether a script fills it in."""
    by: Collection[Role] = EVERYBODY
    """The roles that are offered it."""
    name: str = ""
    type: Any = str

    @property
    def is_given(self) -> bool:
        """Whether only the page gives it, with what it is about."""
        return not self.label

    @property
    def is_optional(self) -> bool:
        """Whether the reader may leave it as it is."""
        return not (self.is_given or self.required or self.choices)

    @property
    def kind(self) -> str:
        """`text`, `flag` (a tick), `list` (names, with commas between), `choice` or `made`."""
        if self.is_made or self.choices:
            return "made" if self.is_made else "choice"
        return "flag" if self.type is bool else "list" if get_origin(self.type) is tuple else "text"


def _fields_of(declared: type[Any]) -> Iterator[Field]:
    for name, hint in get_type_hints(declared, include_extras=True).items():
        if get_origin(hint) is Annotated:
            _, *fields = hint.__metadata__
            yield replace(fields[0] if fields else Field(), name=name, type=hint.__origin__)


# Acts


@dataclass(frozen=True)
class Declaration:
    """The facts that are the same for all acts of a class."""

    name: str
    """`what` of the records."""
    by: frozenset[Role]
    """The roles that may do it, besides root."""
    touch: frozenset[Role]
    """The roles among them that must confirm it by a touch of their passkey."""
    phone: frozenset[Role]
    """The roles among them that must also approve it on the phone, if they have one."""
    record: str
    """The meaning of the record's reason; empty if it has none."""
    checks: Mapping[str, Check]
    """The check of each parameter."""
    result: type[Result]
    """The part of the result that the portal is told, since some is secret."""
    entry: str
    """The text of the act in a list of records."""
    news: str
    """The news for the person, shown at their next login; empty if there is none."""
    purpose: str
    """The purpose of the request on the actor's own phone, if the act asks it."""
    label: str
    """The text of the button."""
    says: str
    """What the act will do to somebody else. `{person}` and `{host}` are names; `{logins}` says that this login, or
    all of them, end."""
    own: str
    """What the act will do to the actor's own account."""
    waits: str
    """The text while the page waits for the act to finish. `{person}` and `{host}` are names."""
    done: Callable[[Mapping[str, Any]], str]
    """The outcome as a title, made from the result. `{person}` and `{host}` are names; `{Who}`, `{who}`,
    `{Whose}` and `{of}` are the person or the reader; `{where}` says for which logins, `{until}` until when, `{it}`
    whether it was a request or a login."""
    then: Callable[[Mapping[str, Any]], str]
    """The consequences, made from the result, with the same names; may be empty. A second line warns."""
    answer: Callable[[Mapping[str, Any]], tuple[str, str]] | None
    """The answer for which the act was done, made from the result, and whether it is `yes`, `no` or `wait`; None for
    acts that ask nothing."""
    is_harm: bool
    """Whether it ends, removes or stops something."""
    weakens: bool
    """Whether an attacker who talks somebody into it gets in more easily."""
    fields: tuple[Field, ...]
    """The form: what the page gives, what must be filled in, and the rest."""


DECLARED: dict[str, type[Declared[Any]]] = {}
"""Each act by its name."""


@dataclass(frozen=True)
class Declared(Generic[R]):
    """An act with all parameters, as its actor wants it. R is what the portal is told of its result."""

    declared: ClassVar[Declaration]

    def __post_init__(self) -> None:
        """Check the parameters, where an act is carried out. A dataclass calls it only if it is here, too."""

    @property
    def target(self) -> str | None:
        """The name of the person whom it concerns; None if it concerns nobody, or several."""
        return None

    def told(self, done: Any) -> R:
        """The part of the result that the portal is told: nothing, unless an act names it."""
        result: R = self.declared.result()  # type: ignore[assignment]  # it fails if there is something to be told
        return result


@dataclass(frozen=True)
class OfPerson(Declared[R]):
    """An act that concerns one person."""

    person: Annotated[str, text(person_name_error)]

    @property
    def target(self) -> str:
        return self.person


@dataclass(frozen=True)
class OfHost(Declared[R]):
    """An act that concerns one host."""

    host: Annotated[str, text(host_name_error)]


def act(
    name: str,
    entry: str,
    *,
    by: Collection[Role] = (),
    touch: Collection[Role] | None = None,
    phone: Collection[Role] = (),
    record: str = "",
    news: str = "",
    purpose: str = "",
    label: str = "",
    says: str = "",
    own: str = "",
    waits: str = "In progress. Please wait.",
    done: Callable[[Mapping[str, Any]], str] = lambda _: "",
    then: Callable[[Mapping[str, Any]], str] = lambda _: "",
    answer: Callable[[Mapping[str, Any]], tuple[str, str]] | None = None,
    is_harm: bool = False,
    weakens: bool = False,
) -> Callable[[A], A]:
    """Declare an act. Without `touch`, everybody of `by` must confirm it by a touch of their passkey."""

    def declare(cls: A) -> A:
        cls.declared = Declaration(
            name,
            frozenset(by),
            frozenset(by if touch is None else touch),
            frozenset(phone),
            record,
            checks_of(cls),
            get_args(cls.__orig_bases__[0])[0],  # type: ignore[attr-defined]  # mypy knows it of no class
            entry,
            news,
            purpose,
            label,
            says,
            own,
            waits,
            done,
            then,
            answer,
            is_harm,
            weakens,
            tuple(sorted(_fields_of(cls), key=lambda each: each.is_optional)),
        )
        DECLARED[name] = cls
        return cls

    return declare
