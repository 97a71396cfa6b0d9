"""Who can log in where: the groups in the settings match those of hosts and people, and nobody else gets in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.records import Kind
from pam_iampass.gateway.base.settings import GroupSettings
from pam_iampass.gateway.base.statements import now
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import Host, HostStatus
from tests.support.gateway import HostCaller, RunningGateway
from tests.support.gateway_command import GatewayCommand
from tests.support.gateway_machine import ETC, initialised, run_gateway, serving
from tests.support.sandbox import HttpStatus

MISTYPED = "groups:\n  default: {everybody: true}\n  web: {people: [stff]}\n  db: {people: [dba]}\n"
OPERATORS = """
portal: {origin: https://iampass.example.com}
operators: {admin: [it], auditor: [sec, it], helpdesk: {people: [desk], helps: [stff]}}
self_service: [it]
"""
NOBODY = "Nobody has the group {}, which the settings name"


@pytest.fixture(scope="module")
def machine() -> Iterator[None]:
    """A gateway as `init` leaves it, and alice, who is in the group staff."""
    with initialised():
        run_gateway("user", "add", "alice", "--group", "staff")
        yield


@pytest.fixture
def file(machine: None) -> Iterator[Path]:
    """Its settings, which are as before when the test is over."""
    settings = ETC / "gateway.yaml"
    before = settings.read_bytes()
    yield settings
    settings.write_bytes(before)
    settings.chmod(0o644)


def configure(file: Path, groups: str) -> None:
    """Put these groups in place of the one that `init` has written."""
    text = file.read_text()
    assert text.count("\ngroups:\n  default: {everybody: true}\n") == 1
    file.write_text(text.replace("groups:\n  default: {everybody: true}\n", groups))


def test_init_says_that_all_people_can_log_in_to_the_first_hosts(file: Path) -> None:
    assert run_gateway("check", "--settings") == "All is well.\n"
    assert "group default" in run_gateway("host", "invite")
    refused = run_gateway("host", "invite", "--group", "web", status=1)
    assert refused.startswith('the group "web" is not in the settings; there is default\n')


def test_before_anybody_was_added_no_group_is_wrong(file: Path) -> None:
    configure(file, MISTYPED)
    with file.open("a") as more:
        more.write(OPERATORS)
    run_gateway("user", "remove", "alice", "--yes")
    try:
        assert run_gateway("check", "--settings") == "All is well.\n"
        with serving():
            shown = run_gateway("check", "--json", status=None)
    finally:
        run_gateway("user", "add", "alice", "--group", "staff")
    found = [each for each in json.loads(shown)["findings"] if each["subject"] != "portal"]
    assert [(each["id"], each["severity"]) for each in found] == [
        ("no-people", "note"),
        ("backup-off", "note"),
    ]


def test_a_group_that_nobody_has_is_an_error_that_the_files_do_not_show(file: Path) -> None:
    configure(file, MISTYPED)
    assert run_gateway("check", "--settings") == "All is well.\n"
    with serving():
        found = found_by_check()
    assert [(each["id"], each["severity"], each["subject"], each["title"]) for each in found] == [
        ("group-of-nobody", "error", "groups.web.people", NOBODY.format("stff")),
        ("group-of-nobody", "error", "groups.db.people", NOBODY.format("dba")),
    ]
    assert "--group dba" in found[1]["remedy"]
    run_gateway("user", "add", "bob", "--group", "dba")
    run_gateway("user", "add", "carol", "--group", "stff")
    with serving():
        assert "All is well." in run_gateway("check")
    for name in ("bob", "carol"):
        run_gateway("user", "remove", name, "--yes")


def test_a_role_or_a_group_of_operators_that_nobody_has_is_an_error(
    file: Path,
) -> None:
    with file.open("a") as more:
        more.write(OPERATORS)
    run_gateway("user", "add", "bob", "--group", "sec")
    with serving():
        found = found_by_check()
    of_groups = [each for each in found if each["subject"] != "portal"]  # which nobody serves here
    assert [(each["severity"], each["subject"], each["title"]) for each in of_groups] == [
        ("error", "operators.admin, operators.auditor, self_service", NOBODY.format("it")),
        ("error", "operators.helpdesk.people", NOBODY.format("desk")),
        ("error", "operators.helpdesk.helps", NOBODY.format("stff")),
        ("error", "operators", "Nobody has the role admin"),
        ("error", "operators", "Nobody has the role helpdesk"),
    ]
    for name, group in (("carol", "it"), ("dave", "desk"), ("erin", "stff")):
        run_gateway("user", "add", name, "--group", group)
    with serving():
        assert "of-nobody" not in run_gateway("check", status=None)
    for name in ("bob", "carol", "dave", "erin"):
        run_gateway("user", "remove", name, "--yes")


def test_hosts_and_invites_of_a_group_without_settings_are_seen(file: Path) -> None:
    invite = json.loads(run_gateway("host", "invite", "--json"))["id"]
    configure(file, "groups: {web: {people: [staff]}}\n")
    with serving():
        (found,) = found_by_check()
    assert (found["id"], found["severity"], found["subject"]) == (
        "group-without-settings",
        "error",
        "groups.default",
    )
    assert f"invite {invite}" in found["evidence"]
    run_gateway("host", "revoke", invite)


def test_a_group_that_admits_nobody_is_a_warning(file: Path) -> None:
    configure(file, "groups: {web: {admit: true}}\n")
    assert "groups.web: warning: admits nobody: all logins to its hosts are denied" in run_gateway(
        "check", "--settings"
    )


def test_the_files_are_checked_without_the_database(file: Path) -> None:
    with file.open("a") as more:
        more.write("database: host=127.0.0.1 port=1 dbname=iampass\n")
    text = file.read_text().replace('database: "', '# database: "')
    file.write_text(text)
    assert (
        run_gateway("check", "--settings") == run_gateway("check", "--config", str(file)) == "All is well.\n"
    )
    assert json.loads(run_gateway("check", "--settings", "--json"))["ok"]
    (away,) = (each for each in found_by_check() if each["id"] != "service-down")
    assert away["id"] == "database-away"


# The files, with the eyes of the service


@pytest.fixture
def authority(file: Path) -> Iterator[Path]:
    """The CA certificates for IAMPASS, in a folder of their own."""
    folder = Path("/etc/iampass-authorities")
    folder.mkdir()
    ca = folder / "ca.pem"
    ca.write_bytes(Path("/etc/sandbox-ca.pem").read_bytes())
    text = file.read_text()
    assert '"/etc/sandbox-ca.pem"' in text
    file.write_text(text.replace("/etc/sandbox-ca.pem", str(ca)))
    yield ca
    ca.unlink()
    folder.rmdir()


def found_by_check() -> list[dict[str, Any]]:
    """The findings but for that about backups: none is made here."""
    found = json.loads(run_gateway("check", "--json", status=1))["findings"]
    return [each for each in found if each["id"] != "backup-off"]


def found_by(option: str = "--settings") -> str:
    """What `check` says of the service's files, which are an error."""
    return run_gateway("check", option, status=1)


@pytest.mark.parametrize("option", ["--settings", "--offline"])
def test_a_file_that_only_root_can_read_is_an_error(authority: Path, option: str) -> None:
    assert run_gateway("check", "--settings") == "All is well.\n"
    authority.chmod(0o600)
    shown = found_by(option)
    assert "1 error, 0 warnings." in shown
    assert f"server_ca_file: {authority} cannot be read by _iampass-gateway" in shown
    assert f"chmod 0644 {authority}" in shown
    authority.chmod(0o644)
    authority.parent.chmod(0o700)
    shown = found_by(option)
    assert f"server_ca_file: {authority.parent} cannot be entered by _iampass-gateway" in shown
    assert f"chmod o+x {authority.parent}" in shown
    assert "cannot load certificate authorities" in run_gateway("host", "list", status=1)


def test_a_group_of_the_account_may_read_a_file(authority: Path) -> None:
    authority.chmod(0o640)
    os.chown(authority, 0, os.stat("/etc/shadow").st_gid)
    assert "cannot be read" in found_by()
    groups = Path("/etc/group")
    before = groups.read_text()
    try:
        groups.write_text(before.replace("shadow:x:42:", "shadow:x:42:_iampass-gateway"))
        assert run_gateway("check", "--settings") == "All is well.\n"
    finally:
        groups.write_text(before)


def test_settings_that_the_service_cannot_read_are_an_error_and_init_stops_before_it_starts_it(
    file: Path,
) -> None:
    file.chmod(0o600)
    assert f"{file} cannot be read by _iampass-gateway" in found_by()
    shown = run_gateway("init", "--secret-file", "-", status=1)
    assert f"{file} cannot be read by _iampass-gateway" in shown
    assert "Done." not in shown


def test_what_systemd_does_not_show_or_pass_to_the_service_is_an_error(file: Path) -> None:
    text = file.read_text()
    hidden, key = Path("/home/iampass-ca.pem"), Path("/etc/iampass-key")
    hidden.write_bytes(Path("/etc/sandbox-ca.pem").read_bytes())
    key.write_bytes((ETC / "key").read_bytes())
    key.chmod(0o600)
    try:
        file.write_text(text.replace("/etc/sandbox-ca.pem", str(hidden)))
        assert f"server_ca_file: {hidden} is below /home, which the service does not see" in found_by()
        file.write_text(f"{text}key_file: {key}\n")
        shown = found_by()
        who = "systemd, which does not answer here, by the units as they are installed,"
        assert f"key_file: {who} passes nothing to the service under this name, not {key}" in shown
        assert f"LoadCredential=iampass-key:{key}" in shown
    finally:
        hidden.unlink()
        key.unlink()


# People


def test_a_group_that_no_host_admits_is_named_when_a_person_is_added(gateway_command: GatewayCommand) -> None:
    shown = gateway_command.said("user", "add", "frank", "--group", "staf")
    assert "Warning: no group of hosts in gateway.yaml admits the group staf." in shown
    assert "nobody may log in to any host" in shown
    shown = gateway_command.said("user", "add", "frank", "--group", "staff", "--group", "oncal", "--replace")
    assert "admits the group oncal." in shown
    assert "any host" not in shown
    assert "Warning" not in gateway_command.said("user", "add", "grace", "--group", "staff")
    file = gateway_command.csv("heidi,,,staf", "ivan,,,staf|staff", "judy,,,staff")
    shown = gateway_command.said("enroll", "--from", file)
    assert shown.count("admits the group staf.") == 2
    with gateway_command.config.open("a") as more:
        more.write(OPERATORS)
    shown = gateway_command.said("user", "add", "kim", "--group", "desk", "--group", "dsk")
    assert "admits the group dsk." in shown
    assert "admits the group desk." not in shown


def add_host(command: GatewayCommand, name: str, group: str, status: HostStatus = HostStatus.ACTIVE) -> None:
    async def go(gateway: object, connection: object) -> None:
        at = await now(connection)  # type: ignore[arg-type]
        host = Host(hosts.new_id("h"), name, group, "secret", None, status, at, "i-test")
        await hosts.add(gateway, connection, host)  # type: ignore[arg-type]

    command.transaction(go)


def test_the_command_says_whether_a_person_may_log_in_to_a_host_or_why_not(
    gateway_command: GatewayCommand,
) -> None:
    gateway_command.said("user", "add", "alice", "--group", "staff")
    gateway_command.said("user", "add", "bob", "--group", "dba")
    add_host(gateway_command, "web1", "servers")
    add_host(gateway_command, "web2", "servers", HostStatus.SUSPENDED)
    add_host(gateway_command, "lost1", "default", HostStatus.WAITING)

    def may(person: str, host: str, status: int) -> str:
        return gateway_command.said("user", "may", person, host, status=status)

    assert may("alice", "web1", 0).startswith("yes\n")
    of_web1 = "web1 is of the group servers, which admits the groups staff"
    assert may("bob", "web1", 1).startswith(f"no: {of_web1}; bob has groups dba\n")
    assert may("alice", "web2", 1).startswith("no: web2 is suspended: pam-iampass-gateway host resume web2\n")
    assert may("alice", "lost1", 1).startswith(
        "no: lost1 is of the group default, which is not in gateway.yaml;"
        " lost1 waits to be admitted: pam-iampass-gateway host admit lost1\n"
    )
    assert '"nobody" is not known here' in may("nobody", "web1", 2)
    assert "there is no host web9" in may("alice", "web9", 2)
    told = gateway_command.told("user", "may", "alice", "web1")
    assert (told["may"], told["why"]) == (True, [])
    gateway_command.sandbox.misbehave("lost_device", HttpStatus(503), times=None)
    gateway_command.said("phone", "lost", "alice", "--yes", status=1)
    assert "reported lost, and IAMPASS has not disabled it yet" in may("alice", "web1", 1)
    gateway_command.rows("UPDATE schema_version SET version = 0")
    assert "run pam-iampass-gateway migrate" in may("alice", "web1", 2)


def test_the_command_says_why_the_last_logins_were_denied_and_which_command_mends_it(
    gateway_command: GatewayCommand,
) -> None:
    gateway_command.said("user", "add", "alice", "--group", "staff")
    add_host(gateway_command, "web1", "servers")
    add_host(gateway_command, "web2", "servers", HostStatus.SUSPENDED)

    def causes(host: str, status: int) -> list[tuple[str, str]]:
        told = gateway_command.told("user", "may", "alice", host, status=status)
        return [(row["cause"], row["command"]) for row in told["denials"]]

    async def deny(_: object, connection: Connection) -> None:
        fields = {
            "outcome": "no_device",
            "reason": "NO_MOBILE_DEVICE",
            "service": "sshd",
            "remote": "192.0.2.7",
        }
        await records.write(connection, Kind.DECISION, host="web1", person="alice", **fields)

    assert causes("web1", 0) == [("NO_REQUEST", "")]
    assert causes("web2", 1)[0] == ("HOST_SUSPENDED", "pam-iampass-gateway host resume web2")
    gateway_command.transaction(deny)
    assert causes("web1", 0) == [("NO_MOBILE_DEVICE", "pam-iampass-gateway enroll alice")]
    shown = gateway_command.said("user", "may", "alice", "web1")
    assert "sshd from 192.0.2.7: IAMPASS had no phone of the person." in shown
    assert "\n    pam-iampass-gateway enroll alice\n" in shown


# A login


@pytest.mark.parametrize(
    "groups", [{}, {"servers": GroupSettings()}, {"other": GroupSettings(everybody=True)}]
)
def test_a_group_that_does_not_say_for_whom_admits_nobody(
    gateway_server: RunningGateway, caller: HostCaller, groups: dict[str, GroupSettings]
) -> None:
    gateway_server.gateway.settings = replace(gateway_server.settings, groups=groups)
    assert caller.ask("alice").authentication["reason"] == "NOT_ON_THIS_HOST"


def test_default_is_a_group_like_any_other(gateway_server: RunningGateway, caller: HostCaller) -> None:
    gateway_server.change_host(group_name="default")
    assert caller.ask("alice").authentication["reason"] == "NOT_ON_THIS_HOST"
    everybody = {"default": GroupSettings(everybody=True)}
    gateway_server.gateway.settings = replace(gateway_server.settings, groups=everybody)
    assert caller.ask("alice").status == 202


def test_a_person_of_other_hosts_and_a_name_that_nobody_has_read_the_same(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    staff = {"servers": GroupSettings(people=frozenset({"staff"}))}
    gateway_server.gateway.settings = replace(gateway_server.settings, groups=staff)
    told = [caller.ask(name).authentication for name in ("alice", "nobody")]
    assert told[0] == told[1]
    assert told[0]["reason"] == "NOT_ON_THIS_HOST"
    assert told[0]["refusal"]["message"] == "You may not log in here. Please ask your administrator."
    # The gateway's administrator reads which it was.
    assert [record["reason"] for record in gateway_server.records] == ["NOT_ON_THIS_HOST", "UNKNOWN_USER"]
