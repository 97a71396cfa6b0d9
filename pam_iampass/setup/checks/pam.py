"""Runs the new stack, before it is in force: can PAM read it, does our module answer, are strangers kept out."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from pam_iampass.doctor.finding import Severity as DoctorSeverity
from pam_iampass.doctor.stacks import Stacks, module_folders
from pam_iampass.errors import Severity
from pam_iampass.pam import conf_dir, service_lines
from pam_iampass.pam.run import Message, PamResult, PamRun, run
from pam_iampass.pam.stack import PamFiles
from pam_iampass.setup import staging
from pam_iampass.setup.checks import Finding, fine, lockout, warning
from pam_iampass.setup.paths import Paths
from pam_iampass.setup.plan import Change
from pam_iampass.setup.services import KEY, WantedService
from pam_iampass.system.accounts import Account

_NOBODY = "iampass-setup-nobody"  # no account has this name, so that nobody's failed logins are counted
_NOBODYS_UID = 65534
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
"""Modules that decide nothing, or that a password takes the place of."""
_PROBE = "iampass-setup-probe"
_BROKEN = frozenset({1, 2, 3, 4, 5, 28})  # codes of a stack that does not work, whoever logs in
_PATIENCE = 30.0  # seconds


def check(
    service: WantedService, changes: Iterable[Change], who: Account, places: Paths
) -> Iterator[Finding]:
    """Judge the changes before they are made. Nobody's phone rings, and no password is asked of a person."""
    with staging.scratch() as folder:
        services = _services(places, folder / "pam.d", tuple(changes))
        script = service_lines.names_pam_python(service_lines.lines(service.pam_service, (services,)))
        if script is not None:
            what = f"PAM: {script.file.name} runs pam_python.so, which crashes in a Python program: nothing was tried"
            yield warning(what, "try a login right afterwards, and have a root shell open")
            return
        answered = _module_answers(service, who, services)
        yield answered
        if answered.stops:
            return
        yield from _played_through(service, services)
        yield _strangers_are_denied(service, services)
        yield from _accounts(service, who, services)
        yield from _left_out(service, services)
        for other in service.also:
            if not any(_is_ours(line) for line in service_lines.lines(other, (services,))):
                what = f"PAM: {other} does not include {service.pam_service}: the phone is not asked there"
                yield warning(what, f"make /etc/pam.d/{other} include {service.pam_service}")


def _services(places: Paths, folder: Path, changes: tuple[Change, ...]) -> Path:
    """A folder with all PAM services of the machine as they will be: Linux-PAM will look nowhere else."""
    staging.copy(places.pam, folder, changes)
    for other in service_lines.FOLDERS[1:]:
        for file in other.iterdir() if other.is_dir() else ():
            if file.is_file() and not (folder / file.name).exists():
                (folder / file.name).write_bytes(file.read_bytes())
    conf_dir.resolve_includes(folder)
    return folder


def _module_answers(service: WantedService, who: Account, services: Path) -> Finding:
    """Our line, alone, demands a key that is not there: the module says so without asking anybody."""
    lines = [line for line in service_lines.lines(service.pam_service, (services,)) if _is_ours(line)]
    if not lines:
        what = f"PAM: {service.pam_service} does not lead to pam_iampass.so"
        return Finding(what, Severity.ERROR, "install pam-iampass anew")
    probe = f"auth required {lines[0].module} first_factor=publickey\n"
    (services / _PROBE).write_text(probe, "utf-8")
    told = run(PamRun(_PROBE, who.name, services, at_once=True), _no_answer, _PATIENCE)
    if told.messages and told.code in (11, 26):
        return fine("PAM: the module is there and answers")
    where = "journalctl -t pam_iampass and -t python3 say more"
    what = f"PAM: the module does not answer: {told.name}, {told.meaning}"
    return Finding(
        what, Severity.ERROR, f"is pam_iampass.so installed, and python3 with its packages? {where}"
    )


def _is_ours(line: service_lines.Line) -> bool:
    return line.phase == "auth" and Path(line.module).name == "pam_iampass.so"


def _played_through(service: WantedService, services: Path) -> Iterator[Finding]:
    """What doctor says of the stack: whether the right password leads to the phone, and a wrong one nowhere."""
    stacks = Stacks(PamFiles((services,)), module_folders(), frozenset({service.pam_service}))
    try:
        examined = stacks.with_us.get(service.pam_service)
    except OSError:
        examined = None
    found = list(examined.findings(fresh_setcred=service.name == "sshd")) if examined else []
    for fault in found:
        what = f"PAM: {fault.subject}: {fault.title} ({fault.evidence})"
        told = [text.replace(f"{services}/", "/etc/pam.d/") for text in (what, fault.remedy)]
        if fault.severity is DoctorSeverity.ERROR:
            yield lockout(*told)
        elif fault.severity is DoctorSeverity.WARNING:
            yield warning(*told)
    if not found and service.choice != KEY:
        yield fine("PAM: played through, the right password leads to the phone, and a wrong one nowhere")


def _strangers_are_denied(service: WantedService, services: Path) -> Finding:
    """Nobody by that name: the whole stack is run, and must deny."""
    name = service.pam_service
    shutil.copy2(services / name, services / _PROBE)  # so that the journal tells it from a login
    real_uid = 0 if service.name == "sshd" else _NOBODYS_UID  # su asks root for nothing
    environment = _environment(service)
    wanted = PamRun(
        _PROBE, _NOBODY, services, phase="auth", real_uid=real_uid, environment=environment, at_once=True
    )
    told = run(wanted, _no_answer, _PATIENCE)
    if told.code == 0:
        what = f"PAM: {name} lets in a user that does not exist"
        return Finding(
            what, Severity.ERROR, "look at the lines before ours, and at the files that it includes"
        )
    return _broken(name, told) or fine(f"PAM: {name} can be read, and denies strangers")


def _accounts(service: WantedService, who: Account, services: Path) -> Iterator[Finding]:
    """The account lines, for whoever sets this up."""
    wanted = PamRun(service.pam_service, who.name, services, phase="account", at_once=True)
    told = run(wanted, _no_answer, _PATIENCE)
    broken = _broken(service.pam_service, told)
    if broken is not None:
        yield broken
    elif told.code != 0:
        what = f"PAM: the account lines of {service.pam_service} deny {who.name}: {told.name}, {told.meaning}"
        yield lockout(what, "look at the account lines, and at the account (chage -l)")


def _left_out(service: WantedService, services: Path) -> Iterator[Finding]:
    """Where our files cannot include what asks for the password (Red Hat), does that ask more than ours do."""
    shared = "password-auth" if service.name == "sshd" else "system-auth"
    if (services / "common-auth").exists() or service.choice == KEY:
        return
    ours = {Path(line.module).name for line in service_lines.lines(service.own_file, (services,))}
    theirs = {
        Path(line.module).name for line in service_lines.lines(shared, (services,)) if line.phase == "auth"
    }
    missing = sorted(theirs - ours - _NOT_MISSED)
    if missing:
        what = f"PAM: {shared} asks {', '.join(missing)} as well, and {service.own_file} does not"
        yield warning(
            what, f"add what is needed of it to /etc/pam.d/{service.own_file}, before pam_iampass.so"
        )


def _broken(name: str, told: PamResult) -> Finding | None:
    if told.started and told.code not in _BROKEN:
        return None
    what = f"PAM: {name} does not work: {told.name}, {told.meaning}"
    return Finding(
        what, Severity.ERROR, "look at the files that it includes; journalctl -t python3 says more"
    )


def _environment(service: WantedService) -> dict[str, str]:
    """What sshd would put there once it has accepted a key."""
    return {"SSH_AUTH_INFO_0": "publickey setup"} if service.name == "sshd" else {}


def _no_answer(message: Message) -> str | None:
    return "" if message.kind.is_question else None
