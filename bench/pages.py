"""How long the pages of the portal take, in front of a large fleet.

PostgreSQL, the gateway's service for the portal (`serve-acts`) and the portal are the processes that a machine has.
One browser asks for one page after the other, on one connection, and reads the whole answer.
"""

from __future__ import annotations

import asyncio
import http.client
import ssl
import time
from pathlib import Path

from bench.fleet import Site, folder_on_disk, free_port, running_site
from bench.floods import acts_socket, portal
from bench.measure import Section, median
from pam_iampass.gateway.base.gateway import opened
from pam_iampass.gateway.base.settings import load
from pam_iampass.gateway.people import people
from pam_iampass.portal.settings import PortalSettings
from tests.support.acts_socket import add_passkey
from tests.support.authenticator import Authenticator
from tests.support.portal import RunningPortal, Visitor
from tests.support.postgres import Postgres

MEDIAN, SIZE = "median ms", "KiB"
PAGES = {
    "My account": "/",
    "People": "/people",
    "People, a search that finds some": "/people?search=person77",
    "People of whom no phone was seen": "/people?phone=unseen",
    "a person": "/people/person7",
    "Access review": "/access",
    "Open logins": "/logins",
    "Open logins, a search that finds some": "/logins?search=person77",
    "Hosts": "/hosts",
    "Hosts, a search that finds some": "/hosts?search=bb",
    "a host": "/hosts/h-aaaaaaaaaaaa",
    "Log": "/log",
    "Log of a week": "/log?within=week",
    "Log, a search that finds many": "/log?search=person",
    "Log, a search that finds some": "/log?search=person77",
    "Log, a search that finds nothing": "/log?search=nobody",
    "Log, a search with a filter": "/log?search=person77&outcome=denied&within=week",
}
_SIGNED_IN = "person0"
_KEPT = 2
"""Open logins of each host."""
_SETTINGS = """\
portal: {{origin: 'https://localhost:{port}'}}
operators: {{admin: [it]}}
"""
_RECORDS = """
    INSERT INTO record (at, kind, host, person, fields)
    SELECT now() - make_interval(secs => 14 * 86400.0 * ({records} - number) / {records}), 'decision',
        (SELECT array_agg(name ORDER BY name) FROM host)[1 + number %% {hosts}],
        'person' || (number * 7919::bigint) %% {people},
        jsonb_build_object('outcome', (array['approved', 'covered', 'denied', 'timed_out'])[1 + number %% 4],
            'service', 'sshd', 'remote', '192.0.2.' || number %% 250, 'session', gen_random_uuid()::text,
            'reason', 'the person has answered on the phone')
    FROM generate_series(1, {records}) AS number
"""


def measure(rounds: int, host_count: int, person_count: int, record_count: int) -> Section:
    """The whole answers of an admin's pages, medians."""
    title = (
        f"Pages of the portal: {person_count:,} people, {host_count:,} hosts, {_KEPT * host_count:,} open logins,"
        f" {record_count:,} records"
    )
    section = Section(title, [MEDIAN, SIZE])
    print(title)
    port = free_port()
    settings = _SETTINGS.format(port=port)
    with folder_on_disk() as folder:
        postgres = Postgres(Path(folder, "postgres"))
        try:
            postgres.start("-c", "fsync=on")
            with running_site(postgres, host_count, person_count, _KEPT, 1, settings) as site:
                site.gateways[0].stop()  # it would poll IAMPASS meanwhile
                browser = Authenticator(f"https://localhost:{port}")
                asyncio.run(_fill(site, browser, record_count))
                with portal(site, port):
                    _ask(section, site, port, browser, rounds)
        finally:
            postgres.remove()
    return section


def bounds(section: Section) -> list[tuple[str, float, float]]:
    """The bounds: (what, found, at most)."""
    slowest = max(section.rows, key=lambda row: row.values[MEDIAN])
    return [(f"the slowest page of the portal ({slowest.name}): median, ms", slowest.values[MEDIAN], 100)]


async def _fill(site: Site, browser: Authenticator, record_count: int) -> None:
    """People get groups and display names, and records come. The browser gets a passkey of an admin."""
    async with opened(load(site.gateways[0].config)) as gateway:
        async with gateway.database.transaction() as connection:
            connection.take_time()
            for number in range(site.people):
                name = f"person{number}"
                groups = ("it",) if name == _SIGNED_IN else ("staff", f"team{number % 100}")
                await people.change(gateway, connection, name, display_name=f"Ann {number}", groups=groups)
            values = {"records": record_count, "hosts": site.hosts, "people": site.people}
            await connection.execute(_RECORDS.format(**values).replace("%%", "%"))
        await add_passkey(gateway, browser, _SIGNED_IN, by_root=True)
        async with gateway.database.statement() as connection:
            await connection.execute("VACUUM ANALYZE")


def _ask(section: Section, site: Site, port: int, browser: Authenticator, rounds: int) -> None:
    context = ssl.create_default_context(cafile=f"{site.folder}/ca.pem")
    running = RunningPortal(PortalSettings(browser.origin), acts_socket(site), port, context=context)
    visitor = Visitor(running, browser)
    assert visitor.sign_in().status == 303
    cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    connection = http.client.HTTPSConnection("localhost", port, context=context)
    for name, path in PAGES.items():
        times = []
        for _ in range(rounds + 1):  # the first one is not counted
            began = time.monotonic()
            connection.request("GET", path, headers={"Cookie": cookie, "Accept-Encoding": "gzip"})
            answer = connection.getresponse()
            body = answer.read()
            times.append(1000 * (time.monotonic() - began))
            assert answer.status == 200, body
        section.add(name, **{MEDIAN: median(times[1:]), SIZE: len(body) / 1024})
    connection.close()
