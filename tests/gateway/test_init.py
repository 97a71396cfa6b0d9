"""`pam-iampass-gateway init` and `certificate`, on a machine with PostgreSQL."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import stat
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from pam_iampass.gateway.base import settings as gateway_settings
from pam_iampass.gateway.cli.certificate import renew
from pam_iampass.gateway.hosts import certificates
from tests.support.gateway_machine import ETC, add_account, local_postgres, run_gateway, serving
from tests.support.postgres import Postgres
from tests.support.sandbox import Sandbox
from tests.support.world import wait_until

SECRETS = {"application-secret", "key", "ca-key.pem", "certificate-key.pem"}


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    add_account()
    with local_postgres() as running:
        yield running


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(application_id="demo", application_secret="s3cret") as running:
        yield running


@pytest.fixture
def arguments(server: Postgres, sandbox: Sandbox) -> Iterator[list[str]]:
    """What makes a gateway on a machine that has none."""
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS iampass WITH (FORCE)")
        connection.execute('DROP ROLE IF EXISTS "_iampass-gateway"')
    shutil.rmtree(ETC, ignore_errors=True)
    ca = Path("/etc/sandbox-ca.pem")
    shutil.copy(sandbox.ca_file, ca)
    ca.chmod(0o644)
    options = ["init", "--name", "localhost", "--listen", "127.0.0.1:8443", "--application-id", "demo"]
    yield [*options, "--secret-file", "-", "--server", sandbox.url, "--server-ca-file", str(ca)]
    shutil.rmtree(ETC, ignore_errors=True)


def test_purge_keeps_what_the_database_is_worth_nothing_without_and_says_how_to_delete_it(
    arguments: list[str],
) -> None:
    run_gateway(*arguments, typed="s3cret\n")
    state = Path("/var/lib/iampass-gateway")
    state.mkdir(exist_ok=True)
    before, postrm = _contents(), Path(__file__).parents[2] / "packaging/debian/pam-iampass-gateway.postrm"

    def purge() -> str:
        return subprocess.run(["sh", postrm, "purge"], capture_output=True, text=True, check=True).stdout

    said = purge()
    assert before.keys() >= SECRETS
    assert _contents() == before
    assert not state.exists()
    (delete,) = re.findall("rm -r .*", said)
    subprocess.run(delete.split(), check=True)
    assert not ETC.exists()
    assert purge() == ""


def _contents() -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in ETC.iterdir()}


def test_one_command_makes_everything_and_the_gateway_serves(arguments: list[str]) -> None:
    shown = run_gateway(*arguments, typed="s3cret\n", as_installed=True)
    assert "s3cret" not in shown
    assert "Done." in shown
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in ETC.iterdir()}
    assert modes == {
        **dict.fromkeys(SECRETS, 0o600),
        **dict.fromkeys(("ca.pem", "certificate.pem", "gateway.yaml"), 0o644),
    }
    assert {(file.stat().st_uid, file.stat().st_gid) for file in ETC.iterdir()} == {(0, 0)}
    settings = gateway_settings.load(ETC / "gateway.yaml")
    assert (settings.names, settings.listen) == (("localhost",), ("127.0.0.1", 8443))
    assert settings.application_secret == "s3cret"
    assert (settings.database, settings.limits.connections) == ("dbname=iampass", 20)
    with serving():
        context = ssl.create_default_context(cafile=str(ETC / "ca.pem"))
        with socket.create_connection(("127.0.0.1", 8443), 5) as plain:
            context.wrap_socket(plain, server_hostname="localhost").close()


def test_what_is_there_stays(arguments: list[str], server: Postgres) -> None:
    run_gateway(*arguments, typed="s3cret\n")
    before = _contents()
    with psycopg.connect(server.conninfo("iampass")) as connection:
        fleet = connection.execute("SELECT * FROM fleet").fetchall()
    shown = run_gateway("init")
    assert _contents() == before
    assert "made" not in shown
    with psycopg.connect(server.conninfo("iampass")) as connection:
        assert connection.execute("SELECT * FROM fleet").fetchall() == fleet
        assert len(fleet) == 1


def test_an_init_that_failed_can_be_repeated(
    arguments: list[str], server: Postgres, sandbox: Sandbox
) -> None:
    server.stop()
    try:
        assert "apt install postgresql" in run_gateway(*arguments, typed="s3cret\n", status=1)
    finally:
        server.start("-c", "unix_socket_directories=/run/postgresql")
    before = _contents()
    shown = run_gateway("init")
    assert "Done." in shown
    assert _contents() == before


def test_a_secret_that_iampass_refuses_is_an_error(arguments: list[str]) -> None:
    shown = run_gateway(*arguments, typed="wrong\n", status=1)
    assert "application secret" in shown
    assert "wrong" not in shown
    run_gateway("init", "--secret-file", "-", typed="s3cret\n")
    (ETC / "application-secret").write_text("outdated\n")
    assert "correct /etc/iampass-gateway/application-secret" in run_gateway("init", status=1)
    assert (ETC / "application-secret").read_text() == "outdated\n"


def test_an_application_that_iampass_does_not_know_is_an_error(arguments: list[str]) -> None:
    arguments[arguments.index("demo")] = "another"
    assert run_gateway(*arguments, typed="s3cret\n", status=1)


@pytest.mark.parametrize(
    "given", [("--name", "not a name"), ("--application-id", "a/b"), ("--listen", "8443")]
)
def test_what_makes_no_sense_is_refused_before_anything_is_made(
    arguments: list[str], given: tuple[str, str]
) -> None:
    run_gateway(*arguments, *given, typed="s3cret\n", status=2)
    assert not ETC.exists()


def test_without_a_secret_nothing_is_made(arguments: list[str]) -> None:
    without = [each for each in arguments if each not in ("--secret-file", "-")]
    run_gateway(*without, status=2)
    run_gateway(*arguments, typed="\n", status=1)
    assert not (ETC / "key").exists()


def test_a_database_of_another_key_is_not_taken_over(arguments: list[str]) -> None:
    run_gateway(*arguments, typed="s3cret\n")
    key = (ETC / "key").read_bytes()
    (ETC / "key").unlink()
    shown = run_gateway("init", status=1)
    assert "restore /etc/iampass-gateway/key from your backup" in shown
    assert not (ETC / "key").exists()
    (ETC / "key").write_bytes(key)
    (ETC / "key").chmod(0o600)
    run_gateway("init")


def test_only_the_service_has_the_database(arguments: list[str], server: Postgres) -> None:
    run_gateway(*arguments, typed="s3cret\n", as_installed=True)
    with psycopg.connect(server.conninfo("iampass")) as connection:
        owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'iampass'"
        assert connection.execute(owner).fetchone() == ("_iampass-gateway",)
        role = "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = '_iampass-gateway'"
        assert connection.execute(role).fetchone() == (False, False, False)
        connection.execute("DROP ROLE IF EXISTS mallory")
        connection.execute("CREATE ROLE mallory LOGIN")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(server.conninfo("iampass"), user="mallory")


def test_the_certificate_is_renewed_when_it_is_due(arguments: list[str]) -> None:
    run_gateway(*arguments, typed="s3cret\n")
    before = _contents()
    assert json.loads(run_gateway("certificate", "show", "--json"))["due"] is None
    assert "not due" in run_gateway("certificate", "renew", "--if-due")
    assert _contents() == before
    settings = (ETC / "gateway.yaml").read_text()
    (ETC / "gateway.yaml").write_text(settings.replace('["localhost"]', '["localhost", "gw.example.com"]'))
    assert "does not name gw.example.com" in run_gateway("certificate", "show", status=1)
    assert "the service still uses the old certificate" in run_gateway(
        "certificate", "renew", "--if-due", "--restart", status=1
    )  # without systemd
    after = _contents()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"gateway.yaml", "certificate.pem", "certificate-key.pem"}
    assert certificates.is_due(after["certificate.pem"], ["gw.example.com"], after["ca.pem"]) is None


def test_a_certificate_that_ends_soon_is_an_alert(
    arguments: list[str], server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_gateway(*arguments, typed="s3cret\n")
    monkeypatch.setattr(certificates, "LIFETIME", timedelta(days=30))
    pems = (ETC / "certificate.pem", ETC / "certificate-key.pem")
    renew(ETC / "ca-key.pem", ETC / "ca.pem", ["localhost"], *pems)
    with serving(), psycopg.connect(server.conninfo("iampass"), autocommit=True) as connection:
        alerts = "SELECT fields FROM record WHERE kind = 'alert'"
        ((fields,),) = wait_until(lambda: connection.execute(alerts).fetchall(), "no alert")
    assert fields["reason"].startswith("the gateway's certificate expires in 29 days")
