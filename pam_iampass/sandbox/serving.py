"""Runs the command: start, print instructions, report events, stop on a signal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Callable

import click
from rich.console import Console

from pam_iampass.sandbox.automatic import Auto
from pam_iampass.sandbox.events import Listener
from pam_iampass.sandbox.foreground import signals_held_back, wait_for_signal
from pam_iampass.sandbox.instructions import configuration_text, control_text, phone_text
from pam_iampass.sandbox.sandbox import Sandbox
from pam_iampass.sandbox.terminal import HELP, EventPrinter, answer

_NO_DEVICE = ":no-device"


def serve(make: Callable[[Listener], Sandbox], users: Sequence[str]) -> None:
    """Serve until SIGTERM or SIGINT. Raises SandboxError where it cannot start.

    :param make: creates the sandbox for a listener.
    :param users: names, with ``:no-device`` appended for users without a device.
    """
    at_terminal = sys.stdin is not None and sys.stdin.isatty()
    printer = EventPrinter(Console(highlight=False, markup=False, emoji=False), asks=at_terminal)
    with signals_held_back(), make(printer) as sandbox:
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
        wait_for_signal(_answering(sandbox) if asks and at_terminal else None)


def _answering(sandbox: Sandbox) -> Callable[[str], None]:
    def typed(line: str) -> None:
        reply = answer(sandbox, line)
        if reply is not None:
            click.echo(reply)

    return typed
