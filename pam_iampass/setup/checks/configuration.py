"""Can the module work with its settings, and would whoever sets this up still get in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pam_iampass.config import settings
from pam_iampass.config.user_table import UserTable
from pam_iampass.doctor.config_check import inspect
from pam_iampass.errors import ConfigurationError, Severity
from pam_iampass.login import policy
from pam_iampass.outcome import Login
from pam_iampass.setup.checks import Finding, fine, lockout, warning
from pam_iampass.setup.errors import Refused
from pam_iampass.system.accounts import Account, Accounts, LookupFailed, UnknownAccount
from pam_iampass.system.service_user import service_group

_NOBODY = 0xFFFFFFFF  # loginuid of what no login has started


def check_settings(config: Path) -> Iterator[Finding]:
    """What `pam-iampass check` says."""
    found = inspect(config)
    for problem in found.problems:
        if problem.severity is Severity.WARNING:
            yield warning(str(problem), problem.remedy)
        else:
            yield Finding(str(problem), Severity.ERROR, problem.remedy)
    if found.ok:
        yield fine(f"the settings: {config} and its table of users can be used")


def admin(environment: dict[str, str]) -> Account:
    """The person who runs this: who called sudo, else who logged in, else root. Raises Refused."""
    accounts = Accounts()
    try:
        if environment.get("SUDO_USER"):
            return accounts.named(environment["SUDO_USER"])
        return accounts.with_uid(_login_uid())
    except (UnknownAccount, LookupFailed):
        raise Refused(
            "the person who runs this is no account on this machine", "run it from a login of your own"
        ) from None


def _login_uid() -> int:
    try:
        told = int(Path("/proc/self/loginuid").read_text("ascii"))
    except (OSError, ValueError):
        return 0
    return 0 if told == _NOBODY else told


def check_second_factor(who: Account, service: str, pam_service: str, config: Path) -> Iterator[Finding]:
    """Would `who` get past the module: through `service`, which PAM knows as `pam_service`."""
    if service == "sudo" and who.uid == 0:
        yield fine("root is not asked by sudo; nobody else was looked at")
        return
    what_for = "su -" if pam_service == "su-l" else service
    loaded = settings.load(config, readers=_readers())
    wanted = loaded.for_service(pam_service)
    asked = who
    if service == "su" and wanted.approver.value == "user":
        asked = Accounts().named("root")
    login = Login(asked.name, pam_service)
    try:
        exempt = policy.exemption(asked, login, loaded.exempt, Accounts())
        phone = policy.phone(asked, wanted, UserTable(loaded.users, loaded.users_folder))
    except (policy.PolicyError, LookupFailed, ConfigurationError) as error:
        yield lockout(f"{what_for}: {asked.name} would be denied: {error}", "mend that, and try again")
        return
    if exempt is not None:
        yield warning(f"{what_for}: {asked.name} passes without the phone: {exempt}", "look at exempt")
    elif isinstance(phone, policy.Phone):
        yield fine(f"{what_for}: {asked.name} has a token, and is asked on the phone")
    elif phone.ignore:
        what = f"{what_for}: {asked.name} has no token and passes without the phone, as unlisted_users says"
        yield warning(what, f"give {asked.name} a token: pam-iampass user add {asked.name} TOKEN")
    else:
        remedy = f"give {asked.name} a token first (pam-iampass enroll {asked.name}), or exempt {asked.name}"
        if asked is not who:
            remedy += (
                ", or have the caller asked: `services: {su: {approver: ruser}, su-l: {approver: ruser}}`"
            )
        yield lockout(f"{what_for}: {asked.name} has no token, and would be locked out", remedy)


def _readers() -> frozenset[int]:
    group = service_group()
    return frozenset() if group is None else frozenset({group})
