"""The command `pam-iampass`: one file a verb, each loaded only when it is called."""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import TYPE_CHECKING

import click

from pam_iampass import __version__
from pam_iampass.errors import PamIampassError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

VERBS = {
    "check": ("pam_iampass.cli.check:command", "Say what is wrong with the configuration."),
    "log": ("pam_iampass.cli.log:command", "Show what came of logins."),
    "setup": ("pam_iampass.cli.setup:command", "Make sshd, sudo or su ask the phone, or undo that."),
    "enroll": ("pam_iampass.cli.enroll:command", "Add users at IAMPASS and register their phones."),
    "test": ("pam_iampass.cli.test:command", "Run the real PAM stack for a user, and show what comes of it."),
    "user": ("pam_iampass.cli.user:command", "List users and their tokens, add and remove them."),
    "recovery": ("pam_iampass.cli.recovery:command", "Make, count or revoke recovery codes."),
    "throttle": ("pam_iampass.cli.throttle:command", "Show or clear what keeps a phone from ringing."),
    "doctor": ("pam_iampass.cli.doctor:command", "Find out why logins fail, or would."),
    "sandbox": ("pam_iampass.cli.sandbox:command", "Run a local IAMPASS to try things out."),
}
"""Each verb with the place of its click command, and what it does in a line."""

GROUPS = {
    "Set up": ("setup", "enroll", "user"),
    "Find out": ("check", "doctor", "test", "log"),
    "Help somebody": ("recovery", "throttle"),
    "Try out": ("sandbox",),
}
"""The verbs under their headings in `--help`. A verb that stands in none is listed at the end."""

_EXAMPLES = """\b
Examples:
  pam-iampass check                      is the configuration right?
  pam-iampass enroll alice               a phone for alice: shows a code to scan
  pam-iampass user list                  who is asked, who is not, and why
  pam-iampass sandbox --auto approve     a service to try out, on this machine
  pam-iampass check --help               more of one verb
"""


class LazyGroup(click.Group):
    """A group whose verbs are imported when they are called, not when the command starts."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, _, attribute = VERBS[cmd_name][0].partition(":")
        try:
            loaded = import_module(module)
        except ModuleNotFoundError as error:
            raise click.ClickException(_not_installed(cmd_name, error)) from None
        command = getattr(loaded, attribute)
        assert isinstance(command, click.Command)  # noqa: S101
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The verbs and options that begin so, without importing a verb."""
        from click.shell_completion import CompletionItem

        verbs = [
            CompletionItem(verb, help=what)
            for verb, (_, what) in sorted(VERBS.items())
            if verb.startswith(incomplete)
        ]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the verbs under their headings, without importing them."""
        widest = max(map(len, VERBS))
        for heading, verbs in grouped().items():
            with formatter.section(heading):
                formatter.write_dl([(verb.ljust(widest), VERBS[verb][1]) for verb in verbs])


@click.group(cls=LazyGroup, epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pam-iampass")
def group() -> None:
    """A second factor for Linux logins: sshd, sudo and su ask the person's phone through IAMPASS.

    The configuration is /etc/iampass/iampass.yaml, the users are in /etc/iampass/users.yaml.
    """


def _not_installed(verb: str, error: ModuleNotFoundError) -> str:
    """What to tell of a verb that lacks something; raises the error again where it is the verb that is broken."""
    if error.name == "pam_iampass.sandbox":
        return "the sandbox is not installed; packages of distributions have it apart, as pam-iampass-sandbox"
    if error.name is None or error.name.startswith("pam_iampass"):
        raise error
    return f"{verb} needs the Python package {error.name}, which is not installed"


def grouped() -> dict[str, list[str]]:
    """The verbs that there are, under their headings."""
    groups = {heading: [verb for verb in verbs if verb in VERBS] for heading, verbs in GROUPS.items()}
    listed = {verb for verbs in groups.values() for verb in verbs}
    groups["More"] = sorted(set(VERBS) - listed)
    return {heading: verbs for heading, verbs in groups.items() if verbs}


def main(arguments: list[str] | None = None, command: click.Command = group) -> None:
    """Run the command and leave with its exit status; tell errors in a line or two, never as a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, TextIOWrapper
        ):  # a character that the terminal does not have is shown as an escape
            stream.reconfigure(errors="backslashreplace")
    try:
        status = command.main(arguments, prog_name="pam-iampass", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Cancelled.", err=True)
        status = 128 + 2  # as a shell has it for SIGINT
    except PamIampassError as error:
        click.echo(error.diagnostics(), err=True)
        if os.geteuid() != 0:
            click.echo("You are not root: root can read the configuration and change it.", err=True)
        status = 1
    except OSError as error:
        status = _failed(error)
    sys.exit(status if isinstance(status, int) else 0)


def _failed(error: OSError) -> int:
    if error.errno == errno.EPIPE:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still to be flushed goes nowhere
    else:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        hint = " (run it as root)" if isinstance(error, PermissionError) and os.geteuid() != 0 else ""
        click.echo(f"Error: {what}{hint}", err=True)
    return 1
