"""Whether the new stacks do what they are for: every way in leads to the phone, and what is refused anyway does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pam_iampass.doctor.stacks import Stacks, module_folders, unauthenticated
from pam_iampass.errors import Problem, Severity
from pam_iampass.pam.modules import NATIVE, our_lines
from pam_iampass.pam.services import why_unsuitable
from pam_iampass.pam.stack import PamService, PamType, UnusableService
from pam_iampass.setup.checks import error, fine, lockout, warning
from pam_iampass.setup.edits import KEY, QUIET
from pam_iampass.setup.paths import Paths
from pam_iampass.setup.services import WantedService, pam_files
from pam_iampass.system.paths import AGENT_SOCKET

_REFUSED = ("stack-wrong-rings", "stack-rings-first", "stack-skipped-sometimes", "stack-ignored-fails")
"""Findings that are warnings or notes of doctor, and that setup does not bring about."""
_KNOWN = (
    *("sshd", "sudo", "su", "doas", "polkit-1", "login"),
    *("gdm-password", "lightdm", "sddm", "cockpit", "xrdp-sesman"),
)
"""Services whose programs ask as root."""


def check_module(service: WantedService) -> Iterator[Problem]:
    """Whether what the new lines need is there: the module, and the agent."""
    if not any((folder / NATIVE).exists() for folder in module_folders()):
        yield error(f"PAM: {NATIVE} is not installed", "install pam-iampass again")
    elif not Path(AGENT_SOCKET).is_socket():
        what = f"PAM: {service.name} needs the agent, and nothing listens on {AGENT_SOCKET}"
        yield error(what, "systemctl enable --now pam-iampass-agent.socket")


def check(service: WantedService, paths: Paths, modules: Sequence[Path]) -> Iterator[Problem]:
    """Simulate the PAM files before they are written. `modules` are the folders of libpam's modules."""
    stacks = Stacks(service.pam_files(paths), modules, frozenset(service.pam_services))
    unusable = [
        one for one in map(stacks.services.get, service.pam_services) if isinstance(one, UnusableService)
    ]
    if unusable:
        yield error(f"PAM: {service.name} does not work: {unusable[0]}", "correct the PAM file")
        return
    yield from _simulated(service, stacks)
    yield from _others(service, stacks)


def _simulated(service: WantedService, stacks: Stacks) -> Iterator[Problem]:
    """Doctor's findings for the stacks."""
    found = list(_findings(service.pam_services, stacks))
    for finding in found:
        what = f"PAM: {finding.key}: {finding.what} ({finding.evidence})"
        if finding.severity is Severity.ERROR or finding.kind in _REFUSED:
            yield lockout(what, finding.remedy)
        elif finding.severity is Severity.WARNING:
            yield warning(what, finding.remedy)
    if not found and service.choice == QUIET:
        yield fine("PAM: in a simulation no account skips the phone, and a denial refuses every login")
    elif not found and service.choice != KEY:
        yield fine("PAM: in a simulation the right password leads to the phone, and a wrong one nowhere")


def _findings(names: Sequence[str], stacks: Stacks) -> Iterator[Problem]:
    for name in names:
        yield from stacks.lost_refusals(name)
        yield from unauthenticated(name)
        if name in stacks.with_us:
            yield from stacks.with_us[name].findings(fresh_setcred=name == "sshd")
        if name == "sshd" and name in stacks.with_us_in_account:
            yield from stacks.with_us_in_account[name].findings()


def _others(service: WantedService, stacks: Stacks) -> Iterator[Problem]:
    """Other PAM services of the program that do not ask the phone, and of other programs that would ask it too."""
    first, *also = service.pam_services
    for other in also:
        if stacks.lets_in_unasked(other):
            what = f"PAM: {other} does not include {first}: the phone is not asked there"
            yield warning(what, f"make /etc/pam.d/{other} include {first}")
    written = {file.path for file in service.files}
    for other, check in stacks.with_us.items():
        if check.ours.file not in written or other in service.pam_services:
            continue
        unsuitable = why_unsuitable(other)
        if unsuitable is not None:
            what = f"PAM: {other} includes {first}, and must not ask the phone: {unsuitable.reason}"
            yield lockout(what, f"make /etc/pam.d/{other} include common-auth or system-auth instead")
        else:
            yield warning(f"PAM: {other} includes {first}: it asks the phone, too", "")
    if service.name not in _KNOWN:
        what = f"PAM: setup does not know the program that uses {first}"
        yield warning(
            what, "root must run it, or it must be set-uid root: else every login is denied. Use --try"
        )


def errors_in_force(names: Sequence[str], paths: Paths, modules: Sequence[Path]) -> list[Problem]:
    """The errors of PAM services as they are now, such as a line that leads past the phone. Raises OSError."""
    files = pam_files(paths)
    there = [name for name in names if files.path(name) is not None]
    found = _findings(there, Stacks(files, modules, frozenset(there)))
    return [one for one in found if one.is_error]


def judged(service: WantedService, paths: Paths) -> Iterator[Problem]:
    """Whether the PAM files that are in force lead to our module."""
    files = pam_files(paths)
    kinds = {service.asks_in, *((PamType.ACCOUNT,) if service.name == "sshd" else ())}
    for file in service.files:
        if file.edited:
            try:
                found = files.service(file.path.name)
            except UnusableService:
                found = PamService(file.path.name, {kind: [] for kind in PamType}, ())
            if not all(our_lines(found, kind) for kind in kinds):
                yield error(f"PAM: {file.path.name} does not lead to {NATIVE}", "check its PAM file")
