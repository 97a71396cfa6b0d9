"""Removes users: at IAMPASS, their recovery codes and rate limit, and their entries in the table.

The entry is deleted last: it has the token, so that a removal that failed can be run again.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from pam_iampass.client import Declined, IampassError, ManagementAPI, NotFound, ProtocolError
from pam_iampass.config.user_table import UserTable
from pam_iampass.config.user_table_editing import UserTableEditor
from pam_iampass.errors import PamIampassError
from pam_iampass.relay.control import ask
from pam_iampass.text import clean, one_line


class RemovalState(enum.Enum):
    """The result of a removal."""

    REMOVED = "removed"
    NOT_LISTED = "not_listed"
    """The table has no such user, perhaps since an earlier run."""
    FAILED = "failed"
    NOT_TRIED = "not_tried"


@dataclass(frozen=True)
class RemovedUser:
    """What was removed of one user."""

    name: str
    state: RemovalState = RemovalState.NOT_TRIED
    file: Path | None = None
    """The deleted file of the table."""
    at_iampass: bool = False
    """Whether IAMPASS does not know the user any more."""
    codes: bool = False
    """Whether the user had recovery codes."""
    problem: str | None = None
    """Why it failed."""


class Removal:
    """Removes users from one table and, with a `manager`, from one application of IAMPASS."""

    def __init__(self, table: UserTable, editor: UserTableEditor, manager: ManagementAPI | None) -> None:
        self._table, self._editor, self._manager = table, editor, manager

    def remove(self, name: str) -> RemovedUser:
        """Remove one user. Raises PamIampassError, and IampassError if IAMPASS fails."""
        self._editor.own_file(name)
        entry = self._table.find(name)
        if self._manager is not None and entry is not None:
            try:
                self._manager.delete_user(entry.token)
            except (Declined, NotFound):
                if not _is_unknown(self._manager, entry.token):
                    raise
        codes = ask("user forget", user=name)
        file = self._editor.remove(name)
        return RemovedUser(name, RemovalState.REMOVED, file, self._manager is not None, codes)

    def remove_all(
        self, names: Sequence[str], progress: Callable[[int], None]
    ) -> tuple[list[RemovedUser], str | None]:
        """Remove several users; `progress` is called with the number of each.

        Returns the result for each user, and the reason for which it stopped before the last one.
        """
        results = [RemovedUser(name) for name in names]
        for number, name in enumerate(names):
            progress(number)
            try:
                if self._table.find(name) is None:
                    results[number] = RemovedUser(name, RemovalState.NOT_LISTED)
                    continue
                results[number] = self.remove(name)
            except PamIampassError as error:
                results[number] = RemovedUser(
                    name, RemovalState.FAILED, problem=one_line(error.diagnostics())
                )
            except IampassError as error:
                results[number] = RemovedUser(name, RemovalState.FAILED, problem=clean(str(error)))
                if not isinstance(error, (Declined, ProtocolError)):  # the others would fail, too
                    return results, one_line(error.diagnostics())
        return results, None


def _is_unknown(manager: ManagementAPI, token: str) -> bool:
    """Whether IAMPASS knows the application, and not this user."""
    try:
        manager.has_registered_mobile_device(token)
    except (Declined, NotFound):
        return manager.knows_application()
    return False
