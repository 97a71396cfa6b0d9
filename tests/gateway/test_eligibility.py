"""A host asks beforehand who may log in there: it hears of its own people only, seldom, and each call is recorded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from pam_iampass.client import Gateways, ManagementAPI
from pam_iampass.client.application import PersonAtGateway
from pam_iampass.gateway.base.settings import GroupSettings
from pam_iampass.gateway.calls import eligibility
from pam_iampass.gateway.hosts.hosts import HostStatus
from tests.sandbox.signer import Reply
from tests.support.gateway import HOST, HOST_SECRET, HostCaller, RunningGateway
from tests.support.sandbox import Hang, Sandbox

MACHINE = "0123456789abcdef" * 2
NOT_HERE = {"may": False}


@pytest.fixture(autouse=True)
def staff(gateway_server: RunningGateway) -> None:
    """The hosts are for staff: alice and carol, who has no phone. bob is in another group."""
    gateway_server.rows("DELETE FROM person")
    for name, group in (("alice", "staff"), ("carol", "staff"), ("bob", "dba")):
        gateway_server.add_person(name, f"token-of-{name}", (group,))
    groups = {"servers": GroupSettings(people=frozenset({"staff"}))}
    gateway_server.gateway.settings = replace(gateway_server.settings, groups=groups)


def send(caller: HostCaller, *names: Any, machine: str = MACHINE, digest: str = "") -> Reply:
    body = json.dumps({"names": names}).encode()
    digest = digest or hashlib.sha256(body).hexdigest()
    target = f"/fleet/people/{caller.sandbox.application_id}?body_sha256={digest}&machine={machine}"
    return caller.send(
        "POST", target, {**caller.application(target), "Content-Type": "application/json"}, body
    )


def told(caller: HostCaller, *names: str) -> Any:
    reply = send(caller, *names)
    assert reply.status == 200, reply.body
    return reply.json["people"]


def test_it_hears_who_may_log_in_and_who_of_these_has_a_phone(gateway_server: RunningGateway) -> None:
    gateways = Gateways([gateway_server.url], gateway_server.ca_file)
    api = ManagementAPI(HOST, HOST_SECRET, transport=gateways)
    assert api.people(["alice", "carol", "bob", "nobody"], MACHINE) == {
        "alice": PersonAtGateway(True, True),
        "carol": PersonAtGateway(True, False),
        "bob": PersonAtGateway(False),
        "nobody": PersonAtGateway(False),
    }
    api.close()
    (record,) = gateway_server.records
    assert (record["kind"], record["what"], record["host"]) == ("act", "people_asked", f"name-of-{HOST}")
    assert record["reason"] == "who may log in there: 2 of 4: alice, carol, bob, nobody"


def test_it_learns_no_name_of_other_hosts(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    gateway_server.rows("UPDATE person SET status = 'leaving' WHERE name = 'carol'")
    before = len(sandbox.calls)
    found = told(
        caller, "bob", "carol", "nobody", "token-of-alice", "Alice", "a/b", "x" * 300, "\ud800", "\0"
    )
    assert set(map(json.dumps, found.values())) == {json.dumps(NOT_HERE)}
    assert len(sandbox.calls) == before
    assert "alert" not in [record["kind"] for record in gateway_server.records]


def test_a_row_that_no_gateway_has_written_does_not_count(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    gateway_server.rows("UPDATE person SET groups = '{staff}' WHERE name = 'bob'")
    assert told(caller, "bob", "nobody") == {"bob": NOT_HERE, "nobody": NOT_HERE}
    assert "alert" in [record["kind"] for record in gateway_server.records]


def test_everybody_may_log_in_where_the_settings_say_so_and_nobody_without_settings(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    settings = gateway_server.gateway.settings
    gateway_server.gateway.settings = replace(settings, groups={"servers": GroupSettings(everybody=True)})
    assert told(caller, "bob", "nobody") == {"bob": {"may": True, "phone": True}, "nobody": NOT_HERE}
    gateway_server.gateway.settings = replace(settings, groups={"servers": GroupSettings()})
    assert told(caller, "alice", "bob") == {"alice": NOT_HERE, "bob": NOT_HERE}
    gateway_server.gateway.settings = replace(settings, groups={})
    assert told(caller, "alice", "bob") == {"alice": NOT_HERE, "bob": NOT_HERE}


def test_its_calls_and_the_names_in_them_are_few(gateway_server: RunningGateway, caller: HostCaller) -> None:
    names = [f"name{number}" for number in range(eligibility.MOST_NAMES)]
    assert send(caller, *names, "one-more").reason == "TOO_MANY_NAMES"
    for _ in range(eligibility.CALLS_A_MINUTE):
        assert told(caller, *names)["name0"] == NOT_HERE
    for _ in range(3):
        refused = send(caller, "alice")
        assert (refused.status, refused.reason) == (403, "HOST_THROTTLED")
    gateway_server.rows("UPDATE record SET at = at - interval '2 minutes'")
    assert told(caller, "alice")["alice"]["may"]
    records = gateway_server.records
    assert (
        len([record for record in records if record.get("what") == "people_asked"])
        == eligibility.CALLS_A_MINUTE + 1
    )
    (alert,) = [record for record in records if record["kind"] == "alert"]
    assert "it may be looking for names" in alert["reason"]


def test_in_an_hour_they_are_few_too(
    gateway_server: RunningGateway, caller: HostCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eligibility, "CALLS_AN_HOUR", 2)
    for minutes in (50, 20):
        told(caller, "alice")
        gateway_server.rows(
            f"UPDATE record SET at = now() - interval '{minutes} minutes' WHERE at > now() - interval '1 minute'"
        )
    assert send(caller, "alice").reason == "HOST_THROTTLED"
    gateway_server.rows("UPDATE record SET at = at - interval '15 minutes'")
    assert told(caller, "alice")["alice"]["may"]


@pytest.mark.parametrize(
    ("status", "reason"),
    [(HostStatus.WAITING, "HOST_NOT_ADMITTED"), (HostStatus.SUSPENDED, "HOST_SUSPENDED")],
)
def test_a_host_that_may_not_ask_hears_nothing(
    gateway_server: RunningGateway, caller: HostCaller, status: HostStatus, reason: str
) -> None:
    gateway_server.change_host(status=status)
    assert send(caller, "alice").reason == reason
    assert gateway_server.records == []


def test_another_machine_with_its_key_hears_nothing(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    told(caller, "alice")
    assert send(caller, "alice", machine="f" * 32).reason == "WRONG_MACHINE"


def test_the_signature_is_for_these_names_and_for_one_call(caller: HostCaller) -> None:
    assert send(caller, "alice", digest=hashlib.sha256(b"other").hexdigest()).reason == "BAD_DIGEST"
    assert send(caller, 7).reason == "BAD_BODY"
    body = json.dumps({"names": ["alice"]}).encode()
    target = f"/fleet/people/{HOST}?body_sha256={hashlib.sha256(body).hexdigest()}&machine={MACHINE}"
    headers = {**caller.application(target), "Content-Type": "application/json"}
    assert caller.send("POST", target, headers, body).status == 200
    assert caller.send("POST", target, headers, body).status == 401


def test_where_iampass_does_not_answer_it_is_not_known_who_has_a_phone(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eligibility, "_SECONDS", 0.5)
    sandbox.misbehave("has_device", Hang(), times=None)
    assert told(caller, "alice", "bob") == {"alice": {"may": True, "phone": None}, "bob": NOT_HERE}
