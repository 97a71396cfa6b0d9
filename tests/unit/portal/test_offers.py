"""Acts as forms of the portal: what a form holds becomes the act, and each role reads what it does."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

pytest.importorskip("aiohttp")
pytest.importorskip("jinja2")
pytest.importorskip("psycopg")

from markupsafe import Markup, escape

from pam_iampass.fleet.act import Declaration
from pam_iampass.gateway.acts import ACTS
from pam_iampass.gateway.acts.act import requested
from pam_iampass.portal.offers import OFFERS, REQUEST, Unreadable, outcome, read, sentence
from tests.support.portal_rows import example_result

ID = "5f0c1f6e-0f6a-4d8e-9d43-5d4b3c0c2b11"
#: What a form holds for a parameter of this name, and what the act is given.
WRITTEN: dict[str, tuple[str, Any]] = {
    "person": ("alice", "alice"),
    "host": ("web-1", "web-1"),
    "id": ("h-aaaaaaaaaaaa", "h-aaaaaaaaaaaa"),
    "session": (ID, ID),
    "sign_in": (ID, ID),
    "passkey": ("A" * 22, "A" * 22),
    "label": (" my laptop ", "my laptop"),
    "answer": ('{"id": "x"}', '{"id": "x"}'),
    "seconds": ("3600", 3600.0),
    "reason": ("ticket 17", "ticket 17"),
    "services": ("sshd, sudo", ("sshd", "sudo")),
    "hosts": ("web-1,web-2, ", ("web-1", "web-2")),
    "addresses": ("192.0.2.8, 2001:db8::8", ("192.0.2.8", "2001:db8::8")),
    "groups": (" db test, bastion", ("db test", "bastion")),
    "note": (" rack 4 ", "rack 4"),
    "end_codes": ("yes", True),
    "end_logins": ("yes", True),
    "sends": ("yes", True),
    "replaces": ("yes", True),
    "everything": ("", False),
}


@pytest.mark.parametrize("name", OFFERS)
def test_a_form_has_all_parameters_and_becomes_the_act(name: str) -> None:
    offer = OFFERS[name]
    form = {field.name: WRITTEN[field.name][0] for field in offer.fields}
    made = requested(name, read(offer, form))
    assert dataclasses.asdict(made) == {field.name: WRITTEN[field.name][1] for field in offer.fields}


@pytest.mark.parametrize("name", OFFERS)
def test_what_is_left_empty_is_left_to_the_act(name: str) -> None:
    offer, act = OFFERS[name], ACTS[name]
    needed = {
        each.name
        for each in dataclasses.fields(act)
        if each.default is dataclasses.MISSING or each.name in ("reason", "person")
    }
    made = requested(name, read(offer, {name: WRITTEN[name][0] for name in needed} | {"back": "/"}))
    assert type(made) is act


def sentences(offer: Declaration) -> list[str]:
    given = {"person": "ann{0}", "host": "web-1"}
    return [sentence(offer, role, given) for role in offer.by]


@pytest.mark.parametrize("name", OFFERS)
def test_each_role_reads_a_sentence_before_and_after(name: str) -> None:
    offer = OFFERS[name]
    result = example_result(offer.result)
    for said in (*sentences(offer), offer.then(result)):
        assert said == "" or said.endswith("."), said
    for is_own in (True, False):
        given = {"person": "ann{0}", "host": "web-1"}
        shown = outcome(offer, result, given, is_own=is_own, name=escape, moment=lambda _: Markup("18:00"))
        assert shown.title != offer.label
        assert bool(shown.title) == (offer.answer is None)
        assert not shown.title.endswith("."), "it is a title"
        assert shown.then == "" or shown.then.endswith(".")


def test_the_title_of_a_result_says_who_can_do_what_until_when_and_where() -> None:
    offer, result = OFFERS["bypass"], {"ends_at": "2026-12-03T19:00:00+01:00"}
    given = {"person": "b<ob", "hosts": ["web1"], "groups": ["db"], "services": ["sshd"]}
    shown = outcome(
        offer, result, given, is_own=False, name=escape, moment=lambda time: Markup(f"<time>{time}</time>")
    )
    where = "on web1, hosts of db through sshd"
    assert shown.title == f"b<ob can log in without the phone until 2026-12-03 18:00 UTC {where}"
    assert shown.heading == (
        f"b&lt;ob can log in without the phone until <time>2026-12-03T19:00:00+01:00</time> {where}"
    )
    ended = {"ended": 1, "errors": 0}
    of = {"person": "bob", "session": "1"}
    said = {
        (act, is_own, what): outcome(
            OFFERS[act], ended, {**of, REQUEST: what}, is_own=is_own, name=escape, moment=escape
        ).title
        for act, is_own, what in (
            ("session_end", True, ""),
            ("session_end", False, "yes"),
            ("session_not_me", True, "yes"),
        )
    }
    assert [*said.values()] == [
        "1 login has ended",
        "1 request of bob has ended",
        "The request has ended, and your administrators get an alert",
    ]


def test_a_number_that_cannot_be_chosen_is_refused() -> None:
    for written in ("", "1e9", "-1", "nan", "3600.0"):
        with pytest.raises(Unreadable):
            read(OFFERS["bypass"], {"person": "alice", "seconds": written})
