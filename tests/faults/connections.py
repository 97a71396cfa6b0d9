"""The connection to IAMPASS: names, routes, proxies, certificates, TLS, and the two clocks.

One row for each kind of failure; tests/client has them all. The settings of these rows tolerate an outage. The logins
are denied all the same: their services are neither sshd nor login.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.client.connect_proxy import ESTABLISHED
from tests.support.deadline import DEADLINE
from tests.support.faults.case import Case, Expected, Requests
from tests.support.faults.expected import (
    APPROVED,
    MISCONFIGURED,
    NONSENSE,
    OUTAGE,
)
from tests.support.faults.server import (
    ACTIVE,
    ENDED,
    PENDING,
    Part,
    Serving,
    by_proxy,
    nobody,
    sandbox,
    scripted,
)
from tests.support.name_service import BROKEN, SILENT, UNKNOWN
from tests.support.scripted_server import ACCEPT, HANDSHAKE, garble, hang, reset

FINE: tuple[Part, ...] = (PENDING, ACTIVE, ENDED)
#: The server does not respond until the deadline.
LATE = OUTAGE.but(within=DEADLINE + 1.0)
NONSENSE_BEFORE = NONSENSE.but(requests=Requests())


def table() -> Iterator[Case]:
    """All rows."""
    rows = {**_names_and_routes(), **_tls(), **_proxies(), **_clocks()}
    for what, (expected, server) in rows.items():
        timeout = f"{DEADLINE if expected is LATE else 20}s"
        yield Case(what, expected, server, {"unavailable": "ignore", "timeout": timeout})


def _names_and_routes() -> dict[str, tuple[Expected, Serving]]:
    return {
        "the server refuses connections": (OUTAGE, nobody("https://127.0.0.1:1")),
        "the name service never responds": (LATE, nobody(f"https://{SILENT}:{{port}}")),
        "the name service fails": (OUTAGE, nobody(f"https://{BROKEN}:{{port}}")),
        "the server's name does not exist": (MISCONFIGURED, nobody(f"https://{UNKNOWN}:{{port}}")),
        "there is no route to the server": (OUTAGE, nobody("https://192.0.2.1")),
        "this machine cannot connect to the server's address": (MISCONFIGURED, nobody("https://[fe80::1]")),
        "the server URL has an IPv6 address": (APPROVED, scripted(*FINE, host="::1", name="[::1]")),
        "the server resets the connection after accepting it": (OUTAGE, scripted(*[reset(ACCEPT)] * 3)),
        "the server resets the first connection after accepting it": (
            APPROVED,
            scripted(reset(ACCEPT), *FINE),
        ),
        "the server accepts the connection and sends nothing": (LATE, scripted(hang(ACCEPT))),
    }


def _tls() -> dict[str, tuple[Expected, Serving]]:
    return {
        "the certificate is issued by an untrusted authority": (
            MISCONFIGURED,
            scripted(*FINE, certificate="untrusted"),
        ),
        "the server does not use TLS": (MISCONFIGURED, scripted(garble(ACCEPT))),
        "the TLS handshake stalls": (LATE, scripted(hang(HANDSHAKE))),
    }


def _proxies() -> dict[str, tuple[Expected, Serving]]:
    def says(line: str) -> bytes:
        return f"HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n".encode()

    return {
        "the connection uses a proxy": (APPROVED, by_proxy(ESTABLISHED, *FINE)),
        "the proxy answers 403": (NONSENSE_BEFORE, by_proxy(says("403 Forbidden"))),
        "the proxy answers 502 because it cannot connect": (OUTAGE, by_proxy(says("502 Bad Gateway"))),
        "the proxy closes the connection without a response": (OUTAGE, by_proxy(b"")),
        "the proxy never responds": (LATE, by_proxy(b"", hangs=True)),
        "the proxy refuses connections": (OUTAGE, by_proxy(gone=True)),
    }


def _clocks() -> dict[str, tuple[Expected, Serving]]:
    twice = APPROVED.but(requests=Requests(2, None, 1))
    jump = APPROVED.but(requests=Requests(1, None, 1))
    return {
        "this machine's clock is an hour behind": (
            twice,
            sandbox("approve", ahead=3600),
        ),
        "the server's clock jumps ahead by a day while the request is pending": (
            jump,
            sandbox("approve", delay=1.0, jump=86400),
        ),
    }
