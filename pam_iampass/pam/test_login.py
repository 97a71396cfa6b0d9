"""How sshd, sudo and su would run a PAM stack for a user."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.errors import PamIampassError, shown
from pam_iampass.pam import service_lines
from pam_iampass.pam.run import PamRun
from pam_iampass.setup.checks import sshd, sudo
from pam_iampass.setup.errors import SetupError
from pam_iampass.setup.paths import Paths
from pam_iampass.system.accounts import Account, Accounts, LookupFailed, UnknownAccount


class CannotBeRun(PamIampassError):
    """The stack cannot be run, or must not be run from here."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy

    def diagnostics(self) -> str:
        return f"{super().diagnostics()}\n    {self.remedy}"


@dataclass(frozen=True)
class Rehearsal:
    """A login that is tried out."""

    wanted: PamRun
    description: str
    file: Path
    asks_the_phone: bool
    names: frozenset[str]
    """Whose records in the journal are of this login."""


def rehearsal(user: str, service: str, rhost: str | None) -> Rehearsal:
    """How `service` (sshd, sudo, su or a PAM service) would run PAM for `user`. Raises CannotBeRun."""
    account = _account(user)
    name = _pam_service(service, account.name)
    if "/" in name:
        raise CannotBeRun(f"{shown(name)} is no name of a PAM service", "name a file in /etc/pam.d")
    try:
        lines = service_lines.lines(name)
    except OSError as error:
        raise CannotBeRun(f"{error.filename}: {error.strerror}", "look at the PAM files") from None
    file = service_lines.file_of(name)
    if file is None:
        raise CannotBeRun(f"there is no PAM service {shown(name)}", "look into /etc/pam.d")
    script = service_lines.names_pam_python(lines)
    if script is not None:
        what = f"{script.file}:{script.number}: runs pam_python.so, which crashes in a Python program such as this"
        raise CannotBeRun(
            what, f"try it with the real program, or: pamtester {name} {account.name} authenticate"
        )
    ours = [line for line in lines if line.phase == "auth" and Path(line.module).name == "pam_iampass.so"]
    phone = "" if ours else ", which does not ask the phone"
    wanted, how = _run(service, name, account, rhost, any("first_factor" in line.arguments for line in ours))
    description = f"{how}, PAM service {name} ({file}){phone}:"
    return Rehearsal(wanted, description, file, bool(ours), frozenset({account.name, wanted.user, user}))


def _account(user: str) -> Account:
    try:
        return Accounts().named(user)
    except UnknownAccount:
        raise CannotBeRun(f"{shown(user)} is no user of this machine", "look at getent passwd") from None
    except LookupFailed as error:
        raise CannotBeRun(str(error), "look at /etc/nsswitch.conf, and at the name service") from None


def _pam_service(service: str, user: str) -> str:
    """The PAM service that the program uses now."""
    try:
        if service == "sshd":
            return sshd.settings_for(user).get("pamservicename", service)
        if service == "sudo":
            return sudo.defaults(Paths().sudoers).get("pam_service", service)
    except SetupError:  # the program is not there, but its PAM file may be
        pass
    return service


def _run(service: str, name: str, who: Account, rhost: str | None, after_key: bool) -> tuple[PamRun, str]:
    if service == "sshd" or name.startswith("iampass-sshd"):
        accepted = {"SSH_AUTH_INFO_0": "publickey of pam-iampass test" if after_key else ""}
        come = rhost or "127.0.0.1"
        wanted = PamRun(name, who.name, tty="ssh", rhost=come, environment=accepted)
        key = ", whose key was accepted" if after_key else ""
        return wanted, f"As sshd would for {who.name} from {come}{key}"
    if service in ("su", "su-l"):
        wanted = PamRun(name, "root", tty=_tty(), rhost=rhost, ruser=who.name, real_uid=who.uid)
        return wanted, f"As su would for {who.name}, who wants to be root"
    if service == "sudo":
        wanted = PamRun(name, who.name, tty=_tty(), rhost=rhost, ruser=who.name, real_uid=who.uid)
        return wanted, f"As sudo would for {who.name}"
    return PamRun(name, who.name, tty=_tty(), rhost=rhost), f"For {who.name}"


def _tty() -> str | None:
    return os.ttyname(0) if os.isatty(0) else None
