"""The disk of the database, if the database runs on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.errors import Problem, Severity
from pam_iampass.gateway.base.database import Database
from pam_iampass.gateway.base.statements import one
from pam_iampass.gateway.check.catalogue import finding

_LITTLE = 0.1
"""The part of a disk below which little is free, unless that is _PLENTY."""
_PLENTY = 5 << 30
_NONE = 16 << 20
"""The size of a segment of PostgreSQL's log of writes: with less than that it may stop at any time."""


@dataclass(frozen=True)
class Server:
    """The server of a connection."""

    process: int
    """The number of its first process, if it runs on this machine."""
    system: str
    """Its system identifier, which is also in its files."""


async def find_server(database: Database) -> Server | None:
    """The server of the database; None if no process of this machine can be it. Raises DatabaseError."""
    async with database.statement() as connection:
        row = await one(connection, "SELECT pg_backend_pid() AS process")
        assert row is not None  # noqa: S101 - a SELECT without FROM has a row
        try:
            status = Path(f"/proc/{row['process']}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
    return Server(int(status.rpartition(")")[2].split()[1]), connection.history[0])


def little_room(server: Server) -> Iterator[Problem]:
    """Whether little is free on the disks of a server, each of which is looked at once.

    Only root can look. Nothing is found if the server runs elsewhere: its process has another number there.
    """
    data = Path(f"/proc/{server.process}/cwd")  # PostgreSQL works in the folder of its data
    with suppress(OSError):
        system = (data / "global/pg_control").read_bytes()[:8]
        if int.from_bytes(system, sys.byteorder, signed=True) != int(server.system):
            return
        folders = (data, data / "pg_wal", *(data / "pg_tblspc").iterdir())
        for folder in {folder.stat().st_dev: folder for folder in reversed(folders)}.values():
            found = os.statvfs(folder)
            size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
            if free < min(size * _LITTLE, _PLENTY):
                severity = Severity.ERROR if free < _NONE else None
                words = {"free": _in_words(free), "size": _in_words(size)}
                yield finding("disk-little-room", "database", str(folder.resolve()), severity, **words)


def _in_words(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size >> 20} MiB"
