"""Cleaning of text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_iampass.text import clean, in_quotes, quoted

HOSTILE = [
    "\x1b[31m",
    "\x7f",
    "\x9b31m",
    "a\nb",
    "\u2028",
    "\u202e",
    "\u200b",
    "\udcff",
    "\0",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_controls_and_direction_marks_become_visible_escapes(text: str) -> None:
    assert clean(text).isprintable()
    assert "\\" in clean(text)


def test_a_byte_that_is_no_utf8_is_shown_as_that_byte() -> None:
    assert clean(b"caf\xe9".decode("utf-8", "surrogateescape")) == "caf\\xe9"


def test_plain_text_in_any_script_stays_as_it_is() -> None:
    assert clean("Zoë 東京 עברית") == "Zoë 東京 עברית"


@given(st.text(st.characters(), max_size=400))
def test_cleaned_text_is_one_printable_line_of_bounded_length(text: str) -> None:
    shown = clean(text, 100)
    assert len(shown) <= 100
    assert all(unicodedata.category(character)[0] != "C" for character in shown)
    assert len(shown.splitlines()) <= 1


@given(st.text(max_size=50))
def test_a_quoted_name_never_looks_like_two_words(name: str) -> None:
    shown = quoted(name)
    assert shown.startswith('"') or " " not in shown
    if shown.startswith('"'):
        assert shown == in_quotes(name)
        assert '"' not in shown[1:-1].replace('\\"', "").replace("\\\\", "") or shown.endswith('"')


def test_a_name_cannot_close_its_quotes() -> None:
    assert quoted('x" result=success user="root') == '"x\\" result=success user=\\"root"'


def test_nothing_is_distinguished_from_a_name_that_looks_like_nothing() -> None:
    assert quoted(None) == "-"
    assert quoted("-") == '"-"'
    assert quoted("") == '""'
