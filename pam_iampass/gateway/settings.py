"""The settings of a gateway, `/etc/iampass-gateway/gateway.yaml`: the same on every gateway of a fleet.

The secrets are in files of their own, which only root can read. systemd passes them to the service (`LoadCredential`).
"""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pam_iampass.config import value_types
from pam_iampass.config.schema import REQUIRED, Key, KeyOrSection, Section
from pam_iampass.config.settings import SchemaReader
from pam_iampass.config.value_types import InvalidValue, ValueType
from pam_iampass.config.yaml_document import parse
from pam_iampass.errors import ConfigurationError, Problem, UntrustedFile
from pam_iampass.system import trusted_file

FOLDER = Path("/etc/iampass-gateway")
DEFAULT_PATH = FOLDER / "gateway.yaml"
KEY_BYTES = 32
DEFAULT_GROUP = "default"
"""The group of a host whose invite names none."""
CREDENTIALS = "CREDENTIALS_DIRECTORY"
"""The variable by which systemd names the folder with the service's secrets."""


def _listen(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})", text)
    if not match or not 0 < int(match[3]) < 65536:
        raise InvalidValue("is not an address with a port", "write for example 0.0.0.0:8443 or [::]:8443")
    return match[1] or match[2], int(match[3])


def _host_name(text: str) -> str:
    if not re.fullmatch(r"(?!-)[A-Za-z0-9.-]{1,253}|[0-9A-Fa-f:.]+", text):
        raise InvalidValue("is not a host name or an address", "write for example gateway.example.com")
    return text.lower()


def _conninfo(text: str) -> str:
    if not text.isprintable() or "password" in text:
        raise InvalidValue(
            "is not a connection string without a password",
            "write for example dbname=iampass, or host=db.example.com dbname=iampass sslmode=verify-full; "
            "a password belongs into ~/.pgpass of _iampass-gateway",
        )
    return text


_PATH = ValueType("an absolute path", value_types.absolute_path, example="/etc/iampass-gateway/ca.pem")
_BOOLEAN = ValueType("true or false", value_types.boolean, example="true")


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
            ValueType("a list of groups of people", value_types.account_name, example="[staff]", many=True),
            (),
            "The groups of people who can log in to these hosts; an empty list: everybody.",
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
            "Whether a host whose requests three different people have cancelled is suspended, and not only slowed "
            "down.",
        ),
    ),
    "The groups of hosts. A host's group is that of the invite with which it has joined.",
    named=True,
)

SCHEMA: tuple[KeyOrSection, ...] = (
    Key(
        "names",
        ValueType("a list of host names", _host_name, example="[gateway.example.com]", many=True),
        REQUIRED,
        "The names and addresses by which hosts call this gateway. They are in its certificate.",
    ),
    Key(
        "listen",
        ValueType("an address with a port", _listen, example="0.0.0.0:8443"),
        "0.0.0.0:8443",
        "Where the gateway accepts connections of hosts.",
    ),
    Key(
        "database",
        ValueType("a connection string of libpq", _conninfo, example="dbname=iampass"),
        "dbname=iampass",
        "The database. Without a host it is that of this machine, where `_iampass-gateway` needs no password.",
    ),
    Key(
        "application_id",
        ValueType("the id of your application", value_types.application_id, example="my-application"),
        REQUIRED,
        "The id of your application at IAMPASS.",
    ),
    _file("application_secret_file", "application-secret", "The file with the application's secret."),
    Key(
        "server",
        ValueType("an https address without a path", value_types.server, example="https://iam-api.com"),
        "https://iam-api.com",
        "The IAMPASS server.",
    ),
    Key(
        "server_ca_file",
        replace(_PATH, nullable=True),
        None,
        "A file with the CA certificates (PEM) that IAMPASS's certificate must come from; `null`: the system's.",
    ),
    Key(
        "proxy",
        ValueType(
            "an http address with a port",
            value_types.proxy,
            example="http://proxy.example.com:3128",
            nullable=True,
        ),
        None,
        "The proxy for connections to IAMPASS; proxy variables in the environment are ignored.",
    ),
    _file("key_file", "key", "The key under which the database is encrypted and its rows are authenticated."),
    _file("ca_file", "ca.pem", "The certificate of the fleet's own CA, which hosts trust."),
    _file("certificate_file", "certificate.pem", "The gateway's certificate, from that CA."),
    _file("certificate_key_file", "certificate-key.pem", "The private key of that certificate."),
    GROUPS,
    Section(
        "limits",
        (
            _number(
                "requests_per_hour", 1000, "30", "As on a host: requests to one person without an approval."
            ),
            _number("connections", 200, "20", "Connections to the database."),
            _number(
                "calls_at_once",
                1000,
                "200",
                "Calls of IAMPASS at the same time, those about sessions not counted.",
            ),
        ),
        "How much at most.",
    ),
    Section(
        "records",
        (_duration("keep", 86400, 999_999 * 86400, "365d", "For how long records stay in the database."),),
        "The records of decisions and of acts of administrators.",
    ),
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
            lines.append(f"# {entry.name}:")
            if entry.named:
                lines.append("#   default:")
            indent = "#     " if entry.named else "#   "
            for key in entry.keys:
                lines += [*_wrapped(key.doc, f"{indent}# "), f"{indent}{key.name}: {_written_default(key)}"]
        lines.append("")
    return "\n".join(lines)


def _wrapped(text: str, prefix: str) -> list[str]:
    return textwrap.wrap(text, 118, initial_indent=prefix, subsequent_indent=prefix, break_on_hyphens=False)


def _written_default(key: Key) -> str:
    return "null" if key.default is None else key.default or "[]"


@dataclass(frozen=True)
class GroupSettings:
    """The policy for the hosts of one group."""

    people: frozenset[str] = frozenset()
    """Groups of people; empty: everybody."""
    admit: bool = False
    suspend_by_itself: bool = False


@dataclass(frozen=True)
class LimitSettings:
    """How much at most."""

    requests_per_hour: int
    connections: int
    calls_at_once: int


@dataclass(frozen=True)
class GatewaySettings:
    """The complete, valid settings."""

    names: tuple[str, ...]
    listen: tuple[str, int]
    database: str
    """For libpq."""
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
        return None, (error.problem(file),)
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
        secret, previous = self.secrets(credential(values.pop("application_secret_file")))
        key = self._key(values.pop("key_file"))
        values["certificate_key_file"] = credential(values["certificate_key_file"])
        self.trusted("certificate_key_file", values["certificate_key_file"], secret=True)
        for name in ("server_ca_file", "ca_file", "certificate_file"):
            if values[name] is not None:
                self.trusted(name, values[name])
        if self.failed:
            return None
        groups = {
            name: GroupSettings(**{**own, "people": frozenset(own.get("people", ()))})
            for name, own in values.pop("groups").items()
        }
        return GatewaySettings(
            application_secret=secret,
            previous_secret=previous,
            key=key,
            groups=MappingProxyType(groups),
            limits=LimitSettings(**values.pop("limits")),
            keep_records=values.pop("records")["keep"],
            **values,
        )

    def trusted(self, key: str, path: Path, **options: Any) -> bytes | None:
        """As in SchemaReader. A secret that systemd passes may belong to us, and have an access control list."""
        if str(path.parent) == os.environ.get(CREDENTIALS):
            try:
                return trusted_file.read(path, owner=os.geteuid())
            except UntrustedFile as error:
                self.problems.append(error.problem(self.file, None, key))
                return None
        return super().trusted(key, path, **options)

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


def credential(path: Path) -> Path:
    """Where this process can read a secret: systemd passes it to the service in a folder, by the name of its file."""
    passed = Path(os.environ.get(CREDENTIALS, "/nonexistent")) / path.name
    return passed if passed.exists() else path
