"""`pam-iampass-gateway session`: the sessions of the whole fleet, and their end by an administrator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from pam_iampass.cli import Verbs
from pam_iampass.cli.output import count, line, local, moment, show_json, table, timestamp
from pam_iampass.cli.parameters import json_option
from pam_iampass.cli.session import short
from pam_iampass.client import IampassError
from pam_iampass.gateway.acts.names import UnknownName
from pam_iampass.gateway.acts.sessions import EndSessions, meant
from pam_iampass.gateway.acts.views import status_of
from pam_iampass.gateway.cli import CommandGateway, command_gateway, config_option, if_exists_option
from pam_iampass.gateway.requests import sessions
from pam_iampass.gateway.requests.sessions import HostSession
from pam_iampass.text import clean

_STYLES = {"active": "green", "away": "yellow"}
_EPILOG = """\b
Examples:
  pam-iampass-gateway session list                       who has a session, and on which host
  pam-iampass-gateway session list alice
  pam-iampass-gateway session end alice                  end the logins that alice approved, on all hosts
  pam-iampass-gateway session end web1.example.com       end the logins on one host
  pam-iampass-gateway session end 5f0c                   end one session, by the beginning of its id
  pam-iampass-gateway session end --all                  end all
"""


@click.group(cls=Verbs, epilog=_EPILOG)
def command() -> None:
    """Show or end the sessions of logins on all hosts. Hosts keep them with `session.keep` in their iampass.yaml.

    The exit status is 0, or 1 if it failed.
    """


@command.command("list", epilog=_EPILOG, short_help="Show the sessions.")
@click.argument("who", required=False, metavar="[USER|HOST]")
@config_option
@json_option
def list_(who: str | None, config: Path, as_json: bool) -> None:
    """Show the open sessions of all hosts, or of one USER or HOST, the oldest first.

    USER is the person who approved the session or is asked. STATUS is what IAMPASS reported last: asked while a request
    is on the phone, active, or away if the phone is no longer near. It is waits while another request comes first. LEFT
    is the time until the session expires. Below a session, + marks logins that needed no approval because of it. They
    end with it.
    """

    with command_gateway(config) as gateway:
        found, tampered = gateway.reading(sessions.listing)
    found = [each for each in found if who in (None, each[0].person, each[1])]
    if as_json:
        show_json({"sessions": [_as_object(*each) for each in found]})
    elif not found:
        line("There are no sessions.")
    else:
        headings = ("ID", "USER", "HOST", "SERVICE", "FROM", local("SINCE"), "STATUS", "LEFT")
        rows = [
            (
                f"{'' if session.parent is None else '+ '}{str(session.id)[:8]}",
                (session.person, "bold"),
                host,
                session.details.get("service", "-"),
                session.details.get("remote", "-"),
                moment(session.began_at.timestamp()),
                (status_of(session), _STYLES.get(status_of(session), "")),
                short(left),
            )
            for session, host, left in found
        ]
        table(headings, rows)
    if tampered:
        what = f"{count(tampered, 'session')} not shown: no gateway wrote these rows, so they are not valid."
        line((what, "bold red"), err=True)


@command.command(epilog=_EPILOG, short_help="End sessions and their logins.")
@click.argument("who", required=False, metavar="[USER|HOST|ID]")
@click.option("--all", "everything", is_flag=True, help="End all sessions of all hosts.")
@if_exists_option
@config_option
@json_option
@click.pass_context
def end(
    ctx: click.Context, who: str | None, everything: bool, if_exists: bool, config: Path, as_json: bool
) -> None:
    """End sessions: for their hosts at once, then at IAMPASS. Requests on phones end, too.

    USER is the person who approved the sessions. ID is the id of a session, or at least its first four digits. When a
    host next asks for the session, it ends the login according to its setting `session.when_closed`.

    The exit status is 0, also if there was no session. It is 1 if nothing has this name, or if IAMPASS has not ended
    all sessions; for the hosts, they have ended.
    """
    if (who is None) != everything:
        raise click.UsageError("Give a user, a host, the id of a session, or --all.")

    ended: list[HostSession] = []
    errors: list[IampassError] = []
    with command_gateway(config) as gateway:
        for act in _meant(gateway, who, if_exists):
            done = gateway.perform(act)
            ended += done.were_open
            errors += done.errors
    ids = [str(session.id) for session in ended]
    if as_json:
        show_json({"ended": ids, "at_iampass": not errors})
    elif ids:
        line(f"{count(len(ids), 'session')} ended.")
    else:
        line("There is no such session.")
    exit_after_ends(ctx, errors)


def exit_after_ends(ctx: click.Context, errors: Sequence[IampassError]) -> None:
    """Say why IAMPASS has not ended some sessions, and exit: with 1 if there is one."""
    for error in errors:
        line((f"Not ended at IAMPASS: {clean(str(error))}", "bold red"), err=True)
    ctx.exit(1 if errors else 0)


def _meant(gateway: CommandGateway, who: str | None, if_exists: bool) -> list[EndSessions]:
    """The acts that end the sessions of WHO; none for an unknown name with `if_exists`. Raises ActRefused."""
    if who is None:
        return [EndSessions(everything=True)]
    try:
        return gateway.reading(lambda _, connection: meant(connection, who))
    except UnknownName:
        if not if_exists:
            raise
        return []


def _as_object(session: HostSession, host: str, left: float) -> dict[str, object]:
    return {
        "id": str(session.id),
        "parent": None if session.parent is None else str(session.parent),
        "user": session.person,
        "host": host,
        "service": session.details.get("service"),
        "from": session.details.get("remote"),
        "since": timestamp(session.began_at.timestamp()),
        "status": status_of(session),
        "seconds_left": round(left),
    }
