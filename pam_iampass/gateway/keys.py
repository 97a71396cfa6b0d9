"""The key file of a gateway, and what is made with it: encrypted values, the MACs of rows, the secrets of sessions.

An attacker who can write to the database, but has no key file, can approve nobody: a row that can lead to a success or
to a credential counts only with its MAC, and an encrypted value only at the place for which it was encrypted.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from collections.abc import Mapping
from datetime import datetime, timezone
from ipaddress import IPv4Network, IPv6Network
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from pam_iampass.gateway.settings import KEY_BYTES

_NONCE_BYTES = 12
MAC = "mac"
"""The column of a row that holds its MAC."""


class Tampered(Exception):
    """A row or an encrypted value that was not written with this key file, or not at this place."""


class KeyFile:
    """What a gateway does with its key. All gateways of a fleet have the same one."""

    def __init__(self, key: bytes) -> None:
        """Raises ValueError for a key of another length than `KEY_BYTES`."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key has {len(key)} bytes, not {KEY_BYTES}")
        self._cipher = AESGCM(_derived(key, "encryption"))
        self._mac = _derived(key, "rows")
        self._sessions = _derived(key, "sessions")
        self._codes = _derived(key, "codes")

    def encrypt(self, plain: str, *place: str) -> bytes:
        """A text for the database. `place` are table, column and the row's key: elsewhere it cannot be decrypted."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain.encode(), _canonical(place))

    def decrypt(self, sealed: bytes, *place: str) -> str:
        """The text. Raises Tampered."""
        try:
            return self._cipher.decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _canonical(place)
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
        given = {name: value for name, value in values.items() if value is not None}
        return {**values, MAC: hmac.digest(self._mac, _canonical((table, given)), "sha256")}

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
        """What the host calls the session. The database has only its digest."""
        return self._of_session("token", session)

    def session_secret(self, session: UUID) -> str:
        """What signs the host's calls about the session."""
        return self._of_session("secret", session)

    def code(self, token: str, code: str) -> bytes:
        """The digest of a recovery code of the person with this token: a later person of the same name has another
        token."""
        return hmac.digest(self._codes, _canonical((token, code)), "sha256")

    def _of_session(self, what: str, session: UUID) -> str:
        made = hmac.digest(self._sessions, _canonical((what, session)), "sha256")
        return base64.urlsafe_b64encode(made).decode().rstrip("=")


def _derived(key: bytes, purpose: str) -> bytes:
    return HKDFExpand(SHA256(), 32, f"pam-iampass gateway {purpose}".encode()).derive(key)


def _canonical(value: object) -> bytes:
    """The same bytes for equal values, and other bytes for any others."""
    return json.dumps(_tagged(value), sort_keys=True, separators=(",", ":")).encode()


def _tagged(value: object) -> object:
    """A value for JSON. What JSON has no form for becomes an object with one member; so does an object."""
    if isinstance(value, (list, tuple)):
        return [_tagged(each) for each in value]
    if isinstance(value, Mapping):
        return {"object": {str(name): _tagged(each) for name, each in value.items()}}
    if isinstance(value, datetime):
        return {"time": value.astimezone(timezone.utc).isoformat(timespec="microseconds")}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, (UUID, IPv4Network, IPv6Network)):
        return {type(value).__name__: str(value)}
    if value is None or isinstance(value, (str, bool, int)):
        return value
    raise TypeError(f"a column with a {type(value).__name__} has no MAC")
