"""The command `pam-iampass-portal`."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import click

from pam_iampass import __version__
from pam_iampass.cli import Verbs
from pam_iampass.cli import main as run
from pam_iampass.portal.app import make_app, serve_app
from pam_iampass.portal.calls import SOCKET
from pam_iampass.portal.gateway import GatewayClient
from pam_iampass.portal.settings import DEFAULT_PATH, PortalSettings, load
from pam_iampass.system.unix_sockets import notify, passed

_UNIT = "pam-iampass-portal.socket"
_config = click.option(
    "--config",
    type=click.Path(path_type=Path, readable=False),
    default=DEFAULT_PATH,
    show_default=True,
    callback=lambda _ctx, _param, path: path.absolute(),
    help="The settings file of the portal.",
)


@click.group("pam-iampass-portal", cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pam-iampass-portal")
def group() -> None:
    """The portal of a fleet, where people sign in with passkeys.

    The settings are in /etc/iampass-portal/portal.yaml; `pam-iampass-gateway portal setup` writes them.
    """


@group.command()
@_config
def check(config: Path) -> None:
    """Check the settings and the certificate, and report every problem.

    The exit status is 0 if there is none, otherwise 1.
    """
    click.echo(f"Valid: the portal is at {load(config).origin}")


@group.command()
@_config
@click.option(
    "--gateway",
    type=click.Path(path_type=Path),
    default=SOCKET,
    show_default=True,
    help="The socket at which the gateway answers.",
)
def serve(config: Path, gateway: Path) -> None:
    """Show the pages to browsers, until SIGTERM.

    systemd runs this at the first connection (pam-iampass-portal.socket), which it passes on: the service has no
    network of its own. Its output is in the journal.

    The exit status is 0 after SIGTERM, otherwise 1.
    """
    settings = load(config)
    sockets = passed()
    if sockets:
        listener = socket.socket(fileno=sockets[0][1])
    elif settings.listen is not None:
        family = socket.AF_INET6 if ":" in settings.listen[0] else socket.AF_INET
        listener = socket.create_server(
            settings.listen, family=family, backlog=1024, dualstack_ipv6=family is socket.AF_INET6
        )
    else:
        raise click.ClickException(
            f"there is no socket from systemd; run: systemctl start {_UNIT}, or write `listen` into {config}"
        )
    with listener:
        asyncio.run(_serve(settings, gateway, listener))


async def _serve(settings: PortalSettings, gateway: Path, listener: socket.socket) -> None:
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    def ready() -> None:
        click.echo(f"The portal answers at {settings.origin}")
        notify("READY=1")

    async with GatewayClient(gateway) as client:
        await serve_app(make_app(settings, client), listener, settings.context(), stopping, ready)
    notify("STOPPING=1")


def main() -> None:
    """Run the command and exit with its status."""
    run(command=group)


if __name__ == "__main__":
    main()
