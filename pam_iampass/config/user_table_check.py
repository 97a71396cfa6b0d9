"""Checks the whole user table, for `pam-iampass check`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.config.user_table import SUFFIX, Entry, TableFile, file_name, read, read_own, user_of
from pam_iampass.config.value_types import name_error
from pam_iampass.errors import MissingFile, Problem, Severity, UntrustedFile, shown
from pam_iampass.system import trusted_file


@dataclass(frozen=True)
class TableReport:
    """The whole table, and everything that is wrong with it."""

    entries: Mapping[str, Entry]
    """By user name, as a look-up finds them."""
    places: Mapping[str, tuple[Path, int]]
    """The file and line of each entry."""
    files: tuple[Path, ...]
    """The files that were read."""
    problems: tuple[Problem, ...]


def check(users: Path, folder: Path, *, owner: int = 0) -> TableReport:
    """Read every file of the table. The arguments are as for `UserTable`. Raises nothing."""
    table = _TableCheck(users, folder, owner)
    table.read_folder()
    table.read_users()
    table.find_shared_tokens()
    return TableReport(table.entries, table.places, tuple(table.files), tuple(table.problems))


class _TableCheck:
    def __init__(self, users: Path, folder: Path, owner: int) -> None:
        self.users = users
        self.folder = folder
        self.owner = owner
        self.entries: dict[str, Entry] = {}
        self.places: dict[str, tuple[Path, int]] = {}
        self.files: list[Path] = []
        self.problems: list[Problem] = []

    def read_folder(self) -> None:
        """Read the files of single users."""
        try:
            names = trusted_file.names(self.folder, owner=self.owner)
        except UntrustedFile as error:
            if not isinstance(error, MissingFile) or os.path.lexists(self.folder):
                self.problems.append(error.problem(self.folder))
            return
        for name in names:
            self._read_own(self.folder / name)

    def _read_own(self, file: Path) -> None:
        user = user_of(file.name)
        if user is None:
            self._warn_of_other_file(file)
            return
        try:
            table = read_own(file, self.owner, user)
        except UntrustedFile as error:
            self.problems.append(error.problem(file, None, user))
            return
        self._add(file, table)

    def _warn_of_other_file(self, file: Path) -> None:
        if file.name.startswith("."):  # an editor's
            return
        stem = file.name[: -len(SUFFIX)] if file.name.endswith(SUFFIX) else ""
        remedy = "move it to another folder"
        if not name_error(stem):
            remedy = f"for the user {shown(stem)} name it {file_name(stem)}"
        self._warn(file, None, "", "is not read: its name does not belong to any user", remedy)

    def read_users(self) -> None:
        try:
            table = read(self.users, self.owner)
        except UntrustedFile as error:
            self.problems.append(error.problem(self.users))
            return
        for user, line in table.lines.items():
            if user in self.places:
                what = f"is not read: the user has a file, {self.places[user][0]}"
                self._warn(self.users, line, user, what, "delete one of the two")
        self._add(self.users, table)

    def _add(self, file: Path, table: TableFile) -> None:
        self.files.append(file)
        self.problems += table.problems
        for user, entry in table.entries.items():
            if user not in self.entries:
                self.entries[user] = entry
                self.places[user] = (file, table.lines[user])

    def find_shared_tokens(self) -> None:
        first: dict[str, str] = {}
        for user, entry in self.entries.items():
            other = first.setdefault(entry.token, user)
            if other != user:
                what = f"has the same token as {shown(other)}: either can approve logins of both"
                self._warn(*self.places[user], user, what, "give each user a token of their own")

    def _warn(self, file: Path, line: int | None, key: str, what: str, remedy: str) -> None:
        self.problems.append(Problem(file, line, key, what, remedy, Severity.WARNING))
