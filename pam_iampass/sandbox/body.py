"""Reads JSON bodies strictly: exactly the keys and types that a call has."""

from __future__ import annotations

import json
from typing import Any

from multidict import CIMultiDictProxy

from pam_iampass.sandbox.errors import bad_request


def require_content_type(headers: CIMultiDictProxy[str]) -> None:
    """The service's client sends exactly this, on session calls too, though these have no body."""
    if headers.getall("Content-Type", []) != ["application/json"]:
        raise bad_request("BAD_CONTENT_TYPE", "Content-Type must be application/json")


def require_no_body(body: bytes) -> None:
    """Raises Refusal (400) where a call without a body has one."""
    if body:
        raise bad_request("UNEXPECTED_BODY", "this call has no body")


def read_object(
    body: bytes, required: frozenset[str], optional: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """The JSON object of a body. Raises Refusal (400) where a key is missing, twice there or not known."""
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_without_repeats)
    except ValueError:
        raise bad_request("BAD_BODY", "the body must be JSON, in UTF-8, with no key twice") from None
    if not isinstance(value, dict):
        raise bad_request("BAD_BODY", "the body must be a JSON object")
    missing, unknown = required - set(value), set(value) - required - optional
    if missing or unknown:
        raise bad_request("BAD_BODY", f"missing: {sorted(missing)}; unknown: {sorted(unknown)}")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("repeated key")
    return found


def read_text(value: dict[str, Any], key: str) -> str:
    """A key that must hold text, and some. Raises Refusal (400)."""
    text = value[key]
    if not isinstance(text, str) or not text:
        raise bad_request("BAD_BODY", f"{key} must be text and not empty")
    return text


def read_users(body: bytes) -> list[str]:
    """The user ids of ``{"users": […]}``, each once, in order. Raises Refusal (400)."""
    users = read_object(body, frozenset({"users"}))["users"]
    if not isinstance(users, list) or not users:
        raise bad_request("BAD_BODY", "users must be a list and not empty")
    if not all(isinstance(user, str) and user and user.isprintable() for user in users):
        raise bad_request("BAD_BODY", "each user must be text, not empty, without control characters")
    return list(dict.fromkeys(users))
