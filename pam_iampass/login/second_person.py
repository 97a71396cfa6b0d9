"""A second person: others than the one who logs in must approve (`approver: {group: oncall}`). Who, and for how long.

They are asked one after the other (`verification.py`). `exempt` and `asked` are about the one who logs in, as if the
service had no `approver`: nobody gets in because somebody else is exempt. Bypasses and recovery codes are for a
person's own phone, and have no effect here.
"""

from __future__ import annotations

from dataclasses import replace

from pam_iampass.config.key_table import KeyTable
from pam_iampass.config.settings import ServiceSettings, usual_approver
from pam_iampass.config.ssh_keys import MalformedKey, accepted_keys
from pam_iampass.config.user_table import UserTable
from pam_iampass.config.value_types import SecondPerson
from pam_iampass.login import policy
from pam_iampass.login.application import PamApplication
from pam_iampass.login.context import ApprovalRequired, Configuration, LoginContext
from pam_iampass.login.policy import Exempt, Nobody, Phone, PolicyError
from pam_iampass.outcome import Login
from pam_iampass.session.cover import is_within
from pam_iampass.session.kept_session import State
from pam_iampass.session.store import KeptSessions
from pam_iampass.system.accounts import Account, Accounts, UnknownAccount


def share(time_left: float, people_left: int, least: float) -> float:
    """How long the next of some people has to answer, in seconds.

    They share the time that is left equally, as many of them as have `least` seconds; for the others no time is left.
    """
    return time_left / max(min(people_left, int(time_left // least)), 1)


def who_approves(
    second: SecondPerson,
    login: Login,
    account: Account,
    configuration: Configuration,
    application: PamApplication,
    context: LoginContext,
) -> ApprovalRequired | Exempt | Nobody:
    """Who must approve a login, in the order in which they are asked.

    `second` is the setting `approver` of its service, `account` is that of PAM_USER. Raises ConfigurationError,
    LookupFailed and PolicyError.
    """
    accounts, service = context.accounts, configuration.settings.for_service(login.service)
    usual = replace(service, approver=usual_approver(login.service))
    asker = policy.approver(login, account, usual, accounts)
    reason = policy.exemption(asker, login, service, accounts)
    if reason is not None:
        return Exempt(reason)
    themselves = frozenset[str]()
    if not second.allow_self:
        themselves |= {account.name, asker.name, login.participants.caller} - {""}
        themselves |= _of_keys(login.ssh_auth_info, configuration.keys)
        themselves |= _of_login_session(login, application, context.state.sessions, configuration)
    people = _people(second, themselves, service, configuration.users, accounts)
    if not people:
        return Nobody(f"of those who may approve for {asker.name}, nobody else has a token in the user table")
    all_required = [
        ApprovalRequired(login, account.name, name, configuration, service, phone, asker.name)
        for name, phone in people.items()
    ]
    return replace(all_required[0], others=tuple(all_required[1:]))


def _of_keys(ssh_auth_info: str | None, keys: KeyTable) -> frozenset[str]:
    """The people whose keys sshd has accepted. Raises ConfigurationError and PolicyError."""
    try:
        accepted = accepted_keys(ssh_auth_info or "")
    except MalformedKey as malformed:
        raise PolicyError(f"what sshd says of the key {malformed}") from None
    return frozenset[str]().union(*(keys.people(key) for key in accepted))


def _of_login_session(
    login: Login, application: PamApplication, sessions: KeptSessions | None, configuration: Configuration
) -> frozenset[str]:
    """Who has begun the login session in which the application runs, if it is kept: who approved it for themselves,
    and whose keys sshd had accepted."""
    names = frozenset[str]()
    for kept in sessions.all() if sessions is not None else ():
        whatever_state = replace(kept, state=State.OPEN)  # also while it is being ended
        if is_within(whatever_state, application.audit_session, login.real_uid):
            names |= _of_keys(kept.first_factor, configuration.keys)
            if not isinstance(configuration.settings.for_service(kept.service).approver, SecondPerson):
                names |= {kept.approver}
    return names


def _people(
    second: SecondPerson,
    themselves: frozenset[str],
    service: ServiceSettings,
    users: UserTable,
    accounts: Accounts,
) -> dict[str, Phone]:
    """The people who are asked, with their phones, without the one who logs in, under whatever name.

    Raises ConfigurationError, LookupFailed and PolicyError.
    """
    names = second.names if second.group is None else accounts.members_of(second.group)
    if names is None:
        raise PolicyError(f"the group {second.group} is to approve, and this machine does not know it")
    phones = {name: policy.phone(name, service, users) for name in (*names, *themselves)}
    found = {name: phone for name, phone in phones.items() if isinstance(phone, Phone)}
    own_tokens = {found[name].token for name in themselves if name in found}
    own_uids = {_uid(name, accounts) for name in themselves} - {None}
    return {
        name: found[name]
        for name in names
        if name in found
        and name not in themselves
        and found[name].token not in own_tokens
        and _uid(name, accounts) not in own_uids
    }


def _uid(name: str, accounts: Accounts) -> int | None:
    """The user id of a person's account, None without one. Raises LookupFailed."""
    try:
        return accounts.named(name).uid
    except UnknownAccount:
        return None
