"""`pam-iampass user remove`: removes users, here and at IAMPASS."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pam_iampass.audit.administrator import administrator
from pam_iampass.audit.journal import Act, ActRecord, Journal
from pam_iampass.cli.output import Part, Row, count, line, progress, show_json, table
from pam_iampass.cli.parameters import USER, account, config_option, json_option
from pam_iampass.cli.user_states import show_login
from pam_iampass.client import IampassError
from pam_iampass.config import settings
from pam_iampass.config.user_table import UserTable
from pam_iampass.config.user_table_editing import UserTableEditor
from pam_iampass.doctor.user_status import user_status
from pam_iampass.enrollment.removal import Removal, RemovedUser
from pam_iampass.enrollment.request import read_requests
from pam_iampass.enrollment.service import open_service
from pam_iampass.errors import ConfigurationError
from pam_iampass.text import clean

_DONE = ("removed", "not_listed")
"""The states after which nothing is left to do."""

_EPILOG = """\b
Examples:
  pam-iampass user remove alice                      asks whether to delete alice at IAMPASS
  pam-iampass user remove alice bob --yes            deletes both, here and at IAMPASS
  pam-iampass user remove alice --keep-at-iampass    other machines have the same token
  pam-iampass user remove --from leavers.csv --yes   all users in a file

\b
A file for --from is CSV as for `enroll --from`: its first line names the columns,
and only `user` is used.
"""


@click.command("remove", epilog=_EPILOG, short_help="Remove users, here and at IAMPASS.")
@click.argument("users", type=USER, nargs=-1, metavar="USER...")
@click.option(
    "--from",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Remove all users in this CSV file.",
)
@click.option("--yes", is_flag=True, help="Delete the users at IAMPASS without asking.")
@click.option("--keep-at-iampass", "keep", is_flag=True, help="Do not delete the users at IAMPASS.")
@config_option
@json_option
@click.pass_context
def remove_users(
    ctx: click.Context,
    users: tuple[str, ...],
    file: Path | None,
    yes: bool,
    keep: bool,
    config: Path,
    as_json: bool,
) -> None:
    """Remove the token, the recovery codes, the bypasses and the rate limit of each USER, and delete the user with
    the phone at IAMPASS.

    The command asks before it deletes anything at IAMPASS: all machines with the same token lose the phone. If it
    cannot ask, because standard input is not a terminal, users stay at IAMPASS unless --yes is given. If IAMPASS does
    not answer, nothing is removed. A user in users.yaml is not removed; the command names the line to delete.

    If some of several users could not be removed, fix the reason and run the same command again.

    The exit status is 0, or 1 if a user was not removed.
    """
    if bool(users) == (file is not None):
        raise click.UsageError("Give at least one USER, or a file with --from.")
    if yes and keep:
        raise click.UsageError("--yes and --keep-at-iampass exclude each other.")
    names = _from_file(file) if file is not None else list(dict.fromkeys(users))
    names = _as_in_table(config, names)
    try:
        delete = not keep and (yes or _confirmed(names))
        removal = _removal(config, delete)
        if len(names) == 1 and file is None:
            result = removal.remove(names[0])
            _finish([result])
            _show_one(result, config, as_json, asked=keep or yes or sys.stdin.isatty())
            return
        with progress(as_json) as show:
            results, stopped = removal.remove_all(
                names, lambda number: show(f"Removing {number + 1} of {len(names)}: {names[number]}")
            )
    except IampassError as error:
        raise click.ClickException(_with_way_out(error)) from None
    _finish(results)
    ok = all(result.state.value in _DONE for result in results)
    if as_json:
        show_json({"ok": ok, "stopped": stopped, "users": [_as_object(result) for result in results]})
    else:
        _show_all(results, stopped)
    ctx.exit(0 if ok else 1)


def editor_of(config: Path) -> UserTableEditor:
    """The editor of the table that the settings name. Raises ConfigurationError."""
    return UserTableEditor(*_table_paths(config))


def _table_paths(config: Path) -> tuple[Path, Path]:
    """`users.yaml` and `users.d`. Raises ConfigurationError."""
    read = settings.check(config)
    if read.users is None:
        raise ConfigurationError(read.problems)
    return read.users, read.users.parent / settings.USERS_FOLDER


def _from_file(file: Path) -> list[str]:
    return [request.user for request in read_requests(file)]


def _as_in_table(config: Path, names: list[str]) -> list[str]:
    """Each name as the table has it, else as NSS has it."""
    listed = {status.name for status in user_status(config, names).users if status.entry is not None}
    return [name if name in listed else account(name) or name for name in names]


def _confirmed(names: list[str]) -> bool:
    if not sys.stdin.isatty():
        return False
    whom = clean(names[0]) if len(names) == 1 else f"these {len(names)} users"
    question = (
        f"Delete {whom} at IAMPASS too, with the phone? Other machines with the same token lose it as well."
    )
    return click.confirm(question, err=True)


def _removal(config: Path, delete: bool) -> Removal:
    if delete:
        service = open_service(config)
        return Removal(service.table, service.editor, service.manager)
    return Removal(UserTable(*_table_paths(config)), editor_of(config), None)


def _with_way_out(error: IampassError) -> str:
    return f"{error.diagnostics()}\nNothing was removed. To remove users here only, give --keep-at-iampass."


def _finish(results: list[RemovedUser]) -> None:
    """Note the removal of users in the journal."""
    for result in results:
        if result.state.value == "removed":
            where = "here and at IAMPASS" if result.at_iampass else "here, and kept at IAMPASS"
            Journal().act(ActRecord(Act.USER_REMOVE, result.name, administrator(), f"removed {where}"))


def _show_one(result: RemovedUser, config: Path, as_json: bool, asked: bool) -> None:
    if as_json:
        show_json({"ok": True, "stopped": None, "users": [_as_object(result)]})
        return
    if result.at_iampass:
        line(f"Deleted {result.name} at IAMPASS, with the phone.")
    line(f"{result.name} no longer has a token; deleted {result.file}.")
    if result.codes:
        line("The recovery codes were revoked.")
    show_login(config, result.name)
    if not result.at_iampass:
        hint = "" if asked else " To delete both, give --yes."
        line(f"User and phone are still registered at IAMPASS.{hint}")


def _show_all(results: list[RemovedUser], stopped: str | None) -> None:
    table(("USER", "STATUS"), [_row(result) for result in results])
    removed = sum(result.state.value == "removed" for result in results)
    line(f"{removed:,} of {count(len(results), 'user')} removed.")
    if stopped:
        line((f"Stopped: {stopped}", "bold red"))
    if any(result.state.value not in _DONE for result in results):
        line("When that is fixed, run the same command again.")


def _row(result: RemovedUser) -> Row:
    kept = "" if result.at_iampass else "; still registered at IAMPASS"
    status: Part = {
        "removed": (f"removed{kept}", "green"),
        "not_listed": ("has no token", "yellow"),
        "failed": (f"failed: {result.problem}", "bold red"),
        "not_tried": ("not tried yet", "yellow"),
    }[result.state.value]
    return (result.name, "bold"), status


def _as_object(result: RemovedUser) -> dict[str, object]:
    return {
        "user": result.name,
        "state": result.state.value,
        "file": None if result.file is None else str(result.file),
        "deleted_at_iampass": result.at_iampass,
        "codes_revoked": result.codes,
        "problem": result.problem,
    }
