"""`pam-iampass session`: the kept sessions, and their end by an administrator."""

from __future__ import annotations

import contextlib
import pwd
import re
import time
from collections.abc import Sequence
from typing import Any

import click

from pam_iampass.agent.control import ask
from pam_iampass.cli import Verbs
from pam_iampass.cli.output import Row, count, line, local, moment, progress, show_json, table, timestamp
from pam_iampass.cli.parameters import json_option
from pam_iampass.enforcer.service import forget_passwords
from pam_iampass.errors import PamIampassError

_WATCH_SECONDS = 1.0
_STYLES = {"active": "green", "away": "yellow", "revoked": "yellow", "ending": "red"}
_EPILOG = """\b
Examples:
  pam-iampass session list                 who has a kept session, from where, how much time is left
  pam-iampass session list --watch
  pam-iampass session end alice            end logins of alice, to alice, and approved by alice
  pam-iampass session end 5f0c             end one session, by the beginning of its id
  pam-iampass session end --all            end all
  pam-iampass log --session 5f0c           what happened in a session
"""


@click.group(cls=Verbs, epilog=_EPILOG)
def command() -> None:
    """Show or end the sessions that last as long as a login (`session.keep` in iampass.yaml).

    The exit status is 0, or 1 if it failed.
    """


@command.command("list", epilog=_EPILOG, short_help="Show the kept sessions.")
@click.option(
    "--watch", is_flag=True, help="Show the sessions again whenever something changes, until Ctrl-C."
)
@json_option
def list_(watch: bool, as_json: bool) -> None:
    """Show the kept sessions of this machine, the oldest first.

    USER is the account, PERSON the user who logged in, if known, and APPROVER the user whose phone approved the login.
    They differ in shared accounts, and where a second person must approve.

    STATUS is what IAMPASS reported last: active, or away if the phone is no longer near. It is revoked if no further
    login can use the session, and ending while the login is being ended. LEFT is the time until `session.longest` is
    over. COVERED is the number of later logins, such as sudo, that needed no approval.

    With --watch and --json, each change prints one object in one line.
    """
    before: object = None
    while True:
        found = ask("session list")
        shown = [{**session, "seconds_left": 0} for session in found]
        if shown != before:
            if watch and not as_json:
                click.clear()  # does nothing unless this is a terminal
            _show(found, as_json, None if watch else 2)
        before = shown
        if not watch:
            return
        time.sleep(_WATCH_SECONDS)


@command.command(epilog=_EPILOG, short_help="End sessions and their logins.")
@click.argument("who", required=False, metavar="[USER|ID]")
@click.option("--all", "everything", is_flag=True, help="End all sessions of this machine.")
@json_option
@click.pass_context
def end(ctx: click.Context, who: str | None, everything: bool, as_json: bool) -> None:
    """End sessions at IAMPASS and their logins, regardless of `session.when_closed`.

    USER is the account, the person who logged in, or the approver. ID is the id of a session, or at least its first
    four digits.

    The exit status is 0, also if there was no session, or 1 if the agent could not end them in time.
    """
    if (who is None) != everything:
        raise click.UsageError("Give a user, the id of a session, or --all.")
    with progress(as_json) as show:
        found = ask("session end", show, who=who or "", all=everything)
    left = found["not_ended"]
    if as_json:
        show_json(found)
    elif not found["ended"] + left:
        short = who is not None and re.fullmatch("[0-9a-f]{1,3}", who)
        what = f"{who} has no session. To name a session by its id, give at least the first four digits."
        line(what if short else "There is no such session.")
    else:
        line(f"{count(len(found['ended']), 'session')} ended.")
    say_what_is_left(left)
    ctx.exit(1 if left else 0)


def wait_for_ends(users: Sequence[str], sessions: Sequence[str], quiet: bool) -> bool:
    """Wait until the sessions that the agent ends are over, and the sessions of `users` that have begun meanwhile.

    Then sudo and doas ask `users` for the password again, also where no session was registered.
    Says what has ended, unless `quiet`, and what has not; returns whether all are over.
    """
    try:
        with progress(quiet) as show:
            found = ask("session wait", show, users=list(users), sessions=list(sessions))
    except PamIampassError as error:
        click.echo(error.diagnostics(), err=True)
        found = None
    forgotten = _forget_passwords(users)  # also if the agent does not answer
    if found is None:
        return False
    if found["ended"] and not quiet:
        whose = f" of {users[0]}" if len(users) == 1 else ""
        line(f"{count(len(found['ended']), 'session')}{whose} ended.")
    say_what_is_left(found["not_ended"])
    return forgotten and not found["not_ended"]


def _forget_passwords(users: Sequence[str]) -> bool:
    """Have sudo and doas ask the accounts for the password again; says what failed, and returns whether nothing did."""
    owners = set(users)
    for user in users:
        with contextlib.suppress(KeyError, ValueError):
            owners.add(str(pwd.getpwnam(user).pw_uid))
    try:
        forget_passwords(owners)
    except (PamIampassError, OSError) as error:
        click.echo(f"sudo may remember the password of {', '.join(users)}: {error}", err=True)
        return False
    return True


def say_what_is_left(sessions: Sequence[str]) -> None:
    """Say that these sessions could not be ended in time."""
    if sessions:
        line(
            (f"{count(len(sessions), 'session')} not ended yet: {', '.join(sessions)}", "bold red"), err=True
        )
        line(
            "The agent keeps trying. See: journalctl -u pam-iampass-agent -u 'pam-iampass-enforcer@*'",
            err=True,
        )


def _show(found: Sequence[dict[str, Any]], as_json: bool, indent: int | None) -> None:
    if as_json:
        show_json({"sessions": [_as_object(session) for session in found]}, indent)
    elif not found:
        line("There are no sessions.")
    else:
        whose = ("ID", "USER", "PERSON", "APPROVER", "SERVICE", "FROM")
        table((*whose, local("SINCE"), "STATUS", "LEFT", "COVERED"), [_row(session) for session in found])


def _as_object(session: dict[str, Any]) -> dict[str, Any]:
    times = {name: timestamp(session[name]) if session[name] else None for name in ("since", "last_covered")}
    return {**session, **times}


def _row(session: dict[str, Any]) -> Row:
    return (
        session["id"][:8],
        (session["user"], "bold"),
        session["person"] or "-",
        session["approver"],
        session["service"],
        session["from"] or "-",
        moment(session["since"]),
        (session["status"], _STYLES.get(session["status"], "")),
        short(session["seconds_left"]),
        str(session["covered"]),
    )


def short(seconds: float) -> str:
    """A time in hours and minutes."""
    minutes = max(round(seconds), 0) // 60
    return f"{minutes // 60}h{minutes % 60:02}m" if minutes >= 60 else f"{minutes}m"
