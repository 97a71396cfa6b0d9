"""`pam-iampass-gateway serve`: the service."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import ssl
import sys
import time
from asyncio import sslproto
from contextlib import suppress
from pathlib import Path
from typing import Callable

import click
import psycopg

from pam_iampass.cli import output
from pam_iampass.gateway.base import metrics, records
from pam_iampass.gateway.base.connection import DatabaseError
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.records import Kind
from pam_iampass.gateway.base.upstream import Upstream
from pam_iampass.gateway.calls import codes, eligibility, joining, reports, service
from pam_iampass.gateway.check import monitoring, restored
from pam_iampass.gateway.cli import config_option, with_gateway
from pam_iampass.gateway.hosts import certificates
from pam_iampass.gateway.serving.watching import watching
from pam_iampass.server.http import Dispatcher
from pam_iampass.server.messages import IncomingRequest, RefusedRequest
from pam_iampass.server.serving import serve
from pam_iampass.system.unix_sockets import notify
from pam_iampass.text import clean

_A_MINUTE, _A_DAY = 60.0, 86400.0
STOP_SECONDS = 10.0
"""The time for calls that are under way when the process is told to stop; starts are waited for less long."""
_LINES_A_SECOND = 10
_TLS_BUFFER = 16 * 1024
"""Bytes that asyncio reads at once from a TLS connection, for which it has 256 KiB ready. Requests and answers are
smaller than this."""
_GARBAGE = 20_000
"""New objects after which Python looks for cycles among them; it looks after 2,000 otherwise."""


@click.command("serve")
@config_option
def command(config: Path) -> None:
    """Serve hosts until SIGTERM. systemd runs this; its output is in the journal."""
    with_gateway(config, serve_hosts, hosts_cause_acts=True)


async def serve_hosts(gateway: Gateway) -> None:
    """Accept connections of hosts until the process is told to stop. Raises OSError."""
    sslproto.SSLProtocol.max_size = _TLS_BUFFER  # type: ignore[attr-defined]  # not in Python 3.9
    gc.freeze()
    gc.set_threshold(_GARBAGE)
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()

    def stop() -> None:
        stopping.set()
        loop.call_later(STOP_SECONDS, give_up)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    settings = gateway.settings
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.certificate_file, settings.certificate_key_file)
    family = socket.AF_INET6 if ":" in settings.listen[0] else socket.AF_INET
    listener = socket.create_server(
        settings.listen, family=family, backlog=1024, dualstack_ipv6=family is socket.AF_INET6
    )
    dispatcher = Dispatcher(
        (*service.ROUTES, *joining.ROUTES, *codes.ROUTES, *eligibility.ROUTES, *reports.ROUTES),
        gateway,
        frozenset(settings.names),
        gateway.clock,
        Refusals(),
    )

    def ready() -> None:
        host, port = listener.getsockname()[:2]
        output.line(f"Serving hosts on {host} port {port}.")
        notify("READY=1")

    gateway.database.say = notices = Notices()
    if isinstance(gateway.iampass, Upstream):
        gateway.iampass.say = notices
    gateway.restored = True  # until the first look
    looking = asyncio.create_task(restored.keep_looking(gateway))
    watching_certificate = asyncio.create_task(_watch_certificate(gateway))
    showing = asyncio.create_task(monitoring.show(gateway, stopping))
    async with watching(gateway):
        await serve(dispatcher.handle, listener, context, stopping, ready, service.BOUNDS, gateway.held.stop)
    looking.cancel()
    watching_certificate.cancel()
    showing.cancel()
    notify("STOPPING=1")
    with suppress(DatabaseError, psycopg.Error, Tampered, ValueError, OSError):
        await restored.look(gateway)


def give_up() -> None:
    """End, although statements are under way that cannot be cancelled, since the database hangs. What was begun is in
    the database, for the next process or another gateway, as if this one had been killed."""
    print("the database does not answer: stopped without it", file=sys.stderr, flush=True)
    os._exit(0)


async def _watch_certificate(gateway: Gateway) -> None:
    """Leave an alert each day that the certificate is due for renewal: when it ends, all hosts deny."""
    settings = gateway.settings
    while True:
        certificate, authority = settings.certificate_file.read_bytes(), settings.ca_file.read_bytes()
        due = certificates.is_due(certificate, settings.names, authority)
        if due:
            reason = f"the gateway's certificate {due}: pam-iampass-gateway certificate renew"
            with suppress(DatabaseError, psycopg.Error):
                async with gateway.database.transaction() as connection:
                    await records.write(connection, Kind.ALERT, what="certificate_due", reason=reason)
        await asyncio.sleep(_A_DAY)


class Notices:
    """Notices in the journal of each service that does not answer this gateway, and why, each at most once a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[str, float] = {}

    def __call__(self, what: str, why: str) -> None:
        """Write a line, unless the same was said within the last minute."""
        now = self._clock()
        if now - self._said.get(what, -_A_MINUTE) >= _A_MINUTE:
            self._said[what] = now
            output.line(f"{what}: {clean(why, 500)}", err=True)


class Refusals:
    """Refused requests in the journal. Anyone who can connect causes them, and they must not bury other lines."""

    _second = 0
    _lines = 0

    def __call__(self, request: IncomingRequest, refusal: RefusedRequest) -> None:
        """A line, if there were not too many in this second. Query parameters say who logs in where: they are in no
        log."""
        metrics.REFUSED.labels(str(refusal.status)).inc()
        second = int(time.monotonic())
        if second != self._second:
            if self._lines > _LINES_A_SECOND:
                output.line(f"refused: {self._lines - _LINES_A_SECOND} requests more", err=True)
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines <= _LINES_A_SECOND:
            method, path = clean(request.method, 20), clean(request.path, 200)
            output.line(f"refused: {method} {path}: {refusal.status} {refusal.reason}", err=True)
