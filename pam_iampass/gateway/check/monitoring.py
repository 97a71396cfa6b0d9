"""Serves `/metrics` for Prometheus, `/healthz` and `/readyz` to whatever watches a gateway.

It has an address of its own, with plain http, where nothing can be changed and nothing names a host or a person. The
database is asked once a second at most, on one connection, however many ask here.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pam_iampass import __version__
from pam_iampass.cli import output
from pam_iampass.gateway.base import metrics
from pam_iampass.gateway.base.connection import DatabaseAway, DatabaseError, WrongSchema
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.leases import ALIVE_SECONDS
from pam_iampass.gateway.base.migration import require_schema
from pam_iampass.gateway.base.statements import many, one
from pam_iampass.gateway.check import backup
from pam_iampass.gateway.hosts import certificates
from pam_iampass.gateway.hosts.hosts import HostStatus
from pam_iampass.server.serving import Bounds, serve

FRESH_SECONDS = 1.0
"""The database is asked again only after this time."""
_BOUNDS = Bounds(body=1024, connections=100)
_LOOK_SECONDS = 5.0
_HANGS_SECONDS = 1.0
"""A commit that has waited for a standby for so long counts as one that hangs."""
WITHIN_SECONDS = 60.0
"""How long a transaction that found the disk full is reported."""
CANNOT_WRITE = (
    "a transaction has failed within the last minute: the disk of the database is full or has an error"
)
CANNOT_RENEW = "this gateway cannot write to the database that it is alive"

_COMMITS = """
SELECT
    pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only,
    CASE WHEN current_setting('synchronous_commit') NOT IN ('off', 'local')
        THEN current_setting('synchronous_standby_names') ELSE '' END AS names,
    pg_has_role('pg_read_all_stats', 'USAGE') AS may_see_which,
    (SELECT count(*) FROM pg_stat_replication) AS connected,
    (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')) AS synchronous,
    (SELECT count(*) FROM pg_stat_activity
        WHERE wait_event = 'SyncRep' AND clock_timestamp() - query_start > make_interval(secs => %s)) AS hang
"""


@dataclass(frozen=True)
class Look:
    """The answer of the database."""

    problems: tuple[str, ...]
    """Why hosts cannot be answered; without names, addresses and what else an error of the database says."""
    commits: str = "not known"
    """Whether a commit waits for a standby."""
    hang: int = 0
    """How many of our commits wait for a standby now."""
    hosts: Mapping[str, int] = field(default_factory=dict)
    """The number of hosts, by status."""
    sessions: Mapping[str, int] = field(default_factory=dict)
    """The number of sessions that have not ended, by what is waited for."""


class Monitor:
    """Answers the calls."""

    def __init__(self, gateway: Gateway) -> None:
        """Read when the certificate expires that the gateway has read, too, and serves until it is started anew."""
        self._gateway = gateway
        self._expires = certificates.expiry(gateway.settings.certificate_file.read_bytes()).timestamp()
        self._looked_at = 0.0
        self._look: asyncio.Task[Look] | None = None

    async def handle(self, http: web.BaseRequest, stopping: asyncio.Event) -> web.StreamResponse:
        """Answer a request of aiohttp."""
        if http.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        status, content_type, body = await self.answer(http.path)
        headers = {"Content-Type": content_type, "Cache-Control": "no-store"}
        return web.Response(status=status, body=body, headers=headers)

    async def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        if path == "/healthz":
            return 200, "text/plain", b"ok\n"
        if path == "/readyz":
            look = await self.look()
            said = {"ready": not look.problems, "problems": look.problems, "commits": look.commits}
            status = 503 if look.problems else 200
            return status, "application/json", json.dumps(said).encode() + b"\n"
        if path == "/metrics":
            now = CollectorRegistry()
            now.register(_Now(self._gateway, await self.look(), self._expires))
            return 200, CONTENT_TYPE_LATEST, generate_latest(metrics.REGISTRY) + generate_latest(now)
        return 404, "text/plain", b"/metrics, /healthz or /readyz\n"

    async def look(self) -> Look:
        """How the database is now, or was a moment ago."""
        is_old = time.monotonic() - self._looked_at >= FRESH_SECONDS
        if self._look is None or (self._look.done() and is_old):
            self._looked_at = time.monotonic()
            self._look = asyncio.create_task(_look(self._gateway))
        await asyncio.wait({self._look}, timeout=_LOOK_SECONDS)
        if not self._look.done():  # the next request waits for the same one
            return Look(("the database does not answer in time",))
        return self._look.result()


async def look(gateway: Gateway) -> Look:
    """How the database is now. Raises DatabaseError and psycopg.Error."""
    async with gateway.database.transaction() as connection:
        await require_schema(connection)
        row = await one(connection, _COMMITS, _HANGS_SECONDS)
        hosts = await many(connection, "SELECT status, count(*) AS count FROM host GROUP BY status")
        sessions = await many(
            connection,
            "SELECT CASE WHEN state = 'open' AND status NOT IN ('pending', 'identifying') THEN 'approved'"
            " WHEN state = 'open' THEN 'on_phone' ELSE state END AS waits_for, count(*) AS count"
            " FROM session WHERE state = 'open' OR (deadline > now() AND state IN ('queued', 'starting'))"
            " GROUP BY 1",
        )
    assert row is not None  # noqa: S101 - a SELECT without FROM has a row
    commits, hanging = _commits(row)
    return Look(
        (*(["the database is read-only"] if row["read_only"] else []), *hanging),
        commits,
        row["hang"],
        {status.value: 0 for status in HostStatus} | {each["status"]: each["count"] for each in hosts},
        dict.fromkeys(("queued", "starting", "on_phone", "approved"), 0)
        | {each["waits_for"]: each["count"] for each in sessions},
    )


async def _look(gateway: Gateway) -> Look:
    """How the database is now, and what this process has found out when it wrote last: nothing is written for this."""
    found, now = await _look_at_database(gateway), time.monotonic()
    if found.problems:
        return found
    lacks_room = now - gateway.database.lacked_room_at < WITHIN_SECONDS
    is_late = now - gateway.leases.renewed_at > ALIVE_SECONDS
    own = ((CANNOT_WRITE, lacks_room), (CANNOT_RENEW, is_late))
    return replace(found, problems=tuple(problem for problem, is_so in own if is_so))


async def _look_at_database(gateway: Gateway) -> Look:
    """As `look`. That it fails is a problem of the database, told without what the error says."""
    try:
        found = await look(gateway)
    except WrongSchema:
        return Look(("the tables of the database are older than this gateway: pam-iampass-gateway migrate",))
    except DatabaseAway as away:
        if away.unreachable:
            return Look(("the database cannot be reached",))
        return await _look_aside(gateway)
    except (DatabaseError, psycopg.Error):
        return Look(("the database has failed",))
    if gateway.restored:
        old = "the database is an old copy: pam-iampass-gateway restored"
        return replace(found, problems=(*found.problems, old))
    return found


async def _look_aside(gateway: Gateway) -> Look:
    """Whether all connections are in use by commits that hang."""
    problems, commits, hang = ["the database has failed"], "not known", 0
    with suppress(psycopg.Error):
        async with gateway.database.aside() as connection:
            row = await one(connection, _COMMITS, _HANGS_SECONDS)
        if row is not None:
            commits, hanging = _commits(row)
            problems, hang = hanging or problems, row["hang"]
    return Look(tuple(problems), commits, hang)


def _commits(row: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The standbys for which commits wait, in words, and a problem if commits hang."""
    wanted = _wanted(row["names"])
    if not wanted:
        return "do not wait for a standby", []
    there = row["synchronous"] if row["may_see_which"] else row["connected"]
    commits = f"wait for {wanted} synchronous, and {there} connected, standbys"
    if there < wanted or row["hang"]:
        return commits, [f"commits hang: they {commits}"]
    if not row["may_see_which"]:
        commits += "; GRANT pg_read_all_stats says which of these are synchronous"
    return commits, []


def _wanted(names: str) -> int:
    """The number of standbys for which a commit waits, by `synchronous_standby_names`: `a, b` or `ANY 2 (a, b)`."""
    if not names.strip():
        return 0
    counted = re.match(r"\s*(?:(?:FIRST|ANY)\s+)?([0-9]+)\s*\(", names, re.IGNORECASE)
    return int(counted[1]) if counted else 1


class _Now(Collector):
    """Gauges, which are read when they are asked for."""

    def __init__(self, gateway: Gateway, look: Look, expires: float) -> None:
        self._gateway = gateway
        self._look = look
        self._expires = expires

    def collect(self) -> Iterable[Metric]:
        """As prometheus_client asks."""
        gateway, look = self._gateway, self._look
        yield _gauge("build_info", "The version of the gateway.", {__version__: 1}, "version")
        yield _gauge("ready", "Whether it can answer hosts: /readyz says why not.", not look.problems)
        yield _gauge(
            "restored", "Whether the database is an old copy that nobody has confirmed.", gateway.restored
        )
        yield _gauge(
            "certificate_expiry_timestamp_seconds", "When the served certificate ends.", self._expires
        )
        if gateway.settings.backup is not None:
            yield _gauge(
                "backup_timestamp_seconds",
                "When this machine has made the last backup; 0 if it never has.",
                backup.last_here(),
            )
        yield _gauge(
            "starts_under_way", "Starts of this gateway that are not answered yet.", len(gateway.starts)
        )
        yield _gauge("calls_held", "Calls of hosts that wait for news of a session.", len(gateway.held))
        yield _gauge("hosts", "Hosts of the fleet.", look.hosts, "status")
        yield _gauge("sessions", "Sessions of the fleet that have not ended.", look.sessions, "state")
        yield _gauge("commits_hanging", "Commits that wait for a synchronous standby now.", look.hang)
        pool = gateway.database.connections()
        free = pool.get("pool_available", 0)
        states = {"in_use": pool.get("pool_size", 0) - free, "free": free}
        yield _gauge("database_connections", "Connections to the database.", states, "state")
        yield _gauge(
            "database_connections_limit",
            "How many there may be (limits.connections).",
            pool.get("pool_max", 0),
        )
        yield _gauge(
            "database_waiting", "Transactions that wait for a connection.", pool.get("requests_waiting", 0)
        )


def _gauge(
    name: str, doc: str, value: float | Mapping[str, float], label: str | None = None
) -> GaugeMetricFamily:
    found = GaugeMetricFamily(f"{metrics.PREFIX}_{name}", doc, labels=[label] if label else [])
    for key, each in (value if isinstance(value, Mapping) else {"": value}).items():
        found.add_metric([key] if label else [], float(each))
    return found


async def show(gateway: Gateway, stopping: asyncio.Event) -> None:
    """Answer at the address of the settings until `stopping` is set. Hosts are served without it, too."""
    address = gateway.settings.monitoring
    if address is None:
        return
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        listener = socket.create_server(address, family=family)
        monitor = Monitor(gateway)
    except (OSError, ValueError) as error:
        output.line(f"monitoring: {address[0]} port {address[1]}: {error}", err=True)
        return
    await serve(monitor.handle, listener, None, stopping, lambda: None, _BOUNDS)
