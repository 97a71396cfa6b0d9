"""The key table: whose key, or whose certificate, is whose. For services with `approver: key`.

It is read from `keys.yaml` and from `keys.d/<person>.yaml`, one file for each person, with names as in `users.d`. Both
count. A person has a list of entries:

- a public key (`ssh-ed25519 AAAA…`, a comment is ignored) or its fingerprint (`SHA256:…`);
- `{ca: KEY, key_id: TEXT}` or `{ca: KEY, principal: TEXT}`: certificates of that CA with that key id or principal.

What two people have names nobody. A broken file names nobody; whoever is not found in the others is then denied.
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.config.ssh_keys import AcceptedKey, MalformedKey, PlainKey, fingerprint
from pam_iampass.config.user_table import SUFFIX, user_of
from pam_iampass.config.value_types import LONGEST_NAME, name_error
from pam_iampass.config.yaml_document import MappingNode, Node, NodeReader, ScalarNode, SequenceNode, parse
from pam_iampass.errors import ConfigurationError, MissingFile, Problem, Severity, UntrustedFile, shown
from pam_iampass.system import trusted_file

_TICK = 0.1  # seconds: as for the user table
_AN_ENTRY = "write a public key, its SHA256:… fingerprint, {ca: …, key_id: …} or {ca: …, principal: …}"


def folder_of(keys: Path) -> Path:
    """The folder with the keys of one person in each file, next to the key table."""
    return keys.parent / "keys.d"


@dataclass(frozen=True, order=True)
class KeyEntry:
    """What names a person."""

    fingerprint: str
    """Of the key; of the CA, if one of the following is set."""
    key_id: str = ""
    """The key id of certificates."""
    principal: str = ""
    """A principal of certificates."""

    def __str__(self) -> str:
        if self.key_id:
            return f"key id {shown(self.key_id)} of the CA {self.fingerprint}"
        if self.principal:
            return f"principal {shown(self.principal)} of the CA {self.fingerprint}"
        return self.fingerprint

    @property
    def is_certificate(self) -> bool:
        """Whether the fingerprint is that of a CA."""
        return bool(self.key_id or self.principal)

    def as_written(self) -> str | dict[str, str]:
        """As it stands in a file."""
        named = {"key_id": self.key_id, "principal": self.principal}
        certificate = {kind: text for kind, text in named.items() if text}
        return {"ca": self.fingerprint, **certificate} if certificate else self.fingerprint


def entries_for(key: AcceptedKey) -> list[KeyEntry]:
    """The entries that would name the person of a key: a certificate counts by its CA alone, a key never by a CA."""
    if isinstance(key, PlainKey):
        return [KeyEntry(key.fingerprint)]
    by_id = [KeyEntry(key.ca, key_id=key.key_id)] if key.key_id else []
    return by_id + [KeyEntry(key.ca, principal=name) for name in key.principals if name]


@dataclass(frozen=True)
class KeyPlace:
    """Where an entry is written."""

    person: str
    entry: KeyEntry
    file: Path
    line: int


@dataclass(frozen=True)
class KeyReport:
    """The whole table, and everything that is wrong with it."""

    places: tuple[KeyPlace, ...]
    files: tuple[Path, ...]
    """The files that were read."""
    problems: tuple[Problem, ...]
    broken: tuple[Problem, ...] = ()
    """Of the problems, those because of which a file names nobody."""


@dataclass(frozen=True)
class _Found:
    """What one look at the files has found."""

    named: Mapping[KeyEntry, frozenset[str]]
    people: frozenset[str]
    """All who are named by anything."""
    report: KeyReport


class KeyTable:
    """The table. A look-up reads the files again if they have changed."""

    def __init__(self, keys: Path, *, owner: int = 0, clock: Callable[[], float] = time.time) -> None:
        """`keys` is the table; next to it is the folder. The rest is as for `UserTable`."""
        self._keys = keys
        self._owner = owner
        self._clock = clock
        self._cache: tuple[object, _Found] | None = None
        self._found: tuple[float, _Found] | None = None
        """With the time at which it was looked at."""
        self._lock = allocate_lock()

    def people(self, key: AcceptedKey) -> frozenset[str]:
        """Who is named by a key or a certificate: nobody, one person, or several by a mistake in the table.

        Raises ConfigurationError if nobody is and a file is broken, which might name somebody.
        """
        table = self._look()
        found = frozenset[str]().union(*(table.named.get(entry, frozenset()) for entry in entries_for(key)))
        if not found and table.report.broken:
            raise ConfigurationError(table.report.broken)
        return found

    def has(self, person: str) -> bool:
        """Whether anything names this person. Raises ConfigurationError if nothing does and a file is broken."""
        table = self._look()
        if person not in table.people and table.report.broken:
            raise ConfigurationError(table.report.broken)
        return person in table.people

    @property
    def is_in_use(self) -> bool:
        """Whether there is a table, so that people may share accounts: also one that names nobody (any more), such as
        a file that an editor has just emptied."""
        return not (trusted_file.is_missing(self._keys) and trusted_file.is_missing(folder_of(self._keys)))

    def _look(self) -> _Found:
        arrived = time.monotonic()
        with self._lock:
            # Of many concurrent logins, those that have waited use what the next one finds: with a thousand files, a
            # look at all of them takes 20 ms.
            if self._found is None or self._found[0] <= arrived:
                self._found = (time.monotonic(), self._current())
            return self._found[1]

    def _current(self) -> _Found:
        now, version = self._clock(), self._version()
        if self._cache is not None and version is not None and self._cache[0] == version:
            return self._cache[1]
        report = check(self._keys, owner=self._owner)
        named: dict[KeyEntry, frozenset[str]] = {}
        for place in report.places:
            named[place.entry] = named.get(place.entry, frozenset()) | {place.person}
        settled = version is not None and all(abs(now - part[0] / 1e9) >= _TICK for part in version[1])
        found = _Found(named, frozenset(place.person for place in report.places), report)
        self._cache = (version, found) if settled else None
        return found

    def _version(self) -> tuple[list[str], list[tuple[int, ...]]] | None:
        """What changes when anything in the table does; None where that cannot be told."""
        keys, folder = self._keys, folder_of(self._keys)
        try:
            names = [] if trusted_file.is_missing(folder) else trusted_file.names(folder, owner=self._owner)
            files = [] if trusted_file.is_missing(keys) else [str(keys)]
            files += [str(folder / name) for name in names]
            return files, trusted_file.versions(files, owner=self._owner)
        except UntrustedFile:
            return None


def check(keys: Path, *, owner: int = 0) -> KeyReport:
    """Read every file of the table. The arguments are as for `KeyTable`. Raises nothing."""
    folder = folder_of(keys)
    places: list[KeyPlace] = []
    files: list[Path] = []
    problems: list[Problem] = []
    broken: list[Problem] = []

    def add(file: Path, person: str = "") -> None:
        try:
            found, wrong = read(file, owner, person)
        except UntrustedFile as error:
            if not isinstance(error, MissingFile) or os.path.lexists(file):
                broken.append(error.problem(file, None, person))
            return
        files.append(file)
        broken.extend(wrong)
        places.extend(() if wrong else found)

    if not trusted_file.is_missing(folder):
        try:
            names = trusted_file.names(folder, owner=owner)
        except UntrustedFile as error:
            broken.append(error.problem(folder))
            names = []
        for name in names:
            person = user_of(name) if name.endswith(SUFFIX) else None
            if person is not None:
                add(folder / name, person)
            elif not name.startswith("."):  # an editor's
                what, remedy = (
                    "is not read: its name does not belong to any person",
                    "move it to another folder",
                )
                problems.append(Problem(folder / name, None, "", what, remedy, Severity.WARNING))
    if not trusted_file.is_missing(keys):
        add(keys)
    return KeyReport(
        tuple(places), tuple(files), (*problems, *broken, *_of_two_people(places)), tuple(broken)
    )


def _of_two_people(places: Iterable[KeyPlace]) -> list[Problem]:
    """What stands for two people, and so for nobody."""
    first: dict[KeyEntry, KeyPlace] = {}
    problems = []
    for place in places:
        other = first.setdefault(place.entry, place)
        if other.person != place.person:
            what = (
                f"{place.entry} also stands for {shown(other.person)} ({other.file}:{other.line}): its logins are"
                " denied"
            )
            remedy = "delete one of the two"
            problems.append(Problem(place.file, place.line, place.person, what, remedy))
    return problems


def read(file: Path, owner: int, person: str = "") -> tuple[list[KeyPlace], list[Problem]]:
    """The entries of a file, and what is wrong with it. `person` is the only one whose keys it may have.

    Raises UntrustedFile.
    """
    document = parse(trusted_file.read(file, owner=owner), file)
    reader = _KeyReader(file, document.problems, person)
    if document.root is not None:
        reader.read(document.root)
    return reader.places, reader.problems


class _KeyReader(NodeReader):
    """Reads entries from the nodes of a file."""

    def __init__(self, file: Path, problems: Iterable[Problem], person: str) -> None:
        super().__init__(file, problems)
        self.person = person
        self.places: list[KeyPlace] = []

    def read(self, root: Node) -> None:
        if isinstance(root, ScalarNode) and root.is_null:
            return
        mapping = self.mapping(root, "", "write one person on each line, such as alice: [SHA256:…]")
        for name, value in mapping.entries if mapping else ():
            error = name_error(name.text)
            if error:
                what = f"the person {shown(name.text)} {error}"
                self.problem(name.line, name.text, what, "write the name as the user table has it")
            elif self.person not in ("", name.text):
                what = f"the file must hold {shown(self.person)} alone"
                self.problem(name.line, name.text, what, "give each person a file of their own")
            else:
                self._of_person(name.text, value)

    def _of_person(self, person: str, node: Node) -> None:
        if not isinstance(node, SequenceNode):
            self.problem(node.line, person, f"is {node.kind}, not a list of keys", _AN_ENTRY)
            return
        found = set()
        for item in node.items:
            entry = self._entry(person, item)
            if entry is None:
                continue
            if entry in found:
                self.problem(item.line, person, f"{entry} is listed twice", "delete one of the two")
            found.add(entry)
            self.places.append(KeyPlace(person, entry, self.file, item.line))

    def _entry(self, person: str, node: Node) -> KeyEntry | None:
        if isinstance(node, ScalarNode):
            key = self._fingerprint(person, node)
            return None if key is None else KeyEntry(key)
        if not isinstance(node, MappingNode):
            self.problem(node.line, person, f"holds {node.kind}", _AN_ENTRY)
            return None
        values = {name.text: value for name, value in node.entries}
        kinds = [kind for kind in ("key_id", "principal") if kind in values]
        if len(values) != 2 or "ca" not in values or len(kinds) != 1:
            what = "holds a mapping that is not ca and one of key_id and principal"
            self.problem(node.line, person, what, "write {ca: …, key_id: …} or {ca: …, principal: …}")
            return None
        ca, text = values["ca"], values[kinds[0]]
        if not isinstance(ca, ScalarNode) or not isinstance(text, ScalarNode):
            self.problem(node.line, person, "ca, key_id and principal must be texts", _AN_ENTRY)
            return None
        key, error = self._fingerprint(person, ca), certificate_name_error(text.text)
        if error:
            what = f"{kinds[0]} {error}"
            self.problem(text.line, person, what, "write it as ssh-keygen -L prints it")
        return None if key is None or error else KeyEntry(key, **{kinds[0]: text.text})

    def _fingerprint(self, person: str, node: ScalarNode) -> str | None:
        try:
            return fingerprint(node.text)
        except MalformedKey as malformed:
            remedy = _AN_ENTRY
            if str(malformed) == "is a certificate":
                remedy = "write {ca: …, key_id: …} or {ca: …, principal: …} instead"
            self.problem(node.line, person, f"{shown(node.text)} {malformed}", remedy)
            return None


def certificate_name_error(text: str) -> str | None:
    """Why `text` cannot be a key id or a principal, as the end of a sentence; None for a valid one."""
    if not text:
        return "is empty"
    if len(text) > LONGEST_NAME or not text.isprintable():
        return "is too long, or contains a control character"
    return None
