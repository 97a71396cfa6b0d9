"""Networks for the isolated root, which has only a loopback interface."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def network_without_default_route() -> Iterator[None]:
    """This machine is in a network from which nothing else is reached, as behind a proxy."""
    subprocess.run(["ip", "link", "add", "lan", "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "address", "add", "10.77.0.10/24", "dev", "lan"], check=True)
        subprocess.run(["ip", "link", "add", "cable", "type", "veth", "peer", "name", "plug"], check=True)
        for name in ("cable", "plug", "lan"):
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
        subprocess.run(["ip", "link", "set", "cable", "master", "lan"], check=True)
        yield
    finally:
        subprocess.run(["ip", "link", "delete", "cable"], check=False)
        subprocess.run(["ip", "link", "delete", "lan"], check=True)
