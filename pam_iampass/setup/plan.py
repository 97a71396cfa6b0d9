"""The changes for a service to ask the phone: the files that it needs, compared with the files that exist.

They are the PAM files of its program, with our lines in them, and for sshd with a prompt or with recovery codes also a
drop-in of sshd_config. A file in /usr/lib/pam.d stays as it is: one in /etc/pam.d overrides it, and includes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

from pam_iampass.config.settings import ExemptSettings, Settings
from pam_iampass.config.sshd_exceptions import SshdExceptions, exceptions
from pam_iampass.errors import FileEdited, SetupRefused
from pam_iampass.pam.lines import is_edited, unedited
from pam_iampass.pam.modules import Role, is_ours, role
from pam_iampass.pam.services import USES, why_unsuitable
from pam_iampass.pam.stack import PamFiles, PamType, UnusableService
from pam_iampass.setup.edits import CODES, KEY, PASSWORD, arguments, including, with_us
from pam_iampass.setup.files import Change, Paths, Snapshot, content_of, diff, take, text_of
from pam_iampass.setup.manifest import FileRecord, ServiceRecord

SERVICES = ("sshd", "sudo", "su")
"""The services whose status is always shown; every other PAM service can be set up as well."""

EXEMPT_METHODS = {KEY: "publickey", PASSWORD: "publickey keyboard-interactive:pam"}
"""The methods that sshd demands of exempt accounts (AuthenticationMethods) in the ways with a prompt."""

_DROP_INS = {KEY: "10-iampass.conf", PASSWORD: "10-iampass-password.conf", CODES: "10-iampass-codes.conf"}
_METHODS = re.compile(rb"^AuthenticationMethods .*", re.M)


@dataclass(frozen=True)
class WantedFile:
    """A file that a service needs."""

    path: Path
    content: bytes
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
    """The logins that sshd spares the prompt: the exempt ones."""

    @property
    def pam_texts(self) -> dict[Path, str]:
        """The PAM files with our lines in them, with their new texts."""
        return {file.path: text_of(file.content) for file in self.files if file.edited}


@dataclass(frozen=True)
class Plan:
    """All changes for one service, in order."""

    service: WantedService
    changes: tuple[Change, ...]
    during: ServiceRecord
    """The record while the changes are made: everything that may be found if they are interrupted."""
    after: ServiceRecord
    """The record once they are made."""


def wanted(
    name: str,
    choice: str,
    paths: Paths,
    settings: Settings | None = None,
    written: Mapping[Path, str] | None = None,
    methods: str = "",
) -> WantedService:
    """The files of a service. `choice` is a way of sshd or sudo, `settings` say who is exempt. `methods` is the value
    of AuthenticationMethods for the way with codes; empty for the one in its template.

    What a person has added to our lines (`rescue=NAME`) is kept: as it is in the file or, if that has lost our lines,
    as it was in what was `written`.

    Raises SetupRefused if the service must not ask the phone, if its PAM file is not understood, or if a template is
    missing; UntrustedFile.
    """
    unsuitable = why_unsuitable(name)
    if unsuitable is not None:
        raise SetupRefused(f"{name}: {unsuitable.reason}", unsuitable.remedy)
    there = paths.pam_files()
    names = [one for one in USES.get(name, (name,)) if one == name or there.path(one)]
    edited: list[WantedFile] = []
    for one in names:
        files = paths.pam_files({file.path: text_of(file.content) for file in edited})
        if one == name or _needs_lines(files, one):
            edited.append(
                _with_our_lines(paths, one, choice, files, (written or {}).get(paths.pam / one, ""))
            )
    if choice not in _DROP_INS:
        return WantedService(name, choice, tuple(names), tuple(edited))
    template = paths.templates / "sshd_config.d" / _DROP_INS[choice]
    try:
        drop_in = template.read_bytes()
    except FileNotFoundError:
        raise SetupRefused(f"{template}: no such file", "reinstall pam-iampass") from None
    if methods:
        drop_in = _METHODS.sub(lambda _: f"AuthenticationMethods {methods}".encode(), drop_in)
    exempt, spared = ExemptSettings(), SshdExceptions()
    if settings is not None and choice in EXEMPT_METHODS:
        of_service = settings.for_service(name)
        exempt, spared = of_service.exempt, exceptions(of_service)
        drop_in += spared.blocks(EXEMPT_METHODS[choice]).encode()
    ours = WantedFile(paths.sshd_drop_ins / "10-iampass.conf", drop_in, edited=False)
    return WantedService(name, choice, tuple(names), (*edited, ours), exempt, spared)


def _with_our_lines(paths: Paths, name: str, choice: str, files: PamFiles, written: str) -> WantedFile:
    """The PAM file of a service with our lines."""
    path, source = paths.pam / name, files.path(name)
    if source is None:
        near = get_close_matches(name, [other for other in files.names() if not why_unsuitable(other)], 1)
        remedy = "install the package that contains it; ls /etc/pam.d /usr/lib/pam.d shows all PAM services"
        if near:
            remedy = f"did you mean {near[0]}? if not, {remedy}"
        raise SetupRefused(f"{path}: no such file", remedy)
    own = source == path
    current = text_of(take(path).content)
    text = unedited(current) if own else including(source, files.dialect)
    kept = arguments(current if is_edited(current) else written)
    return WantedFile(path, content_of(with_us(path, text, files, choice, kept)))


def _needs_lines(files: PamFiles, name: str) -> bool:
    """Whether another service of the program asks for the password, and does not ask the phone by what it includes."""
    try:
        stack = files.service(name).stacks[PamType.AUTH]
    except UnusableService:
        return False
    if any(is_ours(handler) and handler.file != files.path(name) for handler in stack):
        return False
    return any(role(handler) is Role.FIRST_FACTOR for handler in stack)


def make(service: WantedService, earlier: ServiceRecord | None, now: float, *, force: bool = False) -> Plan:
    """The plan for a service. `earlier` is its record, None without one.

    Raises FileEdited for a file of ours that was edited, unless `force`.
    """
    known = {file.path: file for file in earlier.files} if earlier else {}
    changes, during, after = [], [], []
    for file in service.files:
        current = take(file.path)
        record = _record(file, current, known.pop(file.path, None), force)
        then = Snapshot(file.content) if current.content is None else replace(current, content=file.content)
        if current.content != file.content:
            changes.append(Change(file.path, current, then))
        during.append(record)
        after.append(replace(record, written=record.written[-1:]))
    for record in known.values():  # no longer needed, such as the drop-in of the way with a prompt
        current = take(record.path)
        restored = record.restored(current)
        if restored != current:
            _refuse_edited(record, current, force)
            changes.append(Change(record.path, current, restored))
        during.append(record)
    since = earlier.since if earlier and not changes else now
    return Plan(
        service,
        tuple(changes),
        ServiceRecord(service.choice, since, False, tuple(during)),
        ServiceRecord(service.choice, since, True, tuple(after)),
    )


def _record(file: WantedFile, current: Snapshot, earlier: FileRecord | None, force: bool) -> FileRecord:
    digest = str(Snapshot(file.content).digest)
    same = current.content == file.content
    if earlier is None:
        if not (same or current.content is None or file.edited or force):
            what = "exists already, with other content than setup would write"
            raise _file_edited(file.path, current, file.content, what)
        return FileRecord(file.path, current, (digest,), file.edited)
    if not same:
        _refuse_edited(earlier, current, force)
    written = (*(known for known in earlier.written if known != digest), digest)
    return replace(earlier, written=written)


def _refuse_edited(record: FileRecord, current: Snapshot, force: bool) -> None:
    if not (force or record.edited or record.knows(current)):
        raise _file_edited(record.path, current, record.before.content, "was changed after it was set up")


def _file_edited(path: Path, current: Snapshot, other: bytes | None, what: str) -> FileEdited:
    remedy = "move the file away, or use --force: a copy is kept below /var/lib/pam-iampass/setup"
    return FileEdited(f"{path}: {what}", remedy, diff(path, current.content, other))
