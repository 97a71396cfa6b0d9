"""Acts as forms of the portal: what a form holds becomes the act, and each role reads what it does."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

pytest.importorskip("aiohttp")
pytest.importorskip("jinja2")
pytest.importorskip("psycopg")

from pam_iampass.fleet.act import Declaration
from pam_iampass.gateway.acts import ACTS
from pam_iampass.gateway.acts.act import requested
from pam_iampass.portal.offers import OFFERS, Unreadable, read, sentence
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
    for said in (*sentences(offer), offer.done(example_result(offer.result))):
        assert said.strip().endswith("."), said


def test_a_number_that_cannot_be_chosen_is_refused() -> None:
    for written in ("", "1e9", "-1", "nan", "3600.0"):
        with pytest.raises(Unreadable):
            read(OFFERS["bypass"], {"person": "alice", "seconds": written})
