"""`pam-iampass test`: runs a real PAM stack, shows what the user would see, and reports the result."""

from __future__ import annotations

import getpass
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import click

from pam_iampass.audit.query import AuditRecord, NoJournal, records_since
from pam_iampass.cli.output import line, show_json
from pam_iampass.cli.parameters import USER
from pam_iampass.errors import PamIampassError, shown
from pam_iampass.pam import run
from pam_iampass.pam.modules import demands_key, our_lines, pam_python_line
from pam_iampass.pam.run import Message, MessageKind, PamResult, PamRun
from pam_iampass.pam.stack import PamFiles, PamService, PamType, UnusableService, dialect
from pam_iampass.system import sshd, sudoers
from pam_iampass.system.accounts import Account, Accounts, LookupFailed, UnknownAccount
from pam_iampass.system.programs import CommandUnavailable
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
    "--json", "as_json", is_flag=True, help="Print one JSON object; messages for the user go to stderr."
)
@click.pass_context
def command(ctx: click.Context, user: str, service: str, rhost: str | None, as_json: bool) -> None:
    """Run the real PAM stack of a service for USER and report the result. The phone rings.

    You see all messages of the stack and answer its questions. The command then shows PAM's result code and the audit
    record in the journal. It opens no session.

    For sshd, the test assumes that a required key was accepted. It asks for Enter, as sshd before OpenSSH 10.3 does.
    Run it as root.

    The exit status is 0 if the login would succeed, and 1 otherwise.
    """
    if os.geteuid() != 0:
        raise click.ClickException("PAM must run as root, as in sshd and sudo: run it as root")
    login = _prepare(user, service, rhost)
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


_SERVICE_OF = {"sudo-rs": "sudo", "pkexec": "polkit-1", "run0": "polkit-1"}
"""The PAM service of a program that always uses one with another name."""


class CannotRun(PamIampassError):
    """The stack cannot be run, or must not be run from here."""


@dataclass(frozen=True)
class TestLogin:
    """A login to try out."""

    run: PamRun
    description: str
    file: Path
    asks_the_phone: bool
    names: frozenset[str]
    """The users whose records in the journal are of this login."""


def _prepare(user: str, service: str, rhost: str | None) -> TestLogin:
    """How `service` (sshd, sudo, su, sudo-rs, or a PAM service) would run PAM for `user`. Raises CannotRun."""
    account = _account(user)
    name = _pam_service(service, account.name)
    file, found = _read(name)
    script = pam_python_line(found)
    if script is not None:
        what = f"{script.place}: runs pam_python.so, which crashes in Python programs like this command"
        remedy = f"try it with the real program, or: pamtester {name} {account.name} authenticate"
        raise CannotRun(what, remedy)
    ours = our_lines(found)
    run, how = _run(service, name, account, rhost, any(map(demands_key, ours)))
    in_account = our_lines(found, PamType.ACCOUNT) if "SSH_AUTH_INFO_0" in run.environment else []
    if in_account and not ours:
        ours, run, how = in_account, replace(run, account_only=True), f"{how}, after any first factor"
    phone = "" if ours else ", which does not ask the phone"
    description = f"{how}, PAM service {name} ({file}){phone}:"
    return TestLogin(run, description, file, bool(ours), frozenset({account.name, run.user, user}))


def _account(user: str) -> Account:
    try:
        return Accounts().named(user)
    except UnknownAccount:
        raise CannotRun(f"{shown(user)} is not a user of this machine", "check getent passwd") from None
    except LookupFailed as error:
        raise CannotRun(str(error), "check /etc/nsswitch.conf and the name service") from None


def _read(name: str) -> tuple[Path, PamService]:
    if "/" in name or name in ("", ".", ".."):
        raise CannotRun(f"{shown(name)} is not a valid name of a PAM service", "name a file in /etc/pam.d")
    files = PamFiles(dialect=dialect())
    file = files.path(name)
    if file is None or not file.is_file():
        raise CannotRun(f"there is no PAM service {shown(name)}", "list the services: ls /etc/pam.d")
    try:
        return file, files.service(name)
    except UnusableService as error:
        raise CannotRun(f"PAM service {name}: {error}", "correct the PAM file; pam.conf(5)") from None
    except OSError as error:
        raise CannotRun(f"{error.filename}: {error.strerror}", "check the PAM files") from None


def _pam_service(service: str, user: str) -> str:
    """The PAM service that the program uses now."""
    try:
        if service == "sshd":
            return sshd.settings(sshd.Connection(user), create_folder=True).service
        if service == "sudo":
            return sudoers.read().service
    except (CommandUnavailable, sshd.SshdConfigRejected, sudoers.SudoersRejected):
        pass  # its PAM file may be there nevertheless
    return _SERVICE_OF.get(service, service)


def _run(service: str, name: str, who: Account, rhost: str | None, after_key: bool) -> tuple[PamRun, str]:
    if service == "sshd":
        accepted = {"SSH_AUTH_INFO_0": "publickey of pam-iampass test" if after_key else ""}
        address = rhost or "127.0.0.1"
        run = PamRun(name, who.name, tty="ssh", rhost=address, environment=accepted)
        key = ", whose key was accepted" if after_key else ""
        return run, f"As sshd would for {who.name} from {address}{key}"
    tty = os.ttyname(0) if os.isatty(0) else None
    if service in ("su", "su-l"):
        run = PamRun(name, "root", tty=tty, rhost=rhost, ruser=who.name, real_uid=who.uid)
        return run, f"As su would for {who.name}, who wants to be root"
    if service in ("sudo", "sudo-i", "sudo-rs"):
        run = PamRun(name, who.name, tty=tty, rhost=rhost, ruser=who.name, real_uid=who.uid)
        return run, f"As {service} would for {who.name}"
    return PamRun(name, who.name, tty=tty, rhost=rhost), f"For {who.name}"
