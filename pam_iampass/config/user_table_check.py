"""Everything that is wrong with the table of users, for `pam-iampass check`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pam_iampass.config.user_file_name import SUFFIX, file_name, user_of
from pam_iampass.config.user_table import Entry, Table, read, read_own
from pam_iampass.config.validation import name_fault
from pam_iampass.errors import MissingFile, Problem, Severity, UntrustedFile, shown
from pam_iampass.system import trusted_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Examination:
    """Everything that reading the whole table brought to light."""

    entries: Mapping[str, Entry]
    """By user name, as a look-up would find them."""
    places: Mapping[str, tuple[Path, int]]
    """File and line of each."""
    files: tuple[Path, ...]
    """What was read."""
    problems: tuple[Problem, ...]


class Examiner:
    """Reads every file of a table."""

    def __init__(self, users: Path, folder: Path, owner: int) -> None:
        self.users = users
        self.folder = folder
        self.owner = owner
        self.entries: dict[str, Entry] = {}
        self.places: dict[str, tuple[Path, int]] = {}
        self.files: list[Path] = []
        self.problems: list[Problem] = []

    def examination(self) -> Examination:
        self._read_folder()
        self._read_users()
        self._find_shared_tokens()
        return Examination(self.entries, self.places, tuple(self.files), tuple(self.problems))

    def _read_folder(self) -> None:
        """Read all files of single users."""
        try:
            names = trusted_file.names(self.folder, owner=self.owner)
        except MissingFile as error:
            if os.path.lexists(self.folder):
                self.problems.append(error.problem(self.folder))
        except UntrustedFile as error:
            self.problems.append(error.problem(self.folder))
        else:
            for name in names:
                self._read_own(self.folder / name)

    def _read_own(self, file: Path) -> None:
        user = user_of(file.name)
        if user is None:
            self._never_read(file)
            return
        try:
            table = read_own(file, self.owner, user)
        except UntrustedFile as error:
            self.problems.append(error.problem(file, None, user))
            return
        self._take(file, table)

    def _never_read(self, file: Path) -> None:
        if file.name.startswith("."):  # an editor's
            return
        stem = file.name[: -len(SUFFIX)] if file.name.endswith(SUFFIX) else ""
        remedy = "move it elsewhere"
        if not name_fault(stem):
            remedy = f"for the user {shown(stem)} name it {file_name(stem)}"
        self._warn(file, None, "", "is never read: no user's file has that name", remedy)

    def _read_users(self) -> None:
        try:
            table = read(self.users, self.owner)
        except UntrustedFile as error:
            self.problems.append(error.problem(self.users))
            return
        for user, line in table.lines.items():
            if user in self.places:
                what = f"is never read: the user has a file, {self.places[user][0]}"
                self._warn(self.users, line, user, what, "keep one of the two")
        self._take(self.users, table)

    def _take(self, file: Path, table: Table) -> None:
        self.files.append(file)
        self.problems += table.problems
        for user, entry in table.entries.items():
            if user not in self.entries:
                self.entries[user] = entry
                self.places[user] = (file, table.lines[user])

    def _find_shared_tokens(self) -> None:
        first: dict[str, str] = {}
        for user, entry in self.entries.items():
            other = first.setdefault(entry.token, user)
            if other != user:
                what = f"has the same token as {shown(other)}: either can approve for both"
                self._warn(*self.places[user], user, what, "give everybody a token of their own")

    def _warn(self, file: Path, line: int | None, key: str, what: str, remedy: str) -> None:
        self.problems.append(Problem(file, line, key, what, remedy, Severity.WARNING))
