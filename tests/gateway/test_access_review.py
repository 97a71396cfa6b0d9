"""`pam-iampass-gateway user may --all`: who may log in to which hosts, and why."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest

from pam_iampass.fleet.act import Role
from pam_iampass.fleet.people import AccessRow
from pam_iampass.gateway.acts.access import by_group, review, show_access
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.settings import load
from pam_iampass.gateway.base.statements import now
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import Host, HostStatus
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person, PersonStatus
from pam_iampass.gateway.sign_in.actors import Actor
from pam_iampass.text import csv_cell
from tests.packages.typed_page import TypedPage
from tests.support.folders import put
from tests.support.gateway_command import GatewayCommand

_HOSTS = {
    "web1": ("servers", HostStatus.ACTIVE),
    "web2": ("servers", HostStatus.ACTIVE),
    "web3": ("servers", HostStatus.SUSPENDED),
    "db1": ("db", HostStatus.ACTIVE),
    "new1": ("open", HostStatus.WAITING),
    "old1": ("gone", HostStatus.ACTIVE),
}
_GROUPS = "groups: {servers: {people: [staff, ops]}, db: {people: ['=dba']}, open: {everybody: true}}\n"


@pytest.fixture
def fleet(gateway_command: GatewayCommand) -> GatewayCommand:
    """Six hosts, and people of each kind."""
    text = gateway_command.config.read_text().partition("groups:")[0]
    put(gateway_command.config, text + _GROUPS)

    async def fill(gateway: Gateway, connection: Connection) -> None:
        at = await now(connection)
        for name, (group, status) in _HOSTS.items():
            host = Host(hosts.new_id("h"), name, group, "secret", None, status, at, "i-test")
            await hosts.add(gateway, connection, host)
        for name, groups in (
            ("alice", ("staff", "ops")),
            ("bob", ()),
            ("=dora", ("=dba",)),
            ("eve", ("staff",)),
        ):
            await people.add(gateway, connection, Person(name, f"token of {name}", groups, "=1+1"))
        await people.add(gateway, connection, Person("carl", "c", ("=dba",), status=PersonStatus.LEAVING))
        await people.add(gateway, connection, Person("mallory", "m"))
        await people.change(gateway, connection, "eve", phone_to_disable=True)

    gateway_command.transaction(fill)
    gateway_command.rows("UPDATE person SET groups = '{staff}' WHERE name = 'mallory'")
    return gateway_command


def test_everybody_is_listed_with_the_hosts_of_each_group_that_admits_them_and_the_reason(
    fleet: GatewayCommand,
) -> None:
    found = fleet.told("user", "may", "--all", status=1)
    assert [(each["group"], each["status"], each["admits"], each["hosts"]) for each in found["hosts"]] == [
        ("db", "active", ["=dba"], ["db1"]),
        ("gone", "active", [], ["old1"]),
        ("open", "waiting", "everybody", ["new1"]),
        ("servers", "active", ["ops", "staff"], ["web1", "web2"]),
        ("servers", "suspended", ["ops", "staff"], ["web3"]),
    ]
    told = {
        each["user"]: [(row["group"], row["may"], row["why"]) for row in each["hosts"]]
        for each in found["users"]
    }
    waits = ("open", False, ["everybody is admitted", "the hosts wait to be admitted"])
    staff, suspended = "in the group staff", "the hosts are suspended"
    lost = "the phone was reported lost, and IAMPASS has not disabled it yet"
    assert told == {
        "alice": [
            waits,
            ("servers", True, ["in the groups ops, staff"]),
            ("servers", False, ["in the groups ops, staff", suspended]),
        ],
        "bob": [waits],
        "=dora": [("db", True, ["in the group =dba"]), waits],
        "eve": [
            ("open", False, ["everybody is admitted", lost, waits[2][1]]),
            ("servers", False, [staff, lost]),
            ("servers", False, [staff, lost, suspended]),
        ],
        "carl": [
            ("db", False, ["in the group =dba", "has left the directory"]),
            ("open", False, ["everybody is admitted", "has left the directory", waits[2][1]]),
        ],
        "mallory": [],
    }
    assert found["not_included"].startswith("Accounts that a host lets in by its own settings")
    (row,) = [each for each in found["users"] if each["user"] == "mallory"]
    assert row["status"] == "tampered"
    assert not found["ok"]


def test_it_says_the_same_of_each_person_and_host_as_for_one(fleet: GatewayCommand) -> None:
    found = fleet.told("user", "may", "--all", status=1)
    groups = {(each["group"], each["status"]): each["hosts"] for each in found["hosts"]}
    for person in found["users"]:
        if person["status"] == "tampered":
            continue
        may = {host for row in person["hosts"] if row["may"] for host in groups[row["group"], row["status"]]}
        for host in _HOSTS:
            status = 0 if host in may else 1
            assert fleet.told("user", "may", person["user"], host, status=status)["may"] is not bool(status)


def test_a_terminal_shows_hosts_people_and_what_is_not_in_the_list(fleet: GatewayCommand) -> None:
    shown = fleet.said("user", "may", "--all", status=1)
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "servers active 2 ops, staff web1, web2" in lines
    assert "gone active 1 nobody old1" in lines
    assert "alice staff, ops servers 2 yes in the groups ops, staff" in lines
    assert "bob - open 1 no everybody is admitted; the hosts wait to be admitted" in lines
    assert "mallory ? - - no was not written by a gateway: cannot log in" in lines
    assert "5 users, 6 hosts." in lines
    assert "Accounts that a host lets in by its own settings" in shown


def test_no_cell_of_the_csv_can_begin_a_formula(fleet: GatewayCommand) -> None:
    status, output, errors = fleet.run("user", "may", "--all", "--csv")
    rows = list(csv.DictReader(io.StringIO(output, newline=""), strict=True))
    assert status == 1
    assert [(row["user"], row["host_group"], row["hosts"], row["may"]) for row in rows][:3] == [
        ("'=dora", "db", "1", "yes"),
        ("'=dora", "open", "1", "no"),
        ("alice", "open", "1", "no"),
    ]
    assert rows[0]["groups"] == "'=dba"
    assert [row["why"] for row in rows if row["user"] == "mallory"] == [
        "was not written by a gateway: cannot log in"
    ]
    assert "Accounts that a host lets in by its own settings" in errors
    listed = csv.DictReader(io.StringIO(fleet.said("host", "list", "--csv"), newline=""))
    first = next(listed)
    assert (first["name"], first["group"], first["status"]) == ("db1", "db", "active")


@pytest.mark.parametrize("begins", ["=", "+", "-", "@", "\t=", "\r=", "\n=", "\t1", "\r1", "＝", "\0="])
@pytest.mark.parametrize("ahead", ["", "x;", "x,", 'x"', "x\t", "x|", "x; "])
def test_text_of_a_cell_begins_a_formula_nowhere_whichever_character_separates(
    begins: str, ahead: str
) -> None:
    cell = csv_cell(f"{ahead}{begins}1+1")
    assert cell.isprintable()
    for separator in ("\n", ";", ",", '"', "|"):
        for piece in cell.split(separator):
            assert piece.lstrip()[:1] not in tuple("=+-@＝＋－＠"), cell


def test_the_page_about_it(fleet: GatewayCommand) -> None:
    section = TypedPage("docs/fleet/fleet-people.md").sections["Who can log in where"]
    typed = [each for each in section if "--all" in each or "--csv" in each]
    shown, access, listed = (fleet.run(*shlex.split(each.partition(" > ")[0])[1:])[1] for each in typed)
    assert shown.startswith("GROUP ")
    assert access.startswith("user,status,groups,host_group,host_status,hosts,may,why\r\n")
    assert listed.startswith("name,group,status,")


def test_one_person_or_all_but_not_both(fleet: GatewayCommand) -> None:
    for words in (
        ("alice", "web1", "--all"),
        ("alice",),
        (),
        ("--csv", "alice", "web1"),
        ("--all", "--csv", "--json"),
    ):
        assert "Usage:" in fleet.said("user", "may", *words, status=2)


def test_people_are_decided_by_group_and_shown_as_they_come(gateway_command: GatewayCommand) -> None:
    """10,000 people and 1,000 hosts are not ten million rows, and no row waits for the others."""
    settings = load(gateway_command.config)
    at = datetime.now(timezone.utc)
    everything = by_group(
        settings,
        [
            Host(f"h-{n}", f"web{n}", "servers", "secret", None, HostStatus.ACTIVE, at, "i-test")
            for n in range(1_000)
        ],
    )
    read = 0

    def everybody() -> Iterator[Person]:
        nonlocal read
        for read in range(1, 10_001):
            yield Person(f"p{read}", "token", ("staff",))

    rows = review(everybody(), (), everything)
    assert next(rows)["user"] == "p1"
    assert read == 1
    assert sum(1 for _ in rows) == 9_999


@pytest.mark.parametrize("role", Role)
def test_auditors_and_admins_read_in_the_portal_what_root_reads_and_nobody_else_does(
    fleet: GatewayCommand, role: Role
) -> None:
    by = Actor("zoe", frozenset({Role.SELF, role}), "sign-in", helps=frozenset({"staff", "ops", "=dba"}))

    def read(after: str) -> tuple[list[AccessRow], bool]:
        found: Any = fleet.transaction(
            lambda gateway, connection: show_access(gateway, connection, by, "", after, 2)
        )
        return found[0], found[1]

    if role in (Role.SELF, Role.HELPDESK):
        assert read("") == ([], False)
        return
    found, more = list[AccessRow](), True
    while more:
        rows, more = read(found[-1]["user"] if found else "")
        found += [row for row in rows if row not in found]
    told = {row["user"]: row for row in fleet.told("user", "may", "--all", status=1)["users"]}
    assert {row["user"]: row for row in found} == told
    assert len(told) == 6
