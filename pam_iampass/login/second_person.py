"""Second persons: other people than the person who logs in must approve (`approver: {group: oncall}`).

They are asked one after the other (`verification.py`): if all phones got the request, the most careless person would
decide. Their backoff counts by origin and asker, so that denials of one account do not delay everybody's sudo. The
asker's own limits count too: with ten approvers, one asker could otherwise cause 86 requests an hour, not 27. The asker
must be known, because an unnamed person could approve their own login.

`exempt` and `asked` are about the person who logs in, as if the service had no `approver`: nobody gets in because
another person is exempt. Bypasses and recovery codes are for a person's own phone, and have no effect here.
"""

from __future__ import annotations

from dataclasses import replace

from pam_iampass.config.settings import ServiceSettings, usual_approver
from pam_iampass.config.user_table import UserTable
from pam_iampass.config.value_types import SecondPerson
from pam_iampass.login import policy
from pam_iampass.login.application import PamApplication
from pam_iampass.login.context import ApprovalRequired, Configuration, LoginContext
from pam_iampass.login.policy import Agent, Exempt, Nobody, Phone, PolicyError
from pam_iampass.outcome import Login
from pam_iampass.session.cover import is_within
from pam_iampass.session.kept_session import KeptSession, State
from pam_iampass.session.store import KeptSessions
from pam_iampass.system.accounts import Account, Accounts, UnknownAccount


def share(time_left: float, people_left: int, least: float) -> float:
    """Return how long the next of some people has to answer, in seconds.

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
    agent: Agent | None,
) -> ApprovalRequired | Exempt | Nobody:
    """Return who must approve a login, in the order in which they are asked.

    `second` is the setting `approver` of its service, `account` is the account of PAM_USER. The owner of an `agent` is
    not asked. Raises ConfigurationError, LookupFailed and PolicyError.
    """
    accounts, service = context.accounts, configuration.settings.for_service(login.service)
    usual = replace(service, approver=usual_approver(login.service))
    asking = policy.approver(login, account, usual, accounts)
    reason = None if agent else policy.exemption(asking, login, service, accounts)
    if reason is not None:
        return Exempt(reason)
    caller = login.participants.caller if login.ruser else ""
    sessions = _login_sessions(login, application, context.state.sessions)
    person: str | Nobody
    if agent is not None:
        person = agent.account.name
    else:
        person = _who_logs_in(login, caller or asking.name, sessions, service, configuration, accounts)
    if isinstance(person, Nobody) and not second.allow_self:
        return person
    asker = asking.name if isinstance(person, Nobody) else person
    themselves = frozenset([agent.owner] if agent else ())
    if not second.allow_self:
        themselves |= {account.name, asking.name, login.participants.caller, asker}
        for kept in sessions:
            themselves |= {kept.person} | _of_keys(kept, configuration.users)
    people = _people(second, themselves - {""}, service, configuration.users, accounts)
    if not people:
        return Nobody(f"of those who may approve for {asker}, nobody else has a token in the user table", "")
    known = not isinstance(person, Nobody)
    all_required = [
        ApprovalRequired(
            login, account.name, name, configuration, service, phone, asker, known, agent is not None
        )
        for name, phone in people.items()
    ]
    return replace(all_required[0], others=tuple(all_required[1:]))


def _who_logs_in(
    login: Login,
    account: str,
    sessions: list[KeptSession],
    service: ServiceSettings,
    configuration: Configuration,
    accounts: Accounts,
) -> str | Nobody:
    """The person who logs in: named by the key, else by the login session, else by the account; and one that is known.

    Raises ConfigurationError, LookupFailed and PolicyError.
    """
    users = configuration.users
    name = _named(login, account, sessions, users)
    if isinstance(name, Nobody):
        return name
    entry = users.find(name)
    if users.accounts_are_shared and not (entry and entry.keys):
        reason = f"{name} has no key in the user table, so that it may be an account that several people share, and"
        return Nobody(
            f"{reason} neither a key nor a login session that is kept says who this is", "who you are"
        )
    phone = policy.phone(name, service, users)
    if not isinstance(phone, Phone):
        return Nobody(f"{name} has no token in the user table, and may not be who it seems", "who you are")
    if not phone.listed and not policy.own_account(name, accounts):
        reason = f"{name} is neither in the user table nor an account, and may be another name of a person"
        return Nobody(reason, "who you are")
    return name


def _named(login: Login, account: str, sessions: list[KeptSession], users: UserTable) -> str | Nobody:
    """Return the person whose key it is, else the person who began the login session, else `account`. If people share
    accounts, a key that belongs to no person names nobody. Raises ConfigurationError and PolicyError."""
    if users.accounts_are_shared and policy.accepted(login.ssh_auth_info):
        return policy.named_by_keys(login.ssh_auth_info or "", users)
    people = frozenset[str]()
    for kept in sessions:
        named = {kept.person} - {"", kept.user}
        if users.accounts_are_shared and policy.accepted(kept.first_factor):
            by_key = policy.named_by_keys(kept.first_factor or "", users)
            if isinstance(by_key, Nobody) and not named:
                return by_key
            named = named if isinstance(by_key, Nobody) else {by_key}
        people |= named
    return policy.named_by_login(people) if people else account


def _of_keys(kept: KeptSession, users: UserTable) -> frozenset[str]:
    """The people whose keys began a login session. Raises ConfigurationError and PolicyError."""
    return frozenset[str]().union(*(users.people(key) for key in policy.accepted(kept.first_factor)))


def _login_sessions(
    login: Login, application: PamApplication, sessions: KeptSessions | None
) -> list[KeptSession]:
    """The kept login sessions in which the application runs, also while they are being ended."""
    return [
        kept
        for kept in (sessions.all() if sessions is not None else ())
        if is_within(replace(kept, state=State.OPEN), application.audit_session, login.real_uid)
    ]


def _people(
    second: SecondPerson,
    themselves: frozenset[str],
    service: ServiceSettings,
    users: UserTable,
    accounts: Accounts,
) -> dict[str, Phone]:
    """The people who are asked, each phone once, and never the person who logs in, under whatever name.

    Raises ConfigurationError, LookupFailed and PolicyError.
    """
    names = second.names if second.group is None else accounts.members_of(second.group)
    if names is None:
        raise PolicyError(f"the group {second.group} is to approve, and this machine does not know it")
    phones = {name: policy.phone(name, service, users) for name in (*names, *themselves)}
    found = {name: phone for name, phone in phones.items() if isinstance(phone, Phone)}
    own_tokens = {found[name].token for name in themselves if name in found}
    own_uids = {_uid(name, accounts) for name in themselves} - {None}
    one_each = {phone.token: name for name, phone in reversed(found.items()) if name in names}
    return {
        name: found[name]
        for name in names
        if name in found
        and one_each[found[name].token] == name
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
