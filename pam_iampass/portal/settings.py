"""The settings of the portal, `/etc/iampass-portal/portal.yaml`."""

from __future__ import annotations

import os
import ssl
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pam_iampass.config import value_types
from pam_iampass.config.schema import REQUIRED, Key
from pam_iampass.config.settings import SchemaReader
from pam_iampass.config.value_types import Network, ValueType
from pam_iampass.config.yaml_document import parse
from pam_iampass.errors import ConfigurationError, MissingFile, Problem, UntrustedFile
from pam_iampass.system import trusted_file

FOLDER = Path("/etc/iampass-portal")
DEFAULT_PATH = FOLDER / "portal.yaml"
_SETUP = "pam-iampass-gateway portal setup"
_PATH = ValueType("an absolute path", value_types.absolute_path, example=str(FOLDER / "certificate.pem"))

SCHEMA = (
    Key(
        "origin",
        ValueType(
            "an https address without a path", value_types.web_origin, example="https://iampass.example.com"
        ),
        REQUIRED,
        "The address of the portal, exactly as browsers send it; the same as `portal.origin` in gateway.yaml.",
    ),
    Key(
        "listen",
        ValueType("an address with a port", value_types.listen_address, example='"[::]:443"', nullable=True),
        None,
        "Where the portal accepts connections if systemd does not do that for it (`pam-iampass-portal.socket`).",
    ),
    Key(
        "certificate_file",
        _PATH,
        str(FOLDER / "certificate.pem"),
        "The portal's certificate and those of the CAs between (PEM), which browsers trust.",
    ),
    Key(
        "certificate_key_file",
        _PATH,
        str(FOLDER / "certificate-key.pem"),
        "The private key of that certificate (PEM).",
    ),
    Key(
        "proxy",
        ValueType("a list of addresses", value_types.network, example="[127.0.0.1]", many=True),
        (),
        "The addresses or networks of reverse proxies that have the certificate in place of the portal, which is then "
        "called by http. What they write into `X-Forwarded-For` is believed. Nobody else is answered but programs on "
        "this machine. A proxy is trusted as the portal is: it can do what everybody can who signs in.",
    ),
)
"""The keys of the file."""


@dataclass(frozen=True)
class PortalSettings:
    """Where the portal is, and who passes requests on to it."""

    origin: str
    """As browsers send it."""
    proxies: tuple[Network, ...] = ()
    """The reverse proxies, which say whose requests they pass on."""
    listen: tuple[str, int] | None = None
    certificate_file: Path = FOLDER / "certificate.pem"
    certificate_key_file: Path = FOLDER / "certificate-key.pem"

    @property
    def is_encrypted(self) -> bool:
        """Whether browsers connect to the portal itself, by https."""
        return self.origin.startswith("https:") and not self.proxies

    def context(self) -> ssl.SSLContext | None:
        """For connections, with the certificate; None for plain http. Raises OSError."""
        if not self.is_encrypted:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        certificate, key = _passed(self.certificate_file), _passed(self.certificate_key_file)
        context.load_cert_chain(certificate, key, password="")  # an encrypted one is refused
        return context


def load(path: trusted_file.PathLike = DEFAULT_PATH, *, owner: int = 0) -> PortalSettings:
    """The settings in a file, which must belong to `owner`. Raises ConfigurationError with every problem."""
    file = Path(path)
    try:
        document = parse(trusted_file.read(path, owner=owner), file)
    except UntrustedFile as error:
        problem = error.problem(file)
        is_missing = isinstance(error, MissingFile)
        raise ConfigurationError([replace(problem, remedy=_SETUP) if is_missing else problem]) from None
    reader, settings = SchemaReader(file, document.problems, owner, None), None
    if document.root is not None:
        settings = _settings(reader, reader.section(document.root, SCHEMA, ""))
    elif not document.problems:
        reader.problem(None, "", "the file is empty", _SETUP)
    if settings is None:
        raise ConfigurationError(sorted(reader.problems, key=_line))
    return settings


def _settings(reader: SchemaReader, values: dict[str, Any]) -> PortalSettings | None:
    """None if a problem is an error."""
    if reader.failed:
        return None
    settings = PortalSettings(proxies=values.pop("proxy"), **values)
    try:
        settings.context()
    except OSError as error:
        key = "certificate_file"
        why = getattr(error, "reason", None) or error.strerror or str(error)
        what = f"{settings.certificate_file} and {settings.certificate_key_file} cannot be used: {why}"
        reader.problem(
            reader.key_lines.get(key), key, what, f"write the certificate and its key there: {_SETUP}"
        )
    return None if reader.failed else settings


def _line(problem: Problem) -> int:
    return problem.line or sys.maxsize


def _passed(path: Path) -> Path:
    """Where this process can read a file: systemd passes it to the service in a folder, by its name."""
    passed = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nonexistent")) / path.name
    return passed if passed.exists() else path
