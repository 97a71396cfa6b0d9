"""Keys of the user table are changed whole or not at all, and what a person wrote stays as it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pam_iampass.config.ssh_keys import KeyEntry
from pam_iampass.config.user_table import Entry, check
from pam_iampass.config.user_table_editing import UserTableEditor
from pam_iampass.errors import PamIampassError
from tests.support.folders import put

ANYBODY = "daemon"  # stands in for the user, and the group, that the module runs as
A, B, C, CA = (KeyEntry("SHA256:" + letter * 42 + "A") for letter in "ABCD")
BY_ID, BY_PRINCIPAL = KeyEntry(CA.fingerprint, key_id="a: #1"), KeyEntry(CA.fingerprint, principal="no")


class Keys:
    """A table, and its editor."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "users.yaml"
        self.editor = UserTableEditor(self.file, module_user=ANYBODY)

    def content(self) -> dict[str, list[KeyEntry]]:
        report = check(self.file, optional=True)
        assert report.problems == ()
        return {name: list(entry.keys) for name, entry in report.entries.items()}

    def refused(self, change: str, *arguments: object) -> str:
        """Why a change is not made; nothing has changed then."""
        before = self.content()
        with pytest.raises(PamIampassError) as caught:
            getattr(self.editor, change)(*arguments)
        assert self.content() == before
        return caught.value.diagnostics()


@pytest.fixture
def keys(trusted_folder: Path) -> Keys:
    return Keys(trusted_folder)


def test_what_is_added_is_read_again_and_what_is_there_is_not_added(keys: Keys) -> None:
    assert keys.editor.add_keys({"alice": [A, BY_ID, A], "0 bob": [B]}) == {"alice": [A, BY_ID], "0 bob": [B]}
    assert keys.editor.add_keys({"alice": [BY_PRINCIPAL, A]}) == {"alice": [BY_PRINCIPAL]}
    assert keys.editor.add_keys({"alice": [A]}) == {}
    assert keys.content() == {"alice": [A, BY_ID, BY_PRINCIPAL], "0 bob": [B]}
    status = os.stat(keys.file.parent / "users.d" / "alice.yaml")
    assert (status.st_uid, status.st_mode & 0o777) == (0, 0o640)


def test_a_dry_run_writes_nothing(keys: Keys) -> None:
    assert keys.editor.add_keys({"alice": [A]}, dry_run=True) == {"alice": [A]}
    assert keys.content() == {}


def test_of_several_people_all_or_nobody_is_added(keys: Keys) -> None:
    keys.editor.add_keys({"bob": [B]})
    assert 'is already that of "bob"' in keys.refused("add_keys", {"alice": [A], "carol": [C, B]})
    assert "is already that of" in keys.refused("add_keys", {"alice": [A], "carol": [A]})
    assert "contains a slash" in keys.refused("add_keys", {"alice": [A], "../bob": [C]})
    assert "is too long" in keys.refused("add_keys", {"é" * 100: [A]})


def test_one_key_or_all_are_removed(keys: Keys) -> None:
    keys.editor.add_keys({"alice": [A, B, BY_ID]})
    assert keys.editor.remove_keys("alice", [B]) == [B]
    assert keys.content() == {"alice": [A, BY_ID]}
    assert "is not of" in keys.refused("remove_keys", "alice", [A, B])
    assert keys.editor.remove_keys("alice") == [A, BY_ID]
    assert keys.content() == {}
    assert "has no keys" in keys.refused("remove_keys", "alice")


def test_the_file_of_a_person_who_edits_it_is_left_alone(keys: Keys) -> None:
    text = f"alice: {{keys: [{A}]}}  # of 2019\n"
    put(keys.file, text)
    assert keys.editor.add_keys({"alice": [A]}) == {}
    assert "users.yaml:1, which is only edited by hand" in keys.refused(
        "add_keys", {"bob": [C], "alice": [B]}
    )
    assert "users.yaml:1, which is only edited by hand" in keys.refused("remove_keys", "alice")
    assert "is in " in keys.refused("add", "alice", "token-of-alice")
    keys.editor.add("alice", "token-of-alice", replace=True)
    keys.editor.add_keys({"alice": [B]})
    assert check(keys.file).entries["alice"] == Entry("token-of-alice", None, (A, B))
    assert keys.file.read_text() == text


def test_a_token_and_keys_do_not_take_each_other_away(keys: Keys) -> None:
    keys.editor.add_keys({"alice": [A]})
    keys.editor.add("alice", "one")
    assert "already has a token" in keys.refused("add", "alice", "two")
    keys.editor.add("alice", "two", ["facial"], replace=True)
    keys.editor.add_keys({"alice": [BY_ID]})
    assert check(keys.file, optional=True).entries == {"alice": Entry("two", ("facial",), (A, BY_ID))}
    keys.editor.remove_keys("alice")
    assert check(keys.file, optional=True).entries == {"alice": Entry("two", ("facial",))}


def test_while_a_file_is_broken_nothing_is_changed(keys: Keys) -> None:
    put(keys.file, "alice: {keys: oops}\n")
    with pytest.raises(PamIampassError, match="not a list of keys"):
        keys.editor.add_keys({"bob": [A]})
    with pytest.raises(PamIampassError, match="not a list of keys"):
        keys.editor.remove_keys("alice")
    assert keys.file.read_text() == "alice: {keys: oops}\n"
    assert not (keys.file.parent / "users.d").exists()
