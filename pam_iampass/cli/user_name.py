"""The name of a user as an argument: a shell completes it, and it becomes the name that NSS has."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from pam_iampass.errors import PamIampassError
from pam_iampass.system.accounts import Accounts, LookupFailed, UnknownAccount
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
    """Names to choose from. Somebody is typing: what can be found out at once, and without an error, will do."""
    from pam_iampass.config import settings
    from pam_iampass.system.login_accounts import login_accounts

    names = {account.name for account in login_accounts()}
    config = Path(ctx.params.get("config") or settings.DEFAULT_PATH).absolute()
    users = settings.check(config).users
    return names if users is None else names | _listed(users, users.parent / settings.USERS_FOLDER)


def _listed(users: Path, folder: Path) -> set[str]:
    """Whom the table speaks of, without a look into the files of single users."""
    from pam_iampass.config import user_table
    from pam_iampass.config.user_file_name import user_of
    from pam_iampass.system import trusted_file

    names: set[str] = set()
    with suppress(PamIampassError):
        names |= set(user_table.read(users, 0).entries)
    with suppress(PamIampassError):
        names |= {user for user in map(user_of, trusted_file.names(folder)) if user is not None}
    return names
