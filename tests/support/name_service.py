"""A DNS server for the isolated root that ignores one name, fails for others, and can hold up everybody."""

from __future__ import annotations

import ipaddress
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SILENT, UNKNOWN, BROKEN = "silent.example", "unknown.example", "broken.example"
#: Has the address ::1, and no IPv4 address.
SIX = "six.example"
RESOLVER = Path("/etc/resolv.conf")
#: No loopback address: then it is a name server elsewhere, to which there is a route.
ADDRESS = "192.0.2.53"
#: With an address of both families, names are looked up in both (AI_ADDRCONFIG, getaddrinfo(3)).
OWN = (f"{ADDRESS}/32", "2001:db8::53/128")
_AAAA = 28
#: Response codes (RFC 1035, 4.1.1).
_CODES = {UNKNOWN: 3, BROKEN: 2}


class NameServer:
    """How it behaves."""

    truncates = False
    """Whether it says, whatever the question, that the answer needs TCP, where it says nothing."""


@contextmanager
def answering() -> Iterator[NameServer]:
    """Serve as the only server in /etc/resolv.conf, without a search domain."""
    before = RESOLVER.read_text()
    for address in OWN:
        subprocess.run(["ip", "address", "replace", address, "dev", "lo"], check=True)
    behavior = NameServer()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, socket.socket() as silent:
        for each in (server, silent):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind((ADDRESS, 53))
        silent.listen(100)  # the kernel accepts connections
        RESOLVER.write_text(f"nameserver {ADDRESS}\nsearch .\noptions timeout:28 attempts:1\n")
        thread = threading.Thread(target=_serve, args=(server, behavior), daemon=True)
        thread.start()
        try:
            yield behavior
        finally:
            RESOLVER.write_text(before)
            silent.close()  # while it can still end its connections
            _stop()
            thread.join(5)
            for address in OWN:
                # Switching IPv6 off has deleted its addresses.
                subprocess.run(["ip", "address", "delete", address, "dev", "lo"], check=address != OWN[1])


def _serve(server: socket.socket, behavior: NameServer) -> None:
    while True:
        question, asker = server.recvfrom(4096)
        if not question:
            return
        answer = _truncated(question) if behavior.truncates else _answer(question)
        if answer:
            server.sendto(answer, asker)


def _answer(query: bytes) -> bytes:
    """The response to a query; empty for none."""
    end = query.index(b"\0", 12) + 5
    question, (kind,) = query[12:end], struct.unpack("!H", query[end - 4 : end - 2])
    name = question[:-5]
    found = b""
    if name == _encoded(SIX) and kind == _AAAA:
        found = struct.pack("!HHHIH", 0xC00C, _AAAA, 1, 60, 16) + ipaddress.IPv6Address("::1").packed
    codes = {_encoded(SIX): 0, **{_encoded(name): code for name, code in _CODES.items()}}
    if name not in codes:
        return b""
    head = struct.pack("!HHHHH", 0x8180 | codes[name], 1, 1 if found else 0, 0, 0)
    return query[:2] + head + question + found


def _truncated(query: bytes) -> bytes:
    end = query.index(b"\0", 12) + 5
    return query[:2] + struct.pack("!HHHHH", 0x8780, 1, 0, 0, 0) + query[12:end]


def _encoded(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))


def _stop() -> None:
    """Stop the server: an empty datagram marks the end."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"", (ADDRESS, 53))
