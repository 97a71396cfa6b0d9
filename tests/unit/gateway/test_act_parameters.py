"""The parameters of acts: what nobody has checked yet names the field that is wrong."""

from __future__ import annotations

import dataclasses
import math
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("psycopg")

from pam_iampass.fleet import DECLARED
from pam_iampass.fleet.act import Role
from pam_iampass.gateway.acts import ACTS
from pam_iampass.gateway.acts.act import requested
from pam_iampass.gateway.acts.people import BypassPhone, EndBypasses
from pam_iampass.gateway.acts.sessions import EndSessions
from pam_iampass.gateway.sign_in.actors import BadParameter
from tools.docs import acts_reference

BYPASS: dict[str, object] = {"person": "alice", "seconds": 60}
NEEDED: dict[str, object] = {
    **BYPASS,
    "host": "web1",
    "label": "laptop",
    "answer": "{}",
    "passkey": "A" * 43,
    "group": "servers",
    "groups": (),
    "display_name": "",
    "phone_number": "",
    "changed_at": datetime(2026, 12, 2, tzinfo=timezone.utc),
    "invite": "i-aaaaaaaaaaaa",
    "session": "5f0c1f6e-0f6a-4d8e-9d43-5d4b3c0c2b11",
}


def test_an_act_is_made_of_its_name_and_parameters_and_compares_by_them() -> None:
    assert requested("bypass_end", {"person": "alice"}) == EndBypasses("alice")
    made = requested("bypass", {**BYPASS, "services": ["sudo", "su"]})
    assert made == BypassPhone("alice", 60, services=("sudo", "su"))


@pytest.mark.parametrize(
    ("name", "parameters", "field"),
    [
        ("bypass_all", {}, "bypass_all"),
        ("bypass_end", {}, "person"),
        ("bypass_end", {"person": "alice", "declared": None}, "declared"),
        ("bypass_end", {"person": "alice", "\x1b[2J": 1}, "\x1b[2J"),
        ("bypass_end", {"person": None}, "person"),
        ("bypass_end", {"person": ["alice"]}, "person"),
        ("bypass_end", {"person": "../alice"}, "person"),
        ("bypass_end", {"person": "alice\n"}, "person"),
        ("bypass_end", {"person": "\ud800"}, "person"),
        ("bypass_end", {"person": "a" * 257}, "person"),
        ("bypass", {"person": "alice"}, "seconds"),
        *(
            ("bypass", {**BYPASS, "seconds": value}, "seconds")
            for value in (0, -1, 86401, math.nan, math.inf, 10**400, True, "60", None)
        ),
        ("bypass", {**BYPASS, "services": "sudo"}, "services"),
        ("bypass", {**BYPASS, "services": [["sudo"]]}, "services"),
        ("bypass", {**BYPASS, "services": ["sudo"] * 101}, "services"),
        ("bypass", {**BYPASS, "hosts": ["web1;"]}, "hosts"),
        ("bypass", {**BYPASS, "reason": "one\ntwo"}, "reason"),
        ("bypass", {**BYPASS, "reason": "x" * 201}, "reason"),
        ("host_suspend", {"host": "web1;"}, "host"),
        *(
            ("host_note", {"host": "web1", "note": value}, "note")
            for value in (" ", "one\ntwo", "\x1b[2J", "\u202egnp", "\u200b", "\ud800", "x" * 201, None)
        ),
        *(
            ("host_invite", {"group": "servers", "seconds": 60, **wrong}, next(iter(wrong)))
            for wrong in (
                {"uses": 0},
                {"uses": True},
                {"uses": 10**6},
                {"network": "192.0.2.1/24"},
                {"name": "Web"},
            )
        ),
        ("phone_new", {"person": "alice", "number": "+15551234567"}, "number"),
        ("enroll", {"person": "alice", "number": "555"}, "number"),
        ("enroll", {"person": "alice", "number": "+1 555 123 4567"}, "number"),
        ("enroll", {"person": "alice", "display_name": "a\nb"}, "display_name"),
        ("enroll", {"person": "alice", "message": "x" * 1001}, "message"),
        ("session_end", {}, "everything"),
        ("session_end", {"everything": 1}, "everything"),
        ("session_end", {"everything": True, "person": "alice"}, "everything"),
        ("session_end", {"session": "5f0c"}, "session"),
        ("session_end", {"session": "{5F0C8E1D-2B7A-4F36-9C04-D1E8A7B65F32}"}, "session"),
    ],
)
def test_what_a_parameter_cannot_be_is_an_error_that_names_it(
    name: str, parameters: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadParameter) as error:
        requested(name, parameters)
    assert error.value.name == field
    assert error.value.diagnostics().isprintable()


@pytest.mark.parametrize("name", ACTS)
def test_whoever_makes_an_act_its_parameters_are_checked(name: str) -> None:
    """Also root's command, which makes it without `requested`."""
    needed = {each.name for each in dataclasses.fields(ACTS[name]) if each.default is dataclasses.MISSING}
    for wrong in ACTS[name].declared.checks:
        with pytest.raises(BadParameter) as error:
            ACTS[name](**{**{each: NEEDED[each] for each in needed}, wrong: object()})
        assert error.value.name == wrong


def test_the_page_about_acts_is_made_from_their_declarations() -> None:
    page = Path(__file__).parents[3] / "docs/reference/acts.md"
    assert page.read_text("utf-8") == acts_reference.page(), "run: make pages"
    assert all(f"| `{name}` |" in page.read_text("utf-8") for name in ACTS)


def test_every_act_that_is_declared_is_carried_out() -> None:
    assert ACTS.keys() == DECLARED.keys()


def test_what_is_made_of_an_act_does_not_take_its_place() -> None:
    class Other(EndBypasses):
        pass

    assert ACTS[Other.declared.name] is EndBypasses


def test_who_acts_for_others_must_touch_a_passkey_for_it() -> None:
    for act in ACTS.values():
        assert act.declared.by - {Role.SELF} <= act.declared.touch <= act.declared.by
    assert Role.SELF not in EndSessions.declared.touch
