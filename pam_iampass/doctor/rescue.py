"""PAM lines whose `rescue=NAME` names an account that the settings do not exempt from the phone."""

from __future__ import annotations

from collections.abc import Iterator

from pam_iampass.config.settings import Settings
from pam_iampass.errors import Problem, Severity
from pam_iampass.login.arguments import ModuleArguments
from pam_iampass.login.policy import PolicyError, exemption
from pam_iampass.outcome import Login
from pam_iampass.pam.modules import our_lines, own_arguments
from pam_iampass.pam.stack import PamFiles, PamType
from pam_iampass.system.accounts import Accounts, LookupFailed, UnknownAccount


def problems(settings: Settings, files: PamFiles) -> Iterator[Problem]:
    """A problem for each such line. Files that cannot be read, or that libpam cannot use, are left out."""
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
