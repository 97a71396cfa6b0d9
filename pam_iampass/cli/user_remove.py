"""`pam-iampass user remove`: removes users, here and at IAMPASS."""

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import click

from pam_iampass.agent.control import ask
from pam_iampass.audit.administrator import administrator
from pam_iampass.audit.journal import Act, ActRecord, Journal
from pam_iampass.cli.output import Part, Row, count, line, progress, show_json, table
from pam_iampass.cli.parameters import USER, account, config_option, json_option
from pam_iampass.cli.session import wait_for_ends
from pam_iampass.cli.user_states import show_login
from pam_iampass.client import Declined, IampassError, ManagementAPI, NotFound, ProtocolError
from pam_iampass.config import settings
from pam_iampass.config.user_table import UserTable
from pam_iampass.config.user_table_editing import UserTableEditor
from pam_iampass.doctor.user_status import user_status
from pam_iampass.enrollment.request import read_requests
from pam_iampass.enrollment.service import open_service
from pam_iampass.errors import ConfigurationError, PamIampassError
from pam_iampass.text import clean, one_line

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
    the phone at IAMPASS. Logins of USER that have begun are denied, and kept sessions are ended with their logins, also
    with --keep-at-iampass; the command waits for that (pam-iampass session).

    The command asks before it deletes anything at IAMPASS: all machines with the same token lose the phone. If it
    cannot ask, because standard input is not a terminal, users stay at IAMPASS unless --yes is given. If IAMPASS does
    not answer, nothing is removed. A user in users.yaml is not removed; the command names the line to delete.

    If some of several users could not be removed, fix the reason and run the same command again.

    The exit status is 0, or 1 if a user was not removed or a session has not ended in time.
    """
    if bool(users) == (file is not None):
        raise click.UsageError("Give at least one USER, or a file with --from.")
    if yes and keep:
        raise click.UsageError("--yes and --keep-at-iampass exclude each other.")
    typed = list(dict.fromkeys(users)) if file is None else [each.user for each in read_requests(file)]
    # Each name as the table has it, else as NSS has it.
    listed = {status.name for status in user_status(config, typed).users if status.entry is not None}
    names = [name if name in listed else account(name) or name for name in typed]
    try:
        removal = _removal(config, delete=not keep and (yes or _confirmed(names)))
        if len(names) == 1 and file is None:
            result = removal.one(names[0])
            ended = _finish([result], as_json)
            _show_one(result, config, as_json, ended, asked=keep or yes or sys.stdin.isatty())
            ctx.exit(0 if ended else 1)
        with progress(as_json) as show:
            results, stopped = removal.all(names, show)
    except IampassError as error:
        way_out = "Nothing was removed. To remove users here only, give --keep-at-iampass."
        raise click.ClickException(f"{error.diagnostics()}\n{way_out}") from None
    ended = _finish(results, as_json)
    ok = ended and all(result.state in _DONE for result in results)
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


def _confirmed(names: list[str]) -> bool:
    if not sys.stdin.isatty():
        return False
    whom = clean(names[0]) if len(names) == 1 else f"these {len(names)} users"
    question = (
        f"Delete {whom} at IAMPASS too, with the phone? Other machines with the same token lose it as well."
    )
    return click.confirm(question, err=True)


class _State(enum.Enum):
    """How far the removal of one user is."""

    REMOVED = "removed"
    NOT_LISTED = "not_listed"
    """The table has no such user, perhaps since an earlier run."""
    FAILED = "failed"
    NOT_TRIED = "not_tried"


_DONE = (_State.REMOVED, _State.NOT_LISTED)
"""The states after which nothing is left to do."""


@dataclass(frozen=True)
class _Result:
    """What was removed of one user."""

    name: str
    state: _State = _State.NOT_TRIED
    file: Path | None = None
    """The deleted file of the table."""
    at_iampass: bool = False
    """Whether IAMPASS does not know the user any more."""
    codes: bool = False
    """Whether the user had recovery codes."""
    sessions: tuple[str, ...] = ()
    """The ids of the kept sessions that the agent began to end before the entry was deleted."""
    problem: str | None = None
    """Why it failed."""


@dataclass(frozen=True)
class _Removal:
    """Removes users from one table and, with a `manager`, from one application of IAMPASS.

    The entry is deleted last: it has the token, so that a removal that failed can be run again.
    """

    table: UserTable
    editor: UserTableEditor
    manager: ManagementAPI | None

    def one(self, name: str) -> _Result:
        """Remove one user. Raises PamIampassError, and IampassError if IAMPASS fails."""
        self.editor.own_file(name)
        entry = self.table.find(name)
        if self.manager is not None and entry is not None:
            try:
                self.manager.delete_user(entry.token)
            except (Declined, NotFound):
                if not _is_unknown(self.manager, entry.token):
                    raise
        forgotten = ask("user forget", user=name)
        if forgotten["problem"]:
            click.echo(forgotten["problem"], err=True)
        file = self.editor.remove(name)
        codes, sessions = forgotten["codes"], tuple(forgotten["sessions"])
        return _Result(name, _State.REMOVED, file, self.manager is not None, codes, sessions)

    def all(self, names: list[str], show: Callable[[str], None]) -> tuple[list[_Result], str | None]:
        """Remove several users. Returns the result for each, and why it stopped before the last one."""
        results = [_Result(name) for name in names]
        for number, name in enumerate(names):
            show(f"Removing {number + 1} of {len(names)}: {name}")
            try:
                listed = self.table.find(name) is not None
                results[number] = self.one(name) if listed else _Result(name, _State.NOT_LISTED)
            except PamIampassError as error:
                results[number] = _Result(name, _State.FAILED, problem=one_line(error.diagnostics()))
            except IampassError as error:
                results[number] = _Result(name, _State.FAILED, problem=clean(str(error)))
                if not isinstance(error, (Declined, ProtocolError)):  # the others would fail, too
                    return results, one_line(error.diagnostics())
        return results, None


def _removal(config: Path, delete: bool) -> _Removal:
    if delete:
        service = open_service(config)
        return _Removal(service.table, service.editor, service.manager)
    return _Removal(UserTable(*_table_paths(config)), editor_of(config), None)


def _is_unknown(manager: ManagementAPI, token: str) -> bool:
    """Whether IAMPASS knows the application, and not this user."""
    try:
        manager.has_registered_mobile_device(token)
    except (Declined, NotFound):
        return manager.knows_application()
    return False


def _finish(results: list[_Result], quiet: bool) -> bool:
    """Note the removal of users in the journal, and wait for the end of their sessions; whether all have ended."""
    removed = [result for result in results if result.state is _State.REMOVED]
    for result in removed:
        where = "here and at IAMPASS" if result.at_iampass else "here, and kept at IAMPASS"
        Journal().act(ActRecord(Act.USER_REMOVE, result.name, administrator(), f"removed {where}"))
    if not removed:
        return True
    # Also of a login that began before the entry was deleted.
    sessions = [ident for result in removed for ident in result.sessions]
    return wait_for_ends([result.name for result in removed], sessions, quiet)


def _show_one(result: _Result, config: Path, as_json: bool, ended: bool, asked: bool) -> None:
    if as_json:
        show_json({"ok": ended, "stopped": None, "users": [_as_object(result)]})
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


def _show_all(results: list[_Result], stopped: str | None) -> None:
    table(("USER", "STATUS"), [_row(result) for result in results])
    removed = sum(result.state is _State.REMOVED for result in results)
    line(f"{removed:,} of {count(len(results), 'user')} removed.")
    if stopped:
        line((f"Stopped: {stopped}", "bold red"))
    if any(result.state not in _DONE for result in results):
        line("When that is fixed, run the same command again.")


def _row(result: _Result) -> Row:
    kept = "" if result.at_iampass else "; still registered at IAMPASS"
    status: Part = {
        _State.REMOVED: (f"removed{kept}", "green"),
        _State.NOT_LISTED: ("has no token", "yellow"),
        _State.FAILED: (f"failed: {result.problem}", "bold red"),
        _State.NOT_TRIED: ("not tried yet", "yellow"),
    }[result.state]
    return (result.name, "bold"), status


def _as_object(result: _Result) -> dict[str, object]:
    return {
        "user": result.name,
        "state": result.state.value,
        "file": None if result.file is None else str(result.file),
        "deleted_at_iampass": result.at_iampass,
        "codes_revoked": result.codes,
        "problem": result.problem,
    }
