"""Bypasses at a gateway: who is let in without the phone, on which hosts, and what an attacker cannot make of one."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pam_iampass.gateway.base import metrics, records
from pam_iampass.gateway.base.records import Filter
from pam_iampass.gateway.base.settings import GroupSettings
from pam_iampass.gateway.check import restored
from pam_iampass.gateway.hosts.hosts import HostStatus
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import PersonStatus
from pam_iampass.gateway.requests import bypasses
from tests.gateway.test_codes import Named
from tests.support.gateway import HOST, HostCaller, RunningGateway, new_request_id
from tests.support.gateway_command import GatewayCommand
from tests.support.sandbox import Sandbox

HERE = f"name-of-{HOST}"
OTHER = "h-bbbbbbbbbbbb"


def bypass(gateway: RunningGateway, person: str = "alice", seconds: float = 600, **terms: Any) -> None:
    gateway.transaction(
        lambda g, c: bypasses.add(g, c, person=person, seconds=seconds, made_by="root", **terms)
    )


def let_in(caller: HostCaller, person: str = "alice", service: str = "sshd", **parameters: str) -> bool:
    """Whether the answer to a start lets the person in; else a phone rings, or the reason is another one."""
    once = new_request_id()
    told = caller.ask(person, once, service=service, **parameters).authentication
    if told.get("reason") != "BYPASSED":
        if "status_url" in told:
            caller.end(told)
        return False
    assert told["authenticated"] is False
    assert told["bypassed"]["request_id"] == once
    assert int(told["bypassed"]["nonce"]) >= 0
    return True


def test_a_bypassed_person_needs_no_phone_until_it_is_over_or_removed(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    bypass(gateway_server, reason="ticket 4711")
    assert let_in(caller, remote="192.0.2.7")
    assert not sandbox.sessions
    (record,) = gateway_server.records
    assert (record["outcome"], record["person"], record["remote"]) == ("bypassed", "alice", "192.0.2.7")
    assert record["reason"] == "by root: ticket 4711"
    assert let_in(caller, service="sudo", command="sudo id (in /)")
    assert gateway_server.records[-1]["command"] == "sudo id (in /)"
    assert not let_in(caller, "bob")
    assert gateway_server.transaction(lambda _, c: bypasses.remove(c, "alice")) == 1
    assert not let_in(caller)
    bypass(gateway_server, seconds=-1)
    assert not let_in(caller)


@pytest.mark.parametrize(
    ("terms", "service", "holds"),
    [
        ({"services": ("sudo",)}, "sudo", True),
        ({"services": ("sudo",)}, "sudo-i", True),
        ({"services": ("sudo", "su")}, "sshd", False),
        ({"hosts": (HERE,)}, "sshd", True),
        ({"hosts": ("web1.example.com",)}, "sshd", False),
        ({"host_groups": ("servers",)}, "sshd", True),
        ({"host_groups": ("bastion",)}, "sshd", False),
        ({"hosts": ("web1.example.com",), "host_groups": ("servers",)}, "sshd", True),
    ],
)
def test_it_is_for_services_hosts_and_groups(
    gateway_server: RunningGateway, caller: HostCaller, terms: dict[str, Any], service: str, holds: bool
) -> None:
    bypass(gateway_server, **terms)
    assert let_in(caller, service=service) is holds


def test_no_host_of_a_group_that_forbids_it_hears_of_one(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    bypass(gateway_server, hosts=(HERE,))
    gateway_server.gateway.settings = replace(
        gateway_server.settings, groups={"servers": GroupSettings(everybody=True, bypasses=False)}
    )
    assert not let_in(caller)


def test_it_lets_nobody_in_who_may_not_log_in_there(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    bypass(gateway_server)
    gateway_server.change_host(status=HostStatus.SUSPENDED)
    assert not let_in(caller)
    gateway_server.change_host(status=HostStatus.ACTIVE)
    gateway_server.gateway.settings = replace(
        gateway_server.settings, groups={"servers": GroupSettings(people=frozenset(["staff"]))}
    )
    assert not let_in(caller)
    gateway_server.gateway.settings = gateway_server.settings
    assert let_in(caller)
    gateway_server.gateway.restored = True
    assert not let_in(caller)
    gateway_server.gateway.restored = False
    gateway_server.transaction(lambda g, c: people.change(g, c, "alice", status=PersonStatus.REMOVING))
    assert not let_in(caller)
    gateway_server.transaction(lambda g, c: people.remove(g, c, "alice"))
    gateway_server.add_person("alice", "token-of-alice")
    assert not let_in(caller), "it was the former alice's"


def test_a_second_person_who_is_bypassed_is_asked(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    bypass(gateway_server)
    assert not let_in(caller, asker="bob")
    assert sandbox.sessions[0].user == "token-of-alice"


def test_a_start_without_an_id_and_one_whose_phone_rings_already_are_not_bypassed(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    once = new_request_id()
    begun = caller.ask("alice", once, service="sshd").authentication
    bypass(gateway_server)
    assert caller.ask("alice", once, service="sshd").authentication == begun
    caller.end(begun)
    assert "status_url" in caller.start("alice").authentication


def test_the_database_makes_and_prolongs_none(gateway_server: RunningGateway, caller: HostCaller) -> None:
    bypass(gateway_server, hosts=("web1.example.com",))
    gateway_server.rows("UPDATE bypass SET hosts = '{}'")
    assert not let_in(caller)
    gateway_server.rows("DELETE FROM bypass")
    bypass(gateway_server, "bob")
    gateway_server.rows("UPDATE bypass SET person = 'alice'")
    assert not let_in(caller)
    gateway_server.rows("DELETE FROM bypass")
    bypass(gateway_server, seconds=60)
    gateway_server.rows("UPDATE bypass SET ends_at = ends_at + interval '1 hour'")
    assert not let_in(caller)
    assert gateway_server.transaction(bypasses.listing)[1] == 1


def test_a_database_whose_clock_was_set_back_prolongs_none(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    bypass(gateway_server, seconds=600)
    wall_clock = gateway_server.gateway.clock
    later = datetime.now(timezone.utc) + timedelta(seconds=901)
    gateway_server.gateway.clock = lambda: later.timestamp()
    found, _ = gateway_server.transaction(bypasses.listing)
    assert found == []
    gateway_server.gateway.clock = wall_clock
    assert let_in(caller)


def test_many_logins_do_not_fill_the_records_but_each_is_counted_and_an_administrator_is_told(
    gateway_server: RunningGateway, caller: HostCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "REFUSALS_A_MINUTE", 3)

    def total() -> float:
        name = "iampass_gateway_decisions_total"
        labels = [{"outcome": "bypassed", "service": each} for each in ("sshd", "other")]
        return sum(metrics.REGISTRY.get_sample_value(name, each) or 0 for each in labels)

    before = total()
    bypass(gateway_server)
    bypass(gateway_server, "bob")
    assert all(let_in(caller) for _ in range(7))
    assert all(let_in(caller, "bob") for _ in range(2))
    found = gateway_server.records
    assert [(each["kind"], each["person"], each.get("lost")) for each in found] == [
        *[("decision", "alice", None)] * 3,
        ("decision", "alice", "4"),
        ("alert", "alice", None),
        ("decision", "bob", "2"),
    ]
    assert "need no phone" in found[4]["reason"]
    assert total() == before + 9
    shown = gateway_server.transaction(lambda _, connection: records.by_hour(connection, Filter()))
    assert sum(shown.values()) == 9
    # The next minute has numbers of its own.
    gateway_server.rows("UPDATE record SET at = at - interval '1 minute'")
    assert let_in(caller)
    assert (len(gateway_server.records), gateway_server.records[-1].get("lost")) == (7, None)


def test_it_holds_on_every_host_at_once_and_goes_when_an_old_copy_is_confirmed(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    gateway_server.add_host(OTHER)
    other = HostCaller(Named(gateway_server, OTHER))
    bypass(gateway_server)
    assert let_in(caller)
    assert let_in(other)
    assert gateway_server.transaction(restored.confirm) == [
        "all invites, sign-ins at the portal, and links that register passkeys",
        "the bypasses of alice",
    ]
    assert not let_in(caller)


# The command


def test_the_command_makes_lists_and_removes_them(gateway_command: GatewayCommand) -> None:
    run = gateway_command
    run.said("user", "add", "alice")
    assert run.said("bypass", "list") == "Nobody is bypassed.\n"
    shown = run.said("bypass", "alice", "--for", "15m", "--reason", "ticket 4711")
    assert shown.startswith(
        "alice can log in without the phone for 15 minutes, through all services, on all hosts."
    )
    run.said("bypass", "alice", "--for", "1h", "--reason", "again")
    run.said("bypass", "alice", "--for", "2h", "--service", "sudo", "--group", "servers")
    first, second = run.told("bypass", "list")["bypasses"]
    assert (first["reason"], first["services"], first["hosts"]) == ("again", [], [])
    assert (second["services"], second["groups"]) == (["sudo"], ["servers"])
    assert "group servers" in run.said("bypass", "list")
    assert run.said("bypass", "end", "alice") == "The phone of alice is asked again.\n"
    assert run.told("bypass", "end", "alice") == {"user": "alice", "ended": 0}
    acts = [(what, person) for what, person, _ in run.records]
    assert acts[1:] == [("bypass", "alice")] * 3 + [("bypass_end", "alice")] * 2


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("nobody", "--for", "1h"), "is not known here"),
        (("alice", "--for", "25h"), "longer than a day"),
        (("alice", "--for", "1h", "--host", "web1.example.com"), "there is no host web1.example.com"),
        (("alice", "--for", "1h", "--group", "web"), "is not in the settings"),
        (("alice",), "--for"),
    ],
)
def test_the_command_refuses_what_would_hold_nowhere(
    gateway_command: GatewayCommand, arguments: tuple[str, ...], what: str
) -> None:
    gateway_command.said("user", "add", "alice")
    status, output, errors = gateway_command.run("bypass", *arguments)
    assert status in (1, 2)
    assert what in output + errors
    assert gateway_command.rows("SELECT 1 FROM bypass") == []
