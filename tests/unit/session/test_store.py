"""Kept sessions in the agent's file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pam_iampass.config.settings import CoverSettings, SessionSettings
from pam_iampass.enforcer.protocol import SESSION_ID, Verb
from pam_iampass.session.kept_session import (
    AttachedLogin,
    EndCause,
    KeptSession,
    State,
    decode,
    encode,
    new_id,
)
from pam_iampass.session.store import SessionStore
from pam_iampass.system.database import Database

LOGIN = AttachedLogin(4711, "alice", 1000, "sshd", 12, "c3", "pts/0", "192.0.2.7", 1.5)
KEPT = KeptSession(
    id="5f0c" * 8,
    state=State.OPEN,
    session='{"session_secret": "s3cret"}',
    config="/etc/iampass/iampass.yaml",
    user="alice",
    approver="alice",
    person="alice",
    service="sshd",
    rhost="192.0.2.7",
    through_sshd=True,
    address="192.0.2.7",
    first_factor=None,
    methods=("facial",),
    rules=SessionSettings(),
    began=100.5,
    approved=107.25,
    since=1764115200.0,
    attached=(LOGIN, replace(LOGIN, pid=4712, audit_session=None)),
)


@pytest.fixture
def database(own_folder: Path) -> Iterator[Database]:
    (own_folder / "state").mkdir(mode=0o700)
    found = Database(str(own_folder / "state" / "state.db"))
    yield found
    found.close()


@pytest.fixture
def store(database: Database) -> SessionStore:
    return SessionStore(database)


def test_what_is_written_is_read_back(store: SessionStore) -> None:
    rules = SessionSettings(keep=True, covers=CoverSettings(frozenset({"sudo", "su"}), 60.0))
    ending = replace(
        KEPT,
        id=new_id(),
        began=1.0,
        state=State.ENDING,
        rules=rules,
        ended_by=EndCause.PHONE,
        wanted=Verb.END,
    )
    store.write(KEPT)
    store.write(ending)
    assert store.all() == ([ending, KEPT], [])
    store.write(replace(KEPT, covered=3))
    assert store.all()[0][1].covered == 3
    store.remove(KEPT.id)
    assert store.all() == ([ending], [])


def test_a_row_that_cannot_be_read_hides_no_other(store: SessionStore, database: Database) -> None:
    store.write(KEPT)
    with database.transaction() as connection:
        for number, text in enumerate(("", "{}", "[]", "x" * 100, encode(KEPT), b"\xff", 5)):
            connection.execute(
                "INSERT INTO sessions VALUES (?, ?, ?)", (f"{number}{'0' * 31}", database.boot, text)
            )
    assert store.all() == ([KEPT], [f"{number}{'0' * 31}" for number in range(7)])


def test_after_a_reboot_no_session_is_left(store: SessionStore, database: Database) -> None:
    store.write(KEPT)
    database.close()
    next_boot = Database(database.path, boot="another")
    assert SessionStore(next_boot).all() == ([], [])
    next_boot.close()
    assert store.all() == ([], []), "they are deleted"


def test_the_secret_of_a_session_that_is_over_is_in_the_file_no_more(
    store: SessionStore, database: Database
) -> None:
    store.write(KEPT)
    store.remove(KEPT.id)
    database.close()
    assert b"s3cret" not in Path(database.path).read_bytes()


def test_the_secret_is_only_in_the_file() -> None:
    assert "s3cret" in encode(KEPT)
    assert "s3cret" not in repr(KEPT)
    with pytest.raises(ValueError, match="not a kept") as caught:
        decode(encode(KEPT).replace('"open"', '"opened"'))
    assert "s3cret" not in repr(caught.value.__context__) + str(caught.value)


def test_what_another_version_wrote_is_read() -> None:
    members = json.loads(encode(KEPT))
    del members["covered"], members["attached"][0]["rhost"]
    members["more"] = members["attached"][1]["more"] = members["rules"]["more"] = 1
    found = decode(json.dumps(members))
    assert found == replace(KEPT, attached=(replace(LOGIN, rhost=None), KEPT.attached[1]))


def test_ids_are_random_and_such_as_the_enforcer_takes() -> None:
    assert len({new_id() for _ in range(100)}) == 100
    assert SESSION_ID.fullmatch(new_id())
