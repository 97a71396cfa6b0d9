"""The keys of the user table: who is named by one, or nobody."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import pytest

from pam_iampass.config.ssh_keys import AcceptedKey, Certificate, PlainKey, accepted_keys
from pam_iampass.config.user_table import TableReport, UserTable, check
from pam_iampass.errors import ConfigurationError, Severity
from tests.support.folders import OWNER, put
from tests.support.ssh_keys import accepted, listed, make_key, sign

A, B, CA = ("SHA256:" + letter * 42 + "A" for letter in "ABC")


@dataclass
class Keys:
    """A table in a folder."""

    root: Path

    def __post_init__(self) -> None:
        self.file, self.folder = self.root / "users.yaml", self.root / "users.d"
        self.table = UserTable(self.file, owner=OWNER, clock=lambda: time.time() + 10)

    def write(self, text: str) -> None:
        put(self.file, text)

    def own(self, person: str, text: str) -> Path:
        self.folder.mkdir(exist_ok=True)
        return put(self.folder / f"{person}.yaml", text)

    def people(self, key: AcceptedKey) -> set[str]:
        return set(self.table.people(key))

    @property
    def report(self) -> TableReport:
        return check(self.file, owner=OWNER)

    def problems(self) -> list[str]:
        return [str(problem).replace(f"{self.root}/", "") for problem in self.report.problems]


@pytest.fixture
def keys(own_folder: Path) -> Keys:
    return Keys(own_folder)


def test_a_key_or_its_fingerprint_names_a_person_and_its_comment_nobody(keys: Keys) -> None:
    public = make_key(keys.root / "key")
    keys.write(f"alice:\n  keys:\n  - {public}\nbob: {{token: b, keys: [{A}]}}\nmallory: {{keys: []}}\n")
    assert keys.people(PlainKey(listed(public, keys.root))) == {"alice"}
    assert keys.people(PlainKey(A)) == {"bob"}
    assert keys.people(PlainKey(B)) == set()
    assert keys.problems() == []


def test_a_certificate_is_named_by_its_ca_and_what_that_has_signed_and_a_key_never_by_a_ca(
    keys: Keys,
) -> None:
    keys.write(
        f"alice: {{keys: [{{ca: {CA}, key_id: a1}}]}}\n"
        f"bob: {{keys: [{{ca: {CA}, principal: b1}}, {{ca: {CA}, key_id: '0123'}}]}}\n"
        f"eve: {{keys: [{A}]}}\n"
    )
    assert keys.people(Certificate(CA, "a1", ("x", "y"))) == {"alice"}
    assert keys.people(Certificate(CA, "?", ("x", "b1"))) == {"bob"}
    assert keys.people(Certificate(CA, "0123", ())) == {"bob"}
    assert keys.people(Certificate(CA, "a1", ("b1",))) == {"alice", "bob"}
    for other in (Certificate(B, "a1", ("b1",)), Certificate(CA, "b1", ("a1",)), Certificate(CA, "A1", ())):
        assert keys.people(other) == set()
    assert keys.people(PlainKey(CA)) == set()
    assert keys.people(Certificate(A, "", ("",))) == set()


def test_a_key_that_is_listed_does_not_name_anybody_by_a_certificate_of_it(keys: Keys) -> None:
    public = make_key(keys.root / "key")
    make_key(keys.root / "ca")
    signed = sign(keys.root / "ca", keys.root / "key", "alice")
    keys.write(f"alice: {{keys: [{listed(public, keys.root)}]}}\n")
    (certificate,) = accepted_keys(accepted(signed))
    assert keys.table.people(certificate) == frozenset()


def test_both_places_count_and_changes_do_at_once(keys: Keys) -> None:
    keys.write(f"alice: {{keys: [{A}]}}\nbob: {{keys: [{B}]}}\n")
    assert (keys.people(PlainKey(A)), keys.people(PlainKey(B))) == ({"alice"}, {"bob"})
    own = keys.own("alice", f"alice: {{keys: [{CA}]}}\n")
    assert (keys.people(PlainKey(A)), keys.people(PlainKey(CA))) == (set(), {"alice"})
    put(own, "alice: token-of-alice\n")
    assert keys.people(PlainKey(A)) == keys.people(PlainKey(CA)) == set()
    own.unlink()
    assert keys.people(PlainKey(A)) == {"alice"}
    keys.file.unlink()
    assert keys.people(PlainKey(A)) == set()


def test_keys_of_a_person_whose_own_file_is_broken_are_not_those_of_the_line_that_it_replaces(
    keys: Keys,
) -> None:
    keys.write(f"alice: {{keys: [{A}]}}\n")
    keys.own("alice", "alice: {token: [}\n")
    with pytest.raises(ConfigurationError):
        keys.people(PlainKey(A))


def test_of_many_logins_that_wait_one_looks_at_the_files_for_all(keys: Keys) -> None:
    """And none uses what was found before it came."""
    keys.write(f"alice: {{keys: [{A}]}}\n")
    looks, inside, go_on = [], threading.Event(), threading.Event()

    class Slow(UserTable):
        def _versions(self) -> dict[str, tuple[int, ...]] | None:
            looks.append(1)
            inside.set()
            go_on.wait(60)
            return super()._versions()

    table = Slow(keys.file, owner=OWNER)
    with ThreadPoolExecutor(10) as pool:
        first = pool.submit(table.people, PlainKey(B))
        assert inside.wait(60)
        others = [pool.submit(table.people, PlainKey(B)) for _ in range(9)]
        until = time.monotonic() + 60
        while sum(_is_in(frame, "people") for frame in sys._current_frames().values()) < 10:
            assert time.monotonic() < until
        keys.write(f"alice: {{keys: [{A}]}}\nbob: {{keys: [{B}]}}\n")
        go_on.set()
        assert {each.result() for each in others} == {frozenset({"bob"})}
        first.result()
    assert len(looks) == 2


def _is_in(frame: FrameType | None, name: str) -> bool:
    while frame is not None and frame.f_code.co_name != name:
        frame = frame.f_back
    return frame is not None


def test_one_key_of_two_people_is_an_error_and_names_both(keys: Keys) -> None:
    keys.write(f"alice: {{keys: [{A}]}}\n")
    keys.own("bob", f"bob: {{keys: [{A}]}}\n")
    assert keys.people(PlainKey(A)) == {"alice", "bob"}
    assert f"{A} also stands for " in keys.problems()[0]
    assert [problem.severity for problem in keys.report.problems] == [Severity.ERROR]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"alice: {{keys: {A}}}\n", "is a text, not a list of keys"),
        ("alice: {keys: [x]}\n", "holds a text that is neither a public key nor a fingerprint"),
        ("alice: {keys: [[]]}\n", "holds a list"),
        (f"alice: {{keys: [{A}, {A}]}}\n", "is listed twice"),
        (
            f"alice: {{keys: [{{ca: {CA}}}]}}\n",
            "holds a mapping that is not ca and one of key_id and principal",
        ),
        (f"alice: {{keys: [{{ca: {CA}, key_id: a, principal: b}}]}}\n", "holds a mapping that is not ca"),
        (f"alice: {{keys: [{{ca: {CA}, key_id: ''}}]}}\n", "key_id is empty"),
        (f"alice: {{keys: [{{ca: {CA}, key_id: []}}]}}\n", "must be texts"),
        ("alice: {methods: [facial]}\n", "has neither a token nor keys"),
        (f"alice: {{token: '', keys: [{A}]}}\n", "the token is empty"),
        (f"a/b: {{keys: [{A}]}}\n", "contains a slash"),
        (f"alice: {{keys: [{A}]}}\nalice: {{keys: [{B}]}}\n", "the key is duplicate"),
        ("[]\n", "the file is a list, not a mapping"),
    ],
)
def test_a_broken_file_names_nobody_and_who_is_in_no_other_is_denied(
    keys: Keys, text: str, problem: str
) -> None:
    keys.own("bob", f"bob: {{keys: [{B}]}}\n")
    keys.write(text)
    assert keys.people(PlainKey(B)) == {"bob"}
    with pytest.raises(ConfigurationError, match=r"users\.yaml"):
        keys.people(PlainKey(A))
    assert problem in keys.problems()[0]


def test_a_certificate_is_no_entry(keys: Keys) -> None:
    make_key(keys.root / "key")
    make_key(keys.root / "ca")
    keys.write(f"alice:\n  keys:\n  - {sign(keys.root / 'ca', keys.root / 'key', 'alice')}\n")
    (problem,) = keys.report.problems
    assert problem.what.endswith(" is a certificate")
    assert problem.remedy.startswith("write {ca: …, key_id: …}")


def test_a_file_of_one_person_has_no_keys_of_another(keys: Keys) -> None:
    keys.own("bob", f"alice: {{keys: [{A}]}}\n")
    assert "the file must hold" in keys.problems()[0]
    with pytest.raises(ConfigurationError):
        keys.people(PlainKey(A))


def test_a_file_that_users_can_write_names_nobody(keys: Keys) -> None:
    keys.write(f"alice: {{keys: [{A}]}}\n")
    keys.file.chmod(0o666)
    with pytest.raises(ConfigurationError, match="is writable by users other than root"):
        keys.people(PlainKey(A))


def test_a_folder_or_file_that_leads_elsewhere_is_not_missing(keys: Keys) -> None:
    os.symlink("/nowhere", keys.file)
    with pytest.raises(ConfigurationError):
        keys.people(PlainKey(A))
    keys.file.unlink()
    keys.folder.mkdir()
    os.symlink("/nowhere", keys.folder / "alice.yaml")
    with pytest.raises(ConfigurationError):
        keys.people(PlainKey(A))


def test_other_files_in_the_folder_are_reported_and_not_read(keys: Keys) -> None:
    keys.write("")
    keys.own("alice", f"alice: {{keys: [{A}]}}\n").rename(keys.folder / "alice.yml")
    keys.own(".alice", f"alice: {{keys: [{A}]}}\n")
    assert keys.people(PlainKey(A)) == set()
    assert ["alice.yml" in problem for problem in keys.problems()] == [True]


def test_accounts_are_shared_while_anybody_has_keys_or_may_have_some(keys: Keys) -> None:
    keys.write("alice: token-of-alice\nbob: {token: b, keys: []}\n")
    assert not keys.table.accounts_are_shared
    own = keys.own("carol", f"carol: {{keys: [{A}]}}\n")
    assert keys.table.accounts_are_shared
    put(own, "carol: {keys: [")
    assert keys.table.accounts_are_shared
    own.unlink()
    assert not keys.table.accounts_are_shared
    assert UserTable(keys.file, owner=OWNER, shared_accounts=True).accounts_are_shared


def test_a_token_that_was_written_as_a_key_stands_in_no_message(keys: Keys) -> None:
    keys.write("alice: {keys: [7f3c-alice]}\n")
    (problem,) = keys.report.problems
    assert "7f3c-alice" not in f"{problem} {problem.remedy}"
