"""Recovery codes of the fleet: each is good once, for one person, on one host, and used before the host is answered."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest

from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection, UnknownOutcome
from pam_iampass.gateway.base.database import Database
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import KeyFile
from pam_iampass.gateway.base.reasons import Reason
from pam_iampass.gateway.base.records import Kind
from pam_iampass.gateway.base.settings import GroupSettings
from pam_iampass.gateway.base.statements import one
from pam_iampass.gateway.calls import codes
from pam_iampass.gateway.check import restored
from pam_iampass.gateway.hosts.hosts import HostStatus
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import PersonStatus
from pam_iampass.login import recovery
from tests.sandbox.signer import Reply
from tests.support.gateway import HOST, HostCaller, RunningGateway, new_request_id
from tests.support.world import PATIENCE

OTHER = "h-bbbbbbbbbbbb"
MACHINE = "0123456789abcdef" * 2


def new_codes(
    gateway: RunningGateway, name: str = "alice", *, number: int = 10, hours: int | None = None
) -> list[str]:
    async def renew(inner: Gateway, connection: Connection) -> list[str]:
        person = await people.find(inner, connection, name)
        assert person is not None
        made = await codes.renew(inner, connection, person, number=number, hours=hours)
        return [code.replace("-", "") for code in made]

    return gateway.transaction(renew)


def left(gateway: RunningGateway, name: str = "alice") -> int:
    found = gateway.transaction(lambda g, c: codes.stored(g, c, name))
    return 0 if found is None else found.used_at.count(None)


def send(caller: HostCaller, person: str, code: str, **parameters: str) -> Reply:
    body = json.dumps({"code": code}).encode()
    given = {"request_id": new_request_id(), "body_sha256": hashlib.sha256(body).hexdigest(), **parameters}
    target = f"/fleet/recover/{caller.sandbox.application_id}/{person}?{urlencode(given)}"
    headers = {**caller.application(target), "Content-Type": "application/json"}
    return caller.send("POST", target, headers, body)


def answer(caller: HostCaller, person: str, code: str, **parameters: str) -> Any:
    """How many codes are left, or why this one was refused."""
    reply = send(caller, person, code, **parameters)
    assert reply.status == 200, reply.body
    told = reply.json["recovery"]
    assert told["accepted"] is ("left" in told)
    return told["left"] if told["accepted"] else told["reason"]


def test_a_code_lets_in_once_and_each_redemption_is_an_alert(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    alices = new_codes(gateway_server)
    assert answer(caller, "alice", alices[3], service="sshd", remote="192.0.2.7") == 9
    assert answer(caller, "alice", alices[3]) == "WRONG_CODE"
    assert answer(caller, "alice", alices[4]) == 8
    decision, alert, denied, *_ = gateway_server.records
    assert (decision["outcome"], decision["person"], decision["remote"]) == (
        "recovered",
        "alice",
        "192.0.2.7",
    )
    assert (alert["kind"], alert["host"]) == ("alert", f"name-of-{HOST}")
    assert alert["reason"] == "a recovery code of alice was redeemed: 9 are left"
    assert (denied["outcome"], denied["reason"]) == ("denied", "wrong recovery code")
    assert sum(each["kind"] == "alert" for each in gateway_server.records) == 2


def test_two_hosts_with_one_code_at_one_moment_and_one_gets_in(
    gateway_server: RunningGateway,
) -> None:
    gateway_server.gateway.settings = replace(
        gateway_server.settings, limits=replace(gateway_server.settings.limits, wrong_codes_per_hour=20)
    )
    alices = new_codes(gateway_server)
    gateway_server.add_host(OTHER)
    both = [HostCaller(Named(gateway_server, host)) for host in (HOST, OTHER)]
    with ThreadPoolExecutor(2) as pool:
        for place, code in enumerate(alices):
            answers = pool.map(lambda each, code=code: answer(each, "alice", code), both)
            assert set(answers) == {9 - place, "WRONG_CODE"}


class Named:
    """The gateway as another host calls it."""

    def __init__(self, gateway: RunningGateway, host: str) -> None:
        self.port, self.ca_file, self.url = gateway.port, gateway.ca_file, gateway.url
        self.application_id, self.application_secret = host, gateway.application_secret


def test_a_database_whose_clock_was_set_back_prolongs_no_code(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    (code,) = new_codes(gateway_server, number=1, hours=12)
    wall_clock = gateway_server.gateway.clock
    gateway_server.gateway.clock = lambda: wall_clock() + 13 * 3600
    assert left(gateway_server) == 0
    # The call of a host is refused with this clock for the time of its signature.
    asked = codes.AskedCode("alice", code, new_request_id(), None, time.monotonic() + PATIENCE, {})
    assert gateway_server.run(codes.redeem(gateway_server.gateway, HOST, asked)) is Reason.WRONG_CODE
    gateway_server.gateway.clock = wall_clock
    assert answer(caller, "alice", code) == 0


def test_a_code_is_one_persons(gateway_server: RunningGateway, caller: HostCaller) -> None:
    alices, _ = new_codes(gateway_server), new_codes(gateway_server, "bob")
    assert answer(caller, "bob", alices[0]) == "WRONG_CODE"
    assert answer(caller, "dave", alices[0]) == "WRONG_CODE"
    assert (left(gateway_server), left(gateway_server, "bob")) == (10, 10)


def test_new_codes_replace_the_old_ones(gateway_server: RunningGateway, caller: HostCaller) -> None:
    old, _ = new_codes(gateway_server), new_codes(gateway_server)
    assert answer(caller, "alice", old[0]) == "WRONG_CODE"


def test_the_codes_go_with_the_person_and_a_later_one_of_the_name_has_none(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    alices = new_codes(gateway_server)
    (row,) = gateway_server.rows("SELECT * FROM recovery")
    gateway_server.transaction(lambda g, c: people.change(g, c, "alice", status=PersonStatus.REMOVING))
    assert answer(caller, "alice", alices[0]) == "WRONG_CODE"
    gateway_server.transaction(lambda g, c: people.remove(g, c, "alice"))
    assert gateway_server.rows("SELECT * FROM recovery") == []
    gateway_server.add_person("alice", "another-token")
    # Also if an attacker with the database puts them back.
    columns = ", ".join(row)
    gateway_server.rows(
        f"INSERT INTO recovery ({columns}) VALUES ({', '.join(['%s'] * len(row))})", *row.values()
    )
    assert answer(caller, "alice", alices[0]) == "WRONG_CODE"


def test_a_group_whose_hosts_redeem_none_says_so_for_every_name_and_looks_at_no_code(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    alices = new_codes(gateway_server)
    gateway_server.gateway.settings = replace(
        gateway_server.settings, groups={"servers": GroupSettings(everybody=True, codes=False)}
    )
    for name in ("alice", "bob", "nobody"):
        assert answer(caller, name, alices[0]) == "CODES_NOT_HERE"
    assert left(gateway_server) == 10
    (alert,) = gateway_server.records
    assert alert["reason"] == "recovery codes of this host are not looked at: CODES_NOT_HERE"


@pytest.mark.parametrize(
    ("status", "reason"),
    [(HostStatus.SUSPENDED, "HOST_SUSPENDED"), (HostStatus.WAITING, "HOST_NOT_ADMITTED")],
)
def test_a_host_that_may_not_ask_redeems_nothing(
    gateway_server: RunningGateway, caller: HostCaller, status: HostStatus, reason: str
) -> None:
    alices = new_codes(gateway_server)
    gateway_server.change_host(status=status)
    assert answer(caller, "alice", alices[0]) == reason
    assert left(gateway_server) == 10


def test_another_machine_with_the_credential_redeems_nothing(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    alices = new_codes(gateway_server)
    gateway_server.change_host(machine=MACHINE)
    assert answer(caller, "alice", alices[0]) == "WRONG_MACHINE"
    assert answer(caller, "alice", alices[0], machine=MACHINE) == 9


def test_a_host_of_other_people_redeems_nothing(gateway_server: RunningGateway, caller: HostCaller) -> None:
    alices = new_codes(gateway_server)
    gateway_server.gateway.settings = replace(
        gateway_server.settings, groups={"servers": GroupSettings(people=frozenset(["staff"]))}
    )
    assert answer(caller, "alice", alices[0]) == "WRONG_CODE"
    assert left(gateway_server) == 10


# Limits


def test_wrong_codes_are_few_for_a_person_from_an_address_and_for_a_host(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    alices = new_codes(gateway_server)
    for _ in range(5):
        assert answer(caller, "alice", "0" * 16, remote="192.0.2.66") == "WRONG_CODE"
    refused = send(caller, "alice", alices[0], remote="192.0.2.66").json["recovery"]
    assert refused["reason"] == "TOO_MANY_CODES"
    assert 3500 < refused["refusal"]["retry_after"] <= 3600
    assert answer(caller, "alice", alices[0], remote="192.0.2.7") == 9

    async def guess(_: Gateway, connection: Connection) -> None:
        for number in range(95):
            fields = {"remote": f"192.0.2.{number}", "wrong_code": "1", "outcome": "denied"}
            person = f"person-{number}"
            await records.write(connection, Kind.DECISION, host=f"name-of-{HOST}", person=person, **fields)

    gateway_server.transaction(guess)
    assert answer(caller, "alice", alices[1], remote="192.0.2.7") == "TOO_MANY_CODES"
    gateway_server.add_host(OTHER)
    other = HostCaller(Named(gateway_server, OTHER))
    assert answer(other, "alice", alices[1]) == 8


def test_wrong_codes_for_one_person_leave_others_theirs(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    alices, bobs = new_codes(gateway_server), new_codes(gateway_server, "bob")
    for number in range(4):
        for _ in range(5):
            assert answer(caller, "alice", "0" * 16, remote=f"192.0.2.{number}") == "WRONG_CODE"
    assert answer(caller, "alice", alices[0], remote="192.0.2.7") == "TOO_MANY_CODES"
    assert answer(caller, "bob", bobs[0], remote="192.0.2.7") == 9


def test_parallel_guesses_of_a_host_are_counted(gateway_server: RunningGateway, caller: HostCaller) -> None:
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: answer(caller, "alice", "0" * 16), range(10)))
    assert sorted(answers) == ["TOO_MANY_CODES"] * 5 + ["WRONG_CODE"] * 5


def test_a_host_learns_no_name_by_codes(gateway_server: RunningGateway, caller: HostCaller) -> None:
    new_codes(gateway_server)
    for name in ("alice", "bob", "nobody"):
        answers = [answer(caller, name, "0" * 16) for _ in range(6)]
        assert answers == ["WRONG_CODE"] * 5 + ["TOO_MANY_CODES"]


# The database


def test_the_database_holds_no_code_and_nothing_that_was_changed_counts(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    alices, bobs = new_codes(gateway_server), new_codes(gateway_server, "bob")
    assert answer(caller, "alice", alices[0]) == 9
    told = str([gateway_server.rows(f"SELECT * FROM {table}") for table in ("recovery", "record")])
    for code in (*alices, *bobs):
        assert code not in told
        assert recovery.shown(code) not in told
    token = "token-of-alice"
    assert KeyFile(bytes(32)).code(token, alices[1]) != gateway_server.gateway.keys.code(token, alices[1])

    gateway_server.rows(
        "UPDATE recovery SET used_at = array_fill(NULL::timestamptz, ARRAY[10]) WHERE person = 'alice'"
    )
    assert answer(caller, "alice", alices[0]) == "WRONG_CODE"
    assert answer(caller, "alice", alices[1]) == "WRONG_CODE"
    gateway_server.rows("DELETE FROM recovery WHERE person = 'alice'")
    gateway_server.rows("UPDATE recovery SET person = 'alice' WHERE person = 'bob'")
    assert answer(caller, "alice", bobs[0]) == "WRONG_CODE"
    alerts = [each["reason"] for each in gateway_server.records if each["kind"] == "alert"]
    assert alerts[1:] == ["recovery: a row was not written by this gateway"]


def test_an_old_copy_of_the_database_redeems_nothing_and_its_codes_are_void_once_it_is_confirmed(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    alices = new_codes(gateway_server)
    (before,) = gateway_server.rows("SELECT * FROM recovery")
    assert answer(caller, "alice", alices[0]) == 9
    gateway_server.run(restored.look(gateway_server.gateway))
    # The copy of before. The gateway has not looked since.
    gateway_server.rows("DELETE FROM record")
    gateway_server.rows("ALTER TABLE record ALTER COLUMN id RESTART")
    gateway_server.rows("DELETE FROM recovery")
    columns = ", ".join(before)
    gateway_server.rows(
        f"INSERT INTO recovery ({columns}) VALUES ({', '.join(['%s'] * len(before))})", *before.values()
    )
    assert not gateway_server.gateway.restored
    assert answer(caller, "alice", alices[0]) == "RESTORED"
    gateway_server.gateway.restored = True
    assert answer(caller, "alice", alices[1]) == "RESTORED"
    assert left(gateway_server) == 10

    void = gateway_server.transaction(restored.confirm)
    assert void == [
        "all invites, sign-ins at the portal, and links that register passkeys",
        "the recovery codes of alice",
    ]
    gateway_server.run(restored.look(gateway_server.gateway))
    assert answer(caller, "alice", alices[1]) == "WRONG_CODE"


def test_a_code_that_was_redeemed_in_a_database_that_is_found_to_be_older_then_is_refused(
    gateway_server: RunningGateway, caller: HostCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    alices = new_codes(gateway_server)
    look = restored.look

    async def finds_another_one(gateway: Gateway) -> None:
        """As if it had been exchanged just now."""
        async with gateway.database.transaction() as connection:
            await connection.execute("UPDATE record SET at = at - interval '1 s'")
        await look(gateway)

    assert answer(caller, "alice", alices[1]) == 9
    monkeypatch.setattr(restored, "look", finds_another_one)
    assert answer(caller, "alice", alices[0]) == "RESTORED"


def test_a_gateway_that_cannot_remember_a_redemption_refuses_it(
    gateway_server: RunningGateway, caller: HostCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    alices = new_codes(gateway_server)
    monkeypatch.setenv("STATE_DIRECTORY", "/nowhere")
    assert answer(caller, "alice", alices[0]) == "TRY_AGAIN"
    assert left(gateway_server) == 9


class _Unlucky(Database):
    """The outcome of a transaction that has used a code is not known, although it has happened."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with super().transaction() as connection:
            yield connection
            used = await one(
                connection,
                "SELECT 1 FROM recovery WHERE xmin::text = pg_current_xact_id_if_assigned()::xid::text",
            )
        if used is not None:
            raise UnknownOutcome("the connection was lost at COMMIT")


def test_a_commit_whose_outcome_is_not_known_is_a_refusal(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    alices = new_codes(gateway_server)

    async def set_up() -> None:
        unlucky = _Unlucky(gateway_server.settings.database)
        await unlucky.__aenter__()
        gateway_server.gateway.database = unlucky

    gateway_server.run(set_up())
    assert answer(caller, "alice", alices[0]) == "TRY_AGAIN"
    (row,) = gateway_server.rows("SELECT used_at FROM recovery")
    assert sum(each is not None for each in row["used_at"]) == 1


# The call


def test_the_answer_names_the_call_and_the_body_is_what_was_signed(
    gateway_server: RunningGateway, caller: HostCaller
) -> None:
    alices = new_codes(gateway_server)
    once = new_request_id()
    assert send(caller, "alice", alices[0], request_id=once).json["recovery"]["request_id"] == once
    other = hashlib.sha256(b"{}").hexdigest()
    for refused, parameters in (
        ("BAD_DIGEST", {"body_sha256": other}),
        ("BAD_REQUEST_ID", {"request_id": "x"}),
    ):
        reply = send(caller, "alice", alices[1], **parameters)
        assert (reply.status, reply.reason) == (400, refused)
    assert send(caller, "alice", "no code").reason == "BAD_CODE"
    assert left(gateway_server) == 9
