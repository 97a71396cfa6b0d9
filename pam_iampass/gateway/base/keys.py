"""The key file of a gateway, and what is made with it: encrypted values, the MACs of rows, the secrets of sessions.

An attacker who can write to the database, but has no key file, can approve nobody: a row that can lead to a success or
to a credential counts only with its MAC, and an encrypted value only at the place for which it was encrypted.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Callable
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from pam_iampass.gateway.base.settings import KEY_BYTES

_NONCE_BYTES = 12
MAC = "mac"
"""The column of a row that holds its MAC."""


class Tampered(Exception):
    """A row or an encrypted value that was not written with this key file, or not at this place."""


class KeyFile:
    """The key of a fleet, which all its gateways have, and what they make with it."""

    def __init__(self, key: bytes) -> None:
        """Raises ValueError for a key of another length than `KEY_BYTES`."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key has {len(key)} bytes, not {KEY_BYTES}")
        self._cipher = AESGCM(_derived(key, "encryption"))
        self._mac = _derived(key, "rows")
        self._sessions = _derived(key, "sessions")
        self._codes = _derived(key, "codes")
        self._owners = _derived(key, "owners")
        self._touches = _derived(key, "touches")
        self._names = _derived(key, "names")

    def encrypt(self, plain: str, *place: str) -> bytes:
        """A text for the database. `place` are table, column and the row's key: elsewhere it cannot be decrypted."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain.encode(), _texts_form(place))

    def decrypt(self, sealed: bytes, *place: str) -> str:
        """The text. Raises Tampered."""
        try:
            return self._cipher.decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _texts_form(place)
            ).decode()
        except (InvalidTag, ValueError):
            raise Tampered(
                f"{' '.join(place[:2])}: this value was not encrypted by this gateway for this row"
            ) from None

    def sealed(self, table: str, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row with its MAC, over the table's name and all other columns that are not null.

        So a row counts after a migration that has added a column, as long as that is null in it.
        """
        values = {name: value for name, value in row.items() if name != MAC}
        return {**values, MAC: hmac.digest(self._mac, _row_form(table, values), "sha256")}

    def verified(self, table: str, row: Mapping[str, Any], **asked: object) -> dict[str, Any]:
        """The row as it was read, all columns, without its MAC.

        Raises Tampered unless `sealed` has made it, and unless it has the columns `asked`, by which it was looked for:
        the owner of the database decides which row a SELECT finds.
        """
        try:
            values = self.sealed(table, row)
        except TypeError:  # a number in JSON that is no integer, which a gateway never writes
            raise Tampered(f"{table}: a row was not written by this gateway") from None
        if not hmac.compare_digest(values.pop(MAC), bytes(row[MAC] or b"")):
            raise Tampered(f"{table}: a row was not written by this gateway")
        if any(values[name] != value for name, value in asked.items()):
            raise Tampered(f"{table}: the database shows another row than it was asked for")
        return values

    def session_token(self, session: UUID) -> str:
        """The name of the session in the calls of its host. The database has only its digest."""
        return self._of_session("token", session)

    def session_secret(self, session: UUID) -> str:
        """The secret that signs the host's calls about the session."""
        return self._of_session("secret", session)

    def code(self, token: str, code: str) -> bytes:
        """The digest of a recovery code of the person with this token: a later person of the same name has another
        token."""
        return hmac.digest(self._codes, _texts_form((token, code)), "sha256")

    def owner(self, token: str) -> str:
        """The WebAuthn user handle of the person with this token, as base64url: a later person of the same name has
        another one."""
        return _base64url(hmac.digest(self._owners, _texts_form((token,)), "sha256"))

    def name(self, name: str) -> int:
        """Returns the number of 256 bits that the name of a person adds to the digest of all names."""
        return int.from_bytes(hmac.digest(self._names, _texts_form((name,)), "sha256"), "big")

    def touch(self, *texts: str) -> bytes:
        """The MAC of a challenge, over all that it is good for."""
        return hmac.digest(self._touches, _texts_form(texts), "sha256")

    def _of_session(self, what: str, session: UUID) -> str:
        return _base64url(hmac.digest(self._sessions, _texts_form((what, session.hex)), "sha256"))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _derived(key: bytes, purpose: str) -> bytes:
    return HKDFExpand(SHA256(), 32, f"pam-iampass gateway {purpose}".encode()).derive(key)


# Canonical forms: the same for equal values, and others for any others.


def _row_form(table: str, row: Mapping[str, Any]) -> bytes:
    parts = [table]
    for name in sorted(row):
        value = row[name]
        if value is not None:
            parts.append(name)
            parts.append(_form(value))
    return _texts_form(parts)


def _texts_form(texts: Sequence[str]) -> bytes:
    return _JSON.encode(texts).encode()


def _form(value: object) -> str:
    form = _FORMS.get(type(value))
    if form is None:
        raise TypeError(f"a column with a {type(value).__name__} has no MAC")
    return form(value)


_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_FORMS: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "null",
    str: lambda text: f"text {text}",
    bool: lambda value: f"boolean {value}",
    int: lambda number: f"number {number}",
    bytes: lambda value: f"bytes {value.hex()}",
    datetime: lambda at: f"time {at.astimezone(timezone.utc).isoformat(timespec='microseconds')}",
    UUID: lambda id: f"uuid {id.hex}",
    IPv4Network: lambda network: f"network {network}",
    IPv6Network: lambda network: f"network {network}",
    **dict.fromkeys((list, tuple), lambda values: f"list {_JSON.encode([_form(each) for each in values])}"),
    dict: lambda values: f"json {_JSON.encode(values)}",
}
"""The text of a column's value, by the type that it is read as. The first word tells the types apart."""
