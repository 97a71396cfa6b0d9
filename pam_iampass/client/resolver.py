"""Name lookup. The system's has no timeout that we could set and can take a minute, so it runs in a thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from typing import Any, Callable

Address = tuple[int, Any]
"""Family and socket address."""
HOSTS_FILE = "/etc/hosts"


class Resolver:
    """Looks names up, each in one thread at a time: all who ask for the same name wait for the same lookup.

    So a name service that hangs costs one thread for each name, however many logins wait for it.
    """

    def __init__(
        self, getaddrinfo: Callable[..., Sequence[Any]] = socket.getaddrinfo, hosts_file: str = HOSTS_FILE
    ) -> None:
        self._getaddrinfo = getaddrinfo
        self._hosts_file = hosts_file
        self._lock = threading.Lock()
        self._running: dict[tuple[str, int], _Lookup] = {}

    def addresses(self, host: str, port: int, timeout: float) -> list[Address]:
        """The addresses of `host`, within `timeout` seconds. Raises OSError (socket.timeout is one), and
        MemoryError if no thread can be started."""
        key = (host, port)
        with self._lock:
            lookup = self._running.get(key)
            if lookup is None:
                lookup = self._running[key] = _Lookup()
                try:
                    threading.Thread(target=self._run, args=(key, lookup), daemon=True).start()
                except RuntimeError as error:
                    del self._running[key]
                    raise MemoryError(str(error)) from None
        if not lookup.done.wait(timeout):
            raise socket.timeout("timed out")
        if isinstance(lookup.result, Exception):
            raise lookup.result
        return [(family, address) for family, _, _, _, address in lookup.result]

    def _run(self, key: tuple[str, int], lookup: _Lookup) -> None:
        host, port = key
        try:
            name = absolute_name(host, self._hosts_file)
            lookup.result = self._getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except UnicodeError:
            lookup.result = OSError(f"{host} is not a host name")
        except (OSError, MemoryError) as error:
            lookup.result = error
        finally:  # whatever was raised: a lookup that never ends would look like a time-out
            with self._lock:
                del self._running[key]
            lookup.done.set()


class _Lookup:
    """A lookup that was started, and its result."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.result: Sequence[Any] | Exception = MemoryError("the lookup failed")


def absolute_name(host: str, hosts_file: str = HOSTS_FILE) -> str:
    """`host` with a dot at its end, which keeps the search list of resolv.conf away from it.

    Without the dot, glibc asks for a name that does not exist once more under each domain of the search list (the
    machine's own domain if there is none): that can take long, turn "unknown" into "try again", or find another
    server. Addresses and two kinds of names stay as they are: those in the hosts file, since glibc does not find
    them there with a dot, and those of one label, which only the hosts file or the search list can complete.
    """
    is_address = ":" in host or host.rpartition(".")[2].isdigit()
    if is_address or "." not in host or _in_hosts_file(host, hosts_file):
        return host
    return f"{host}."


def _in_hosts_file(host: str, path: str) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read().lower()
    except OSError:
        return False
    return host in text and any(host in line.partition("#")[0].split()[1:] for line in text.splitlines())
