"""`pam-iampass user`: shows and changes who is asked on the phone, and by which token."""

from __future__ import annotations

import enum
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable

import click

from pam_iampass.agent.control import ask
from pam_iampass.audit.journal import Act
from pam_iampass.check.iampass import PhoneState, phones_of
from pam_iampass.check.user_status import UserState, UserStatus, UserStatusReport, user_status
from pam_iampass.cli import Verbs
from pam_iampass.cli.bypass import as_object, bypass_words
from pam_iampass.cli.enrollment import failure_of, open_service, read_requests, require_no_gateway
from pam_iampass.cli.output import Part, Row, count, fields, line, progress, record, show_json, table
from pam_iampass.cli.parameters import USER, account, config_option, file_option, json_option, token_option
from pam_iampass.cli.session import wait_for_ends
from pam_iampass.cli.user_keys import add_keys, import_keys, remove_keys, table_path
from pam_iampass.client import IampassError, ManagementAPI
from pam_iampass.config import user_table
from pam_iampass.config.user_table import UserTable
from pam_iampass.config.user_table_editing import UserTableEditor
from pam_iampass.config.value_types import METHODS
from pam_iampass.errors import PamIampassError, Severity, shown
from pam_iampass.text import clean
from pam_iampass.text import names as names_of

_CHOICES = {
    "without-token": (UserState.DENIED, UserState.IGNORED),
    "without-account": (UserState.NO_ACCOUNT,),
    "exempt": (UserState.EXEMPT,),
    "broken": (UserState.BROKEN,),
}

_EPILOG = """\b
Examples:
  pam-iampass user list                            who needs the phone, who does not, and why
  pam-iampass user list --only without-token       users who cannot log in yet
  pam-iampass user add alice                       asks for the token
  pam-iampass user add bob --method facial < token-of-bob
  pam-iampass user add claude --acts-for alice     alice's phone approves for claude
  pam-iampass user list --check-phones             also shows who has no phone
  pam-iampass user remove alice
  pam-iampass user remove --from leavers.csv --yes
"""

_REMOVE_EPILOG = """\b
Examples:
  pam-iampass user remove alice                      asks whether to delete alice at IAMPASS
  pam-iampass user remove alice bob --yes            deletes both, here and at IAMPASS
  pam-iampass user remove alice --keep-at-iampass    other machines have the same token
  pam-iampass user remove --from leavers.csv --yes   all users in a file

\b
A file for --from is CSV as for `enroll --from`. Only the column `user` is used.
"""

STATES = {
    UserState.ASKED: ("needs the phone", "green", "needs the phone", "need the phone"),
    UserState.EXEMPT: ("exempt", "yellow", "is exempt", "are exempt"),
    UserState.DENIED: ("denied", "yellow", "has no token and is denied", "have no token and are denied"),
    UserState.IGNORED: (
        "passes without a second factor",
        "bold red",
        "passes without a token",
        "pass without a token",
    ),
    UserState.BROKEN: ("denied", "bold red", "is denied because of an error", "are denied because of errors"),
    UserState.BY_KEY: (
        "needs the phone of the key's owner",
        "green",
        "needs the phone of the key's owner",
        "need the phone of the key's owner",
    ),
    UserState.BY_OWNER: (
        "needs the phone of its owner",
        "green",
        "needs the phone of its owner",
        "need the phones of their owners",
    ),
    UserState.BY_OTHERS: (
        "needs a second person's phone",
        "green",
        "needs a second person's phone",
        "need a second person's phone",
    ),
    UserState.NO_ACCOUNT: ("never looked up", "yellow", "has no account", "have no account"),
}
"""Each state in words, with its style, and as the end of a sentence about one user and about several."""

WITHOUT = (PhoneState.NONE, PhoneState.UNKNOWN)
"""The states of users who cannot be asked."""
PHONES: dict[str, Part] = {
    "registered": ("registered", "green"),
    "none": ("none", "bold red"),
    "unknown": ("unknown at IAMPASS", "bold red"),
    "not_asked": ("no answer", "yellow"),
}
"""Each `PhoneState` in words, with its style."""
NEEDS_A_PHONE = ("needs a phone, and has none", "bold red")
"""The result of a login of such a user, in words, with its style."""


@click.group(cls=Verbs, epilog=_EPILOG)
def command() -> None:
    """List, show, add and remove users, their tokens, and their ssh keys for services with `approver: key`.

    New users are written to users.d, one file per user. users.yaml is for you to edit: these commands read it, but
    never change it.
    """


for verb in (add_keys, import_keys, remove_keys):
    command.add_command(verb)


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
    """List all users of this machine and of the table, with the result of a login.

    The users of this machine are root and the accounts with a shell and a user id from UID_MIN to UID_MAX
    (/etc/login.defs). If a directory service does not list its accounts, only the accounts in the table appear.

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
    """Show account, token, methods and ssh keys of USER, and the result of a login.

    The exit status is 0. It is 1 if there is no such user, or the configuration has an error.
    """
    found = user_status(config, [account(user) or user])
    (status,) = found.users
    if status.uid is None and status.entry is None and status.state is UserState.NO_ACCOUNT:
        message = f"{shown(status.name)} is neither a user of this machine nor in the table"
        raise click.ClickException(message)
    agents = agents_of(config).get(status.name, ())
    if as_json:
        more = {"token": status.token, "ssh_keys": _keys_as_objects(status), "acting_for_user": agents}
        show_json({**_as_object(status), **more})
    else:
        _show_one(status, agents)
    _end(ctx, found)


@command.command("add", short_help="Give a user a token.")
@click.argument("user", type=USER)
@token_option
@click.option(
    "--method",
    "methods",
    type=click.Choice(METHODS),
    multiple=True,
    help="A method by which the user can approve. Can be repeated.  [default: as in the settings]",
)
@click.option(
    "--acts-for",
    "owner",
    type=USER,
    metavar="OWNER",
    help="USER is the account of an AI agent or a job: the phone of OWNER approves its logins.",
)
@click.option("--replace", is_flag=True, help="Replace an existing token or owner.")
@click.option("--no-account", is_flag=True, help="Accept a user who has no account yet.")
@config_option
def add_user(
    user: str,
    token: str | None,
    methods: tuple[str, ...],
    owner: str | None,
    replace: bool,
    no_account: bool,
    config: Path,
) -> None:
    """Give USER a token, in a file in users.d.

    With --acts-for, USER has no token: the phone of OWNER approves the logins of USER. OWNER must have a token.

    Without --token, the command asks for the token, or reads it from standard input if that is not a terminal. It
    checks the new file before the file takes effect. For a user in users.yaml, --replace is required: the line in
    users.yaml then has no effect.

    The exit status is 0, or 1 if the user was not added.
    """
    if owner is not None and (token is not None or methods):
        raise click.UsageError("--acts-for excludes --token and --method.")
    require_no_gateway(config)
    editor = UserTableEditor(table_path(config))
    name = account(user)
    if name is None and not no_account:
        message = f"{shown(user)} is not a user of this machine; to add the user anyway, give --no-account"
        raise click.ClickException(message)
    name = name or user
    if owner is not None:
        file = editor.add_agent(name, owner, replace)
        record(Act.USER_ADD, name, f"acts for {owner}, in {file}")
        line(f"{name} acts for {owner}, in {file}.")
        show_login(config, name)
        return
    if token is None:
        question = f"IAMPASS token of {clean(name)}"
        typed = click.prompt(question, err=True) if sys.stdin.isatty() else sys.stdin.readline()
        token = str(typed).strip()
    file = editor.add(name, token, methods or None, replace)
    record(Act.USER_ADD, name, f"a token, in {file}")
    line(f"{name} has a token, in {file}.")
    show_login(config, name)


@command.command("remove", epilog=_REMOVE_EPILOG, short_help="Remove users, here and at IAMPASS.")
@click.argument("users", type=USER, nargs=-1, metavar="USER...")
@file_option("Remove all users in this CSV file.")
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
    """Remove each USER's token, ssh keys, recovery codes, bypasses and rate limit. Delete the user and the phone at
    IAMPASS. The command denies logins of USER that wait for an approval. It ends USER's kept sessions with their
    logins, and waits until they have ended (pam-iampass session). This includes sessions that a second person approved.

    The command asks before it deletes a user at IAMPASS, because all machines with the same token lose the phone. If
    standard input is not a terminal, users stay at IAMPASS unless you give --yes. If IAMPASS does not answer, nothing
    is removed. A user in users.yaml is not removed: the command names the line to delete.

    If some of several users could not be removed, fix the reason and run the same command again.

    The exit status is 0, or 1 if a user was not removed or a session has not ended in time.
    """
    if bool(users) == (file is not None):
        raise click.UsageError("Give at least one USER, or a file with --from.")
    if yes and keep:
        raise click.UsageError("--yes and --keep-at-iampass exclude each other.")
    require_no_gateway(config)
    typed = list(dict.fromkeys(users)) if file is None else [each.user for each in read_requests(file)]
    # Each name as the table has it, else as NSS has it.
    listed = {status.name for status in user_status(config, typed).users if status.entry is not None}
    names = [name if name in listed else account(name) or name for name in typed]
    try:
        removal = _removal(config, delete=not keep and (yes or _confirmed(names)))
        if len(names) == 1 and file is None:
            (result,) = _with_agents([removal.one_of_several(names[0])], config)
            ended = _finish([result], as_json)
            if result.state is RemovalState.NOT_LISTED:
                removal.editor.own_file(result.name)  # raises: there is no token
            _show_removal(result, config, as_json, ended, asked=keep or yes or sys.stdin.isatty())
            ctx.exit(0 if ended else 1)
        with progress(as_json) as show:
            results, stopped = remove_all(names, removal.one_of_several, show)
    except IampassError as error:
        way_out = "Nothing was removed. To remove users here only, give --keep-at-iampass."
        raise click.ClickException(f"{error.diagnostics()}\n{way_out}") from None
    results = _with_agents(results, config)
    ended = _finish(results, as_json)
    ok = ended and all(result.state in DONE for result in results)
    if as_json:
        show_json({"ok": ok, "stopped": stopped, "users": [removal_as_object(result) for result in results]})
    else:
        show_removals(results, stopped)
    ctx.exit(0 if ok else 1)


# What a login would result in, in words


def login_words(status: UserStatus, phone: PhoneState | None = None) -> tuple[str, str]:
    """The result of a login, in a few words."""
    words, style, *_ = STATES[status.state]
    if phone in WITHOUT:
        words, style = NEEDS_A_PHONE
    if status.keys:
        words += f", known by {count(status.keys, 'key')}"
    if status.reason:
        words += f": {status.reason}"
    services = "; ".join(f"{name}: {STATES[state][0]}" for name, state in status.services.items())
    for bypass in status.bypasses:
        words, style = f"{words}; {bypass_words(bypass)}", "bold red"
    return f"{words} ({services})" if services else words, style


def summary(users: Sequence[UserStatus]) -> str:
    """How many users there are in each state."""
    parts = []
    for state, (_, _, one, many) in STATES.items():
        number = sum(user.state is state for user in users)
        if number:
            parts.append(f"{number:,} {one if number == 1 else many}")
    return f"{count(len(users), 'user')}: {', '.join(parts)}."


def show_login(config: Path, name: str) -> None:
    """Say what a login of the user would result in."""
    (status,) = user_status(config, [name]).users
    if status.state is not UserState.NO_ACCOUNT:
        words, style = login_words(status)
        line((f"A login of {name}: {words}.", style))


def ask_phones(found: UserStatusReport, config: Path, quiet: bool) -> dict[str, PhoneState]:
    """Ask IAMPASS about each user of the report who is asked on the phone. Raises ClickException, EditRefused."""
    require_no_gateway(config)
    try:
        with progress(quiet) as show:
            return phones_of(found, config, show)
    except IampassError as error:
        raise click.ClickException(error.diagnostics()) from None


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


def _show_one(user: UserStatus, agents: Sequence[str]) -> None:
    entry, methods = user.entry, "-"
    if entry is not None:
        methods = "those of the settings" if entry.methods is None else ", ".join(entry.methods) or "any"
    fields(
        [
            ("user", user.name),
            ("uid", _uid(user)),
            ("token", user.token or "-"),
            ("token in", "-" if user.place is None else f"{user.place[0]}:{user.place[1]}"),
            ("methods", methods),
            *(("key", str(key)) for key in (entry.keys if entry else ())),
            *(("acting for user", name) for name in agents),
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
        "has_token": user.token is not None,
        "file": str(user.place[0]) if user.place else None,
        "line": user.place[1] if user.place else None,
        "methods": None if methods is None else list(methods),
        "services": {name: state.value for name, state in user.services.items()},
        "keys": user.keys,
        "acts_for": (user.entry.acts_for or None) if user.entry else None,
        "bypasses": [as_object(bypass) for bypass in user.bypasses],
        **({} if phones is None else {"phone": None if phone is None else phone.value}),
    }


def _keys_as_objects(user: UserStatus) -> list[dict[str, str | None]]:
    return [
        {"fingerprint": key.fingerprint, "key_id": key.key_id or None, "principal": key.principal or None}
        for key in (user.entry.keys if user.entry else ())
    ]


# Removing


def _confirmed(names: list[str]) -> bool:
    if not sys.stdin.isatty():
        return False
    whom = clean(names[0]) if len(names) == 1 else f"these {len(names)} users"
    question = f"Delete {whom} at IAMPASS too, with the phone? Other machines with the same token lose the phone, too."
    return click.confirm(question, err=True)


class RemovalState(enum.Enum):
    """How far the removal of one user is."""

    REMOVED = "removed"
    NOT_LISTED = "not_listed"
    """The table has no such user, perhaps since an earlier run."""
    FAILED = "failed"
    NOT_TRIED = "not_tried"


DONE = (RemovalState.REMOVED, RemovalState.NOT_LISTED)
"""The states after which nothing is left to do."""


@dataclass(frozen=True)
class Removed:
    """The result of the removal of one user."""

    name: str
    state: RemovalState = RemovalState.NOT_TRIED
    file: Path | None = None
    """The deleted file of the table."""
    had_token: bool = False
    at_iampass: bool = False
    """Whether IAMPASS does not know the user any more."""
    codes: bool = False
    """Whether the user had recovery codes."""
    agents: tuple[str, ...] = ()
    """The accounts of the table that act for the user, and are denied from now on."""
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

    def one(self, name: str) -> Removed:
        """Remove one user. Raises PamIampassError, and IampassError if IAMPASS fails."""
        self.editor.own_file(name)
        entry = self.table.find(name)
        token = None if entry is None else entry.token
        if self.manager is not None and token is not None:
            self.manager.remove_user(token)
        codes, sessions = _forget(name)
        file = self.editor.remove(name)
        had_token = token is not None
        at_iampass = had_token and self.manager is not None
        if self.manager is not None and token is not None:
            tell_disabled(self.manager, [token])
        return Removed(
            name, RemovalState.REMOVED, file, had_token, at_iampass, codes=codes, sessions=sessions
        )

    def one_of_several(self, name: str) -> Removed:
        """Remove one of several users. One who is not in the table may be logged in: by a key, if a second person
        approved."""
        if self.table.find(name) is not None:
            return self.one(name)
        codes, sessions = _forget(name)
        return Removed(name, RemovalState.NOT_LISTED, codes=codes, sessions=sessions)


def _forget(name: str) -> tuple[bool, tuple[str, ...]]:
    """Have the agent forget a user, and deny and end all logins; returns whether there were codes, and the sessions."""
    forgotten = ask("user forget", user=name)
    if forgotten["problem"]:
        click.echo(forgotten["problem"], err=True)
    return forgotten["codes"], tuple(forgotten["sessions"])


def tell_disabled(manager: ManagementAPI, tokens: Sequence[str]) -> None:
    """Tell the agent that IAMPASS has disabled the phone of these tokens. If it does not answer, it tells IAMPASS again
    of a lost one, and finds out."""
    with suppress(PamIampassError):
        ask("phone disabled", application=manager.application_id, tokens=list(tokens))


def remove_all(
    names: Sequence[str], remove: Callable[[str], Removed], show: Callable[[str], None]
) -> tuple[list[Removed], str | None]:
    """Remove several users. Returns the result for each, and why it stopped before the last one."""
    results = [Removed(name) for name in names]
    for number, name in enumerate(names):
        show(f"Removing {number + 1} of {len(names)}: {name}")
        try:
            results[number] = remove(name)
        except (PamIampassError, IampassError, click.ClickException) as error:
            problem, stopped = failure_of(error)
            results[number] = Removed(name, RemovalState.FAILED, problem=problem)
            if stopped:
                return results, stopped
    return results, None


def _removal(config: Path, delete: bool) -> _Removal:
    if delete:
        service = open_service(config)
        return _Removal(service.table, service.editor, service.manager)
    path = table_path(config)
    return _Removal(UserTable(path), UserTableEditor(path), None)


def _with_agents(results: Sequence[Removed], config: Path) -> list[Removed]:
    """The results with the accounts that act for removed users."""
    agents = agents_of(config)
    gone = [result.name for result in results if result.state in DONE]
    return [replace(one, agents=agents.get(one.name, ()) if one.name in gone else ()) for one in results]


def agents_of(config: Path) -> Mapping[str, tuple[str, ...]]:
    """The accounts that act for each user. Raises EditRefused."""
    return user_table.check(table_path(config), optional=True).acting


def _finish(results: list[Removed], quiet: bool) -> bool:
    """Note the removal of users in the journal, and wait for the end of their sessions; whether all have ended."""
    removed = [result for result in results if result.state is RemovalState.REMOVED]
    for result in removed:
        where = "here"
        if result.had_token:
            where = "here and at IAMPASS" if result.at_iampass else "here, and kept at IAMPASS"
        record(Act.USER_REMOVE, result.name, f"removed {where}")
    done = [result for result in results if result.state in DONE]
    if not done:
        return True
    # Also of a login that began before the entry was deleted.
    sessions = [ident for result in done for ident in result.sessions]
    return wait_for_ends([result.name for result in done], sessions, quiet)


def _show_removal(result: Removed, config: Path, as_json: bool, ended: bool, asked: bool) -> None:
    if as_json:
        show_json({"ok": ended, "stopped": None, "users": [removal_as_object(result)]})
        return
    if result.at_iampass:
        line(f"Deleted {result.name} at IAMPASS, with the phone.")
    line(f"{result.name} is no longer in the user table; deleted {result.file}.")
    if result.codes:
        line("The recovery codes were revoked.")
    show_login(config, result.name)
    _show_agents([result])
    if not result.at_iampass and result.had_token:
        hint = "" if asked else " To delete both, give --yes."
        line(f"User and phone are still registered at IAMPASS.{hint}")


def show_removals(results: list[Removed], stopped: str | None, command: str = "pam-iampass") -> None:
    """Show how far the removal of several users is."""
    table(("USER", "STATUS"), map(_removal_row, results))
    removed = sum(result.state is RemovalState.REMOVED for result in results)
    line(f"{removed:,} of {count(len(results), 'user')} removed.")
    _show_agents(results, command)
    if stopped:
        line((f"Stopped: {stopped}", "bold red"))
    if any(result.state not in DONE for result in results):
        line("When that is fixed, run the same command again.")


def _show_agents(results: Sequence[Removed], command: str = "pam-iampass") -> None:
    """Name the accounts that acted for removed users."""
    for result in results:
        if result.agents:
            act = "acts" if len(result.agents) == 1 else "act"
            text = f"{names_of(result.agents)} {act} for {result.name}: all logins are denied from now on."
            line((text, "yellow"))
            line(f"Remove them too, or name another owner: {command} user remove {result.agents[0]}")


def _removal_row(result: Removed) -> Row:
    kept = "; still registered at IAMPASS" if result.had_token and not result.at_iampass else ""
    status: Part = {
        RemovalState.REMOVED: (f"removed{kept}", "green"),
        RemovalState.NOT_LISTED: (result.problem or "has no token", "yellow"),
        RemovalState.FAILED: (f"failed: {result.problem}", "bold red"),
        RemovalState.NOT_TRIED: ("not tried yet", "yellow"),
    }[result.state]
    return (result.name, "bold"), status


def removal_as_object(result: Removed) -> dict[str, object]:
    """The result for one user, for --json."""
    return {
        "user": result.name,
        "state": result.state.value,
        "file": None if result.file is None else str(result.file),
        "deleted_at_iampass": result.at_iampass,
        "codes_revoked": result.codes,
        "acting_for_user": list(result.agents),
        "problem": result.problem,
    }
