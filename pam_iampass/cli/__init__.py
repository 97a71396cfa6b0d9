"""The command `pam-iampass`: one file a verb, each loaded only when it is called."""

from __future__ import annotations

import errno
import os
import sys
from difflib import get_close_matches
from importlib import import_module
from io import TextIOWrapper

import click
from click.shell_completion import CompletionItem

from pam_iampass import __version__
from pam_iampass.errors import PamIampassError

GROUPS = {
    "Set up": {
        "setup": "Make PAM services ask the phone, or undo it.",
        "enroll": "Add users to IAMPASS and register their phones.",
        "user": "List, show, add and remove users, their tokens and ssh keys.",
        "set": "Set one setting, after checking the result.",
        "join": "Join the gateway of a fleet.",
        "leave": "Leave the gateway: ask IAMPASS itself again.",
    },
    "Diagnose": {
        "check": "Find out why logins fail, and what is wrong with the settings.",
        "test": "Run the real PAM stack for a user and report the result.",
        "log": "Show login results.",
    },
    "Help users": {
        "phone": "Show who has a phone; report a lost phone.",
        "session": "Show or end the sessions that last as long as a login.",
        "bypass": "Let a user log in without the phone for a while.",
        "recovery": "Create, list or revoke recovery codes.",
        "throttle": "Show or reset the rate limit of a user.",
    },
    "Try out": {
        "sandbox": "Run a local IAMPASS server for tests.",
    },
}
"""The verbs and their summaries, under the headings of `--help`."""

_EXAMPLES = """\b
Examples:
  pam-iampass check                      what is wrong with this machine?
  pam-iampass enroll alice               register a phone for alice: shows a code to scan
  pam-iampass user list                  who needs the phone, who does not, and why
  pam-iampass sandbox --auto approve     a test server on this machine
  pam-iampass check --help               more about one verb
"""


class Verbs(click.Group):
    """A group that says which verb may be meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None:
            self.suggest(ctx, args[0])
        return super().resolve_command(ctx, args)

    def suggest(self, ctx: click.Context, word: str) -> None:
        """Raises UsageError if a word is like a verb, unless a shell completes it."""
        near = get_close_matches(word, self.list_commands(ctx), 1)
        if near and not ctx.resilient_parsing:
            ctx.fail(f"No such command {word!r}. Did you mean {near[0]!r}?")


class LazyGroup(Verbs):
    """A group whose verbs are imported when they are called, not when the command starts."""

    package = __name__
    """Has a module for each verb, with an underscore for each hyphen, and the click command as `command`."""
    headings = GROUPS

    @property
    def _summaries(self) -> dict[str, str]:
        return {verb: summary for verbs in self.headings.values() for verb, summary in verbs.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._summaries:
            return None
        try:
            command = import_module(f"{self.package}.{cmd_name.replace('-', '_')}").command
        except ModuleNotFoundError as error:
            raise click.ClickException(_not_installed(cmd_name, error)) from None
        assert isinstance(command, click.Command)  # noqa: S101
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The verbs and options that begin with `incomplete`, without importing a verb."""
        verbs = [
            CompletionItem(verb, help=summary)
            for verb, summary in sorted(self._summaries.items())
            if verb.startswith(incomplete)
        ]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs under their headings, without importing them."""
        widest = max(map(len, self._summaries))
        for heading, verbs in self.headings.items():
            with formatter.section(heading):
                formatter.write_dl([(verb.ljust(widest), summary) for verb, summary in verbs.items()])


_HELP = {"help_option_names": ["-h", "--help"]}


@click.group("pam-iampass", cls=LazyGroup, epilog=_EXAMPLES, context_settings=_HELP)
@click.version_option(__version__, prog_name="pam-iampass")
def group() -> None:
    """A second factor for Linux logins: sshd, sudo and su ask for approval on the user's phone through IAMPASS.

    The settings are in /etc/iampass/iampass.yaml, the users in /etc/iampass/users.yaml and /etc/iampass/users.d.

    When logins fail, read one-server/operations.md in /usr/share/doc/libpam-iampass/docs (Debian) or
    /usr/share/doc/pam-iampass/docs. In the same folder are one-server/deploy.md, one-server/sessions.md,
    reference/findings.md (all findings), reference/settings.md and reference/client.md (the Python client).
    """


def _not_installed(verb: str, error: ModuleNotFoundError) -> str:
    """The message about a missing package. Raises the error again if a part of ours is missing: that is a bug."""
    if error.name is None or error.name.startswith("pam_iampass"):
        raise error
    return f"{verb} needs the Python package {error.name}, which is not installed"


def main(arguments: list[str] | None = None, command: click.Command = group) -> None:
    """Run the command and exit with its status. An error is printed in a line or two, without a traceback."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for characters that the terminal cannot show
    try:
        status = command.main(arguments, prog_name=command.name, standalone_mode=False)
        sys.stdout.flush()
    except click.NoSuchOption as error:
        near = get_close_matches(error.option_name, error.possibilities or (), 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        click.UsageError(f"No such option {error.option_name!r}.{hint}", error.ctx).show()
        status = error.exit_code
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Cancelled.", err=True)
        status = 128 + 2  # as a shell reports SIGINT
    except PamIampassError as error:
        message = error.diagnostics()
        click.echo(message, err=True)
        if os.geteuid() != 0 and "run it as root" not in message:
            click.echo("You are not root: root can read the configuration and change it.", err=True)
        status = 1
    except OSError as error:
        status = _failed(error)
    sys.exit(status if isinstance(status, int) else 0)


def _open_closed_streams() -> None:
    """Open /dev/null in place of each standard stream that the caller has closed, which Python sets to None."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - until the process ends


def _failed(error: OSError) -> int:
    if error.errno == errno.EPIPE:  # the program that reads our output has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # discards what is still to be flushed
    else:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        hint = " (run it as root)" if isinstance(error, PermissionError) and os.geteuid() != 0 else ""
        click.echo(f"Error: {what}{hint}", err=True)
    return 1
