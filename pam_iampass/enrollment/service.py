"""Enrolls a user: adds the user to IAMPASS and the token to the table.

An interruption at any point loses nothing: a user in the table keeps the token, and a second run continues from there.
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
from pam_iampass.config.value_types import UnlistedUsers, token_error
from pam_iampass.enrollment.request import EnrollmentRequest
from pam_iampass.errors import EditRefused, shown
from pam_iampass.login.api import connect
from pam_iampass.system.accounts import Accounts, LookupFailed, UnknownAccount
from pam_iampass.system.service_user import reading_as


@dataclass(frozen=True)
class EnrollmentResult:
    """A user who is known to IAMPASS and in the table."""

    user: str
    """The name as NSS has it."""
    token: str
    added: bool
    """Whether the token is new at IAMPASS."""
    file: Path | None
    """The file that was written; None if the table already had the token."""
    registered: bool
    """Whether a device is registered."""


class EnrollmentService:
    """Enrolls users in one application and one table."""

    def __init__(
        self,
        manager: ManagementAPI,
        table: UserTable,
        editor: UserTableEditor,
        unlisted: UnlistedUsers,
        no_account: bool = False,
    ) -> None:
        """`no_account`: users need no account on this machine; their names must be those that NSS has elsewhere."""
        self.manager, self.table, self.editor = manager, table, editor
        self._unlisted = unlisted
        self._no_account = no_account

    def enroll(self, request: EnrollmentRequest, replace: bool = False) -> EnrollmentResult:
        """Add the user to IAMPASS and the token to the table, if they are not there yet.

        With `replace` the token of the request replaces another one in the table. Raises PamIampassError if the user
        cannot be enrolled, IampassError if IAMPASS fails.
        """
        user = self.account(request.user)
        entry = self.table.find(user)
        token = self._token(user, request.token, entry, replace)
        added = self.manager.add_user(token) is ManagementAPIResult.success
        file = None
        if entry is None or entry.token != token:
            try:
                file = self.editor.add(user, token, entry.methods if entry else None, replace)
            except BaseException:
                if added:  # otherwise a token stays at IAMPASS that nobody knows
                    with suppress(IampassError):
                        self.manager.delete_user(token)
                raise
        device = None if added else self.manager.has_registered_mobile_device(token)
        registered = device is ManagementAPIResult.has_mobile_device
        return EnrollmentResult(user, token, added, file, registered)

    def token_of(self, user: str) -> str | None:
        """The token of the table, else that of the template in the settings. Raises ConfigurationError."""
        entry = self.table.find(user)
        return self._unlisted.token_for(user) if entry is None else entry.token

    def account(self, name: str) -> str:
        """The name as NSS has it. Raises EditRefused."""
        try:
            return Accounts().named(name).name
        except UnknownAccount:
            if self._no_account:
                return name
            remedy = "see getent passwd; to enroll the user for other machines, give --no-account"
            raise EditRefused(f"{shown(name)} is not a user of this machine", remedy) from None
        except LookupFailed as failure:
            raise EditRefused(str(failure), "repair the name service, then try again") from None

    def _token(self, user: str, given: str | None, entry: Entry | None, replace: bool) -> str:
        """The given token, else that of the table, else that of the template in the settings, else a random one."""
        if given is not None:
            error = token_error(given)
            if error:
                raise EditRefused(f"the token {error}", "write the token as IAMPASS has it")
            if entry is not None and entry.token != given and not replace:
                remedy = "omit the token to keep that one, or give --replace"
                raise EditRefused(f"{shown(user)} already has another token", remedy)
            return given
        if entry is not None:
            return entry.token
        from_template = self._unlisted.token_for(user)
        if from_template is not None and token_error(from_template) is None:
            return from_template
        return secrets.token_hex(16)


def open_service(config: Path, no_account: bool = False) -> EnrollmentService:
    """The service for the settings in `config`. Raises PamIampassError and IampassError."""
    if os.geteuid() != 0:
        raise EditRefused("only root can enroll users", "run it as root")
    with reading_as() as readers:
        read = settings.load(config, readers=readers)
    return EnrollmentService(
        connect(ManagementAPI, read),
        UserTable(read.users, read.users_folder),
        UserTableEditor(read.users, read.users_folder),
        read.service.unlisted_users,
        no_account,
    )
