"""Whether the module can work with its settings, and whether the administrator can still log in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pam_iampass.audit.administrator import NO_LOGIN, login_uid
from pam_iampass.config import settings
from pam_iampass.config.user_table import UserTable
from pam_iampass.doctor import sshd_exempt
from pam_iampass.doctor.config_check import check_config
from pam_iampass.errors import ConfigurationError, Problem, Severity
from pam_iampass.login import policy
from pam_iampass.outcome import Login
from pam_iampass.setup.checks import error, fine, lockout, warning
from pam_iampass.setup.errors import SetupRefused
from pam_iampass.system.accounts import Account, Accounts, LookupFailed, UnknownAccount
from pam_iampass.system.service_user import config_readers

_PASSES_ROOT = ("sudo", "doas", "polkit-1")


def check_settings(config: Path) -> Iterator[Problem]:
    """The problems that `pam-iampass check` reports."""
    found = check_config(config)
    for problem in found.problems:
        if problem.remedy == sshd_exempt.SET_UP or problem.kind in ("service-off", "switched-off"):
            continue  # as is being done, or not yet
        make = error if problem.severity is Severity.ERROR else warning
        yield make(str(problem), problem.remedy)
    if found.ok:
        yield fine(f"the settings: {config} and its user table are valid")


def admin(environment: dict[str, str]) -> Account:
    """The administrator: the user who called sudo, else who logged in, else root. Raises SetupRefused."""
    accounts = Accounts()
    try:
        if environment.get("SUDO_USER"):
            return accounts.named(environment["SUDO_USER"])
        return accounts.with_uid(_login_uid())
    except (UnknownAccount, LookupFailed):
        raise SetupRefused(
            "the user who runs this has no account on this machine", "run it from a login of your own"
        ) from None


def _login_uid() -> int:
    try:
        uid = login_uid("self")
    except (OSError, ValueError):
        return 0
    return 0 if uid == NO_LOGIN else uid


def check_second_factor(who: Account, service: str, pam_service: str, config: Path) -> Iterator[Problem]:
    """Whether `who` would pass the module through `service`, whose PAM service is `pam_service`."""
    if service in _PASSES_ROOT and who.uid == 0:
        remedy = "run setup through sudo as the user who will use it, or name one: SUDO_USER=alice pam-iampass setup"
        yield warning(f"{service} does not ask root, and no other user was checked", remedy)
        return
    what_for = "su -" if pam_service == "su-l" else service
    loaded = settings.load(config, readers=config_readers())
    wanted = loaded.for_service(pam_service)
    asked = who
    if service == "su" and wanted.approver.value == "user":
        asked = Accounts().named("root")
    login = Login(asked.name, pam_service)
    try:
        exempt = policy.exemption(asked, login, wanted, Accounts())
        phone = policy.phone(asked, wanted, UserTable(loaded.users, loaded.users_folder))
    except (policy.PolicyError, LookupFailed, ConfigurationError) as error:
        yield lockout(f"{what_for}: {asked.name} would be denied: {error}", "correct that, and try again")
        return
    if exempt is not None:
        yield warning(
            f"{what_for}: {asked.name} passes without the phone: {exempt}",
            "check exempt and asked in the settings",
        )
    elif isinstance(phone, policy.Phone):
        yield fine(f"{what_for}: {asked.name} has a token, and is asked on the phone")
    elif phone.ignore:
        what = f"{what_for}: {asked.name} has no token and passes without the phone, as unlisted_users says"
        yield warning(what, f"give {asked.name} a token: pam-iampass user add {asked.name}")
    else:
        remedy = f"give {asked.name} a token first (pam-iampass enroll {asked.name}), or exempt {asked.name}"
        if asked is not who:
            remedy += ", or delete `approver: user`: then the caller is asked"
        yield lockout(f"{what_for}: {asked.name} has no token, and would be locked out", remedy)
