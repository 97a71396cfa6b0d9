"""The problems of sudo."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from pam_iampass.doctor.catalogue import finding
from pam_iampass.doctor.stacks import Stacks
from pam_iampass.doctor.sudo_loopholes import loopholes
from pam_iampass.errors import Problem
from pam_iampass.pam.modules import is_pam_python
from pam_iampass.system import sudoers
from pam_iampass.system.programs import CommandUnavailable
from pam_iampass.system.sudo_accounts import sudo_accounts
from pam_iampass.system.sudoers import Sudoers

_DANGEROUS = frozenset(("PATH", "HOME", "LD_PRELOAD", "LD_LIBRARY_PATH"))
"""Variables of the caller that make an interpreter load other code, besides those that begin with PYTHON."""


class SudoersRejected(Exception):
    """visudo rejects sudo's configuration."""


def checked_sudoers() -> Sudoers:
    """The contents of sudoers. Raises SudoersRejected and CommandUnavailable."""
    result = sudoers.check()
    text = result.errors + result.output
    # visudo wants mode 0440; sudo itself accepts any file that nobody else can write.
    if not result.ok and "bad permissions" not in text:
        what = f"visudo -c: {result.complaint}"
        if "ermission denied" in text:
            raise CommandUnavailable(what, "run it as root")
        raise SudoersRejected(what)
    return sudoers.read(checked=result)


@dataclass(frozen=True)
class SudoCheck:
    """sudoers, and the stacks that sudo uses."""

    sudoers: Sudoers
    stacks: Stacks
    without_phone: Callable[[Iterable[str]], frozenset[str]]
    """Of some users, those who need no phone according to the settings and the user table."""
    more: Iterable[str] = ()
    """Users whom NSS may not list."""
    named: str | None = None
    """The user that the command line names."""

    def findings(self) -> Iterator[Problem]:
        """Everything that is wrong."""
        services = {"pam_service": self.sudoers.service, "pam_login_service": self.sudoers.login_service}
        for setting in services:
            if self.sudoers.text(setting) is not None and self.stacks.files.path(services[setting]) is None:
                yield finding(
                    "service-file-missing",
                    "sudo",
                    f"sudoers: {setting}={services[setting]}",
                    name=services[setting],
                    setting=setting,
                )
        if not self.stacks.asks(services["pam_service"]):
            where = f"{self.stacks.files.path(services['pam_service'])} does not name pam_iampass"
            yield finding("sudo-unprotected", "sudo", where)
            return
        yield from self._login_shell(services["pam_service"], services["pam_login_service"])
        yield from self._environment([name for name in services.values() if self.stacks.asks(name)])
        yield from self._loopholes()

    def _loopholes(self) -> Iterator[Problem]:
        accounts = sudo_accounts(self.sudoers, self.more)
        wanted = (account for account in accounts if self.named in (None, account.name))
        found = loopholes(self.sudoers, wanted, self.stacks.asks)
        spared = self.without_phone({user for loophole in found for user in loophole.users}) if found else ()
        for loophole in found:
            users = tuple(user for user in loophole.users if user not in spared)
            if users:
                yield replace(loophole, users=users).finding

    def _login_shell(self, service: str, login: str) -> Iterator[Problem]:
        if not self.stacks.asks(login):
            yield finding(
                "sibling-unprotected",
                "sudo",
                f"PAM service {service} names pam_iampass, {login} does not",
                asking="sudo",
                other="sudo -i",
                remedy=f"In sudoers write Defaults pam_login_service={service}",
            )

    def _environment(self, services: list[str]) -> Iterator[Problem]:
        interpreter = any(
            is_pam_python(handler) for name in services for handler in self.stacks.with_us[name].stack
        )
        secure_path = self.sudoers.text("secure_path") is not None
        if not interpreter:
            if not secure_path:
                yield finding("sudo-no-secure-path", "sudo", "cvtsudoers: no secure_path")
            return
        kept = sorted(
            name
            for name in self.sudoers.listed("env_keep")
            if name in _DANGEROUS or name.startswith("PYTHON") or name in ("*", "LD_*")
        )
        faults = [
            *(["no secure_path"] if not secure_path else []),
            *(["!env_reset"] if self.sudoers.is_off("env_reset") else []),
            *(f"env_keep of {name}" for name in kept),
        ]
        if faults:
            what = ", ".join(faults)
            yield finding("sudo-environment", "sudo", f"cvtsudoers: {what}", what=what)
