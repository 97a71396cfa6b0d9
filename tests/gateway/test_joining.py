"""How hosts join and leave: what an invite allows, and nothing more."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable
from dataclasses import replace
from datetime import datetime, timezone
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Callable, TypeVar

import psycopg
import pytest

from pam_iampass.gateway.base.database import Database
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import KeyFile
from pam_iampass.gateway.base.settings import GatewaySettings, GroupSettings
from pam_iampass.gateway.base.statements import many
from pam_iampass.gateway.calls import joining
from pam_iampass.gateway.hosts import certificates, hosts
from pam_iampass.gateway.hosts.hosts import HostStatus
from pam_iampass.gateway.requests import sessions
from pam_iampass.server.http import Dispatcher
from pam_iampass.server.messages import IncomingRequest, Reply
from tests.sandbox.signer import signed
from tests.support.gateway import HOST, LIMITS, HostCaller, RunningGateway
from tests.support.sandbox import Sandbox

NAME = "gateway.example.com"
MACHINE = "0123456789abcdef" * 2
SECRET = "s" * 43
T = TypeVar("T")


class Fleet:
    """A gateway whose calls are made without a connection."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.refused: list[str] = []
        self._dispatcher = Dispatcher(
            joining.ROUTES,
            gateway,
            frozenset({NAME}),
            gateway.clock,
            lambda _request, refusal: self.refused.append(refusal.reason),
        )

    async def invite(
        self, group: str = "default", uses: int = 1, seconds: float = 60, **bound: Any
    ) -> tuple[str, str]:
        """The id and the secret of a new invite."""
        async with self.gateway.database.transaction() as connection:
            _, word = await joining.invite(
                self.gateway, connection, group, uses, seconds, bound.get("name"), bound.get("network")
            )
        id, secret, _ = word.split(".")
        return id, secret

    async def call(
        self,
        method: str,
        path: str,
        client: str,
        secret: str,
        body: bytes = b"",
        *,
        remote: str = "192.0.2.7",
        late: int = 0,
        nonce: str | None = None,
    ) -> tuple[int, Any]:
        """The status and the object of an answer."""
        headers = {"Host": NAME, "Content-Type": "application/json"}
        when = int(time.time()) - late
        headers |= signed(client, secret, f"https://{NAME}{path}", nonce, when)
        request = IncomingRequest(method, path, headers.items(), body, remote)
        reply: Reply = await self._dispatcher.reply(request)
        is_json = reply.content_type == "application/json"
        return reply.status, json.loads(reply.body) if is_json else reply.body.decode()

    async def join(
        self,
        invite: tuple[str, str],
        name: str = "web.example.com",
        *,
        machine: str = MACHINE,
        secret: str = SECRET,
        signed_body: bytes | None = None,
        **options: Any,
    ) -> tuple[int, Any]:
        """The status and the object of an answer to a call that joins."""
        body = json.dumps({"name": name, "machine": machine, "secret": secret}).encode()
        digest = hashlib.sha256(body if signed_body is None else signed_body).hexdigest()
        path = f"/fleet/join/{invite[0]}?body_sha256={digest}"
        return await self.call("POST", path, *invite, body, **options)

    async def records(self) -> list[tuple[str, str | None, str]]:
        """Kind, host and what of each record; of an alert, the reason."""
        async with self.gateway.database.transaction() as connection:
            rows = await many(connection, "SELECT kind, host, fields FROM record ORDER BY id")
        return [
            (
                row["kind"],
                row["host"],
                row["fields"]["reason" if row["kind"] == "alert" else "what"].partition(":")[0],
            )
            for row in rows
        ]

    async def hosts(self) -> dict[str, HostStatus]:
        """The status of each host by its name."""
        async with self.gateway.database.transaction() as connection:
            found, _ = await hosts.listing(self.gateway, connection)
        return {host.name: host.status for host in found}


Use = Callable[[Fleet], Awaitable[T]]


@pytest.fixture
def fleet(conninfo: str, keys: KeyFile, tmp_path: Path) -> Callable[[Use[T]], T]:
    """Runs a test's coroutine with a gateway."""
    made = certificates.new_authority(NAME)
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(made.certificate)
    settings = GatewaySettings(
        names=(NAME,),
        listen=("127.0.0.1", 443),
        database=conninfo,
        application_id="demo",
        application_secret="s3cret",
        previous_secret="",
        server="https://localhost",
        server_ca_file=None,
        proxy=None,
        key=bytes(32),
        ca_file=ca_file,
        certificate_file=tmp_path / "none",
        certificate_key_file=tmp_path / "none",
        groups={
            "default": GroupSettings(everybody=True),
            "bastion": GroupSettings(everybody=True, admit=True),
            "behind": GroupSettings(everybody=True, covered_by=frozenset({"bastion"})),
        },
        limits=replace(LIMITS, connections=4, calls_at_once=10),
        keep_records=3600,
    )

    def run(use: Use[T]) -> T:
        async def go() -> T:
            async with Database(conninfo, connections=4) as database:
                return await use(Fleet(Gateway(settings, database, keys)))

        return asyncio.run(go())

    return run


def test_a_host_joins_with_an_invite_and_asks_for_its_status(fleet: Any) -> None:
    async def use(fleet: Fleet) -> None:
        status, answer = await fleet.join(await fleet.invite())
        assert (status, answer["group"], answer["status"]) == (201, "default", "active")
        id = answer["host_id"]
        found = await fleet.call("GET", f"/fleet/host/{id}", id, SECRET)
        described = {"name": "web.example.com", "group": "default", "status": "active", "gateways": []}
        assert found == (200, {**described, "covers": False, "covered": False})
        assert await fleet.records() == [("act", "web.example.com", "host_joined")]

    fleet(use)


@pytest.mark.parametrize(("group", "covers", "covered"), [("bastion", True, False), ("behind", False, True)])
def test_a_host_hears_whether_its_logins_can_cover_others_or_be_covered(
    fleet: Any, group: str, covers: bool, covered: bool
) -> None:
    async def use(fleet: Fleet) -> None:
        id = (await fleet.join(await fleet.invite(group)))[1]["host_id"]
        _, found = await fleet.call("GET", f"/fleet/host/{id}", id, SECRET)
        assert (found["covers"], found["covered"]) == (covers, covered)

    fleet(use)


def test_a_host_of_a_group_that_wants_it_waits_until_it_is_admitted(fleet: Any) -> None:
    async def use(fleet: Fleet) -> None:
        _, answer = await fleet.join(await fleet.invite("bastion"))
        assert answer["status"] == "waiting"
        assert await fleet.hosts() == {"web.example.com": HostStatus.WAITING}

    fleet(use)


def test_an_invite_for_a_group_that_the_settings_have_no_longer_lets_nobody_join(fleet: Any) -> None:
    async def use(fleet: Fleet) -> None:
        status, answer = await fleet.join(await fleet.invite("once-with-admit"))
        assert (status, answer["reason"]) == (403, "GROUP_UNKNOWN")
        assert await fleet.hosts() == {}
        assert await fleet.records() == [("alert", None, "GROUP_UNKNOWN")]

    fleet(use)


def test_a_join_whose_answer_was_lost_can_be_repeated(fleet: Any) -> None:
    async def use(fleet: Fleet) -> None:
        invite = await fleet.invite(uses=1)
        first = await fleet.join(invite)
        assert await fleet.join(invite) == first
        assert (
            await fleet.join(await fleet.invite("bastion")) == first
        )  # with another one, it stays in its group
        assert len(await fleet.hosts()) == 1

    fleet(use)


@pytest.mark.parametrize("other", ["machine", "secret"])
def test_a_name_that_exists_is_never_taken_over(fleet: Any, other: str) -> None:
    async def use(fleet: Fleet) -> None:
        invite = await fleet.invite(uses=3)
        await fleet.join(invite)
        changed: dict[str, Any] = {"machine": {"machine": "f" * 32}, "secret": {"secret": "x" * 43}}[other]
        for again in (invite, await fleet.invite(name="web.example.com")):
            status, answer = await fleet.join(again, **changed)
            assert (status, answer["reason"]) == (409, "NAME_TAKEN")
        assert (await fleet.records())[-1] == ("alert", None, "NAME_TAKEN")
        # Neither was the invite used.
        assert (await fleet.join(invite, "b.example.com", machine="b" * 32))[0] == 201
        assert (await fleet.join(invite, "c.example.com", machine="c" * 32))[0] == 201

    fleet(use)


def test_one_machine_is_one_host(fleet: Any) -> None:
    async def use(fleet: Fleet) -> None:
        invite = await fleet.invite(uses=3)
        assert (await fleet.join(invite))[0] == 201
        for again in (invite, await fleet.invite()):
            status, answer = await fleet.join(again, "second.example.com", secret="x" * 43)
            assert (status, answer["reason"]) == (409, "MACHINE_TAKEN")
            assert "web.example.com" not in answer["detail"]
        async with fleet.gateway.database.transaction() as connection:
            rows = await many(connection, "SELECT fields FROM record WHERE kind = 'alert' ORDER BY id")
            what = f"MACHINE_TAKEN: invite {invite[0]}, the machine of web.example.com"
            assert rows[0]["fields"]["reason"] == f"{what}; second.example.com wants to join"
            assert len(rows) == 2
        async with fleet.gateway.database.transaction() as connection:
            await sessions.remove_host(fleet.gateway, connection, "web.example.com")
        assert (await fleet.join(invite, "second.example.com"))[0] == 201

    fleet(use)


def test_of_two_hosts_that_join_at_once_under_one_name_one_is_refused(fleet: Any) -> None:
    async def use(fleet: Fleet) -> None:
        invites = [await fleet.invite() for _ in range(4)]
        answers = await asyncio.gather(
            *(fleet.join(invite, machine=f"{n}" * 32, secret=f"{n}" * 43) for n, invite in enumerate(invites))
        )
        assert sorted(status for status, _ in answers) == [201, 409, 409, 409]
        assert {answer["reason"] for status, answer in answers if status == 409} == {"NAME_TAKEN"}

    fleet(use)


def test_an_invite_can_be_used_as_often_as_it_says(fleet: Any, conninfo: str) -> None:
    async def use(fleet: Fleet) -> None:
        invite = await fleet.invite(uses=2)
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as watching:
            async with await psycopg.AsyncConnection.connect(conninfo) as holding:
                await holding.execute("SELECT 1 FROM invite FOR UPDATE")
                joins = [
                    asyncio.create_task(fleet.join(invite, f"h{n}", machine=f"{n}" * 32)) for n in range(4)
                ]
                await _waiting_for_locks(watching, 2)  # nobody can write the invite before two have read it
            answers = await asyncio.gather(*joins)
        assert sorted(status for status, _ in answers) == [201, 201, 403, 403]
        assert {answer["reason"] for status, answer in answers if status == 403} == {"INVITE_USED"}

    fleet(use)


async def _waiting_for_locks(connection: psycopg.AsyncConnection[Any], number: int) -> None:
    """Wait until this number of transactions wait for a lock."""
    counted = (0,)
    while counted[0] < number:
        await asyncio.sleep(0.01)
        found = await connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        counted = await found.fetchone() or counted


def test_refused_joins_are_one_alert(fleet: Any) -> None:
    async def use(fleet: Fleet) -> None:
        invite = await fleet.invite()
        await fleet.join(invite)
        for number in range(4):
            assert (await fleet.join(invite, f"web{number}"))[1]["reason"] == "INVITE_USED"
        assert (await fleet.records())[1:] == [("alert", None, "INVITE_USED")]

    fleet(use)


SLOWED = {"slowed_until": datetime(2100, 1, 1, tzinfo=timezone.utc)}


@pytest.mark.parametrize(
    ("columns", "waits"),
    [
        (SLOWED, True),
        ({"status": HostStatus.STOPPED}, True),
        ({"slowed_until": datetime(2000, 1, 1, tzinfo=timezone.utc)}, False),
    ],
    ids=["slowed", "stopped", "slowed before"],
)
def test_a_host_that_joins_with_the_invite_of_a_slowed_one_waits_until_it_is_admitted(
    fleet: Any, columns: dict[str, Any], waits: bool
) -> None:
    async def use(fleet: Fleet) -> None:
        invite, other = await fleet.invite(uses=3), await fleet.invite()
        _, first = await fleet.join(invite)
        async with fleet.gateway.database.transaction() as connection:
            await hosts.change(fleet.gateway, connection, first["host_id"], **columns)
        expected = ["waiting" if waits else "active"] * 2
        joined = [await fleet.join(invite, f"{name}.example.com", machine=name * 32) for name in "ab"]
        assert [answer["status"] for _, answer in joined] == expected
        async with fleet.gateway.database.transaction() as connection:
            rows = await many(connection, "SELECT fields FROM record WHERE kind = 'alert'")
        said = [row["fields"]["reason"] for row in rows]
        assert [f"{invite[0]} wait" in what and " web.example.com, " in what for what in said] == [
            True
        ] * waits
        _, answer = await fleet.join(other, "c.example.com", machine="c" * 32)
        assert answer["status"] == "active", "with another invite"

    fleet(use)


def test_an_invite_that_has_expired_is_refused(fleet: Any) -> None:
    async def use(fleet: Fleet) -> None:
        invite = await fleet.invite(seconds=-1)
        status, answer = await fleet.join(invite)
        assert (status, answer["reason"]) == (403, "INVITE_EXPIRED")

    fleet(use)


def test_an_invite_for_a_name_is_for_no_other(fleet: Any) -> None:
    async def use(fleet: Fleet) -> None:
        invite = await fleet.invite(name="web.example.com")
        status, answer = await fleet.join(invite, "db.example.com")
        assert (status, answer["reason"]) == (403, "INVITE_OTHER_NAME")
        assert (await fleet.join(invite))[0] == 201

    fleet(use)


@pytest.mark.parametrize(
    ("network", "remote", "allowed"),
    [
        ("192.0.2.0/24", "192.0.2.7", True),
        ("192.0.2.0/24", "::ffff:192.0.2.7", True),
        ("192.0.2.0/24", "198.51.100.7", False),
        ("192.0.2.0/24", "2001:db8::7", False),
        ("2001:db8::/32", "2001:db8::7", True),
        ("2001:db8::/32", "192.0.2.7", False),
        ("0.0.0.0/0", "", False),
    ],
)
def test_an_invite_for_a_network_is_for_no_other(
    fleet: Any, network: str, remote: str, allowed: bool
) -> None:
    async def use(fleet: Fleet) -> None:
        invite = await fleet.invite(network=ip_network(network))
        status, answer = await fleet.join(invite, remote=remote)
        assert (status, answer.get("reason")) == ((201, None) if allowed else (403, "INVITE_OTHER_NETWORK"))

    fleet(use)


def test_nothing_is_said_to_those_who_do_not_have_the_secret(fleet: Any) -> None:
    async def use(fleet: Fleet) -> None:
        id, secret = await fleet.invite(seconds=-1)
        other, other_secret = await fleet.invite()
        for wrong in ((id, other_secret), (id, ""), ("i-aaaaaaaaaaaa", secret)):
            status, answer = await fleet.join(wrong)
            assert status == 401
            assert answer["reason"] in ("BAD_SIGNATURE", "INVITE_VOID")
        # The secret of one invite, for another one.
        body = json.dumps({"name": "web", "machine": MACHINE, "secret": SECRET}).encode()
        path = f"/fleet/join/{id}?body_sha256={hashlib.sha256(body).hexdigest()}"
        assert (await fleet.call("POST", path, other, other_secret, body))[0] == 401
        assert await fleet.hosts() == {}

    fleet(use)


def test_the_signature_holds_for_the_body(fleet: Any) -> None:
    async def use(fleet: Fleet) -> None:
        invite = await fleet.invite()
        status, answer = await fleet.join(invite, signed_body=b"another")
        assert (status, answer["reason"]) == (400, "BAD_DIGEST")
        body = json.dumps({"name": "web", "machine": MACHINE, "secret": SECRET}).encode()
        status, answer = await fleet.call("POST", f"/fleet/join/{invite[0]}", *invite, body)
        assert (status, answer["reason"]) == (400, "BAD_DIGEST")
        assert await fleet.hosts() == {}

    fleet(use)


def test_a_clock_that_is_off_is_told_so(fleet: Any) -> None:
    async def use(fleet: Fleet) -> None:
        invite = await fleet.invite()
        for late in (301, -301, 86400):
            status, answer = await fleet.join(invite, late=late)
            assert (status, answer["reason"]) == (403, "CLOCK_OFF")
        assert (await fleet.join(invite, late=299))[0] == 201

    fleet(use)


def test_a_join_is_good_once_although_its_host_was_removed(fleet: Any) -> None:
    async def use(fleet: Fleet) -> None:
        invite = await fleet.invite(uses=2)
        assert (await fleet.join(invite, nonce="7"))[0] == 201
        async with fleet.gateway.database.transaction() as connection:
            await sessions.remove_host(fleet.gateway, connection, "web.example.com")
        status, answer = await fleet.join(invite, nonce="7")
        assert (status, answer["reason"]) == (401, "REPLAYED_NONCE")
        assert await fleet.hosts() == {}

    fleet(use)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Web.example.com"},
        {"name": "web..example.com"},
        {"name": "web/../x"},
        {"name": "-web"},
        {"name": "w" * 254},
        {"name": "web\n"},
        {"machine": "0123"},
        {"machine": "G" * 32},
        {"secret": "short"},
        {"secret": "s" * 42 + ":"},
    ],
)
def test_what_makes_no_sense_is_refused(fleet: Any, wrong: dict[str, str]) -> None:
    async def use(fleet: Fleet) -> None:
        given: dict[str, Any] = {"name": "web.example.com", "machine": MACHINE, "secret": SECRET} | wrong
        status, _ = await fleet.join(await fleet.invite(), given.pop("name"), **given)
        assert status == 400
        assert await fleet.hosts() == {}

    fleet(use)


def test_a_host_leaves_by_itself_only(fleet: Any) -> None:
    async def use(fleet: Fleet) -> None:
        invite = await fleet.invite(uses=2)
        ids = [
            (await fleet.join(invite, name, machine=name * 32, secret=name * 43))[1]["host_id"]
            for name in ("a", "b")
        ]
        for method, path in (("POST", "/fleet/leave"), ("GET", "/fleet/host")):
            assert (await fleet.call(method, f"{path}/{ids[1]}", ids[0], "a" * 43))[0] == 401
            assert (await fleet.call(method, f"{path}/{ids[1]}", ids[1], "a" * 43))[0] == 401
        assert await fleet.call("POST", f"/fleet/leave/{ids[0]}", ids[0], "a" * 43) == (200, {"status": True})
        assert set(await fleet.hosts()) == {"b"}
        assert (await fleet.call("GET", f"/fleet/host/{ids[0]}", ids[0], "a" * 43))[0] == 404
        assert (await fleet.records())[-1] == ("act", "a", "host_left")

    fleet(use)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invite SET uses_left = 9",
        "UPDATE invite SET expires_at = now() + interval '1 year'",
        "UPDATE invite SET group_name = 'everything'",
        "UPDATE invite SET name = NULL, network = NULL",
        "UPDATE invite SET id = 'i-zzzzzzzzzzzz'",
        "UPDATE host SET status = 'active'",
    ],
)
def test_an_invite_that_was_written_in_the_database_itself_does_not_count(
    fleet: Any, conninfo: str, statement: str
) -> None:
    async def use(fleet: Fleet) -> None:
        bound: dict[str, Any] = {"name": "web.example.com", "network": ip_network("192.0.2.0/24")}
        id, secret = await fleet.invite("bastion", seconds=1, **bound)
        _, answer = await fleet.join((id, secret))
        host = answer["host_id"]
        with psycopg.connect(conninfo) as connection:
            connection.execute(statement.encode())
        if "host" in statement:
            assert (await fleet.call("GET", f"/fleet/host/{host}", host, SECRET))[0] == 401
            assert (await fleet.join((id, secret)))[1]["reason"] == "NAME_TAKEN"
        else:
            id = "i-zzzzzzzzzzzz" if "zzzz" in statement else id
            assert (await fleet.join((id, secret), "db.example.com", secret="t" * 43))[0] == 401

    fleet(use)


def test_the_certificate_of_the_ca_is_for_everybody(fleet: Any) -> None:
    async def use(fleet: Fleet) -> None:
        request = IncomingRequest("GET", "/fleet/ca", {"Host": NAME}.items(), b"")
        reply: Reply = await fleet._dispatcher.reply(request)
        async with fleet.gateway.database.transaction() as connection:
            _, word = await joining.invite(fleet.gateway, connection, "default", 1, 60, None, None)
        assert (
            certificates.fingerprint(json.loads(reply.body)["certificate"].encode())
            == word.rpartition(".")[2]
        )

    fleet(use)


def test_a_database_that_is_away_is_said_to_be(fleet: Any) -> None:
    async def use(fleet: Fleet) -> None:
        invite = await fleet.invite()
        async with Database("host=127.0.0.1 port=1", connections=1) as away:
            fleet.gateway.database = away
            for status, answer in (
                await fleet.join(invite),
                await fleet.call("GET", "/fleet/host/h-aaaaaaaaaaaa", "h-aaaaaaaaaaaa", SECRET),
                await fleet.call("POST", "/fleet/leave/h-aaaaaaaaaaaa", "h-aaaaaaaaaaaa", SECRET),
            ):
                assert (status, answer["reason"]) == (503, "DATABASE_AWAY")

    fleet(use)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"status": HostStatus.SUSPENDED}, "HOST_SUSPENDED"),
        ({"slowed_until": datetime(2100, 1, 1, tzinfo=timezone.utc)}, "HOST_THROTTLED"),
        ({"status": HostStatus.WAITING}, None),
        ({"slowed_until": datetime(2000, 1, 1, tzinfo=timezone.utc)}, None),
    ],
)
def test_a_host_that_is_suspended_or_slowed_does_not_leave(
    gateway_server: RunningGateway, caller: HostCaller, columns: dict[str, Any], reason: str | None
) -> None:
    gateway_server.change_host(**columns)
    reply = caller.post(f"/fleet/leave/{HOST}", None)
    assert (reply.status, reply.json.get("reason")) == ((200, None) if reason is None else (403, reason))
    assert len(gateway_server.rows("SELECT 1 FROM host")) == (reason is not None)


def test_a_host_that_leaves_has_its_sessions_ended(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    gateway_server.add_host("h-bbbbbbbbbbbb")
    begun = caller.ask("alice").authentication
    sandbox.wait_for_request("token-of-alice")
    sandbox.approve("token-of-alice")
    assert caller.answer(begun) == "active"
    assert caller.post("/fleet/leave/h-bbbbbbbbbbbb", None).status == 401
    assert caller.post(f"/fleet/leave/{HOST}", None).json == {"status": True}
    assert sandbox.wait_for_end("token-of-alice")
    assert caller.session("GET", begun, "status_url").status == 401
