"""The problems of sudo: its PAM services, and the lines of sudoers that lead around the phone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from pam_iampass.check.catalogue import finding
from pam_iampass.check.machine import Machine
from pam_iampass.check.stacks import Stacks
from pam_iampass.check.user_status import UserState
from pam_iampass.config.settings import Settings, usual_approver
from pam_iampass.config.value_types import Approver, SecondPerson
from pam_iampass.errors import RUN_AS_ROOT, ConfigurationError, Problem, Severity
from pam_iampass.system import sudoers
from pam_iampass.system.programs import CommandUnavailable
from pam_iampass.system.sudoers import NO_PASSWORD, PAM_SERVICES, Scope, Sudoers, SudoersLine, SudoersRejected
from pam_iampass.text import names

_AROUND_PAM = (*PAM_SERVICES, "pam_acct_mgmt")
_SPARES_THE_PASSWORD = (NO_PASSWORD, "authenticate", "exempt_group", "timestamp_timeout", "timestamp_type")
"""Settings by which sudo calls no `auth` stack. It still calls its `account` stack."""


def findings(machine: Machine) -> Iterator[Problem]:
    """Everything that is wrong with sudo, and with sudo-rs where it reads other files."""
    if not sudoers.is_installed():
        machine.not_checked.append("sudo: is not installed")
    for source in sudoers.directories():
        machine.not_checked.append(f"rules of sudo from {source}: sudo -l -U USER lists them")
    for line in sudoers.other_plugins():
        machine.not_checked.append(f"another plug-in of sudo, which may be another policy: {line}")
    for file in sudoers.files():
        try:
            if file is None and machine.sudoers is not None:
                yield from _of_sudo(machine, machine.sudoers)
            elif machine.stacks.asks("sudo"):
                yield from _loopholes(machine, sudoers.read(file))
        except SudoersRejected as rejected:
            yield finding(
                "sudoers-unread", "sudo", str(rejected), remedy="Correct the named file with visudo"
            )
        except CommandUnavailable as unavailable:
            if unavailable.remedy == RUN_AS_ROOT:
                raise
            yield finding("sudoers-unread", "sudo", str(unavailable), remedy=unavailable.remedy)


def unasked(stacks: Stacks, settings: Settings | None) -> Iterator[Problem]:
    """The errors in sudoers because of which sudo, or sudo-rs, does not ask the phone, whoever runs it; and those that
    lead it past its PAM file, for some users, hosts, commands or target users too.

    Raises SudoersRejected and CommandUnavailable.
    """
    approver = partial(_approver, settings)
    for file in sudoers.files():
        lines = sudoers.read(file).lines
        rules = Sudoers(
            tuple(
                one
                for one in lines
                if one.name in _AROUND_PAM or (one.scope is Scope.EVERYTHING and not one.users)
            )
        )
        found = loopholes(rules, stacks.asks, lambda names: frozenset(), approver, always=stacks.asks_always)
        yield from (one for one in found if one.is_error)


def _of_sudo(machine: Machine, rules: Sudoers) -> Iterator[Problem]:
    """The problems of the file that sudo reads, and of the stacks that sudo uses."""
    service, login, stacks = rules.service, rules.login_service, machine.stacks
    asks = stacks.asks(service)
    if not asks and not stacks.asks("sudo"):
        where = f"{stacks.files.path(service)} does not name pam_iampass"
        yield finding("way-in-open", "sudo", where, program="sudo", name="sudo")
        return
    yield from _loopholes(machine, rules)
    if stacks.asks_always(service) and not stacks.asks_always(login):
        yield finding(
            "sibling-unprotected",
            "sudo",
            f"PAM service {service} asks for every command, {login} does not",
            asking="sudo",
            other="sudo -i",
            remedy="pam-iampass setup sudo --always",
        )
    elif asks and rules.text("pam_login_service") is None and not stacks.asks(login):
        yield finding(
            "sibling-unprotected",
            "sudo",
            f"PAM service {service} names pam_iampass, {login} does not",
            asking="sudo",
            other="sudo -i",
            remedy="pam-iampass setup sudo",
        )


def _loopholes(machine: Machine, rules: Sudoers) -> Iterator[Problem]:
    approver = partial(_approver, machine.settings)
    whom = partial(_without_phone, machine)
    shared = approver(machine.sshd_service or "sshd") is Approver.KEY
    always = machine.stacks.asks_always
    return loopholes(rules, machine.stacks.asks, whom, approver, machine.named, shared=shared, always=always)


def _approver(settings: Settings | None, service: str) -> Approver | SecondPerson:
    return usual_approver(service) if settings is None else settings.for_service(service).approver


def _without_phone(machine: Machine, names: Iterable[str]) -> frozenset[str]:
    """The ones among these users whom the settings let pass without the phone."""
    try:
        users = machine.users_and(names)
    except ConfigurationError:
        return frozenset()
    service = next(iter(machine.sudo_services), "sudo")
    states = {name: one.services.get(service, one.state) for name, one in users.items()}
    return frozenset(name for name in names if states[name] in (UserState.EXEMPT, UserState.IGNORED))


def loophole(
    line: SudoersLine,
    asks: Callable[[str], bool],
    *,
    caller_approves: bool,
    shared: bool = False,
    each_time: bool = False,
) -> str | None:
    """The kind of finding about a line of sudoers, if it keeps sudo from asking the phone of its caller.

    `asks` says whether a PAM service asks the phone; `caller_approves` whether the settings have the caller approve,
    and not the user that PAM names; `shared` whether they expect accounts that several people share; `each_time`
    whether sudo asks for every command, in its account phase.
    """
    name, value = line.name, line.value
    if name == "pam_acct_mgmt" and value is False:
        return "sudo-no-account-phase"
    if each_time and name in _SPARES_THE_PASSWORD:
        return None
    if name == NO_PASSWORD:
        return "sudo-no-password"
    if (name == "authenticate" and value is False) or (name == "exempt_group" and value):
        return "sudo-rule-bypasses"
    if name in PAM_SERVICES and not asks(str(value)):
        return "sudo-other-service"
    if name in ("rootpw", "targetpw", "runaspw") and value and not caller_approves:
        return "sudo-asks-another"
    never = name == "timestamp_timeout" and str(value).startswith("-")
    one_for_all = shared and name == "timestamp_type" and value == "global"
    return "sudo-never-asks-again" if never or one_for_all else None


def loopholes(
    rules: Sudoers,
    asks: Callable[[str], bool],
    without_phone: Callable[[Iterable[str]], frozenset[str]],
    approver: Callable[[str], Approver | SecondPerson],
    named: str | None = None,
    *,
    shared: bool = False,
    always: Callable[[str], bool] = lambda service: False,
) -> Iterator[Problem]:
    """The lines that keep sudo from asking, except lines that name only users who need no phone anyway.

    `without_phone` selects these among some users, `approver` whose phone a PAM service asks, `shared` whether sshd
    asks the person whose key it is, `always` whether a PAM service asks for every command. With `named`, only lines
    that may be about this user. Of lines that set the same for the same users or targets, the last one holds; otherwise
    it is not decided which one does.
    """
    others = [name for name in rules.services if approver(name) is Approver.USER]
    shared = rules.remembers and (shared or any(approver(name) is Approver.LOGIN for name in rules.services))
    in_account = [always(rules.service), always(rules.login_service)]
    asks_alike = (lambda name: asks(name) and always(name)) if any(in_account) else asks
    last = {
        (line.name, line.scope, line.members, line.value if line.name == NO_PASSWORD else None): line
        for line in rules.lines
    }
    for line in last.values():
        if line.name == "pam_acct_mgmt" and not any(in_account):
            continue
        kind = loophole(
            line, asks_alike, caller_approves=not others, shared=shared, each_time=all(in_account)
        )
        if kind is None:
            continue
        nobody_asked = kind == "sudo-asks-another" and without_phone(["root"])
        severity = Severity.ERROR if nobody_asked or line.name == "timestamp_type" else None
        accounts, whom = line.accounts, ", ".join(map(str, line.users)) or "everybody"
        if accounts is not None:
            asked = accounts - without_phone(accounts)
            if not asked or (named is not None and named not in asked):
                continue
            whom = names(sorted(asked))
        evidence, service = line.place or f"cvtsudoers: {line}", next(iter(others), "")
        yield finding(kind, "sudo", evidence, severity, rule=line, names=whom, service=service)
