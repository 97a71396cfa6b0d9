"""Runs the new stack before it is in force: libpam can read it, our module answers, unknown users are denied."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from pam_iampass.doctor.stacks import SET_UID, Stacks, module_folders
from pam_iampass.outcome import PamCode
from pam_iampass.pam import conf_dir
from pam_iampass.pam.dialect import dialect
from pam_iampass.pam.modules import NATIVE, our_lines, pam_python_line
from pam_iampass.pam.run import Message, PamResult, PamRun, run
from pam_iampass.pam.stack import FOLDERS, PamFiles, PamService, UnusableService
from pam_iampass.setup import staging
from pam_iampass.setup.checks import CheckResult, error, fine, lockout, warning
from pam_iampass.setup.checks import stacks as stacks_check
from pam_iampass.setup.paths import Paths
from pam_iampass.setup.plan import Change
from pam_iampass.setup.services import WantedService
from pam_iampass.system.accounts import Account

_NOBODY = "iampass-setup-nobody"  # a name without an account, so that no failed login is counted
_NOBODYS_UID = 65534
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
            what = f"PAM: {service.pam_service} does not work: {unusable}".replace(
                *stacks_check.real_folder(files)
            )
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
        stacks = Stacks(files, module_folders(), frozenset({service.pam_service, *service.also}))
        yield from stacks_check.simulated(service, stacks)
        yield _unknown_users_are_denied(service, files.folders[0])
        yield from _accounts(service, who, files.folders[0])
        yield from stacks_check.left_out(service, files)
        yield from stacks_check.others(service, stacks)


def _services(paths: Paths, folder: Path, changes: tuple[Change, ...]) -> PamFiles:
    """A folder with all PAM services of the machine as they will be, the only one that Linux-PAM will search."""
    staging.copy(paths.pam, folder, changes)
    for other in FOLDERS[1:]:
        for file in other.iterdir() if other.is_dir() else ():
            if file.is_file() and not (folder / file.name).exists():
                (folder / file.name).write_bytes(file.read_bytes())
    conf_dir.resolve_includes(folder)
    return PamFiles((folder,), dialect())


def _module_answers(service: WantedService, found: PamService, who: Account, services: Path) -> CheckResult:
    """Run our line alone, with a demand for a key that is not fulfilled: the module denies without a request."""
    ours = [line for line in our_lines(found, service.asks_in) if line.name == NATIVE]
    if not ours:
        what = f"PAM: {service.pam_service} does not lead to pam_iampass.so"
        return error(what, "install pam-iampass again")
    probe = f"auth required {ours[0].path} first_factor=publickey\n"
    (services / _PROBE).write_text(probe, "utf-8")
    set_uid = SET_UID & {service.name, service.pam_service, *service.also}  # they depend on the agent
    real_uid = _NOBODYS_UID if set_uid else 0
    result = run(PamRun(_PROBE, who.name, services, real_uid=real_uid, at_once=True), _no_answer, _TIMEOUT)
    if any(_AGENT in message.text for message in result.messages):
        what = f"PAM: {service.pam_service} needs the agent, which is not running"
        return error(what, "systemctl enable --now pam-iampass-agent.socket")
    if result.messages and result.code in (PamCode.MAXTRIES, PamCode.ABORT):
        return fine("PAM: the module is installed and answers")
    what = f"PAM: the module does not answer: {result.name}, {result.meaning}"
    logs = "see journalctl -t pam_iampass and -t python3"
    return error(what, f"are pam_iampass.so, python3 and its packages installed? {logs}")


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


def _broken(name: str, result: PamResult) -> CheckResult | None:
    if result.started and result.code not in _BROKEN:
        return None
    what = f"PAM: {name} does not work: {result.name}, {result.meaning}"
    return error(what, "check the files that it includes; see journalctl -t python3")


def _no_answer(message: Message) -> str | None:
    return "" if message.kind.is_question else None
