"""Whether the database can be reached, and how long connecting to it may take."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import Union

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pam_iampass.client.connection import Deadline
from pam_iampass.gateway.base import tcp

CONNECT_SECONDS = 3.0
"""How long one waits for a connection, and for TCP to say whether the database can be reached."""


def servers(conninfo: str) -> list[str]:
    """A connection string for each server that this one names."""
    values = conninfo_to_dict(conninfo)
    values.setdefault("host", os.environ.get("PGHOST"))
    given = {name: str(values[name]).split(",") for name in ("host", "hostaddr", "port") if values.get(name)}
    several = max((len(given[name]) for name in ("host", "hostaddr") if name in given), default=1)
    return [
        make_conninfo(conninfo, **{name: each[min(at, len(each) - 1)] for name, each in given.items()})
        for at in range(several)
    ]


Address = Union[str, tuple[str, int]]
"""The path of a socket, or host and port."""

_FAR_SIDE = {errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT}


async def is_unreachable(conninfo: str) -> bool:
    """Whether each address of the database refuses connections, has no route, or does not answer TCP."""
    for address in _addresses(conninfo):
        try:
            await _reach(address)
        except TimeoutError:
            continue
        except OSError as error:
            # Without a server there is no socket.
            if error.errno in _FAR_SIDE or (isinstance(address, str) and error.errno == errno.ENOENT):
                continue
        return False
    return True


async def _reach(address: Address) -> None:
    """Connect. Raises TimeoutError only if TCP was not answered."""
    if isinstance(address, str):
        _, writer = await asyncio.open_unix_connection(address)
        writer.close()
        return
    lookup = asyncio.get_running_loop().getaddrinfo(*address, type=socket.SOCK_STREAM)
    try:
        found = await asyncio.wait_for(lookup, CONNECT_SECONDS)
    except TimeoutError:
        raise OSError("the name was not looked up in time") from None
    (await tcp.first_reachable(found, Deadline.after(CONNECT_SECONDS))).close()


def _addresses(conninfo: str) -> list[Address]:
    """Where libpq connects to."""
    found: list[Address] = []
    for server in map(conninfo_to_dict, servers(conninfo)):
        host = str(server.get("hostaddr") or server.get("host") or "/var/run/postgresql")
        port = str(server.get("port") or os.environ.get("PGPORT") or "5432")
        found.append(f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, int(port)))
    return found
