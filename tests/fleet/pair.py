"""A PostgreSQL and its synchronous standby, on machines of their own, as docs/fleet/database-pair.md says."""

from __future__ import annotations

import re

import trustme

from tests.packages.booted import Booted
from tests.packages.kept_logins import wait_for
from tests.packages.typed_page import TypedPage

UNIT = "postgresql@17-main"
ROLE = "_iampass-gateway"
PASSWORD = "s3cret-of-the-database"
_PAGE = TypedPage("docs/fleet/database-pair.md")
_SET_UP = "Set it up"
_ETC = "/etc/postgresql/17/main"
_DATA = "/var/lib/postgresql/17/main"
_SETTINGS = f"""\
listen_addresses = '*'
ssl_cert_file = '{_ETC}/server.crt'
ssl_key_file = '{_ETC}/server.key'
"""
_ACCESS = f"""\
hostssl iampass     {ROLE} samenet scram-sha-256
hostssl replication standby samenet scram-sha-256
"""


def connection() -> str:
    """The connection string of the gateways."""
    (given,) = re.findall("'(.*)'", _PAGE.command(_SET_UP, "pam-iampass-gateway init"))
    return f"{given} sslmode=verify-full"


def configure(machine: Booted, authority: trustme.CA) -> None:
    """What a server of the pair has, whether it is the standby or not."""
    machine.write(f"{_ETC}/conf.d/pair.conf", _SETTINGS)
    machine.shell(f"cat >> {_ETC}/pg_hba.conf <<'end'\n{_ACCESS}end")
    made = authority.issue_cert(machine.name)
    machine.write(f"{_ETC}/server.crt", made.cert_chain_pems[0].bytes().decode())
    machine.write(f"{_ETC}/server.key", made.private_key_pem.bytes().decode(), 0o640, "postgres")
    pgpass = "/var/lib/postgresql/.pgpass"
    machine.write(pgpass, f"*:*:*:standby:{PASSWORD}\n", 0o600)
    machine.run("chown", "postgres:", pgpass)
    machine.run("systemctl", "restart", UNIT)


def make_database(machine: Booted) -> None:
    """The database, the gateways' role that owns it, and that of the standby."""
    psql(machine, f"CREATE ROLE standby LOGIN REPLICATION PASSWORD '{PASSWORD}'")
    for start in ("CREATE ROLE", "CREATE DATABASE", "GRANT"):
        psql(machine, _PAGE.command(_SET_UP, start))
    psql(machine, f"ALTER ROLE \"{ROLE}\" PASSWORD '{PASSWORD}'")


def follow(standby: Booted, primary: Booted) -> None:
    """Make a server the standby of another. What it has had is gone."""
    copy = (
        _PAGE.command(_SET_UP, "pg_basebackup")
        .replace("FOLDER", _DATA)
        .replace("user=postgres", "user=standby")
    )
    copy = copy.replace("db2", standby.name).replace("host=db1", f"host={primary.name}")
    standby.shell(
        f"""
        systemctl stop {UNIT}
        rm -rf {_DATA}
        runuser -u postgres -- {copy}
        systemctl start {UNIT}
        """
    )


def wait_for_standby(primary: Booted) -> None:
    """Have the commits of a server wait for the other one, which follows or begins to."""
    for start in ("ALTER SYSTEM SET synchronous_standby_names", "SELECT pg_reload_conf"):
        psql(primary, _PAGE.command(_SET_UP, start))
    wait_for(lambda: "sync" in psql(primary, "SELECT sync_state FROM pg_stat_replication"), "it follows")


def go_on_alone(primary: Booted) -> None:
    """Let a server commit without a standby."""
    for start in ("ALTER SYSTEM RESET", "SELECT pg_reload_conf"):
        psql(primary, _PAGE.command("The standby is gone", start))


def promote(standby: Booted) -> None:
    """Make the standby the primary."""
    assert psql(standby, "SELECT pg_promote()") == "t\n"


def is_primary(machine: Booted) -> bool:
    """Whether a server can be written to."""
    return psql(machine, "SELECT pg_is_in_recovery()") == "f\n"


def psql(machine: Booted, statement: str) -> str:
    """What a statement yields."""
    return machine.run("runuser", "-u", "postgres", "--", "psql", "-XtAqc", statement).stdout
