"""Reports of hosts of logins that they have let in by themselves: their records count for nothing, and are bounded."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest

from pam_iampass.agent.reports import LoginReports
from pam_iampass.client import AuthenticationAPI, Gateways
from pam_iampass.gateway.calls import reports
from pam_iampass.gateway.hosts.hosts import HostStatus
from pam_iampass.gateway.requests.turns import FAMILIAR
from pam_iampass.login.bypass import Bypass, Moment
from pam_iampass.outcome import PamCode
from tests.gateway.test_bypasses import bypass
from tests.gateway.test_codes import new_codes
from tests.gateway.test_joined_host import host, join
from tests.sandbox.signer import Reply
from tests.support.gateway import HOST, HOST_SECRET, HostCaller, RunningGateway
from tests.support.sandbox import Sandbox
from tests.support.setting import ME, Setting
from tests.support.world import wait_until

__all__ = ["host"]

MACHINE = "0123456789abcdef" * 2
NAME = f"name-of-{HOST}"


@pytest.fixture
def gateway(gateway_server: RunningGateway) -> RunningGateway:
    gateway_server.add_person(ME, "token-at-the-gateway")
    return gateway_server


@pytest.fixture
def caller(gateway: RunningGateway, sandbox: Sandbox) -> HostCaller:
    return HostCaller(gateway)


def report(**changes: Any) -> dict[str, Any]:
    return {
        **{
            "login": secrets.token_hex(16),
            "ago": 5,
            "outcome": "exempt",
            "user": "backup",
            "service": "sshd",
        },
        **{"remote": "192.0.2.9", "reason": "exempt: user backup", **changes},
    }


def send(
    caller: HostCaller, *found: Any, machine: str = MACHINE, digest: str = "", headers: Any = None
) -> Reply:
    body = json.dumps({"reports": found}).encode()
    digest = digest or hashlib.sha256(body).hexdigest()
    target = f"/fleet/report/{caller.sandbox.application_id}?body_sha256={digest}&machine={machine}"
    headers = headers or caller.application(target)
    return caller.send("POST", target, {**headers, "Content-Type": "application/json"}, body)


def take(caller: HostCaller, *found: Any) -> None:
    reply = send(caller, *found)
    assert reply.status == 200, reply.body


# From a host that has joined


@pytest.fixture
def queue(host: Setting, gateway: RunningGateway) -> Iterator[LoginReports]:
    """The queue of an agent, with the logins of `host`. Nothing is sent before a test says so."""
    api = AuthenticationAPI(HOST, HOST_SECRET, transport=Gateways([gateway.url], gateway.ca_file))
    found = LoginReports(host.state.database, lambda _config: api)
    host.report = found.add
    yield found
    api.close()


def test_logins_that_needed_no_phone_are_at_the_gateway_too_and_have_one_id(
    host: Setting, gateway: RunningGateway, queue: LoginReports
) -> None:
    join(host, gateway, exempt=f"{{users: [{ME}]}}")
    assert host.login(rhost="192.0.2.9").code == PamCode.IGNORE
    join(host, gateway)
    host.state.bypasses.add(Bypass(ME, os.geteuid(), None, 60.0, Moment.now(), "carol", "4711", False))
    host.login()
    host.state.bypasses.end(ME)
    join(host, gateway)
    assert host.login().code == PamCode.SUCCESS
    host.wait_for_ends()
    assert queue.send()
    ids = [fields["IAMPASS_LOGIN"] for fields in host.records.fields if "IAMPASS_OUTCOME" in fields]
    approved, *reported = (each for each in gateway.records if each.keys() & {"outcome", "reported"})
    assert approved["login"] == ids[-1]
    assert [(each["kind"], each["reported"], each["login"]) for each in reported] == [
        ("report", "exempt", ids[0]),
        ("report", "bypassed", ids[1]),
    ]
    assert (reported[0]["host"], reported[0]["person"], reported[0]["remote"]) == (NAME, ME, "192.0.2.9")


def test_the_bypasses_and_codes_of_the_gateway_are_not_reported_to_it(
    host: Setting, gateway: RunningGateway, queue: LoginReports
) -> None:
    join(host, gateway)
    code = new_codes(gateway, ME)[0]
    assert host.login(answers=(code,), ssh_auth_info="").code == PamCode.SUCCESS
    bypass(gateway, ME)
    assert host.login().code == PamCode.IGNORE
    assert queue.send()
    assert not [each for each in gateway.records if each["kind"] == "report"]


# What a host that was taken over can do


def test_a_report_is_no_decision_and_makes_no_host_familiar(
    gateway: RunningGateway, caller: HostCaller
) -> None:
    take(caller, report(user="alice", outcome="covered", approver="alice", person="bob"))
    (record,) = gateway.records
    assert (record["kind"], record["host"], record["reported"]) == ("report", NAME, "covered")
    assert (record["person"], record["asker"], record["approver"]) == ("alice", "bob", "alice")
    assert "outcome" not in record
    familiar = f"SELECT {FAMILIAR} AS found FROM (SELECT 'alice' AS person, %s AS host_name) AS session"
    assert gateway.rows(familiar, NAME) == [{"found": False}]


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": "approved"},
        {"outcome": "denied"},
        {"outcome": ["exempt"]},
        {"host": "other"},
        {"refused": "start"},
        {"wrong_code": "1"},
        {"what": "throttle_clear"},
        {"login": "x"},
        {"login": 7},
        {"ago": -1},
        {"ago": 1.5},
        {"ago": 10**18},
        {"user": 7},
        {"lost": 0},
        {"lost": True},
    ],
    ids=str,
)
def test_it_can_say_nothing_else(
    gateway: RunningGateway, caller: HostCaller, changes: dict[str, Any]
) -> None:
    reply = send(caller, report(), report(**changes))
    assert (reply.status, reply.json["reason"]) == (400, "BAD_REPORT")
    assert gateway.records == []


def test_its_texts_are_cleaned_and_short(gateway: RunningGateway, caller: HostCaller) -> None:
    take(caller, report(user="a\n\x1b[31m\u202e" + "x" * 500, reason="y" * 999))
    (record,) = gateway.records
    assert record["person"].isprintable()
    assert (len(record["person"]), len(record["reason"])) == (100, 200)


def test_a_login_is_written_once(gateway: RunningGateway, caller: HostCaller) -> None:
    found = report()
    take(caller, found, report(), found)
    take(caller, found)
    assert len(gateway.records) == 2


def test_beyond_its_share_of_an_hour_its_logins_are_only_counted(
    gateway: RunningGateway, caller: HostCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "REPORTS_AN_HOUR", 3)
    take(caller, *(report() for _ in range(5)))
    for _ in range(3):
        take(caller, report(), {"login": secrets.token_hex(16), "ago": 0, "lost": 4})
    *kept, counted = gateway.records
    assert [each["reported"] for each in kept] == ["exempt"] * 3
    assert counted["lost"] == str(2 + 3 * 5)
    gateway.add_host("h-bbbbbbbbbbbb")
    other = HostCaller(gateway)
    other.sandbox.application_id = "h-bbbbbbbbbbbb"
    take(other, report())
    assert gateway.records[-1]["host"] == "name-of-h-bbbbbbbbbbbb"
    gateway.rows("UPDATE record SET at = at - interval '1 hour'")
    other.sandbox.application_id = HOST
    take(other, report())
    assert gateway.records[-1]["reported"] == "exempt"


def test_one_user_of_a_host_leaves_room_in_the_hour_for_others(
    gateway: RunningGateway, caller: HostCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "REPORTS_OF_ONE", 3)
    targets = ("alice", "root", "bob", "carol", "dave")
    take(caller, *(report(user=user, service="su", caller="alice") for user in targets[:2]))
    take(caller, *(report(user=user, service="su", caller="alice") for user in targets[2:]), report())
    take(caller, report(user="alice"), report(user="root"))
    kept = [each["person"] for each in gateway.records if "reported" in each]
    assert kept == ["alice", "root", "bob", "backup", "root"]
    counted = {each["person"]: each["lost"] for each in gateway.records if "lost" in each}
    assert counted == {"alice": "3"}, "whose logins are only counted is named"
    take(caller, report(user="root", caller="alice"), *(report() for _ in range(4)))
    counted = {each["person"]: each["lost"] for each in gateway.records if "lost" in each}
    assert counted == {"alice": "4", "backup": "2"}


def test_parallel_calls_are_counted_one_after_the_other(
    gateway: RunningGateway, caller: HostCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "REPORTS_AN_HOUR", 5)
    gateway.change_host(machine=MACHINE)
    waiting = "SELECT count(*) AS number FROM pg_locks WHERE NOT granted"
    with psycopg.connect(gateway.settings.database) as other, ThreadPoolExecutor(3) as pool:
        other.execute("LOCK TABLE record IN SHARE MODE")  # it can be read meanwhile
        calls = [pool.submit(take, HostCaller(gateway), report(), report(), report()) for _ in range(3)]
        wait_until(lambda: gateway.rows(waiting)[0]["number"] == 3, "not all calls wait")
        other.rollback()
        for call in calls:
            call.result()
    assert len([each for each in gateway.records if "reported" in each]) == 5
    (counted,) = [each for each in gateway.records if "lost" in each]
    assert counted["lost"] == "4"


def test_the_time_of_a_login_is_what_the_host_says_and_counts_for_no_limit(
    gateway: RunningGateway, caller: HostCaller
) -> None:
    take(caller, report(ago=7200), report(ago=10**8))
    now = datetime.now(timezone.utc)
    (early, late) = gateway.rows("SELECT at, said_at FROM record ORDER BY id")
    assert abs(now - early["at"]) < timedelta(minutes=10)
    assert early["at"] - early["said_at"] == timedelta(hours=2)
    assert late["at"] - late["said_at"] == timedelta(days=30)


@pytest.mark.parametrize("status", [HostStatus.SUSPENDED, HostStatus.WAITING])
def test_a_host_that_may_not_ask_reports_nothing(
    gateway: RunningGateway, caller: HostCaller, status: HostStatus
) -> None:
    gateway.change_host(status=status)
    assert send(caller, report()).status == 403
    assert gateway.records == []


def test_another_machine_with_its_key_reports_nothing(gateway: RunningGateway, caller: HostCaller) -> None:
    gateway.change_host(machine="f" * 32)
    assert (send(caller, report()).status, [each["kind"] for each in gateway.records]) == (403, ["alert"])


def test_the_signature_is_for_these_reports_and_for_one_call(
    gateway: RunningGateway, caller: HostCaller
) -> None:
    assert send(caller, report(), digest="0" * 64).json["reason"] == "BAD_DIGEST"
    found = [report()]
    body = json.dumps({"reports": found}).encode()
    target = f"/fleet/report/{HOST}?body_sha256={hashlib.sha256(body).hexdigest()}&machine={MACHINE}"
    headers = caller.application(target)
    assert send(caller, *found, headers=headers).status == 200
    assert send(caller, *found, headers=headers).status == 401
    assert send(caller, *[report() for _ in range(reports.MOST_REPORTS + 1)]).status == 400
    assert len(gateway.records) == 1
