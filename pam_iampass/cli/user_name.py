"""The name of a user as an argument: a shell completes it, and it becomes the name that NSS has."""

from __future__ import annotations

import pwd

import click
from click.shell_completion import CompletionItem

from pam_iampass.accounts import Accounts, LookupFailed, UnknownAccount
from pam_iampass.errors import PamIampassError
from pam_iampass.text import clean

_MOST = 500  # names to choose from: more than anybody reads


class UserName(click.ParamType):
    """A user's name, as it is typed."""

    name = "user"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The people of the machine and those whom the table speaks of, as far as one may read it."""
        names = sorted(name for name in _known(ctx) if name.startswith(incomplete) and name.isprintable())
        return [CompletionItem(name) for name in names[:_MOST]]


USER = UserName()


def as_nss_has_it(name: str) -> str | None:
    """The account's own name for what was typed, None where the machine knows no such user.

    Raises click.ClickException where NSS cannot say.
    """
    try:
        return Accounts().named(name).name
    except UnknownAccount:
        return None
    except LookupFailed as failure:
        raise click.ClickException(clean(str(failure))) from None


def _known(ctx: click.Context) -> set[str]:
    from pathlib import Path

    from pam_iampass import settings
    from pam_iampass.login_accounts import login_accounts
    from pam_iampass.user_table import UserTable

    names: set[str] = set()
    try:
        names = {account.name for account in login_accounts(pwd.getpwall())}
        config = Path(ctx.params.get("config") or settings.DEFAULT_PATH).absolute()
        users = settings.examine(config).users
        if users is not None:
            names |= set(UserTable(users, users.parent / settings.USERS_FOLDER).examine().entries)
    except (OSError, PamIampassError):
        pass  # somebody is typing: what is known so far will do
    return names
