"""The parts of a login for a process that serves just one: everything is read when it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from pam_iampass.accounts import Accounts
from pam_iampass.parts import Parts, Stores
from pam_iampass.places import Places

if TYPE_CHECKING:
    from pam_iampass.client import AuthenticationAPI
    from pam_iampass.settings import Settings
    from pam_iampass.user_table import UserTable


def parts(config: str, left_open: Callable[[str], None], stores: Stores | None = None) -> Parts:
    """The parts, with the settings in the file `config`; `stores` says where things are remembered."""

    def load_settings() -> Settings:
        from pam_iampass.settings import load

        return load(config)

    return Parts(
        accounts=Accounts(),
        load_settings=load_settings,
        open_users=open_users,
        connect=connect,
        left_open=left_open,
        places=Places(),
        stores=stores or Stores(),
        slowable=True,
    )


def open_users(settings: Settings) -> UserTable:
    """The user table that the settings name."""
    from pam_iampass.user_table import UserTable

    return UserTable(settings.users, settings.users_folder)


def connect(settings: Settings) -> AuthenticationAPI:
    """The IAMPASS client that the settings describe."""
    from pam_iampass.client import AuthenticationAPI

    return AuthenticationAPI(
        application_id=settings.application_id,
        application_secret=settings.application_secret,
        server=settings.server,
        ca_file=settings.ca_file,
        proxy=settings.proxy,
    )
