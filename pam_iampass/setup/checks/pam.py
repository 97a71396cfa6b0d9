"""Runs the new stack before it is in force: libpam can read it, our module answers, unknown users are denied."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from pam_iampass.doctor.stacks import Stacks, module_folders
from pam_iampass.errors import Severity
from pam_iampass.outcome import PamCode
from pam_iampass.pam import conf_dir
from pam_iampass.pam.dialect import dialect
from pam_iampass.pam.modules import NATIVE, our_lines, pam_python_line
from pam_iampass.pam.run import Message, PamResult, PamRun, run
from pam_iampass.pam.stack import FOLDERS, Handler, PamFiles, PamService, PamType, UnusableService
from pam_iampass.setup import staging
from pam_iampass.setup.checks import CheckResult, error, fine, lockout, warning
from pam_iampass.setup.paths import Paths
from pam_iampass.setup.plan import Change
from pam_iampass.setup.services import KEY, WantedService
from pam_iampass.system.accounts import Account

_NOBODY = "iampass-setup-nobody"  # a name without an account, so that no failed login is counted
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
"""Modules that decide nothing, or that a password replaces."""
_PROBE = "iampass-setup-probe"
_BROKEN = frozenset(
    (
        *(PamCode.OPEN_ERR, PamCode.SYMBOL_ERR, PamCode.SERVICE_ERR, PamCode.SYSTEM_ERR, PamCode.BUF_ERR),
        PamCode.MODULE_UNKNOWN,
    )
)
"""The codes of a stack that no user can pass."""
_TIMEOUT = 30.0  # seconds
_AGENT = "agent is not running"
"""What the door of a set-uid program says without an agent (doors/native/login.c)."""


def check(
    service: WantedService, changes: Iterable[Change], who: Account, paths: Paths
) -> Iterator[CheckResult]:
    """Check the changes before they are made. No phone rings, and no password is asked for."""
    with staging.scratch() as folder:
        files = _services(paths, folder / "pam.d", tuple(changes))
        try:
            found = files.service(service.pam_service)
        except UnusableService as unusable:
            what = f"PAM: {service.pam_service} does not work: {unusable}".replace(*_real(files))
            yield error(what, "correct the PAM file")
            return
        script = pam_python_line(found)
        if script is not None:
            what = (
                f"PAM: {script.file.name} runs pam_python.so, which crashes in a Python program: not checked"
            )
            yield warning(what, "try a login immediately afterwards, and keep a root shell open")
            return
        answer = _module_answers(service, found, who, files.folders[0])
        yield answer
        if answer.stops:
            return
        yield from _simulated(service, files)
        yield _unknown_users_are_denied(service, files.folders[0])
        yield from _accounts(service, who, files.folders[0])
        yield from _left_out(service, files)
        for other in service.also:
            if not any(line.name == NATIVE for line in _our_lines(files, other)):
                what = f"PAM: {other} does not include {service.pam_service}: the phone is not asked there"
                yield warning(what, f"make /etc/pam.d/{other} include {service.pam_service}")


def _services(paths: Paths, folder: Path, changes: tuple[Change, ...]) -> PamFiles:
    """A folder with all PAM services of the machine as they will be, the only one that Linux-PAM will search."""
    staging.copy(paths.pam, folder, changes)
    for other in FOLDERS[1:]:
        for file in other.iterdir() if other.is_dir() else ():
            if file.is_file() and not (folder / file.name).exists():
                (folder / file.name).write_bytes(file.read_bytes())
    conf_dir.resolve_includes(folder)
    return PamFiles((folder,), dialect())


def _real(files: PamFiles) -> tuple[str, str]:
    """What to replace in messages: the folder of the copies, with that of the real files."""
    return f"{files.folders[0]}/", "/etc/pam.d/"


def _our_lines(files: PamFiles, name: str) -> list[Handler]:
    try:
        return our_lines(files.service(name))
    except UnusableService:
        return []


def _module_answers(service: WantedService, found: PamService, who: Account, services: Path) -> CheckResult:
    """Run our line alone, with a demand for a key that is not fulfilled: the module denies without a request."""
    ours = [line for line in our_lines(found) if line.name == NATIVE]
    if not ours:
        what = f"PAM: {service.pam_service} does not lead to pam_iampass.so"
        return error(what, "install pam-iampass again")
    probe = f"auth required {ours[0].path} first_factor=publickey\n"
    (services / _PROBE).write_text(probe, "utf-8")
    real_uid = 0 if service.name == "sshd" else _NOBODYS_UID  # a set-uid program depends on the agent
    result = run(PamRun(_PROBE, who.name, services, real_uid=real_uid, at_once=True), _no_answer, _TIMEOUT)
    if any(_AGENT in message.text for message in result.messages):
        what = f"PAM: {service.pam_service} needs the agent, which is not running"
        return error(what, "systemctl enable --now pam-iampass-agent.socket")
    if result.messages and result.code in (PamCode.MAXTRIES, PamCode.ABORT):
        return fine("PAM: the module is installed and answers")
    what = f"PAM: the module does not answer: {result.name}, {result.meaning}"
    logs = "see journalctl -t pam_iampass and -t python3"
    return error(what, f"are pam_iampass.so, python3 and its packages installed? {logs}")


def _simulated(service: WantedService, files: PamFiles) -> Iterator[CheckResult]:
    """Doctor's findings for the stack: whether the right password leads to the phone, and a wrong one nowhere."""
    stacks = Stacks(files, module_folders(), frozenset({service.pam_service}))
    try:
        check = stacks.with_us.get(service.pam_service)
    except OSError:
        check = None
    found = list(check.findings(fresh_setcred=service.name == "sshd")) if check else []
    for finding in found:
        what = f"PAM: {finding.subject}: {finding.title} ({finding.evidence})"
        texts = [text.replace(*_real(files)) for text in (what, finding.remedy)]
        if finding.severity is Severity.ERROR:
            yield lockout(*texts)
        elif finding.severity is Severity.WARNING:
            yield warning(*texts)
    if not found and service.choice != KEY:
        yield fine("PAM: in a simulation the right password leads to the phone, and a wrong one nowhere")


def _unknown_users_are_denied(service: WantedService, services: Path) -> CheckResult:
    """Run the whole stack for a user that does not exist: it must deny."""
    name = service.pam_service
    shutil.copy2(services / name, services / _PROBE)  # for the journal, which shows the name
    real_uid = 0 if service.name == "sshd" else _NOBODYS_UID  # su asks root nothing
    # what sshd sets once it has accepted a key
    environment = {"SSH_AUTH_INFO_0": "publickey setup"} if service.name == "sshd" else {}
    wanted = PamRun(
        _PROBE, _NOBODY, services, phase="auth", real_uid=real_uid, environment=environment, at_once=True
    )
    result = run(wanted, _no_answer, _TIMEOUT)
    if result.code == PamCode.SUCCESS:
        what = f"PAM: {name} lets in a user that does not exist"
        return error(what, "check the lines before ours, and the files that it includes")
    return _broken(name, result) or fine(f"PAM: {name} can be read, and denies unknown users")


def _accounts(service: WantedService, who: Account, services: Path) -> Iterator[CheckResult]:
    """Run the account lines for the administrator."""
    wanted = PamRun(service.pam_service, who.name, services, phase="account", at_once=True)
    result = run(wanted, _no_answer, _TIMEOUT)
    broken = _broken(service.pam_service, result)
    if broken is not None:
        yield broken
    elif result.code != PamCode.SUCCESS:
        what = f"PAM: the account lines of {service.pam_service} deny {who.name}: {result.name}, {result.meaning}"
        yield lockout(what, "check the account lines, and the account (chage -l)")


def _left_out(service: WantedService, files: PamFiles) -> Iterator[CheckResult]:
    """Modules of the shared file that asks for the password, if our files cannot include it (Red Hat)."""
    shared = "password-auth" if service.name == "sshd" else "system-auth"
    if (files.folders[0] / "common-auth").exists() or service.choice == KEY:
        return
    try:
        ours = {line.name for line in files.service(service.own_file).handlers}
        theirs = {line.name for line in files.service(shared).stacks[PamType.AUTH] if files.path(shared)}
    except UnusableService:
        return
    missing = sorted(filter(None, theirs - ours - _NOT_MISSED))
    if missing:
        what = f"PAM: {shared} also runs {', '.join(missing)}, and {service.own_file} does not"
        yield warning(
            what, f"add those that you need to /etc/pam.d/{service.own_file}, before pam_iampass.so"
        )


def _broken(name: str, result: PamResult) -> CheckResult | None:
    if result.started and result.code not in _BROKEN:
        return None
    what = f"PAM: {name} does not work: {result.name}, {result.meaning}"
    return error(what, "check the files that it includes; see journalctl -t python3")


def _no_answer(message: Message) -> str | None:
    return "" if message.kind.is_question else None
