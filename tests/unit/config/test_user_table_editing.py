"""The user table is changed whole or not at all, and what a person wrote stays as it is."""

from __future__ import annotations

import fcntl
import os
import pwd
import stat
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pam_iampass.config.user_table import LONGEST_FILE_NAME, Entry, file_name
from pam_iampass.config.user_table_editing import NEW, UserTableEditor
from pam_iampass.config.value_types import name_error, token_error
from pam_iampass.errors import EditRefused, PamIampassError
from tests.support.examples import examples
from tests.support.folders import new_own_folder, put
from tests.support.table_folder import TableFolder

ROOT = Path(__file__).parents[3]
ANYBODY = "daemon"  # stands in for the user, and the group, that the module runs as

WRITTEN = "# our people\nbob:   91aa-bob   # on holiday\ncarol: {token: c4, methods: [facial]}\n"


class EditedTable(TableFolder):
    """A table, and its editor."""

    @property
    def editor(self) -> UserTableEditor:
        return UserTableEditor(self.users, module_user=ANYBODY)

    def refusal(self, *arguments: str, replace: bool = False) -> str:
        """Why a user is not added, or (with one argument) not removed, without the folder in front."""
        before = self.content()
        change = self.editor.remove if len(arguments) == 1 else partial(self.editor.add, replace=replace)
        with pytest.raises(PamIampassError) as caught:
            change(*arguments)
        assert self.content() == before
        return caught.value.diagnostics().replace(f"{self.root}/", "")

    def content(self) -> dict[str, bytes]:
        """Every file but the lock."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_file() and path.name != UserTableEditor.LOCK
        }


@pytest.fixture
def table(trusted_folder: Path) -> EditedTable:
    table = EditedTable(trusted_folder)
    put(table.users, WRITTEN)
    return table


# What is written


def test_a_user_who_is_added_is_found_and_what_a_person_wrote_is_as_it_was(table: EditedTable) -> None:
    assert table.editor.add("alice", "7f3c-alice") == table.folder / "alice.yaml"
    assert table.find("alice") == Entry("7f3c-alice")
    assert table.content() == {"users.yaml": WRITTEN.encode(), "users.d/alice.yaml": b"alice: 7f3c-alice\n"}


def test_methods_are_written_as_they_are_given(table: EditedTable) -> None:
    table.editor.add("alice", "t", ["facial", "device"])
    assert table.find("alice") == Entry("t", ("facial", "device"))
    table.editor.add("alice", "t", [], replace=True)
    assert table.find("alice") == Entry("t", ())
    table.editor.add("alice", "t", replace=True)
    assert table.find("alice") == Entry("t", None)


@pytest.mark.parametrize("umask", [0, 0o777])
def test_file_and_folder_belong_to_root_and_the_modules_group_can_read_them(
    table: EditedTable, umask: int
) -> None:
    before = os.umask(umask)
    try:
        made = table.editor.add("alice", "t")
    finally:
        os.umask(before)
    group = pwd.getpwnam(ANYBODY).pw_gid
    for path, mode in ((made, 0o640), (table.folder, 0o750)):
        found = path.stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, group, mode)


def test_a_folder_that_is_there_keeps_its_owner_and_mode(table: EditedTable) -> None:
    table.folder.mkdir()
    table.folder.chmod(0o755)
    table.editor.add("alice", "t")
    assert (table.folder.stat().st_gid, stat.S_IMODE(table.folder.stat().st_mode)) == (0, 0o755)


@pytest.mark.parametrize(
    "word",
    [
        "a\u2028b",
        "\ufeff",
        "no",
        "0123",
        "#",
        "a: b",
        '"',
        " a ",
    ],
)
def test_names_and_tokens_that_yaml_takes_for_something_else_are_written_so_that_they_are_read(
    table: EditedTable, word: str
) -> None:
    table.editor.add(word, word)
    assert table.find(word) == Entry(word)


POSSIBLE = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@pytest.mark.needs_root
@settings(
    max_examples=examples(80),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(name=POSSIBLE, token=POSSIBLE, methods=st.none() | st.just(["device"]))
def test_whatever_can_be_a_name_and_a_token_can_be_added_and_removed(
    name: str, token: str, methods: list[str] | None
) -> None:
    with new_own_folder() as folder:
        table = EditedTable(folder)
        put(table.users, "{}\n")
        if name_error(name) or token_error(token) or len(file_name(name)) > LONGEST_FILE_NAME:
            with pytest.raises(EditRefused):
                table.editor.add(name, token, methods)
            assert list(table.content()) == ["users.yaml"]
            return
        table.editor.add(name, token, methods)
        assert table.find(name) == Entry(token, None if methods is None else tuple(methods))
        assert table.editor.remove(name).name == file_name(name)
        assert table.find(name) is None


# What is refused


def test_a_user_who_has_a_token_keeps_it_without_replace(table: EditedTable) -> None:
    table.editor.add("alice", "one")
    message = '"alice" already has a token, in users.d/alice.yaml\n    use --replace to replace it'
    assert table.refusal("alice", "two") == message
    table.editor.add("alice", "two", replace=True)
    assert table.find("alice") == Entry("two")


def test_a_user_of_users_yaml_gets_a_file_only_where_that_is_meant(table: EditedTable) -> None:
    assert table.refusal("bob", "new").startswith('"bob" already has a token, in users.yaml:2\n')
    table.editor.add("bob", "new", replace=True)
    assert table.find("bob") == Entry("new")
    assert table.users.read_text() == WRITTEN


def test_a_line_that_a_person_wrote_is_not_removed_but_named(table: EditedTable) -> None:
    assert table.refusal("bob") == (
        '"bob" is in users.yaml:2, which is only edited by hand\n    delete that line'
    )


def test_a_file_is_not_removed_where_an_older_token_would_come_to_light(table: EditedTable) -> None:
    table.editor.add("bob", "new", replace=True)
    assert "delete that line, then remove the user again" in table.refusal("bob")
    put(table.users, "{}\n")
    assert table.editor.remove("bob") == table.folder / "bob.yaml"
    assert table.find("bob") is None


def test_removing_a_user_who_has_no_token_is_an_error(table: EditedTable) -> None:
    assert table.refusal("dave").startswith('"dave" has no token\n')
    table.editor.add("alice", "t")
    assert table.refusal("dave").startswith('"dave" has no token\n')


@pytest.mark.parametrize(
    ("methods", "message"), [(["voice"], "not a method"), (["device", "device"], "twice")]
)
def test_impossible_methods_are_refused(table: EditedTable, methods: list[str], message: str) -> None:
    with pytest.raises(EditRefused, match=message):
        table.editor.add("alice", "t", methods)
    assert not table.folder.exists()


# What is broken


@pytest.mark.parametrize("text", ["alice: [", "alice: t\nbob: t\n", "bob: t\n", ""])
def test_a_broken_file_of_the_users_own_is_left_to_the_person_who_wrote_it(
    table: EditedTable, text: str
) -> None:
    table.folder.mkdir()
    put(table.folder / "alice.yaml", text)
    for message in (
        table.refusal("alice", "t"),
        table.refusal("alice", "t", replace=True),
        table.refusal("alice"),
    ):
        assert message.startswith("users.d/alice.yaml")


def test_with_a_broken_users_yaml_nobody_can_tell_who_is_in_it(table: EditedTable) -> None:
    put(table.users, "bob: t\nbob: u\n")
    assert table.refusal("alice", "t").startswith("users.yaml:2: bob: the key is duplicate")
    table.editor.add("alice", "t", replace=True)  # whatever it says, the user's own file is read first
    assert table.find("alice") == Entry("t")
    assert table.refusal("alice").startswith("users.yaml:2: bob: the key is duplicate")


def test_a_table_may_be_a_folder_alone(table: EditedTable) -> None:
    table.users.unlink()
    table.editor.add("alice", "t")
    assert table.find("alice") == Entry("t")
    table.editor.remove("alice")


def test_a_folder_that_others_can_write_is_refused(table: EditedTable) -> None:
    table.folder.mkdir()
    table.folder.chmod(0o777)
    assert "users other than root can write" in table.refusal("alice", "t")


def test_a_link_in_the_place_of_the_users_file_is_not_followed(table: EditedTable) -> None:
    table.folder.mkdir()
    (table.folder / "alice.yaml").symlink_to(table.users)
    assert "is a symbolic link" in table.refusal("alice", "t", replace=True)
    assert "is a symbolic link" in table.refusal("alice")


def test_a_file_that_the_module_could_not_read_is_not_put_in_place(table: EditedTable) -> None:
    table.folder.mkdir(mode=0o700)
    message = table.refusal("alice", "t")
    assert message == (
        "users.d: the module, as user daemon, cannot read files in it\n"
        "    chgrp daemon users.d; chmod 0750 users.d"
    )


# Disks, people and editors that are in the way

ADD = """
import sys
from pathlib import Path
from pam_iampass.errors import PamIampassError
from pam_iampass.config.user_table_editing import UserTableEditor
root = Path(sys.argv[1])
editor = UserTableEditor(root / "users.yaml", module_user="daemon")
for name in sys.argv[3:]:
    try:
        editor.add(name, sys.argv[2], replace=name == "alice")
    except PamIampassError as error:
        print(error.diagnostics())
"""


def test_another_user_than_root_reads_that_root_is_needed(table: EditedTable) -> None:
    table.editor.add("alice", "one")
    os.seteuid(pwd.getpwnam(ANYBODY).pw_uid)
    try:
        with pytest.raises(EditRefused) as caught:
            table.editor.add("alice", "two", replace=True)
    finally:
        os.seteuid(0)
    assert caught.value.diagnostics() == f"only root can change {table.folder}\n    run it as root"
    assert table.find("alice") == Entry("one")


def test_without_the_modules_group_nothing_is_written(table: EditedTable) -> None:
    with pytest.raises(EditRefused, match="there is no group no-such-group"):
        UserTableEditor(table.users, module_user="no-such-group").add("alice", "t")
    assert not table.folder.exists()


def test_an_editor_that_is_killed_in_the_middle_leaves_whole_files_and_a_way_on(table: EditedTable) -> None:
    names = [f"user{number}" for number in range(500)]
    for killed in range(5):
        editor = subprocess.Popen([sys.executable, "-c", ADD, str(table.root), "t", *names], cwd=ROOT)
        while editor.poll() is None and not (table.folder / f"user{killed * 20 + 5}.yaml").exists():
            time.sleep(0.001)
        editor.kill()
        editor.wait()
    written = [name for name in os.listdir(table.folder) if name != NEW]
    assert len(written) > 80
    for name in written:
        assert (table.folder / name).read_text() == f"{name[: -len('.yaml')]}: t\n"
    table.editor.add("dave", "d")
    assert NEW not in os.listdir(table.folder)


def test_an_editor_does_not_wait_for_ever(table: EditedTable) -> None:
    lock = os.open(table.root / UserTableEditor.LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    hasty = UserTableEditor(table.users, module_user=ANYBODY, patience=0.1)
    try:
        with pytest.raises(
            EditRefused, match=r"another program has been changing the table for 0\.1 seconds"
        ):
            hasty.add("alice", "t")
    finally:
        os.close(lock)
    assert not table.folder.exists()
