"""What is wrong with sudo's and su's side of a login."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pam_iampass.doctor.catalogue import KINDS
from pam_iampass.doctor.finding import Finding, names
from pam_iampass.doctor.stacks import Stacks
from pam_iampass.doctor.sudoers import Sudoers
from pam_iampass.pam.behaviour import is_pam_python

_DANGEROUS = frozenset(("PATH", "HOME", "LD_PRELOAD", "LD_LIBRARY_PATH"))
"""What, kept from the caller, leads an interpreter astray; and whatever begins with PYTHON."""


@dataclass(frozen=True)
class SudoExamination:
    """sudoers, and the stacks that sudo comes to."""

    sudoers: Sudoers
    stacks: Stacks

    def findings(self) -> Iterator[Finding]:
        """Everything that is wrong."""
        services = {"pam_service": self.sudoers.service, "pam_login_service": self.sudoers.login_service}
        set_by_hand = [name for name in services if self.sudoers.text(name) is not None]
        for setting in set_by_hand:
            if self.stacks.files.path(services[setting]) is None:
                yield Finding.of(
                    KINDS["service-file-missing"],
                    "sudo",
                    f"sudoers: {setting}={services[setting]}",
                    name=services[setting],
                    setting=setting,
                )
        if not self.stacks.asks(services["pam_service"]):
            where = f"{self.stacks.files.path(services['pam_service'])} does not name pam_iampass"
            yield Finding.of(KINDS["sudo-unprotected"], "sudo", where)
            return
        yield from self._login_shell(services["pam_service"], services["pam_login_service"])
        yield from self._environment([name for name in services.values() if self.stacks.asks(name)])
        if self.sudoers.without_password:
            yield Finding.of(
                KINDS["sudo-no-password"],
                "sudo",
                "cvtsudoers: authenticate is off",
                names=names(self.sudoers.without_password),
            )

    def _login_shell(self, service: str, login: str) -> Iterator[Finding]:
        if not self.stacks.asks(login):
            yield Finding.of(
                KINDS["sibling-unprotected"],
                "sudo",
                f"PAM service {service} names pam_iampass, {login} does not",
                asking="sudo",
                other="sudo -i",
                remedy=f"In sudoers write Defaults pam_login_service={service}",
            )

    def _environment(self, services: list[str]) -> Iterator[Finding]:
        interpreter = any(
            is_pam_python(handler) for name in services for handler in self.stacks.with_us[name].stack
        )
        secure_path = self.sudoers.text("secure_path") is not None
        if not interpreter:
            if not secure_path:
                yield Finding.of(KINDS["sudo-no-secure-path"], "sudo", "cvtsudoers: no secure_path")
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
            yield Finding.of(KINDS["sudo-environment"], "sudo", f"cvtsudoers: {what}", what=what)


def su_findings(stacks: Stacks) -> Iterator[Finding]:
    """Whether `su -` goes round what `su` asks, where the system has a service for it."""
    if stacks.asks("su") and "su-l" in stacks.services and not stacks.asks("su-l"):
        yield Finding.of(
            KINDS["sibling-unprotected"],
            "su",
            f"{stacks.files.path('su')} names pam_iampass, {stacks.files.path('su-l')} does not",
            asking="su",
            other="su -",
            remedy="Put the same auth lines into su-l",
        )
