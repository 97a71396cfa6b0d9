"""Which files make a service ask the phone, and what they then contain.

They are the PAM files of its program, with our lines in them, and for sshd with a prompt also a drop-in of sshd_config.
A file in /usr/lib/pam.d stays as it is: one in /etc/pam.d overrides it, and includes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pam_iampass.config.settings import ExemptSettings, Settings
from pam_iampass.config.sshd_exceptions import SshdExceptions, exceptions
from pam_iampass.pam.lines import is_edited, unedited
from pam_iampass.pam.modules import Role, is_ours, role
from pam_iampass.pam.services import USES, why_unsuitable
from pam_iampass.pam.stack import Dialect, PamFiles, PamType, UnusableService, dialect
from pam_iampass.setup.edits import KEY, PASSWORD, QUIET, arguments, including, with_us
from pam_iampass.setup.errors import SetupRefused
from pam_iampass.setup.files import content_of, take, text_of
from pam_iampass.setup.paths import Paths

SERVICES = ("sshd", "sudo", "su")
"""The services whose status is always shown; every other PAM service can be set up as well."""

EXEMPT_METHODS = {KEY: "publickey", PASSWORD: "publickey keyboard-interactive:pam"}
"""What sshd demands of exempt accounts (AuthenticationMethods) in the ways with a prompt."""

_DROP_INS = {KEY: "10-iampass.conf", PASSWORD: "10-iampass-password.conf"}


@dataclass(frozen=True)
class WantedFile:
    """A file that a service needs."""

    path: Path
    content: bytes
    mode: int = 0o644
    """For a new file; an existing one keeps its permissions."""
    edited: bool = True
    """Whether it is a PAM file with our lines in it, rather than a file of ours."""


@dataclass(frozen=True)
class WantedService:
    """A service that asks the phone."""

    name: str
    choice: str
    pam_services: tuple[str, ...]
    """The PAM services of its program, which the settings name: `su-l` beside `su`."""
    files: tuple[WantedFile, ...]
    exempt: ExemptSettings = field(default_factory=ExemptSettings)
    exceptions: SshdExceptions = field(default_factory=SshdExceptions)
    """The logins that sshd spares the prompt: those that are exempt."""

    @property
    def asks_in(self) -> PamType:
        """The type of our line; sshd's services that prompt also have one of the type account."""
        return PamType.ACCOUNT if self.choice == QUIET else PamType.AUTH

    def pam_files(self, paths: Paths) -> PamFiles:
        """The PAM files of the machine as they will be."""
        return pam_files(paths, {file.path: text_of(file.content) for file in self.files if file.edited})


def wanted(
    name: str,
    choice: str,
    paths: Paths,
    settings: Settings | None = None,
    written: Mapping[Path, str] | None = None,
) -> WantedService:
    """The files of a service. `choice` is a way of sshd, `settings` say who is exempt.

    What a person has added to our lines (`rescue=NAME`) is kept: as it is in the file or, if that has lost our lines,
    as it was in what was `written`.

    Raises SetupRefused if the service must not ask the phone, if its PAM file is not understood, or if a template is
    missing; UntrustedFile.
    """
    unsuitable = why_unsuitable(name)
    if unsuitable is not None:
        raise SetupRefused(f"{name}: {unsuitable.reason}", unsuitable.remedy)
    names = [one for one in USES.get(name, (name,)) if one == name or _source(paths, one)]
    edited: list[WantedFile] = []
    for one in names:
        files = pam_files(paths, {file.path: text_of(file.content) for file in edited})
        if one == name or _needs_lines(files, one):
            edited.append(_edited(paths, one, choice, files, (written or {}).get(paths.pam / one, "")))
    if choice not in EXEMPT_METHODS:
        return WantedService(name, choice, tuple(names), tuple(edited))
    drop_in = _template(paths, f"sshd_config.d/{_DROP_INS[choice]}")
    exempt, spared = ExemptSettings(), SshdExceptions()
    if settings is not None:
        of_service = settings.for_service(name)
        exempt, spared = of_service.exempt, exceptions(of_service)
        drop_in += spared.blocks(EXEMPT_METHODS[choice]).encode()
    ours = WantedFile(paths.sshd_drop_ins / "10-iampass.conf", drop_in, edited=False)
    return WantedService(name, choice, tuple(names), (*edited, ours), exempt, spared)


def pam_files(paths: Paths, instead: dict[Path, str] | None = None) -> PamFiles:
    """The machine's PAM files, some of them with other contents."""
    return PamFiles((paths.pam, *paths.vendor_pam), _dialect(paths), instead)


def _edited(paths: Paths, name: str, choice: str, files: PamFiles, written: str) -> WantedFile:
    """The PAM file of a service with our lines."""
    path = paths.pam / name
    source = _source(paths, name)
    if source is None:
        remedy = "install the package that contains it; ls /etc/pam.d /usr/lib/pam.d shows all PAM services"
        raise SetupRefused(f"{path}: no such file", remedy)
    own = source == path
    current = text_of(take(path).content)
    text = unedited(current) if own else including(source, files.dialect)
    kept = arguments(current if is_edited(current) else written)
    return WantedFile(path, content_of(with_us(path, text, files, choice, kept)))


def _source(paths: Paths, name: str) -> Path | None:
    """The file of a PAM service that libpam reads."""
    return next((path for path in (paths.pam / name, *paths.vendor(name)) if path.exists()), None)


def _needs_lines(files: PamFiles, name: str) -> bool:
    """Whether another service of the program asks for the password, and does not ask the phone by what it includes."""
    try:
        stack = files.service(name).stacks[PamType.AUTH]
    except UnusableService:
        return False
    if any(is_ours(handler) and handler.file != files.path(name) for handler in stack):
        return False
    return any(role(handler) is Role.FIRST_FACTOR for handler in stack)


def _dialect(paths: Paths) -> Dialect:
    return dialect(paths.root / "etc/debian_version")


def _template(paths: Paths, name: str) -> bytes:
    try:
        return (paths.templates / name).read_bytes()
    except FileNotFoundError:
        raise SetupRefused(f"{paths.templates / name}: no such file", "reinstall pam-iampass") from None
