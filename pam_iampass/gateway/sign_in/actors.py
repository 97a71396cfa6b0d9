"""Actors, their roles, and the errors that say why they may not do something.

EditRefused
└── ActRefused           nothing was changed
    ├── NotPermitted     the actor may not do this
    ├── NotSignedIn      the token is of no sign-in, or it is over
    ├── ProofRefused     what was sent as a proof does not count
    ├── TooMany          too much of this was done within a minute
    ├── BadParameter     names the parameter, and what is wrong with it
    └── UnknownName      nobody has the name (`acts/names.py`)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from pam_iampass.errors import EditRefused, shown
from pam_iampass.fleet.act import Role
from pam_iampass.gateway.base import records


class ActRefused(EditRefused):
    """An act that was not carried out. Nothing was changed."""


class NotPermitted(ActRefused):
    """The actor may not do this."""


class NotSignedIn(ActRefused):
    """The token is of no sign-in, or it is over. `why` is for the record only."""

    def __init__(self, why: str) -> None:
        super().__init__("the sign-in is not known, or it is over", "sign in again")
        self.why = why


class ProofRefused(ActRefused):
    """A proof that was sent does not count. `why` is for the record only."""

    def __init__(self, why: str) -> None:
        super().__init__("this does not count as a proof", "begin again")
        self.why = why


class TooMany(ActRefused):
    """Too much of this was done within a minute. It leaves no record."""

    def __init__(self) -> None:
        super().__init__("too much was done within a minute", "wait a minute")


class Repeated(ActRefused):
    """This very act was done before. It leaves no record."""

    def __init__(self) -> None:
        super().__init__("this was done before", "look before you do it again")


class BadParameter(ActRefused):
    """A parameter that an act cannot have. `name` is the parameter's, as it was given."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{shown(name)} {problem}")
        self.name, self.problem = name, problem


@dataclass(frozen=True)
class Actor:
    """Somebody who acts, and how they are known."""

    name: str
    roles: frozenset[Role]
    known_by: str
    """The proof of who it is: `command` for root of this gateway, or `sign-in`."""
    details: Mapping[str, str] = field(default_factory=dict)
    """More about that, for the record, such as `remote`."""
    helps: frozenset[str] = frozenset()
    """The groups of the people whom a helpdesk helps. A person who also has another group is not among them."""

    @classmethod
    def root(cls) -> Actor:
        """The administrator who runs this command as root of a gateway."""
        fields = records.administrator_fields()
        return cls(fields.pop("caller"), frozenset({Role.ROOT}), fields.pop("known_by"), fields)

    def may_help(self, groups: Collection[str]) -> bool:
        """Whether the actor, as help desk, helps a person with these groups: it helps all of them, and there is one."""
        return Role.HELPDESK in self.roles and bool(groups) and self.helps.issuperset(groups)

    @property
    def fields(self) -> dict[str, str]:
        """The fields of records about the actor."""
        return {**self.details, "caller": self.name, "known_by": self.known_by}
