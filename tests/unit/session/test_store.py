"""The files of kept sessions."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pam_iampass.config.session_settings import SessionSettings
from pam_iampass.enforcer.protocol import Verb
from pam_iampass.errors import StateError
from pam_iampass.session.kept_session import (
    EndCause,
    KeptSession,
    Rules,
    State,
    StoredLogin,
    decode,
    encode,
    is_id,
    new_id,
)
from pam_iampass.session.store import SessionStore

LOGIN = StoredLogin(4711, "alice", 1000, "sshd", 12, "c3", "pts/0", "192.0.2.7", "SHA256:abc", 1.5)
KEPT = KeptSession(
    id="5f0c" * 8,
    state=State.OPEN,
    session='{"session_secret": "s3cret"}',
    config="/etc/iampass/iampass.yaml",
    user="alice",
    approver="alice",
    service="sshd",
    rhost="192.0.2.7",
    address="192.0.2.7",
    key=None,
    methods=("facial",),
    rules=Rules.of(SessionSettings()),
    began=100.5,
    approved=107.25,
    since=1764115200.0,
    attached=(LOGIN, replace(LOGIN, pid=4712, audit_session=None)),
)


@pytest.fixture
def store(trusted_folder: Path) -> SessionStore:
    store = SessionStore(str(trusted_folder / "sessions"))
    store.make()
    return store


def test_what_is_written_is_read_back(store: SessionStore) -> None:
    ending = replace(
        KEPT, id=new_id(), began=1.0, state=State.ENDING, ended_by=EndCause.PHONE, wanted=Verb.END
    )
    store.write(KEPT)
    store.write(ending)
    assert store.all() == ([ending, KEPT], [])
    store.write(replace(KEPT, covered=3))
    assert store.all()[0][1].covered == 3
    store.remove(KEPT.id)
    assert store.all() == ([ending], [])


def test_a_file_that_cannot_be_read_hides_no_other(store: SessionStore) -> None:
    store.write(KEPT)
    for number, text in enumerate(("", "{}", "[]", "x" * 100, encode(KEPT).decode())):
        file = Path(store.path, f"{number}{'0' * 31}.json")
        file.write_text(text)
        file.chmod(0o600)
    assert store.all() == ([KEPT], [f"{number}{'0' * 31}.json" for number in range(5)])


def test_a_session_that_an_administrator_wants_ended_is_found(store: SessionStore) -> None:
    store.write(KEPT)
    assert store.to_end() == []
    os.utime(store.path, ns=(0, 1))
    assert store.version() == 1
    store.request_end(KEPT.id)
    assert store.version() != 1
    assert store.to_end() == [KEPT.id]
    store.remove(KEPT.id)
    assert (store.to_end(), store.all()) == ([], ([], []))


def test_a_folder_that_has_just_changed_is_looked_at_again(store: SessionStore) -> None:
    later = time.time_ns() + 60_000_000_000  # as after the clock was set back; at least not long ago
    os.utime(store.path, ns=(later, later))
    assert store.version() is None


def test_an_end_is_requested_for_an_id_only(store: SessionStore) -> None:
    with pytest.raises(ValueError, match="not the id"):
        store.request_end("../x")


def test_only_the_agents_user_can_read_the_files(store: SessionStore) -> None:
    store.write(KEPT)
    assert {file.stat().st_mode & 0o777 for file in Path(store.path).glob("*.json")} == {0o600}
    Path(store.path).chmod(0o755)
    with pytest.raises(StateError, match="open to others"):
        store.all()


def test_the_secret_is_only_in_the_file() -> None:
    assert b"s3cret" in encode(KEPT)
    assert "s3cret" not in repr(KEPT) + json.dumps(KEPT.public())
    with pytest.raises(ValueError, match="not the file") as caught:
        decode(encode(KEPT).replace(b'"open"', b'"opened"'))
    assert "s3cret" not in repr(caught.value.__context__) + str(caught.value)


def test_a_file_of_another_version_is_read() -> None:
    members = json.loads(encode(KEPT))
    del members["covered"], members["attached"][0]["key"]
    members["more"] = members["attached"][1]["more"] = members["rules"]["more"] = 1
    found = decode(json.dumps(members).encode())
    assert found == replace(KEPT, attached=(replace(LOGIN, key=None), KEPT.attached[1]))


def test_ids_are_random_and_checked() -> None:
    assert len({new_id() for _ in range(100)}) == 100
    assert is_id(new_id())
    assert not any(map(is_id, ("", "5f0c", "5F0C" * 8, "5f0c" * 8 + "\n", "../" + "0" * 29)))
