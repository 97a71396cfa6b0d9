"""What is good once, or not at all any more, and is used at two gateways of one database in the same moment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pam_iampass.gateway.calls import joining, service
from pam_iampass.gateway.check import restored
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import HostStatus
from tests.gateway.test_codes import answer, left, new_codes
from tests.sandbox.signer import Reply, signed
from tests.support.gateway import HOST, HostCaller, RunningGateway
from tests.support.gateway_process import GatewayProcess
from tests.support.sandbox import Sandbox
from tests.support.world import wait_until

ROUNDS = 5
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def both(
    gateway_server: RunningGateway,
    conninfo: str,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[HostCaller, HostCaller]]:
    """A host at two gateways. The second one is a process, and remembers elsewhere how far the database has come."""
    (tmp_path / "second").mkdir()
    with monkeypatch.context() as changed:
        changed.setenv("STATE_DIRECTORY", str(tmp_path / "second"))
        second = GatewayProcess(conninfo, sandbox, tmp_path)
    with second:
        yield HostCaller(gateway_server), HostCaller(second)


def at_once(both: tuple[HostCaller, HostCaller], call: Callable[..., Any], *arguments: object) -> list[Any]:
    """What both gateways answer to a call."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda each: call(each, *arguments), both))


def elsewhere(begun: Any, caller: HostCaller) -> Any:
    """A session, whose calls are made at the gateway of this caller."""
    urls = {name: begun[name].partition("/session/")[2] for name in ("status_url", "logout_url")}
    return {**begun, **{name: f"{caller.sandbox.url}/session/{rest}" for name, rest in urls.items()}}


def test_what_one_finds_to_be_an_old_copy_is_one_for_all_until_it_is_confirmed(
    gateway_server: RunningGateway,
    both: tuple[HostCaller, HostCaller],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alices = new_codes(gateway_server)
    (before,) = gateway_server.rows("SELECT used_at, mac FROM recovery")
    (last,) = gateway_server.rows("SELECT max(id) AS id FROM record")
    assert answer(both[0], "alice", alices[0]) == 9
    # As if a standby that had not got it yet had taken over. The second gateway has seen neither.
    gateway_server.rows("DELETE FROM record WHERE id > %s", last["id"] or 0)
    gateway_server.rows("SELECT setval('record_id_seq', %s)", last["id"] or 1)
    gateway_server.rows("UPDATE recovery SET used_at = %s, mac = %s", before["used_at"], before["mac"])
    gateway_server.run(restored.look(gateway_server.gateway))
    assert at_once(both, answer, "alice", alices[0]) == ["RESTORED"] * 2
    assert left(gateway_server) == 10
    # Nor does a gateway go on that remembers nothing, until it is confirmed at any of them.
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "third"))
    assert gateway_server.run(restored.compare(gateway_server.gateway))[0].old_copy
    gateway_server.transaction(restored.confirm)
    assert not gateway_server.run(restored.compare(gateway_server.gateway))[0].old_copy


def test_a_host_that_is_suspended_or_removed_at_one_is_answered_by_none(
    gateway_server: RunningGateway, both: tuple[HostCaller, HostCaller], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LONGEST_SECONDS", 9999)  # the caller would give up
    begun = both[0].ask("alice").authentication
    with ThreadPoolExecutor() as pool:
        held = pool.submit(both[0].wait, begun, begun["version"], 9999)
        wait_until(lambda: len(gateway_server.gateway.held) == 1, "no poll is held")
        gateway_server.change_host(status=HostStatus.SUSPENDED)
        replies = at_once(both, HostCaller.ask, "bob")
        assert [reply.authentication["reason"] for reply in replies] == ["HOST_SUSPENDED"] * 2
        assert (held.result().status, held.result().reason) == (403, "HOST_SUSPENDED")
        for each in both:
            wait_until(partial(is_refused, each, begun), "its polls are answered")
    gateway_server.transaction(lambda _, connection: hosts.remove(connection, f"name-of-{HOST}"))
    assert [reply.status for reply in at_once(both, HostCaller.ask, "bob")] == [404, 404]
    assert [reply.status for reply in at_once(both, poll, begun)] == [401, 401]


def poll(caller: HostCaller, begun: Any) -> Reply:
    return caller.session("GET", elsewhere(begun, caller), "status_url")


def is_refused(caller: HostCaller, begun: Any) -> bool:
    return poll(caller, begun).status == 403


def test_a_nonce_is_good_at_one(both: tuple[HostCaller, HostCaller]) -> None:
    for _ in range(ROUNDS):
        target = f"/authentication/authenticate_user/{HOST}/carol"
        # Signed for a name that both have, as behind one address.
        headers = {**signed(HOST, both[0].sandbox.application_secret, f"https://localhost:1{target}"), **JSON}
        headers["Host"] = "localhost:1"
        replies = at_once(both, HostCaller.send, "POST", target, headers, b"{}")
        assert [reply.status for reply in replies].count(401) == 1
        assert {reply.reason for reply in replies if reply.status == 401} == {"REPLAYED_NONCE"}


def test_a_recovery_code_is_good_at_one(
    gateway_server: RunningGateway, both: tuple[HostCaller, HostCaller]
) -> None:
    for place, code in enumerate(new_codes(gateway_server)[:ROUNDS]):
        answers = at_once(both, answer, "alice", code)
        assert set(answers) == {9 - place, "WRONG_CODE"}
        assert left(gateway_server) == 9 - place


@pytest.mark.parametrize(
    ("uses", "names", "refused"),
    [(1, ("a", "b"), (403, "INVITE_USED")), (2, ("a", "a"), (409, "NAME_TAKEN"))],
)
def test_an_invite_and_a_name_are_good_at_one(
    gateway_server: RunningGateway,
    both: tuple[HostCaller, HostCaller],
    uses: int,
    names: tuple[str, str],
    refused: tuple[int, str],
) -> None:
    for number in range(ROUNDS):
        _, word = gateway_server.transaction(
            lambda gateway, connection: joining.invite(gateway, connection, "servers", uses, 60, None, None)
        )
        id, secret, _ = word.split(".")

        def join(each: HostCaller, id: str = id, secret: str = secret, number: int = number) -> Reply:
            own = both.index(each)
            name = f"{names[own]}{number}"
            body = json.dumps(
                {"name": name, "machine": f"{own}{number:031}", "secret": f"{own}" * 43}
            ).encode()
            target = f"/fleet/join/{id}?body_sha256={hashlib.sha256(body).hexdigest()}"
            headers = signed(id, secret, each.sandbox.url + target)
            return each.send("POST", target, {**headers, **JSON}, body)

        replies = at_once(both, join)
        assert sorted(reply.status for reply in replies) == [201, refused[0]]
        assert [reply.reason for reply in replies if reply.status != 201] == [refused[1]]
