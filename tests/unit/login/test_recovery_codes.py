"""Recovery codes: what they look like, that nobody can read them from the disk, and that each is good once."""

from __future__ import annotations

import multiprocessing
import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_iampass.errors import StateError
from pam_iampass.login import recovery_code
from pam_iampass.login.conversation import SSHD_REFUSED
from pam_iampass.login.recovery_codes import HOW_MANY, REMEDY, RecoveryCodes
from pam_iampass.system import state_dir
from pam_iampass.system.state_dir import StateDir, file_stem
from tests.support.state_files import STEPS, resume, stopped_before

NOW = 1_800_000_000.0


@dataclass
class Store:
    """A folder with the codes of people."""

    folder: Path

    def codes(self, user: str = "alice") -> RecoveryCodes:
        return RecoveryCodes(StateDir(str(self.folder), REMEDY), user, lambda: NOW)

    @property
    def file(self) -> Path:
        return self.folder / f"{file_stem('alice')}.json"

    def new(self, user: str = "alice") -> list[str]:
        """New codes as the module reads what a person types."""
        read = [recovery_code.read(text) for text in self.codes(user).renew()]
        assert None not in read
        return [code for code in read if code]


@pytest.fixture
def store(trusted_folder: Path) -> Store:
    folder = trusted_folder / "codes"
    folder.mkdir(mode=0o700)
    return Store(folder)


# As text


def test_a_code_is_four_groups_of_four_without_letters_that_look_alike() -> None:
    for _ in range(200):
        text = recovery_code.shown(recovery_code.make())
        assert [len(group) for group in text.split("-")] == [4, 4, 4, 4]
        assert not set(text) & set("ilou")
        assert text == text.lower()


def test_codes_have_80_random_bits() -> None:
    assert recovery_code.LENGTH * 5 == 80
    codes = [recovery_code.make() for _ in range(2000)]
    assert len(set(codes)) == 2000
    for place in range(recovery_code.LENGTH):  # each character is missed with a chance of 10^-27
        assert {code[place] for code in codes} == set(recovery_code.ALPHABET)


@given(st.binary(min_size=10, max_size=10))
def test_what_was_shown_is_read_however_it_is_typed(random: bytes) -> None:
    number = int.from_bytes(random, "big")
    code = "".join(recovery_code.ALPHABET[number >> 5 * place & 31] for place in range(16))
    shown = recovery_code.shown(code)
    typed = [shown, shown.upper(), code, shown.replace("-", " "), f"  {shown} ", shown.replace("-", "")]
    typed += [shown.replace("1", "l").replace("0", "o"), shown.replace("1", "I").replace("0", "O")]
    assert {recovery_code.read(text) for text in typed} == {code}


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "yes",
        "a" * 15,
        "a" * 17,
        "u" * 16,
        "a" * 15 + "!",
        "a" * 15 + "é",
        "a" * 15 + "\u0660",
        "-" * 16,
        "a" * 16 + " " * 100,
        "a\n" * 16,
        SSHD_REFUSED + "INCORRECT",
        (SSHD_REFUSED + "INCORRECT") * 2,
        ((SSHD_REFUSED + "INCORRECT") * 2)[:16],
        ((SSHD_REFUSED + "INCORRECT") * 2)[:19],
        "correct horse battery staple",
    ],
)
def test_what_is_not_shaped_like_a_code_is_none(text: str) -> None:
    assert recovery_code.read(text) is None


@given(st.text(max_size=80))
def test_whatever_is_typed_is_a_whole_code_or_none(text: str) -> None:
    code = recovery_code.read(text)
    assert code is None or (len(code) == 16 and set(code) <= set(recovery_code.ALPHABET))


# Good once


def test_each_of_ten_codes_is_good_once(store: Store) -> None:
    codes = store.new()
    assert len(codes) == HOW_MANY == 10
    assert [store.codes().spend(code) for code in codes] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert [store.codes().spend(code) for code in codes] == [None] * 10
    assert store.codes().left() == 0


def test_another_persons_code_is_wrong(store: Store) -> None:
    codes = store.new("bob")
    store.new("alice")
    assert store.codes("alice").spend(codes[0]) is None
    assert store.codes("carol").spend(codes[0]) is None
    assert store.codes("bob").spend(codes[0]) == 9


def test_new_codes_take_the_place_of_the_old(store: Store) -> None:
    old = store.new()
    store.new()
    assert store.codes().spend(old[0]) is None
    assert store.codes().left() == 10


def test_revoked_codes_are_good_no_more(store: Store) -> None:
    codes = store.new()
    assert store.codes().revoke()
    assert store.codes().spend(codes[0]) is None
    assert not store.codes().revoke()
    assert store.codes().stored() is None


def test_it_is_known_when_a_code_was_used(store: Store) -> None:
    store.codes().spend(store.new()[3])
    stored = store.codes().stored()
    assert stored is not None
    assert stored.made_at == NOW
    assert [code.used_at for code in stored.codes] == [None, None, None, NOW] + [None] * 6


@pytest.mark.usefixtures("patient")
def test_of_many_logins_with_one_code_at_the_same_moment_one_succeeds(store: Store) -> None:
    code = store.new()[0]
    start = threading.Barrier(12)
    got: list[int | None] = []

    def log_in() -> None:
        start.wait(20)
        got.append(store.codes().spend(code))

    threads = [threading.Thread(target=log_in) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got, key=str) == [9] + [None] * 11


def _spend(folder: Path, code: str, results: object) -> None:
    results.put(Store(folder).codes().spend(code))  # type: ignore[attr-defined]


def test_of_two_processes_with_one_code_one_succeeds(store: Store) -> None:
    code = store.new()[0]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=_spend, args=(store.folder, code, results)) for _ in range(2)]
    for process in processes:
        process.start()
    got = {results.get(timeout=30) for _ in processes}
    for process in processes:
        process.join()
    assert got == {9, None}


def _is_first(folder: Path, code: str) -> None:
    assert Store(folder).codes().spend(code) == 9


@pytest.mark.parametrize("step", STEPS)
def test_a_login_that_is_stopped_while_it_spends_a_code_keeps_nobody_out_and_spends_it_no_second_time(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    code, other = store.new()[:2]
    monkeypatch.setattr(state_dir, "LOCK_PATIENCE", 0.2)
    with stopped_before(step, _is_first, store.folder, code) as stopped:
        assert store.codes().spend(code) == 9
        assert store.codes().spend(other) == 8
        assert resume(stopped) == 1
    assert store.codes().left() == 8


# On the disk


def test_no_code_and_no_name_stands_on_the_disk(store: Store) -> None:
    codes = store.new()
    everything = "".join(path.name + path.read_text() for path in store.folder.iterdir())
    assert "alice" not in everything
    for code in codes:
        assert code not in everything
        assert recovery_code.shown(code) not in everything
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in store.folder.iterdir())


def test_every_code_has_a_salt_of_its_own(store: Store) -> None:
    store.new()
    stored = store.codes().stored()
    assert stored is not None
    assert len({code.salt for code in stored.codes}) == 10


def test_a_code_is_spent_on_the_disk_before_it_counts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step in order: the file, its name, and both on the disk."""
    code = store.new()[0]
    steps = []

    def noted(name: str, real: object) -> object:
        def call(*args: object, **kwargs: object) -> object:
            steps.append(name)
            return real(*args, **kwargs)  # type: ignore[operator]

        return call

    for name in ("fsync", "rename"):
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    assert store.codes().spend(code) == 9
    assert steps == ["fsync", "rename", "fsync"]


@pytest.mark.parametrize("step", ["fsync", "rename", "write"])
def test_a_code_that_cannot_be_spent_on_the_disk_is_not_accepted(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    code = store.new()[0]

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, step, full)
        with pytest.raises(StateError, match="No space left on device"):
            store.codes().spend(code)
    assert store.codes().left() == 10
    assert sorted(os.listdir(store.folder)) == sorted([store.file.name, f"{file_stem('alice')}.lock"])
    assert store.codes().spend(code) == 9


def test_a_folder_that_cannot_be_used_has_no_codes_to_offer_and_takes_none(store: Store) -> None:
    code = store.new()[0]
    store.folder.chmod(0o755)
    assert store.codes().left() == 0
    with pytest.raises(StateError, match="is open to others"):
        store.codes().spend(code)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"version": 2, "made_at": 1, "codes": []}',
        '{"version": 1, "made_at": -1, "codes": []}',
        '{"version": 1, "made_at": true, "codes": []}',
        '{"version": 1, "made_at": NaN, "codes": []}',
        '{"version": 1, "made_at": 1, "codes": [["x", "y", null]]}',
        '{"version": 1, "made_at": 1, "codes": [[1, 2, 3]]}',
        '{"version": 1, "made_at": 1, "codes": [[]]}',
    ],
)
def test_a_file_that_is_torn_or_forged_takes_no_code_and_says_what_to_do(store: Store, content: str) -> None:
    store.new()
    store.file.write_text(content)
    assert store.codes().left() == 0
    with pytest.raises(StateError, match="is corrupt; pam-iampass recovery revoke alice"):
        store.codes().spend("0" * 16)
    store.codes().revoke()
    assert store.codes().spend(store.new()[0]) == 9


def test_codes_that_cannot_be_removed_are_reported(store: Store) -> None:
    store.file.mkdir()
    with pytest.raises(StateError, match="cannot be removed"):
        store.codes().revoke()
