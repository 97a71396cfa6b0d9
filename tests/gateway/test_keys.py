"""The key file: encrypted values are bound to their place, and a row counts only as a gateway has written it."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta, timezone
from ipaddress import ip_network
from typing import Any

import pytest

from pam_iampass.gateway.base.keys import KeyFile, Tampered

ROW: dict[str, Any] = {
    "name": "alice",
    "secret": b"\x00\x01",
    "groups": ["staff"],
    "uses": 3,
    "network": ip_network("192.0.2.0/24"),
    "at": datetime(2026, 11, 27, 12, 0, tzinfo=timezone.utc),
    "id": uuid.UUID(int=7),
    "details": {"service": "sshd"},
    "machine": None,
}


def test_a_value_can_be_decrypted_at_its_place_only(keys: KeyFile) -> None:
    sealed = keys.encrypt("tök en", "person", "token", "alice")
    assert b"en" not in sealed
    assert keys.decrypt(sealed, "person", "token", "alice") == "tök en"
    for place in (("person", "token", "bob"), ("person", "phone", "alice"), ("person", "tokenalice"), ()):
        with pytest.raises(Tampered):
            keys.decrypt(sealed, *place)
    for damaged in (sealed[:-1], sealed[:-1] + bytes([sealed[-1] ^ 1]), b"", sealed[:12]):
        with pytest.raises(Tampered):
            keys.decrypt(damaged, "person", "token", "alice")
    with pytest.raises(Tampered):
        KeyFile(bytes(32)).decrypt(sealed, "person", "token", "alice")
    assert keys.encrypt("tök en", "person", "token", "alice") != sealed


@pytest.mark.parametrize("column", sorted(ROW))
def test_a_row_counts_only_as_it_was_written(keys: KeyFile, column: str) -> None:
    row = keys.sealed("person", ROW)
    assert keys.verified("person", row) == ROW
    for other in (
        None,
        "another",
        b"\x00",
        [],
        0,
        1.5,
        False,
        {"bytes": "0001"},
        {"bytes": 1.5},
        ["bytes", "0001"],
    ):
        if other != ROW[column]:
            with pytest.raises(Tampered):
                keys.verified("person", {**row, column: other})
    if ROW[column] is not None:
        with pytest.raises(Tampered):
            keys.verified("person", {name: value for name, value in row.items() if name != column})


def test_a_row_counts_after_a_migration_that_has_added_a_column_to_it(keys: KeyFile) -> None:
    row = {**keys.sealed("person", ROW), "added": None}
    assert keys.verified("person", row) == {**ROW, "added": None}
    with pytest.raises(Tampered):
        keys.verified("person", {**row, "added": "something"})
    later = keys.sealed("person", {**ROW, "added": "something"})
    with pytest.raises(Tampered):
        keys.verified("person", {**later, "added": None})


def test_a_row_of_another_table_or_key_does_not_count(keys: KeyFile) -> None:
    row = keys.sealed("person", ROW)
    for table, key in (("host", keys), ("person", KeyFile(bytes(32)))):
        with pytest.raises(Tampered):
            key.verified(table, row)
    for mac in (None, b"", row["mac"][:-1], row["mac"] + b"\x00"):
        with pytest.raises(Tampered):
            keys.verified("person", {**row, "mac": mac})
    with pytest.raises(Tampered):
        keys.verified("person", {**row, "more": 1})


def test_a_time_is_the_same_in_every_zone(keys: KeyFile) -> None:
    row = keys.sealed("person", ROW)
    there = ROW["at"].astimezone(timezone(timedelta(hours=5)))
    assert keys.verified("person", {**row, "at": there})["name"] == "alice"


def test_a_column_without_a_canonical_form_is_an_error(keys: KeyFile) -> None:
    with pytest.raises(TypeError):
        keys.sealed("person", {"price": 1j})


def test_token_and_secret_of_a_session_are_its_own(keys: KeyFile) -> None:
    one, other = uuid.UUID(int=1), uuid.UUID(int=2)
    values = {f(each) for f in (keys.session_token, keys.session_secret) for each in (one, other)}
    assert len(values) == 4
    assert all(len(value) == 43 and value.isascii() for value in values)
    assert KeyFile(bytes(range(32))).session_token(one) == keys.session_token(one)
    assert KeyFile(bytes(32)).session_secret(one) not in values


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="31 bytes"):
        KeyFile(bytes(31))
