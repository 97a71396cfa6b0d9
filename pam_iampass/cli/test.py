"""`pam-iampass test`: runs a real PAM stack, shows what the user would see, and reports the result."""

from __future__ import annotations

import getpass
import os
import sys
import time

import click

from pam_iampass.audit.query import AuditRecord, NoJournal, records_since
from pam_iampass.cli.output import line, show_json
from pam_iampass.cli.parameters import USER
from pam_iampass.pam import run, test_login
from pam_iampass.pam.run import Message, MessageKind, PamResult
from pam_iampass.pam.test_login import TestLogin
from pam_iampass.text import clean

_EPILOG = """\b
Examples:
  pam-iampass test alice                 as if alice logged in through sshd
  pam-iampass test alice --service sudo  as if alice ran sudo
  pam-iampass test alice --service su    as if alice ran su to become root
  pam-iampass test alice --json < /dev/null | jq -r .code
"""

_RECORD_KEYS = ("outcome", "result", "user", "caller", "approver", "elapsed_ms", "reason")


@click.command(epilog=_EPILOG)
@click.argument("user", type=USER)
@click.option(
    "--service",
    default="sshd",
    show_default=True,
    help="sshd, sudo, su, or the name of any file in /etc/pam.d.",
)
@click.option("--rhost", metavar="ADDRESS", help="The address of the remote host, for exempt networks.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object; what the user sees goes to stderr."
)
@click.pass_context
def command(ctx: click.Context, user: str, service: str, rhost: str | None, as_json: bool) -> None:
    """Run the real PAM stack of a service for USER and report the result. The phone rings.

    All messages of the stack are shown as they come, and you answer its questions. Then the result code of PAM and
    the audit record in the journal are shown. Nobody is logged in: no session is opened.

    For sshd, a required key counts as accepted. Run it as root.

    The exit status is 0 if the login would succeed, and 1 otherwise.
    """
    if os.geteuid() != 0:
        raise click.ClickException("PAM must be run as root, as sshd and sudo do: run it as root")
    login = test_login.prepare(user, service, rhost)
    line(login.description, err=as_json)
    began = time.time()
    result = run.run(login.run, _Screen(as_json).show)
    records = _records(began, login)
    if as_json:
        show_json(_as_object(login, result, records))
    else:
        _report(login, result, records)
    ctx.exit(0 if result.code == 0 else 1)


class _Screen:
    """The terminal of the user who logs in."""

    def __init__(self, err: bool) -> None:
        self._err = err

    def show(self, message: Message) -> str | None:
        """Show a message of the stack and return the answer to a question, None at the end of the input."""
        *lines, last = message.text.rstrip("\n").split("\n")
        style = "red" if message.kind is MessageKind.SAY_ERROR else ""
        for text in lines:
            self._line(text, style)
        if message.kind.is_question:
            return self._answer(last, secretly=message.kind is MessageKind.ASK_SECRETLY)
        self._line(last, style)
        return None

    def _line(self, text: str, style: str = "") -> None:
        line(("  | ", "dim"), (text, style), err=self._err)

    def _answer(self, question: str, *, secretly: bool) -> str | None:
        """The line that is typed, or read from standard input; None at its end."""
        question = clean(question, 2000)
        if not sys.stdin.isatty():
            answer = sys.stdin.readline()
            self._line(question + ("" if answer else "(no answer)"))
        elif secretly:
            try:
                return getpass.getpass(f"  | {question}")
            except EOFError:
                return None
        else:
            click.echo(f"  | {question}", nl=False, err=self._err)
            answer = sys.stdin.readline()
        return answer.rstrip("\n") if answer else None


def _records(began: float, login: TestLogin) -> list[AuditRecord] | None:
    """The journal records of this login; None if there is no journal."""
    try:
        found = records_since(began, [login.run.service])
    except NoJournal:
        return None
    return [record for record in found if record.user in login.names]


def _report(login: TestLogin, result: PamResult, records: list[AuditRecord] | None) -> None:
    style = "bold green" if result.code == 0 else "bold red"
    line((f"{result.name}: {result.meaning} ({result.seconds:.1f} s)", style))
    if records is None:
        line("This machine has no journal that can be read.")
    elif not records and login.asks_the_phone:
        line("The journal has no record: the login ended before this module.")
    for record in records or ():
        text = f"Journal: outcome={record.outcome} result={record.result} user={record.user}"
        text += f" service={record.service} caller={record.caller or '-'} approver={record.approver or '-'}"
        text += f" elapsed_ms={record.elapsed_ms}"
        line(text + (f" reason={record.reason}" if record.reason else ""))


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
            {"time": record.time.isoformat(), **{key: getattr(record, key) for key in _RECORD_KEYS}}
            for record in records
        ],
    }
