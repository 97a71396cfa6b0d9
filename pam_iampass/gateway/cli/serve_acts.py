"""`pam-iampass-gateway serve-acts`: the service that answers the portal."""

from __future__ import annotations

import asyncio
import pwd
import signal
import socket
from contextlib import suppress
from pathlib import Path

import click
import psycopg

from pam_iampass.cli import output
from pam_iampass.gateway.base.connection import DatabaseError
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.places import PORTAL_ACCOUNT
from pam_iampass.gateway.check import restored
from pam_iampass.gateway.cli import config_option, with_gateway
from pam_iampass.gateway.cli.serve import STOP_SECONDS, Refusals, give_up
from pam_iampass.gateway.serving import acts_service
from pam_iampass.gateway.serving.acts_calls import CALLS
from pam_iampass.gateway.serving.acts_service import ActsDispatcher, ActsService
from pam_iampass.server.serving import serve
from pam_iampass.system.unix_sockets import notify, passed

_SOCKET = "pam-iampass-gateway-acts.socket"


@click.command("serve-acts")
@config_option
def command(config: Path) -> None:
    """Answer the portal at the socket /run/iampass-gateway/acts.sock, until SIGTERM.

    systemd runs this when the portal calls (pam-iampass-gateway-acts.socket). It is a separate process, so the portal
    delays no login. Only the user _iampass-portal and root can connect. Without `portal` in the settings it ends with
    an error. Its output is in the journal.

    The exit status is 0 after SIGTERM, otherwise 1.
    """
    sockets = passed()
    if len(sockets) != 1:
        raise click.ClickException(f"there is no socket from systemd; run: systemctl start {_SOCKET}")
    with socket.socket(fileno=sockets[0][1]) as listener:
        with_gateway(config, lambda gateway: _serve(gateway, listener), acts_service.CONNECTIONS)


async def _serve(gateway: Gateway, listener: socket.socket) -> None:
    """Accept connections of the portal until the process is told to stop. Raises ClickException."""
    if gateway.settings.portal is None:
        raise click.ClickException("`portal` is not in the settings: nobody can sign in")
    try:
        portal = pwd.getpwnam(PORTAL_ACCOUNT).pw_uid
    except KeyError:
        raise click.ClickException(f"there is no user {PORTAL_ACCOUNT}: run systemd-sysusers") from None
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()

    def stop() -> None:
        stopping.set()
        loop.call_later(STOP_SECONDS, give_up)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)

    def ready() -> None:
        output.line("Answering the portal.")
        notify("READY=1")

    gateway.restored = True  # until the first look, before anybody is answered
    with suppress(OSError, ValueError, Tampered, DatabaseError, psycopg.Error):
        await restored.look(gateway)
    looking = asyncio.create_task(restored.keep_looking(gateway))
    service = ActsService(gateway, stopping)
    waking = asyncio.create_task(service.wake_pages())
    dispatcher = ActsDispatcher(CALLS, service, Refusals())
    owner = acts_service.peers(0, portal)
    await serve(
        dispatcher.handle, listener, None, stopping, ready, acts_service.BOUNDS, gateway.held.stop, owner
    )
    for task in (looking, waking):
        task.cancel()
    notify("STOPPING=1")
