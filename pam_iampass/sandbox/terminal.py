"""The terminal of a running sandbox: its output, and the typed answers."""

from __future__ import annotations

import contextlib
import re
import time

from rich.console import Console
from rich.text import Text

from pam_iampass.sandbox.events import Event, EventKind
from pam_iampass.sandbox.sandbox import Sandbox
from pam_iampass.sandbox.sessions import SandboxSession
from pam_iampass.text import clean, quoted

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


class EventPrinter:
    """Prints each event as it happens; the listener of a sandbox."""

    def __init__(self, console: Console, asks: bool) -> None:
        self._console = console
        self._asks = asks

    def __call__(self, event: Event) -> None:
        # A closed output must not stop the sandbox; rich would end the program.
        with contextlib.suppress(OSError, SystemExit):
            self._console.print(line_of(event, self._asks), soft_wrap=True)


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
