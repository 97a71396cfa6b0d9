"""How a view is declared: the type of its rows, in which each field names the roles that see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Generic, TypeVar, cast, get_origin, get_type_hints

from pam_iampass.fleet.act import Role

R = TypeVar("R")
T = TypeVar("T")
ToAll = Annotated[T, Role.SELF, Role.AUDITOR, Role.HELPDESK, Role.ADMIN]
ToStaff = Annotated[T, Role.AUDITOR, Role.HELPDESK, Role.ADMIN]
ToHelpers = Annotated[T, Role.SELF, Role.HELPDESK, Role.ADMIN]
"""A field that the person and the people who may help them see."""
ToOwner = Annotated[T, Role.SELF, Role.AUDITOR, Role.ADMIN]
"""The person, and who reads all records: not the help desk."""
ToAuditors = Annotated[T, Role.AUDITOR, Role.ADMIN]
ToAdmins = Annotated[T, Role.ADMIN]
ToSelf = Annotated[T, Role.SELF]


@dataclass(frozen=True)
class View(Generic[R]):
    """The fields that may be read of rows of one kind."""

    of: str
    row: type[R]
    """Its fields are annotated with the roles that see them. A field that names no role is shown to nobody."""

    @cached_property
    def fields(self) -> Mapping[Role, tuple[str, ...]]:
        """The fields that each role sees; other roles see no row. Root of a gateway sees what admins see."""
        hints = get_type_hints(self.row, include_extras=True)
        seen = {name: hint.__metadata__ for name, hint in hints.items() if get_origin(hint) is Annotated}
        by_role = {role: tuple(name for name in seen if role in seen[name]) for role in Role}
        return {role: names for role, names in by_role.items() if names}

    def show(self, roles: frozenset[Role], row: R) -> R:
        """The fields of a row that these roles see."""
        seen = {name for role in roles for name in self.fields.get(role, ())}
        values = cast(Mapping[str, Any], row)
        return cast(R, {name: value for name, value in values.items() if name in seen})
