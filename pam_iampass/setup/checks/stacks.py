"""Whether the new stack does what it is for: the right password leads to the phone, and a wrong one nowhere."""

from __future__ import annotations

from collections.abc import Iterator

from pam_iampass.doctor.stacks import Stacks
from pam_iampass.errors import Severity
from pam_iampass.pam.dialect import dialect
from pam_iampass.pam.modules import our_lines
from pam_iampass.pam.services import why_unsuitable
from pam_iampass.pam.stack import Handler, PamFiles, PamType, UnusableService
from pam_iampass.setup.checks import CheckResult, error, fine, lockout, warning
from pam_iampass.setup.paths import Paths
from pam_iampass.setup.services import KEY, QUIET, WantedService

_NOT_MISSED = frozenset(
    f"pam_{name}.so"
    for name in (
        "env",
        "faildelay",
        "fprintd",
        "localuser",
        "permit",
        "succeed_if",
        "usertype",
        "systemd_home",
    )
)
"""Modules that decide nothing, or that a password replaces."""
_RINGS_IN_VAIN = ("stack-wrong-rings", "stack-rings-first")
_KNOWN = (
    *("sshd", "sudo", "sudo-rs", "su", "doas", "polkit-1", "login"),
    *("gdm-password", "lightdm", "sddm", "cockpit", "xrdp-sesman"),
)
"""Services whose programs ask as root."""


def simulated(service: WantedService, stacks: Stacks) -> Iterator[CheckResult]:
    """Doctor's findings for the stack: whether the right password leads to the phone, and a wrong one nowhere."""
    names = (service.pam_service, *(file.path.name for file in service.files if file.enforcing))
    checks = [stacks.with_us[name] for name in dict.fromkeys(names) if name in stacks.with_us]
    found = [each for check in checks for each in check.findings(fresh_setcred=service.name == "sshd")]
    if service.name == "sshd" and service.pam_service in stacks.with_us_in_account:
        found += stacks.with_us_in_account[service.pam_service].findings()
    for finding in found:
        what = f"PAM: {finding.key}: {finding.what} ({finding.evidence})"
        texts = [text.replace(*real_folder(stacks.files)) for text in (what, finding.remedy)]
        if finding.severity is Severity.ERROR or finding.kind in _RINGS_IN_VAIN:
            yield lockout(*texts)
        elif finding.severity is Severity.WARNING:
            yield warning(*texts)
    if not found and service.choice == QUIET:
        yield fine("PAM: in a simulation no account skips the phone, and a denial refuses every login")
    elif not found and service.choice != KEY:
        yield fine("PAM: in a simulation the right password leads to the phone, and a wrong one nowhere")


def others(service: WantedService, stacks: Stacks) -> Iterator[CheckResult]:
    """Other PAM services of the program that do not ask the phone, and of other programs that would ask it too."""
    for other in service.also:
        if not stacks.asks(other):
            what = f"PAM: {other} does not include {service.pam_service}: the phone is not asked there"
            yield warning(what, f"make /etc/pam.d/{other} include {service.pam_service}")
    for other, check in stacks.with_us.items():
        if check.ours.file.name != service.own_file or other in (service.pam_service, *service.also):
            continue
        unsuitable = why_unsuitable(other)
        if unsuitable is not None:
            what = f"PAM: {other} includes {service.pam_service}, and must not ask the phone: {unsuitable.reason}"
            yield lockout(what, f"make /etc/pam.d/{other} include common-auth or system-auth instead")
        else:
            yield warning(f"PAM: {other} includes {service.pam_service}: it asks the phone, too", "")
    if service.name not in _KNOWN:
        what = f"PAM: setup does not know the program that uses {service.pam_service}"
        yield warning(
            what, "root must run it, or it must be set-uid root: else every login is denied. Use --try"
        )


def left_out(service: WantedService, files: PamFiles) -> Iterator[CheckResult]:
    """Modules of the shared file that asks for the password, if our files cannot include it (Red Hat)."""
    shared = "password-auth" if service.name == "sshd" else "system-auth"
    if (files.folders[0] / "common-auth").exists() or service.choice in (KEY, QUIET):
        return
    try:
        ours = {line.name for line in files.service(service.own_file).handlers}
        theirs = {line.name for line in files.service(shared).stacks[PamType.AUTH] if files.path(shared)}
    except UnusableService:
        return
    missing = sorted(filter(None, theirs - ours - _NOT_MISSED))
    if missing:
        what = f"PAM: {shared} also runs {', '.join(missing)}, and {service.own_file} would not"
        file = service.own_file
        yield lockout(
            what, f"use --force, then add those that you need to /etc/pam.d/{file}, before pam_iampass.so"
        )


def judged(service: WantedService, paths: Paths) -> Iterator[CheckResult]:
    """Whether the PAM files that are in force lead to our module."""
    files = PamFiles((paths.pam, *paths.vendor_pam), dialect())
    kinds = {service.asks_in, *((PamType.ACCOUNT,) if service.name == "sshd" else ())}
    if not all(_our_lines(files, service, kind) for kind in kinds):
        yield error(f"PAM: {service.pam_service} does not lead to pam_iampass.so", "check its PAM file")


def real_folder(files: PamFiles) -> tuple[str, str]:
    """What to replace in messages: the folder of the copies, with that of the real files."""
    return f"{files.folders[0]}/", "/etc/pam.d/"


def _our_lines(files: PamFiles, service: WantedService, kind: PamType) -> list[Handler]:
    try:
        return our_lines(files.service(service.pam_service), kind)
    except UnusableService:
        return []
