"""How each user of the machine stands: who is asked on the phone, who is exempt, who cannot log in, and why."""

from __future__ import annotations

# ctypes, ipaddress and yaml are here, and not where they are needed, since the user that the module runs as
# may be unable to read them on a machine that has Python somewhere unusual.
import ctypes  # noqa: F401
import enum
import ipaddress  # noqa: F401
import os
import pwd
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import yaml  # noqa: F401

from pam_iampass.config import settings, user_table_check
from pam_iampass.config.user_file_name import LONGEST, file_name, user_of
from pam_iampass.config.user_table import Entry, UserTable
from pam_iampass.config.user_table import read as read_table
from pam_iampass.errors import ConfigurationError, Problem, Severity, UntrustedFile
from pam_iampass.login import policy
from pam_iampass.outcome import Login
from pam_iampass.system.accounts import Account, Accounts, LookupFailed, UnknownAccount
from pam_iampass.system.login_accounts import LoginAccount, login_accounts
from pam_iampass.system.service_user import SERVICE_USER, reading_as_service_user, service_group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pam_iampass.config.user_table_check import TableReport

Place = tuple[Path, int]
"""A file, and a line in it."""


class State(enum.Enum):
    """What a login of the user comes to, through a service that has no settings of its own."""

    ASKED = "asked"
    """By the token of the table, or by one that `unlisted_users` makes of the name."""
    EXEMPT = "exempt"
    DENIED = "denied"
    """The user has no token."""
    IGNORED = "ignored"
    """The user has no token, and passes without a second factor: `unlisted_users: ignore`."""
    BROKEN = "broken"
    """Denied, because the table or the settings are wrong."""
    NO_ACCOUNT = "no_account"
    """The token is of a user whom the machine does not know."""


@dataclass(frozen=True)
class Standing:
    """How one user stands."""

    name: str
    uid: int | None
    """None where the machine knows no such account."""
    state: State
    reason: str
    """What the state comes from, for a person; empty where that says itself. Not cleaned."""
    entry: Entry | None
    """What the table says of the user, None where it says nothing."""
    place: Place | None
    """File and line of the entry."""
    services: Mapping[str, State]
    """The services through which a login comes to something else."""


@dataclass(frozen=True)
class Report:
    """How everybody stands."""

    standings: tuple[Standing, ...]
    users: Path
    """The table."""
    problems: tuple[Problem, ...]
    """All that is wrong with settings and table."""

    @property
    def ok(self) -> bool:
        """Whether the module can work with the configuration."""
        return all(problem.severity is not Severity.ERROR for problem in self.problems)


def report(
    config: Path,
    names: Iterable[str] | None = None,
    people: Iterable[LoginAccount] | None = None,
    module_user: str = SERVICE_USER,
) -> Report:
    """How everybody stands after the settings in `config`, or only those in `names`.

    `people` are the accounts of the machine that people log in with. Everything is read as `module_user`
    would. Raises ConfigurationError where not even the path of the table can be read.
    """
    group = service_group(module_user)
    with reading_as_service_user(module_user):
        read = settings.check(config, readers=frozenset() if group is None else {group})
        if read.users is None:
            raise ConfigurationError(read.problems)
        folder = read.users.parent / settings.USERS_FOLDER
        table = UserTable(read.users, folder)
        judge = _Judge(read.settings, table, partial(_place, read.users, folder))
        if names is not None:
            standings = tuple(judge.standing(name) for name in sorted(names))
            return Report(standings, read.users, (*read.problems, *judge.problems))
        found = user_table_check.check(read.users, folder)
        accounts = login_accounts() if people is None else people
        everybody = {account.name for account in accounts} | _named(found)
        judge.knows(found)
        standings = tuple(judge.standing(name) for name in sorted(everybody))
    return Report(standings, read.users, (*read.problems, *found.problems))


def _named(found: TableReport) -> set[str]:
    """Everybody whom the table speaks of, broken files too."""
    files = {
        problem.file.name for problem in found.problems if problem.file.parent.name == settings.USERS_FOLDER
    }
    owners = {user_of(name) for name in files if name.endswith(".yaml")}
    return set(found.entries) | {name for name in owners if name is not None}


def _place(users: Path, folder: Path, name: str) -> Place | None:
    """File and line of the user, without a look at all the other files."""
    own = folder / file_name(name)
    file = own if len(own.name) <= LONGEST and os.path.lexists(own) else users
    try:
        line = read_table(file, 0).lines.get(name)
    except UntrustedFile:
        return None
    return None if line is None else (file, line)


class _Judge:
    """Puts users through what a login would."""

    def __init__(
        self, known: settings.Settings | None, table: UserTable, place: Callable[[str], Place | None]
    ) -> None:
        self.problems: list[Problem] = []
        """What kept entries from being found."""
        self._place = place
        self._settings = known
        self._table = table
        self._accounts = Accounts()
        self._entries: Mapping[str, Entry] | None = None
        self._listed: dict[str, Account] = {}

    def knows(self, found: TableReport) -> None:
        """Everything has been read already: spare further looks, which would take long for many users."""
        self._place = found.places.get
        if all(problem.severity is not Severity.ERROR for problem in found.problems):
            self._entries = found.entries
        for entry in pwd.getpwall():
            self._listed.setdefault(entry.pw_name, Account(entry.pw_name, entry.pw_uid, entry.pw_gid))

    def standing(self, name: str) -> Standing:
        entry, broken = self._entry(name)
        place = self._place(name) if entry else None
        try:
            account = self._listed.get(name) or self._accounts.named(name)
        except UnknownAccount:
            return Standing(name, None, State.NO_ACCOUNT, "this machine knows no such user", entry, place, {})
        except LookupFailed as failure:
            return Standing(name, None, State.BROKEN, str(failure), entry, place, {})
        if account.name != name:
            reason = f"the account is called {account.name}: this name is never looked up"
            return Standing(name, account.uid, State.NO_ACCOUNT, reason, entry, place, {})
        state, reason = self._state(account, entry, broken)
        return Standing(name, account.uid, state, reason, entry, place, self._elsewhere(state, entry, broken))

    def _entry(self, name: str) -> tuple[Entry | None, str]:
        """What a look-up finds, and why it fails."""
        if self._entries is not None:
            return self._entries.get(name), ""
        try:
            return self._table.find(name), ""
        except ConfigurationError as error:
            self.problems += error.problems
            return None, str(error)

    def _state(self, account: Account, entry: Entry | None, broken: str) -> tuple[State, str]:
        if self._settings is None:
            return State.BROKEN, "the settings are wrong"
        try:
            exempt = policy.exemption(account, Login(account.name, ""), self._settings.exempt, self._accounts)
        except LookupFailed as failure:
            return State.BROKEN, str(failure)
        if exempt is not None:
            return State.EXEMPT, exempt
        return self._without_exemption(self._settings.service, entry, broken)

    def _without_exemption(
        self, service: settings.ServiceSettings, entry: Entry | None, broken: str
    ) -> tuple[State, str]:
        if broken:
            return State.BROKEN, broken
        if entry is not None:
            return State.ASKED, ""
        if service.unlisted_users.template is not None:
            return State.ASKED, f"by the token that unlisted_users makes: {service.unlisted_users.template}"
        return (State.IGNORED if service.unlisted_users.ignore else State.DENIED), "no token"

    def _elsewhere(self, state: State, entry: Entry | None, broken: str) -> dict[str, State]:
        if self._settings is None or state in (State.EXEMPT, State.BROKEN):
            return {}
        found = {
            name: self._without_exemption(service, entry, broken)[0]
            for name, service in sorted(self._settings.services.items())
        }
        return {name: other for name, other in found.items() if other is not state}
