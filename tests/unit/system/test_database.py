"""The agent's one file: what it survives, what it refuses, and what is on the disk when."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from pam_iampass.errors import StateError
from pam_iampass.system import database as module
from pam_iampass.system.database import APPLICATION_ID, VERSION, Database

ROOT = Path(__file__).parents[3]
ADD = """
INSERT INTO sessions VALUES (?, 'b', ?) ON CONFLICT (id) DO UPDATE SET content = excluded.content
"""


class File:
    """The file, and what was reported about it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self.path = folder / "state.db"
        self.reports: list[StateError | None] = []
        self.now = 0.0
        self.database = self.opened()

    def opened(self) -> Database:
        self.database = Database(str(self.path), boot="b", clock=lambda: self.now, report=self.reports.append)
        return self.database

    def add(self, name: str, content: str = "x", *, durable: bool = False) -> None:
        with self.database.transaction(durable=durable) as connection:
            connection.execute(ADD, (name, content))

    def names(self) -> list[str]:
        with self.database.reading() as connection:
            return [name for (name,) in connection.execute("SELECT id FROM sessions ORDER BY id")]


@pytest.fixture
def file(own_folder: Path) -> Iterator[File]:
    found = File(own_folder / "state")
    yield found
    found.database.close()


@pytest.fixture
def small(own_folder: Path) -> Iterator[File]:
    """On a disk of 10 MiB."""
    folder = own_folder / "state"
    folder.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m,mode=700", "tmpfs", str(folder)], check=True)
    found = File(folder)
    yield found
    found.database.close()
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no room on the disk."""
    with contextlib.suppress(OSError), (folder / "full").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


# Written and read


def test_what_is_written_is_there_when_the_file_is_opened_again(file: File) -> None:
    file.add("a")
    file.add("b", durable=True)
    file.database.close()
    file.opened()
    assert file.names() == ["a", "b"]
    assert file.reports == []


def test_a_change_that_fails_changes_nothing(file: File) -> None:
    file.add("a")
    with contextlib.suppress(KeyError), file.database.transaction() as connection:
        connection.execute("DELETE FROM sessions")
        raise KeyError
    with contextlib.suppress(StateError), file.database.transaction() as connection:
        connection.execute("DELETE FROM sessions")
        connection.execute("INSERT INTO nowhere VALUES (1)")
    assert file.names() == ["a"]


def test_only_the_agents_user_can_read_what_is_in_the_folder(file: File) -> None:
    file.add("a")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.path.parent.iterdir()}
    assert modes == {"state.db": 0o600, "state.db-wal": 0o600}


_KILLED = """
import os, signal, sys
from pam_iampass.system.database import Database
database = Database(sys.argv[1])
for number in range(50):
    with database.transaction() as connection:
        connection.execute("INSERT INTO sessions VALUES (?, 'b', 'x')", (f"{number:02}",))
with database.transaction() as connection:
    connection.execute("INSERT INTO sessions VALUES ('never', 'b', 'x')")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_is_killed_loses_nothing_that_it_had_written(file: File) -> None:
    command = [sys.executable, "-c", _KILLED, str(file.path)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert file.names() == [f"{number:02}" for number in range(50)]


_SPENDS = """
import os, sys
from pam_iampass.login.recovery import read
from pam_iampass.login.recovery import RecoveryCodes
from pam_iampass.system.database import Database
codes = RecoveryCodes(Database(sys.argv[1]))
for code in codes.renew("alice")[:3]:
    os.write(1, b"typed")
    codes.spend("alice", read(code))
    os.write(1, b"spent")
"""


@pytest.mark.needs_program("strace")
def test_that_a_code_is_spent_is_synced_before_the_answer(file: File) -> None:
    trace = file.path.parent / "trace"
    calls = "trace=pwrite64,fsync,fdatasync,write"
    subprocess.run(
        ["strace", "-f", "-y", "-o", trace, "-e", calls, sys.executable, "-c", _SPENDS, str(file.path)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    found = re.findall(
        r"(typed)|(spent)|(pwrite64)\(\d+<\S*-wal>|(f(?:data)?sync)\(\d+<\S*-wal>\) *= 0", trace.read_text()
    )
    story = ["".join(each).replace("fdata", "f") for each in found]
    turns = " ".join(story[story.index("typed") :]).split("typed ")[1:]
    assert len(turns) == 3
    for turn in turns:
        assert re.match("(pwrite64 )+fsync spent", turn), turn


# Disks


def test_on_a_full_disk_some_hundred_new_rows_have_room_and_changes_go_on_for_ever(small: File) -> None:
    small.add("first")
    fill(small.path.parent)
    rows = 0
    with contextlib.suppress(StateError):
        while True:
            small.add(f"row {rows:04}", "x" * 1000, durable=rows % 10 == 0)
            rows += 1
    assert rows >= 400
    assert "is it full" in str(small.reports[0])
    for number in range(500):
        small.add("row 0000", f"{number:04}" * 250, durable=number % 10 == 0)
    assert [report is None for report in small.reports] == [False, True], "once, and again when it works"
    small.database.close()
    assert len(small.names()) == rows + 1


def test_where_the_disk_has_room_again_the_reserve_is_made_anew(small: File) -> None:
    small.add("first")
    fill(small.path.parent)
    with contextlib.suppress(StateError):
        for number in range(5000):
            small.add(f"row {number}", "x" * 1000)
    (small.path.parent / "full").unlink()
    with small.database.transaction() as connection:
        connection.execute("DELETE FROM sessions WHERE id = 'first'")
    for number in range(1000):
        small.add(f"more {number}", "x" * 1000)
    assert small.database.problem is None


def test_a_file_on_a_full_disk_can_be_opened(small: File) -> None:
    small.add("first")
    small.database.close()
    fill(small.path.parent)
    assert small.names() == ["first"]
    (small.path.parent / "full").unlink()
    small.add("second")
    assert small.names() == ["first", "second"]


# Files that are not used


def _foreign(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")


def _of_version(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
        connection.execute("CREATE TABLE later (x)")


def _in(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as opened:
        opened.seek(at)
        opened.write(data)


WRONG: dict[str, tuple[Callable[[Path], object], str | None]] = {
    "empty": (lambda path: path.write_bytes(b""), None),
    "of another program": (_foreign, "is not a file of pam-iampass"),
    "of another version": (_of_version, "was written by another version"),
    "overwritten at its begin": (lambda path: _in(path, 0, bytes(100)), "is damaged"),
    "overwritten in the middle": (lambda path: _in(path, 4096, b"\xff" * 8192), "is damaged"),
    "a folder": (lambda path: path.mkdir(), "is a folder"),
    "a link": (lambda path: path.symlink_to("/etc/hostname"), "is a symbolic link"),
    "a pipe": (os.mkfifo, "is a named pipe"),
    "of another user": (lambda path: os.chown(path, 1, 1), "belongs to user daemon, not to root"),
    "open to others": (lambda path: path.chmod(0o640), r"is open to others \(mode 0640\)"),
}
OF_ANOTHER_USER = pytest.param("of another user", marks=pytest.mark.needs_root)


@pytest.mark.parametrize("wrong", [OF_ANOTHER_USER if name == "of another user" else name for name in WRONG])
def test_a_file_that_is_not_as_it_should_be_is_refused_with_a_remedy_and_left_as_it_is(
    file: File, wrong: str
) -> None:
    damage, problem = WRONG[wrong]
    file.add("a" * 1000)
    file.database.close()
    if wrong in ("a folder", "a link", "a pipe", "of another program", "of another version"):
        file.path.unlink()
    damage(file.path)
    if wrong not in ("of another user", "open to others", "a link", "a folder", "a pipe"):
        file.path.chmod(0o600)
    before = file.path.read_bytes() if file.path.is_file() else None
    if problem is None:
        assert file.names() == []
        return
    with pytest.raises(StateError, match=problem) as caught:
        file.names()
    remedy = caught.value.remedy
    assert remedy
    assert ("pam-iampass phone lost" in remedy) is ("begin anew" in remedy)
    assert file.reports == [caught.value]
    assert before is None or file.path.read_bytes() == before


@pytest.mark.parametrize("name", ["state.db-wal", "state.db-journal"])
def test_a_link_in_the_place_of_the_log_is_refused(file: File, name: str) -> None:
    file.add("a")
    file.database.close()
    (file.path.parent / name).symlink_to("/etc/hostname")
    with pytest.raises(StateError, match=f"{name}: is a symbolic link"):
        file.names()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param(lambda folder: folder.chmod(0o755), "is open to others", id="open to others"),
        pytest.param(
            *(lambda folder: os.chown(folder, 1, 1), "belongs to user daemon"),
            id="of another user",
            marks=pytest.mark.needs_root,
        ),
        pytest.param(lambda folder: folder.rmdir(), "does not exist", id="missing"),
    ],
)
def test_a_folder_that_is_not_as_it_should_be_is_refused(file: File, change: object, problem: str) -> None:
    change(file.path.parent)  # type: ignore[operator]
    with pytest.raises(StateError, match=problem):
        file.names()


def test_a_file_that_another_process_has_open_is_not_used(file: File) -> None:
    file.add("a")
    other = Database(str(file.path))
    with pytest.raises(StateError, match="another process has it open"):
        other.transaction().__enter__()


def test_a_file_that_is_replaced_while_it_is_used_takes_no_change_until_a_restart(file: File) -> None:
    file.add("a", durable=True)
    aside = file.path.with_name("aside")
    file.path.rename(aside)
    for _ in range(2):
        with pytest.raises(StateError, match="was replaced or removed while"):
            file.add("b")
    aside.rename(file.path)
    file.add("c")
    assert file.names() == ["a", "c"]


def test_where_it_cannot_be_opened_it_is_tried_again_after_some_seconds(file: File) -> None:
    read: list[list[tuple[str]]] = []
    file.database.on_open.append(
        lambda found: read.append(found.execute("SELECT id FROM sessions").fetchall())
    )
    file.path.parent.chmod(0o755)
    file.database.open()
    file.path.parent.chmod(0o700)
    with pytest.raises(StateError, match="is open to others"):
        file.add("a")
    file.now += module.OPEN_INTERVAL
    file.add("a")
    assert [report is None for report in file.reports] == [False, True]
    assert read == [[]]


def test_the_columns_of_each_primary_key_come_first(file: File) -> None:
    # Else SQLite 3.40 (Debian 12) takes the file for damaged as soon as the agent starts again.
    with file.database.transaction() as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE sql LIKE '%WITHOUT ROWID%'"
        ).fetchall()
        assert {"limits", "codes", "bypasses"} <= {name for (name,) in tables}
        for (table,) in tables:
            places = [key for *_, key in connection.execute(f"PRAGMA table_info({table})")]
            keys = [key for key in places if key]
            assert places[: len(keys)] == list(range(1, len(keys) + 1)), table
