"""Which files make a service ask the phone.

There are two kinds. Our own PAM files do nothing until they are chosen. The *enforcing* files choose them: a drop-in of
sshd or sudo or, for every other PAM service, one line of its file. A file in /usr/lib/pam.d stays as it is: a copy in
/etc/pam.d overrides it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pam_iampass.config.settings import ExemptSettings, Settings
from pam_iampass.config.sshd_exceptions import SshdExceptions, exceptions
from pam_iampass.pam.services import USES, why_unsuitable
from pam_iampass.pam.stack import PamType
from pam_iampass.setup.edits import FIRST_FACTOR, included, with_session
from pam_iampass.setup.errors import SetupRefused
from pam_iampass.setup.manifest import LineEdit
from pam_iampass.setup.paths import Paths
from pam_iampass.setup.snapshot import take

SERVICES = ("sshd", "sudo", "su")
"""The services whose status is always shown; every other PAM service can be set up as well."""

KEY, PASSWORD, QUIET = "key", "password", "quiet"
"""How sshd asks: with a prompt after the key or the password, or without one after any first factor."""

EXEMPT_METHODS = {KEY: "publickey", PASSWORD: "publickey keyboard-interactive:pam"}
"""What sshd demands of exempt accounts (AuthenticationMethods) in the ways with a prompt."""

_COPY = "# Written by `pam-iampass setup`: overrides {}.\n"


@dataclass(frozen=True)
class WantedFile:
    """A file that a service needs."""

    path: Path
    content: bytes
    mode: int
    """For a new file; an existing one keeps its permissions."""
    enforcing: bool
    edits: tuple[LineEdit, ...] = ()


@dataclass(frozen=True)
class WantedService:
    """A service that asks the phone."""

    name: str
    choice: str
    pam_service: str
    """The PAM service that the program will use, and that the settings name."""
    also: tuple[str, ...]
    """Other PAM services that the program uses in the same way: `su-l` for `su -`."""
    own_file: str
    """The name of our PAM file, with the complete stack."""
    files: tuple[WantedFile, ...]
    exempt: ExemptSettings = field(default_factory=ExemptSettings)
    exceptions: SshdExceptions = field(default_factory=SshdExceptions)
    """The logins that sshd spares the prompt: those that are exempt."""

    @property
    def asks_in(self) -> PamType:
        """The type of our line; sshd's services that prompt also have one of the type account."""
        return PamType.ACCOUNT if self.choice == QUIET else PamType.AUTH


def wanted(
    name: str, choice: str, paths: Paths, *, chooses_service: bool, settings: Settings | None = None
) -> WantedService:
    """The files of a service. `chooses_service` says whether this sshd supports PAMServiceName.

    `settings` say who is exempt.

    Raises SetupRefused if the service must not ask the phone, if the machine's PAM files are not understood, or if a
    template is missing.
    """
    if name == "sshd":
        return _sshd(choice, paths, chooses_service, settings)
    if name == "sudo":
        own = _own(paths, "iampass-sudo")
        drop_in = _template(paths, "sudoers.d/iampass")
        enforcing = WantedFile(paths.sudoers_drop_ins / "iampass", drop_in, 0o440, True)
        return WantedService(name, "", "iampass-sudo", (), "iampass-sudo", (own, enforcing))
    unsuitable = why_unsuitable(name)
    if unsuitable is not None:
        raise SetupRefused(f"{name}: {unsuitable.reason}", unsuitable.remedy)
    first, *others = USES.get(name, (name,))
    own_name = f"iampass-{name}"
    template = own_name if name == "su" else "iampass-service"
    content = _template(paths, f"{_family(paths)}/{template}").replace(b"SERVICE", first.encode())
    own = WantedFile(paths.pam / own_name, content, 0o644, False)
    also = {other: path for other in others for path in [_path(paths, other)] if path}
    asking = [other for other, path in also.items() if _asks(path, own_name)]
    edited = (_edited(paths, each, own_name) for each in (first, *asking))
    return WantedService(name, "", first, tuple(also), own_name, (own, *edited))


def _path(paths: Paths, name: str) -> Path | None:
    """The file of a PAM service that libpam reads."""
    return next((path for path in (paths.pam / name, *paths.vendor(name)) if path.exists()), None)


def _asks(path: Path, own_name: str) -> bool:
    """Whether a PAM file asks for the password, or includes our file since setup has changed it."""
    text = (take(path).content or b"").decode("utf-8", "surrogateescape")
    return own_name in text.split() or bool(FIRST_FACTOR.search(text))


def _sshd(choice: str, paths: Paths, chooses_service: bool, settings: Settings | None) -> WantedService:
    suffix = "" if choice == KEY else f"-{choice}"
    own_name = f"iampass-sshd{suffix}"
    pam_service = own_name if chooses_service else "sshd"
    drop_in = _template(paths, f"sshd_config.d/10-iampass{suffix}.conf")
    exempt, spared = ExemptSettings(), SshdExceptions()
    if settings is not None and choice in EXEMPT_METHODS:
        of_service = settings.for_service(pam_service)
        exempt, spared = of_service.exempt, exceptions(of_service)
        drop_in += spared.blocks(EXEMPT_METHODS[choice]).encode()
    edits: tuple[WantedFile, ...] = ()
    if not chooses_service:
        lines = drop_in.split(b"\n")
        drop_in = b"\n".join(line for line in lines if b"PAMServiceName" not in line)
        _refuse_both(paths, choice)
        edits = (
            _edited(paths, "sshd", own_name, *(("account",) if choice == QUIET else ("auth", "account"))),
        )
    enforcing = WantedFile(paths.sshd_drop_ins / "10-iampass.conf", drop_in, 0o644, True)
    files = (_own(paths, own_name), enforcing, *edits)
    return WantedService("sshd", choice, pam_service, (), own_name, files, exempt, spared)


def _refuse_both(paths: Paths, choice: str) -> None:
    """Refuse to edit a second line of /etc/pam.d/sshd: a record of setup can restore one."""
    words = (take(paths.pam / "sshd").content or b"").split()
    others = (b"iampass-sshd", b"iampass-sshd-password") if choice == QUIET else (b"iampass-sshd-quiet",)
    if any(other in words for other in others):
        what = f"{paths.pam / 'sshd'}: asks the phone in the other way"
        raise SetupRefused(what, "run pam-iampass setup undo sshd first")


def _own(paths: Paths, name: str) -> WantedFile:
    return WantedFile(paths.pam / name, _template(paths, f"{_family(paths)}/{name}"), 0o644, False)


def _family(paths: Paths) -> str:
    """The folder of the templates that fit this machine's PAM files."""
    for shared, family in (("common-auth", "pam.d"), ("system-auth", "pam.d-redhat")):
        if (paths.pam / shared).exists():
            return family
    remedy = "write your own PAM files; config/pam.d of the source has examples"
    raise SetupRefused(f"{paths.pam}: has neither common-auth (Debian) nor system-auth (Red Hat)", remedy)


def _template(paths: Paths, name: str) -> bytes:
    try:
        return (paths.templates / name).read_bytes()
    except FileNotFoundError:
        raise SetupRefused(f"{paths.templates / name}: no such file", "reinstall pam-iampass") from None


def _edited(paths: Paths, name: str, own_name: str, *kinds: str) -> WantedFile:
    """The file of a PAM service, with our file included in place of the lines that include the shared ones."""
    path, heading = paths.pam / name, ""
    content = take(path).content
    vendor = next((file for file in paths.vendor(name) if file.exists()), None)
    if vendor is not None and (content is None or content.startswith(_COPY.format(vendor).encode())):
        content, heading = take(vendor).content, _COPY.format(vendor)
    if content is None:
        remedy = "install the package that contains it; ls /etc/pam.d /usr/lib/pam.d shows all PAM services"
        raise SetupRefused(f"{path}: no such file", remedy)
    text, edits = content.decode("utf-8", "surrogateescape"), []
    for kind in kinds or ("auth",):
        text, including = included(path, text, own_name, kind)
        edits.append(including)
    text, attaching = with_session(text)
    made = tuple(edit for edit in (*edits, attaching) if edit is not None and not heading)
    return WantedFile(path, (heading + text).encode("utf-8", "surrogateescape"), 0o644, True, made)
