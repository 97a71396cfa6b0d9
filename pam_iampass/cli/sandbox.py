"""`pam-iampass sandbox`: runs a local IAMPASS server for tests, and makes this machine use it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from pam_iampass.cli import Verbs
from pam_iampass.cli.output import line
from pam_iampass.cli.parameters import DURATION, SHORT_DURATION, Parsed
from pam_iampass.errors import shown
from pam_iampass.setup import sandbox_use

_EPILOG = """Examples:

\b
  Approve every login after two seconds:
    pam-iampass sandbox --user alice --auto approve --delay 2s
  Answer yourself, in a browser or by typing a or d:
    pam-iampass sandbox --user alice --user bob:no-device
  Keep the users, and the certificate authority that machines trust:
    pam-iampass sandbox --state ~/.local/state/iampass-sandbox --user alice
  Make the logins of this machine use it, as root, and undo that:
    pam-iampass sandbox use ~alice/.local/state/iampass-sandbox
    pam-iampass sandbox leave
  Use a real phone in the same network:
    pam-iampass sandbox --listen 192.0.2.7:8443 --allow-remote --user alice
"""


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError("is not HOST:PORT, such as 127.0.0.1:8443")
    return host, int(port)


@click.group(
    cls=Verbs, invoke_without_command=True, subcommand_metavar="[use FOLDER | leave]", epilog=_EPILOG
)
@click.option(
    "--listen",
    type=Parsed("HOST:PORT", _address),
    default="127.0.0.1:8443",
    show_default=True,
    help="The address to serve on.",
)
@click.option(
    "--application-id",
    default="sandbox",
    show_default=True,
    help="The application id that the server accepts.",
)
@click.option("--application-secret", help="Its secret.  [default: the last one, else a random one]")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the certificate authority, secrets and users.  [default: a temporary one]",
)
@click.option(
    "--auto",
    type=click.Choice(["approve", "deny", "ignore", "ask"]),
    default="ask",
    show_default=True,
    help="How to answer requests.",
)
@click.option(
    "--delay",
    type=SHORT_DURATION,
    default=0,
    help="How long --auto waits before it answers: 500ms, 2s, 1m.",
)
@click.option(
    "--user", "users", multiple=True, metavar="NAME[:no-device]", help="A user to add. Can be repeated."
)
@click.option(
    "--request-timeout",
    type=DURATION,
    default="60s",
    show_default=True,
    help="How long until an unanswered request times out.",
)
@click.option("--name", "names", multiple=True, help="Another host name in the server's certificate.")
@click.option(
    "--allow-remote", is_flag=True, help="Allow --listen on an address that other machines can reach."
)
@click.pass_context
def command(ctx: click.Context, /, users: tuple[str, ...], **options: Any) -> None:
    """Run a local IAMPASS server over https, for tests.

    The server implements the whole protocol strictly. It first prints the commands that make this machine use it, then
    a line for each event.

    With --auto ask, you answer the requests: in a browser, on the phone page whose address is printed, or in the
    terminal. Type `a 1` to approve the first request, `d 1` to deny it, or just `a` or `d` if only one waits. Ctrl-C
    stops the server.

    The exit status is 0, or 1 if the server cannot be started.
    """
    if ctx.invoked_subcommand is not None:
        if any(ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in ctx.params):
            raise click.UsageError(f"`{ctx.invoked_subcommand}` has options of its own: name it first")
        return
    try:  # it is a package of its own, and `leave` works without it
        from pam_iampass.sandbox.sandbox import Sandbox
        from pam_iampass.sandbox.serving import serve
        from pam_iampass.sandbox.state_folder import SandboxError
    except ImportError as error:
        what = "the sandbox is not installed; distributions package it as pam-iampass-sandbox"
        raise click.ClickException(f"{what} ({error})") from error

    try:
        serve(lambda listener: Sandbox(**options, listener=listener), users)
    except SandboxError as error:
        raise click.ClickException(str(error)) from error


@command.command(short_help="Make this machine's logins use a sandbox.")
@click.argument("folder", type=click.Path(path_type=Path, readable=False))
@click.option("--force", is_flag=True, help="Replace settings that are in use, or were edited.")
@click.option("--dry-run", is_flag=True, help="Show the change of the settings, and change nothing.")
def use(folder: Path, force: bool, dry_run: bool) -> None:
    """Make the logins of this machine use the sandbox whose --state is FOLDER, until `leave`.

    The owner of FOLDER can then approve every login. The command reads only files of this owner: the application id,
    the secret, the certificate, the users, and the address of the sandbox, which must be on this machine. In
    /etc/iampass/iampass.yaml, only the keys for the sandbox change; the previous file stays as
    iampass.yaml.before-sandbox. The command writes secret, certificate and user table of the sandbox to
    /etc/iampass/sandbox. The table has the users of the sandbox who have an account here.

    The exit status is 0, or 1 if nothing was changed.
    """
    _require_root()
    access = sandbox_use.read(folder.absolute())
    if dry_run:
        for text in sandbox_use.preview(access, force=force):
            line(text)
        line("Nothing was changed (--dry-run).")
        return
    users = sandbox_use.use(access, force=force)
    what = f"the sandbox of {shown(access.owner)} at {access.url}, application {access.application_id}"
    line(f"This machine uses {what}. To undo it: pam-iampass sandbox leave")
    line(
        f"Asked on the phone: {', '.join(users)}." if users else "No user of the sandbox has an account here."
    )


@command.command(short_help="Restore the settings from before `use`.")
@click.option("--force", is_flag=True, help="Restore them even if they were edited or are incomplete.")
def leave(force: bool) -> None:
    """Restore the previous settings file, and remove the files that `use` wrote.

    If the settings were edited meanwhile, --force is required. The edited file then stays as
    /etc/iampass/iampass.yaml.edited.

    The exit status is 0, or 1 if nothing was changed.
    """
    _require_root()
    left = sandbox_use.leave(force=force)
    line(f"{sandbox_use.SETTINGS} is restored." if left else "No sandbox is in use: nothing to undo.")


def _require_root() -> None:
    if os.geteuid() != 0:
        raise click.ClickException("this changes root's files: run it as root")
