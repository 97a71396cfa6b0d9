"""A PostgreSQL of a test's own, which can be stopped, killed and frozen, and a pooler in front of it."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from tests.support.world import wait_until

PROGRAMS = Path("/usr/lib/postgresql/17/bin")
_POOLER = Path("/usr/sbin/pgbouncer")
POOLED = "ignore_startup_parameters = lock_timeout, statement_timeout, idle_in_transaction_session_timeout"
"""What docs/fleet/gateway-several.md has an administrator write into a pooler's file."""


@contextmanager
def _made_once(name: str) -> Iterator[Path]:
    """The path of a folder that a run of all tests makes once, and that is copied then; no other copy of the machine
    uses it meanwhile. The caller makes it if it does not exist."""
    folder = Path(os.environ.get("PAM_IAMPASS_SHARED", os.environ["MACHINE_SCRATCH"]))
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder / name


def _unpack(program: Path, *packages: str) -> None:
    """Unpack what requirements.sh has downloaded, in this copy of the machine, unless the machine has it."""
    if not program.exists():
        assert "MACHINE_COPY" in os.environ, "needs an isolated root"
        folder = os.environ.get("PAM_IAMPASS_TOOLS", f"/var/tmp/pam-iampass-tools-{os.getuid()}")
        with _made_once(f"{program.name}-unpacked") as unpacked:
            if not unpacked.exists():
                for package in (found for each in packages for found in Path(folder).glob(each)):
                    subprocess.run(["dpkg", "--extract", package, unpacked], check=True)
            subprocess.run(["cp", "-R", "--preserve=mode,links", f"{unpacked}/.", "/"], check=True)
        assert program.exists(), "run tests/support/requirements.sh"


def _install() -> None:
    _unpack(PROGRAMS / "postgres", "server/postgresql-17_*.deb")
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        subprocess.run(["useradd", "--system", "--no-create-home", "postgres"], check=True)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


class Postgres:
    """A server with its data in a folder: on a port of 127.0.0.1 for any name, at its socket by account.

    Without a loss of power nothing is lost, so it does not wait for the disk.
    """

    def __init__(self, folder: Path, copy_of: Postgres | None = None, *, standby: bool = False) -> None:
        """With the data of another server that runs, as a backup has it, or as a standby that follows it. The name of
        the folder is the standby's."""
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._server: subprocess.Popen[bytes] | None = None
        self._databases = 0
        _install()
        account = pwd.getpwnam("postgres")
        folder.mkdir()
        os.chown(folder, account.pw_uid, account.pw_gid)
        data = str(folder / "data")
        if copy_of is None:
            with _made_once("postgres-data") as made:
                if made.exists():
                    subprocess.run(["cp", "-R", "--preserve=mode", made, data], check=True)
                    subprocess.run(["chown", "-R", "postgres:postgres", data], check=True)
                else:
                    options = ("--auth-local=peer", "--auth-host=trust", "-E", "UTF8", "--no-sync")
                    self._run("initdb", "-D", data, *options)
                    subprocess.run(["cp", "-R", "--preserve=mode", data, made], check=True)
        else:
            follows = ("-R", "-C", "-S", folder.name) if standby else ()
            source = f"host=127.0.0.1 port={copy_of.port} user=postgres application_name={folder.name}"
            self._run("pg_basebackup", "-D", data, "-d", source, "-c", "fast", "--no-sync", *follows)

    def start(self, *options: str, clock: Sequence[str] = (), address: str = "127.0.0.1") -> None:
        """Returns when connections are accepted. `options` are such as `-c max_connections=5`; `clock` is a command
        that runs it at another time; `address` is one where it listens, too."""
        listen = ",".join(dict.fromkeys(("127.0.0.1", address)))
        addresses = ("-c", f"listen_addresses={listen}", "-c", f"unix_socket_directories={self.folder}")
        command = [*clock, "runuser", "-u", "postgres", "--", str(PROGRAMS / "postgres")]
        command += ["-D", str(self.folder / "data"), "-p", str(self.port), *addresses]
        command += ["-c", "jit=off", "-c", "fsync=off", "-c", "max_connections=200", *options]
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(command, stdout=log, stderr=log)
        for _ in range(1200):
            try:
                psycopg.connect(self.conninfo("postgres")).close()
            except psycopg.OperationalError:
                if self._server.poll() is not None:
                    break
                time.sleep(0.05)
            else:
                return
        raise AssertionError((self.folder / "log").read_text())

    def start_again(self) -> None:
        """Start it if it has given up, as for want of room on its disk."""
        try:
            psycopg.connect(self.conninfo("postgres")).close()
        except psycopg.OperationalError:
            assert self._server is not None
            self._server.wait(30)
            self.start()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: at once with SIGINT (connections are closed), SIGQUIT as after a crash."""
        if self._server is not None:
            self.send(how)
            self._server.wait()
            self._server = None

    def kill(self) -> None:
        """End all its processes, as a machine that fails would, unless it has given up."""
        assert self._server is not None
        with suppress(FileNotFoundError):
            self.send_all(signal.SIGKILL)
        self._server.wait()
        self._server = None

    def send(self, what: signal.Signals) -> None:
        """Send a signal to its first process, such as SIGSTOP."""
        os.kill(int((self.folder / "data" / "postmaster.pid").read_text().split("\n")[0]), what)

    def send_all(self, what: signal.Signals) -> None:
        """Send a signal to all its processes: the first one is the parent of the others."""
        assert self._server is not None
        first = int((self.folder / "data" / "postmaster.pid").read_text().split("\n")[0])
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        # runuser stops when its child does, and does not go on with it.
        runuser = [self._server.pid] if what == signal.SIGCONT else []
        for process in (first, *map(int, children), *runuser):
            with suppress(ProcessLookupError):
                os.kill(process, what)

    def conninfo(self, database: str) -> str:
        """The connection string of a database."""
        return f"host=127.0.0.1 port={self.port} user=postgres dbname={database}"

    def new_database(self, template: str = "template1") -> str:
        """The connection string of a new database, a copy of another one."""
        self._databases += 1
        name = f"test{self._databases}"
        with psycopg.connect(self.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY".encode())
        return self.conninfo(name)

    def remove(self) -> None:
        """Stop it and delete its data."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def pooled(self, *settings: str) -> Iterator[int]:
        """A pooler (pgBouncer) that gives connections away for a transaction; its port. `settings` are further lines
        of its file."""
        # Not all that it depends on: ssl-cert has /etc/ssl/certs, which a container may have from outside.
        _unpack(_POOLER, "pooler/pgbouncer_*.deb", "pooler/lib*.deb")
        subprocess.run(["ldconfig"], check=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
        file, users = self.folder / "pooler.ini", self.folder / "users.txt"
        users.write_text('"postgres" ""\n"_iampass-gateway" ""\n')
        lines = [
            "[databases]",
            f"* = host=127.0.0.1 port={self.port}",
            "[pgbouncer]",
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =",
            f"auth_type = trust\nauth_file = {users}",
            "pool_mode = transaction\ndefault_pool_size = 5",
            *settings,
        ]
        file.write_text("\n".join((*lines, "")))
        with (self.folder / "pooler.log").open("ab") as log:
            pooler = subprocess.Popen(
                ["runuser", "-u", "postgres", "--", str(_POOLER), str(file)], stdout=log, stderr=log
            )
        try:
            wait_until(lambda: _listens(port), "the pooler does not listen", 30.0)
            yield port
        finally:
            pooler.terminate()
            pooler.wait()

    def _run(self, program: str, *arguments: str) -> None:
        command = ["runuser", "-u", "postgres", "--", str(PROGRAMS / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def synchronous(postgres: Postgres, names: str) -> Iterator[None]:
    """The server's commits wait for these standbys, which do not exist."""

    def system(statement: str, shown: str) -> None:
        with psycopg.connect(postgres.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())
            connection.execute("SELECT pg_reload_conf()")
            while connection.execute("SHOW synchronous_standby_names").fetchone() != (shown,):
                time.sleep(0.02)

    system(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'", names)
    try:
        yield
    finally:
        system("ALTER SYSTEM RESET synchronous_standby_names", "")
