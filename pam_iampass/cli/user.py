"""`pam-iampass user`: who is asked on the phone, and by which token."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Callable, TypeVar

import click

from pam_iampass.cli.columns import Columns, Row, count, line
from pam_iampass.cli.user_name import USER, as_nss_has_it
from pam_iampass.config import settings
from pam_iampass.config.user_table_editing import UserTableEditor
from pam_iampass.config.value_types import METHODS
from pam_iampass.doctor.user_status import UserState, UserStatus, UserStatusReport, user_status
from pam_iampass.errors import ConfigurationError, Severity, shown
from pam_iampass.text import clean

_F = TypeVar("_F", bound=Callable[..., Any])

_STYLES = {
    UserState.ASKED: "green",
    UserState.EXEMPT: "yellow",
    UserState.DENIED: "yellow",
    UserState.IGNORED: "bold red",
    UserState.BROKEN: "bold red",
    UserState.NO_ACCOUNT: "yellow",
}
_SAID = {
    UserState.ASKED: "asked on the phone",
    UserState.EXEMPT: "exempt",
    UserState.DENIED: "denied",
    UserState.IGNORED: "passes without a second factor",
    UserState.BROKEN: "denied",
    UserState.NO_ACCOUNT: "never looked up",
}
_CHOICES = {
    "without-token": (UserState.DENIED, UserState.IGNORED),
    "without-account": (UserState.NO_ACCOUNT,),
    "exempt": (UserState.EXEMPT,),
    "broken": (UserState.BROKEN,),
}

_EPILOG = """\b
Examples:
  pam-iampass user list                            who is asked, who is not, and why
  pam-iampass user list --only without-token       who cannot log in yet
  pam-iampass user add alice                       asks for the token
  pam-iampass user add bob --method facial < token-of-bob
  pam-iampass user remove alice
"""


def _config(function: _F) -> _F:
    return click.option(
        "--config",
        type=click.Path(path_type=Path, readable=False),
        default=settings.DEFAULT_PATH,
        show_default=True,
        help="The settings to read; the table of users is the one that they name.",
    )(function)


def _json(function: _F) -> _F:
    return click.option("--json", "as_json", is_flag=True, help="Write one JSON object instead of text.")(
        function
    )


@click.group(epilog=_EPILOG, short_help="List users and their tokens, add and remove them.")
def command() -> None:
    """Say who is asked on the phone, by which token, and change that.

    What is added stands in users.d, one file a user; users.yaml, which a person writes, is read and never
    changed.
    """


@command.command("list", short_help="Show who is asked, who is exempt, and who has no token.")
@_config
@click.option(
    "--only",
    type=click.Choice(list(_CHOICES)),
    multiple=True,
    help="Only these users. May be given more than once.",
)
@_json
@click.pass_context
def list_users(ctx: click.Context, config: Path, only: tuple[str, ...], as_json: bool) -> None:
    """Show everybody who can log in on this machine, everybody in the table, and what a login comes to.

    Those who can log in are root and the accounts with a shell and a user id in the range of people
    (UID_MIN to UID_MAX of /etc/login.defs). Accounts of a directory service that does not list them are
    shown only where the table names them.

    The exit status is 0, or 1 where the configuration has an error.
    """
    found = user_status(config.absolute())
    wanted = {state for choice in only for state in _CHOICES[choice]} or set(UserState)
    standings = [standing for standing in found.users if standing.state in wanted]
    if as_json:
        click.echo(json.dumps({"ok": found.ok, "users": [_as_object(one) for one in standings]}, indent=2))
    else:
        _show_all(standings, found)
    _warn(found)
    ctx.exit(0 if found.ok else 1)


@command.command("show", short_help="Show one user, with the token.")
@click.argument("user", type=USER)
@_config
@_json
@click.pass_context
def show_user(ctx: click.Context, user: str, config: Path, as_json: bool) -> None:
    """Show how USER stands: account, token, methods, and what a login comes to.

    The exit status is 0, or 1 where the machine and the table know no such user, or the configuration has
    an error.
    """
    name = as_nss_has_it(user) or user
    found = user_status(config.absolute(), [name])
    (standing,) = found.users
    if standing.uid is None and standing.entry is None and standing.state is UserState.NO_ACCOUNT:
        message = f"{shown(name)} is no user of this machine, and in no table"
        raise click.ClickException(message)
    if as_json:
        token = standing.entry.token if standing.entry else None
        click.echo(json.dumps({**_as_object(standing), "token": token}, indent=2))
    else:
        _show_one(standing)
    _warn(found)
    ctx.exit(0 if found.ok else 1)


@command.command("add", short_help="Give a user a token.")
@click.argument("user", type=USER)
@click.option(
    "--token", help="The user's IAMPASS token; others on this machine can see it in the list of processes."
)
@click.option(
    "--method",
    "methods",
    type=click.Choice(METHODS),
    multiple=True,
    help="A way in which the user may approve. May be given more than once.  [default: those of the settings]",
)
@click.option("--replace", is_flag=True, help="Give a new token to a user who has one.")
@click.option("--no-account", is_flag=True, help="The machine need not know the user yet.")
@_config
def add_user(
    user: str, token: str | None, methods: tuple[str, ...], replace: bool, no_account: bool, config: Path
) -> None:
    """Give USER a token, in a file of the user's own.

    Without --token it is asked for, or read from the input where that is no terminal. The file is checked
    as the module would read it before it is put in its place. A user who stands in users.yaml gets a file
    only with --replace; the line in users.yaml is then no longer read.
    """
    editor = _editor(config)
    name = as_nss_has_it(user)
    if name is None:
        if not no_account:
            message = f"{shown(user)} is no user of this machine; if it will be one, give --no-account"
            raise click.ClickException(message)
        name = user
    if token is None:
        token = _ask_for_token(name)
    made = editor.add(name, token, methods or None, replace)
    line(f"{clean(name)} has a token, in {made}.")
    (standing,) = user_status(config.absolute(), [name]).users
    if standing.state is not UserState.NO_ACCOUNT:
        line(f"A login of {clean(name)}: {_said(standing)}.", _STYLES[standing.state])


@command.command("remove", short_help="Take a user's token away.")
@click.argument("user", type=USER)
@_config
def remove_user(user: str, config: Path) -> None:
    """Take the token of USER away, and say what a login comes to from then on.

    A user who stands in users.yaml is not removed: that file is for a person to edit, and the line is named.
    The user and the phone stay at IAMPASS, where they are to be deleted too.
    """
    editor = _editor(config)
    name = user
    if not _is_listed(config, user):
        name = as_nss_has_it(user) or user
    deleted = editor.remove(name)
    line(f"{clean(name)} has no token any more; deleted {deleted}.")
    (standing,) = user_status(config.absolute(), [name]).users
    if standing.state is not UserState.NO_ACCOUNT:
        line(f"A login of {clean(name)}: {_said(standing)}.", _STYLES[standing.state])
    line("At IAMPASS the user and the phone are still registered: delete the user there too.")


def _editor(config: Path) -> UserTableEditor:
    """The editor of the table that the settings name. Raises ConfigurationError."""
    read = settings.examine(config.absolute())
    if read.users is None:
        raise ConfigurationError(read.problems)
    return UserTableEditor(read.users, read.users.parent / settings.USERS_FOLDER)


def _ask_for_token(name: str) -> str:
    """The token that a person types, or that stands in the first line of the input."""
    if sys.stdin.isatty():
        return str(click.prompt(f"IAMPASS token of {clean(name)}", err=True)).strip()
    return sys.stdin.readline().strip()


def _is_listed(config: Path, name: str) -> bool:
    """Whether the table speaks of exactly that name."""
    (standing,) = user_status(config.absolute(), [name]).users
    return standing.entry is not None


def _said(standing: UserStatus) -> str:
    """What a login comes to, in a few words."""
    said = _SAID[standing.state]
    said += f": {clean(standing.reason)}" if standing.reason else ""
    elsewhere = [f"{clean(name)}: {_SAID[state]}" for name, state in standing.services.items()]
    return f"{said} ({'; '.join(elsewhere)})" if elsewhere else said


def _place(standing: UserStatus, table: Path) -> str:
    if standing.place is None:
        return "-"
    file, number = standing.place
    return clean(f"users.d/{file.name}" if file != table else f"{file.name}:{number}")


def _show_all(standings: list[UserStatus], found: UserStatusReport) -> None:
    rows = [
        Row(
            (
                clean(standing.name),
                "-" if standing.uid is None else str(standing.uid),
                _place(standing, found.table),
                _said(standing),
            ),
            ("bold", "", "", _STYLES[standing.state]),
        )
        for standing in standings
    ]
    if rows:
        columns = Columns(("USER", "UID", "TOKEN IN", "A LOGIN IS"), rows)
        columns.heading()
        for row in rows:
            columns.row(row)
    line(_sum(standings))


def _sum(standings: list[UserStatus]) -> str:
    """How many there are of each kind."""
    parts = [f"{count(len(standings), 'user')}"]
    for state, one, many in (
        (UserState.ASKED, "is asked", "are asked"),
        (UserState.EXEMPT, "is exempt", "are exempt"),
        (UserState.DENIED, "has no token and is denied", "have no token and are denied"),
        (UserState.IGNORED, "passes without a token", "pass without a token"),
        (UserState.BROKEN, "is denied by an error", "are denied by errors"),
        (UserState.NO_ACCOUNT, "has no account", "have no account"),
    ):
        number = sum(standing.state is state for standing in standings)
        if number:
            parts.append(f"{number:,} {one if number == 1 else many}")
    return f"{parts[0]}: {', '.join(parts[1:])}." if len(parts) > 1 else "No user."


def _show_one(standing: UserStatus) -> None:
    entry = standing.entry
    methods = "-"
    if entry is not None:
        methods = "those of the settings" if entry.methods is None else ", ".join(entry.methods) or "any"
    place = "-" if standing.place is None else f"{standing.place[0]}:{standing.place[1]}"
    facts = (
        ("user", clean(standing.name)),
        ("uid", "-" if standing.uid is None else str(standing.uid)),
        ("token", clean(entry.token) if entry else "-"),
        ("from", clean(place)),
        ("methods", methods),
        ("a login is", _said(standing)),
    )
    columns = Columns(("", ""), [Row(fact) for fact in facts])
    for fact in facts:
        columns.row(Row(fact, ("bold", _STYLES[standing.state] if fact[0] == "a login is" else "")))


def _warn(found: UserStatusReport) -> None:
    """Say on the error output that something is wrong."""
    errors = sum(problem.severity is Severity.ERROR for problem in found.problems)
    if errors:
        message = f"{count(errors, 'error')} in the configuration; see: pam-iampass check"
        click.echo(message, err=True)


def _as_object(standing: UserStatus) -> dict[str, object]:
    return {
        "user": standing.name,
        "uid": standing.uid,
        "state": standing.state.value,
        "reason": standing.reason,
        "has_token": standing.entry is not None,
        "file": str(standing.place[0]) if standing.place else None,
        "line": standing.place[1] if standing.place else None,
        "methods": list(standing.entry.methods)
        if standing.entry and standing.entry.methods is not None
        else None,
        "services": {name: state.value for name, state in standing.services.items()},
    }
