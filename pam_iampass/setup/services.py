"""Which files make a service ask the phone.

There are two kinds. Our own PAM files do nothing until they are chosen. The *enforcing* files choose them: a drop-in of
sshd or sudo or, if there is no such thing, one line of another package's PAM file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.setup.errors import SetupRefused
from pam_iampass.setup.manifest import LineEdit
from pam_iampass.setup.paths import Paths
from pam_iampass.setup.snapshot import take

SERVICES = ("sshd", "sudo", "su")
"""What can be set up."""

KEY, PASSWORD = "key", "password"
"""The first factor of sshd."""

_FIRST_FACTOR = re.compile(
    r"^(@include[ \t]+common-auth"
    r"|auth[ \t]+(substack|include)[ \t]+(system-auth|password-auth|iampass-sshd|iampass-sshd-password))[ \t]*$",
    re.M,
)


@dataclass(frozen=True)
class WantedFile:
    """A file that a service needs."""

    path: Path
    content: bytes
    mode: int
    """For a new file; an existing one keeps its permissions."""
    enforcing: bool
    edit: LineEdit | None = None


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


def wanted(name: str, choice: str, paths: Paths, *, chooses_service: bool) -> WantedService:
    """The files of a service. `chooses_service` says whether this sshd supports PAMServiceName.

    Raises SetupRefused if the machine's PAM files are not understood, or a template is missing.
    """
    if name == "sshd":
        return _sshd(choice, paths, chooses_service)
    if name == "sudo":
        own = _own(paths, "iampass-sudo")
        drop_in = _template(paths, "sudoers.d/iampass")
        enforcing = WantedFile(paths.sudoers_drop_ins / "iampass", drop_in, 0o440, True)
        return WantedService(name, "", "iampass-sudo", (), "iampass-sudo", (own, enforcing))
    own = _own(paths, "iampass-su")
    also = tuple(other for other in ("su-l",) if (paths.pam / other).exists())
    return WantedService(name, "", "su", also, "iampass-su", (own, _edited(paths.pam / "su", "iampass-su")))


def _sshd(choice: str, paths: Paths, chooses_service: bool) -> WantedService:
    suffix = "-password" if choice == PASSWORD else ""
    own_name = f"iampass-sshd{suffix}"
    drop_in = _template(paths, f"sshd_config.d/10-iampass{suffix}.conf")
    edits: tuple[WantedFile, ...] = ()
    if not chooses_service:
        lines = drop_in.split(b"\n")
        drop_in = b"\n".join(line for line in lines if b"PAMServiceName" not in line)
        edits = (_edited(paths.pam / "sshd", own_name),)
    enforcing = WantedFile(paths.sshd_drop_ins / "10-iampass.conf", drop_in, 0o644, True)
    pam_service = own_name if chooses_service else "sshd"
    files = (_own(paths, own_name), enforcing, *edits)
    return WantedService("sshd", choice, pam_service, (), own_name, files)


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


def _edited(path: Path, own_name: str) -> WantedFile:
    """Another package's file, with our file included in place of the line that asks for the password."""
    content = take(path).content
    if content is None:
        raise SetupRefused(f"{path}: no such file", "install the package that contains it")
    text = content.decode("utf-8", "surrogateescape")
    instead = f"auth       include      {own_name}"
    if instead in text.split("\n"):
        return WantedFile(path, content, 0o644, True)
    found = list(_FIRST_FACTOR.finditer(text))
    if len(found) != 1:
        line = "@include common-auth" if "@include" in text else "auth substack system-auth"
        number = "more than one line asks" if found else "no line asks"
        raise SetupRefused(
            f"{path}: {number} for the password in the usual way ({line})",
            f"by hand, replace the lines that ask with `{instead}`, and install our template as"
            f" /etc/pam.d/{own_name}",
        )
    (match,) = found
    new = text[: match.start()] + instead + text[match.end() :]
    edit = LineEdit(match.group(), instead)
    return WantedFile(path, new.encode("utf-8", "surrogateescape"), 0o644, True, edit)


def unedited(content: bytes | None, edit: LineEdit | None) -> bytes | None:
    """The content with an edit undone, whatever else has changed; None unless its line is there exactly once."""
    if content is None or edit is None:
        return None
    lines = content.split(b"\n")
    instead = edit.instead.encode()
    if lines.count(instead) != 1:
        return None
    lines[lines.index(instead)] = edit.line.encode("utf-8", "surrogateescape")
    return b"\n".join(lines)
