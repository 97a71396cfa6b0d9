"""An address at which connecting times out, and a machine without ports."""

from __future__ import annotations

import select
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def black_hole() -> Iterator[tuple[str, int]]:
    """An address that answers no attempt to connect: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        connected = select.poll()
        try:
            for _ in range(4):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex(listener.getsockname())
                waiting.append(sock)
                connected.register(sock, select.POLLOUT)
            assert connected.poll(60_000)  # one is connected, and there is no room for more
            yield listener.getsockname()
        finally:
            for sock in waiting:
                sock.close()


@contextmanager
def silence(address: str) -> Iterator[None]:
    """What is sent to an address of this isolated root is dropped, as if the machine there had lost its power."""
    route = ["ip", "route", "add", f"{address}/32", "dev", "lo"]
    subprocess.run(["ip", "address", "delete", f"{address}/32", "dev", "lo"], check=True)
    try:
        subprocess.run(route, check=True)
        yield
    finally:
        subprocess.run(["ip", "route", "delete", *route[3:]], check=False)
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)


PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
PORTS = (20000, 20019)
TAKE_ALL = f"""
import socket
import subprocess
taken = []
for port in range({PORTS[0]}, {PORTS[1]} + 1):
    taken.append(socket.socket(socket.AF_INET, socket.KIND))
    taken[-1].bind(("", port))
print("taken", flush=True)
input()
"""


@contextmanager
def all_ports_taken(uid: int, kind: str) -> Iterator[None]:
    """The user holds every ephemeral port, of which there are few, with `SOCK_STREAM` or `SOCK_DGRAM` sockets."""
    before = PORT_RANGE.read_text()
    drop = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    program = [*drop, "/usr/bin/python3", "-I", "-c", TAKE_ALL.replace("KIND", kind)]
    try:
        with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as attacker:
            assert attacker.stdout is not None
            assert attacker.stdout.readline() == b"taken\n"
            try:
                # Afterwards: nobody else has been given one of them.
                PORT_RANGE.write_text(f"{PORTS[0]} {PORTS[1]}\n")
                yield
            finally:
                attacker.kill()
    finally:
        PORT_RANGE.write_text(before)
