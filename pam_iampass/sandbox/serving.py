"""Runs the command: start, print instructions, report events, take typed answers, stop on a signal."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Callable

import click
from rich.console import Console
from rich.text import Text

from pam_iampass.sandbox.calls import Auto
from pam_iampass.sandbox.events import Event, EventKind, Listener
from pam_iampass.sandbox.sandbox import Sandbox
from pam_iampass.sandbox.sessions import SandboxSession
from pam_iampass.text import clean, quoted

_NO_DEVICE = ":no-device"
_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
_STYLES = {
    EventKind.REQUESTED: "bold cyan",
    EventKind.APPROVED: "bold green",
    EventKind.DENIED: "bold red",
    EventKind.NOT_RECOGNIZED: "bold red",
    EventKind.TIMED_OUT: "yellow",
    EventKind.REFUSED: "red",
    EventKind.NOT_STARTED: "yellow",
}
_WIDTH = max(len(kind.value) for kind in EventKind)
_ANSWER = re.compile(r"(?P<verb>[ad])(?:\s+(?P<number>[0-9]{1,9}))?", re.ASCII)

HELP = "a NUMBER approves, d NUMBER denies; a or d alone if only one request waits"


def serve(make: Callable[[Listener], Sandbox], users: Sequence[str]) -> None:
    """Serve until SIGTERM or SIGINT. Raises SandboxError where it cannot start.

    :param make: creates the sandbox for a listener.
    :param users: names, with ``:no-device`` appended for users without a device.
    """
    at_terminal = sys.stdin is not None and sys.stdin.isatty()
    console = Console(highlight=False, markup=False, emoji=False)

    def show(event: Event) -> None:
        # A closed output must not stop the sandbox; rich would end the program.
        with contextlib.suppress(OSError, SystemExit):
            console.print(line_of(event, at_terminal), soft_wrap=True)

    with signals_held_back(), make(show) as sandbox:
        asks = sandbox.auto == Auto.ASK
        named = [user.removesuffix(_NO_DEVICE) for user in users]
        click.echo(configuration_text(sandbox, dict.fromkeys([*named, *sandbox.users])))
        click.echo("\n" + phone_text(sandbox, private=sys.stdout.isatty()))
        if asks:
            click.echo(f"\n# here: {HELP}" if at_terminal else "\n" + control_text(sandbox))
        click.echo()
        known = sandbox.users
        for user, name in zip(users, named):
            if name not in known:  # the state folder may have a device that was registered later
                sandbox.add_user(name, device=name == user)
        click.echo(f"Sandbox ready at {sandbox.url}")

        def typed(line: str) -> None:
            reply = answer(sandbox, line)
            if reply is not None:
                click.echo(reply)

        wait_for_signal(typed if asks and at_terminal else None)


def configuration_text(sandbox: Sandbox, users: Collection[str]) -> str:
    """The commands from the configuration to a first sudo."""
    return "\n".join(
        [
            "# as root: make this machine's logins use the sandbox; `pam-iampass sandbox leave` undoes it",
            f"pam-iampass sandbox use {_quoted(sandbox.folder)}",
            *([] if users else ["# (start the sandbox with --user alice, and alice has a phone)"]),
            "pam-iampass check --settings",
            "",
            "# as root: make sudo ask the phone, for ten minutes",
            "pam-iampass setup sudo --try 10m",
        ]
    )


def control_text(sandbox: Sandbox) -> str:
    """How a script answers requests, without the token in an argument list."""
    token = f"printf 'Authorization: Bearer '; cat {_quoted(sandbox.control_token_file)}"
    curl = f"curl --cacert {_quoted(sandbox.ca_file)} -H @-"
    return (
        "# answer requests from a script: GET …/sandbox/requests lists them\n"
        f"{{ {token}; }} | {curl} -X POST {sandbox.url}/sandbox/requests/1/approve"
    )


def phone_text(sandbox: Sandbox, private: bool) -> str:
    """The address of the phone page. It contains the key, so only private output shows it."""
    if not private:
        return (
            f"# the phone, in a browser: its address, with a key, is in {_quoted(sandbox.phone_address_file)}"
        )
    return (
        f"# the phone, in a browser:\n{sandbox.phone_url}\n"
        "# the browser warns about the sandbox's own certificate, with this SHA-256 fingerprint:\n"
        f"# {sandbox.certificate_fingerprint}"
    )


def _quoted(value: object) -> str:
    return shlex.quote(str(value))


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Hold SIGTERM and SIGINT back for ``wait_for_signal``, in this thread and in threads that it starts."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        while signal.sigtimedwait(_SIGNALS, 0):
            pass  # further ones must not interrupt the end of the program
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def wait_for_signal(typed: Callable[[str], None] | None) -> None:
    """Return after a signal, even if it arrived before the call.

    :param typed: called in another thread with each line of standard input; None not to read it.
    """
    if typed is not None:
        threading.Thread(target=_read_lines, args=(sys.stdin.fileno(), typed), daemon=True).start()
    signal.sigwait(_SIGNALS)


def _read_lines(descriptor: int, typed: Callable[[str], None]) -> None:
    # Not through sys.stdin: the interpreter could not close it at exit while this thread reads.
    rest = b""
    while chunk := os.read(descriptor, 4096):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            typed(line.decode("utf-8", "replace"))


def line_of(event: Event, asks: bool) -> Text:
    """One line with the time, the kind of event, the user and the details.

    :param asks: whether requests are answered at this terminal.
    """
    number = f"#{event.number}" if event.number else ""
    waits = asks and event.kind is EventKind.REQUESTED
    hint = f"answer: a {event.number} or d {event.number}" if waits else ""
    user = quoted(event.user) if event.user else ""
    rest = "  ".join(part for part in (user, number, clean(event.detail, 1000), hint) if part)
    line = Text(time.strftime("%H:%M:%S  ", time.localtime(event.at)), style="")
    return line.append(f"{event.kind.value:{_WIDTH}}", style=_STYLES.get(event.kind, "")).append(f"  {rest}")


def answer(sandbox: Sandbox, typed: str) -> str | None:
    """Execute a typed line. Returns a message, or None if the event is enough."""
    match = _ANSWER.fullmatch(typed.strip())
    if match is None:
        return HELP if typed.strip() else None
    try:
        number = _which(sandbox, match.group("number"))
        _ = sandbox.approve(number) if match.group("verb") == "a" else sandbox.deny(number)
    except LookupError as error:
        return str(error.args[0])
    return None


def _which(sandbox: Sandbox, number: str | None) -> int:
    if number is not None:
        return int(number)
    waiting: list[SandboxSession] = [session for session in sandbox.sessions if session.undecided]
    if len(waiting) != 1:
        names = ", ".join(f"{session.number} ({quoted(session.user)})" for session in waiting)
        raise LookupError(f"which one? waiting: {names or 'none'}")
    return waiting[0].number
