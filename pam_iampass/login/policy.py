"""Who must approve a login, and on which phone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pam_iampass.config.validation import token_error
from pam_iampass.outcome import Login
from pam_iampass.system.accounts import Account, Accounts, LookupFailed, UnknownAccount

if TYPE_CHECKING:
    from pam_iampass.config.settings import ExemptSettings, ServiceSettings
    from pam_iampass.config.user_table import Entry


class PolicyError(Exception):
    """It cannot be determined who must approve."""


class Users(Protocol):
    """The user table."""

    def find(self, name: str) -> Entry | None:
        """The user's entry, or None."""


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
    """Empty: IAMPASS chooses."""
    listed: bool = True
    """Whether the token is from the user table, and not made by `unlisted_users`."""


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


def approver(login: Login, account: Account, service: ServiceSettings, accounts: Accounts) -> Account:
    """The account whose phone is asked: the user or, where the settings say so and the user is root, the caller (su).

    Nobody but the target approves for another target: its password and its phone would not be two factors of one
    person. PAM_RUSER is trusted only where it agrees with the real user id of the application: elsewhere a remote host
    may have chosen it. Raises PolicyError and LookupFailed.
    """
    if service.approver.value == "user" or account.uid != 0:
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


def exemption(account: Account, login: Login, exempt: ExemptSettings, accounts: Accounts) -> str | None:
    """The reason why a login that `account` must approve needs no second factor, or None. Raises LookupFailed."""
    if _is_one_of(account, exempt.users, accounts):
        return f"{account.name} is exempt"
    if exempt.groups:
        own = accounts.groups(account)
        for group in sorted(exempt.groups):
            if accounts.group_id(group) in own:
                return f"{account.name} is in the exempt group {group}"
    network = _network_of(login.rhost, exempt)
    return f"the network {network} is exempt" if network else None


def phone(account: Account, service: ServiceSettings, users: Users) -> Phone | NotListed:
    """The phone of an account, or the policy for users without one. Raises ConfigurationError and PolicyError."""
    entry = users.find(account.name)
    if entry is not None:
        return Phone(entry.token, entry.methods if entry.methods is not None else service.methods)
    token = service.unlisted_users.token_for(account.name)
    if token is None:
        return NotListed(service.unlisted_users.ignore)
    fault = token_error(token)
    if fault is not None:
        raise PolicyError(f"the token that unlisted_users makes for this user {fault}")
    return Phone(token, service.methods, listed=False)


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


def _network_of(rhost: str | None, exempt: ExemptSettings) -> str | None:
    """The exempt network of a remote address. A host name is in none of them: DNS is not trusted for this."""
    if not exempt.networks or not rhost:
        return None
    import ipaddress

    try:
        address = ipaddress.ip_address(rhost)
    except ValueError:
        return None
    address = getattr(address, "ipv4_mapped", None) or address
    return next((str(network) for network in exempt.networks if address in network), None)
