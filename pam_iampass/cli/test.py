"""`pam-iampass test`: runs a real PAM stack, and shows what the person would see and what comes of it."""

from __future__ import annotations

import getpass
import json
import os
import sys
import time
from typing import TYPE_CHECKING

import click

from pam_iampass.cli.user_name import USER
from pam_iampass.text import clean

if TYPE_CHECKING:
    from pam_iampass.audit.record import AuditRecord
    from pam_iampass.pam.run import Message, PamResult
    from pam_iampass.pam.test_login import TestLogin

_EPILOG = """\b
Examples:
  pam-iampass test alice                 as though alice logged in through sshd
  pam-iampass test alice --service sudo  as though alice ran sudo
  pam-iampass test alice --service su    as though alice ran su to become root
  pam-iampass test alice --json < /dev/null | jq -r .code
"""


@click.command(epilog=_EPILOG, short_help="Run the real PAM stack for a user, and show what comes of it.")
@click.argument("user", type=USER)
@click.option(
    "--service",
    default="sshd",
    show_default=True,
    help="sshd, sudo, su, or the name of any file in /etc/pam.d.",
)
@click.option("--rhost", metavar="ADDRESS", help="Where the login comes from, for exempt networks.")
@click.option(
    "--json", "as_json", is_flag=True, help="Write one JSON object; what the person sees goes to stderr."
)
@click.pass_context
def command(ctx: click.Context, user: str, service: str, rhost: str | None, as_json: bool) -> None:
    """Run the PAM stack of a service for USER, with the real modules: the phone rings.

    Everything that the stack says is shown as it comes, and what it asks you are asked. Then come the result, as PAM
    has it, and the audit record of the journal. Nobody is logged in: it ends where a session would begin.

    For sshd it is taken for granted that the key was accepted, where one is demanded. To be run as root. The exit
    status is 0 if the login would succeed, and 1 otherwise.
    """
    from pam_iampass.pam import run, test_login

    if os.geteuid() != 0:
        raise click.ClickException("PAM must be run as root, as sshd and sudo do: run it as root")
    login = test_login.prepare(user, service, rhost)
    screen = _Screen(to_errors=as_json)
    screen.tell(login.description)
    began = time.time()
    result = run.run(login.run, screen.show)
    records = _records(began, login)
    if as_json:
        click.echo(json.dumps(_as_object(login, result, records), indent=2))
    else:
        _conclude(screen, login, result, records)
    ctx.exit(0 if result.code == 0 else 1)


class _Screen:
    """What the person who logs in would look at."""

    def __init__(self, *, to_errors: bool) -> None:
        self._to_errors = to_errors
        self._colours = (sys.stderr if to_errors else sys.stdout).isatty() and "NO_COLOR" not in os.environ

    def tell(self, text: str, **style: object) -> None:
        """A line of ours."""
        styled = click.style(clean(text, 2000), **style) if self._colours and style else clean(text, 2000)  # type: ignore[arg-type]
        click.echo(styled, err=self._to_errors)

    def show(self, message: Message) -> str | None:
        """Show what the stack says; ask what it asks. End of input: no answer."""
        from pam_iampass.pam.run import MessageKind

        lines = [clean(line, 2000) for line in message.text.rstrip("\n").split("\n")]
        if not message.kind.is_question:
            for line in lines:
                self._line(line, fg="red" if message.kind is MessageKind.SAY_ERROR else None)
            return None
        for line in lines[:-1]:
            self._line(line)
        return self._answer(lines[-1], secretly=message.kind is MessageKind.ASK_SECRETLY)

    def _line(self, line: str, fg: str | None = None) -> None:
        mark = click.style("  |", dim=True) if self._colours else "  |"
        click.echo(f"{mark} {click.style(line, fg=fg) if self._colours else line}", err=self._to_errors)

    def _answer(self, question: str, *, secretly: bool) -> str | None:
        """What is typed, or comes in at standard input; None at its end."""
        if not sys.stdin.isatty():
            line = sys.stdin.readline()
            self._line(question + ("" if line else "(no answer)"))
            return line.rstrip("\n") if line else None
        if secretly:
            try:
                return getpass.getpass(f"  | {question}")
            except EOFError:
                return None
        click.echo(f"  | {question}", nl=False, err=self._to_errors)
        line = sys.stdin.readline()
        return line.rstrip("\n") if line else None


def _records(began: float, login: TestLogin) -> list[AuditRecord] | None:
    """What the journal has of this login; None where there is no journal."""
    from pam_iampass.audit.query import NoJournal
    from pam_iampass.setup import login_records

    try:
        found = login_records.records(began, [login.run.service])
    except NoJournal:
        return None
    return [record for record in found if record.user in login.names]


def _conclude(
    screen: _Screen, login: TestLogin, result: PamResult, records: list[AuditRecord] | None
) -> None:
    good = result.code == 0
    screen.tell(
        f"{result.name}: {result.meaning} ({result.seconds:.1f} s)", fg="green" if good else "red", bold=True
    )
    if records is None:
        screen.tell("There is no journal here that could be shown.")
    elif not records and login.asks_the_phone:
        screen.tell("The journal has no record: the login ended before this module.")
    for record in records or ():
        text = f"The journal: outcome={record.outcome} result={record.result} user={record.user}"
        text += f" service={record.service} elapsed_ms={record.elapsed_ms}"
        screen.tell(text + (f" reason={record.reason}" if record.reason else ""))


def _as_object(login: TestLogin, result: PamResult, records: list[AuditRecord] | None) -> dict[str, object]:
    return {
        "user": login.run.user,
        "service": login.run.service,
        "file": str(login.file),
        "asks_the_phone": login.asks_the_phone,
        "code": result.name,
        "number": result.code,
        "meaning": result.meaning,
        "seconds": round(result.seconds, 3),
        "messages": [{"kind": message.kind.value, "text": message.text} for message in result.messages],
        "records": None
        if records is None
        else [
            {
                "time": record.time.isoformat(),
                "outcome": record.outcome,
                "result": record.result,
                "user": record.user,
                "elapsed_ms": record.elapsed_ms,
                "reason": record.reason,
            }
            for record in records
        ],
    }
