"""`pam-iampass sandbox`: runs a local IAMPASS server for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pam_iampass.cli.parameters import Parsed
from pam_iampass.sandbox.errors import SandboxError
from pam_iampass.sandbox.fault_options import PlannedFault, parse_fault, table_text

_EPILOG = f"""Examples:

\b
  Approve every login after two seconds:
    pam-iampass sandbox --user alice --auto approve --delay 2
  Answer yourself, in a browser or by typing a or d:
    pam-iampass sandbox --user alice --user bob:no-device
  Be unavailable twice, then hang on the first poll:
    pam-iampass sandbox --user alice \\
      --fault start:status=503,times=2 --fault poll:hang
  Keep the users, and the certificate authority that machines trust:
    pam-iampass sandbox --state ~/.local/state/iampass-sandbox --user alice
  Use a real phone in the same network:
    pam-iampass sandbox --listen 192.0.2.7:8443 --allow-remote --user alice

\b
{table_text()}
"""


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError("is not HOST:PORT, such as 127.0.0.1:8443")
    return host, int(port)


def _fault(text: str) -> PlannedFault:
    try:
        return parse_fault(text)
    except ValueError as error:
        raise ValueError(f"is not a fault: {error}\n\n{table_text()}") from None


@click.command(epilog=_EPILOG)
@click.option(
    "--listen",
    type=Parsed("HOST:PORT", _address),
    default="127.0.0.1:8443",
    show_default=True,
    help="The address to serve on.",
)
@click.option(
    "--application-id", default="sandbox", show_default=True, help="The application that is accepted."
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
    help="How requests are answered.",
)
@click.option(
    "--delay",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Seconds until --auto answers.",
)
@click.option(
    "--user", "users", multiple=True, metavar="NAME[:no-device]", help="A user to add. Can be repeated."
)
@click.option(
    "--request-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds until an unanswered request times out.",
)
@click.option(
    "--fault",
    "faults",
    type=Parsed("CALL:FAULT", _fault),
    multiple=True,
    help="Answer a call incorrectly; see below.",
)
@click.option("--clock-skew", type=float, default=0.0, help="Seconds by which the server's clock is ahead.")
@click.option(
    "--plain-polls",
    is_flag=True,
    help="Answer polls in the form of the service's documentation, without the outer key.",
)
@click.option("--name", "names", multiple=True, help="Another host name in the server's certificate.")
@click.option(
    "--allow-remote", is_flag=True, help="Allow --listen on an address that other machines can reach."
)
def command(users: tuple[str, ...], faults: tuple[PlannedFault, ...], **options: Any) -> None:
    """Run a local IAMPASS server over https, for tests.

    It implements the whole protocol, strictly. At the start it prints the configuration that makes a machine use it,
    then a line for each event.

    With --auto ask you answer the requests: in a browser, on the phone page whose address is printed, or by typing
    `a 1` to approve the first request and `d 1` to deny it; `a` or `d` is enough if only one waits. Ctrl-C stops
    the server.

    The exit status is 0, or 1 if the server cannot be started.
    """
    try:
        from pam_iampass.sandbox.sandbox import Sandbox
        from pam_iampass.sandbox.serving import serve
    except ImportError as error:
        raise click.ClickException(f"the sandbox needs aiohttp and trustme ({error})") from error

    try:
        serve(lambda listener: Sandbox(**options, listener=listener), users, faults)
    except SandboxError as error:
        raise click.ClickException(str(error)) from error
