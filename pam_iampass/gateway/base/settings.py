"""The settings of a gateway, `/etc/iampass-gateway/gateway.yaml`: the same on every gateway of a fleet.

The secrets are in files of their own, which only root can read. systemd passes them to the service (`LoadCredential`).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pam_iampass.client.origin import Origin
from pam_iampass.config.settings import SchemaReader, ThrottleSettings
from pam_iampass.config.yaml_document import parse
from pam_iampass.errors import ConfigurationError, MissingFile, Problem, Severity, UntrustedFile
from pam_iampass.gateway.base.places import CREDENTIALS, DEFAULT_PATH, FOLDER
from pam_iampass.gateway.base.settings_schema import SCHEMA, Invite
from pam_iampass.system import trusted_file

KEY_BYTES = 32
DEFAULT_GROUP = "default"
"""The group of a host whose invite names none."""
_INIT = "pam-iampass-gateway init"
_MISSING = {
    "application_secret_file": "write the application's secret into it: " + _INIT,
    "key_file": "restore it from your backup: with another key file nothing in the database counts",
    "ca_file": f"restore it from your backup; for a new fleet: {_INIT}",
    "certificate_file": _INIT,
    "certificate_key_file": _INIT,
}
"""The remedy for a file that does not exist."""


@dataclass(frozen=True)
class GroupSettings:
    """The policy for the hosts of one group."""

    people: frozenset[str] = frozenset()
    """Groups of people."""
    everybody: bool = False
    admit: bool = False
    suspend_by_itself: bool = False
    codes: bool = True
    bypasses: bool = True
    covered_by: frozenset[str] = frozenset()
    """Groups of hosts from which people go on to these without being asked again."""
    covers_further: bool = False
    """Whether sessions that were not approved on the phone, but covered, can be parents."""

    def admits(self, groups: Iterable[str]) -> bool:
        """Whether a person with these groups can log in."""
        return self.everybody or not self.people.isdisjoint(groups)

    @property
    def whom(self) -> str:
        """Whom it admits, as the end of a sentence about the hosts."""
        if self.everybody:
            return "admits everybody"
        return f"admits the groups {', '.join(sorted(self.people))}" if self.people else "admits nobody"


@dataclass(frozen=True)
class OperatorSettings:
    """The groups of the people who have a role."""

    admin: frozenset[str] = frozenset()
    auditor: frozenset[str] = frozenset()
    helpdesk: frozenset[str] = frozenset()
    helps: frozenset[str] = frozenset()
    """The groups of the people whom the help desk helps; none of them is a group of an operator."""

    @property
    def roles(self) -> Mapping[str, frozenset[str]]:
        """The groups of each role, by the name that the role has in acts."""
        return {"admin": self.admin, "auditor": self.auditor, "helpdesk": self.helpdesk}

    def roles_of(self, groups: Iterable[str]) -> frozenset[str]:
        """The names of the roles of a person with these groups."""
        had = frozenset(groups)
        return frozenset(role for role, those in self.roles.items() if those & had)


@dataclass(frozen=True)
class PortalSettings:
    """Where people sign in."""

    origin: str
    """As browsers send it."""

    @property
    def rp_id(self) -> str:
        """The host of the origin, to which passkeys are bound."""
        return self.origin.partition("://")[2].partition(":")[0]


@dataclass(frozen=True)
class LimitSettings(ThrottleSettings):
    """The limits. Requests to one person count over all hosts."""

    connections: int
    calls_at_once: int
    agents_requests_per_hour: int = 10
    """Requests that are not approved, of all accounts that act for one person."""
    host_requests_per_hour: int = 100
    """Requests of one host to all people together that are not approved."""
    wrong_codes_per_hour: int = 5
    """Wrong codes for one person from one address."""

    @property
    def of_agents(self) -> LimitSettings:
        """The limits of accounts that act for a person."""
        return replace(self, requests_per_hour=self.agents_requests_per_hour)

    @property
    def calls_of_host(self) -> int:
        """The most of `calls_at_once` that are for one host: the rest is for others."""
        return max(self.calls_at_once // 2, 1)


@dataclass(frozen=True)
class BackupSettings:
    """Where dumps of the database are."""

    folder: Path
    keep: int


@dataclass(frozen=True)
class DirectorySettings:
    """Where people come from; the keys of `directory`."""

    url: str
    start_tls: bool
    ca_file: Path
    bind_dn: str | None
    password_file: Path
    """Only `user sync` reads it: the service needs no password."""
    base: str
    filter: str
    name: str
    lower_case: bool
    id: str
    display_name: str | None
    phone_number: str | None
    groups_base: str | None
    groups_attribute: str | None
    groups_filter: str
    groups_member: str
    grace: float
    """Seconds."""
    invite: Invite


@dataclass(frozen=True)
class GatewaySettings:
    """The complete, valid settings."""

    names: tuple[str, ...]
    listen: tuple[str, int]
    database: str
    """A connection string of libpq."""
    application_id: str
    application_secret: str = field(repr=False)
    previous_secret: str = field(repr=False)
    """The second secret of the file, which holds while the secret is being changed; empty if there is none."""
    server: str
    server_ca_file: Path | None
    proxy: str | None
    key: bytes = field(repr=False)
    ca_file: Path
    certificate_file: Path
    certificate_key_file: Path
    """Where the service can read it."""
    groups: Mapping[str, GroupSettings]
    limits: LimitSettings
    keep_records: float
    """Seconds."""
    backup: BackupSettings | None = None
    directory: DirectorySettings | None = None
    monitoring: tuple[str, int] | None = None
    gateways: tuple[str, ...] = ()
    """All gateways of the fleet, for hosts; empty if there is only this one."""
    operators: OperatorSettings = field(default_factory=OperatorSettings)
    self_service: frozenset[str] = frozenset()
    """The groups of people who can make themselves a recovery code for a lost phone."""
    portal: PortalSettings | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    """The files that the settings name, by their keys."""

    @property
    def groups_of_people(self) -> Mapping[str, frozenset[str]]:
        """Every group of people that the settings name, by the key that names it."""
        operators = self.operators
        return {
            **{f"groups.{name}.people": policy.people for name, policy in self.groups.items()},
            "operators.admin": operators.admin,
            "operators.auditor": operators.auditor,
            "operators.helpdesk.people": operators.helpdesk,
            "operators.helpdesk.helps": operators.helps,
            "self_service": self.self_service,
        }

    def gives_code_for_lost_phone(self, groups: Collection[str]) -> bool:
        """Whether a person with these groups can make themselves a recovery code for a lost phone."""
        return not self.self_service.isdisjoint(groups) and not self.operators.roles_of(groups)

    def policy_of(self, group: str) -> GroupSettings | None:
        """The policy for the hosts of a group; None if the settings do not name it."""
        return self.groups.get(group)

    def admits(self, host_group: str, groups: Iterable[str]) -> bool:
        """Whether a person with these groups can log in to hosts of a group."""
        policy = self.policy_of(host_group)
        return policy is not None and policy.admits(groups)


def load(path: trusted_file.PathLike = DEFAULT_PATH, *, owner: int = 0) -> GatewaySettings:
    """The settings in the file `path`; it and the secrets must belong to `owner`.

    Raises ConfigurationError with every problem.
    """
    settings, problems = check(path, owner=owner)
    if settings is None:
        raise ConfigurationError(problems)
    return settings


def check(
    path: trusted_file.PathLike = DEFAULT_PATH, *, owner: int = 0
) -> tuple[GatewaySettings | None, tuple[Problem, ...]]:
    """As `load`, but the problems are returned; with errors there are no settings."""
    file = Path(path)
    try:
        data = trusted_file.read(path, owner=owner)
    except UntrustedFile as error:
        problem = error.problem(file)
        missing = isinstance(error, MissingFile)
        return None, (replace(problem, remedy=_INIT) if missing else problem,)
    document = parse(data, file)
    reader = _GatewayReader(file, document.problems, owner, None)
    settings = None
    if document.root is not None:
        settings = reader.settings(reader.section(document.root, SCHEMA, ""))
    elif not document.problems:
        reader.problem(None, "", "the file is empty", "run pam-iampass-gateway init")
    problems = sorted(reader.problems, key=lambda problem: problem.line or sys.maxsize)
    return (None if reader.failed else settings), tuple(problems)


class _GatewayReader(SchemaReader):
    """Reads the settings of a gateway."""

    def settings(self, values: dict[str, Any]) -> GatewaySettings | None:
        """None if a problem is an error."""
        files = {
            f"{section}{name}": path
            for section, keys in (("", values), ("directory.", values["directory"]))
            for name, path in keys.items()
            if isinstance(path, Path)
        }
        secret, previous = self.secrets(credential(values.pop("application_secret_file")))
        key = self._key(values.pop("key_file"))
        key_file = values["certificate_key_file"] = credential(values["certificate_key_file"])
        # Services that answer no host do not get it.
        if CREDENTIALS not in os.environ or _is_passed(key_file):
            self.trusted("certificate_key_file", key_file, secret=True)
        for name in ("server_ca_file", "ca_file", "certificate_file"):
            if values[name] is not None:
                self.trusted(name, values[name])
        directory = self._directory(values.pop("directory"))
        backup = self._backup(values.pop("backup"), files)
        monitored, listens = values["monitoring"], values["listen"]
        if monitored is not None and listens is not None and monitored[1] == listens[1]:
            what = "is the port of the hosts"
            line = self.key_lines.get("monitoring")
            self.problem(line, "monitoring", what, "write another one, for example 127.0.0.1:8444")
        called = {Origin.of(url).host for url in values["gateways"] or ()}
        if called and values["names"] and not called & set(values["names"]):
            what = "has no address of this gateway: none with a name of `names`"
            self.problem(
                self.key_lines.get("gateways"), "gateways", what, "write the addresses of all gateways"
            )
        groups = self._groups(values.pop("groups"))
        operators = self._operators(values.pop("operators"))
        self_service = frozenset(values.pop("self_service") or ())
        origin = values.pop("portal")["origin"]
        if self.failed:
            return None
        for name, is_used in (
            ("operators", any(operators.roles.values())),
            ("self_service", bool(self_service)),
        ):
            if is_used and origin is None:
                what, remedy = "has no effect without a portal", "write portal: {origin: https://…}"
                line = self.key_lines[name]
                self.problems.append(Problem(self.file, line, name, what, remedy, Severity.WARNING))
        return GatewaySettings(
            application_secret=secret,
            previous_secret=previous,
            key=key,
            groups=MappingProxyType(groups),
            operators=operators,
            self_service=self_service,
            portal=None if origin is None else PortalSettings(origin),
            limits=LimitSettings(
                **values.pop("limits"), agents_requests_per_hour=values.pop("agents")["requests_per_hour"]
            ),
            keep_records=values.pop("records")["keep"],
            backup=backup,
            directory=directory,
            files=files,
            **values,
        )

    def _groups(self, written: Mapping[str, Mapping[str, Any]]) -> dict[str, GroupSettings]:
        for name, own in written.items():
            key = f"groups.{name}.covered_by"
            for other in own.get("covered_by") or ():
                if other not in written:
                    what, remedy = f"{other} is no group", f"write {other} below groups, or delete it here"
                elif not written[other].get("admit"):
                    what = (
                        f"hosts join {other} without being admitted, and could say whose logins begin there"
                    )
                    remedy = f"write admit: true below groups.{other}"
                else:
                    continue
                self.problem(self.key_lines.get(key), key, what, remedy)
            if own.get("people") and own.get("everybody"):
                what, remedy = "has no effect beside everybody: true", "delete one of the two"
                self.problem(
                    self.key_lines.get(f"groups.{name}.people"), f"groups.{name}.people", what, remedy
                )
            elif not (own.get("people") or own.get("everybody")):
                what = "admits nobody: all logins to its hosts are denied"
                remedy = "write people: and a list of groups of people, or everybody: true"
                where = f"groups.{name}"
                self.problems.append(
                    Problem(self.file, self.key_lines.get(where), where, what, remedy, Severity.WARNING)
                )
        begins = {other for own in written.values() for other in own.get("covered_by") or ()}
        return {
            name: GroupSettings(
                **{
                    "codes": name not in begins,
                    **own,
                    "people": frozenset(own.get("people") or ()),
                    "covered_by": frozenset(own.get("covered_by") or ()),
                }
            )
            for name, own in written.items()
        }

    def _operators(self, written: Mapping[str, Any]) -> OperatorSettings:
        helpdesk = written["helpdesk"]
        operators = OperatorSettings(
            frozenset(written["admin"] or ()),
            frozenset(written["auditor"] or ()),
            frozenset(helpdesk["people"] or ()),
            frozenset(helpdesk["helps"] or ()),
        )
        key = "operators.helpdesk.helps"
        for role, groups in operators.roles.items():
            for group in sorted(groups & operators.helps):
                what = f"{group} is a group of the role {role}: the help desk would reach an operator"
                self.problem(self.lines[key, group], key, what, f"delete {group} here")
        is_valid = not any(problem.key.startswith("operators.helpdesk.") for problem in self.problems)
        if is_valid and bool(operators.helpdesk) != bool(operators.helps):
            what = "names nobody whom it helps" if helpdesk["people"] else "names nobody who helps"
            key = "operators.helpdesk"
            self.problem(self.key_lines[key], key, what, "write for example {people: [desk], helps: [staff]}")
        return operators

    def trusted(self, key: str, path: Path, **options: Any) -> bytes | None:
        """As in SchemaReader. A secret that systemd passes may belong to us, and have an access control list."""
        if options.get("secret"):
            options["readers"] = frozenset()
        try:
            if _is_passed(path):
                return read_secret(path)
            return trusted_file.read(path, owner=self.owner, **options)
        except UntrustedFile as error:
            problem = error.problem(self.file, self.key_lines.get(key), key)
            if isinstance(error, MissingFile):
                problem = replace(problem, remedy=_MISSING.get(key, problem.remedy))
            self.problems.append(problem)
            return None

    def _backup(self, values: dict[str, Any], files: Mapping[str, Path]) -> BackupSettings | None:
        """None if no dumps are made, or if they would be near the key."""
        folder = values["folder"]
        if folder is None:
            return None
        real = Path(os.path.realpath(folder))
        for file in (self.file, files.get("key_file", self.file), FOLDER / "key"):
            other = Path(os.path.realpath(file.parent))
            if real == other or real in other.parents or other in real.parents:
                what = f"is not apart from {other}: with a dump and the key, an attacker has the fleet"
                line = self.key_lines.get("backup.folder")
                self.problem(line, "backup.folder", what, "write for example /var/backups/iampass-gateway")
                return None
        return BackupSettings(folder, values["keep"])

    def _directory(self, values: dict[str, Any]) -> DirectorySettings | None:
        """None if there is no directory, or if its settings contradict each other."""

        def wrong(key: str, what: str, remedy: str) -> None:
            name = f"directory.{key}"
            self.problem(self.key_lines.get(name), name, what, remedy)

        written = [name for name in self.key_lines if name.startswith("directory.")]
        if not written:
            return None
        url = values["url"]
        if url is None:
            wrong("url", "is not set", "write for example url: ldaps://ldap.example.com")
        elif url.startswith("ldap://") and not values["start_tls"]:
            what = (
                "is not encrypted: anybody on the way could read the password, and say who is in which group"
            )
            wrong("url", what, "write ldaps://, or start_tls: true")
        elif url.startswith("ldaps://") and values["start_tls"]:
            wrong("start_tls", "is for ldap://, and this is ldaps://", "delete one of the two")
        if values["base"] is None:
            wrong("base", "is not set", "write for example base: ou=people,dc=example,dc=com")
        file = values["password_file"]
        if trusted_file.is_missing(credential(file)):
            key = "directory.password_file"
            what = f"{file} does not exist: the timer takes nobody from the directory"
            remedy = f"write the password of bind_dn into it, or nothing: install -m 0600 /dev/null {file}"
            line = self.key_lines.get(key)
            self.problems.append(Problem(self.file, line, key, what, remedy, Severity.WARNING))
        return None if self.failed else DirectorySettings(**values)

    def _key(self, path: Path) -> bytes:
        data = self.trusted("key_file", credential(path), secret=True)
        text = (data or b"").decode("ascii", "replace").strip()
        if data is None or re.fullmatch(f"[0-9a-f]{{{2 * KEY_BYTES}}}", text):
            return bytes.fromhex(text)
        what = f"{path} is not a key: {2 * KEY_BYTES} hexadecimal digits"
        self.problem(self.key_lines.get("key_file"), "key_file", what, "restore it from your backup")
        return b""


def read_secret(path: Path) -> bytes:
    """The content of a file that systemd passes, which may belong to us, or that only root can read.

    Raises UntrustedFile.
    """
    if _is_passed(path):
        return trusted_file.read(path, owner=os.geteuid())
    return trusted_file.read(path, secret=True, readers=frozenset())


def _is_passed(path: Path) -> bool:
    return str(path.parent) == os.environ.get(CREDENTIALS)


def credential(path: Path) -> Path:
    """Where this process can read a secret: systemd passes it to the service in a folder, by the name of its file."""
    passed = Path(os.environ.get(CREDENTIALS, "/nonexistent")) / path.name
    return passed if passed.exists() else path
