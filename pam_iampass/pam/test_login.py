"""How sshd, sudo and su would run a PAM stack for a user."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from pam_iampass.errors import PamIampassError, shown
from pam_iampass.pam.dialect import dialect
from pam_iampass.pam.modules import demands_key, our_lines, pam_python_line
from pam_iampass.pam.run import PamRun
from pam_iampass.pam.stack import PamFiles, PamService, PamType, UnusableService
from pam_iampass.system import sshd, sudoers
from pam_iampass.system.accounts import Account, Accounts, LookupFailed, UnknownAccount
from pam_iampass.system.programs import CommandUnavailable

_SERVICE_OF = {"sudo-rs": "sudo", "pkexec": "polkit-1", "run0": "polkit-1"}
"""The PAM service of a program that always uses one with another name."""


class CannotRun(PamIampassError):
    """The stack cannot be run, or must not be run from here."""


@dataclass(frozen=True)
class TestLogin:
    """A login to try out."""

    run: PamRun
    description: str
    file: Path
    asks_the_phone: bool
    names: frozenset[str]
    """The users whose records in the journal are of this login."""


def prepare(user: str, service: str, rhost: str | None) -> TestLogin:
    """How `service` (sshd, sudo, su, sudo-rs, or a PAM service) would run PAM for `user`. Raises CannotRun."""
    account = _account(user)
    name = _pam_service(service, account.name)
    file, found = _read(name)
    script = pam_python_line(found)
    if script is not None:
        what = f"{script.place}: runs pam_python.so, which crashes in a Python program such as this"
        remedy = f"try it with the real program, or: pamtester {name} {account.name} authenticate"
        raise CannotRun(what, remedy)
    ours = our_lines(found)
    run, how = _run(service, name, account, rhost, any(map(demands_key, ours)))
    in_account = our_lines(found, PamType.ACCOUNT) if "SSH_AUTH_INFO_0" in run.environment else []
    if in_account and not ours:
        ours, run, how = in_account, replace(run, phase="account"), f"{how}, after any first factor"
    phone = "" if ours else ", which does not ask the phone"
    description = f"{how}, PAM service {name} ({file}){phone}:"
    return TestLogin(run, description, file, bool(ours), frozenset({account.name, run.user, user}))


def _account(user: str) -> Account:
    try:
        return Accounts().named(user)
    except UnknownAccount:
        raise CannotRun(f"{shown(user)} is not a user of this machine", "check getent passwd") from None
    except LookupFailed as error:
        raise CannotRun(str(error), "check /etc/nsswitch.conf and the name service") from None


def _read(name: str) -> tuple[Path, PamService]:
    if "/" in name or name in ("", ".", ".."):
        raise CannotRun(f"{shown(name)} is not a valid name of a PAM service", "name a file in /etc/pam.d")
    files = PamFiles(dialect=dialect())
    file = files.path(name)
    if file is None or not file.is_file():
        raise CannotRun(f"there is no PAM service {shown(name)}", "list the services: ls /etc/pam.d")
    try:
        return file, files.service(name)
    except UnusableService as error:
        raise CannotRun(f"PAM service {name}: {error}", "correct the PAM file; pam.conf(5)") from None
    except OSError as error:
        raise CannotRun(f"{error.filename}: {error.strerror}", "check the PAM files") from None


def _pam_service(service: str, user: str) -> str:
    """The PAM service that the program uses now."""
    try:
        if service == "sshd":
            return sshd.settings(sshd.Connection(user), create_folder=True).service
        if service == "sudo":
            return sudoers.read().service
    except (CommandUnavailable, sshd.SshdConfigRejected, sudoers.SudoersRejected):
        pass  # its PAM file may be there nevertheless
    return _SERVICE_OF.get(service, service)


def _run(service: str, name: str, who: Account, rhost: str | None, after_key: bool) -> tuple[PamRun, str]:
    if service == "sshd":
        accepted = {"SSH_AUTH_INFO_0": "publickey of pam-iampass test" if after_key else ""}
        address = rhost or "127.0.0.1"
        run = PamRun(name, who.name, tty="ssh", rhost=address, environment=accepted)
        key = ", whose key was accepted" if after_key else ""
        return run, f"As sshd would for {who.name} from {address}{key}"
    tty = os.ttyname(0) if os.isatty(0) else None
    if service in ("su", "su-l"):
        run = PamRun(name, "root", tty=tty, rhost=rhost, ruser=who.name, real_uid=who.uid)
        return run, f"As su would for {who.name}, who wants to be root"
    if service in ("sudo", "sudo-rs"):
        run = PamRun(name, who.name, tty=tty, rhost=rhost, ruser=who.name, real_uid=who.uid)
        return run, f"As {service} would for {who.name}"
    return PamRun(name, who.name, tty=tty, rhost=rhost), f"For {who.name}"
