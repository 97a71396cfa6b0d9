"""Reads JSON answers strictly: what is not exactly as the protocol says is a ProtocolError."""

from __future__ import annotations

import json
from typing import Any

from .errors import ProtocolError

_DIGITS_LIMIT = 20
# Far below what makes json raise RecursionError, wherever on the stack we are.
_DEPTH_LIMIT = 32
_KINDS = {bool: "true or false", str: "text", dict: "an object", list: "a list", type(None): "null"}


class Document:
    """One JSON object of an answer; every member is read with the type that it must have."""

    def __init__(self, members: dict[str, Any], call: str) -> None:
        self._members = members
        self._call = call

    @classmethod
    def parse(cls, body: bytes, call: str) -> Document:
        """The object that is the whole body: UTF-8, no duplicate keys, no NaN, no endless numbers or
        nesting."""
        problem: str | None = None
        members: Any = None
        try:
            text = body.decode("utf-8")
            _refuse_deep_nesting(text)
            members = json.loads(
                text,
                object_pairs_hook=_without_duplicates,
                parse_constant=_refuse_constant,
                parse_int=_short_integer,
            )
        except ValueError:
            problem = "the answer is not strict JSON"
        if problem is None and type(members) is not dict:
            problem = "the answer is not a JSON object"
        if problem is not None:
            raise ProtocolError(f"{call}: {problem}", may_have_started=True)
        return cls(members, call)

    def text(self, key: str) -> str:
        value: str = self._member(key, str)
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise self.error(f"{key} holds half a character")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        values: list[Any] = self._member(key, list)
        return tuple(Document({key: value}, self._call).text(key) for value in values)

    def truth(self, key: str) -> bool:
        value: bool = self._member(key, bool)
        return value

    def child(self, key: str) -> Document:
        return Document(self._member(key, dict), self._call)

    def __contains__(self, key: str) -> bool:
        return key in self._members

    def error(self, what: str) -> ProtocolError:
        return ProtocolError(f"{self._call}: {what}", may_have_started=True)

    def _member(self, key: str, kind: type) -> Any:
        if key not in self._members:
            raise self.error(f"the answer has no {key}")
        value = self._members[key]
        if type(value) is not kind:
            raise self.error(f"{key} is {_KINDS.get(type(value), 'a number')}, not {_KINDS[kind]}")
        return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands twice")
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _short_integer(digits: str) -> int:
    if len(digits) > _DIGITS_LIMIT:
        raise ValueError("an integer without end")
    return int(digits)


def _refuse_deep_nesting(text: str) -> None:
    if text.count("[") + text.count("{") <= _DEPTH_LIMIT:
        return
    depth, in_string, escaped = 0, False, False
    for character in text:
        if escaped:
            escaped = False
        elif character == '"':
            in_string = not in_string
        elif in_string:
            escaped = character == "\\"
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        if depth > _DEPTH_LIMIT:
            raise ValueError("nested too deeply")
