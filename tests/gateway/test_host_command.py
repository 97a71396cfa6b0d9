"""`pam-iampass-gateway host`: invites, and what an administrator does to hosts."""

from __future__ import annotations

import asyncio
import csv
import json
import re
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any, Callable

import psycopg
import pytest

from pam_iampass.gateway.base import settings as gateway_settings
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.database import Database
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import KeyFile
from pam_iampass.gateway.hosts import certificates, hosts
from pam_iampass.gateway.hosts.hosts import Host, HostStatus
from tests.support.gateway_machine import ETC, initialised, run_gateway
from tests.support.postgres import Postgres
from tests.support.world import wait_until


@pytest.fixture(scope="module")
def initialised_server() -> Iterator[Postgres]:
    with initialised(
        "groups:\n  default: {everybody: true}\n  bastion: {everybody: true, admit: true}\n"
    ) as (server, _):
        yield server


@pytest.fixture
def server(initialised_server: Postgres) -> Postgres:
    """PostgreSQL, with an initialised gateway that has no hosts, invites and records."""
    with psycopg.connect(initialised_server.conninfo("iampass")) as connection:
        connection.execute("TRUNCATE host, seen, invite, record, session")
    return initialised_server


def _with_gateway(server: Postgres, use: Callable[[Gateway, Connection], Awaitable[Any]]) -> Any:
    """What a coroutine returns, in a transaction."""
    settings = gateway_settings.load(ETC / "gateway.yaml")

    async def go() -> Any:
        async with (
            Database(server.conninfo("iampass"), connections=1) as database,
            database.transaction() as connection,
        ):
            return await use(Gateway(settings, database, KeyFile(settings.key)), connection)

    return asyncio.run(go())


def add_host(
    server: Postgres,
    name: str,
    status: HostStatus = HostStatus.ACTIVE,
    invite: str = "i-1",
    *,
    group: str = "default",
) -> None:
    """A host that has joined."""
    now = datetime(2026, 11, 27, 12, 0, tzinfo=timezone.utc)
    slowed = now + timedelta(minutes=10) if status is HostStatus.SUSPENDED else None
    admitted = status is not HostStatus.WAITING
    host = Host(hosts.new_id("h"), name, group, "x" * 43, "f" * 32, status, now, invite, slowed, admitted)
    _with_gateway(server, lambda gateway, connection: hosts.add(gateway, connection, host))


def find_host(server: Postgres, name: str) -> Host | None:
    found: Host | None = _with_gateway(
        server, lambda gateway, connection: hosts.named(gateway, connection, name)
    )
    return found


def records(server: Postgres) -> list[tuple[str | None, dict[str, str]]]:
    """Host and fields of each act."""
    with psycopg.connect(server.conninfo("iampass")) as connection:
        return list(
            connection.execute("SELECT host, fields FROM record WHERE kind = 'act' ORDER BY id").fetchall()
        )


def test_an_invite_says_what_to_type_on_the_host(server: Postgres) -> None:
    shown = run_gateway("host", "invite")
    match = re.search(r"^ +pam-iampass join https://localhost:8443 (\S+)$", shown, re.MULTILINE)
    assert match is not None
    id, secret, fingerprint = match[1].split(".")
    assert re.fullmatch("i-[a-z2-7]{12}", id)
    assert re.fullmatch("[A-Za-z0-9_-]{43}", secret)
    assert fingerprint == certificates.fingerprint((ETC / "ca.pem").read_bytes())
    invite = _with_gateway(server, lambda gateway, connection: hosts.find_invite(gateway, connection, id))
    assert (invite.group, invite.uses_left, invite.name, invite.network) == ("default", 1, None, None)
    assert invite.expires_at - invite.made_at == timedelta(hours=1)
    assert invite.secret == secret
    ((host, fields),) = records(server)
    assert (host, fields["what"], fields["invite"]) == (None, "host_invite", id)
    assert fields["caller"]
    assert (fields["until"], fields["reason"]) == (invite.expires_at.isoformat(), "1 host, group default")
    assert f"{invite.expires_at.astimezone():until %Y-%m-%d %H:%M:%S}" in run_gateway("host", "list")
    assert secret not in str(fields)


def test_an_invite_for_a_name_says_the_name(server: Postgres) -> None:
    shown = run_gateway("host", "invite", "--name", "web.example.com")
    assert re.search(r"^ +pam-iampass join \S+ i-\S+ --name web\.example\.com$", shown, re.MULTILINE)


def test_an_invite_is_bound_as_it_was_wanted(server: Postgres) -> None:
    bound = ["--group", "bastion", "--name", "web.example.com", "--network", "192.0.2.0/24"]
    made = json.loads(run_gateway("host", "invite", *bound, "--uses", "3", "--for", "2d", "--json"))
    assert made.pop("invite").startswith(made["id"] + ".")
    assert made.pop("expires")
    assert made == {
        "id": made["id"],
        "url": "https://localhost:8443",
        "group": "bastion",
        "name": "web.example.com",
        "network": "192.0.2.0/24",
        "uses_left": 3,
    }
    listed = json.loads(run_gateway("host", "list", "--json"))
    assert [invite["id"] for invite in listed["invites"]] == [made["id"]]
    assert "in 192.0.2.0/24, group bastion" in run_gateway("host", "list")
    ((host, fields),) = records(server)
    assert host == "web.example.com"
    assert "in 192.0.2.0/24, group bastion" in fields["reason"]


def test_an_invite_can_be_revoked(server: Postgres) -> None:
    made = json.loads(run_gateway("host", "invite", "--json"))
    run_gateway("host", "revoke", made["invite"])
    assert json.loads(run_gateway("host", "list", "--json"))["invites"] == []
    assert "no such invite" in run_gateway("host", "revoke", made["id"], status=1)
    run_gateway("host", "revoke", "--if-exists", made["id"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--group", "web"], 'the group "web" is not in the settings'),
        (["--name", "Web"], "is not a host name in lower case"),
        (["--network", "192.0.2.1/24"], "has bits set"),
        (["--uses", "0"], "0"),
        (["--for", "1"], "is not a duration"),
    ],
)
def test_an_invite_that_makes_no_sense_is_not_made(server: Postgres, arguments: list[str], says: str) -> None:
    assert says in run_gateway("host", "invite", *arguments, status=None)
    assert json.loads(run_gateway("host", "list", "--json"))["invites"] == []


def test_hosts_are_listed_and_shown(server: Postgres) -> None:
    assert "No host has joined" in run_gateway("host", "list")
    add_host(server, "b.example.com")
    add_host(server, "a.example.com", HostStatus.SUSPENDED)
    listed = json.loads(run_gateway("host", "list", "--json"))
    assert [(host["name"], host["status"]) for host in listed["hosts"]] == [
        ("a.example.com", "suspended"),
        ("b.example.com", "active"),
    ]
    shown = run_gateway("host", "show", "a.example.com")
    assert "f" * 32 in shown
    assert "x" * 43 not in shown
    assert run_gateway("host", "list").index("a.example.com") > 0
    with psycopg.connect(server.conninfo("iampass")) as connection:
        connection.execute("UPDATE host SET status = 'active' WHERE name = 'a.example.com'")
    assert "a.example.com: its row was not written by this gateway" in run_gateway("host", "list")
    assert json.loads(run_gateway("host", "list", "--json"))["tampered"] == ["a.example.com"]
    said = run_gateway("host", "resume", "a.example.com", status=1)
    assert "the row of" in said
    assert "was not written by a gateway" in said


def test_the_list_says_when_a_host_was_seen_and_which_were_not_for_a_day(server: Postgres) -> None:
    add_host(server, "web1", group="bastion")
    add_host(server, "web2", HostStatus.SUSPENDED)
    add_host(server, "web3")
    with psycopg.connect(server.conninfo("iampass")) as connection:
        last = "UPDATE seen SET at = now() - interval %s, version = '1.2.3', address = '192.0.2.7' FROM host"
        connection.execute(f"{last} WHERE host.id = host AND name = 'web1'".replace("%s", "'23 hours'"))
        connection.execute(f"{last} WHERE host.id = host AND name = 'web2'".replace("%s", "'25 hours'"))
        for state, ends in (
            ("open", "1 hour"),
            ("queued", "1 hour"),
            ("ended", "1 hour"),
            ("open", "-1 hour"),
        ):
            connection.execute(
                "INSERT INTO session (id, host, person, parameters, methods, state, nothing_sent, approved, began_at,"
                " deadline, waits_until, expires_at, gateway, version, details, mac, host_name)"
                " SELECT gen_random_uuid(), id, 'alice', '', '{}', %s, false, false, now(), now(), now(),"
                " now() + %s::interval, gen_random_uuid(), 1, '{}', '', name FROM host WHERE name = 'web1'",
                (state, ends),
            )

    def listed(*arguments: str) -> list[str]:
        return [
            host["name"] for host in json.loads(run_gateway("host", "list", "--json", *arguments))["hosts"]
        ]

    assert listed("--unseen") == ["web2", "web3"]
    assert listed("--group", "bastion", "--group", "unheard") == ["web1"]
    assert listed("--status", "suspended") == ["web2"]
    assert listed("--status", "active", "--unseen") == ["web3"]
    found = json.loads(run_gateway("host", "show", "web1", "--json"))
    assert (found["seen_within_a_day"], found["version"], found["address"], found["open_logins"]) == (
        *(True, "1.2.3", "192.0.2.7", 2),
    )
    lines = {line.split()[0]: line for line in run_gateway("host", "list").splitlines()}
    assert ("not for a day" in lines["web1"], "not for a day" in lines["web2"]) == (False, True)
    assert lines["web1"].endswith("1.2.3    192.0.2.7  2     -")
    assert "never: not for a day" in lines["web3"]
    assert "no such host" in run_gateway("host", "list", "--group", "unheard")


def test_a_host_is_admitted_suspended_and_resumed(server: Postgres) -> None:
    def status() -> HostStatus:
        host = find_host(server, "web")
        assert host is not None
        return host.status

    add_host(server, "web", HostStatus.WAITING)
    said = run_gateway("host", "resume", "web", status=1)
    assert said == "web is waiting\n    to let it ask: pam-iampass-gateway host admit web\n"
    assert re.search(
        r"Admitted +no: people who log in there approve again on other hosts",
        run_gateway("host", "show", "web"),
    )
    assert re.search(r"web +default +waiting +no ", run_gateway("host", "list"))
    run_gateway("host", "admit", "web", "--id", "", status=2)
    assert "has another id" in run_gateway("host", "admit", "web", "--id", "h-aaaaaaaaaaaa", status=1)
    assert status() is HostStatus.WAITING
    id = json.loads(run_gateway("host", "show", "web", "--json"))["id"]
    run_gateway("host", "admit", "web", "--id", id)
    assert json.loads(run_gateway("host", "show", "web", "--json"))["admitted"] is True
    assert re.search(r"web +default +active +yes ", run_gateway("host", "list"))
    assert status() is HostStatus.ACTIVE
    run_gateway("host", "suspend", "web")
    assert status() is HostStatus.SUSPENDED
    assert "web is suspended" in run_gateway("host", "admit", "web", status=1)
    run_gateway("host", "suspend", "web")  # it is already
    run_gateway("host", "resume", "web")
    assert status() is HostStatus.ACTIVE
    assert [(host, fields["what"], fields.get("reason")) for host, fields in records(server)] == [
        ("web", "host_admit", None),
        ("web", "host_suspend", None),
        ("web", "host_suspend", "it was so before"),
        ("web", "host_resume", None),
    ]


def test_an_administrator_sets_the_addresses_of_a_host(server: Postgres) -> None:
    add_host(server, "web")
    add_host(server, "db")

    def shown(host: str) -> Any:
        return json.loads(run_gateway("host", "show", host, "--json"))["addresses"]

    assert shown("web") == []
    said = run_gateway("host", "addresses", "web", "::ffff:192.0.2.8", "2001:DB8:0::8", "192.0.2.8")
    assert said == "web: 192.0.2.8, 2001:db8::8\n"
    assert shown("web") == ["192.0.2.8", "2001:db8::8"]
    assert re.search(r"Addresses +192\.0\.2\.8, 2001:db8::8\n", run_gateway("host", "show", "web"))
    said = run_gateway("host", "addresses", "db", "192.0.2.9", "192.0.2.8", status=1)
    assert '192.0.2.8 is an address of "web"' in said
    assert shown("db") == []
    for wrong in ("127.0.0.1", "fe80::1", "0.0.0.0", "2001:db8::8%eth0", "224.0.0.1", "web.example.com"):
        assert "only one machine has" in run_gateway("host", "addresses", "web", wrong, status=2)
    for arguments in ((), ("--none", "192.0.2.8")):
        assert "--none" in run_gateway("host", "addresses", "web", *arguments, status=2)
    run_gateway("host", "addresses", "web", "--none")
    assert run_gateway("host", "addresses", "db", "192.0.2.8") == "db: 192.0.2.8\n"
    assert [(host, fields["what"], fields.get("reason")) for host, fields in records(server)] == [
        ("web", "host_addresses", "192.0.2.8, 2001:db8::8"),
        ("web", "host_addresses", "none"),
        ("db", "host_addresses", "192.0.2.8"),
    ]


def test_an_administrator_writes_a_note_on_a_host(server: Postgres) -> None:
    add_host(server, "web")
    note = "=rack 4, ask Zoë"
    assert run_gateway("host", "note", "web", note) == f"web: {note}\n"
    assert run_gateway("host", "list").splitlines()[1].endswith(f"  {note}")
    assert re.search(f"Note +{note}\n", run_gateway("host", "show", "web"))
    assert json.loads(run_gateway("host", "list", "--json"))["hosts"][0]["note"] == note
    heading, row = csv.reader(run_gateway("host", "list", "--csv").splitlines())
    assert (heading[-1], row[-1]) == ("note", f"'{note}"), "for a spreadsheet it is no formula"
    for arguments in ((), (note, "--none")):
        assert "--none" in run_gateway("host", "note", "web", *arguments, status=2)
    assert "one line" in run_gateway("host", "note", "web", "one\ntwo", status=2)
    assert run_gateway("host", "note", "web", "--none") == "web: no note\n"
    assert json.loads(run_gateway("host", "list", "--json"))["hosts"][0]["note"] is None
    assert [(host, fields["what"], fields.get("reason")) for host, fields in records(server)] == [
        ("web", "host_note", note),
        ("web", "host_note", None),
    ]


@pytest.mark.parametrize(
    ("verb", "says"), [(["suspend"], "web is suspended.\n"), (["remove", "--yes"], "web is removed.\n")]
)
def test_a_host_is_suspended_or_removed_while_a_gateway_suspends_it_itself(
    server: Postgres, verb: list[str], says: str
) -> None:
    made = json.loads(run_gateway("host", "invite", "--uses", "5", "--json"))
    add_host(server, "web", invite=made["id"])
    blocked = "SELECT FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
    with (
        psycopg.connect(server.conninfo("iampass")) as gateway,
        psycopg.connect(server.conninfo("iampass"), autocommit=True) as other,
        ThreadPoolExecutor() as pool,
    ):
        gateway.execute("SELECT FROM host WHERE name = 'web' FOR UPDATE")
        command = pool.submit(run_gateway, "host", verb[0], "web", *verb[1:])
        wait_until(lambda: other.execute(blocked).fetchall(), "the command does not wait")
        gateway.execute("SELECT FROM invite WHERE id = %s FOR UPDATE", (made["id"],))
        gateway.commit()
        assert command.result().startswith(says)


def test_a_host_that_is_suspended_before_it_is_admitted_waits_again_when_it_is_resumed(
    server: Postgres,
) -> None:
    add_host(server, "web", HostStatus.WAITING, group="bastion")
    run_gateway("host", "suspend", "web")
    shown = run_gateway("host", "resume", "web")
    assert shown.splitlines() == ["web is waiting.", "To admit it: pam-iampass-gateway host admit web"]
    host = find_host(server, "web")
    assert host is not None
    assert host.status is HostStatus.WAITING
    run_gateway("host", "admit", "web")
    run_gateway("host", "suspend", "web")
    assert run_gateway("host", "resume", "web") == "web is active.\n"


@pytest.mark.parametrize("status", [HostStatus.SUSPENDED, HostStatus.ACTIVE])
def test_a_host_that_is_resumed_is_not_slowed_down_any_more(server: Postgres, status: HostStatus) -> None:
    add_host(server, "web", status)
    slowed = find_host(server, "web")
    assert slowed is not None
    until = datetime(2100, 1, 1, tzinfo=timezone.utc)
    _with_gateway(server, lambda gateway, c: hosts.change(gateway, c, slowed.id, slowed_until=until))
    assert run_gateway("host", "resume", "web") == "web is active.\n"
    host = find_host(server, "web")
    assert host is not None
    assert host.slowed_until is None
    assert "reason" not in records(server)[-1][1], "it is not said that it was so before"


def test_a_host_is_removed_when_that_is_confirmed(server: Postgres) -> None:
    add_host(server, "web")
    assert "--yes" in run_gateway("host", "remove", "web", status=1)
    assert find_host(server, "web") is not None
    run_gateway("host", "remove", "web", "--yes")
    assert find_host(server, "web") is None
    assert [(host, fields["what"]) for host, fields in records(server)] == [("web", "host_remove")]
    assert "There is no host web." in run_gateway("host", "remove", "web", "--if-exists", "--yes")


@pytest.mark.parametrize("verb", [["admit"], ["suspend"], ["resume"], ["remove", "--yes"]])
def test_who_changes_a_host_writes_its_full_name(server: Postgres, verb: list[str]) -> None:
    add_host(server, "web1.example.com")
    for typed in ("web1", "wbe1.example.com"):
        said = run_gateway("host", *verb, typed, status=1)
        assert f"there is no host {typed}" in said
        assert "did you mean web1.example.com?" in said
    assert find_host(server, "web1.example.com") is not None
    assert records(server) == []


def test_who_looks_at_a_host_may_shorten_its_name_as_long_as_only_one_is_meant(server: Postgres) -> None:
    add_host(server, "web1.example.com")
    add_host(server, "web1x.example.com")
    assert json.loads(run_gateway("host", "show", "web1", "--json"))["name"] == "web1.example.com"
    assert "did you mean" not in run_gateway("host", "show", "database", status=1)
    add_host(server, "web1.example.org")
    said = run_gateway("host", "show", "web1", status=1)
    assert "write the full name: web1.example.com, web1.example.org" in said
    add_host(server, "web1")
    assert json.loads(run_gateway("host", "show", "web1", "--json"))["name"] == "web1"


def test_who_is_suspended_may_be_the_other_hosts_of_its_invite_too(server: Postgres) -> None:
    for number in range(13):
        add_host(server, f"web{number:02}", HostStatus.WAITING if number else HostStatus.SUSPENDED)
    add_host(server, "other", invite="i-2")
    named = ", ".join(f"web{number:02}" for number in range(1, 11))
    says = f"{named} and others joined by the same invite: pam-iampass-gateway host suspend NAME\n"
    assert run_gateway("host", "suspend", "web12") == f"web12 is suspended.\n{says}"
    assert run_gateway("host", "suspend", "other") == "other is suspended.\n"


NETWORK = ["--network", "192.0.2.0/24"]


@pytest.mark.parametrize(
    ("verb", "terms"),
    [
        (["suspend"], []),
        (["suspend"], NETWORK),
        (["remove", "--yes"], []),
        (["remove", "--yes"], [*NETWORK, "--name", "web"]),
    ],
)
def test_who_is_suspended_or_removed_cannot_join_again_with_the_same_invite(
    server: Postgres, verb: list[str], terms: list[str]
) -> None:
    made = json.loads(run_gateway("host", "invite", "--uses", "5", *terms, "--json"))
    other = json.loads(run_gateway("host", "invite", "--json"))
    add_host(server, "web", invite=made["id"])
    assert f"{made['id']} is void" in run_gateway("host", verb[0], "web", *verb[1:])
    listed = json.loads(run_gateway("host", "list", "--json"))
    assert [invite["id"] for invite in listed["invites"]] == [other["id"]]
    acts = [(fields["what"], host, fields.get("invite")) for host, fields in records(server)]
    assert ("host_revoke", "web", made["id"]) in acts


@pytest.mark.parametrize(
    ("status", "slowed", "stays"),
    [
        (HostStatus.ACTIVE, False, True),
        (HostStatus.ACTIVE, True, False),
        (HostStatus.WAITING, False, False),
        (HostStatus.SUSPENDED, False, False),
    ],
)
def test_an_invite_for_many_hosts_of_a_network_outlives_one_that_nobody_suspects(
    server: Postgres, status: HostStatus, slowed: bool, stays: bool
) -> None:
    made = json.loads(run_gateway("host", "invite", "--uses", "5", *NETWORK, "--json"))
    add_host(server, "web", status, made["id"])
    if slowed:
        until = datetime(2100, 1, 1, tzinfo=timezone.utc)
        host = find_host(server, "web")
        assert host is not None
        _with_gateway(
            server, lambda gateway, connection: hosts.change(gateway, connection, host.id, slowed_until=until)
        )
    shown = run_gateway("host", "remove", "web", "--yes")
    assert (f"host revoke {made['id']}" in shown, f"{made['id']} is void" in shown) == (stays, not stays)
    listed = json.loads(run_gateway("host", "list", "--json"))["invites"]
    assert [invite["id"] for invite in listed] == ([made["id"]] if stays else [])
