"""Reads JSON responses strictly: anything that is not exactly as the protocol says is a ProtocolError."""

from __future__ import annotations

import json
import re
from typing import Any

from .errors import ProtocolError

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_DIGITS_LIMIT = 20
# Far below the depth at which json raises RecursionError, wherever on the stack we are.
_DEPTH_LIMIT = 32
_TYPES = {bool: "true or false", str: "text", dict: "an object", list: "a list", type(None): "null"}


class JsonObject:
    """One JSON object of a response; every member is read with the type that it must have."""

    def __init__(self, members: dict[str, Any], call: str) -> None:
        self._members = members
        self._call = call

    @classmethod
    def parse(cls, body: bytes, call: str) -> JsonObject:
        """The object that is the whole body: UTF-8, no duplicate keys, no NaN, bounded numbers and nesting."""
        problem: str | None = None
        members: Any = None
        try:
            text = body.decode("utf-8")
            _refuse_deep_nesting(text)
            members = _DECODER.decode(text)
        except ValueError:
            problem = "the response is not strict JSON"
        if problem is None and type(members) is not dict:
            problem = "the response is not a JSON object"
        if problem is not None:
            raise ProtocolError(f"{call}: {problem}", may_have_started=True)
        return cls(members, call)

    def text(self, key: str) -> str:
        value: str = self._member(key, str)
        if _HALF_CHARACTER.search(value):
            raise self.error(f"{key} contains half a character (a lone surrogate)")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        values: list[Any] = self._member(key, list)
        return tuple(JsonObject({key: value}, self._call).text(key) for value in values)

    def boolean(self, key: str) -> bool:
        value: bool = self._member(key, bool)
        return value

    def child(self, key: str) -> JsonObject:
        return JsonObject(self._member(key, dict), self._call)

    def __contains__(self, key: str) -> bool:
        return key in self._members

    def error(self, what: str) -> ProtocolError:
        return ProtocolError(f"{self._call}: {what}", may_have_started=True)

    def _member(self, key: str, expected: type) -> Any:
        if key not in self._members:
            raise self.error(f"the response has no {key}")
        value = self._members[key]
        if type(value) is not expected:
            raise self.error(f"{key} is {_TYPES.get(type(value), 'a number')}, not {_TYPES[expected]}")
        return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate key")
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _short_integer(digits: str) -> int:
    if len(digits) > _DIGITS_LIMIT:
        raise ValueError("integer too long")
    return int(digits)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant, parse_int=_short_integer
)


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
