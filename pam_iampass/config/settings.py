"""The settings of `/etc/iampass/iampass.yaml`. `schema.py` lists the keys. All problems are reported at once."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pam_iampass.config.schema import OF_JOINED_HOST, SCHEMA, SHARED, Key, KeyOrSection, Section
from pam_iampass.config.user_table import UserTable
from pam_iampass.config.value_types import (
    OUTAGE_SERVICES,
    Approver,
    AskForCode,
    Enforcement,
    ExemptRule,
    InvalidValue,
    Network,
    Otherwise,
    Prompt,
    SecondPerson,
    UnlistedUsers,
    WhenUnavailable,
    service_name,
    token_error,
)
from pam_iampass.config.yaml_document import MappingNode, Node, NodeReader, ScalarNode, parse
from pam_iampass.errors import ConfigurationError, Problem, Severity, UntrustedFile, shown
from pam_iampass.system import paths, trusted_file

Values = Mapping[str, Any]


DEFAULT_PATH = paths.SETTINGS
"""The settings file, unless the PAM line names another."""
OF_IAMPASS = ("application_id", "application_secret_file", "ca_file")
"""Keys that lead to IAMPASS: on a host of a gateway they may be missing or wrong."""
GATEWAY_SECRET, GATEWAY_CA = "gateway-secret", "gateway-ca.pem"
"""The files of such a host beside `joined_file`: its own secret, and the certificate of the gateways' CA."""


@dataclass(frozen=True)
class ExemptSettings:
    """Logins that need no second factor."""

    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    rules: tuple[ExemptRule, ...] = ()


@dataclass(frozen=True)
class AskedSettings:
    """The users who need a second factor: everybody if both are empty."""

    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True)
class CoverSettings:
    """Which logins need no approval of their own within a kept login."""

    services: frozenset[str] = frozenset()
    within: float = 900.0
    """Seconds after the approval."""


@dataclass(frozen=True)
class SessionSettings:
    """Whether the session of a login through one service is kept, and what follows from it."""

    keep: bool = False
    longest: float = 43200.0
    """Seconds."""
    check: float = 30.0
    """Seconds between two questions to IAMPASS."""
    when_closed: Enforcement = Enforcement.END
    when_away: Enforcement = Enforcement.REVOKE
    unlock_on_return: bool = False
    covers_connections: bool = False
    covers: CoverSettings = field(default_factory=CoverSettings)


@dataclass(frozen=True)
class ThrottleSettings:
    """Limits on the requests to a user's phone. An origin is a service and a remote host."""

    cool_off: float
    """Seconds of backoff after two consecutive failures from one origin (`login.throttle`); doubles with each."""
    longest_cool_off: float
    """Seconds."""
    requests_per_hour: int
    """Requests to one user that were not approved."""
    logins_at_once: int
    """Simultaneous logins of one user from one origin in one agent: the limit at the prompt, and again after it."""
    spacing: float
    """Seconds from the decision of a request to the next request of the same user."""


@dataclass(frozen=True)
class AgentSettings:
    """Limits on the requests of accounts that act for a user."""

    requests_per_hour: int
    """Requests of all accounts of one user that were not approved."""


@dataclass(frozen=True)
class RecoverySettings:
    """When recovery codes are asked for."""

    ask: AskForCode
    attempts_per_hour: int
    """Wrong codes of one user from one origin."""


@dataclass(frozen=True)
class ServiceSettings:
    """The settings for logins through one PAM service."""

    timeout: float
    """Seconds that the user has to approve."""
    methods: tuple[str, ...]
    """Empty: IAMPASS chooses."""
    prompt: Prompt
    unlisted_users: UnlistedUsers
    unavailable: WhenUnavailable
    approver: Approver | SecondPerson
    otherwise: Otherwise = Otherwise.DENY
    """The rule where nothing names the approver."""
    session: SessionSettings = field(default_factory=SessionSettings)
    exempt: ExemptSettings = ExemptSettings()
    asked: AskedSettings = AskedSettings()
    own_methods: tuple[str, ...] = ()
    """The methods that are set for this very service. If there are any they hold, whatever the user's are."""


@dataclass(frozen=True)
class Settings:
    """The complete, valid settings."""

    application_id: str
    application_secret: str = field(repr=False)
    previous_secret: str = field(repr=False)
    """The second secret of the file, which holds while the secret is being changed; empty if there is none."""
    server: str
    """IAMPASS: an https origin, without a trailing slash."""
    ca_file: Path | None
    """None: the system's certificates."""
    proxy: str | None
    gateways: tuple[str, ...]
    """The gateways that this host has joined, which are asked instead; empty if it asks IAMPASS itself."""
    joined_file: Path | None
    """The file that `pam-iampass join` writes, if this host has joined. None: such a file has no effect."""
    gateway_ca: Path | None
    """The certificates that the gateways' certificates must come from."""
    users: Path
    shared_accounts: bool
    show_command: bool
    throttle: ThrottleSettings
    agents: AgentSettings
    recovery: RecoverySettings
    service: ServiceSettings
    """The settings for services without settings of their own."""
    services: Mapping[str, ServiceSettings]
    files: tuple[Path, ...]
    """The files that the settings were read from: if one changes, the settings are outdated."""

    @property
    def agents_throttle(self) -> ThrottleSettings:
        """The limits on requests of accounts that act for a user."""
        return replace(self.throttle, requests_per_hour=self.agents.requests_per_hour)

    def user_table(self, owner: int = 0) -> UserTable:
        """The user table; nobody needs to be in it on a host of a gateway, where it may be missing."""
        shared = self.shared_accounts or any(one.approver is Approver.KEY for one in self.services.values())
        joined = bool(self.gateways)
        return UserTable(self.users, owner=owner, optional=joined, joined=joined, shared_accounts=shared)

    def tokens_of(self, person: str, users: UserTable) -> tuple[str, ...]:
        """The tokens by which this machine asks the phone of a person, whatever the service. Raises
        ConfigurationError."""
        entry = users.find(person)
        if entry is not None and entry.acts_for:
            return ()
        if entry is not None and entry.token is not None:
            return (entry.token,)
        services = self.service, *self.services.values()
        made = [service.unlisted_users.token_for(person) for service in services]
        return tuple(dict.fromkeys(token for token in made if token is not None and not token_error(token)))

    def for_service(self, name: str) -> ServiceSettings:
        """The settings for the PAM service `name`."""
        own = self.services.get(name, self.services.get(same_program(name)))
        return replace(self.service, approver=usual_approver(name)) if own is None else own


def same_program(name: str) -> str:
    """The PAM service whose settings hold for one without: `sudo` for the one of `sudo -i`, `su` for the one of `su
    -`."""
    return {"sudo-i": "sudo", "su-l": "su"}.get(name, name)


def usual_approver(name: str) -> Approver:
    """Whose phone is asked in a PAM service whose settings do not say so: in sudo and su the caller's.

    If root had to approve, as the user that PAM names in su and in sudo with `rootpw`, everybody who knows root's
    password would become root without a phone where root is exempt.
    """
    return Approver.CALLER if same_program(name) in ("su", "sudo") else Approver.USER


@dataclass(frozen=True)
class SettingsReport:
    """The settings, and everything that is wrong with them."""

    settings: Settings | None
    """None if a problem is an error."""
    problems: tuple[Problem, ...]
    lines: Mapping[tuple[str, str], int]
    """The line of each list item, by dotted key and text."""
    users: Path | None = None
    """The user table, if at least that setting is valid."""


def load(
    path: trusted_file.PathLike = DEFAULT_PATH,
    *,
    owner: int = 0,
    readers: Set[int] | None = None,
    joined: Path | None = None,
) -> Settings:
    """The settings in the file `path`. `owner` and `readers` are as for `trusted_file.read`; `joined` replaces
    `joined_file`, which may be missing.

    Raises ConfigurationError with every problem, and nothing else.
    """
    report = check(path, owner=owner, readers=readers, joined=joined)
    if report.settings is None:
        raise ConfigurationError(report.problems)
    return report.settings


def check(
    path: trusted_file.PathLike = DEFAULT_PATH,
    *,
    owner: int = 0,
    readers: Set[int] | None = None,
    joined: Path | None = None,
) -> SettingsReport:
    """As `load`, but raises nothing: the problems are returned with the settings."""
    file = Path(path)
    try:
        data = trusted_file.read(path, owner=owner)
    except UntrustedFile as error:
        return SettingsReport(None, (error.problem(file),), {})
    document = parse(data, file)
    reader = _SettingsReader(file, document.problems, owner, readers)
    settings = None if document.root is None and document.problems else reader.settings(document.root, joined)
    problems = sorted(reader.problems, key=lambda problem: problem.line or sys.maxsize)
    return SettingsReport(None if reader.failed else settings, tuple(problems), reader.lines, reader.users)


class SchemaReader(NodeReader):
    """Reads the sections of a schema from the nodes of a file."""

    def __init__(self, file: Path, problems: Iterable[Problem], owner: int, readers: Set[int] | None) -> None:
        super().__init__(file, problems)
        self.owner = owner
        self.readers = readers
        self.key_lines: dict[str, int] = {}
        """The line of each key in the file."""

    def section(self, node: Node, schema: Iterable[KeyOrSection], parent: str) -> dict[str, Any]:
        """The values of all keys of a section, with defaults for the missing ones."""
        values = self._present(node, schema, parent)
        for entry in schema:
            if entry.name in values:
                continue
            if isinstance(entry, Key) and entry.required:
                values[entry.name] = None
                self._not_set(None, entry)
            else:
                values[entry.name] = entry.default_value()
        return values

    def _present(self, node: Node, schema: Iterable[KeyOrSection], parent: str) -> dict[str, Any]:
        """The values of the keys in the file."""
        known = {entry.name: entry for entry in schema}
        mapping = self.mapping(node, parent, f"write one key on each line, such as {next(iter(known))}: …")
        values: dict[str, Any] = {}
        for name, value in mapping.entries if mapping else ():
            key = f"{parent}.{name.text}" if parent else name.text
            self.key_lines[key] = name.line
            entry = known.get(name.text)
            if entry is None:
                similar = get_close_matches(name.text, known, 1)
                remedy = f"did you mean {similar[0]}?" if similar else f"write one of {', '.join(known)}"
                self.problem(name.line, key, "is not a known key", remedy)
            elif isinstance(entry, Section) and entry.named:
                values[entry.name] = self._named(value, entry)
            elif isinstance(entry, Section):
                values[entry.name] = self.section(value, entry.keys, key)
            elif entry.section is not None:
                whole = not (entry.section.merged and key.startswith("services."))
                read = self.section if whole else self._present
                values[entry.name] = read(value, entry.section.keys, key)
            elif entry.instead is not None and isinstance(value, MappingNode):
                values[entry.name] = self._second_person(value, entry.instead, key)
            elif entry.required and isinstance(value, ScalarNode) and (value.is_null or not value.text):
                values[entry.name] = None
                self._not_set(name.line, entry)
            else:
                values[entry.name] = self.value(value, key, entry.type)
        return values

    def _second_person(self, node: MappingNode, section: Section, key: str) -> SecondPerson:
        before = len(self.problems)
        values = self.section(node, section.keys, key)
        written = [name for name in ("user", "users", "group") if f"{key}.{name}" in self.key_lines]
        if len(self.problems) > before:
            pass
        elif len(written) != 1:
            what = "names nobody" if not written else f"has both {' and '.join(written)}"
            self.problem(node.line, key, what, "write one of user: NAME, users: [NAME, …] and group: NAME")
        elif values[written[0]] == ():
            self.problem(node.line, f"{key}.users", "names nobody", "write for example [carol, dave]")
        names = (values["user"],) if values["user"] else values["users"]
        return SecondPerson(names or (), values["group"], values["allow_self"] is True)

    def _named(self, node: Node, section: Section) -> dict[str, dict[str, Any]]:
        """The values below each name of a section of names."""
        mapping = self.mapping(node, section.name, f"write names below it, or {section.name}: {{}}")
        values = {}
        for name, value in mapping.entries if mapping else ():
            key = f"{section.name}.{name.text}"
            self.key_lines[key] = name.line
            try:
                values[service_name(name.text)] = self._present(value, section.keys, key)
            except InvalidValue as invalid:
                self.problem(name.line, key, f"{shown(name.text)} {invalid.what}", invalid.remedy)
        return values

    def _not_set(self, line: int | None, key: Key) -> None:
        self.problem(line, key.name, f"{key.name} is not set", f"write {key.name}: {key.type.example}")

    def trusted(self, key: str, path: Path, **options: Any) -> bytes | None:
        """The content of another file that a setting names."""
        try:
            return trusted_file.read(path, owner=self.owner, **options)
        except UntrustedFile as error:
            self.problems.append(error.problem(self.file, self.key_lines.get(key), key))
            return None

    def secrets(self, path: Path | None) -> tuple[str, str]:
        """The application's secret and the previous one; empty, with a problem added, if the file is invalid."""
        key = "application_secret_file"
        options = {"secret": True, "readers": self.readers, "limit": 65536}
        data = None if path is None else self.trusted(key, path, **options)
        if data is None:
            return "", ""
        lines = (data[:-1] if data.endswith(b"\n") else data).split(b"\n")
        if len(lines) <= 2 and all(line and all(0x21 <= byte <= 0x7E for byte in line) for line in lines):
            secret, previous = (*(line.decode("ascii") for line in lines), "")[:2]
            return secret, previous
        what = "is not one word of plain ASCII, or two on two lines" if data.strip() else "is empty"
        remedy = "write the secret into it, on one line, and below it at most the previous one"
        self.problem(self.key_lines.get(key), key, f"{path} {what}", remedy)
        return "", ""


class _SettingsReader(SchemaReader):
    """Reads the settings of a host."""

    users: Path | None = None

    def settings(self, root: Node | None, joined: Path | None) -> Settings | None:
        """None if a problem is an error."""
        values = self.section(root or MappingNode(1), SCHEMA, "")
        joined = joined or values["joined_file"]
        if joined is not None and trusted_file.is_missing(joined):
            joined = None
        if root is None and joined is None:
            self.problems.clear()
            remedy = "write at least application_id: and the id of your application"
            self.problem(None, "application_id", "is not set: the file is empty", remedy)
            return None
        self.users = values["users"]
        ca_file, secret_file = values["ca_file"], values.pop("application_secret_file")
        if ca_file is not None and self.trusted("ca_file", ca_file) is None:
            ca_file = None
        values.update(gateways=(), gateway_ca=None)
        if joined is not None:
            # Of what leads to IAMPASS, nothing is needed any more.
            self.problems = [each for each in self.problems if each.key not in OF_IAMPASS]
            secret, secret_file = self._read_joined(joined, values)
            previous = ""
        else:
            secret, previous = self.secrets(secret_file)
        own = {name: each["session"] for name, each in values["services"].items() if "session" in each}
        self.problems += _session_problems(self.file, values["session"], own, self.key_lines)
        self._check_outages(values["services"])
        if self.failed:
            return None
        services = values.pop("services")
        session = values["session"]
        service = _for_service({key.name: values.pop(key.name) for key in SHARED}, session)
        service["approver"] = Approver.USER
        by_name = UnlistedUsers(template="{user}", everybody=True)  # as gateways know people
        of_gateway = {"unlisted_users": by_name} if joined else {}
        service.update(of_gateway)
        files = (self.file, secret_file, ca_file, values["gateway_ca"], joined)
        return Settings(
            application_secret=secret,
            previous_secret=previous,
            throttle=ThrottleSettings(**values.pop("throttle")),
            agents=AgentSettings(**values.pop("agents")),
            recovery=RecoverySettings(**values.pop("recovery")),
            service=ServiceSettings(**service),
            services=MappingProxyType(
                {
                    name: ServiceSettings(
                        **{
                            **service,
                            "approver": usual_approver(name),
                            **_for_service(own, session),
                            **of_gateway,
                            "own_methods": own.get("methods", ()),
                        }
                    )
                    for name, own in services.items()
                }
            ),
            files=tuple(path for path in files if path),
            **values,
        )

    def _read_joined(self, file: Path, values: dict[str, Any]) -> tuple[str, Path]:
        """Put what `join` has written into the values; returns the host's secret, and the file of it."""
        reader = SchemaReader(file, (), self.owner, self.readers)
        data = reader.trusted("", file)
        document = parse(data or b"", file)
        reader.problems += document.problems
        found = reader.section(document.root or MappingNode(1), OF_JOINED_HOST, "")
        secret_file, ca_file = file.with_name(GATEWAY_SECRET), file.with_name(GATEWAY_CA)
        secret, _ = reader.secrets(secret_file)
        reader.trusted("", ca_file)
        if found["gateways"] == ():
            reader.problem(None, "gateways", "names no gateway", "write their addresses")
        values.update(found, gateway_ca=ca_file)
        self.problems += reader.problems
        return secret, secret_file

    def _check_outages(self, services: dict[str, dict[str, Any]]) -> None:
        for name, own in services.items():
            if own.get("unavailable") is WhenUnavailable.IGNORE and name not in OUTAGE_SERVICES:
                key = f"services.{name}.unavailable"
                what = f"has no effect: an outage is never ignored in {name}, whose callers can cause one themselves"
                remedy = "delete this line; in an outage, users can type a recovery code, or `pam-iampass bypass` helps"
                self.problem(self.key_lines.get(key), key, what, remedy)


def _for_service(values: Mapping[str, Any], session: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a service, with its mappings as objects. `session` are the general values of `session:`."""
    found = dict(values)
    if "exempt" in found:
        exempt = found["exempt"]
        users, groups = frozenset(exempt["users"]), frozenset(exempt["groups"])
        found["exempt"] = ExemptSettings(users, groups, exempt["networks"], exempt["rules"])
    if "asked" in found:
        found["asked"] = AskedSettings(**{key: frozenset(names) for key, names in found["asked"].items()})
    if "session" in found:
        own = _merged_session(session, found["session"])
        covers = CoverSettings(frozenset(own["covers"]["services"]), own["covers"]["for"])
        found["session"] = SessionSettings(**{**own, "covers": covers})
    return found


def _merged_session(general: Values, own: Values) -> Values:
    """The values of a service: its own, and the general ones of the keys that it does not set."""
    covers = {**general["covers"], **(own.get("covers") or {})}
    return {**general, **own, "covers": covers}


def _session_problems(
    file: Path, general: Values, services: Mapping[str, Values], written: Mapping[str, int]
) -> Iterator[Problem]:
    """Contradictions in `session:` of `file`, in the general values and in the values of each service.

    `written` has the dotted keys that are in the file, and their lines. A value that is None is invalid, and was
    reported.
    """
    sections = {"session": general}
    sections.update(
        (f"services.{name}.session", _merged_session(general, own)) for name, own in services.items()
    )
    for section, values in sections.items():
        within, longest = values["covers"]["for"], values["longest"]
        # A section that sets neither of the two is not at fault.
        key = next((key for key in (f"{section}.covers.for", f"{section}.longest") if key in written), None)
        if key is not None and within is not None and longest is not None and within > longest:
            what = f"covers.for ({within:g}s) is longer than session.longest ({longest:g}s)"
            yield Problem(file, written[key], key, what, f"write covers: {{for: {longest:g}s}} or less")
    if any(values["keep"] for values in sections.values()):
        return
    covering = {
        "session.covers.services": any(values["covers"]["services"] for values in sections.values()),
        "session.covers_connections": any(values["covers_connections"] for values in sections.values()),
    }
    for key in (key for key, used in covering.items() if used):
        what, remedy = "has no effect, because no service has session.keep", "write keep: true in session"
        yield Problem(file, written.get(key), key, what, remedy, Severity.WARNING)
