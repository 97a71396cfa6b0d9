"""The user table: which token each user has at IAMPASS, and which ssh keys.

It is read from two places, in this order:

- `users.d/<user>.yaml`, one file for each user, found by its name alone (`file_name`): a look-up costs the same with 10
  users as with 100,000. The only key in the file is the user name. A broken file denies that user.
- `users.yaml`, with all other users. A broken file denies all of them.

A value is the token, or a mapping of `token`, `methods` and `keys`, or `{acts_for: NAME}`. Names and tokens are always
text, even if YAML would read them as something else.

`keys` says which keys and certificates are a person's (`approver: key`). It is a list of public keys or fingerprints
(`SHA256:…`), and of `{ca: KEY, key_id: TEXT}` or `{ca: KEY, principal: TEXT}` for certificates of that CA. A person who
has keys and no token is asked by the token that a gateway or `unlisted_users` knows. To find the person of a key, all
files are looked at. A key of two people names nobody, and neither does a broken file.

`acts_for` names the owner of an account, such as that of an AI agent: the owner's phone approves its logins. It has no
token, methods or keys of its own, and the owner is a user with a token in the table.
"""

from __future__ import annotations

import os
import re
import time
from _thread import allocate_lock
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.config.ssh_keys import (
    AcceptedKey,
    KeyEntry,
    MalformedKey,
    certificate_name_error,
    entries_for,
    fingerprint,
)
from pam_iampass.config.value_types import METHOD_LIST, USER_NAME, name_error, token_error
from pam_iampass.config.yaml_document import MappingNode, Node, NodeReader, ScalarNode, SequenceNode, parse
from pam_iampass.errors import (
    ConfigurationError,
    MissingFile,
    Problem,
    Severity,
    UntrustedFile,
    shown,
)
from pam_iampass.system import trusted_file

FOLDER = "users.d"
"""The name of the folder with one file for each user, next to `users.yaml`."""
SUFFIX = ".yaml"
LONGEST_FILE_NAME = 255
"""Maximum length of a file name in bytes (NAME_MAX): users with longer names can only be listed in `users.yaml`."""
_TICK = 0.1  # seconds: much longer than the resolution of a file system's timestamps
_A_KEY = "write a public key, its SHA256:… fingerprint, {ca: …, key_id: …} or {ca: …, principal: …}"


def folder_of(users: Path) -> Path:
    """The folder that belongs to the file `users`."""
    return users.parent / FOLDER


def file_name(user: str) -> str:
    """The name of the user's file in `users.d`; different for different users.

    It is the user's name, followed by `.yaml`. Every byte of the name's UTF-8 is written as `%XX` (two upper-case
    hexadecimal digits), except letters A-Z and a-z, digits, `_`, `-`, and any `.` but a leading one: `jo@example.com`
    has `jo%40example.com.yaml`, `.x` has `%2Ex.yaml`. So no name is a path or a hidden file.
    """
    encoded = re.sub(rb"^\.|[^A-Za-z0-9_.-]", lambda match: b"%%%02X" % match[0][0], user.encode("utf-8"))
    return encoded.decode("ascii") + SUFFIX


def user_of(name: str) -> str | None:
    """The user whose file has that name, or None if no user's file has it."""
    stem = name[: -len(SUFFIX)]
    try:
        plain = re.sub(rb"%([0-9A-F]{2})", lambda match: bytes([int(match[1], 16)]), stem.encode("ascii"))
        user = plain.decode("utf-8")
    except UnicodeError:
        return None
    return user if file_name(user) == name and not name_error(user) else None


@dataclass(frozen=True)
class Entry:
    """A user's entry in the table."""

    token: str | None
    """None for a person who has nothing but keys in the table."""
    methods: tuple[str, ...] | None = None
    """None stands for the methods of the service."""
    keys: tuple[KeyEntry, ...] = ()
    acts_for: str = ""
    """The owner of an account that acts for a person; empty for people. `owner_fault` says what else it may have."""


CANNOT_ACT = "account-cannot-act"
"""The kind of a problem that denies the logins of an account that acts for a person, and of nobody else."""


class WrongOwner(ConfigurationError):
    """An account cannot act for the person whom the table names."""


def owner_fault(name: str, entry: Entry, owner: Entry | None, *, joined: bool) -> tuple[str, str] | None:
    """Why the account `name` cannot act for its owner, who has this entry, and the remedy; None if it can.

    `joined` is whether the machine has joined a gateway. The logins of that account alone are denied.
    """
    whom = shown(entry.acts_for)
    if joined:
        what = "cannot be used on a host that has joined a gateway: logins of this account are denied"
        command = f"pam-iampass-gateway user add {name} --acts-for {entry.acts_for}"
        return what, f"delete the entry; on a gateway: {command}"
    if entry.token is not None or entry.methods is not None or entry.keys:
        what = "stands beside a token, methods or keys: only the owner's phone approves for this account"
        return what, f"write {{acts_for: {entry.acts_for}}} alone"
    if entry.acts_for == name:
        return "names the account itself", "name the person whose phone approves for this account"
    if owner is None:
        return f"{whom} is not in the user table", "name a person of the table, or delete the entry"
    if owner.acts_for:
        return (
            f"{whom} itself acts for {shown(owner.acts_for)}",
            "name a person, not an account that acts for one",
        )
    if owner.token is None:
        return f"{whom} has no token in the user table", f"pam-iampass enroll {entry.acts_for}"
    return None


def cannot_act(name: str, file: Path | None, line: int | None, what: str, remedy: str) -> Problem:
    """The problem of an account whose logins are denied because it cannot act for a person."""
    return Problem(file, line, f"{name}.acts_for", what, remedy, kind=CANNOT_ACT)


@dataclass(frozen=True)
class _KeyIndex:
    """The owners of all keys, as one look at all files has found them."""

    people: Mapping[KeyEntry, frozenset[str]]
    broken: tuple[Problem, ...]
    """Why files cannot be used, which might name somebody."""


class UserTable:
    """The table. A look-up reads the files again if they have changed."""

    def __init__(
        self,
        users: Path,
        *,
        owner: int = 0,
        optional: bool = False,
        shared_accounts: bool = False,
        joined: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`users` is the file `users.yaml`, with `users.d` next to it; if it is `optional`, a missing one is empty.

        `owner` is as for `trusted_file.read`; `shared_accounts` is whether the settings say that people share accounts;
        `joined` is whether the machine has joined a gateway; `clock` is the clock of the file system, in seconds.
        """
        self._users = users
        self._folder = folder_of(users)
        self._owner = owner
        self._optional = optional
        self._shared_accounts = shared_accounts
        self._joined = joined
        self._clock = clock
        self._cache: tuple[tuple[int, ...], TableFile] | None = None  # with the file's version
        self._lock = allocate_lock()
        self._index: tuple[object, _KeyIndex] | None = None  # with the versions of the files
        self._looked: tuple[float, _KeyIndex] | None = None  # with the time of the look
        self._index_lock = allocate_lock()

    def find(self, name: str) -> Entry | None:
        """The user's entry, or None for a user who is not in the table.

        Raises ConfigurationError if the file with the answer is missing, not trusted or invalid.
        """
        if name_error(name):
            return None
        return self._file_of(name)[1].entries.get(name)

    def owner_of(self, name: str) -> str | None:
        """The person for whom the account `name` acts, None if it acts for nobody.

        Raises ConfigurationError as `find` does, and WrongOwner if it cannot act for that person.
        """
        entry = self.find(name)
        if entry is None or not entry.acts_for:
            return None
        fault = owner_fault(name, entry, self.find(entry.acts_for), joined=self._joined)
        if fault is not None:
            file, table = self._file_of(name)
            raise WrongOwner([cannot_act(name, file, table.lines.get(name), *fault)])
        return entry.acts_for

    def people(self, key: AcceptedKey) -> frozenset[str]:
        """The people whom a key or a certificate names: nobody, one person, or several by a mistake in the table.

        Raises ConfigurationError if nobody is and a file is broken, which might name somebody.
        """
        index = self._look()
        found = frozenset[str]().union(*(index.people.get(entry, frozenset()) for entry in entries_for(key)))
        if not found and index.broken:
            raise ConfigurationError(index.broken)
        return found

    @property
    def accounts_are_shared(self) -> bool:
        """Whether people share accounts, so that an account without keys of its own is nobody's.

        It is so if the settings say it, whatever the table has (an editor may have emptied it just now), and as long as
        anybody has keys, or may have some in a file that is broken.
        """
        if self._shared_accounts:
            return True
        index = self._look()
        return bool(index.people or index.broken)

    def _look(self) -> _KeyIndex:
        arrived = time.monotonic()
        with self._index_lock:
            # Of many concurrent logins, those that have waited use what the next one finds: with a thousand files, a
            # look at all of them takes 20 ms.
            if self._looked is None or self._looked[0] <= arrived:
                self._looked = (time.monotonic(), self._current_index())
            return self._looked[1]

    def _current_index(self) -> _KeyIndex:
        now, versions = self._clock(), self._versions()
        if self._index is not None and versions is not None and self._index[0] == versions:
            return self._index[1]
        report = check(self._users, owner=self._owner, optional=True)
        unusable = {problem.file for problem in report.broken}
        people: dict[KeyEntry, frozenset[str]] = {}
        for name, entry in report.entries.items():
            if not unusable & {self._folder, report.places[name][0]}:
                for key in entry.keys:
                    people[key] = people.get(key, frozenset()) | {name}
        index = _KeyIndex(people, report.broken)
        settled = versions is not None and all(
            abs(now - version[0] / 1e9) >= _TICK for version in versions.values()
        )
        self._index = (versions, index) if versions is not None and settled else None
        return index

    def _versions(self) -> dict[str, tuple[int, ...]] | None:
        """Versions that change when anything in the table does; None where that cannot be told."""
        try:
            names = (
                []
                if trusted_file.is_missing(self._folder)
                else trusted_file.names(self._folder, owner=self._owner)
            )
            files = [] if trusted_file.is_missing(self._users) else [str(self._users)]
            files += [str(self._folder / name) for name in names]
            return dict(zip(files, trusted_file.versions(files, owner=self._owner)))
        except UntrustedFile:
            return None

    def _file_of(self, name: str) -> tuple[Path, TableFile]:
        """The file that has the user's entry, if any has."""
        own = self._own_file(name)
        return (self._users, self._table()) if own is None else (self._folder / file_name(name), own)

    def _own_file(self, name: str) -> TableFile | None:
        """The user's own file, or None without such a file."""
        own_name = file_name(name)
        if len(own_name) > LONGEST_FILE_NAME or trusted_file.is_missing(self._folder):  # as on most machines
            return None
        path = self._folder / own_name
        try:
            table = read_own(path, self._owner, name)
        except UntrustedFile as error:
            if is_absent(error, self._folder):
                return None
            raise ConfigurationError([error.problem(path, None, name)]) from None
        table.require_valid()
        return table

    def _table(self) -> TableFile:
        """`users.yaml`."""
        if self._optional and trusted_file.is_missing(self._users):
            return TableFile({}, {}, ())
        with self._lock:  # of many concurrent logins only one reads a large table
            try:
                now = self._clock()
                version = trusted_file.version(self._users, owner=self._owner)
                if self._cache is None or self._cache[0] != version:
                    table = read(self._users, self._owner)
                else:
                    table = self._cache[1]
            except UntrustedFile as error:
                raise ConfigurationError([error.problem(self._users)]) from None
            # Two writes within one tick may have the same timestamp: a file that changed just now is not cached.
            self._cache = None if abs(now - version[0] / 1e9) < _TICK else (version, table)
        table.require_valid()
        return table


@dataclass(frozen=True)
class TableFile:
    """The content of one file."""

    entries: Mapping[str, Entry]
    lines: Mapping[str, int]
    problems: tuple[Problem, ...]

    def require_valid(self) -> None:
        """Raises ConfigurationError if the file has problems."""
        if self.problems:
            raise ConfigurationError(self.problems)


def is_absent(error: UntrustedFile, folder: Path) -> bool:
    """Whether a user simply has no file in `folder`: neither the folder nor the file is broken."""
    return isinstance(error, MissingFile) and not (error.folder and os.path.lexists(folder))


def read(file: Path, owner: int) -> TableFile:
    """The whole file. Raises UntrustedFile."""
    document = parse(trusted_file.read(file, owner=owner), file)
    reader = _TableReader(file, document.problems)
    if document.root is not None:
        reader.read(document.root)
    return TableFile(reader.entries, reader.user_lines, tuple(reader.problems))


def read_own(file: Path, owner: int, user: str) -> TableFile:
    """The file of one user. Raises UntrustedFile."""
    table = read(file, owner)
    if not table.problems and list(table.entries) != [user]:
        line = next((line for name, line in table.lines.items() if name != user), None)
        remedy = f"write {shown(user)}: and the token, and nothing else; other users have files of their own"
        problem = Problem(file, line, user, f"the file must hold {shown(user)} alone", remedy)
        return TableFile({}, table.lines, (problem,))
    return table


class _TableReader(NodeReader):
    """Reads entries from the nodes of a file."""

    def __init__(self, file: Path, problems: Iterable[Problem]) -> None:
        super().__init__(file, problems)
        self.entries: dict[str, Entry] = {}
        self.user_lines: dict[str, int] = {}

    def read(self, root: Node) -> None:
        if isinstance(root, ScalarNode) and root.is_null:
            return
        mapping = self.mapping(root, "", "write one user on each line, such as alice: 7f3c-alice")
        for name, value in mapping.entries if mapping else ():
            user = name.text
            self.user_lines[user] = name.line
            error = name_error(user)
            if error:
                what = f"the user name {shown(user)} {error}"
                self.problem(name.line, user, what, "write the name as getent passwd shows it")
            entry = self._entry(user, value)
            if entry is not None:
                self.entries[user] = entry

    def _entry(self, user: str, node: Node) -> Entry | None:
        if isinstance(node, ScalarNode):
            only_token = self._token(user, node)
            return None if only_token is None else Entry(only_token)
        mapping = self.mapping(
            node, user, "write the token, {token: …, methods: […], keys: […]}, or {acts_for: …}"
        )
        if mapping is None:
            return None
        token: str | None = None
        methods: tuple[str, ...] | None = None
        keys: tuple[KeyEntry, ...] = ()
        acts_for = ""
        for name, value in mapping.entries:
            key = f"{user}.{name.text}"
            if name.text == "token":
                token = self._token(key, value)
            elif name.text == "methods":
                methods = self.value(value, key, METHOD_LIST)
            elif name.text == "keys":
                keys = self._keys(key, value)
            elif name.text == "acts_for":
                acts_for = self.value(value, key, USER_NAME) or ""
            else:
                # Without the key: it may be a misplaced token, and messages are logged.
                self.problem(
                    name.line, user, "has an unknown key", "write token, methods and keys, or acts_for alone"
                )
        names = {name.text for name, _ in mapping.entries}
        if not names & {"token", "keys", "acts_for"}:
            self.problem(mapping.line, user, "has neither a token nor keys", "write {token: …, methods: […]}")
        has_any = token is not None or "keys" in names or acts_for
        return Entry(token, methods, keys, acts_for) if has_any else None

    def _token(self, key: str, node: Node) -> str | None:
        if not isinstance(node, ScalarNode):
            self.problem(node.line, key, f"is {node.kind}, not a token", "write the token as text")
            return None
        error = token_error(node.text)
        if error is None:
            return node.text
        # Without the token: messages are logged.
        self.problem(node.line, key, f"the token {error}", "copy the token from IAMPASS")
        return None

    def _keys(self, key: str, node: Node) -> tuple[KeyEntry, ...]:
        if not isinstance(node, SequenceNode):
            self.problem(node.line, key, f"is {node.kind}, not a list of keys", _A_KEY)
            return ()
        found: dict[KeyEntry, None] = {}
        for item in node.items:
            entry = self._key(key, item)
            if entry is None:
                continue
            if entry in found:
                self.problem(item.line, key, f"{entry} is listed twice", "delete one of the two")
            found[entry] = None
        return tuple(found)

    def _key(self, key: str, node: Node) -> KeyEntry | None:
        if isinstance(node, ScalarNode):
            plain = self._fingerprint(key, node)
            return None if plain is None else KeyEntry(plain)
        if not isinstance(node, MappingNode):
            self.problem(node.line, key, f"holds {node.kind}", _A_KEY)
            return None
        values = {name.text: value for name, value in node.entries}
        kinds = [kind for kind in ("key_id", "principal") if kind in values]
        if len(values) != 2 or "ca" not in values or len(kinds) != 1:
            what = "holds a mapping that is not ca and one of key_id and principal"
            self.problem(node.line, key, what, "write {ca: …, key_id: …} or {ca: …, principal: …}")
            return None
        ca, text = values["ca"], values[kinds[0]]
        if not isinstance(ca, ScalarNode) or not isinstance(text, ScalarNode):
            self.problem(node.line, key, "ca, key_id and principal must be texts", _A_KEY)
            return None
        signer, error = self._fingerprint(key, ca), certificate_name_error(text.text)
        if error:
            self.problem(text.line, key, f"{kinds[0]} {error}", "write it as ssh-keygen -L prints it")
        return None if signer is None or error else KeyEntry(signer, **{kinds[0]: text.text})

    def _fingerprint(self, key: str, node: ScalarNode) -> str | None:
        try:
            return fingerprint(node.text)
        except MalformedKey as malformed:
            remedy = _A_KEY
            if str(malformed) == "is a certificate":
                remedy = "write {ca: …, key_id: …} or {ca: …, principal: …} instead"
            # Without the text: it may be a misplaced token, and messages are logged.
            self.problem(node.line, key, f"holds a text that {malformed}", remedy)
            return None


@dataclass(frozen=True)
class TableReport:
    """The whole table, and everything that is wrong with it."""

    entries: Mapping[str, Entry]
    """The entries by user name, as a look-up finds them."""
    places: Mapping[str, tuple[Path, int]]
    """The file and line of each entry."""
    files: tuple[Path, ...]
    """The files that were read."""
    problems: tuple[Problem, ...]
    broken: tuple[Problem, ...]
    """The problems that make a file unusable."""

    @property
    def acting(self) -> Mapping[str, tuple[str, ...]]:
        """The accounts that act for each person, by name."""
        found: dict[str, tuple[str, ...]] = {}
        for name, entry in sorted(self.entries.items()):
            if entry.acts_for:
                found[entry.acts_for] = (*found.get(entry.acts_for, ()), name)
        return found


def check(users: Path, *, owner: int = 0, optional: bool = False, joined: bool = False) -> TableReport:
    """Read every file of the table. The arguments are as for `UserTable`. Raises nothing."""
    table = _TableCheck(users, owner)
    table.read_folder()
    if not (optional and trusted_file.is_missing(users)):
        table.read_users()
    broken = tuple(problem for problem in table.problems if problem.is_error)
    table.find_shared_tokens()
    table.find_shared_keys()
    table.find_wrong_owners(joined=joined)
    return TableReport(table.entries, table.places, tuple(table.files), tuple(table.problems), broken)


class _TableCheck:
    """Reads the files one after the other, and collects what is wrong."""

    def __init__(self, users: Path, owner: int) -> None:
        self.users = users
        self.folder = folder_of(users)
        self.owner = owner
        self.entries: dict[str, Entry] = {}
        self.places: dict[str, tuple[Path, int]] = {}
        self.files: list[Path] = []
        self.owners: dict[str, Path] = {}
        """The files of the users, also of users whose file is broken."""
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
        self.owners[user] = file
        try:
            table = read_own(file, self.owner, user)
        except UntrustedFile as error:
            if not is_absent(error, self.folder):
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
            if user in self.owners:
                what = f"is not read: the user has a file, {self.owners[user]}"
                self._warn(self.users, line, user, what, "delete one of the two")
        self._add(self.users, table)

    def _add(self, file: Path, table: TableFile) -> None:
        self.files.append(file)
        self.problems += table.problems
        for user, entry in table.entries.items():
            if file != self.users or user not in self.owners:
                self.entries[user] = entry
                self.places[user] = (file, table.lines[user])

    def find_shared_tokens(self) -> None:
        first: dict[str, str] = {}
        for user, entry in self.entries.items():
            if entry.token is None:
                continue
            other = first.setdefault(entry.token, user)
            if other != user:
                what = f"has the same token as {shown(other)}: either can approve logins of both"
                self._warn(*self.places[user], user, what, "give each user a token of their own")

    def find_shared_keys(self) -> None:
        first: dict[KeyEntry, str] = {}
        for user, entry in self.entries.items():
            for key in entry.keys:
                other = first.setdefault(key, user)
                if other != user:
                    file, line = self.places[other]
                    what = f"{key} also stands for {shown(other)} ({file}:{line}): its logins are denied"
                    self.problems.append(Problem(*self.places[user], user, what, "delete one of the two"))

    def find_wrong_owners(self, *, joined: bool) -> None:
        for user, entry in self.entries.items():
            if entry.acts_for:
                fault = owner_fault(user, entry, self.entries.get(entry.acts_for), joined=joined)
                if fault is not None:
                    self.problems.append(cannot_act(user, *self.places[user], *fault))

    def _warn(self, file: Path, line: int | None, key: str, what: str, remedy: str) -> None:
        self.problems.append(Problem(file, line, key, what, remedy, Severity.WARNING))
