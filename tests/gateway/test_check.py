"""`pam-iampass-gateway check`: each kind of finding from a gateway in which that is wrong."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pam_iampass.gateway.base.database import TIMEOUTS
from pam_iampass.gateway.base.gateway import opened
from pam_iampass.gateway.base.settings import load
from pam_iampass.gateway.base.statements import now
from pam_iampass.gateway.check import disk, examination
from pam_iampass.gateway.check.catalogue import KINDS
from pam_iampass.gateway.cli import in_loop
from pam_iampass.gateway.hosts import certificates, hosts
from pam_iampass.gateway.hosts.certificates import Certified
from pam_iampass.gateway.hosts.hosts import Host, HostStatus
from tests.support.gateway_machine import ETC, SOCKETS, by, initialised, package, run_gateway, serving
from tests.support.postgres import POOLED, Postgres
from tests.support.sandbox import Sandbox

GROUPS = "groups: {servers: {everybody: true}, bastion: {everybody: true, admit: true}}\n"


@pytest.fixture(scope="module")
def machine() -> Iterator[tuple[Postgres, Sandbox]]:
    with initialised(GROUPS) as made, serving():
        yield made


@pytest.fixture
def gateway(machine: tuple[Postgres, Sandbox]) -> Iterator[tuple[Postgres, Sandbox]]:
    """A gateway that serves, and in which all is well. Its files are as before when the test is over."""
    before = {file: file.read_bytes() for file in ETC.iterdir()}
    yield machine
    for file, content in before.items():
        file.write_bytes(content)


def check(*arguments: str, status: int = 1) -> dict[str, dict[str, Any]]:
    """The findings by their kinds, but for those of every gateway here: no backup is made, and there are no people."""
    report = json.loads(run_gateway("check", "--json", *arguments, status=status))
    usual = ("backup-off", "no-people")
    return {finding["id"]: finding for finding in report["findings"] if finding["id"] not in usual}


def sql(statement: str) -> None:
    command = [
        "runuser",
        "-u",
        "postgres",
        "--",
        "psql",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "iampass",
        "-c",
        statement,
    ]
    subprocess.run(command, check=True)


def test_all_is_well(gateway: tuple[Postgres, Sandbox]) -> None:
    shown = run_gateway("check")
    assert "All is well." in shown
    assert "Checked: settings, certificate, service, database, groups, hosts, backup, IAMPASS." in shown
    assert run_gateway("check", "--monitoring").startswith("IAMPASS OK")
    assert run_gateway("check", "--settings") == "All is well.\n"


def test_settings_that_are_wrong(gateway: tuple[Postgres, Sandbox]) -> None:
    with (ETC / "gateway.yaml").open("a") as file:
        file.write("limit: {}\n")
    assert check().keys() == {"settings-error"}
    shown = run_gateway("check", "--settings", status=1)
    assert re.search(
        r"gateway.yaml:[0-9]+: limit: is not a known key\n    did you mean limits\?\n1 error, 0 warnings.\n",
        shown,
    )
    assert json.loads(run_gateway("check", "--settings", "--json", status=1))["problems"][0]["key"] == "limit"
    assert run_gateway("check", "--monitoring", status=2).startswith("IAMPASS CRITICAL")


@pytest.mark.parametrize(
    ("file", "remedy"),
    [
        ("application-secret", "write the application's secret into it"),
        ("key", "restore it from your backup"),
        ("ca.pem", "restore it from your backup"),
        ("certificate.pem", "pam-iampass-gateway init"),
        ("certificate-key.pem", "pam-iampass-gateway init"),
    ],
)
def test_a_file_that_is_missing_or_that_others_can_read(
    gateway: tuple[Postgres, Sandbox], file: str, remedy: str
) -> None:
    mode = (ETC / file).stat().st_mode & 0o777
    (ETC / file).unlink()
    shown = run_gateway("check", "--settings", status=1)
    assert f"{ETC / file} does not exist" in shown
    assert remedy in shown
    (ETC / file).write_text("x")
    (ETC / file).chmod(0o666)
    shown = run_gateway("check", "--settings", status=1)
    right = (
        f"chown root {ETC / file}; chmod go-w"
        if mode == 0o644
        else f"chown root:root {ETC / file}; chmod 0600"
    )
    assert right in shown
    (ETC / file).chmod(mode)


@pytest.mark.parametrize("accepted", ["first", "second"])
def test_a_second_secret_is_mentioned_and_which_one_is_used(
    gateway: tuple[Postgres, Sandbox], accepted: str
) -> None:
    file = ETC / "application-secret"
    good = file.read_text().strip()
    file.write_text(f"{good}\nold\n" if accepted == "first" else f"new\n{good}\n")
    shown = run_gateway("check", "--settings")
    assert f"application_secret_file: warning: {file} has a second line, the previous secret" in shown
    found = check(status=0)["previous-secret-left"]
    assert (found["severity"], found["title"]) == (
        "note",
        f"{file} has two secrets, and IAMPASS accepts the {accepted}",
    )
    assert ("Delete the second line" in found["remedy"]) == (accepted == "first")
    assert good not in shown + str(found)


def test_without_settings(gateway: tuple[Postgres, Sandbox]) -> None:
    (ETC / "gateway.yaml").unlink()
    for words in (["check"], ["check", "--settings"], ["host", "list"]):
        shown = run_gateway(*words, status=1)
        assert f"{ETC / 'gateway.yaml'}" in shown
        assert "pam-iampass-gateway init" in shown


def test_settings_that_do_not_do_what_is_wanted(gateway: tuple[Postgres, Sandbox]) -> None:
    directory = "directory: {url: 'ldaps://ldap.example.com', base: 'dc=example', bind_dn: 'cn=reader'}\n"
    with (ETC / "gateway.yaml").open("a") as file:
        file.write(directory)
    shown = run_gateway("check", "--settings")
    assert "directory-password does not exist: the timer takes nobody from the directory" in shown
    with (ETC / "gateway.yaml").open("a") as file:
        file.write("database: hosst=x\n")
    shown = run_gateway("check", "--settings", status=1)
    assert "is not a connection string" in shown
    assert "hosst" not in shown


def test_certificates(gateway: tuple[Postgres, Sandbox], monkeypatch: pytest.MonkeyPatch) -> None:
    text, ours_now = (ETC / "gateway.yaml").read_text(), (ETC / "certificate.pem").read_bytes()
    (ETC / "gateway.yaml").write_text(text.replace('"localhost"', '"localhost", "gateway.example.com"'))
    found = check()
    assert (
        found["certificate-not-valid"]["title"]
        == "The gateway's certificate does not name gateway.example.com"
    )
    other = certificates.new_certificate(["localhost"], certificates.new_authority("another"))
    (ETC / "certificate.pem").write_bytes(other.certificate)
    assert "is not from the fleet's CA" in check()["certificate-not-valid"]["title"]
    (ETC / "gateway.yaml").write_text(text)
    monkeypatch.setattr(certificates, "LIFETIME", timedelta(days=30))
    ours = Certified((ETC / "ca.pem").read_bytes(), (ETC / "ca-key.pem").read_bytes())
    soon = certificates.new_certificate(["localhost"], ours)
    (ETC / "certificate.pem").write_bytes(soon.certificate)
    (ETC / "certificate-key.pem").write_bytes(soon.key)
    assert "expires in" in check(status=3)["certificate-expires"]["title"]
    (ETC / "certificate.pem").write_text("nonsense")
    assert "cannot be read" in check()["certificate-not-valid"]["title"]
    (ETC / "certificate.pem").write_bytes(ours_now)
    assert "has another key" in check()["certificate-not-valid"]["title"]
    (ETC / "ca.pem").write_text("nonsense")
    assert check().keys() == {"authority-not-valid"}


def test_another_service_and_none(gateway: tuple[Postgres, Sandbox]) -> None:
    _, sandbox = gateway
    text = (ETC / "gateway.yaml").read_text()
    for port, kind in ((sandbox.port, "other-service"), (1, "service-down")):
        (ETC / "gateway.yaml").write_text(f'{text}listen: "127.0.0.1:{port}"\n')
        assert kind in check()


def test_the_database(gateway: tuple[Postgres, Sandbox]) -> None:
    server, _ = gateway
    sql(
        "INSERT INTO person (name, token, groups, source, status, changed_at, mac, invites, had_phone,"
        " phone_to_disable)"
        " VALUES ('mallory', 'x', '{}', 'local', 'active', now(), 'x', true, false, false)"
    )
    found = check()
    assert found.keys() == {"rows-not-ours"}
    assert found["rows-not-ours"]["title"] == "A row was not written by a gateway of this fleet"
    assert found["rows-not-ours"]["evidence"] == "person mallory"
    sql("INSERT INTO recovery VALUES ('mallory', '{}', '{}', now(), NULL, 'x')")
    assert check()["rows-not-ours"]["evidence"] == "person mallory, recovery mallory"
    sql("INSERT INTO step VALUES ('00000000-0000-4000-8000-000000000001', gen_random_uuid(), now(), 'x')")
    sql(
        "INSERT INTO question VALUES ('00000000-0000-4000-8000-000000000002', 'h', 'h', gen_random_uuid(),"
        " 'mallory', '', now(), true, 'x')"
    )
    assert check()["rows-not-ours"]["evidence"].endswith(
        "0001, question 00000000-0000-4000-8000-000000000002"
    )
    sql("DELETE FROM step; DELETE FROM question")
    sql("DELETE FROM person")
    sql("GRANT CONNECT ON DATABASE iampass TO PUBLIC")
    assert check(status=3)["database-open"]["remedy"].endswith("ON DATABASE iampass FROM PUBLIC'")
    sql("REVOKE CONNECT ON DATABASE iampass FROM PUBLIC")
    sql("UPDATE fleet SET restores = 7")
    assert check().keys() == {"database-restored", "rows-not-ours"}
    sql("UPDATE fleet SET restores = 0")
    sql("UPDATE schema_version SET version = 0")
    assert "tables-old" in check()
    sql("UPDATE schema_version SET version = 1")
    for change, told in (
        ("SET synchronous_standby_names = 'db2'", True),
        ("RESET synchronous_standby_names", False),
    ):
        sql(f"ALTER SYSTEM {change}")
        sql("SELECT pg_reload_conf()")
        assert ("commits hang" in str(check(status=int(told)))) is told, "as /readyz says"
    sql('ALTER ROLE "_iampass-gateway" NOLOGIN')
    assert "is not permitted to log in" in check()["database-away"]["title"]
    assert "is not permitted to log in" in run_gateway("host", "list", status=1)
    sql('ALTER ROLE "_iampass-gateway" LOGIN')
    server.stop()
    assert "Is the server running" in check()["database-away"]["title"]
    server.start("-c", f"unix_socket_directories={SOCKETS}")


@pytest.mark.long
def test_a_pooler(gateway: tuple[Postgres, Sandbox]) -> None:
    server = gateway[0]
    with server.pooled(POOLED) as port, (ETC / "gateway.yaml").open("a") as file:
        file.write(f"database: host=127.0.0.1 port={port} user=_iampass-gateway dbname=iampass\n")
        file.flush()
        assert check(status=3)["database-locks"]["title"].endswith(" in PostgreSQL, not 4s")
        for limit, seconds in TIMEOUTS.items():
            sql(f"ALTER ROLE \"_iampass-gateway\" SET {limit} = '{seconds}'")
    try:
        with server.pooled(POOLED) as port:
            text = re.sub("port=[0-9]+", f"port={port}", (ETC / "gateway.yaml").read_text())
            (ETC / "gateway.yaml").write_text(text)
            assert not check(status=0)
    finally:
        sql('ALTER ROLE "_iampass-gateway" RESET ALL')


def test_a_clock(gateway: tuple[Postgres, Sandbox]) -> None:
    command = [*by("+20"), "/usr/bin/python3", "-m", "pam_iampass.gateway.cli"]
    command += ["check", "--json", "--offline"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False, cwd=package())
    assert shown.stdout, shown.stderr
    found = {finding["id"]: finding for finding in json.loads(shown.stdout)["findings"]}
    assert "database-clock" in found, found
    assert re.search(r"is (19|20|21) s behind this machine's", found["database-clock"]["title"])


def add_host(name: str, group: str, status: HostStatus) -> None:
    settings = load(ETC / "gateway.yaml")

    async def go() -> None:
        async with opened(settings) as gateway, gateway.database.transaction() as connection:
            at = await now(connection)
            host = Host(hosts.new_id("h"), name, group, "secret", None, status, at, "i-test")
            await hosts.add(gateway, connection, host)

    in_loop(go())


def test_hosts(gateway: tuple[Postgres, Sandbox]) -> None:
    add_host("web1", "servers", HostStatus.SUSPENDED)
    add_host("bastion1", "bastion", HostStatus.WAITING)
    add_host("web2", "unheard", HostStatus.ACTIVE)
    found = check()
    assert found["hosts-suspended"]["title"] == "web1 is suspended"
    assert found["hosts-waiting"]["title"] == "bastion1 is waiting to be admitted"
    unheard = found["group-without-settings"]
    assert unheard["title"] == "Hosts or invites have the group unheard, which is not in the settings"
    assert unheard["evidence"] == "web2"
    sql("DELETE FROM host")
    text = (ETC / "gateway.yaml").read_text()
    invite = json.loads(run_gateway("host", "invite", "--group", "bastion", "--json"))["id"]
    (ETC / "gateway.yaml").write_text(text.replace("bastion:", "other:"))
    assert check()["group-without-settings"]["evidence"] == f"invite {invite}"
    run_gateway("user", "add", "alice", "--group", "staff")
    (ETC / "gateway.yaml").write_text(text.replace("{everybody: true}", "{people: [stff]}"))
    assert check()["group-of-nobody"]["title"] == "Nobody has the group stff, which the settings name"
    (ETC / "gateway.yaml").write_text(text + "operators: {admin: [it, ops], auditor: []}\n")
    role = check()["role-of-nobody"]
    assert (role["title"], role["evidence"]) == ("Nobody has the role admin", "it, ops")
    (ETC / "gateway.yaml").write_text(text)
    assert check(status=0) == {}
    run_gateway("user", "remove", "alice", "--yes")
    sql("DELETE FROM host")
    sql("DELETE FROM invite")


def test_iampass(gateway: tuple[Postgres, Sandbox]) -> None:
    _, sandbox = gateway
    for seconds, side in ((20.0, "behind"), (-600.0, "ahead of")):
        sandbox.clock_skew = seconds
        found = check()
        assert found.keys() == {"clock-off"}
        assert f" s {side} IAMPASS's" in found["clock-off"]["title"]
    sandbox.clock_skew = 0.0
    text = (ETC / "gateway.yaml").read_text()
    (ETC / "gateway.yaml").write_text(text.replace('application_id: "demo"', "application_id: other"))
    assert "application-unknown" in check()
    (ETC / "gateway.yaml").write_text(text)
    (ETC / "application-secret").write_text("wrong\n")
    assert "401" in check()["iampass-fails"]["title"]
    assert check("--offline", status=0) == {}


def test_every_kind_is_found_by_a_test_here() -> None:
    told = "".join(
        Path(__file__).with_name(f"test_{name}.py").read_text("utf-8")
        for name in ("check", "portal_command", "backup", "full_disk")
    )
    elsewhere = {"database-plain"}  # no database on another machine here
    elsewhere |= {
        "acts-down",
        "acts-socket",
        "passkeys-of-nobody",
        "portal-settings",
    }  # test_acts_process.py, test_acts_socket.py, packages/test_portal.py
    assert [kind for kind in KINDS if f'"{kind}"' not in told and kind not in elsewhere] == []
    code = "".join(Path(str(each.__file__)).read_text("utf-8") for each in (examination, disk))
    assert [kind for kind in KINDS if f'"{kind}"' not in code] == []
