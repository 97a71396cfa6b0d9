"""`pam-iampass join`: makes this machine a host of a gateway."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import click

from pam_iampass.audit.journal import Act
from pam_iampass.cli import output
from pam_iampass.client import IampassError
from pam_iampass.setup import join
from pam_iampass.setup.manifest import ManifestStore
from pam_iampass.system import paths
from pam_iampass.text import clean

_EPILOG = """Examples:

\b
  As `pam-iampass-gateway host invite` prints it:
    pam-iampass join https://gateway.example.com:8443 i-…
  From a program that must not show the invite in the list of processes:
    pam-iampass join https://gateway.example.com:8443 - < invite
  After a gateway was added or removed:
    pam-iampass join --update
"""


@click.command(epilog=_EPILOG)
@click.argument("url", required=False)
@click.argument("invite", required=False)
@click.option("--name", help="The name of this machine in the fleet.  [default: its host name]")
@click.option(
    "--update",
    is_flag=True,
    help="On a machine that has joined: ask its gateways for the current list, and write it to joined.yaml.",
)
def command(url: str | None, invite: str | None, name: str | None, update: bool) -> None:
    """Join the gateway at URL with an INVITE. With -, the invite is read from standard input.

    This machine then asks the gateway instead of IAMPASS. It makes its own secret, and no longer needs the
    application's secret and the user table. It recognises the gateway by the fingerprint in the invite.
    /etc/iampass/iampass.yaml stays unchanged. The file joined.yaml beside it names the gateways; `pam-iampass leave`
    removes this file. If one gateway does not answer, the machine asks the next.

    If something goes wrong, the machine works as before. You can repeat the command.

    The exit status is 0, or 1 if the machine has not joined.
    """
    if os.geteuid() != 0:
        raise click.ClickException("this changes root's files: run it as root")
    if update == (url is not None) or (url is None) != (invite is None):
        raise click.UsageError("give the URL and an INVITE, or --update alone")
    try:
        if url is None or invite is None:
            known, changed = join.update()
            if changed:
                output.record(Act.JOIN, "", f"gateways: {', '.join(known)}")
            verb = ("Changed", "green") if changed else ("Nothing has changed", "green")
            output.line(verb, f": the gateways of this machine are {', '.join(known)}.")
            return
        word = sys.stdin.readline().strip() if invite == "-" else invite
        id, joined = join.join(url, word, name or socket.gethostname().lower())
    except IampassError as error:
        raise click.ClickException(f"the gateway: {error.diagnostics()}") from None
    what = f"{url} as {clean(joined.name)}, group {clean(joined.group)}"
    output.record(Act.JOIN, "", what)
    output.line(("Joined", "green"), f" {what}.")
    if joined.status != "active":
        output.line(
            "The gateway must admit this host first. Compare the id ", (id, "bold"), " there, then run there:"
        )
        output.line("  ", (f"pam-iampass-gateway host admit {joined.name}", "bold"))
    services = ManifestStore(Path(paths.SETUP_STATE)).load().services
    output.line("Next: ", (f"pam-iampass {'check' if services else 'setup sshd'}", "bold"))
