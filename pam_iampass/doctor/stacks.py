"""The PAM stacks of the machine that name us, and their problems."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from pam_iampass.doctor.catalogue import finding
from pam_iampass.doctor.stack_check import CALLED_BY_PEOPLE, AccountCheck, StackCheck
from pam_iampass.errors import Problem, Severity, shown
from pam_iampass.login.context import ModuleArguments
from pam_iampass.pam.lines import CODES, Action, is_edited, unedited
from pam_iampass.pam.modules import is_ours, is_pam_python, our_lines, own_arguments
from pam_iampass.pam.services import UNPRIVILEGED
from pam_iampass.pam.stack import Handler, HandlerKind, PamFiles, PamService, PamType, UnusableService

_LIBRARIES = ("/usr/lib/*/security", "/lib/*/security", "/usr/lib64/security", "/usr/lib/security")
SET_UID = CALLED_BY_PEOPLE | {"polkit-1", "pkexec"}
_SHARED = re.compile(r"(common-|.*-auth(-ac)?$|.*-(ac|pc)$|system-|postlogin|password-auth)")
"""Files for other files to include, not for applications."""
_LEFT_BEHIND = re.compile(r".*(~|\.(bak|old|orig|new|save|dpkg-\w+|rpm\w+|ucf-\w+|pam-\w+))$")


def unauthenticated(name: str, etc: Path) -> Iterator[Problem]:
    """The logins through a PAM service that never reach its `auth` lines, and so never the phone.

    Those of cockpit are possible or not, as its settings below `etc` say.
    """
    remedies: dict[str, str] = {}
    if name == "tigervnc":
        remedies["with a password of VNC"] = "let VNC listen on this machine only, and reach it by ssh"
    elif name == "cockpit":
        file = etc / "cockpit/cockpit.conf"
        settings = _of_cockpit(file)
        certificates = settings.get(("webservice", "clientcertauthentication"), "").lower()
        if _has_keytab(etc) and settings.get(("negotiate", "action")) != "none":
            remedies["with a Kerberos ticket"] = f"in {file}, below [negotiate]: action = none"
        if certificates in ("yes", "true", "1") and settings.get(("tls-cert", "action")) != "none":
            remedies["with a client certificate"] = f"in {file}: ClientCertAuthentication = false"
    severity = Severity.ERROR if name == "cockpit" else Severity.WARNING
    for how, remedy in remedies.items():
        evidence = f"its program opens the session {how} without pam_authenticate"
        yield finding("stack-not-called", name, evidence, severity, service=name, how=how, remedy=remedy)


def _has_keytab(etc: Path) -> bool:
    """Whether cockpit may find a keytab, without which it accepts no ticket. krb5.conf(5) can name another one."""
    files = [etc / "krb5.conf", *(etc / "krb5.conf.d").glob("*")]
    named = any(
        "default_keytab_name" in file.read_text("utf-8", "replace") for file in files if file.is_file()
    )
    return named or any((etc / keytab).exists() for keytab in ("cockpit/krb5.keytab", "krb5.keytab"))


def _of_cockpit(file: Path) -> dict[tuple[str, str], str]:
    """The settings of cockpit.conf(5) by section and key, in lower case.

    As cockpit reads them: a file with an invalid line is not heeded at all, and a value goes on to the end of its line.
    """
    settings, section = {}, ""
    text = file.read_bytes().decode("utf-8", "replace") if file.is_file() else ""
    for line in text.split("\n"):
        if found := re.fullmatch(r"\s*\[([^][\0-\x1f]+)\]\s*", line, re.ASCII):
            section = found[1].lower()
        elif section and (found := re.fullmatch(r"\s*([A-Za-z0-9-]+)\s*=\s*(.*)", line, re.ASCII)):
            settings[section, found[1].lower()] = found[2]
        elif not re.fullmatch(r"\s*(#.*)?", line, re.ASCII):
            return {}
    return settings


def module_folders() -> list[Path]:
    """The folders of libpam's modules on this machine."""
    found = [place for pattern in _LIBRARIES for place in sorted(Path("/").glob(pattern[1:]))]
    return [place for place in found if any(place.glob("pam_*.so"))]


@dataclass(frozen=True)
class Stacks:
    """All stacks of the machine. `applications` are the services that sshd and sudo use."""

    files: PamFiles
    modules: Sequence[Path]
    applications: frozenset[str]
    set_uid: frozenset[str] = SET_UID
    unread: list[str] = field(default_factory=list)
    """Services that this process cannot read, and why; filled in by `services`."""

    @cached_property
    def services(self) -> dict[str, PamService | UnusableService]:
        """Every service that an application may use, by name. Raises OSError if a folder cannot be read."""
        found: dict[str, PamService | UnusableService] = {}
        for name in self.files.names():
            if name in self.applications or not self._is_no_service(name):
                try:
                    found[name] = self._read(name)
                except OSError as error:
                    self.unread.append(f"PAM service {name}: {error.filename}: {error.strerror}")
        return found

    @cached_property
    def with_us(self) -> dict[str, StackCheck]:
        """The services whose `auth` stack names us."""
        found = {}
        for name, service in self.services.items():
            if isinstance(service, PamService) and any(map(is_ours, service.stacks[PamType.AUTH])):
                found[name] = self._check(service)
        return found

    @cached_property
    def with_us_in_account(self) -> dict[str, AccountCheck]:
        """The services whose `account` stack names us, which counts in sshd only."""
        found = {}
        for name, service in self.services.items():
            if isinstance(service, PamService) and our_lines(service, PamType.ACCOUNT):
                stack = service.stacks[PamType.ACCOUNT]
                found[name] = AccountCheck(name, stack, self._missing(stack), self.files.dialect)
        return found

    def auth_stack(self, name: str) -> Sequence[Handler]:
        """The `auth` stack of a service; empty if it cannot be read."""
        return self._stack(name, PamType.AUTH)

    def session_stack(self, name: str) -> Sequence[Handler]:
        """The `session` stack of a service; empty if it cannot be read."""
        return self._stack(name, PamType.SESSION)

    def _stack(self, name: str, kind: PamType) -> Sequence[Handler]:
        service = self.services.get(name)
        return service.stacks[kind] if isinstance(service, PamService) else ()

    def asks(self, name: str, *, in_sshd: bool = False) -> bool:
        """Whether the service's `auth` stack names us or, in sshd, its `account` stack."""
        return name in self.with_us or (in_sshd and name in self.with_us_in_account)

    def lets_in_unasked(self, name: str) -> bool:
        """Whether a service lets in users whose phone denies, or is not asked. False if it cannot be read."""
        service = self.services.get(name)
        return isinstance(service, PamService) and self._check(service).lets_in_unasked

    def findings(self, sshd_service: str | None) -> Iterator[Problem]:
        """Everything that is wrong. Raises OSError."""
        for name, service in self.services.items():
            if isinstance(service, UnusableService):
                if any("pam_iampass" in text for text in self.files.texts(name)):
                    yield finding("pam-broken", name, str(service))
            else:
                yield from self._of_service(name, service, sshd_service)
        if not self.with_us and sshd_service not in self.with_us_in_account:
            yield finding("nothing-asks", "pam", f"{len(self.services)} services were checked")

    def lost_refusals(self, name: str) -> Iterator[Problem]:
        """The lines of a service that kept logins out, and no longer do because of ours; and whether the simulation of
        the service is incomplete."""
        checks = {PamType.AUTH: self.with_us.get(name), PamType.ACCOUNT: self.with_us_in_account.get(name)}
        before = self._without_us(name)
        for kind, check in checks.items():
            if check is None:
                continue
            yield from check.left_out(before[kind])
            for line in check.lost_refusals(before[kind]):
                yield finding("refusal-lost", name, str(line), place=line.place, service=name)

    def _without_us(self, name: str) -> dict[PamType, list[Handler]]:
        """The stacks of a service as they were before setup, and without a say of lines of ours that others wrote."""
        service = self.services[name]
        if not isinstance(service, PamService):
            return {kind: [] for kind in PamType}
        texts = {file: self.files.content(file)[0] for file in service.files}
        edited = {file: unedited(text) for file, text in texts.items() if is_edited(text)}
        with suppress(UnusableService):  # a person may have changed what setup has put out of force
            service = self.files.with_contents(edited).service(name)
        silent = (Action.IGNORE,) * len(CODES)
        return {
            kind: [replace(one, actions=silent) if is_ours(one) else one for one in stack]
            for kind, stack in service.stacks.items()
        }

    def _of_service(self, name: str, service: PamService, sshd_service: str | None) -> Iterator[Problem]:
        in_account = self.with_us_in_account.get(name) if name == sshd_service else None
        yield from self.lost_refusals(name)
        if in_account is not None:
            yield from self._modules(name, in_account.stack)
            yield from in_account.findings()
        if name not in self.with_us:
            if in_account is not None:
                return
            in_session = service.stacks[PamType.SESSION]  # a service may have it from a file that it includes
            elsewhere = [one for one in service.handlers if is_ours(one) and one not in in_session]
            if elsewhere:
                yield finding("stack-no-auth", name, str(elsewhere[0]), place=elsewhere[0].place)
            return
        for error in service.errors:
            yield finding("pam-fault", name, error)
        yield from unauthenticated(name, self.files.folders[0].parent)
        if UNPRIVILEGED.names.fullmatch(name):
            yield finding("stack-unprivileged", name, str(self.with_us[name].ours), service=name)
        yield from self._modules(name, service.stacks[PamType.AUTH])
        yield from self.with_us[name].findings(fresh_setcred=name == sshd_service)
        if name != sshd_service and self.with_us[name].phone_alone and not self.with_us[name].demands_key:
            yield finding("stack-phone-only", name, str(self.with_us[name].ours))

    def _modules(self, name: str, stack: Sequence[Handler]) -> Iterator[Problem]:
        missing = self._missing(stack)
        for handler in dict.fromkeys(one for one in stack if one.kind is HandlerKind.MODULE):
            if handler.path in missing and (is_ours(handler) or not handler.text.startswith("-")):
                kind = "module-missing" if is_ours(handler) else "other-module-missing"
                yield finding(kind, name, str(handler), module=handler.name)
            if is_ours(handler):
                yield from self._of_our_line(name, handler)

    def _of_our_line(self, name: str, handler: Handler) -> Iterator[Problem]:
        unknown = ModuleArguments.parse(["pam_iampass", *own_arguments(handler)]).unknown
        if unknown:
            yield finding("module-argument", name, str(handler), arguments=", ".join(map(shown, unknown)))
        if is_pam_python(handler):
            script = Path(handler.arguments[0])
            if not script.is_file():
                yield finding("module-missing", name, str(handler), module=script.name)
            if name in self.set_uid:
                yield finding("pam-python-set-uid", name, str(handler), place=handler.place)
            elif any((folder / "pam_iampass.so").exists() for folder in self.modules):
                yield finding("pam-python-needless", name, str(handler), place=handler.place)

    def _check(self, service: PamService) -> StackCheck:
        stack = service.stacks[PamType.AUTH]
        return StackCheck(service.name, stack, self._missing(stack), self.files.dialect)

    def _missing(self, stack: Sequence[Handler]) -> frozenset[str]:
        paths = {handler.path for handler in stack if handler.kind is HandlerKind.MODULE}
        return frozenset(path for path in paths if not self._is_there(path))

    def _is_there(self, path: str) -> bool:
        spellings = {path, path.replace("$ISA", "."), path.replace("$ISA/", "")}
        if path.startswith("/"):
            return any(Path(one).exists() for one in spellings)
        return any((folder / one).exists() for folder in self.modules for one in spellings)

    def _read(self, name: str) -> PamService | UnusableService:
        try:
            return self.files.service(name)
        except UnusableService as error:
            return error

    def _is_no_service(self, name: str) -> bool:
        shared = _SHARED.match(name) and name not in self.set_uid
        return name == "other" or bool(_LEFT_BEHIND.match(name)) or bool(shared)
