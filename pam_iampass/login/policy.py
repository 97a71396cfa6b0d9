"""Must this login be approved, by whom, and by which token.

Policies are small objects with one method; `decide` asks them in turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pam_iampass.config.validation import token_error
from pam_iampass.outcome import Login
from pam_iampass.system.accounts import Account, Accounts, UnknownAccount

if TYPE_CHECKING:
    from pam_iampass.config.settings import ExemptSettings, ServiceSettings
    from pam_iampass.config.user_table import Entry


class PolicyError(Exception):
    """The approver of this login cannot be told."""


class Users(Protocol):
    """The table of users."""

    def find(self, name: str) -> Entry | None:
        """The user's entry, or None."""


@dataclass(frozen=True)
class Exempt:
    """No second factor is asked of this login."""

    reason: str


@dataclass(frozen=True)
class Unlisted:
    """The approver has no token."""

    ignore: bool
    """Whether the login goes on without a second factor."""


@dataclass(frozen=True)
class Approval:
    """The login must be approved."""

    token: str
    methods: tuple[str, ...]


def approver(login: Login, account: Account, service: ServiceSettings, accounts: Accounts) -> Account:
    """The account whose phone is asked: the user, or (for su) the caller.

    PAM_RUSER is believed only where the real user id of the application says the same: elsewhere a remote side may
    have chosen it. Raises PolicyError and LookupFailed.
    """
    if service.approver.value == "user":
        return account
    if not login.ruser or login.real_uid is None:
        raise PolicyError("the caller must approve, but PAM_RUSER is not set")
    try:
        named = accounts.named(login.ruser)
        real = accounts.with_uid(login.real_uid)
    except UnknownAccount:
        raise PolicyError("the caller must approve, but is no account of this machine") from None
    if named.uid != real.uid:
        raise PolicyError("the caller must approve, but PAM_RUSER is not who the process belongs to")
    return named


def exemption(who: Account, login: Login, exempt: ExemptSettings, accounts: Accounts) -> Exempt | None:
    """Why no second factor is asked, or None. Raises LookupFailed."""
    if _is_one_of(who, exempt.users, accounts):
        return Exempt("the user is exempt")
    if exempt.groups:
        mine = accounts.groups(who)
        for group in sorted(exempt.groups):
            if accounts.group_id(group) in mine:
                return Exempt(f"the group {group} is exempt")
    network = _network_of(login.rhost, exempt)
    return Exempt(f"the network {network} is exempt") if network else None


def demand(who: Account, service: ServiceSettings, users: Users) -> Unlisted | Approval:
    """The user's token, or what the policy for unlisted users says. Raises ConfigurationError and PolicyError."""
    entry = users.find(who.name)
    if entry is not None:
        return Approval(entry.token, entry.methods if entry.methods is not None else service.methods)
    token = service.unlisted_users.token_for(who.name)
    if token is not None:
        fault = token_error(token)
        if fault is not None:
            raise PolicyError(f"the token that unlisted_users makes for this user {fault}")
        return Approval(token, service.methods)
    return Unlisted(service.unlisted_users.ignore)


def _is_one_of(who: Account, names: frozenset[str], accounts: Accounts) -> bool:
    if who.name in names:
        return True
    for name in sorted(names):
        try:
            if accounts.named(name).name == who.name:
                return True
        except UnknownAccount:
            continue
    return False


def _network_of(rhost: str | None, exempt: ExemptSettings) -> str | None:
    """The exempt network that the remote address lies in. A host name lies in none: DNS is not to be trusted here."""
    if not exempt.networks or not rhost:
        return None
    import ipaddress

    try:
        address = ipaddress.ip_address(rhost)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return next((str(network) for network in exempt.networks if address in network), None)
