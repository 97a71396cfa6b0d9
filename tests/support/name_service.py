"""A name service for the copy of this machine: silent for one name, and the bearer of bad news for others."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SILENT, UNKNOWN, BROKEN = "silent.example", "unknown.example", "broken.example"
#: Has the address ::1, and none of IPv4.
SIX = "six.example"
RESOLVER = Path("/etc/resolv.conf")
_AAAA = 28
#: Of an answer (RFC 1035, 4.1.1).
_CODES = {UNKNOWN: 3, BROKEN: 2}


@contextmanager
def answering() -> Iterator[None]:
    """Serve on an address of its own, and be the one in /etc/resolv.conf."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        address = _taken_by(server)
        _ask_here(f"nameserver {address}\noptions timeout:4 attempts:1\n")
        thread = threading.Thread(target=_serve, args=(server,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            _tell_that_it_is_over(address)
            thread.join(5)


def _taken_by(server: socket.socket) -> str:
    """An address that the server has for itself: other copies of the machine share its network."""
    for host in range(1, 255):
        address = f"127.20.0.{host}"
        with suppress(OSError):
            server.bind((address, 53))
            return address
    raise OSError("every address for a name service is taken")


def _ask_here(text: str) -> None:
    """Put another resolv.conf over the machine's, which may be a mount of its own that can only be read."""
    ours = Path(os.environ["MACHINE_SCRATCH"]) / "resolv.conf"
    ours.write_text(text)
    if RESOLVER.exists():
        subprocess.run(["mount", "--bind", str(ours), str(RESOLVER)], check=True)
    else:
        RESOLVER.unlink(missing_ok=True)  # a link to nowhere
        RESOLVER.write_text(text)


def _serve(server: socket.socket) -> None:
    while True:
        question, asker = server.recvfrom(4096)
        if not question:
            return
        answer = _answer(question)
        if answer:
            server.sendto(answer, asker)


def _answer(query: bytes) -> bytes:
    """The answer to a query; empty for silence."""
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


def _encoded(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))


def _tell_that_it_is_over(address: str) -> None:
    """Datagrams have no end of a stream: an empty one stands for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as teller:
        teller.sendto(b"", (address, 53))
