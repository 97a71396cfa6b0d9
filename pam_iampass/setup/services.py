"""Which files make each service ask the phone.

Two kinds: PAM service files of our own, which nothing reads until they are chosen, and the *enforcing* ones, which
choose them: a drop-in of sshd or sudo, or where there is no such thing one line of another package's PAM file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.setup.errors import Refused
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
    """A file as it shall be."""

    path: Path
    content: bytes
    mode: int
    """For a file that is new; one that is there keeps its permissions."""
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
    """Other PAM services that the program may use, and that come to the same: `su-l` for `su -`."""
    own_file: str
    """The name of our PAM service file, with all that is asked."""
    files: tuple[WantedFile, ...]


def wanted(name: str, choice: str, places: Paths, *, chooses_service: bool) -> WantedService:
    """The files of a service. `chooses_service`: whether this sshd knows PAMServiceName.

    Raises Refused where the machine's PAM files are not understood, or a template is missing.
    """
    if name == "sshd":
        return _sshd(choice, places, chooses_service)
    if name == "sudo":
        own = _own(places, "iampass-sudo")
        drop_in = _template(places, "sudoers.d/iampass")
        enforcing = WantedFile(places.sudoers_drop_ins / "iampass", drop_in, 0o440, True)
        return WantedService(name, "", "iampass-sudo", (), "iampass-sudo", (own, enforcing))
    own = _own(places, "iampass-su")
    also = tuple(other for other in ("su-l",) if (places.pam / other).exists())
    return WantedService(name, "", "su", also, "iampass-su", (own, _edited(places.pam / "su", "iampass-su")))


def _sshd(choice: str, places: Paths, chooses_service: bool) -> WantedService:
    suffix = "-password" if choice == PASSWORD else ""
    own_name = f"iampass-sshd{suffix}"
    drop_in = _template(places, f"sshd_config.d/10-iampass{suffix}.conf")
    edits: tuple[WantedFile, ...] = ()
    if not chooses_service:
        lines = drop_in.split(b"\n")
        drop_in = b"\n".join(line for line in lines if b"PAMServiceName" not in line)
        edits = (_edited(places.pam / "sshd", own_name),)
    enforcing = WantedFile(places.sshd_drop_ins / "10-iampass.conf", drop_in, 0o644, True)
    pam_service = own_name if chooses_service else "sshd"
    return WantedService(
        "sshd", choice, pam_service, (), own_name, (_own(places, own_name), enforcing, *edits)
    )


def _own(places: Paths, name: str) -> WantedFile:
    return WantedFile(places.pam / name, _template(places, f"{_family(places)}/{name}"), 0o644, False)


def _family(places: Paths) -> str:
    """The folder of templates that fit this machine's PAM files."""
    for shared, family in (("common-auth", "pam.d"), ("system-auth", "pam.d-redhat")):
        if (places.pam / shared).exists():
            return family
    remedy = "write PAM files of your own with the help of config/pam.d of the source"
    raise Refused(f"{places.pam}: has neither common-auth (Debian) nor system-auth (Red Hat)", remedy)


def _template(places: Paths, name: str) -> bytes:
    try:
        return (places.templates / name).read_bytes()
    except FileNotFoundError:
        raise Refused(f"{places.templates / name}: is not there", "install pam-iampass anew") from None


def _edited(path: Path, own_name: str) -> WantedFile:
    """Another package's file with the line that asks for the password replaced by an inclusion of ours."""
    content = take(path).content
    if content is None:
        raise Refused(f"{path}: is not there", "install the package that it belongs to")
    text = content.decode("utf-8", "surrogateescape")
    instead = f"auth       include      {own_name}"
    if instead in text.split("\n"):
        return WantedFile(path, content, 0o644, True)
    found = list(_FIRST_FACTOR.finditer(text))
    if len(found) != 1:
        line = "@include common-auth" if _family_is_debian(text) else "auth substack system-auth"
        raise Refused(
            f"{path}: {'more than one line asks' if found else 'no line asks'} for the password as usual ({line})",
            f"put `{instead}` where the password is asked, by hand, and /etc/pam.d/{own_name} in its place",
        )
    line = found[0].group()
    # A file that chose another of our stacks, or none of ours, is changed in this one line alone.
    new = text[: found[0].start()] + instead + text[found[0].end() :]
    edit = LineEdit(line, instead)
    return WantedFile(path, new.encode("utf-8", "surrogateescape"), 0o644, True, edit)


def _family_is_debian(text: str) -> bool:
    return "@include" in text


def unedited(content: bytes, edit: LineEdit) -> bytes | None:
    """The content with an edit taken back, whatever else has changed since; None where its line is not there once."""
    lines = content.split(b"\n")
    instead = edit.instead.encode()
    if lines.count(instead) != 1:
        return None
    lines[lines.index(instead)] = edit.line.encode("utf-8", "surrogateescape")
    return b"\n".join(lines)
