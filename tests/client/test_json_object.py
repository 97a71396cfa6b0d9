"""JSON is read strictly, whatever arrives."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_iampass.client import ProtocolError
from pam_iampass.client.call import JsonObject

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{",
        b"{}{}",
        b'{"a": 1,}',
        b'{"a": NaN}',
        b'{"a": 1, "a": 1}',
        b'{"x": {"a": 1, "\\u0061": 2}}',
        b'{"a": ' + b"9" * 60_000 + b"}",
        b"[" * 60_000,
        b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b"\xef\xbb\xbf{}",
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        '{"a": 1}'.encode("utf-16"),
        b'{"a": "line\nbreak"}',
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_not_strict_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="poll: the response is") as caught:
        JsonObject.parse(body, "poll")
    assert caught.value.may_have_started is True


@given(st.binary())
def test_any_bytes_are_a_document_or_a_protocol_error(body: bytes) -> None:
    with suppress(ProtocolError):
        JsonObject.parse(body, "poll")


def test_brackets_within_text_are_no_nesting() -> None:
    text = '[{"\\' * 1000
    body = json.dumps({"a": text, "b": [[]] * 1000, "c": True}).encode()
    assert JsonObject.parse(body, "poll").text("a") == text
    with pytest.raises(ProtocolError):
        JsonObject.parse(json.dumps({"a": text, "b": json.loads("[" * 32 + "]" * 32)}).encode(), "poll")


@given(st.text(), JSON)
def test_a_member_is_given_only_as_what_it_is(key: str, value: object) -> None:
    document = JsonObject.parse(json.dumps({key: value}).encode(), "poll")
    for read, kind in ((document.text, str), (document.boolean, bool)):
        if type(value) is kind:
            assert read(key) == value
        else:
            with pytest.raises(ProtocolError):
                read(key)


def test_half_a_character_is_no_text() -> None:
    document = JsonObject.parse(b'{"a": "\\ud800", "b": "\\ud83d\\ude00"}', "poll")
    with pytest.raises(ProtocolError, match="half a character"):
        document.text("a")
    assert document.text("b") == "\N{GRINNING FACE}"
