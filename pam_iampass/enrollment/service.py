"""Enrols one user: the token, IAMPASS, the table, and how the phone comes to be registered.

The order is such that an interruption at any point loses nothing: whoever stands in the table keeps that token, and
doing it all again goes on from there.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.client import IampassError, ManagementAPI, ManagementAPIResult
from pam_iampass.config import settings
from pam_iampass.config.user_table import Entry, UserTable
from pam_iampass.config.user_table_editing import UserTableEditor
from pam_iampass.config.validation import token_error
from pam_iampass.config.value_types import UnlistedUsers
from pam_iampass.enrollment.request import Applicant
from pam_iampass.errors import EditRefused, shown
from pam_iampass.system.accounts import Accounts, LookupFailed, UnknownAccount
from pam_iampass.system.service_user import reading_as_service_user, service_group


@dataclass(frozen=True)
class Admission:
    """A user whom IAMPASS knows and who stands in the table."""

    user: str
    """The name as NSS has it."""
    token: str
    added: bool
    """Whether IAMPASS did not know the token before."""
    file: Path | None
    """The file that was written; None where the table had that token already."""
    registered: bool
    """Whether there is a device."""


class Office:
    """Where users are enrolled."""

    def __init__(
        self, manager: ManagementAPI, table: UserTable, editor: UserTableEditor, unlisted: UnlistedUsers
    ) -> None:
        self.manager = manager
        self._table = table
        self._editor = editor
        self._unlisted = unlisted

    def admit(self, applicant: Applicant, replace: bool = False) -> Admission:
        """Make the user known to IAMPASS where that is missing, and put the token into the table.

        With `replace` a user who has another token gets the one that the applicant brings. Raises
        PamIampassError where this user cannot be enrolled, IampassError where the service fails.
        """
        user = self.account(applicant.user)
        entry = self._table.find(user)
        token = self._token(user, applicant.token, entry, replace)
        added = self.manager.add_user(token) is ManagementAPIResult.success
        file = None
        if entry is None or entry.token != token:
            try:
                file = self._editor.add(user, token, entry.methods if entry else None, replace)
            except BaseException:
                if added:  # nobody would ever know this token
                    with suppress(IampassError):
                        self.manager.delete_user(token)
                raise
        return Admission(user, token, added, file, registered=not added and self.has_device(token))

    def has_device(self, token: str) -> bool:
        """Whether a device is registered. Raises IampassError."""
        found = self.manager.has_registered_mobile_device(token)
        return found is ManagementAPIResult.has_mobile_device

    @staticmethod
    def account(name: str) -> str:
        """The name as NSS has it. Raises EditRefused."""
        try:
            return Accounts().named(name).name
        except UnknownAccount:
            raise EditRefused(f"{shown(name)} is no user of this machine", "look at: getent passwd") from None
        except LookupFailed as failure:
            raise EditRefused(str(failure), "mend the name service, then try again") from None

    def _token(self, user: str, given: str | None, entry: Entry | None, replace: bool) -> str:
        """The given one, else that of the table, else that of the template in the settings, else a new one."""
        if given is not None:
            fault = token_error(given)
            if fault:
                raise EditRefused(f"the token {fault}", "write the token as IAMPASS has it")
            if entry is not None and entry.token != given and not replace:
                remedy = "leave the token out to keep that one, or give --replace"
                raise EditRefused(f"{shown(user)} has another token already", remedy)
            return given
        if entry is not None:
            return entry.token
        after_template = self._unlisted.token_for(user)
        if after_template is not None and token_error(after_template) is None:
            return after_template
        return secrets.token_hex(16)


def open_office(config: Path) -> Office:
    """The office that the settings in `config` lead to. Raises PamIampassError and IampassError."""
    if os.geteuid() != 0:
        raise EditRefused("only root can enrol users", "run it as root")
    group = service_group()
    with reading_as_service_user():
        read = settings.load(config, readers=frozenset() if group is None else frozenset({group}))
    return Office(
        ManagementAPI(read.application_id, read.application_secret, read.server, read.ca_file, read.proxy),
        UserTable(read.users, read.users_folder),
        UserTableEditor(read.users, read.users_folder),
        read.service.unlisted_users,
    )
