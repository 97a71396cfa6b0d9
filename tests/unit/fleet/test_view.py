"""A view shows each role the fields that name it, and no others."""

from __future__ import annotations

from typing import Annotated, TypedDict

from pam_iampass.fleet.act import Role
from pam_iampass.fleet.view import ToAll, ToSelf, View


class Row(TypedDict, total=False):
    name: ToAll[str]
    own: ToSelf[int]
    audited: Annotated[int, Role.AUDITOR]
    secret: str


ROW: Row = {"name": "alice", "own": 1, "audited": 2, "secret": "token"}


def test_a_role_sees_the_fields_that_name_it_and_a_field_without_a_role_is_shown_to_nobody() -> None:
    view = View("rows", Row)
    assert view.show(frozenset({Role.SELF}), ROW) == {"name": "alice", "own": 1}
    assert view.show(frozenset({Role.SELF, Role.AUDITOR}), ROW) == {"name": "alice", "own": 1, "audited": 2}
    assert view.show(frozenset(Role), ROW).keys() == ROW.keys() - {"secret"}
    assert view.show(frozenset(), ROW) == {}
    assert view.fields[Role.ADMIN] == ("name",)


def test_what_a_row_has_besides_is_shown_to_nobody() -> None:
    more: Row = {**ROW, "phone": "+15551234567"}  # type: ignore[typeddict-unknown-key]  # it is to be hidden
    assert "phone" not in View("rows", Row).show(frozenset(Role), more)
