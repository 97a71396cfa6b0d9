"""The PAM stacks of the machine: which name us, and how they were before `setup`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from pam_iampass.check.catalogue import finding
from pam_iampass.check.stack_check import CALLED_BY_PEOPLE, AccountCheck, StackCheck, SudoAccountCheck
from pam_iampass.errors import Problem
from pam_iampass.outcome import PamCode
from pam_iampass.pam.lines import CODES, Action, is_edited, unedited
from pam_iampass.pam.modules import asks_always, is_ours, our_lines, takes_code
from pam_iampass.pam.stack import Handler, HandlerKind, PamFiles, PamService, PamType, UnusableService

_LIBRARIES = ("/usr/lib/*/security", "/lib/*/security", "/usr/lib64/security", "/usr/lib/security")
SET_UID = CALLED_BY_PEOPLE | {"polkit-1", "pkexec"}
_SHARED = re.compile(r"(common-|.*-auth(-ac)?$|.*-(ac|pc)$|system-|postlogin|password-auth)")
"""Files for other files to include, not for applications."""


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
        for name in self.files.names(self.applications):
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
        """The services whose `account` stack names us, which counts in sshd and, if it asks always, in sudo."""
        found = {}
        for name, service in self.services.items():
            if isinstance(service, PamService) and (lines := our_lines(service, PamType.ACCOUNT)):
                stack = service.stacks[PamType.ACCOUNT]
                kind = SudoAccountCheck if asks_always(lines[0]) else AccountCheck
                found[name] = kind(name, stack, self.missing(stack), self.files.dialect)
        return found

    def asks_always(self, name: str) -> bool:
        """Whether sudo asks for every command by this service: `setup sudo --always`."""
        return isinstance(self.with_us_in_account.get(name), SudoAccountCheck)

    def auth_stack(self, name: str) -> Sequence[Handler]:
        """The `auth` stack of a service; empty if it cannot be read."""
        return self._stack(name, PamType.AUTH)

    def account_stack(self, name: str) -> Sequence[Handler]:
        """The `account` stack of a service; empty if it cannot be read."""
        return self._stack(name, PamType.ACCOUNT)

    def session_stack(self, name: str) -> Sequence[Handler]:
        """The `session` stack of a service; empty if it cannot be read."""
        return self._stack(name, PamType.SESSION)

    def _stack(self, name: str, kind: PamType) -> Sequence[Handler]:
        service = self.services.get(name)
        return service.stacks[kind] if isinstance(service, PamService) else ()

    def asks(self, name: str, *, in_sshd: bool = False) -> bool:
        """Whether the service's `auth` stack names us or, in sshd, its `account` stack."""
        return name in self.with_us or (in_sshd and name in self.with_us_in_account)

    def takes_code(self, name: str) -> bool:
        """Whether the service's `auth` stack first takes a recovery code and, if it could ask for one, ends there."""
        stack = self.auth_stack(name)
        return bool(stack) and takes_code(stack[0]) and stack[0].actions[PamCode.MAXTRIES] is Action.DIE

    def lets_in_unasked(self, name: str) -> bool:
        """Whether a service lets in users whose phone denies, or is not asked. False if it cannot be read."""
        service = self.services.get(name)
        return isinstance(service, PamService) and self._check(service).lets_in_unasked

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

    def _check(self, service: PamService) -> StackCheck:
        stack = service.stacks[PamType.AUTH]
        return StackCheck(service.name, stack, self.missing(stack), self.files.dialect)

    def missing(self, stack: Sequence[Handler]) -> frozenset[str]:
        """The modules of a stack that are not installed, as its lines name them."""
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
        return name == "other" or bool(shared)
