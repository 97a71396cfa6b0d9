"""`pam-iampass user`: shows and changes who is asked on the phone, and by which token."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from pam_iampass.audit.administrator import administrator
from pam_iampass.audit.journal import Act, ActRecord, Journal
from pam_iampass.cli import Verbs
from pam_iampass.cli.bypass import as_object
from pam_iampass.cli.output import Part, count, fields, line, show_json, table
from pam_iampass.cli.parameters import USER, account, config_option, json_option, token_option
from pam_iampass.cli.user_remove import editor_of, remove_users
from pam_iampass.cli.user_states import PHONES, WITHOUT, ask_phones, login_words, show_login, summary
from pam_iampass.config.value_types import METHODS
from pam_iampass.doctor.iampass import PhoneState
from pam_iampass.doctor.user_status import UserState, UserStatus, UserStatusReport, user_status
from pam_iampass.errors import Severity, shown
from pam_iampass.text import clean

_CHOICES = {
    "without-token": (UserState.DENIED, UserState.IGNORED),
    "without-account": (UserState.NO_ACCOUNT,),
    "exempt": (UserState.EXEMPT,),
    "broken": (UserState.BROKEN,),
}

_EPILOG = """\b
Examples:
  pam-iampass user list                            who is asked, who is not, and why
  pam-iampass user list --only without-token       users who cannot log in yet
  pam-iampass user add alice                       asks for the token
  pam-iampass user add bob --method facial < token-of-bob
  pam-iampass user list --check-phones             and who has no phone
  pam-iampass user remove alice
  pam-iampass user remove --from leavers.csv --yes
"""


@click.group(cls=Verbs, epilog=_EPILOG)
def command() -> None:
    """List, show, add and remove users and their tokens.

    New users are written to users.d, one file per user. users.yaml is maintained by hand: it is read, but never
    changed.
    """


@command.command("list", short_help="List users with the result of a login.")
@config_option
@click.option(
    "--only", type=click.Choice(list(_CHOICES)), multiple=True, help="Only these users. Can be repeated."
)
@click.option("--check-phones", is_flag=True, help="Also ask IAMPASS who has a phone. No phone rings.")
@json_option
@click.pass_context
def list_users(
    ctx: click.Context, config: Path, only: tuple[str, ...], check_phones: bool, as_json: bool
) -> None:
    """List all users of this machine and of the table, with the result that a login would have.

    The users of this machine are root and the accounts with a shell and a user id in the range of people (UID_MIN to
    UID_MAX in /etc/login.defs). Accounts of a directory service that does not list them appear only if they are in
    the table.

    The exit status is 0, or 1 if the configuration has an error, or IAMPASS did not answer.
    """
    found = user_status(config)
    wanted = {state for choice in only for state in _CHOICES[choice]} or set(UserState)
    users = [user for user in found.users if user.state in wanted]
    phones = ask_phones(replace(found, users=tuple(users)), config, as_json) if check_phones else None
    if as_json:
        show_json({"ok": found.ok, "users": [_as_object(user, phones) for user in users]})
    else:
        _show_all(users, found, phones)
    if phones and any(state.value == "not_asked" for state in phones.values()):
        line("IAMPASS did not answer for all users. Try again later.", err=True)
        ctx.exit(1)
    _end(ctx, found)


@command.command("show", short_help="Show one user, with the token.")
@click.argument("user", type=USER)
@config_option
@json_option
@click.pass_context
def show_user(ctx: click.Context, user: str, config: Path, as_json: bool) -> None:
    """Show account, token and methods of USER, and the result that a login would have.

    The exit status is 0, or 1 if neither the machine nor the table has this user, or the configuration has an error.
    """
    found = user_status(config, [account(user) or user])
    (status,) = found.users
    if status.uid is None and status.entry is None and status.state is UserState.NO_ACCOUNT:
        message = f"{shown(status.name)} is neither a user of this machine nor in the table"
        raise click.ClickException(message)
    if as_json:
        show_json({**_as_object(status), "token": status.entry.token if status.entry else None})
    else:
        _show_one(status)
    _end(ctx, found)


@command.command("add", short_help="Give a user a token.")
@click.argument("user", type=USER)
@token_option
@click.option(
    "--method",
    "methods",
    type=click.Choice(METHODS),
    multiple=True,
    help="A method by which the user can approve. Can be repeated.  [default: those of the settings]",
)
@click.option("--replace", is_flag=True, help="Replace an existing token.")
@click.option("--no-account", is_flag=True, help="Accept a user who has no account yet.")
@config_option
def add_user(
    user: str, token: str | None, methods: tuple[str, ...], replace: bool, no_account: bool, config: Path
) -> None:
    """Give USER a token, in a file in users.d.

    Without --token the command asks for the token, or reads it from standard input if that is not a terminal. The
    file is checked as the module would read it before it takes effect. For a user in users.yaml --replace is
    required; the line in users.yaml has no effect from then on.

    The exit status is 0, or 1 if the user was not added.
    """
    editor = editor_of(config)
    name = account(user)
    if name is None and not no_account:
        message = f"{shown(user)} is not a user of this machine; to add the user anyway, give --no-account"
        raise click.ClickException(message)
    name = name or user
    if token is None:
        question = f"IAMPASS token of {clean(name)}"
        typed = click.prompt(question, err=True) if sys.stdin.isatty() else sys.stdin.readline()
        token = str(typed).strip()
    file = editor.add(name, token, methods or None, replace)
    Journal().act(ActRecord(Act.USER_ADD, name, administrator(), f"a token, in {file}"))
    line(f"{name} has a token, in {file}.")
    show_login(config, name)


def _show_all(users: list[UserStatus], found: UserStatusReport, phones: dict[str, PhoneState] | None) -> None:
    if not users:
        line("No user.")
        return
    headings: list[str] = ["USER", "UID", "TOKEN IN", "LOGIN"]
    rows: list[list[Part]] = [
        [
            (user.name, "bold"),
            _uid(user),
            _origin(user, found.table),
            login_words(user, (phones or {}).get(user.name)),
        ]
        for user in users
    ]
    if phones is not None:
        headings.insert(3, "PHONE")
        for user, row in zip(users, rows):
            phone = phones.get(user.name)
            row.insert(3, "-" if phone is None else PHONES[phone.value])
    table(headings, rows)
    line(summary(users))
    without = sum(phone in WITHOUT for phone in (phones or {}).values())
    if without:
        line(f"{count(without, 'user')} without a phone: pam-iampass enroll USER")


def _uid(user: UserStatus) -> str:
    return "-" if user.uid is None else str(user.uid)


def _origin(user: UserStatus, table_file: Path) -> str:
    if user.place is None:
        return "-"
    file, number = user.place
    return f"{file.name}:{number}" if file == table_file else f"users.d/{file.name}"


def _show_one(user: UserStatus) -> None:
    entry, methods = user.entry, "-"
    if entry is not None:
        methods = "those of the settings" if entry.methods is None else ", ".join(entry.methods) or "any"
    fields(
        [
            ("user", user.name),
            ("uid", _uid(user)),
            ("token", entry.token if entry else "-"),
            ("token in", "-" if user.place is None else f"{user.place[0]}:{user.place[1]}"),
            ("methods", methods),
            ("login", login_words(user)),
        ]
    )


def _end(ctx: click.Context, found: UserStatusReport) -> None:
    """Point at errors of the configuration, and exit."""
    errors = sum(problem.severity is Severity.ERROR for problem in found.problems)
    if errors:
        line(f"{count(errors, 'error')} in the configuration; see: pam-iampass check", err=True)
    ctx.exit(0 if found.ok else 1)


def _as_object(user: UserStatus, phones: dict[str, PhoneState] | None = None) -> dict[str, object]:
    phone = (phones or {}).get(user.name)
    methods = user.entry.methods if user.entry else None
    return {
        "user": user.name,
        "uid": user.uid,
        "state": user.state.value,
        "reason": user.reason,
        "has_token": user.entry is not None,
        "file": str(user.place[0]) if user.place else None,
        "line": user.place[1] if user.place else None,
        "methods": None if methods is None else list(methods),
        "services": {name: state.value for name, state in user.services.items()},
        "bypasses": [as_object(bypass) for bypass in user.bypasses],
        **({} if phones is None else {"phone": None if phone is None else phone.value}),
    }


command.add_command(remove_users)
