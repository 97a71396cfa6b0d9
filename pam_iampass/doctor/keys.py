"""Services in which a key names the person who must approve (`approver: key`), and the table of keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pam_iampass.config import settings
from pam_iampass.config.key_table import KeyReport, folder_of
from pam_iampass.config.user_table import UserTable
from pam_iampass.config.value_types import Approver, Otherwise
from pam_iampass.errors import ConfigurationError, Problem, Severity, shown
from pam_iampass.login import policy
from pam_iampass.outcome import Login
from pam_iampass.pam.modules import our_lines
from pam_iampass.pam.stack import PamFiles, PamType, UnusableService
from pam_iampass.system.accounts import Accounts, LookupFailed, UnknownAccount

_PROMPT = "pam-iampass setup sshd --prompt"


def by_key(found: settings.Settings) -> list[str]:
    """The services of the settings in which a key names the person."""
    return [name for name, service in found.services.items() if service.approver is Approver.KEY]


def denying(
    config: Path, found: settings.Settings, keys: KeyReport, files: PamFiles, sshd_service: str
) -> Iterator[Problem]:
    """What denies logins. `sshd_service` is the PAM service of sshd."""
    services = by_key(found)
    for name in services:
        key = f"services.{name}.approver"
        if name != sshd_service:
            what = f"is key, which only sshd can name: every login through {name} is denied"
            remedy = f"write approver: key for the service {sshd_service} only"
            yield Problem(config, None, key, what, remedy)
        elif _asks_in_account_phase(files, name):
            what = (
                "is key, but sshd asks the phone before it has said which key it is (the account phase): every login is"
                " denied"
            )
            yield Problem(config, None, key, what, _PROMPT)
        elif not keys.places:
            what = "is key, and no key is in the table: every login is denied"
            if found.services[name].otherwise is Otherwise.USER:
                what = "is key, and no key is in the table: the accounts' own phones are asked"
            remedy = "pam-iampass key add PERSON FILE"
            yield Problem(config, None, key, what, remedy, Severity.WARNING)
    yield from keys.problems
    if services and any(found.services[name].unlisted_users.template is None for name in services):
        yield from _without_token(UserTable(found.users), keys)


def unasked(config: Path, found: settings.Settings) -> Iterator[Problem]:
    """Services in which root is exempt, so that nobody who logs in to root is asked, whosever key it is."""
    for name in by_key(found):
        with suppress(UnknownAccount, LookupFailed, policy.PolicyError):
            root = Accounts().named("root")
            login = Login(root.name, name, ssh_auth_info="")
            reason = policy.exempted(root, login, found.services[name], Accounts())
            if reason is not None:
                key = f"services.{name}.approver"
                what = f"is key, but whoever logs in to root by any key is not asked: {reason}"
                remedy = (
                    f"give {name} an exempt: of its own without root, for instance an account for emergencies"
                )
                yield Problem(config, None, key, what, remedy)


def connections_covered(config: Path, found: settings.Settings) -> Iterator[Problem]:
    """Services in which the ssh agent of a person, forwarded to an account of several people, needs no phone."""
    for name in by_key(found):
        session = found.services[name].session
        if session.keep and session.covers_connections:
            what = (
                f"is true for {name}, where approver is key: whoever can use the ssh agent that a person forwards to an"
                " account of several people logs in with it as that person, without the phone, while a login of theirs"
                " from the same address is kept"
            )
            remedy = f"set covers_connections: false for the service {name}"
            yield Problem(config, None, "session.covers_connections", what, remedy, Severity.WARNING)


def whom(problem: Problem, keys: Path) -> str | None:
    """Who is denied because of an error of `denying`, in words; None if it is none."""
    if problem.key.startswith("services.") and problem.key.endswith(".approver"):
        return f"everybody who is not exempt is denied by {problem.key}"
    if problem.file is not None and (problem.file == keys or folder_of(keys) in problem.file.parents):
        return (
            f"{shown(problem.key)} is denied"
            if problem.key
            else f"people whose keys {problem.file} has are denied"
        )
    return None


def _without_token(users: UserTable, keys: KeyReport) -> Iterator[Problem]:
    told = set()
    for place in keys.places:
        if place.person in told:
            continue
        told.add(place.person)
        with suppress(ConfigurationError):  # told elsewhere
            if users.find(place.person) is None:
                what = f"{shown(place.person)} has keys, and no token in the user table: is denied"
                remedy = "pam-iampass enroll USER (without an account: --no-account), or pam-iampass key remove USER"
                yield Problem(place.file, place.line, place.person, what, remedy)


def _asks_in_account_phase(files: PamFiles, name: str) -> bool:
    try:
        service = files.service(name)
    except (OSError, UnusableService):
        return False
    return bool(our_lines(service, PamType.ACCOUNT) and not our_lines(service))
