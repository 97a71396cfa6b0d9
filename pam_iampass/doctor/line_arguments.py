"""Our PAM lines whose arguments do not fit the settings: `first_factor=` with `enroll_at_login`, and `rescue=NAME`."""

from __future__ import annotations

from collections.abc import Iterator

from pam_iampass.config.settings import Settings
from pam_iampass.errors import Problem, Severity
from pam_iampass.login.arguments import ModuleArguments
from pam_iampass.login.policy import PolicyError, exemption
from pam_iampass.outcome import Login
from pam_iampass.pam.modules import demands_key, our_lines, own_arguments
from pam_iampass.pam.stack import Handler, PamFiles, PamType, UnusableService
from pam_iampass.system.accounts import Accounts, LookupFailed, UnknownAccount

ENROLL_AT_LOGIN = "enroll_at_login"
_WHAT = "needs first_factor=publickey on this line: without it, users who have no phone are denied"


def enrollment_problems(settings: Settings, files: PamFiles) -> Iterator[Problem]:
    """A problem for each of our PAM lines without `first_factor=publickey` in a service that enrolls at login.

    A service that names us and that libpam cannot use is a problem as well. Files that cannot be read are left out.
    """
    reported: set[str] = set()
    for service in _names(files):
        if not settings.for_service(service).enroll_at_login:
            continue
        try:
            ours = our_lines(files.service(service))
        except OSError:
            continue
        except UnusableService as error:
            if any("pam_iampass" in text for text in files.texts(service)):
                file = files.path(service) or files.folders[0] / service
                what = f"the PAM service cannot be checked: {error}"
                yield Problem(file, None, ENROLL_AT_LOGIN, what, "correct the PAM file", Severity.WARNING)
            continue
        for line in ours:
            if not demands_key(line) and line.place not in reported:
                reported.add(line.place)
                yield _problem(line, service)


def _problem(line: Handler, service: str) -> Problem:
    remedy = (
        "add first_factor=publickey to the line if it is for sshd; otherwise set enroll_at_login "
        f"for the services of sshd only, or services: {{{service}: {{enroll_at_login: false}}}}"
    )
    return Problem(line.file, line.line, ENROLL_AT_LOGIN, _WHAT, remedy, Severity.ERROR)


def _names(files: PamFiles) -> list[str]:
    try:
        return files.names()
    except OSError:
        return []


def rescue_problems(settings: Settings, files: PamFiles) -> Iterator[Problem]:
    """A problem for each line whose NAME is an account that the settings do not exempt from the phone.

    Files that cannot be read, or that libpam cannot use, are left out.
    """
    for service in files.usable():
        for line in (*our_lines(service), *our_lines(service, PamType.ACCOUNT)):
            name = ModuleArguments.parse(["", *own_arguments(line)]).rescue
            why = _not_exempt(name, service.name, settings) if name else None
            if why:
                when = "while no agent runs or the settings are invalid"
                what = f"rescue={name} lets {name} in without the phone {when}, but {name} {why}"
                remedy = f"exempt it, for instance exempt: {{users: [{name}]}}, or remove the argument"
                yield Problem(line.file, line.line, "rescue", what, remedy, Severity.ERROR)


def _not_exempt(name: str, service: str, settings: Settings) -> str | None:
    """Why the account needs the phone in this service, from wherever it logs in; None if it does not."""
    accounts = Accounts()
    try:
        account = accounts.named(name)
        reason = exemption(account, Login(name, service), settings.for_service(service), accounts)
    except UnknownAccount:
        return "is not an account of this machine"
    except (LookupFailed, PolicyError) as error:
        return f"cannot be judged: {error}"
    if account.name != name:
        return f"is another spelling of {account.name}"
    return None if reason else "is not exempt"
