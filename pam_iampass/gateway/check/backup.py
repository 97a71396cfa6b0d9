"""Dumps of the database: files in a folder that is root's alone, of which the last ones are kept.

pg_dump runs as the service's account, which has the database, and writes to a file that root has opened. So whoever
takes that account over cannot read, change or delete the dumps that were made before. The dumps are numbered: a clock
that was wrong for a while does not change which ones are deleted.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.errors import PamIampassError, UntrustedFile
from pam_iampass.gateway.base.database import Database
from pam_iampass.gateway.base.places import ACCOUNT
from pam_iampass.gateway.base.settings import BackupSettings
from pam_iampass.gateway.base.statements import one
from pam_iampass.gateway.check.restored import state_folder
from pam_iampass.system import atomic_write, programs
from pam_iampass.system.programs import CommandResult
from pam_iampass.system.trusted_folder import mode_of, shell_word, trusted_folder

UNIT = "pam-iampass-gateway-backup"
_NAME = re.compile(r"iampass-([0-9]{6,12})-[0-9]{8}T[0-9]{6}Z\.dump")
_TEMPORARY = ".iampass.dump.new"
_NOTE = "last-backup"
"""An empty file in the state folder, which was written when the last backup of this machine was made."""
_RESERVE = 256 * 1024 * 1024
"""Bytes of the disk that a dump leaves free: PostgreSQL may be on the same one."""
_SECONDS = 4 * 3600.0


class BackupFailed(PamIampassError):
    """No dump was made."""


@dataclass(frozen=True)
class Server:
    """The server that takes what is written."""

    conninfo: str
    host: str
    """Its address, or the folder of its socket."""
    size: int
    """Bytes of the database. A dump of it is smaller."""


@dataclass(frozen=True)
class Dump:
    """A dump in the folder."""

    number: int
    name: str
    size: int
    """Bytes."""
    at: float
    """When it was written, as the clock was then."""


async def find_server(conninfo: str) -> Server:
    """The server to dump. Raises DatabaseError, psycopg.Error and BackupFailed."""
    async with Database(conninfo, connections=1) as database, database.transaction() as connection:
        row = await one(
            connection, "SELECT pg_backend_pid() AS pid, pg_database_size(current_database()) AS size"
        )
        assert row is not None  # noqa: S101 - a SELECT without FROM has a row
        if row["pid"] != connection.info.backend_pid:
            # What pg_dump sets for its session would be left to the gateways, such as an empty search path.
            what = "`database` in the settings leads to a pooler, and pg_dump needs PostgreSQL itself"
            raise BackupFailed(what, "make the dump on the server of PostgreSQL")
        return Server(database.server, connection.info.host, row["size"])


@contextmanager
def opened_folder(path: Path) -> Iterator[int]:
    """A descriptor of the folder. Raises UntrustedFile unless only root can see and change what is in it."""
    with trusted_folder(str(path), 0) as folder:
        status = os.fstat(folder)
        if status.st_mode & 0o077:
            what = f"is a folder of dumps that others than root can enter ({mode_of(status)})"
            raise UntrustedFile(str(path), what, f"chmod 0700 {shell_word(str(path))}")
        with atomic_write.open_folder(".", folder) as listing:
            yield listing


def dumps(folder: int) -> list[Dump]:
    """The dumps in a folder, in the order in which they were made. Nothing is opened: whatever else has such a name is
    no dump."""
    found = []
    for name in os.listdir(folder):
        matched = _NAME.fullmatch(name)
        if matched is None:
            continue
        with suppress(FileNotFoundError):  # a backup has just deleted it
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                found.append(Dump(int(matched[1]), name, status.st_size, status.st_mtime))
    return sorted(found, key=lambda dump: dump.number)


def make(settings: BackupSettings, server: Server) -> tuple[Dump, list[str]]:
    """Make a dump, and delete those that are not kept any more; the dump, and the names of these.

    Raises BackupFailed, UntrustedFile, CommandUnavailable and OSError. A dump that fails leaves nothing behind; of one
    that was killed, the next call deletes the rest.
    """
    with opened_folder(settings.folder) as folder:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupFailed("another backup is under way") from None
        atomic_write.remove(folder, _TEMPORARY)
        before = dumps(folder)
        most = _room(settings.folder, folder, 2 * before[-1].size if before else server.size)
        file = atomic_write.create(folder, _TEMPORARY)
        try:
            _dump(server, file, most)
            os.fsync(file)
            number = before[-1].number + 1 if before else 1
            name = time.strftime(f"iampass-{number:06}-%Y%m%dT%H%M%SZ.dump", time.gmtime())
            atomic_write.rename(folder, _TEMPORARY, name)
        except BaseException:
            with suppress(OSError):
                atomic_write.remove(folder, _TEMPORARY)
            raise
        finally:
            os.close(file)
        atomic_write.sync(folder)
        *_, made = found = dumps(folder)
        old = [dump.name for dump in found[: -settings.keep]]
        for each in old:
            atomic_write.remove(folder, each)
        return made, old


def _room(path: Path, folder: int, needed: int) -> int:
    """The most bytes that a dump may have, of which `needed` must be there. Raises BackupFailed."""
    disk = os.fstatvfs(folder)
    most = disk.f_bavail * disk.f_frsize - _RESERVE
    if most < max(needed, 1):
        what = f"the disk of {path} has too little room: {(needed + _RESERVE) >> 20:,} MiB must be free"
        raise BackupFailed(what, "delete what is not needed there, or name another folder")
    return most


def _dump(server: Server, file: int, most: int) -> None:
    """Have pg_dump write to an open file, as the service's account, which needs no password there or has one in its
    home. Raises BackupFailed and CommandUnavailable."""
    try:
        account = pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise BackupFailed(f"there is no account {ACCOUNT}", "run systemd-sysusers") from None
    environment = {name: value for name, value in os.environ.items() if name.startswith("PG")}
    environment |= {"PATH": programs.PATH, "LANG": "C.UTF-8", "HOME": account.pw_dir}
    environment |= {"PGHOST": server.host}  # with it, Debian's pg_wrapper takes the newest pg_dump
    command = [programs.found("prlimit"), f"--fsize={most}", programs.found("pg_dump"), "--format=custom"]
    command += ["--no-password", "--lock-wait-timeout=60s", f"--dbname={server.conninfo}"]
    try:
        done = subprocess.run(  # noqa: S603 - programs of the system, with arguments that no shell sees
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.PIPE,
            timeout=_SECONDS,
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=os.getgrouplist(ACCOUNT, account.pw_gid),
            env=environment,
            cwd="/",
            restore_signals=False,  # at its limit a write fails, and pg_dump says so
        )
    except subprocess.TimeoutExpired:
        raise BackupFailed(f"pg_dump did not end within {_SECONDS / 3600:g} hours") from None
    if done.returncode < 0:
        raise BackupFailed(f"pg_dump was ended by signal {-done.returncode}")
    if done.returncode > 0:
        complaint = CommandResult(done.returncode, "", done.stderr.decode("utf-8", "replace")).complaint
        raise BackupFailed(complaint if complaint.startswith("pg_dump") else f"pg_dump: {complaint}")


def note() -> None:
    """Remember for `last_here` that a backup was made now. Raises OSError."""
    with atomic_write.open_folder(state_folder()) as folder:
        atomic_write.write(folder, _NOTE, b"", f".{_NOTE}.new")


def last_here() -> float:
    """When this machine has made a backup last, as Unix time; 0 if it never has."""
    with suppress(OSError):
        return os.lstat(state_folder() / _NOTE).st_mtime
    return 0.0
