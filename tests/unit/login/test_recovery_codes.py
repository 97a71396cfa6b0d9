"""Recovery codes: what they look like, that nobody can read them from the disk, and that each is good once."""

from __future__ import annotations

import contextlib
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_iampass.errors import StateError
from pam_iampass.login import recovery
from pam_iampass.login.application import SSHD_REFUSED
from pam_iampass.login.recovery import HOW_MANY, RecoveryCodes
from pam_iampass.system.database import Database
from tests.support.state_file import unwritable

NOW = 1_800_000_000.0


class Store:
    """A file with the codes of people."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "state.db"
        self.database = Database(str(self.file))
        self.codes = RecoveryCodes(self.database, lambda: NOW)

    def new(self, user: str = "alice") -> list[str]:
        """New codes as the module reads what a person types."""
        read = [recovery.read(text) for text in self.codes.renew(user)]
        assert None not in read
        return [code for code in read if code]

    def spend(self, code: str, user: str = "alice") -> int | None:
        return self.codes.spend(user, code)

    def left(self) -> int:
        stored = self.codes.stored("alice")
        return stored.left if stored else 0


@pytest.fixture
def store(own_folder: Path) -> Iterator[Store]:
    folder = own_folder / "state"
    folder.mkdir(mode=0o700)
    found = Store(folder)
    yield found
    found.database.close()


# As text


def test_a_code_is_four_groups_of_four_without_letters_that_look_alike() -> None:
    for _ in range(200):
        text = recovery.shown(recovery.make())
        assert [len(group) for group in text.split("-")] == [4, 4, 4, 4]
        assert not set(text) & set("ilou")
        assert text == text.lower()


def test_codes_have_80_random_bits() -> None:
    assert recovery.LENGTH * 5 == 80
    codes = [recovery.make() for _ in range(2000)]
    assert len(set(codes)) == 2000
    for place in range(recovery.LENGTH):  # each character is missed with a chance of 10^-27
        assert {code[place] for code in codes} == set(recovery.ALPHABET)


@given(st.binary(min_size=10, max_size=10))
def test_what_was_shown_is_read_however_it_is_typed(random: bytes) -> None:
    number = int.from_bytes(random, "big")
    code = "".join(recovery.ALPHABET[number >> 5 * place & 31] for place in range(16))
    shown = recovery.shown(code)
    typed = [shown, shown.upper(), code, shown.replace("-", " "), f"  {shown} ", shown.replace("-", "")]
    typed += [shown.replace("1", "l").replace("0", "o"), shown.replace("1", "I").replace("0", "O")]
    assert {recovery.read(text) for text in typed} == {code}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * 15,
        "a" * 17,
        "u" * 16,
        "a" * 15 + "!",
        "a" * 15 + "\u0660",
        "a" * 16 + " " * 100,
        SSHD_REFUSED + "INCORRECT",
        (SSHD_REFUSED + "INCORRECT") * 2,
        ((SSHD_REFUSED + "INCORRECT") * 2)[:16],
        "correct horse battery staple",
    ],
)
def test_text_of_another_shape_is_no_code(text: str) -> None:
    assert recovery.read(text) is None


@given(st.text(max_size=80))
def test_whatever_is_typed_is_a_whole_code_or_none(text: str) -> None:
    code = recovery.read(text)
    assert code is None or (len(code) == 16 and set(code) <= set(recovery.ALPHABET))


# Good once


def test_each_of_ten_codes_is_good_once(store: Store) -> None:
    codes = store.new()
    assert len(codes) == HOW_MANY == 10
    assert [store.spend(code) for code in codes] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert [store.spend(code) for code in codes] == [None] * 10
    assert store.left() == 0


def test_another_persons_code_is_wrong(store: Store) -> None:
    codes = store.new("bob")
    store.new("alice")
    assert store.spend(codes[0], "alice") is None
    assert store.spend(codes[0], "carol") is None
    assert store.spend(codes[0], "bob") == 9


def test_new_codes_take_the_place_of_the_old(store: Store) -> None:
    old = store.new()
    store.new()
    assert store.spend(old[0]) is None
    assert store.left() == 10


def test_revoked_codes_are_good_no_more(store: Store) -> None:
    codes = store.new()
    assert store.codes.revoke("alice")
    assert store.spend(codes[0]) is None
    assert not store.codes.revoke("alice")
    assert store.codes.stored("alice") is None


def test_one_of_many_simultaneous_logins_with_the_same_code_succeeds(store: Store) -> None:
    code = store.new()[0]
    start = threading.Barrier(12)
    got: list[int | None] = []

    def log_in() -> None:
        start.wait()
        got.append(store.spend(code))

    threads = [threading.Thread(target=log_in) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got, key=str) == [9] + [None] * 11


# On the disk


def test_no_code_stands_on_the_disk(store: Store) -> None:
    codes = store.new()
    store.spend(codes[0])
    everything = b"".join(path.read_bytes() for path in store.file.parent.iterdir())
    for code in codes:
        assert code.encode() not in everything
        assert recovery.shown(code).encode() not in everything
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in store.file.parent.iterdir())


def test_every_code_has_a_salt_of_its_own(store: Store) -> None:
    store.new()
    stored = store.codes.stored("alice")
    assert stored is not None
    assert len({code.salt for code in stored.codes}) == 10


def test_a_code_that_cannot_be_spent_on_the_disk_is_not_accepted(store: Store) -> None:
    code = store.new()[0]
    with unwritable(store.database), pytest.raises(StateError, match="cannot be read or written"):
        store.spend(code)
    assert store.left() == 10
    assert store.spend(code) == 9


def test_where_the_file_cannot_be_used_there_are_no_codes_to_offer_and_none_is_taken(store: Store) -> None:
    code = store.new()[0]
    assert store.codes.in_use()
    store.database.close()
    store.file.chmod(0o640)
    assert not store.codes.in_use()
    with pytest.raises(StateError, match="is open to others"):
        store.spend(code)


@pytest.mark.parametrize("change", ["hash = salt", "hash = ''", "hash = 5", "hash = x'00'", "used_at = 'x'"])
def test_a_row_that_was_not_written_so_is_no_valid_code(store: Store, change: str) -> None:
    code = store.new()[0]
    with store.database.transaction() as connection:
        connection.execute(f"UPDATE codes SET {change}")
    result: int | None = None
    with contextlib.suppress(TypeError):
        result = store.spend(code)
    assert result is None
