"""A PostgreSQL and its synchronous standby, on machines of their own."""

from __future__ import annotations

import shutil

import trustme

from tests.packages.booted import Booted
from tests.packages.kept_logins import wait_for

UNIT = "postgresql@17-main"
ROLE = "_iampass-gateway"
PASSWORD = "s3cret-of-the-database"
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


def configure(machine: Booted, name: str, authority: trustme.CA) -> None:
    """What a server of the pair has, whether it is the standby or not. Its certificate is for `name`."""
    machine.write(f"{_ETC}/conf.d/pair.conf", _SETTINGS)
    machine.shell(f"cat >> {_ETC}/pg_hba.conf <<'end'\n{_ACCESS}end")
    made = authority.issue_cert(name)
    machine.write(f"{_ETC}/server.crt", made.cert_chain_pems[0].bytes().decode())
    machine.write(f"{_ETC}/server.key", made.private_key_pem.bytes().decode(), 0o640, "postgres")
    pgpass = "/var/lib/postgresql/.pgpass"
    machine.write(pgpass, f"*:*:*:standby:{PASSWORD}\n", 0o600)
    machine.run("chown", "postgres:", pgpass)
    machine.run("systemctl", "restart", UNIT)


def make_database(machine: Booted) -> None:
    """The database, the gateways' role that owns it, and that of the standby."""
    for role, options in ((ROLE, "LOGIN"), ("standby", "LOGIN REPLICATION")):
        psql(machine, f"CREATE ROLE \"{role}\" {options} PASSWORD '{PASSWORD}'")
    psql(machine, f'GRANT pg_read_all_stats TO "{ROLE}"')
    psql(machine, f'CREATE DATABASE iampass OWNER "{ROLE}" ENCODING UTF8 TEMPLATE template0')
    psql(machine, "REVOKE CONNECT ON DATABASE iampass FROM PUBLIC")


def follow(standby: Booted, primary: Booted, name: str) -> None:
    """Make a server the synchronous standby of another, which is called `name`. What it has had is gone."""
    standby.shell(
        f"""
        systemctl stop {UNIT}
        rm -rf {_DATA}
        runuser -u postgres -- pg_basebackup -R -X stream -c fast -D {_DATA} -d 'host={name} user=standby'
        systemctl start {UNIT}
        """
    )
    psql(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
    psql(primary, "SELECT pg_reload_conf()")
    wait_for(lambda: "sync" in psql(primary, "SELECT sync_state FROM pg_stat_replication"), "it follows")


def is_primary(machine: Booted) -> bool:
    """Whether a server can be written to."""
    return psql(machine, "SELECT pg_is_in_recovery()") == "f\n"


def promote(standby: Booted) -> None:
    """Make the standby the primary, which waits for no other."""
    assert psql(standby, "SELECT pg_promote()") == "t\n"
    assert psql(standby, "SHOW synchronous_standby_names") == "\n"


def go_on_alone(primary: Booted) -> None:
    """Let the primary commit without a standby."""
    psql(primary, "ALTER SYSTEM RESET synchronous_standby_names")
    psql(primary, "SELECT pg_reload_conf()")


def forget(machine: Booted) -> None:
    """Delete the data of a server whose machine is switched off."""
    shutil.rmtree(machine.var / _DATA.removeprefix("/var/"))


def psql(machine: Booted, statement: str) -> str:
    """What a statement yields."""
    return machine.run("runuser", "-u", "postgres", "--", "psql", "-XtAqc", statement).stdout
