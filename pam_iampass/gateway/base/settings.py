"""The settings of a gateway, `/etc/iampass-gateway/gateway.yaml`: the same on every gateway of a fleet.

The secrets are in files of their own, which only root can read. systemd passes them to the service (`LoadCredential`).
"""

from __future__ import annotations

import enum
import json
import os
import re
import sys
import textwrap
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from pam_iampass.client.origin import Origin
from pam_iampass.config import value_types
from pam_iampass.config.schema import (
    APPLICATION_ID,
    GATEWAYS,
    REQUIRED,
    SERVER,
    THROTTLE,
    Key,
    KeyOrSection,
    Section,
    mapping,
    proxy_key,
)
from pam_iampass.config.settings import SchemaReader, ThrottleSettings
from pam_iampass.config.value_types import InvalidValue, ValueType
from pam_iampass.config.yaml_document import parse
from pam_iampass.errors import ConfigurationError, MissingFile, Problem, Severity, UntrustedFile
from pam_iampass.system import trusted_file

FOLDER = Path("/etc/iampass-gateway")
DEFAULT_PATH = FOLDER / "gateway.yaml"
KEY_BYTES = 32
ACCOUNT = "_iampass-gateway"
"""The account of the service."""
PORTAL_ACCOUNT = "_iampass-portal"
"""The account of the portal, which has no access to the settings' secrets and the database."""
PORTAL_FOLDER = Path("/etc/iampass-portal")
"""The folder with the portal's settings, and with links to its certificate and key, where it is set up."""
PORTAL_CERTIFICATE = PORTAL_FOLDER / "certificate.pem"
PORTAL_KEY = PORTAL_FOLDER / "certificate-key.pem"
PORTAL_SOCKET = "pam-iampass-portal.socket"
"""The unit that accepts browsers' connections for the portal."""
DEFAULT_GROUP = "default"
"""The group of a host whose invite names none."""
_INIT = "pam-iampass-gateway init"
_MISSING = {
    "application_secret_file": "write the application's secret into it: " + _INIT,
    "key_file": "restore it from your backup of the key: with another one nothing in the database counts",
    "ca_file": f"restore it from your backup; for a new fleet: {_INIT}",
    "certificate_file": _INIT,
    "certificate_key_file": _INIT,
}
"""The remedy for a file that does not exist."""
CREDENTIALS = "CREDENTIALS_DIRECTORY"
"""The variable by which systemd names the folder with the service's secrets."""


def _host_name(text: str) -> str:
    if not re.fullmatch(r"(?!-)[A-Za-z0-9.-]{1,253}|[0-9A-Fa-f:.]+", text):
        raise InvalidValue("is not a host name or an address", "write for example gateway.example.com")
    return text.lower()


def _conninfo(text: str) -> str:
    remedy = (
        "write for example dbname=iampass, or host=db.example.com dbname=iampass sslmode=verify-full; "
        "a password belongs into ~/.pgpass of _iampass-gateway"
    )
    shown = masked(text)
    if not shown or not text.isprintable():  # the words of libpq may have a part of a password
        raise InvalidValue("is not a connection string that libpq can read", remedy, "…")
    if conninfo_to_dict(shown) != conninfo_to_dict(text):
        raise InvalidValue("has a password, which anybody may read here", remedy, shown)
    return text


def masked(conninfo: str) -> str:
    """A connection string as it may be shown, without its passwords; empty if libpq cannot read it."""
    try:
        values = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError:
        return ""
    secret = {option.keyword.decode() for option in Conninfo.get_defaults() if option.dispchar == b"*"}
    return make_conninfo("", **{name: "…" if name in secret else value for name, value in values.items()})


def _directory_url(text: str) -> str:
    if not re.fullmatch(r"ldaps?://([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?", text):
        raise InvalidValue("is not the address of a directory", "write for example ldaps://ldap.example.com")
    return text.rstrip("/")


def _distinguished_name(text: str) -> str:
    if "=" not in text or not text.isprintable():
        raise InvalidValue("is not a distinguished name", "write for example ou=people,dc=example,dc=com")
    return text


def _filter(text: str) -> str:
    if not (text.startswith("(") and text.endswith(")") and text.isprintable()):
        raise InvalidValue("is not a filter", "write for example (objectClass=inetOrgPerson)")
    return text


def _attribute(text: str) -> str:
    if not re.fullmatch("[A-Za-z][A-Za-z0-9-]*", text):
        raise InvalidValue("is not the name of an attribute", "write for example uid")
    return text


class Invite(enum.Enum):
    """When a person of the directory is sent a message with a registration link."""

    NEVER = "never"
    FIRST_LOGIN = "first_login"
    AT_ONCE = "at_once"


_PATH = ValueType("an absolute path", value_types.absolute_path, example="/etc/iampass-gateway/ca.pem")
_BOOLEAN = ValueType("true or false", value_types.boolean, example="true")
_PEOPLE = ValueType("a list of groups of people", value_types.account_name, example="[staff]", many=True)


def _file(name: str, file: str, doc: str) -> Key:
    return Key(name, replace(_PATH, example=str(FOLDER / file)), str(FOLDER / file), doc)


def _number(name: str, most: int, default: str, doc: str) -> Key:
    accepted = ValueType(f"a number from 1 to {most}", value_types.number(1, most), example=default)
    return Key(name, accepted, default, doc)


def _duration(name: str, shortest: int, longest: int, default: str, doc: str) -> Key:
    accepted = ValueType("a duration", value_types.duration(shortest, longest), example=default)
    return Key(name, accepted, default, doc)


GROUPS = Section(
    "groups",
    (
        Key(
            "people",
            _PEOPLE,
            (),
            "The groups of people who can log in to these hosts. An empty list, without `everybody`: nobody can.",
        ),
        Key(
            "everybody",
            _BOOLEAN,
            "false",
            "Whether all people can log in to these hosts, whatever their groups. Then `people` must be empty.",
        ),
        Key(
            "admit",
            _BOOLEAN,
            "false",
            "Whether a host that has joined must be admitted (`pam-iampass-gateway host admit`) before it can ask.",
        ),
        Key(
            "suspend_by_itself",
            _BOOLEAN,
            "false",
            "Whether a host whose requests three different people have cancelled may not ask any more, and is not only "
            "slowed down. Its sessions go on.",
        ),
        Key(
            "codes",
            _BOOLEAN,
            "true",
            "Whether recovery codes can be redeemed on these hosts. Root of a host can keep a code that is typed "
            "there, say that it was wrong, and use it elsewhere: write `false` for hosts whose root you trust less "
            "than others, or to which many people log in. If the group is in a `covered_by`, it is `false` unless "
            "you write `true`.",
        ),
        Key(
            "bypasses",
            _BOOLEAN,
            "true",
            "Whether a bypass (`pam-iampass-gateway bypass`) counts on these hosts.",
        ),
        Key(
            "covered_by",
            ValueType("a list of groups of hosts", value_types.service_name, example="[bastion]", many=True),
            (),
            "The groups of hosts, with `admit: true`, from which people go on to these hosts without being asked "
            "again: a login here needs no phone if it begins in a kept login of the same person there, which the "
            "agent of that host confirms, and IAMPASS says that the session of that one is active. It ends with that "
            "session. Root of such a host can say so of everybody who is logged in there.",
        ),
        Key(
            "covers_further",
            _BOOLEAN,
            "false",
            "Whether logins to these hosts that were covered themselves cover further ones, to hosts with this group "
            "in `covered_by`.",
        ),
    ),
    "The groups of hosts. A host's group is that of the invite with which it has joined. Nobody can log in to hosts of "
    "a group that is not listed here.",
    named=True,
)

HELPDESK = Section(
    "helpdesk",
    (
        Key("people", replace(_PEOPLE, example="[desk]"), (), "The groups of the people who help."),
        Key(
            "helps",
            _PEOPLE,
            (),
            "The groups of the people whom they help. They reach nobody who has no group, or also one that is not "
            "here. A group of `admin`, `auditor` or `helpdesk.people` cannot be here: they would reach an operator.",
        ),
    ),
    "The help desk: it sees and changes what concerns the people whom it helps, such as a lost phone, and no hosts.",
)

OPERATORS = Section(
    "operators",
    (
        Key(
            "admin",
            replace(_PEOPLE, example="[it]"),
            (),
            "The groups of the people who see everything, do for all people what the help desk does, and admit, "
            "suspend and resume hosts.",
        ),
        Key(
            "auditor",
            replace(_PEOPLE, example="[sec]"),
            (),
            "The groups of the people who see people, hosts and records, and change nothing.",
        ),
        mapping(HELPDESK, "{people: [desk], helps: [staff]}"),
    ),
    "The groups of people who have a role in the portal. By default nobody has one: only root of a gateway can do what "
    "they do. A role counts only in a sign-in with a passkey that was registered through a link of root's: to have a "
    "group is not enough.",
)

BACKUP = Section(
    "backup",
    (
        Key(
            "folder",
            replace(_PATH, example="/var/backups/iampass-gateway", nullable=True),
            None,
            "The folder, which must be root's alone (0700), for dumps only, neither near the settings or the key nor "
            "below `/home` or `/root`. `null`: no dumps are made.",
        ),
        _number("keep", 1000, "14", "How many dumps are kept; those made before them are deleted."),
    ),
    "Dumps of the database: `pam-iampass-gateway backup`, which a timer runs each night once you switch it on, on one "
    "of the gateways (`pam-iampass-gateway-backup.timer`).",
)

PORTAL = Section(
    "portal",
    (
        Key(
            "origin",
            ValueType(
                "an https address without a path",
                value_types.web_origin,
                example="https://iampass.example.com",
                nullable=True,
            ),
            None,
            "The address of the portal, exactly as browsers send it: in lower case, without a path and without the "
            "port 443. `http` is accepted for `localhost` only. Let nothing else be served under the name, on any "
            "port: browsers send cookies to all. Passkeys are bound to the name: after a change everybody needs a "
            "new one. `null`: there is no portal.",
        ),
    ),
    "The portal, where people sign in with passkeys.",
)

_DN = ValueType(
    "a distinguished name", _distinguished_name, example='"ou=people,dc=example,dc=com"', nullable=True
)
_FILTER = ValueType("a filter of LDAP", _filter, example="(objectClass=inetOrgPerson)")
_ATTRIBUTE = ValueType("an attribute", _attribute, example="uid")
_OTHER_ATTRIBUTE = replace(_ATTRIBUTE, nullable=True)

DIRECTORY = Section(
    "directory",
    (
        Key(
            "url",
            ValueType(
                "an address of LDAP", _directory_url, example="ldaps://ldap.example.com", nullable=True
            ),
            None,
            "The server: `ldaps://HOST`, or `ldap://HOST` with `start_tls`. `null`: there is no directory.",
        ),
        Key(
            "start_tls",
            _BOOLEAN,
            "false",
            "Whether a connection to `ldap://` is encrypted before anything is said.",
        ),
        Key(
            "ca_file",
            _PATH,
            "/etc/ssl/certs/ca-certificates.crt",
            "The CA certificates (PEM) from which that of the server must come.",
        ),
        Key("bind_dn", _DN, None, "As whom the gateway reads; `null`: as nobody."),
        _file(
            "password_file",
            "directory-password",
            "The file with the password of `bind_dn`. The timer looks into the directory only if "
            "`/etc/iampass-gateway/directory-password` exists; without `bind_dn` it can be empty.",
        ),
        Key("base", _DN, None, "Below which entry the people are."),
        Key("filter", _FILTER, "(objectClass=inetOrgPerson)", "Which entries below `base` are people."),
        Key(
            "name",
            _ATTRIBUTE,
            "uid",
            "The attribute with the name of the person's account on the hosts. An entry with two is an error. People "
            "must not be able to change their own: with the name of a person who joins later, they would be asked for "
            "that account.",
        ),
        Key(
            "lower_case",
            _BOOLEAN,
            "false",
            "Whether names are taken in lower case, as sssd does with Active Directory.",
        ),
        Key(
            "id",
            _ATTRIBUTE,
            "entryUUID",
            "The attribute that tells a person from a later one of the same name (Active Directory: `objectGUID`). "
            "Another id means another person, whose phone has to be registered first.",
        ),
        Key(
            "display_name", _OTHER_ATTRIBUTE, "cn", "The attribute with the name that the IAMPASS app shows."
        ),
        Key(
            "phone_number",
            _OTHER_ATTRIBUTE,
            "mobile",
            "The attribute with the number for messages, with `+` and country code. Anyone who can write it can have "
            "the registration link of a person without a phone: people must not be able to change it with what is "
            "their first factor.",
        ),
        Key(
            "groups_base",
            _DN,
            None,
            "Below which entry the groups are; others do not count. `null`: people have no groups. A group is called "
            "by the first part of its DN: `cn=staff,ou=groups,…` is `staff`.",
        ),
        Key(
            "groups_attribute",
            _OTHER_ATTRIBUTE,
            "memberOf",
            "The attribute of a person with the DNs of the groups; `null`: groups are searched.",
        ),
        Key(
            "groups_filter",
            _FILTER,
            "(objectClass=groupOfNames)",
            "Which entries below `groups_base` are groups.",
        ),
        Key(
            "groups_member",
            _ATTRIBUTE,
            "member",
            "The attribute of such a group with the DNs of its members, or with their names (`memberUid`).",
        ),
        _duration(
            "grace",
            0,
            999 * 86400,
            "30d",
            "How long after leaving the directory a person is removed at IAMPASS, with the phone. Logins are denied "
            "at once.",
        ),
        Key(
            "invite",
            ValueType("never, first_login or at_once", value_types.choice(Invite), example="at_once"),
            "never",
            "When people with a phone number are sent a message with a registration link: `at_once`, when they have "
            "joined; `first_login`, when they log in and have no phone, at most once an hour, and ten an hour for one "
            "host, and never after `phone lost`.",
        ),
    ),
    "People from a directory (LDAP): `pam-iampass-gateway user sync`, which a timer runs each hour "
    "(`pam-iampass-gateway-sync.timer`). People who were added here are left alone.",
)

SCHEMA: tuple[KeyOrSection, ...] = (
    Key(
        "names",
        ValueType("a list of host names", _host_name, example="[gateway.example.com]", many=True),
        REQUIRED,
        "The names and addresses by which hosts call this gateway. They are in its certificate.",
    ),
    Key(
        "gateways",
        GATEWAYS,
        (),
        "If there is more than one gateway: how hosts call each, the same list on all. `pam-iampass join` writes it on "
        "the host, for each host in an order of its own, which spreads them; after a change, `pam-iampass join "
        "--update`. An empty list: hosts know the address at which they have joined.",
    ),
    Key(
        "listen",
        ValueType("an address with a port", value_types.listen_address, example="0.0.0.0:8443"),
        "0.0.0.0:8443",
        "Where the gateway accepts connections of hosts.",
    ),
    Key(
        "monitoring",
        ValueType(
            "an address with a port", value_types.listen_address, example="127.0.0.1:8444", nullable=True
        ),
        "127.0.0.1:8444",
        "Where `/metrics` (Prometheus), `/healthz` and `/readyz` are, with plain http: anyone who can connect reads "
        "them. They name no host and no person. `null`: nowhere.",
    ),
    Key(
        "database",
        ValueType("a connection string of libpq", _conninfo, example="dbname=iampass"),
        "dbname=iampass",
        "The database. Without a host it is that of this machine, where `_iampass-gateway` needs no password.",
    ),
    APPLICATION_ID,
    _file("application_secret_file", "application-secret", "The file with the application's secret."),
    SERVER,
    Key(
        "server_ca_file",
        replace(_PATH, nullable=True),
        None,
        "A file with the CA certificates (PEM) that IAMPASS's certificate must come from; `null`: the system's.",
    ),
    proxy_key("IAMPASS"),
    _file("key_file", "key", "The key under which the database is encrypted and its rows are authenticated."),
    _file("ca_file", "ca.pem", "The certificate of the fleet's own CA, which hosts trust."),
    _file("certificate_file", "certificate.pem", "The gateway's certificate, from that CA."),
    _file("certificate_key_file", "certificate-key.pem", "The private key of that certificate."),
    Key(
        "self_service",
        _PEOPLE,
        (),
        "The groups of people who, after they have reported their phone lost in the portal, can make themselves one "
        "recovery code for 12 hours, once a week. With it a key and a passkey on one laptop are enough to log in: "
        "by default nobody can.",
    ),
    GROUPS,
    Section(
        "limits",
        (
            *(each for each in THROTTLE if each.name != "logins_at_once"),
            _number(
                "logins_at_once",
                1000,
                "10",
                "How many logins of one person from one origin may wait for their turn. Those on another host count as "
                "one.",
            ),
            _number("connections", 200, "20", "Connections to the database."),
            _number(
                "calls_at_once",
                1000,
                "200",
                "Starts at IAMPASS at the same time, and as many ends of sessions. One host has half of them.",
            ),
            _number(
                "host_requests_per_hour",
                10_000,
                "100",
                "Requests of one host within an hour, to all people together, that are not approved, unless more people"
                " approve than do not. Beyond that, only people who have approved there within 30 days, or had a login"
                " there covered, are asked. A quarter of it is an alert.",
            ),
            _number(
                "wrong_codes_per_hour",
                20,
                "5",
                "Wrong recovery codes for one person from one host and address. A host has 20 for one person, and 100 "
                "for all.",
            ),
        ),
        "How much at most. Requests to one person count over all hosts. An origin is a PAM service and the address "
        "from which the login comes; without an address, the host.",
    ),
    Section(
        "records",
        (
            _duration(
                "keep",
                30 * 86400,
                999_999 * 86400,
                "365d",
                "The time for which records stay in the database. At least 30 days: limits use these records.",
            ),
        ),
        "The records of decisions and of acts of administrators.",
    ),
    BACKUP,
    DIRECTORY,
    PORTAL,
    OPERATORS,
)
"""The keys of the file."""


def template(values: Mapping[str, Any]) -> str:
    """A settings file with these values, in which all other keys stand as comments, each with what it means."""
    lines = ["# Settings of the gateway. All of a fleet's gateways have the same ones."]
    lines += ["# After each change: systemctl restart pam-iampass-gateway", ""]
    for entry in SCHEMA:
        lines += _wrapped(entry.doc, "# ")
        if isinstance(entry, Key):
            given = entry.name in values
            value = json.dumps(values[entry.name]) if given else _written_default(entry)
            lines.append(f"{'' if given else '# '}{entry.name}: {value}")
        else:
            if entry.name in values:
                lines += [
                    f"{entry.name}:",
                    *(f"  {name}: {_flow(own)}" for name, own in values[entry.name].items()),
                ]
            lines.append(f"# {entry.name}:")
            if entry.named:
                lines.append("#   default:")
            indent = "#     " if entry.named else "#   "
            for key in entry.keys:
                lines += [*_wrapped(key.doc, f"{indent}# "), f"{indent}{key.name}: {_written_default(key)}"]
        lines.append("")
    return "\n".join(lines)


def _flow(values: Mapping[str, Any]) -> str:
    return f"{{{', '.join(f'{name}: {json.dumps(value)}' for name, value in values.items())}}}"


def _wrapped(text: str, prefix: str) -> list[str]:
    return textwrap.wrap(text, 118, initial_indent=prefix, subsequent_indent=prefix, break_on_hyphens=False)


def _written_default(key: Key) -> str:
    if key.section is not None:
        return f"{{{', '.join(f'{each.name}: {_written_default(each)}' for each in key.section.keys)}}}"
    return "null" if key.default is None else key.default or "[]"


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
    host_requests_per_hour: int = 100
    """Requests of one host to all people together that are not approved."""
    wrong_codes_per_hour: int = 5
    """Wrong codes for one person from one address."""

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
        if CREDENTIALS not in os.environ or _is_passed(
            key_file
        ):  # services that answer no host do not get it
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
            limits=LimitSettings(**values.pop("limits")),
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
        self.problem(
            self.key_lines.get("key_file"), "key_file", what, "restore it from your backup of the key"
        )
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
