"""``pam-iampass sandbox``: a local IAMPASS to try things out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pam_iampass.sandbox.errors import SandboxError
from pam_iampass.sandbox.events import Listener
from pam_iampass.sandbox.fault_options import PlannedFault, parse_fault, table_text

_EPILOG = f"""Examples:

\b
  Say yes to every login after two seconds:
    pam-iampass sandbox --user alice --auto approve --delay 2
  Answer yourself, in a browser or by typing a or d:
    pam-iampass sandbox --user alice --user bob:no-device
  Be unavailable twice, then hang on the first poll:
    pam-iampass sandbox --user alice \\
      --fault start:status=503,times=2 --fault poll:hang
  Keep the users, and the certificate authority that machines trust:
    pam-iampass sandbox --state ~/.local/state/iampass-sandbox --user alice
  Play the phone on a real one in the same network:
    pam-iampass sandbox --listen 192.0.2.7:8443 --allow-remote --user alice

\b
{table_text()}
"""


class _Address(click.ParamType):
    name = "HOST:PORT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        host, colon, port = value.rpartition(":")
        host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            self.fail(f"{value!r} is not HOST:PORT, such as 127.0.0.1:8443", param, ctx)
        return host, int(port)


class _Fault(click.ParamType):
    name = "CALL:FAULT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> PlannedFault:
        if isinstance(value, PlannedFault):
            return value
        try:
            return parse_fault(value)
        except ValueError as error:
            self.fail(f"{value}: {error}\n\n{table_text()}", param, ctx)


_SECONDS = click.FloatRange(min=0)


@click.command(epilog=_EPILOG, short_help="Serve a local IAMPASS to try things out.")
@click.option(
    "--listen", type=_Address(), default="127.0.0.1:8443", show_default=True, help="Where to serve."
)
@click.option("--application-id", default="sandbox", show_default=True, help="The application that may call.")
@click.option("--application-secret", help="Its secret.  [default: the last one, else made up]")
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
    help="What becomes of requests.",
)
@click.option("--delay", type=_SECONDS, default=0.0, show_default=True, help="Seconds until --auto answers.")
@click.option(
    "--user",
    "users",
    multiple=True,
    metavar="NAME[:no-device]",
    help="A user to begin with. May be given more than once.",
)
@click.option(
    "--request-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds until an unanswered request times out.",
)
@click.option("--fault", "faults", type=_Fault(), multiple=True, help="Answer a call wrongly; see below.")
@click.option("--clock-skew", type=float, default=0.0, help="Seconds by which its clock is ahead.")
@click.option("--name", "names", multiple=True, help="One more host name that it answers to.")
@click.option("--allow-remote", is_flag=True, help="Allow --listen on an address that others can reach.")
def command(
    listen: tuple[str, int],
    application_id: str,
    application_secret: str | None,
    state: Path | None,
    auto: str,
    delay: float,
    users: tuple[str, ...],
    request_timeout: float,
    faults: tuple[PlannedFault, ...],
    clock_skew: float,
    names: tuple[str, ...],
    allow_remote: bool,
) -> None:
    """Serve a local IAMPASS over https, to try things out.

    It speaks the whole protocol, strictly, prints the configuration that leads a machine to it, and then one
    line for each thing that happens.

    With --auto ask somebody answers the requests: in a browser, on the phone page whose address it prints, or by
    typing: a 1 approves the first, d 1 denies it; a or d alone will do where only one waits. Ctrl-C ends it.
    """
    try:
        from pam_iampass.sandbox.sandbox import Sandbox
        from pam_iampass.sandbox.serving import serve
    except ImportError as error:
        raise click.ClickException(f"the sandbox needs aiohttp and trustme ({error})") from error

    def make(listener: Listener) -> Sandbox:
        return Sandbox(
            application_id,
            application_secret,
            listen,
            auto,
            delay,
            state,
            request_timeout=request_timeout,
            names=names,
            allow_remote=allow_remote,
            clock_skew=clock_skew,
            listener=listener,
        )

    try:
        serve(make, users, faults)
    except SandboxError as error:
        raise click.ClickException(str(error)) from error
