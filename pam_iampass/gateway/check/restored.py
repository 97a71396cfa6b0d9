"""Whether the database is an old copy of itself: then hosts that were removed, spent invites and so on are back.

Each gateway keeps a mark outside the database: how many records it has seen, and which was the newest. It moves after
each act of an administrator, every few seconds, and when the service stops. A database with fewer records, or with
another one in that place, is a restored one, or another one. No host is answered then, and none can join, until an
administrator has confirmed it.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable

import psycopg

from pam_iampass.gateway.base import records, statements
from pam_iampass.gateway.base.connection import Connection, DatabaseError
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.mark import Mark
from pam_iampass.gateway.base.statements import insert, many, now, one
from pam_iampass.gateway.people import people
from pam_iampass.system import atomic_write

STATE_FOLDER = "/var/lib/iampass-gateway"
"""Where the mark is, unless systemd says otherwise (STATE_DIRECTORY)."""
_FILE = "mark.json"
_LOOK_SECONDS = 5
TABLE = "fleet"
_NO_DESCRIPTOR = {errno.EMFILE, errno.ENFILE}


def state_folder() -> Path:
    """Where the mark is."""
    return Path(os.environ.get("STATE_DIRECTORY", STATE_FOLDER))


def seen() -> Mark | None:
    """The mark of this gateway; None if it has none yet. Raises ValueError for a damaged file, and OSError."""
    try:
        values = json.loads((state_folder() / _FILE).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        raise ValueError(_damaged()) from None
    types = {
        "fleet": str,
        "restores": int,
        "records": int,
        "newest": int,
        "written": str,
        "old_copy": bool,
    }
    if not isinstance(values, dict) or {name: type(each) for name, each in values.items()} != types:
        raise ValueError(_damaged())
    return Mark(**values)


def _damaged() -> str:
    return f"{state_folder() / _FILE} is damaged: remove it, if the database is no old copy"


def remember(mark: Mark) -> None:
    """Write the mark, unless it is there already, or a further one is. Raises OSError."""
    with _writing() as write:
        if _is_further(mark, seen()):
            write(mark)


def _is_further(mark: Mark, before: Mark | None) -> bool:
    return before is None or not (mark == before or mark.is_behind(before))


@contextmanager
def _writing() -> Iterator[Callable[[Mark], None]]:
    """A function that writes the mark. No other process writes it meanwhile: the service and commands do."""
    with atomic_write.open_folder(state_folder()) as folder:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield lambda mark: atomic_write.write(
            folder, _FILE, json.dumps(asdict(mark)).encode(), f".{_FILE}.new"
        )


async def remember_act(gateway: Gateway) -> None:
    """Move the mark forward after the commit of an administrator's act, for a copy from before it.

    The service makes the first mark, and it alone judges whether the database is an old copy: this may be the command
    with the settings of another gateway. Where the mark cannot be written, that is said; the act is done.
    """
    try:
        if seen() is None:
            return
        mark, _ = await compare(gateway)
        if not mark.old_copy:
            remember(mark)
    except (DatabaseError, psycopg.Error, Tampered, ValueError, OSError) as error:
        what = "this is done, but the gateway would not notice an old copy of the database without it"
        print(f"Warning: {what}: {error}", file=sys.stderr, flush=True)


async def begin(gateway: Gateway, connection: Connection) -> None:
    """Write the row of a new installation, unless there is one."""
    await connection.execute("LOCK TABLE fleet")
    if await one(connection, "SELECT 1 FROM fleet") is None:
        row = {"id": uuid.uuid4(), "made_at": await now(connection), "restores": 0, "people": people.NOBODY}
        await insert(connection, TABLE, gateway.keys.sealed(TABLE, row))


async def current(gateway: Gateway, connection: Connection) -> Mark:
    """How far the database has come. Raises Tampered, also if it was not begun."""
    row = await one(connection, "SELECT * FROM fleet")
    if row is None:
        raise Tampered("fleet: there is no row: run pam-iampass-gateway init")
    fleet = gateway.keys.verified(TABLE, row)
    counted = await one(connection, "SELECT last_value FROM record_id_seq WHERE is_called")
    count = 0 if counted is None else int(counted["last_value"])
    newest = await one(connection, "SELECT id, at FROM record ORDER BY id DESC LIMIT 1")
    last = () if newest is None else (int(newest["id"]), _written(newest))
    return Mark(str(fleet["id"]), fleet["restores"], count, *(last or (0, "")), bool(fleet["old_copy"]))


def _written(record: Mapping[str, Any]) -> str:
    return str(record["at"].astimezone(timezone.utc).isoformat())


async def _has_lost(connection: Connection, mark: Mark) -> bool:
    """Whether the newest record of that time has gone, and not because it was old."""
    found = await one(connection, "SELECT at FROM record WHERE id = %s", mark.newest)
    if found is not None:
        return _written(found) != mark.written
    # The oldest records are deleted first.
    oldest = await one(connection, "SELECT min(id) AS id FROM record")
    return oldest is not None and oldest["id"] is not None and oldest["id"] < mark.newest


async def compare(gateway: Gateway) -> tuple[Mark, Mark]:
    """The mark to remember, and how far the database has come. If that is an old copy, the mark to remember is the one
    that this gateway has, with `old_copy`.

    Raises DatabaseError, Tampered, ValueError and OSError.
    """
    before = seen()
    if gateway.unwritten is not None and _is_further(gateway.unwritten, before):
        before = gateway.unwritten
    async with gateway.database.transaction() as connection:
        found = await current(gateway, connection)
        if before is None:
            return found, found
        is_behind = found.is_behind(before)
        if is_behind or (found.restores == before.restores and await _has_lost(connection, before)):
            return replace(before, old_copy=True), found
        return found, found


async def last_of_copy(connection: Connection) -> datetime | None:
    """When the newest record of an old copy was written, apart from the ones that were added since; None without one.

    What is lost comes after it. Raises ValueError and OSError.
    """
    before = seen()
    if before is None or not before.written:
        return None
    row = await one(connection, "SELECT max(at) AS at FROM record WHERE at <= %s", before.written)
    found: datetime | None = None if row is None else row["at"]
    return found


async def look(gateway: Gateway) -> None:
    """Compare, and move the mark forward; if the database is an old copy, the mark remembers that.

    Other gateways may not have come as far: they are told. Raises DatabaseError; what else fails is raised, too, and
    counts as an old copy, unless only the mark cannot be written, since the disk is full or the like: this process
    remembers it.
    """
    failure: OSError | None = None
    try:
        mark, found = await compare(gateway)
        gateway.restored = mark.old_copy
        written = datetime.fromisoformat(mark.written) if mark.written else None
        gateway.how_far = (mark.newest, written, mark.records)
        try:
            remember(mark)
            gateway.unwritten = None
        except OSError as error:
            gateway.unwritten = mark
            what = f"how far the database has come cannot be written to {state_folder() / _FILE}"
            failure = OSError(f"{what}: {error.strerror or error}")
    except (Tampered, ValueError, OSError) as error:
        # Without a descriptor it stays as it was: each query of a host compares, too (`hosts.IS_OLDER`).
        if not (isinstance(error, OSError) and error.errno in _NO_DESCRIPTOR):
            gateway.restored = True
        raise
    if gateway.restored:
        async with gateway.database.transaction() as connection:
            # An administrator may have confirmed the database since it was compared.
            unmarked = "SELECT * FROM fleet WHERE old_copy IS NULL AND id = %s AND restores = %s FOR UPDATE"
            row = await one(connection, unmarked, mark.fleet, found.restores)
            if row is not None:
                fleet = {**gateway.keys.verified(TABLE, row), "old_copy": True}
                await statements.replace(connection, TABLE, "id", gateway.keys.sealed(TABLE, fleet))
    if failure is not None:
        raise failure


async def keep_looking(gateway: Gateway) -> None:
    """Look every few seconds. What is wrong is said once, until it is over."""
    told = ""
    while True:
        what = ""
        try:
            await look(gateway)
        except (DatabaseError, psycopg.Error, Tampered, ValueError, OSError) as error:
            what = str(error)
        if gateway.restored and not what:
            what = "the database is older than it was: pam-iampass-gateway restored"
        if what != told:
            print(what or "the database is as it should be", flush=True)
        told = what
        for _ in range(1 if what else _LOOK_SECONDS):
            await asyncio.sleep(1.0)
            if gateway.restored:  # a call of a host has found so: the other gateways are to know
                break


async def confirm(gateway: Gateway, connection: Connection) -> list[str]:
    """Accept the database as it is: nothing that an old copy brings back can be used. Returns what is void."""
    row = await one(connection, "SELECT * FROM fleet FOR UPDATE")
    fleet = gateway.keys.verified(TABLE, row or {})
    fleet.update(restores=fleet["restores"] + 1, old_copy=None)
    await statements.replace(connection, TABLE, "id", gateway.keys.sealed(TABLE, fleet))
    await connection.execute("DELETE FROM invite")
    await connection.execute("DELETE FROM link")
    await connection.execute("DELETE FROM sign_in")
    void = ["all invites, sign-ins at the portal, and links that register passkeys"]
    void += [f"the recovery codes of {name}" for name in await _taken(connection, "recovery")]
    void += [f"the bypasses of {name}" for name in await _taken(connection, "bypass")]
    # Other passkeys are to be approved on the phone (`sign_ins.py`).
    void += [
        f"the passkeys of {name} by a link of root's"
        for name in await _taken(connection, "passkey", "roles <> '{}'")
    ]
    # The phone may have been disabled since, and be the next one: no gateway tells IAMPASS, and logins stay denied.
    for name in await people.keep_lost_phones(gateway, connection):
        void.append(f"the report of {name}'s lost phone: logins of {name} are denied until phone lost {name}")
    # Phones of those whom the directory has named so far may have been lost since.
    if await people.stop_invites(gateway, connection, people.Source.LDAP):
        void.append(
            "the messages at a login without a phone (directory.invite: first_login) to all who are known"
        )
    await records.act(connection, "restored_confirm", reason=f"void: {', '.join(void)}"[:2000])
    return void


async def adopt(gateway: Gateway) -> None:
    """Remember a database of another installation, as on a new machine, which was confirmed on this machine.

    Raises DatabaseError, Tampered, ValueError and OSError.
    """
    async with gateway.database.transaction() as connection:
        mark = await current(gateway, connection)
    with _writing() as write:
        before = seen()
        if before is not None and before.fleet != mark.fleet:
            write(mark)


async def _taken(connection: Connection, table: str, condition: str = "true") -> list[str]:
    """Delete all rows of people that meet a condition; whose they were."""
    rows = await many(connection, f"DELETE FROM {table} WHERE {condition} RETURNING person")  # noqa: S608
    return sorted({row["person"] for row in rows})
