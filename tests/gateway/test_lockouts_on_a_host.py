"""`setup` and `check` on a host of a gateway say who would be locked out, before it happens."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from pam_iampass.setup import join
from tests.gateway.test_nothing_sent import closed_port
from tests.support.agent import RunningAgent
from tests.support.command import run_command
from tests.support.gateway_machine import initialised, run_gateway, serving
from tests.support.installation import ETC, install, write
from tests.support.terminal import ENVIRONMENT

GROUPS = """\
groups:
  web: {people: [staff]}
  db: {people: [dba], admit: true}
"""
ACCOUNTS = ("anna", "dave", "emil")
HOST = "web1.example.com"


@pytest.fixture(scope="module", autouse=True)
def gateway() -> Iterator[None]:
    """A gateway, and an account of this machine for everybody: anna and emil are staff, and emil has no phone."""
    install()
    for name in ACCOUNTS:
        subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", name], check=True)
    with initialised(GROUPS) as (_, sandbox), serving(), RunningAgent() as agent:
        agent.wake()
        for name, group in (("emil", "staff"), ("dave", "dba")):
            run_gateway("user", "add", name, "--group", group)
        shown = run_gateway("enroll", "anna", "--group", "staff", "--no-wait")
        link = re.search(r"https://\S+/register/\S+", shown)
        assert link is not None, shown
        sandbox.open_link(link[0])
        yield
    for name in ACCOUNTS:
        subprocess.run(["userdel", "--remove", name], check=True, capture_output=True)


@pytest.fixture
def host() -> Iterator[str]:
    """This machine is a host of the group web."""
    write(ETC / "iampass.yaml", "application_id: demo\n")
    write(ETC / "application-secret", "s3cret\n")
    joined("web")
    yield HOST
    run_gateway("host", "remove", HOST, "--yes")
    database = ["psql", "-q", "iampass", "-c", "DELETE FROM record"]  # its limit
    subprocess.run(["runuser", "-u", "postgres", "--", *database], check=True)
    for file in (join.JOINED, join.LEAVING, join.SECRET_FILE, join.CA_FILE):
        file.unlink(missing_ok=True)


def joined(group: str) -> None:
    invite = json.loads(run_gateway("host", "invite", "--group", group, "--json"))["invite"]
    done = run_command("join", "https://localhost:8443", invite, "--name", HOST)
    assert done.returncode == 0, done.stderr


def setup(*services: str, who: str, status: int = 1) -> str:
    """What `setup` says to this administrator; it changes nothing."""
    done = run_command("setup", *services, "--dry-run", environment={**ENVIRONMENT, "SUDO_USER": who})
    assert (done.returncode, done.stderr) == (status, ""), done.stdout + done.stderr
    return done.stdout


def check(*arguments: str, who: str = "anna") -> dict[str, dict[str, Any]]:
    """The findings by their kinds."""
    done = run_command("check", "--json", *arguments, environment={**ENVIRONMENT, "SUDO_USER": who})
    assert done.stdout, done.stderr
    return {found["id"]: found for found in json.loads(done.stdout)["findings"]}


def test_an_administrator_of_other_hosts_would_be_locked_out(host: str) -> None:
    told = setup("sudo", who="dave")
    assert "error     sudo: the gateway says that dave may not log in here: dave would be locked out" in told
    assert f"pam-iampass-gateway user may dave {host}" in told
    assert "To set it up anyway, use --force" in told
    assert f"no: {host} is of the group web" in run_gateway("user", "may", "dave", host, status=1)


def test_an_administrator_without_a_phone_would_be_locked_out(host: str) -> None:
    told = setup("sudo", "su", who="emil")
    for service in ("sudo", "su"):
        assert f"error     {service}: no phone is registered for emil: emil would be locked out" in told
    assert "at the gateway: pam-iampass-gateway enroll emil" in told


def test_others_who_would_be_locked_out_are_named_and_stop_nothing(host: str) -> None:
    told = setup("sudo", who="anna", status=0)
    assert "ok        sudo: anna is asked on the phone\n" in told
    (warned,) = [
        line for line in told.splitlines() if line.startswith("warning") and "may not log in here" in line
    ]
    assert "dave" in warned
    assert "root" not in warned  # whom sudo does not ask
    assert "no phone is registered for these, and they would be locked out: emil" in told
    told = setup("su", who="anna", status=0)
    assert re.search("may not log in here, and they would be locked out: .*root", told)


def test_whoever_is_exempt_is_locked_out_of_nothing(host: str) -> None:
    write(ETC / "iampass.yaml", "application_id: demo\nexempt: {users: [root, dave, emil]}\n")
    told = setup("su", who="anna", status=0)
    for name in ("root", "dave", "emil"):
        assert not re.search(f"warning.*{name}", told)
    assert "dave passes without the phone" in setup("su", who="dave", status=0)


def test_a_host_that_is_not_served_is_not_set_up(host: str) -> None:
    run_gateway("host", "suspend", host)
    told = setup("sudo", who="anna")
    assert f"error     the gateway: {host} is suspended: everybody who is asked would be locked out" in told
    assert f"at the gateway: pam-iampass-gateway host resume {host}" in told
    run_gateway("host", "remove", host, "--yes")
    run_command("leave", "--force")
    joined("db")
    told = setup("sudo", who="dave")
    assert (
        f"error     the gateway: {host} waits to be admitted: everybody who is asked would be locked out"
        in told
    )
    assert f"at the gateway: pam-iampass-gateway host admit {host}" in told
    assert "Nothing was changed" in told


def test_where_the_gateway_cannot_be_reached_setup_goes_on_and_says_so(host: str) -> None:
    joined_file = join.JOINED.read_text()
    join.JOINED.write_text(joined_file.replace(":8443", f":{closed_port()}"))
    told = setup("sudo", who="dave", status=0)
    assert "warning   the gateway was not asked who may log in here: " in told
    assert "sudo: dave is asked on the phone, if the gateway knows this name" in told
    join.JOINED.write_text(joined_file)


def test_check_says_who_may_not_log_in_here_and_who_has_no_phone(host: str) -> None:
    found = check()
    outside = found["users-not-on-this-host"]
    assert outside["severity"] == "note"
    assert {"root", "dave"} <= set(re.split("[ ,:]+", outside["title"]))
    assert outside["remedy"] == f"At the gateway: pam-iampass-gateway user may USER {host}"
    assert found["no-device"]["title"] == "No phone is registered for emil"
    assert check("anna").keys().isdisjoint({"users-not-on-this-host", "no-device"})
    assert check("dave")["users-not-on-this-host"]["title"].endswith(": dave")
    assert "people asked" in run_gateway("log")


def test_check_warns_the_caller(host: str) -> None:
    sudo = ETC.parent / "pam.d/sudo"
    before = sudo.read_text()
    try:
        done = run_command("setup", "sudo", "--force", environment={**ENVIRONMENT, "SUDO_USER": "anna"})
        assert done.returncode == 0, done.stdout
        assert (
            "dave, cannot log in the next time: the gateway says" in check(who="dave")["lockout-you"]["title"]
        )
        assert "no phone" in check(who="emil")["lockout-you"]["title"]
        assert "lockout-you" not in check()
        assert check("dave", who="dave")["users-not-on-this-host"]["severity"] == "error"
        assert check("emil", who="dave")["no-device"]["severity"] == "error"
    finally:
        run_command("setup", "undo")
        sudo.write_text(before)
