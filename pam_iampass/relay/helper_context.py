"""The context of a login in a process that serves only this one: everything is read when it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from pam_iampass.login.concurrency import ConcurrencyLimit
from pam_iampass.login.context import LoginContext, StateDirs
from pam_iampass.system.accounts import Accounts

if TYPE_CHECKING:
    from pam_iampass.client import AuthenticationAPI
    from pam_iampass.config.settings import Settings
    from pam_iampass.config.user_table import UserTable


def context(
    config: str, session_left_open: Callable[[str], None], dirs: StateDirs | None = None
) -> LoginContext:
    """The context, with the settings in the file `config` and the state in `dirs`."""

    def load_settings() -> Settings:
        from pam_iampass.config.settings import load

        return load(config)

    return LoginContext(
        accounts=Accounts(),
        load_settings=load_settings,
        open_users=open_users,
        connect=connect,
        session_left_open=session_left_open,
        concurrency=ConcurrencyLimit(),
        dirs=dirs or StateDirs(),
        config=config,
    )


def open_users(settings: Settings) -> UserTable:
    """The user table that the settings name."""
    from pam_iampass.config.user_table import UserTable

    return UserTable(settings.users, settings.users_folder)


def connect(settings: Settings) -> AuthenticationAPI:
    """The IAMPASS client that the settings describe."""
    from pam_iampass.client import AuthenticationAPI
    from pam_iampass.login import api

    return api.connect(AuthenticationAPI, settings)
