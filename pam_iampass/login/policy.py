"""The policy: who must approve a login, and on which phone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pam_iampass.config.settings import AskedSettings, ServiceSettings, same_program, usual_approver
from pam_iampass.config.ssh_keys import AcceptedKey, MalformedKey, accepted_keys
from pam_iampass.config.user_table import UserTable, WrongOwner
from pam_iampass.config.value_types import (
    Approver,
    ExemptRule,
    Network,
    Otherwise,
    SecondPerson,
    token_error,
)
from pam_iampass.errors import ConfigurationError, shown
from pam_iampass.login.throttle import ip_address
from pam_iampass.outcome import Login, Phase
from pam_iampass.system.accounts import Account, Accounts, LookupFailed, UnknownAccount


class PolicyError(Exception):
    """The policy cannot determine who must approve."""


@dataclass(frozen=True)
class Person:
    """A person who must approve."""

    name: str
    """A name of the user table. It is compared byte for byte."""
    account: Account | None
    """The person's own account; None if the machine has none of exactly this name."""


@dataclass(frozen=True)
class Agent:
    """An account that acts for a person, and makes a request (`acts_for` in the user table)."""

    account: Account
    owner: str
    """The person whose phone approves: a name of the user table."""
    only_by_session: bool = False
    """Whether another account would be asked, but this is the account of the login session (`acting`)."""


@dataclass(frozen=True)
class Exempt:
    """The login needs no second factor."""

    reason: str


@dataclass(frozen=True)
class Nobody:
    """Nothing names the person who must approve."""

    reason: str
    unknown: str = "whose key this is"
    """The thing that is not known, in words for the person who logs in; empty if they are known, and nobody else could
    approve."""


@dataclass(frozen=True)
class NotListed:
    """The approver has no token."""

    ignore: bool
    """Whether the login goes on without a second factor."""


@dataclass(frozen=True)
class Phone:
    """The phone that is asked."""

    token: str
    """The id of its owner at IAMPASS."""
    methods: tuple[str, ...]
    """The methods that the request allows; empty if IAMPASS chooses."""
    listed: bool = True
    """Whether the user table has the token, or a gateway the person: it is not made by `unlisted_users`."""


def caller_name(login: Login, accounts: Accounts) -> str:
    """The caller, for the audit record: the owner of the application's process; empty if unknown.

    A process of root may act for anybody: root is the caller only where the application says so itself (su, sudo), and
    not for a remote user, who may have chosen PAM_RUSER.
    """
    if login.real_uid is None:
        return ""
    try:
        owner = accounts.with_uid(login.real_uid).name
    except (UnknownAccount, LookupFailed):
        owner = str(login.real_uid)
    return "" if login.real_uid == 0 and (login.rhost or login.ruser != owner) else owner


def who_approves(
    login: Login,
    account: Account,
    service: ServiceSettings,
    accounts: Accounts,
    users: UserTable,
    people_within: Callable[[], frozenset[str]] = frozenset,
) -> Person | Exempt | Nobody:
    """Return who must approve a login, if anybody.

    `account` is the account of PAM_USER; `people_within` says who began the login session in which the application
    runs. Raises ConfigurationError, LookupFailed and PolicyError.
    """
    if service.approver is Approver.KEY:
        return _person_behind(account, lambda: _named_by_key(login, users), login, service, accounts)
    if service.approver is Approver.LOGIN and login.through_sshd:
        raise PolicyError(
            "who approved the login session must approve (approver: login), but sshd has not opened one yet: see key"
        )
    asked = approver(login, account, service, accounts)
    if service.approver is Approver.LOGIN and not _is_su_to_another(login, account):
        return _person_behind(asked, lambda: named_by_login(people_within()), login, service, accounts)
    reason = exemption(asked, login, service, accounts)
    return Person(asked.name, asked) if reason is None else Exempt(reason)


def acting(
    login: Login, account: Account, service: ServiceSettings, accounts: Accounts, users: UserTable
) -> Agent | None:
    """The account that acts for a person and makes the request; None if people make it for themselves.

    It is the account whose phone would be asked. Or it is the account of the login session in which sudo and the like
    are called (`Login.login_uid`), if the caller has become its owner or a user whom nobody asks. All other users need
    their own approval: the owner approves for no other person. A process outside of login sessions can choose its login
    uid (`audit_set_loginuid` in the kernel), so nobody gets in more easily because of a login uid.

    `account` is the account of PAM_USER. Such an account is never exempt. Raises ConfigurationError, LookupFailed and
    PolicyError.
    """
    if service.approver is (Approver.LOGIN if login.through_sshd else Approver.KEY):
        return None  # `who_approves` denies it
    has_second = isinstance(service.approver, SecondPerson)
    if has_second or service.approver is Approver.KEY:
        service = replace(service, approver=usual_approver(login.service))
    asked = approver(login, account, service, accounts)
    try:
        own = _agent(asked, service, accounts, users)
        if own is not None or login.login_uid == asked.uid:
            return own
        found = _agent_of_session(login, service, accounts, users)
        if found is None or asked.name == found.owner or has_second:
            return found
        is_spared = exemption(asked, login, service, accounts) is not None or phone(
            asked.name, service, users
        ) == NotListed(ignore=True)
        return found if is_spared and asked.uid == login.real_uid else None
    except WrongOwner:
        raise
    except ConfigurationError:
        if exemption(asked, login, service, accounts) is None:
            raise
        return None  # who is exempt needs no table


def session_account(login: Login, accounts: Accounts) -> Account | None:
    """The account of the login session in which sudo and the like are called; None if it is not known, or does not
    count: a service of root may have been started in any login session. Raises LookupFailed."""
    if login.login_uid is None or login.real_uid == 0:
        return None
    try:
        return accounts.with_uid(login.login_uid)
    except UnknownAccount:
        return None


def _agent_of_session(
    login: Login, service: ServiceSettings, accounts: Accounts, users: UserTable
) -> Agent | None:
    account = session_account(login, accounts)
    found = None if account is None else _agent(account, service, accounts, users)
    return None if found is None else replace(found, only_by_session=True)


def _agent(account: Account, service: ServiceSettings, accounts: Accounts, users: UserTable) -> Agent | None:
    owner = users.owner_of(account.name)
    if owner is None:
        return None
    reason = exempted_by_name(account, service, accounts)
    if reason is not None:
        raise PolicyError(f"{account.name} acts for {owner}, and {reason}: it cannot be both")
    return Agent(account, owner)


def exempted_by_name(account: Account, service: ServiceSettings, accounts: Accounts) -> str | None:
    """Why `exempt` names the account, itself or with a network, or None. Raises LookupFailed."""
    named = (rule for rule in service.exempt.rules if is_named_by(rule, account, accounts))
    rule = next((f"{account.name} is exempt by the rule: {one.text}" for one in named), None)
    return exempted(account, Login(account.name, ""), service, accounts) or rule


def _person_behind(
    account: Account,
    name: Callable[[], str | Nobody],
    login: Login,
    service: ServiceSettings,
    accounts: Accounts,
) -> Person | Exempt | Nobody:
    """The person who uses an account that several people share, as `name` says.

    Either of the two is exempt if `exempt` names the account or the person. Both must be left out of `asked`: a person
    who has no account cannot be.
    """
    reason = exempted(account, login, service, accounts)
    if reason is not None:
        return Exempt(reason)
    person = name()
    if isinstance(person, Nobody):
        return person if service.otherwise is Otherwise.DENY else Person(account.name, account)
    own = own_account(person, accounts)
    if own is None:
        return Person(person, None)
    reason = exempted(own, login, service, accounts)
    if reason is None and not _is_asked(account, service.asked, accounts):
        reason = _unasked(own, service, accounts)
    return Person(person, own) if reason is None else Exempt(reason)


def key_names_person(service: ServiceSettings, users: UserTable) -> bool:
    """Whether the key of an ssh login says who logs in: always, or as the one for whom a second person approves."""
    by_key = service.approver is Approver.KEY
    return by_key or (isinstance(service.approver, SecondPerson) and users.accounts_are_shared)


def _named_by_key(login: Login, users: UserTable) -> str | Nobody:
    """The name of the one person whose key it is. Raises ConfigurationError and PolicyError."""
    if login.ssh_auth_info is None:
        raise PolicyError("the person whose key it is must approve (approver: key), but this is not sshd")
    if login.phase is Phase.ACCOUNT:  # the method that has just succeeded is not known there
        raise PolicyError(
            "the person whose key it is must approve (approver: key), but in the account phase sshd has not said which"
            " key it is: pam-iampass setup sshd --prompt"
        )
    return named_by_keys(login.ssh_auth_info, users)


def named_by_keys(ssh_auth_info: str, users: UserTable) -> str | Nobody:
    """The name of the one person whose keys sshd has accepted. Raises ConfigurationError and PolicyError."""
    found = accepted(ssh_auth_info)
    if not found:
        return Nobody("sshd has accepted no key, which would name the person who must approve")
    people: set[str] = set()
    for key in found:
        named = users.people(key)
        if not named:
            return Nobody(f"{key} belongs to nobody in the user table")
        people |= named
    if len(people) > 1:
        raise PolicyError(
            f"{' and '.join(map(str, found))} name several people: {', '.join(sorted(map(shown, people)))}"
        )
    return people.pop()


def accepted(ssh_auth_info: str | None) -> list[AcceptedKey]:
    """The keys that sshd has accepted. Raises PolicyError."""
    try:
        return accepted_keys(ssh_auth_info or "")
    except MalformedKey as malformed:
        raise PolicyError(f"what sshd says of the key {malformed}") from None


def named_by_login(people: frozenset[str]) -> str | Nobody:
    """The name of the one person who began the login session. Raises PolicyError."""
    if not people:
        reason = (
            "the program runs in no login session that a person approved and that is kept (approver: login)"
        )
        return Nobody(reason, "who approved this login session")
    first, *others = sorted(people)
    if others:
        found = ", ".join(shown(each) for each in (first, *others))
        raise PolicyError(f"several people began this login session: {found}")
    return first


def own_account(person: str, accounts: Accounts) -> Account | None:
    """The account of exactly this name. Raises LookupFailed."""
    try:
        account = accounts.named(person)
    except UnknownAccount:
        return None
    return account if account.name == person else None


def approver(login: Login, account: Account, service: ServiceSettings, accounts: Accounts) -> Account:
    """The account whose phone is asked: the user's or, if the settings say so, the caller's.

    In sudo the caller approves for every target: sudoers says which ones the caller may become, and with `rootpw`,
    `targetpw` or `runaspw` PAM_USER is somebody else. In su the caller approves for root only: a caller who knows
    another user's password must not become that user with a phone of their own.

    PAM_RUSER is trusted only if it agrees with the real user id of the application: a remote host may have chosen it.
    Raises PolicyError and LookupFailed.
    """
    if service.approver is Approver.USER or _is_su_to_another(login, account):
        return account
    if not login.ruser or login.real_uid is None:
        raise PolicyError("the caller must approve, but PAM_RUSER is not set")
    try:
        named = accounts.named(login.ruser)
        real = accounts.with_uid(login.real_uid)
    except UnknownAccount:
        raise PolicyError("the caller must approve, but has no account on this machine") from None
    if named.uid != real.uid:
        raise PolicyError("the caller must approve, but PAM_RUSER is not the owner of the process")
    return named


def _is_su_to_another(login: Login, account: Account) -> bool:
    """Whether somebody becomes another user than root by su."""
    return same_program(login.service) == "su" and account.uid != 0


def exemption(account: Account, login: Login, service: ServiceSettings, accounts: Accounts) -> str | None:
    """The reason why a login that `account` must approve needs no second factor, or None.

    Raises LookupFailed and PolicyError.
    """
    return exempted(account, login, service, accounts) or _unasked(account, service, accounts)


def exempted(account: Account, login: Login, service: ServiceSettings, accounts: Accounts) -> str | None:
    """Why `exempt` names the account, or None. Raises LookupFailed."""
    exempt = service.exempt
    if _is_one_of(account, exempt.users, accounts):
        return f"{account.name} is exempt"
    group = _group_of(account, exempt.groups, accounts)
    if group is not None:
        return f"{account.name} is in the exempt group {group}"
    network = _network_of(login.rhost, exempt.networks)
    if network is not None:
        return f"the network {network} is exempt"
    for rule in exempt.rules:
        if _network_of(login.rhost, (rule.network,)) and is_named_by(rule, account, accounts):
            return f"exempt by the rule: {rule.text}"
    return None


def _unasked(account: Account, service: ServiceSettings, accounts: Accounts) -> str | None:
    """Why `asked` leaves the account out, or None. Raises LookupFailed and PolicyError."""
    return None if _is_asked(account, service.asked, accounts) else f"{account.name} is not one of `asked`"


def is_named_by(rule: ExemptRule, account: Account, accounts: Accounts) -> bool:
    """Whether the rule is about the account, wherever the login comes from. Raises LookupFailed."""
    names = frozenset({rule.name})
    if rule.is_group:
        return _group_of(account, names, accounts) is not None
    return _is_one_of(account, names, accounts)


def _is_asked(account: Account, asked: AskedSettings, accounts: Accounts) -> bool:
    """Whether the account needs a second factor.

    An account that is not listed passes. So a name service that does not answer must not look like one that has no such
    name or no such member: an unknown name, and a name service that fails, deny every account that is not listed by
    another entry. Raises LookupFailed and PolicyError.
    """
    if not (asked.users or asked.groups) or account.name in asked.users:
        return True
    unknown = None
    for name in sorted(asked.users):
        try:
            if accounts.named(name).name == account.name:
                return True
        except UnknownAccount:
            unknown = f"the user {name}"
    own = accounts.groups(account) if asked.groups else frozenset()
    for name in sorted(asked.groups):
        found = accounts.group_id(name)
        if found in own or accounts.lists(name, account):
            return True
        if found is None:
            unknown = f"the group {name}"
    if unknown is not None:
        raise PolicyError(f"`asked` names {unknown}, which this machine does not know")
    if asked.groups:
        accounts.check_groups(account)
    return False


def phone(person: str, service: ServiceSettings, users: UserTable) -> Phone | NotListed:
    """The phone of a person, or the policy for users without one. Raises ConfigurationError and PolicyError.

    A gateway knows everybody by name: of the table, only the methods count. A person whom a key or a login session
    names is asked: without a phone, nobody uses an account that several people share.
    """
    entry, unlisted = users.find(person), service.unlisted_users
    if entry is not None and entry.acts_for:
        return NotListed(ignore=False)
    methods = service.methods if entry is None or entry.methods is None else entry.methods
    methods = service.own_methods or methods
    own = None if entry is None else entry.token
    if own is not None and not unlisted.everybody:
        return Phone(own, methods)
    token = unlisted.token_for(person)
    if token is None:
        shared = service.approver in (Approver.KEY, Approver.LOGIN)
        return NotListed(unlisted.ignore and not shared)
    fault = token_error(token)
    if fault is not None:
        raise PolicyError(f"the token that unlisted_users makes for this user {fault}")
    return Phone(token, methods, listed=own is not None or unlisted.everybody)


def _is_one_of(account: Account, names: frozenset[str], accounts: Accounts) -> bool:
    if account.name in names:
        return True
    for name in sorted(names):
        try:
            if accounts.named(name).name == account.name:
                return True
        except UnknownAccount:
            continue
    return False


def _group_of(account: Account, names: frozenset[str], accounts: Accounts) -> str | None:
    """Return one of these groups that the account is in, None without one. Raises LookupFailed."""
    own = accounts.groups(account) if names else frozenset()
    return next((name for name in sorted(names) if accounts.group_id(name) in own), None)


def _network_of(rhost: str | None, networks: tuple[Network, ...]) -> str | None:
    """Return the one of these networks that a remote address is in. A host name is in none: DNS is not trusted for
    this."""
    address = ip_address(rhost or "")
    if address is None:
        return None
    return next((str(network) for network in networks if address in network), None)
