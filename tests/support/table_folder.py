"""A user table in a folder of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pam_iampass.config.user_table import Entry, UserTable
from tests.support.folders import OWNER


@dataclass
class TableFolder:
    """The folder, with `users.yaml` and `users.d`."""

    root: Path

    @property
    def users(self) -> Path:
        return self.root / "users.yaml"

    @property
    def folder(self) -> Path:
        return self.root / "users.d"

    @property
    def table(self) -> UserTable:
        return UserTable(self.users, owner=OWNER)

    def find(self, user: str) -> Entry | None:
        return self.table.find(user)
