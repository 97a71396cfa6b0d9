"""The settings: `/etc/iampass/iampass.yaml`.

What may stand in it is said in `settings_schema.py`. Everything that is wrong is reported at once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pam_iampass.config.node_reader import Fault, NodeReader
from pam_iampass.config.schema import APPROVER, FOR_SERVICES, SCHEMA, Entry, Key, Section
from pam_iampass.config.value_types import Approver, AskForCode, Prompt, Unavailable, Unlisted, service_name
from pam_iampass.config.yaml_document import Node, Scalar, parse
from pam_iampass.errors import ConfigurationError, Problem, UntrustedFile, shown
from pam_iampass.system import paths, trusted_file

if TYPE_CHECKING:
    from pam_iampass.config.value_types import Network

__all__ = [
    "DEFAULT_PATH",
    "Approver",
    "AskForCode",
    "ConfigurationError",
    "Examination",
    "Exempt",
    "Problem",
    "Prompt",
    "Recovery",
    "Service",
    "Settings",
    "Throttle",
    "Unavailable",
    "Unlisted",
    "examine",
    "load",
]

DEFAULT_PATH = paths.SETTINGS
"""Where the settings are, unless the PAM line says otherwise."""

USERS_FOLDER = "users.d"
"""The name of the folder next to the table of users."""


@dataclass(frozen=True)
class Exempt:
    """Logins that need no second factor."""

    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()


@dataclass(frozen=True)
class Throttle:
    """How often a phone may ring."""

    cool_off: float
    """Seconds without a request from a place where two in a row have failed (`login.rate_limit`); doubles with each."""
    longest_cool_off: float
    """Seconds."""
    requests_per_hour: int
    """Requests to one person that were not approved."""
    logins_at_once: int
    """Of one person and place, in one agent."""


@dataclass(frozen=True)
class Recovery:
    """How recovery codes are asked for."""

    ask: AskForCode
    attempts_per_hour: int
    """Wrong codes of one person and place."""


@dataclass(frozen=True)
class Service:
    """What holds for the logins of one PAM service."""

    timeout: float
    """Seconds that a person has to approve."""
    methods: tuple[str, ...]
    """Empty: IAMPASS chooses."""
    prompt: Prompt
    unlisted_users: Unlisted
    unavailable: Unavailable
    enroll_at_login: bool
    """Whether who has no phone yet can register one at login, where sshd has accepted a key before."""
    approver: Approver


@dataclass(frozen=True)
class Settings:
    """The settings, complete and checked."""

    application_id: str
    application_secret: str = field(repr=False)
    server: str
    """An https origin, without a slash behind it."""
    ca_file: Path | None
    """None: the system's certificates."""
    proxy: str | None
    users: Path
    exempt: Exempt
    throttle: Throttle
    recovery: Recovery
    service: Service
    """What holds where a service says nothing else."""
    services: Mapping[str, Service]
    files: tuple[Path, ...]
    """All files that the settings came from: when one changes, the settings are out of date."""

    @property
    def users_folder(self) -> Path:
        """The folder with one file a user, next to the table."""
        return self.users.parent / USERS_FOLDER

    def for_service(self, name: str) -> Service:
        """What holds for the PAM service `name`."""
        return self.services.get(name, self.service)


@dataclass(frozen=True)
class Examination:
    """Everything that reading the settings brought to light."""

    settings: Settings | None
    """None where a problem is an error."""
    problems: tuple[Problem, ...]
    lines: Mapping[tuple[str, str], int]
    """The line of each item of a list, by dotted key and text."""
    users: Path | None = None
    """The table of users, where at least that could be read."""


def load(
    path: trusted_file.PathLike = DEFAULT_PATH, *, owner: int = 0, readers: Set[int] | None = None
) -> Settings:
    """The settings in the file `path`. `owner` and `readers` are as for `trusted_file.read`.

    Raises ConfigurationError with everything that is wrong, and nothing else.
    """
    examination = examine(path, owner=owner, readers=readers)
    if examination.settings is None:
        raise ConfigurationError(examination.problems)
    return examination.settings


def examine(
    path: trusted_file.PathLike = DEFAULT_PATH, *, owner: int = 0, readers: Set[int] | None = None
) -> Examination:
    """As `load`, but raises nothing: returns what is wrong next to the settings."""
    file = Path(path)
    try:
        data = trusted_file.read(path, owner=owner)
    except UntrustedFile as error:
        return Examination(None, (error.problem(file),), {})
    document = parse(data, file)
    reader = _SettingsReader(file, document.problems, owner, readers)
    settings = None if document.root is None and document.problems else reader.settings(document.root)
    problems = sorted(reader.problems, key=lambda problem: problem.line or sys.maxsize)
    return Examination(None if reader.failed else settings, tuple(problems), reader.lines, reader.users)


class _SettingsReader(NodeReader):
    """Makes settings of the nodes of the file."""

    def __init__(self, file: Path, problems: Iterable[Problem], owner: int, readers: Set[int] | None) -> None:
        super().__init__(file, problems)
        self.owner = owner
        self.readers = readers
        self.places: dict[str, int] = {}
        """The line of each key that is there."""
        self.users: Path | None = None

    def settings(self, root: Node | None) -> Settings | None:
        """None where something is wrong."""
        if root is None:
            self.problem(
                None, "", "the file is empty", "write at least application_id: and the id of your application"
            )
            return None
        values = self._section(root, SCHEMA, "")
        self.users = values["users"]
        secret = self._secret(values["application_secret_file"])
        if values["ca_file"] is not None:
            self._trusted("ca_file", values["ca_file"])
        if self.failed:
            return None
        values["approver"] = APPROVER.default_value()
        service = {key.name: values[key.name] for key in (*FOR_SERVICES, APPROVER)}
        exempt = values["exempt"]
        return Settings(
            application_id=values["application_id"],
            application_secret=secret,
            server=values["server"],
            ca_file=values["ca_file"],
            proxy=values["proxy"],
            users=values["users"],
            exempt=Exempt(frozenset(exempt["users"]), frozenset(exempt["groups"]), exempt["networks"]),
            throttle=Throttle(**values["throttle"]),
            recovery=Recovery(**values["recovery"]),
            service=Service(**service),
            services=MappingProxyType(
                {name: Service(**{**service, **given}) for name, given in values["services"].items()}
            ),
            files=tuple(
                path for path in (self.file, values["application_secret_file"], values["ca_file"]) if path
            ),
        )

    def _section(self, node: Node, schema: Iterable[Entry], at: str) -> dict[str, Any]:
        """The values of all keys of a section, those that are not there by their default."""
        values = self._given(node, schema, at)
        for entry in schema:
            if entry.name in values:
                continue
            if isinstance(entry, Section):
                values[entry.name] = (
                    {} if entry.named else {key.name: key.default_value() for key in entry.keys}
                )
            else:
                values[entry.name] = None if entry.required else entry.default_value()
                if entry.required:
                    self._not_set(None, entry)
        return values

    def _given(self, node: Node, schema: Iterable[Entry], at: str) -> dict[str, Any]:
        """The values of the keys that are there."""
        known = {entry.name: entry for entry in schema}
        mapping = self.mapping(node, at, f"write one key a line, such as {next(iter(known))}: …")
        values: dict[str, Any] = {}
        for name, value in mapping.entries if mapping else ():
            key = f"{at}.{name.text}" if at else name.text
            self.places[key] = name.line
            entry = known.get(name.text)
            if entry is None:
                self._unknown(name, key, known)
            elif isinstance(entry, Section):
                values[entry.name] = (
                    self._named(value, entry) if entry.named else self._section(value, entry.keys, key)
                )
            elif entry.required and isinstance(value, Scalar) and (value.is_null or not value.text):
                self._not_set(name.line, entry)
                values[entry.name] = None
            else:
                values[entry.name] = self.value(value, key, entry.kind)
        return values

    def _named(self, node: Node, section: Section) -> dict[str, dict[str, Any]]:
        """What is given under each name of a section of names."""
        mapping = self.mapping(node, section.name, f"write names below it, or {section.name}: {{}}")
        found = {}
        for name, value in mapping.entries if mapping else ():
            key = f"{section.name}.{name.text}"
            try:
                found[service_name(name.text)] = self._given(value, section.keys, key)
            except Fault as fault:
                self.problem(name.line, key, f"{shown(name.text)} {fault.what}", fault.remedy)
        return found

    def _not_set(self, line: int | None, key: Key) -> None:
        self.problem(line, key.name, f"{key.name} is not set", f"write {key.name}: {key.kind.example}")

    def _unknown(self, name: Scalar, key: str, known: Iterable[str]) -> None:
        from difflib import get_close_matches

        near = get_close_matches(name.text, known, 1)
        remedy = f"did you mean {near[0]}?" if near else f"write one of {', '.join(known)}"
        self.problem(name.line, key, "is not a known key", remedy)

    def _trusted(self, key: str, path: Path, **how: Any) -> bytes | None:
        """The content of another file that a setting names."""
        try:
            return trusted_file.read(path, owner=self.owner, **how)
        except UntrustedFile as error:
            self.problems.append(error.problem(self.file, self.places.get(key), key))
            return None

    def _secret(self, path: Path | None) -> str:
        """The application's secret; empty where something is wrong."""
        key = "application_secret_file"
        data = (
            None if path is None else self._trusted(key, path, secret=True, readers=self.readers, limit=65536)
        )
        if data is None:
            return ""
        secret = data[:-1] if data.endswith(b"\n") else data
        if secret and all(0x21 <= byte <= 0x7E for byte in secret):
            return secret.decode("ascii")
        what = "holds more than one word of plain ASCII" if secret else "is empty"
        self.problem(
            self.places.get(key), key, f"{path} {what}", "put the secret there, and nothing else, on one line"
        )
        return ""
