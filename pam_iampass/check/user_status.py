"""The status of each user: asked on the phone, exempt or denied, and why; and what the agent knows about users."""

from __future__ import annotations

import enum
import os
import pwd
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

from pam_iampass.agent.control import ask
from pam_iampass.config import settings, user_table
from pam_iampass.config.user_table import (
    LONGEST_FILE_NAME,
    Entry,
    TableReport,
    UserTable,
    cannot_act,
    file_name,
    folder_of,
    owner_fault,
    user_of,
)
from pam_iampass.config.user_table import read as read_table
from pam_iampass.config.value_types import Approver, SecondPerson
from pam_iampass.errors import ConfigurationError, PamIampassError, Problem, Severity, UntrustedFile
from pam_iampass.login import policy
from pam_iampass.login.bypass import Bypass
from pam_iampass.outcome import Login
from pam_iampass.system.accounts import Account, Accounts, LookupFailed, UnknownAccount, login_accounts
from pam_iampass.system.service_user import SERVICE_USER, reading_as

_AT_A_TIME = 1000  # names in one request to the agent

Place = tuple[Path, int]
"""A file, and a line in it."""


class UserState(enum.Enum):
    """The result of a login of the user, through a service without settings of its own."""

    ASKED = "asked"
    """The user is asked, by the token of the table or by one that `unlisted_users` makes from the name."""
    EXEMPT = "exempt"
    DENIED = "denied"
    """The user has no token."""
    IGNORED = "ignored"
    """The user has no token, and logs in without a second factor: `unlisted_users: ignore`."""
    BROKEN = "broken"
    """Denied, because the table or the settings are invalid."""
    NO_ACCOUNT = "no_account"
    """The machine has no such account."""
    BY_KEY = "by_key"
    """The person whose key it is, is asked: in services with `approver: key`."""
    BY_OWNER = "by_owner"
    """The account acts for a person, whose phone is asked."""
    BY_OTHERS = "by_others"
    """A second person must approve, in services that say so."""


@dataclass(frozen=True)
class UserStatus:
    """The status of one user."""

    name: str
    uid: int | None
    """None if the machine has no such account."""
    state: UserState
    reason: str
    """The reason of the state; empty if it is obvious. Not cleaned."""
    entry: Entry | None
    """The user's entry in the table."""
    place: Place | None
    """File and line of the entry."""
    services: Mapping[str, UserState]
    """The services for which the state is another."""
    bypasses: tuple[Bypass, ...] = ()
    """The bypasses that let the user in without the phone now."""
    keys: int = 0
    """How many keys and certificates name the user, if a key names the person who must approve in any service."""

    @property
    def token(self) -> str | None:
        """The user's token in the table."""
        return None if self.entry is None else self.entry.token


@dataclass(frozen=True)
class UserStatusReport:
    """The status of several users."""

    users: tuple[UserStatus, ...]
    table: Path
    problems: tuple[Problem, ...]
    """Everything that is wrong with the settings and the table."""

    @property
    def ok(self) -> bool:
        """Whether the module can work with the configuration."""
        return all(problem.severity is not Severity.ERROR for problem in self.problems)


def user_status(
    config: Path,
    names: Iterable[str] | None = None,
    people: Iterable[str] | None = None,
    module_user: str = SERVICE_USER,
) -> UserStatusReport:
    """The status of all users, or of those in `names`, according to the settings in `config`.

    `people` are the accounts that people log in with. Everything is read as `module_user` would. Raises
    ConfigurationError if not even the path of the table can be read.
    """
    bypasses = bypasses_in_force()  # as root: afterwards the agent does not answer
    with reading_as(module_user) as readers:
        read = settings.check(config, readers=readers)
        if read.users is None:
            raise ConfigurationError(read.problems)
        joined = bool(read.settings and read.settings.gateways)
        find: Callable[[str], Entry | None] = UserTable(read.users, optional=joined, joined=joined).find
        if names is None:
            found = user_table.check(read.users, optional=joined, joined=joined)
            if all(problem.severity is not Severity.ERROR for problem in found.problems):
                find = (
                    found.entries.get
                )  # what was read already: a look-up for each of many users would take long
            listed: dict[str, Account] = {}
            for one in pwd.getpwall():
                listed.setdefault(one.pw_name, Account(one.pw_name, one.pw_uid, one.pw_gid))
            wanted = {*(login_accounts() if people is None else people), *_named(found)}
            resolver = _StatusResolver(read.settings, find, found.places.get, bypasses, listed)
        else:
            wanted = set(names)
            lines = lru_cache(maxsize=1)(
                lambda file: read_table(file, 0).lines
            )  # the same file for most users
            resolver = _StatusResolver(read.settings, find, partial(_place, read.users, lines), bypasses, {})
        users = tuple(map(resolver.status, sorted(wanted)))
    of_table = resolver.problems if names is not None else found.problems
    return UserStatusReport(users, read.users, (*read.problems, *of_table))


def _named(found: TableReport) -> set[str]:
    """All users in the table, and users whose own files are invalid."""
    files = {problem.file for problem in found.problems if problem.file is not None}
    own = {file.name for file in files if file.parent.name == user_table.FOLDER}
    owners = {user_of(name) for name in own if name.endswith(".yaml")}
    return set(found.entries) | {name for name in owners if name is not None}


def _place(users: Path, lines: Callable[[Path], Mapping[str, int]], name: str) -> Place | None:
    """File and line of the user's entry, without reading all other files."""
    own = folder_of(users) / file_name(name)
    file = own if len(own.name) <= LONGEST_FILE_NAME and os.path.lexists(own) else users
    try:
        line = lines(file).get(name)
    except UntrustedFile:
        return None
    return None if line is None else (file, line)


class _StatusResolver:
    """Decides as a login would."""

    def __init__(
        self,
        known: settings.Settings | None,
        find: Callable[[str], Entry | None],
        place: Callable[[str], Place | None],
        bypasses: Sequence[Bypass],
        listed: Mapping[str, Account],
    ) -> None:
        """`find` looks a user up in the table, `place` where; `listed` are accounts that need no look-up."""
        self.problems: list[Problem] = []
        """The reasons why entries could not be read."""
        self._settings = known
        self._find = find
        self._place = place
        self._bypasses = bypasses
        self._listed = listed
        services = known.services.values() if known else ()
        self._by_key = any(service.approver is Approver.KEY for service in services)
        self._joined = bool(known and known.gateways)
        self._accounts = Accounts()

    def status(self, name: str) -> UserStatus:
        entry, broken = None, ""
        try:
            entry = self._find(name)
        except ConfigurationError as error:
            self.problems += error.problems
            broken = str(error)
        place = self._place(name) if entry else None
        if entry is not None and entry.acts_for and not broken:
            broken = self._cannot_act(name, entry, place)
        try:
            account = self._listed.get(name) or self._accounts.named(name)
        except UnknownAccount:
            return self._without_account(name, entry, place, broken)
        except LookupFailed as failure:
            return UserStatus(name, None, UserState.BROKEN, str(failure), entry, place, {})
        keys = len(entry.keys) if entry and self._by_key else 0
        if account.name != name and keys:
            return self._without_account(name, entry, place, broken)
        if account.name != name:
            reason = f"the account is called {account.name}; the table is never searched for this name"
            return UserStatus(name, account.uid, UserState.NO_ACCOUNT, reason, entry, place, {})
        state, reason = self._state(
            self._settings.service if self._settings else None, account, entry, broken
        )
        bypasses = tuple(one for one in self._bypasses if (one.user, one.uid) == (name, account.uid))
        of_services = {
            one: self._state(service, account, entry, broken)[0]
            for one, service in sorted(self._settings.services.items() if self._settings else ())
        }
        services = {one: other for one, other in of_services.items() if other is not state}
        return UserStatus(name, account.uid, state, reason, entry, place, services, bypasses, keys)

    def _without_account(
        self, name: str, entry: Entry | None, place: Place | None, broken: str
    ) -> UserStatus:
        """The status of a name without an account: a person, if keys name them."""
        keys = len(entry.keys) if entry and self._by_key else 0
        state, reason = UserState.NO_ACCOUNT, "this machine has no such account"
        if self._by_key and broken:
            state, reason = UserState.BROKEN, broken
        elif entry and keys and entry.token is None and not (self._settings and self._settings.gateways):
            state, reason = UserState.DENIED, "no token, no account"
        elif keys:
            state, reason = UserState.ASKED, "no account"
        bypasses = tuple(one for one in self._bypasses if (one.user, one.uid) == (name, None))
        return UserStatus(name, None, state, reason, entry, place, {}, bypasses, keys)

    def _state(
        self, service: settings.ServiceSettings | None, account: Account, entry: Entry | None, broken: str
    ) -> tuple[UserState, str]:
        """The state in logins through a service, from nowhere in particular; None for broken settings."""
        if service is None:
            return UserState.BROKEN, "the settings are invalid"
        try:
            if entry is not None and entry.acts_for:
                return self._state_of_agent(service, account, entry, broken)
            if service.approver is Approver.KEY:
                why = policy.exempted(account, Login(account.name, ""), service, self._accounts)
                return UserState.BY_KEY if why is None else UserState.EXEMPT, why or ""
            exempt = policy.exemption(account, Login(account.name, ""), service, self._accounts)
            rules = [
                rule for rule in service.exempt.rules if policy.is_named_by(rule, account, self._accounts)
            ]
        except (LookupFailed, policy.PolicyError) as failure:
            return UserState.BROKEN, str(failure)
        if exempt is not None:
            return UserState.EXEMPT, exempt
        if broken:
            return UserState.BROKEN, broken
        but = [f"exempt from {rule.network}" for rule in rules]
        if isinstance(service.approver, SecondPerson):
            return UserState.BY_OTHERS, ", ".join(but)
        template = service.unlisted_users.template
        if service.unlisted_users.everybody:
            return UserState.ASKED, ", ".join(["if the gateway knows this name", *but])
        if entry is not None and entry.token is not None:
            return UserState.ASKED, ", ".join(but)
        if template is not None:
            return UserState.ASKED, ", ".join([f"with the token that unlisted_users makes: {template}", *but])
        ignored = service.unlisted_users.ignore
        return (UserState.IGNORED if ignored else UserState.DENIED), ", ".join(["no token", *but])

    def _cannot_act(self, name: str, entry: Entry, place: Place | None) -> str:
        """Why the account cannot act for its owner; empty if it can."""
        try:
            fault = owner_fault(name, entry, self._find(entry.acts_for), joined=self._joined)
        except ConfigurationError as error:
            self.problems += error.problems
            return str(error)
        if fault is None:
            return ""
        file, line = place or (None, None)
        problem = cannot_act(name, file, line, *fault)
        self.problems.append(problem)
        return str(problem)

    def _state_of_agent(
        self, service: settings.ServiceSettings, account: Account, entry: Entry, broken: str
    ) -> tuple[UserState, str]:
        exempt = policy.exempted_by_name(account, service, self._accounts)
        reason = f"acts for {entry.acts_for}"
        if broken or exempt:
            return UserState.BROKEN, broken or f"{reason}, and {exempt}"
        by_others = isinstance(service.approver, SecondPerson)
        return UserState.BY_OTHERS if by_others else UserState.BY_OWNER, reason


@dataclass(frozen=True)
class StateSummary:
    """The state about some users."""

    codes: dict[str, int] = field(default_factory=dict)
    """The number of recovery codes that each has left."""
    waits: dict[str, float] = field(default_factory=dict)
    """The seconds for which no request is sent, from one origin at least; only those above 0."""


def summarize(names: Sequence[str], config: Path) -> StateSummary:
    """The state about these users, with the limits in the settings file `config`. Raises PamIampassError."""
    summary = StateSummary()
    for first in range(0, len(names), _AT_A_TIME):
        some = names[first : first + _AT_A_TIME]
        for name, (codes, wait) in zip(some, ask("state summary", names=some, config=str(config))):
            summary.codes[name] = codes
            if wait > 0:
                summary.waits[name] = wait
    return summary


def bypasses_in_force() -> list[Bypass]:
    """The bypasses, as far as the agent can be asked: without it nobody is bypassed."""
    try:
        return [Bypass.of(members) for members in ask("bypass list")]
    except PamIampassError:
        return []
