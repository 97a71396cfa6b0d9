"""The table of users: who is asked under which token.

Two places, read in this order:

- `users.d/<user>.yaml`, one user a file, found by its name alone (`user_file_name.py`), so that a look-up
  costs the same with 10 users as with 100,000. The file's one key is that same user name. A broken file
  denies that user.
- `users.yaml`, all others. A broken file denies them all.

A value is the token, or a mapping of `token` and `methods`. Names and tokens are text, whatever YAML would
make of them otherwise.
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pam_iampass.config.node_reader import Kind, NodeReader
from pam_iampass.config.user_file_name import LONGEST, file_name
from pam_iampass.config.validation import name_fault, token_fault
from pam_iampass.config.value_types import method
from pam_iampass.config.yaml_document import Node, Scalar, parse
from pam_iampass.errors import ConfigurationError, MissingFile, Problem, UntrustedFile, shown
from pam_iampass.system import trusted_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from pam_iampass.config.user_table_check import Examination

_METHODS = Kind("a list of acceptance, device and facial", method, "[facial]", many=True)
_TICK = 0.1  # seconds: far longer than any tick of a file system's clock


@dataclass(frozen=True)
class Entry:
    """What the table says of a user."""

    token: str
    methods: tuple[str, ...] | None = None
    """None: as the service has it."""


class UserTable:
    """The table, read from its files at each look-up, as far as they changed since the last one."""

    def __init__(
        self, users: Path, folder: Path, *, owner: int = 0, clock: Callable[[], float] = time.time
    ) -> None:
        """`users` is the table, `folder` holds one file a user.

        `owner` is as for `trusted_file.read`; `clock` is that of the file system, in seconds.
        """
        self._users = users
        self._folder = folder
        self._owner = owner
        self._clock = clock
        self._kept: _Kept | None = None
        self._lock = allocate_lock()

    def find(self, name: str) -> Entry | None:
        """The user's entry, or None where the user is in no table.

        Raises ConfigurationError where the file that would tell is not there, not to be trusted, or wrong.
        """
        if name_fault(name):
            return None
        own = self._own_file(name)
        return own if own is not None else self._table().get(name)

    def examine(self) -> Examination:
        """Read everything there is, and find all that is wrong with it. Raises nothing."""
        from pam_iampass.config.user_table_check import Examiner

        return Examiner(self._users, self._folder, self._owner).examination()

    def problems(self) -> tuple[Problem, ...]:
        """All that is wrong in all files. Raises nothing."""
        return self.examine().problems

    def _own_file(self, name: str) -> Entry | None:
        """The entry in the user's own file, None where there is no such file."""
        own_name = file_name(name)
        if len(own_name) > LONGEST:
            return None
        path = self._folder / own_name
        try:
            table = read_own(path, self._owner, name)
        except MissingFile as missing:
            if missing.folder and os.path.lexists(self._folder):
                raise ConfigurationError([missing.problem(path, None, name)]) from None
            return None
        except UntrustedFile as error:
            raise ConfigurationError([error.problem(path, None, name)]) from None
        if table.problems:
            raise ConfigurationError(table.problems)
        return table.entries[name]

    def _table(self) -> Mapping[str, Entry]:
        """The entries of `users.yaml`."""
        with self._lock:  # so that of many logins at once only one reads a large table
            kept = self._kept
            try:
                now = self._clock()
                version = trusted_file.version(self._users, owner=self._owner)
                if kept is None or kept.version != version:
                    kept = _Kept(version, read(self._users, self._owner))
            except UntrustedFile as error:
                raise ConfigurationError([error.problem(self._users)]) from None
            # A file can be written twice within one tick of its clock: what changed just now is read again.
            self._kept = None if abs(now - version[0] / 1e9) < _TICK else kept
        if kept.table.problems:
            raise ConfigurationError(kept.table.problems)
        return kept.table.entries


@dataclass(frozen=True)
class Table:
    """What one file says."""

    entries: Mapping[str, Entry]
    lines: Mapping[str, int]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class _Kept:
    """What a file said when it had that version."""

    version: tuple[int, ...]
    table: Table


def read(file: Path, owner: int) -> Table:
    """The whole file. Raises UntrustedFile."""
    document = parse(trusted_file.read(file, owner=owner), file)
    reader = _TableReader(file, document.problems)
    if document.root is not None:
        reader.read(document.root)
    return Table(reader.entries, reader.places, tuple(reader.problems))


def read_own(file: Path, owner: int, user: str) -> Table:
    """The file of one user. Raises UntrustedFile."""
    table = read(file, owner)
    if not table.problems and list(table.entries) != [user]:
        line = next((line for name, line in table.lines.items() if name != user), None)
        remedy = f"write {shown(user)}: and the token, and nothing else; other users have files of their own"
        fault = Problem(file, line, user, f"the file does not speak of {shown(user)} alone", remedy)
        return Table({}, table.lines, (fault,))
    return table


class _TableReader(NodeReader):
    """Makes entries of the nodes of a file."""

    def __init__(self, file: Path, problems: Iterable[Problem]) -> None:
        super().__init__(file, problems)
        self.entries: dict[str, Entry] = {}
        self.places: dict[str, int] = {}
        """The line of each user."""

    def read(self, root: Node) -> None:
        if isinstance(root, Scalar) and root.is_null:
            return
        mapping = self.mapping(root, "", "write one user a line, such as alice: 7f3c-alice")
        for name, value in mapping.entries if mapping else ():
            user = name.text
            self.places[user] = name.line
            fault = name_fault(user)
            if fault:
                self.problem(
                    name.line, user, f"the user name {shown(user)} {fault}", "write the name as NSS has it"
                )
            entry = self._entry(user, value)
            if entry is not None:
                self.entries[user] = entry

    def _entry(self, user: str, node: Node) -> Entry | None:
        if isinstance(node, Scalar):
            only_token = self._token(user, node)
            return None if only_token is None else Entry(only_token)
        mapping = self.mapping(node, user, "write the token, or {token: …, methods: […]}")
        token: str | None = None
        methods: tuple[str, ...] | None = None
        given = False
        for name, value in mapping.entries if mapping else ():
            key = f"{user}.{name.text}"
            if name.text == "token":
                given = True
                token = self._token(key, value)
            elif name.text == "methods":
                methods = self.value(value, key, _METHODS)
            else:
                # Not the key itself: it may be a token that was put there, and ends up in logs.
                self.problem(
                    name.line, user, "has a key that is not known", "write token and methods, nothing else"
                )
        if mapping and not given:
            self.problem(mapping.line, user, "has no token", "write {token: …, methods: […]}")
        return None if token is None else Entry(token, methods)

    def _token(self, key: str, node: Node) -> str | None:
        if not isinstance(node, Scalar):
            self.problem(node.line, key, f"is {node.kind}, not a token", "write the token as text")
            return None
        fault = token_fault(node.text)
        if fault is None:
            return node.text
        what = f"the token {fault}"  # not the token itself: what is wrong ends up in logs
        self.problem(node.line, key, what, "write the token as IAMPASS has it")
        return None
