"""The accounts that can log in to a shell today, and cannot once a service asks the phone."""

from __future__ import annotations

import pwd
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from pam_iampass.check.sessions import LOGINS
from pam_iampass.check.user_status import UserState, UserStatus, user_status
from pam_iampass.errors import ConfigurationError
from pam_iampass.system import sshd
from pam_iampass.system.accounts import Account, is_login_shell
from pam_iampass.system.programs import CommandUnavailable
from pam_iampass.system.sshd import SshdConfigRejected, SshdSettings
from pam_iampass.text import clean, names

SHUT_OUT = "can log in to a shell today, and cannot once"
GIVE_TOKENS = "if they must still log in: pam-iampass enroll USER, or exempt them in the settings"

_KEY, _PASSWORD = "publickey", "password"
_SHADOW = Path("/etc/shadow")
_NO_SHELL = ("no", "forced-commands-only")
_KEY_ONLY = "prohibit-password"


def shut_out(service: str, config: Path, demanded: str = "") -> dict[str, list[str]]:
    """The accounts that this service, by which people log in, would shut out, by the reason.

    `demanded` is the first factor that sshd is to demand before a prompt: publickey, password, or neither. Accounts
    that NSS does not list are missing. Empty for a service that opens no login session, or if something is not known.
    """
    if service != "sshd" and service not in LOGINS:
        return {}
    shells = {one.pw_name: one for one in pwd.getpwall() if is_login_shell(one.pw_shell or "/bin/sh")}
    try:
        in_force = sshd.settings(create_folder=True) if service == "sshd" else None
        report = user_status(config, shells)
    except (CommandUnavailable, SshdConfigRejected, ConfigurationError):
        return {}
    with_password = passwords()
    found: dict[str, list[str]] = {}
    for status in report.users:
        why = _denied(status, service)
        if not why and not demanded:
            continue
        entry = shells[status.name]
        account = Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
        factors = {_PASSWORD} if with_password.get(account.name, True) else set()
        if in_force is not None and _has_key(account, in_force):
            factors.add(_KEY)
        if not (factors if in_force is None else _gets_in(account, factors, in_force)):
            continue
        if in_force is not None and not why:
            exempt = status.services.get(service, status.state) is UserState.EXEMPT
            why = _not_by_prompt(account, factors, demanded, exempt, in_force)
        if why:
            found.setdefault(why, []).append(account.name)
    return found


def root_gets_in() -> bool:
    """Whether root can log in without sudo: with a password at the console, or to a shell by a key in sshd."""
    if passwords().get("root", False):
        return True
    try:
        in_force = sshd.settings(create_folder=True)
    except (CommandUnavailable, SshdConfigRejected):
        return False
    root = Account("root", 0, 0)
    return _has_key(root, in_force) and _gets_in(root, {_KEY}, in_force)


def listed(found: Mapping[str, Sequence[str]]) -> str:
    """All accounts with the reasons, for a message."""
    return "; ".join(
        f"{names(accounts, len(accounts))} ({clean(why, 300)})" for why, accounts in found.items()
    )


def _denied(status: UserStatus, service: str) -> str:
    """Why the module would deny a login."""
    state = status.services.get(service, status.state)
    if state is UserState.BROKEN:
        return status.reason or "its entry has an error"
    return "no token" if state is UserState.DENIED else ""


def _not_by_prompt(
    account: Account, factors: Set[str], demanded: str, exempt: bool, in_force: SshdSettings
) -> str:
    """Why sshd would refuse an account in the way with a prompt after this factor."""
    if demanded == _KEY and _KEY not in factors:
        return "no key"
    if exempt:
        return ""
    if demanded == _PASSWORD and _PASSWORD not in factors:
        return "no password"
    refused = bool(demanded) and account.uid == 0 and in_force.root_login == _KEY_ONLY
    return f"PermitRootLogin {_KEY_ONLY} allows no prompt" if refused else ""


def _gets_in(account: Account, factors: Set[str], in_force: SshdSettings) -> bool:
    """Whether sshd admits an account with these factors."""
    if account.uid == 0 and in_force.root_login in _NO_SHELL:
        return False
    needed = {_KEY if _KEY in methods else _PASSWORD for methods in in_force.method_lists}
    if account.uid == 0 and in_force.root_login == _KEY_ONLY:
        needed.discard(_PASSWORD)
    return not needed.isdisjoint(factors)


def _has_key(account: Account, in_force: SshdSettings) -> bool:
    """Whether sshd accepts a key of the account, or may do so: by a certificate, or by what a command prints."""
    others = ("authorizedkeyscommand", "trustedusercakeys")
    if any(in_force.values.get(keyword, "none") != "none" for keyword in others):
        return True
    return next(sshd.authorized_keys(account, in_force), None) is not None


def passwords(shadow: Path = _SHADOW) -> dict[str, bool]:
    """Whether each local account has a password (shadow(5)); nothing of those of a directory service."""
    try:
        lines = shadow.read_text("utf-8", "replace").splitlines()
    except OSError:
        return {}
    found = (line.split(":") for line in lines if line.count(":") > 1)
    return {name: password[:1] not in ("!", "*") for name, password, *_rest in found}
