"""From this machine to IAMPASS: names, routes, proxies, certificates, TLS, and two clocks.

An outage is tolerated by the settings of all these rows, but for those that say otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.client.connect_proxy import ESTABLISHED
from tests.support.faults.case import Case, Expected, Requests
from tests.support.faults.expected import (
    APPROVED,
    APPROVED_AT_ONCE,
    MISCONFIGURED,
    NONSENSE,
    OUTAGE,
    TOLERATED,
)
from tests.support.faults.server import (
    ACTIVE_AT_ONCE,
    ENDED,
    Part,
    Serving,
    by_proxy,
    nobody,
    sandbox,
    scripted,
)
from tests.support.name_service import BROKEN, SILENT, SIX, UNKNOWN
from tests.support.scripted_server import ACCEPT, HANDSHAKE, close, garble, hang, reset, slow_handshake

FINE: tuple[Part, Part] = (ACTIVE_AT_ONCE, ENDED)
#: Nothing has been asked of IAMPASS: what comes of it is an outage, and may be tolerated.
UNTOUCHED = TOLERATED
SLOW = TOLERATED.but(within=3.0)
NONSENSE_BEFORE = NONSENSE.but(requests=Requests())


def table() -> Iterator[Case]:
    """All rows."""
    for what, (expected, server) in {**_names_and_routes(), **_tls(), **_proxies(), **_clocks()}.items():
        timeout = "2s" if expected.within == SLOW.within else "20s"
        yield Case(what, expected, server, {"unavailable": "ignore", "timeout": timeout})
    nowhere = nobody("https://127.0.0.1:1")
    yield Case("nothing listens there, and outages are not tolerated", OUTAGE, nowhere)
    silent = nobody(f"https://{SILENT}:{{port}}")
    yield Case(
        "the name service is silent, and outages are not tolerated",
        OUTAGE.but(within=3.0),
        silent,
        {"timeout": "2s"},
    )


def _names_and_routes() -> dict[str, tuple[Expected, Serving]]:
    return {
        "nothing listens there": (UNTOUCHED, nobody("https://127.0.0.1:1")),
        "the name service is silent": (SLOW, nobody(f"https://{SILENT}:{{port}}")),
        "the name service is broken": (UNTOUCHED, nobody(f"https://{BROKEN}:{{port}}")),
        "the name service does not know the name": (MISCONFIGURED, nobody(f"https://{UNKNOWN}:{{port}}")),
        "the server has an IPv6 address only": (APPROVED_AT_ONCE, scripted(*FINE, host="::1", name=SIX)),
        "the server is named by an IPv6 address": (
            APPROVED_AT_ONCE,
            scripted(*FINE, host="::1", name="[::1]"),
        ),
        "the connection is reset when accepted": (UNTOUCHED, scripted(*[reset(ACCEPT)] * 3)),
        "the connection is closed when accepted": (UNTOUCHED, scripted(*[close(ACCEPT)] * 3)),
        "the connection is reset once when accepted": (APPROVED_AT_ONCE, scripted(reset(ACCEPT), *FINE)),
        "the server is silent when it has accepted": (SLOW, scripted(hang(ACCEPT))),
    }


def _tls() -> dict[str, tuple[Expected, Serving]]:
    kinds = {
        "untrusted": "is of an authority that is not trusted",
        "wrong_name": "has another name",
        "expired": "has expired",
        "self_signed": "vouches for itself",
    }
    return {
        **{
            f"the certificate {what}": (MISCONFIGURED, scripted(*FINE, certificate=kind))
            for kind, what in kinds.items()
        },
        "the server speaks TLS 1.0": (MISCONFIGURED, scripted(*FINE, tls_1_0=True)),
        "the server speaks no TLS": (MISCONFIGURED, scripted(garble(ACCEPT))),
        "the TLS handshake is reset": (UNTOUCHED, scripted(*[reset(HANDSHAKE)] * 3)),
        "the TLS handshake is broken off": (UNTOUCHED, scripted(*[close(HANDSHAKE)] * 3)),
        "the TLS handshake hangs": (SLOW, scripted(hang(HANDSHAKE))),
        "the TLS handshake drips": (SLOW, scripted(slow_handshake(0.05))),
    }


def _proxies() -> dict[str, tuple[Expected, Serving]]:
    def says(line: str) -> bytes:
        return f"HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n".encode()

    return {
        "a proxy is on the way": (APPROVED_AT_ONCE, by_proxy(ESTABLISHED, *FINE)),
        "the proxy refuses": (NONSENSE_BEFORE, by_proxy(says("403 Forbidden"))),
        "the proxy wants a password": (NONSENSE_BEFORE, by_proxy(says("407 Authentication Required"))),
        "the proxy cannot connect": (UNTOUCHED, by_proxy(says("502 Bad Gateway"))),
        "the proxy is no proxy": (NONSENSE_BEFORE, by_proxy(b"SSH-2.0-OpenSSH_10.0\r\n")),
        "the proxy goes away": (UNTOUCHED, by_proxy(b"")),
        "the proxy is silent": (SLOW, by_proxy(b"", hangs=True)),
        "the proxy is not there": (UNTOUCHED, by_proxy(gone=True)),
    }


def _clocks() -> dict[str, tuple[Expected, Serving]]:
    twice = APPROVED.but(requests=Requests(2, None, 1))
    jump = APPROVED.but(requests=Requests(1, None, 1))
    return {
        "this machine's clock is an hour behind": (
            twice,
            sandbox("approve", ahead=3600),
        ),
        "this machine's clock is a day ahead": (
            twice,
            sandbox("approve", ahead=-86400),
        ),
        "the clocks part by a day while the phone rings": (
            jump,
            sandbox("approve", delay=1.0, jump=86400),
        ),
        "the clocks part by a day the other way": (jump, sandbox("approve", delay=1.0, jump=-86400)),
    }
