"""Presence over hosts: a login that begins in an approved login of the same person on another host rings no phone, and
ends with that one. Whatever speaks against it, the phone is asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest

from pam_iampass.client.status import Status
from pam_iampass.enforcer.protocol import Verb
from pam_iampass.gateway.base import database, metrics, statements
from pam_iampass.gateway.base.connection import Connection, DatabaseAway
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.settings import GroupSettings
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import HostStatus
from pam_iampass.gateway.people import agents, people
from pam_iampass.gateway.people.people import PersonStatus
from pam_iampass.gateway.requests import asking, presence, sessions
from pam_iampass.gateway.requests.sessions import HostSession, State
from pam_iampass.session.store import KeptSessions
from tests.gateway.test_codes import Named
from tests.gateway.test_host_sessions import approved
from tests.gateway.test_joined_host import host
from tests.gateway.test_kept_at_gateway import agent, ask, changed, id_of, log_in
from tests.sandbox.signer import Reply
from tests.support.gateway import HOST, HostCaller, RunningGateway, looks, new_request_id, settings_for
from tests.support.gateway_process import GatewayProcess
from tests.support.sandbox import Hang, Sandbox
from tests.support.sessions import Keeping
from tests.support.setting import ME
from tests.support.world import PATIENCE, wait_until

__all__ = ["agent", "host"]

BASTION, OTHER, FURTHER, SECOND = "h-bbbbbbbbbbbb", "h-cccccccccccc", "h-dddddddddddd", "h-eeeeeeeeeeee"
LATER = "192.0.2.7 40009 192.0.2.9 22"
CONNECTION = "192.0.2.7 40000 192.0.2.8 22"
GROUPS = {
    "others": GroupSettings(everybody=True),
    "bastion": GroupSettings(everybody=True, admit=True),
    "servers": GroupSettings(everybody=True, admit=True, covered_by=frozenset({"bastion"})),
    "further": GroupSettings(everybody=True, covered_by=frozenset({"servers", "further"})),
}


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are in time on a machine that is busy."""
    monkeypatch.setattr(presence, "ANSWER_SECONDS", 20)


@pytest.fixture
def make(conninfo: str, sandbox: Sandbox, tmp_path: Path) -> Callable[[], RunningGateway]:
    """Makes a gateway that polls each approved session once a second."""

    def made() -> RunningGateway:
        running = RunningGateway(settings_for(conninfo, sandbox, tmp_path, groups=GROUPS))
        running.check = 1.0
        return running

    return made


@pytest.fixture
def gateway(make: Callable[[], RunningGateway]) -> Iterator[RunningGateway]:
    with make() as running:
        running.populate()
        running.add_person(ME, "token-at-the-gateway")
        running.rows("DELETE FROM host")
        for id, group in ((HOST, "servers"), (OTHER, "servers"), (BASTION, "bastion"), (FURTHER, "further")):
            running.add_host(id, group=group)
        yield running


class Fleet:
    """A gateway, a bastion and the hosts that its logins cover, and alice, who logs in on them."""

    def __init__(self, gateway: RunningGateway, sandbox: Sandbox, pool: ThreadPoolExecutor) -> None:
        self.gateway, self.sandbox, self._pool = gateway, sandbox, pool
        self.caller, self.other = at(gateway, HOST), at(gateway, OTHER)
        self.bastion, self.further = at(gateway, BASTION), at(gateway, FURTHER)

    def change_groups(self, **groups: GroupSettings) -> None:
        gateway = self.gateway.gateway
        gateway.settings = replace(gateway.settings, groups={**GROUPS, **groups})

    def approved(self, there: HostCaller | None = None, person: str = "alice") -> Any:
        """A session that is active, on the bastion unless another host is given."""
        return approved(there or self.bastion, self.sandbox, person)

    def starts(
        self, connection: str = CONNECTION, caller: HostCaller | None = None, **more: str
    ) -> Future[Any]:
        """What a start is answered that says from where its login comes."""
        ask = (caller or self.caller).ask
        return self._pool.submit(lambda: ask("alice", connection=connection, **more).authentication)

    def covered(
        self,
        parent: Any,
        version: int = 2,
        caller: HostCaller | None = None,
        there: HostCaller | None = None,
        **more: str,
    ) -> Any:
        """The session of a login that begins in this one, as the host `there` says."""
        start = self.starts(caller=caller, **more)
        question, _ = told(there or self.bastion, parent, version)
        assert counts(confirm(there or self.bastion, question))
        begun = start.result(PATIENCE)
        assert begun["session_status"] == "active", begun
        return begun

    def submit(self, *call: Any) -> Future[Any]:
        """What a function returns, which waits."""
        return self._pool.submit(*call)

    @property
    def rung(self) -> int:
        """How often IAMPASS was asked to ask a phone."""
        return [call.kind for call in self.sandbox.calls].count("start")

    @property
    def questions(self) -> list[dict[str, Any]]:
        return self.gateway.rows("SELECT * FROM question")


@pytest.fixture
def fleet(gateway: RunningGateway, sandbox: Sandbox) -> Iterator[Fleet]:
    with ThreadPoolExecutor() as pool:
        yield Fleet(gateway, sandbox, pool)


def at(gateway: RunningGateway, host: str) -> HostCaller:
    return HostCaller(Named(gateway, host))


Question = tuple[str, dict[str, str]]


def told(caller: HostCaller, begun: Any, version: int = 2, but: str = "") -> Question:
    """What a host is asked about a session, with the id of the question, once it is, without one that it knows."""

    def questions() -> Any:
        asked = ask(caller, {id_of(begun): version}).json["questions"]
        return [(id, each) for id, each in asked.items() if id != but]

    (found,) = wait_until(questions, "nothing is asked")
    return found  # type: ignore[no-any-return]


def confirm(caller: HostCaller, question: str, begins: str = "yes", more: str = "") -> Reply:
    target = f"/fleet/confirm/{caller.sandbox.application_id}?question={question}&begins={begins}{more}"
    return caller.send("POST", target, caller.application(target), b"{}")


def counts(reply: Reply) -> bool:
    assert reply.status == 200, reply.body
    return reply.json["counts"] is True


def test_a_login_that_begins_in_an_approved_one_rings_no_phone(fleet: Fleet) -> None:
    parent = fleet.approved()
    start = fleet.starts("::ffff:192.0.2.7 40000 192.0.2.8 22", service="sshd", remote="192.0.2.7")
    question, asked = told(fleet.bastion, parent)
    assert asked == {"session": id_of(parent), "connection": CONNECTION}
    assert counts(confirm(fleet.bastion, question))
    begun = start.result(PATIENCE)
    assert begun["authenticated"]
    assert begun["session_status"] == "active"
    said = begun["covered"]
    assert (said["host"], 0 <= said["age"] <= 5) == (f"name-of-{BASTION}", True)
    assert (begun["wait"], begun["version"]) == (10, 1)
    assert fleet.rung == 1
    assert metrics.REGISTRY.get_sample_value("iampass_gateway_starts_total", {"answer": "covered"})
    child = fleet.gateway.session(begun)
    assert (child.parent, child.approved, child.upstream) == (UUID(id_of(parent)), False, None)
    assert child.expires_at <= fleet.gateway.session(parent).expires_at
    assert fleet.caller.poll(begun) == "active"
    record = fleet.gateway.records[-1]
    assert (record["outcome"], record["host"], record["person"]) == ("covered", f"name-of-{HOST}", "alice")
    assert record["reason"] == f"by the session {id_of(parent)} on name-of-{BASTION}"
    assert (record["ssh_connection"], record["service"]) == (CONNECTION, "sshd")


def test_a_host_that_says_no_has_the_phone_asked(fleet: Fleet) -> None:
    parent = fleet.approved()
    start = fleet.starts()
    question, _ = told(fleet.bastion, parent)
    assert counts(confirm(fleet.bastion, question, "no"))
    begun = start.result(PATIENCE)
    assert (begun["session_status"], "covered" in begun) == ("pending", False)
    assert fleet.rung == 2


@pytest.fixture
def second(fleet: Fleet) -> HostCaller:
    """Another bastion."""
    fleet.gateway.add_host(SECOND, group="bastion")
    return at(fleet.gateway, SECOND)


def alerts(fleet: Fleet) -> list[tuple[str, str]]:
    return [(each["host"], each["reason"]) for each in fleet.gateway.records if each["kind"] == "alert"]


def test_if_two_hosts_say_that_one_connection_begins_there_the_phone_is_asked(
    fleet: Fleet, second: HostCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "_SECOND_ANSWER_SECONDS", PATIENCE)
    parents = ((fleet.bastion, fleet.approved()), (second, fleet.approved(second)))
    start = fleet.starts()
    for there, parent in parents:
        question, _ = told(there, parent)
        assert counts(confirm(there, question))
    assert start.result(PATIENCE)["session_status"] == "pending"
    names = f"name-of-{BASTION} and on name-of-{SECOND}"
    what = f"a connection is said to begin on {names}: one of these hosts may lie"
    assert alerts(fleet) == [(f"name-of-{BASTION}", what), (f"name-of-{SECOND}", what)]


def test_a_host_that_does_not_answer_holds_up_nobody_for_whom_another_one_has(
    fleet: Fleet, second: HostCaller
) -> None:
    fleet.approved(second)
    fleet.covered(fleet.approved())
    assert alerts(fleet) == []


def test_a_host_that_names_connections_which_nobody_confirms_has_the_phone_asked_without_further_questions(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "_MOST_WRONG", 2)
    parent = fleet.approved()
    for port in (40001, 40002):
        start = fleet.starts(f"192.0.2.7 {port} 192.0.2.8 22")
        question, _ = told(fleet.bastion, parent)
        assert counts(confirm(fleet.bastion, question, "no"))
        assert fleet.caller.end(start.result(PATIENCE)) is True
    assert alerts(fleet) == []
    assert fleet.starts().result(PATIENCE)["session_status"] == "pending"
    assert len(fleet.questions) == 2
    what = "no host confirms the connections that this host names: its people are asked on the phone"
    assert alerts(fleet) == [(f"name-of-{HOST}", what)]
    for caller, address in (
        (fleet.other, "192.0.2.7"),
        (fleet.caller, "192.0.2.77"),
        (fleet.caller, "2001:db8::7"),
    ):
        start = fleet.starts(f"{address} 40003 192.0.2.8 22", caller)
        question, _ = told(fleet.bastion, parent)
        assert counts(confirm(fleet.bastion, question)), "another host, or from another address"
        assert start.result(PATIENCE)["session_status"] == "active"


def refused(fleet: Fleet, parent: Any, connection: str, caller: HostCaller | None = None) -> None:
    """A start whose connection the bastion does not confirm."""
    start = fleet.starts(connection, caller)
    question, _ = told(fleet.bastion, parent)
    assert counts(confirm(fleet.bastion, question, "no"))
    (caller or fleet.caller).end(start.result(PATIENCE))


def test_connections_to_the_own_address_of_a_host_use_up_no_covers_of_an_hour(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody at the bastion has alice's password, and logs in as she does, over and over."""
    monkeypatch.setattr(presence, "_MOST_WRONG", 2)
    monkeypatch.setattr(presence, "_QUESTIONS_OF_PERSON", 6)
    fleet.gateway.change_host(HOST, addresses=["192.0.2.8", "2001:db8:0:1::8"])
    parent = fleet.approved()
    for port in (40001, 40002, 40003):
        refused(fleet, parent, f"192.0.2.7 {port} 192.0.2.8 22")
    fleet.covered(parent)
    assert alerts(fleet) == []
    for port in (40001, 40002):  # it may be guessing
        refused(fleet, parent, f"192.0.2.7 {port} 192.0.2.88 22")
    unknown = fleet.starts("192.0.2.7 40003 192.0.2.88 22").result(PATIENCE)
    assert (unknown["session_status"], len(fleet.questions)) == ("pending", 6)
    monkeypatch.setattr(presence, "_QUESTIONS_OF_PERSON", 7)
    fleet.caller.end(unknown)
    fleet.covered(parent, connection="192.0.2.7 40004 192.0.2.8 22")
    # The limits of a minute hold for all.
    own = fleet.starts("192.0.2.7 40005 192.0.2.8 22").result(PATIENCE)
    assert (own["session_status"], len(fleet.questions)) == ("pending", 7)


@pytest.mark.parametrize("address", ["192.0.2.9", "2001:db8::9", "2001:db8::9%eth0"])
def test_a_connection_to_another_host_covers_no_login_here(fleet: Fleet, address: str) -> None:
    """Root of a host on which she never was names her connection to another one."""
    fleet.gateway.change_host(OTHER, addresses=["192.0.2.9", "2001:db8::9"])
    parent = fleet.approved()
    client = "2001:db8::7" if ":" in address else "192.0.2.7"
    connection = f"{client} 40000 {address} 22"
    begun = fleet.starts(connection).result(PATIENCE)
    assert (begun["session_status"], fleet.questions) == ("pending", [])
    ((host, what),) = alerts(fleet)
    assert (host, f"name-of-{OTHER}" in what) == (f"name-of-{HOST}", True)
    assert fleet.caller.end(begun) is True
    # Each host has its own, and one that nobody has set is as it was.
    if "%" not in address:
        fleet.covered(parent, caller=fleet.other, connection=connection)
    fleet.covered(parent, connection="192.0.2.7 40001 192.0.2.10 22")


def test_a_connection_covers_no_login_if_the_address_is_of_two_hosts_or_in_a_row_of_no_gateway(
    fleet: Fleet,
) -> None:
    fleet.approved()
    for id in (HOST, OTHER):
        fleet.gateway.change_host(id, addresses=["192.0.2.8"])
    assert fleet.starts().result(PATIENCE)["session_status"] == "pending"
    fleet.gateway.change_host(OTHER, addresses=[])
    fleet.gateway.rows("UPDATE host SET addresses = '{192.0.2.8}' WHERE id = %s", OTHER)
    assert fleet.starts().result(PATIENCE)["session_status"] == "pending"
    assert fleet.questions == []


@pytest.mark.parametrize("other", ["2001:db8::ffff", "2001:db8:0:0:ffff::1%eth0"])
def test_all_addresses_of_a_network_that_a_client_can_have_are_one(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    monkeypatch.setattr(presence, "_MOST_WRONG", 2)
    parent = fleet.approved()
    for address in ("2001:db8::1", other):
        start = fleet.starts(f"{address} 40001 2001:db8:0:1::8 22")
        question, _ = told(fleet.bastion, parent)
        assert counts(confirm(fleet.bastion, question, "no"))
        assert fleet.caller.end(start.result(PATIENCE)) is True
    third = fleet.starts("2001:db8::3 40001 2001:db8:0:1::8 22").result(PATIENCE)
    assert (third["session_status"], len(fleet.questions)) == ("pending", 2)
    assert fleet.caller.end(third) is True
    fleet.covered(parent, connection="2001:db8:0:2::1 40001 2001:db8:0:1::8 22")


def asked_at_all(fleet: Fleet) -> str:
    """The id of the only question, whether there is time left to answer it or not."""
    ((id,),) = wait_until(
        lambda: [tuple(row.values()) for row in fleet.gateway.rows("SELECT id FROM question")], "none"
    )
    return str(id)


def test_without_an_answer_in_time_the_phone_is_asked(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.approved()
    monkeypatch.setattr(presence, "ANSWER_SECONDS", 1)
    start = fleet.starts()
    question = asked_at_all(fleet)
    assert start.result(PATIENCE)["session_status"] == "pending"
    over = "SELECT 1 FROM question WHERE asked_at < now() - interval '1 second'"
    wait_until(lambda: fleet.gateway.rows(over), "its time is not over")
    assert not counts(confirm(fleet.bastion, question)), "too late"


def test_iampass_has_no_longer_to_answer_than_hosts(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.approved()
    time.sleep(asking.FRESH_SECONDS)
    fleet.sandbox.misbehave("poll", Hang(), times=None)
    monkeypatch.setattr(presence, "ANSWER_SECONDS", 3)
    monkeypatch.setattr(asking, "POLL_SECONDS", 60.0)
    start = fleet.starts()
    confirm(fleet.bastion, asked_at_all(fleet))
    assert start.result(PATIENCE)["session_status"] == "pending"


def test_iampass_is_asked_at_that_moment(fleet: Fleet) -> None:
    parent = fleet.approved()
    start = fleet.starts()
    question, _ = told(fleet.bastion, parent)
    fleet.sandbox.walk_away("token-of-alice")
    time.sleep(asking.FRESH_SECONDS)
    confirm(fleet.bastion, question)
    assert start.result(PATIENCE)["session_status"] == "pending"


Change = Callable[[RunningGateway, HostSession], object]


def tamper(statement: str) -> Change:
    return lambda gateway, parent: gateway.rows(statement)


@pytest.mark.parametrize(
    ("change", "more"),
    [
        pytest.param(None, {"connection": "UNKNOWN 65535 UNKNOWN 65535"}, id="no-address"),
        pytest.param(None, {"connection": "fe80::1%eth0 40000 fe80::2%eth0 22"}, id="link-local"),
        pytest.param(None, {"connection": "192.0.2.7 40000 192.0.2.8"}, id="three-parts"),
        pytest.param(None, {"methods": "facial"}, id="stronger-method"),
        pytest.param(None, {"asker": "bob"}, id="second-person"),
        pytest.param(
            lambda gateway, _: gateway.change_host(BASTION, status=HostStatus.SUSPENDED), {}, id="suspended"
        ),
        pytest.param(
            lambda gateway, _: gateway.change_host(BASTION, group_name="others"), {}, id="other-group"
        ),
        pytest.param(
            lambda gateway, _: gateway.change_host(HOST, group_name="others"), {}, id="covered-by-none"
        ),
        pytest.param(
            lambda gateway, parent: gateway.run(
                asking.write_status(gateway.gateway, parent, Status.walkaway)
            ),
            {},
            id="walked-away",
        ),
        pytest.param(tamper("UPDATE session SET methods = '{facial}'"), {}, id="tampered-session"),
        pytest.param(tamper(f"UPDATE host SET machine = 'x' WHERE id = '{BASTION}'"), {}, id="tampered-host"),
    ],
)
def test_nobody_is_asked_who_may_not_cover_it(
    fleet: Fleet, change: Change | None, more: dict[str, str]
) -> None:
    parent = fleet.bastion.ask("alice", methods="device").authentication
    fleet.sandbox.approve(fleet.sandbox.wait_for_request("token-of-alice"))
    assert fleet.bastion.answer(parent) == "active"
    if change is not None:
        change(fleet.gateway, fleet.gateway.session(parent))
    begun = fleet.caller.ask(
        "alice", **{"connection": CONNECTION, "methods": "device", **more}
    ).authentication
    assert begun["session_status"] == "pending"
    assert fleet.questions == []


def test_nobody_is_asked_about_another_person_or_for_a_client_that_does_not_know_such_sessions(
    fleet: Fleet,
) -> None:
    fleet.approved()
    of_bob = fleet.caller.ask("bob", connection=CONNECTION).authentication
    of_client = fleet.caller.start("alice", f"?connection={CONNECTION.replace(' ', '+')}").authentication
    assert of_bob["session_status"] == of_client["session_status"] == "pending"
    assert fleet.questions == []


def test_an_account_that_acts_for_a_person_is_covered_by_nothing_and_covers_nothing(fleet: Fleet) -> None:
    fleet.gateway.transaction(lambda g, c: agents.add(g, c, "claude", "alice", ("web",)))
    fleet.approved()
    begun = fleet.caller.ask("claude", connection=CONNECTION).authentication
    assert begun["queued"] is True
    fleet.caller.end(begun)
    fleet.gateway.rows("DELETE FROM turn")
    fleet.gateway.rows("DELETE FROM session")
    parent = fleet.bastion.ask("claude").authentication
    fleet.sandbox.approve(fleet.sandbox.wait_for_request("token-of-alice"))
    assert fleet.bastion.answer(parent) == "active"
    begun = fleet.caller.ask("alice", connection=CONNECTION).authentication
    assert begun["session_status"] == "pending"
    assert fleet.questions == []


def test_what_a_second_person_has_approved_covers_no_login_of_that_person(fleet: Fleet) -> None:
    of_bob = fleet.bastion.ask("alice", asker="bob").authentication
    fleet.sandbox.approve(fleet.sandbox.wait_for_request("token-of-alice"))
    assert fleet.bastion.answer(of_bob) == "active"
    begun = fleet.caller.ask("alice", connection=CONNECTION).authentication
    assert begun["session_status"] == "pending"
    assert fleet.questions == []


def test_a_host_does_not_cover_its_own_logins(fleet: Fleet) -> None:
    fleet.approved(fleet.further)
    begun = fleet.further.ask("alice", connection=CONNECTION).authentication
    assert begun["session_status"] == "pending"
    assert fleet.questions == []


def test_a_start_that_nothing_can_cover_costs_no_statement_more(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed: list[bytes] = []
    whole = Connection._whole

    def counted(self: Connection, *arguments: Any) -> bytes:
        statement = whole(self, *arguments)
        # Neither what the gateway does on its own nor the question whether an idle connection works, which is empty.
        if database._WHOSE.get() == BASTION and statement:
            executed.append(statement)
        return statement

    fleet.bastion.ask("nobody")  # the first call is noted as the last one of its host, which is a statement
    monkeypatch.setattr(Connection, "_whole", counted)
    numbers = []
    for person, more in (("alice", {}), ("bob", {"connection": CONNECTION})):
        fleet.gateway.gateway.seen.clear()  # that a host has called is written now and then
        executed.clear()
        assert fleet.bastion.ask(person, **more).authentication["session_status"] == "pending"
        numbers.append(len(executed))
    assert numbers[0] == numbers[1] > 0


# Answers


def test_a_host_answers_at_another_gateway(fleet: Fleet, make: Callable[[], RunningGateway]) -> None:
    parent = fleet.approved()
    with make() as other:
        there = at(other, BASTION)
        waits = fleet.submit(told, there, parent)
        wait_until(lambda: len(other.gateway.held) == 1, "the call is not held")
        start = fleet.starts()
        question, _ = waits.result(PATIENCE)
        assert counts(confirm(there, question))
        assert start.result(PATIENCE)["session_status"] == "active"


def test_a_gateway_that_is_killed_before_the_answer_leaves_no_session_and_the_next_one_asks_again(
    fleet: Fleet, conninfo: str, tmp_path: Path
) -> None:
    parent, id = fleet.approved(), new_request_id()
    with GatewayProcess(conninfo, fleet.sandbox, tmp_path, covered_by=["bastion"]) as first:
        lost = fleet.starts(caller=HostCaller(first), request_id=id)
        question, _ = told(fleet.bastion, parent)
        first.kill()
    with pytest.raises(OSError):  # noqa: PT011 - it has hung up
        lost.result(PATIENCE)
    again = fleet.starts(request_id=id)
    other, _ = told(fleet.bastion, parent, but=question)
    assert counts(confirm(fleet.bastion, question)), "it is answered, and nobody waits for it"
    assert counts(confirm(fleet.bastion, other, "no"))
    assert again.result(PATIENCE)["session_status"] == "pending"
    assert fleet.gateway.rows("SELECT * FROM session WHERE parent IS NOT NULL") == []
    assert fleet.rung == 2


def test_a_repeat_has_the_same_session(fleet: Fleet) -> None:
    parent, id = fleet.approved(), new_request_id()
    begun = fleet.covered(parent, request_id=id)
    again = fleet.caller.ask("alice", id, connection=CONNECTION).authentication
    first, second = (each["covered"].pop("nonce") for each in (begun, again))
    assert again == begun
    assert first != second, "each answer names its request"
    other = fleet.covered(parent, caller=fleet.other, request_id=id, connection=LATER)
    assert fleet.other.end(other) is True
    ended = fleet.other.ask("alice", id, connection=LATER).authentication
    assert (ended["authenticated"], ended["reason"]) == (False, "TRY_AGAIN")
    fleet.gateway.rows("DELETE FROM session WHERE parent IS NULL")
    again = fleet.caller.ask("alice", id, connection=CONNECTION).authentication
    assert (again["authenticated"], again["reason"]) == (False, "TRY_AGAIN")
    assert fleet.rung == 1


def test_an_answer_counts_once_and_cannot_be_told_again(fleet: Fleet) -> None:
    parent = fleet.approved()
    start = fleet.starts()
    question, _ = told(fleet.bastion, parent)
    assert [counts(confirm(fleet.bastion, question, each)) for each in ("no", "yes")] == [True, False]
    assert start.result(PATIENCE)["session_status"] == "pending"
    fleet.sandbox.deny(fleet.sandbox.wait_for_request("token-of-alice"))
    again = fleet.starts()
    told(fleet.bastion, parent)
    assert not counts(confirm(fleet.bastion, question)), "of an earlier login"
    other, _ = told(fleet.bastion, parent)
    assert counts(confirm(fleet.bastion, other, "no"))
    assert again.result(PATIENCE)["session_status"] == "pending"


def test_no_other_host_is_asked_or_answers(fleet: Fleet) -> None:
    parent = fleet.approved()
    start = fleet.starts()
    question, _ = told(fleet.bastion, parent)
    for other in (fleet.caller, fleet.other):
        assert ask(other, {}, wait=0).json["questions"] == {}
        assert not counts(confirm(other, question))
    fleet.gateway.change_host(BASTION, status=HostStatus.SUSPENDED)
    assert confirm(fleet.bastion, question).reason == "HOST_SUSPENDED"
    fleet.gateway.change_host(BASTION, status=HostStatus.ACTIVE)
    assert counts(confirm(fleet.bastion, question, "no"))
    assert start.result(PATIENCE)["session_status"] == "pending"


def test_who_writes_to_the_database_answers_for_nobody(fleet: Fleet) -> None:
    parent = fleet.approved()
    start = fleet.starts()
    told(fleet.bastion, parent)
    fleet.gateway.rows("UPDATE question SET answer = true")
    assert start.result(PATIENCE)["session_status"] == "pending"
    assert any(each["kind"] == "alert" and "question" in each["reason"] for each in fleet.gateway.records)
    fleet.gateway.rows(
        "UPDATE session SET parent = %s, status = 'active' WHERE host = %s", UUID(id_of(parent)), HOST
    )

    def is_known() -> bool:
        """While it was seen on the phone within a second, it is said to be there, and nothing else."""
        reply = fleet.caller.session("GET", start.result(), "status_url")
        return reply.status != 404 and reply.authentication["session_status"] == "pending"

    wait_until(lambda: not is_known(), "it is answered")
    assert fleet.caller.session("GET", start.result(), "status_url").status == 404


def test_an_answer_from_another_machine_does_not_count(fleet: Fleet) -> None:
    parent = fleet.approved()
    fleet.gateway.change_host(BASTION, machine="a" * 32)
    start = fleet.starts()
    question, _ = told(fleet.bastion, parent)
    for more in ("", "&machine=" + "b" * 32):
        assert not counts(confirm(fleet.bastion, question, more=more))
    assert fleet.gateway.records[-1]["reason"] == "another machine uses the credential of this host"
    assert counts(confirm(fleet.bastion, question, more="&machine=" + "a" * 32))
    assert start.result(PATIENCE)["session_status"] == "active"


@pytest.mark.parametrize(("question", "answer"), [("x", "yes"), (str(uuid4()), "maybe")])
def test_what_is_no_answer_is_refused(fleet: Fleet, question: str, answer: str) -> None:
    assert confirm(fleet.bastion, question, answer).reason == "BAD_ANSWER"


@pytest.mark.parametrize("what", ["session", "person", "phone", "loss", "host", "bastion"])
def test_what_ends_or_changes_before_the_session_is_written_leaves_none(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """IAMPASS says that it is active, and then it ends."""
    asked = asking.poll_iampass

    async def ask_and_change(inner: Gateway, session: HostSession) -> HostSession:
        found = await asked(inner, session)
        if what == "session":
            await asking.write_status(inner, session, Status.closed)
            return found
        async with inner.database.transaction() as connection:
            if what == "person":
                await people.change(inner, connection, "alice", status=PersonStatus.REMOVING)
            elif what == "phone":
                await people.change(inner, connection, "alice", phone_to_disable=True)
            elif what == "loss":
                lost_at = await statements.now(connection)
                await people.change(inner, connection, "alice", phone_lost_at=lost_at)
            else:
                id = HOST if what == "host" else BASTION
                await hosts.change(inner, connection, id, status=HostStatus.SUSPENDED)
        return found

    parent = fleet.approved()
    monkeypatch.setattr(asking, "poll_iampass", ask_and_change)
    start = fleet.starts()
    question, _ = told(fleet.bastion, parent)
    assert counts(confirm(fleet.bastion, question))
    assert "covered" not in start.result(PATIENCE)
    assert fleet.gateway.rows("SELECT * FROM session WHERE parent IS NOT NULL") == []


def test_a_host_that_nobody_has_admitted_covers_nothing(fleet: Fleet) -> None:
    """It has joined before its group demanded that."""
    fleet.approved()
    fleet.gateway.change_host(BASTION, admitted=False)
    assert fleet.caller.ask("alice", connection=CONNECTION).authentication["session_status"] == "pending"
    assert fleet.questions == []


def test_a_connection_is_one_login(fleet: Fleet) -> None:
    """A host that has heard of a connection to another one says that it leads to itself."""
    parent = fleet.approved()
    begun = fleet.covered(parent)
    start = fleet.starts("::ffff:192.0.2.7 40000 192.0.2.8 22", fleet.other)
    question, _ = told(fleet.bastion, parent)
    assert counts(confirm(fleet.bastion, question))
    again = start.result(PATIENCE)
    assert again["session_status"] == "pending"
    assert fleet.caller.end(begun) is True
    fleet.other.end(again)
    # Who has cut it off can have the bastion's end of it stay.
    start = fleet.starts(caller=fleet.other)
    question, _ = told(fleet.bastion, parent, but=question)
    assert counts(confirm(fleet.bastion, question))
    assert start.result(PATIENCE)["session_status"] == "pending"


def test_the_age_of_the_approval_is_that_of_the_phone(fleet: Fleet) -> None:
    before = time.monotonic()
    parent = fleet.approved()
    time.sleep(3.0)
    assert 3 <= fleet.covered(parent)["covered"]["age"] <= time.monotonic() - before + 1


def test_a_host_asks_no_more_than_its_share(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = fleet.approved()
    monkeypatch.setattr(presence, "QUESTIONS_A_MINUTE", 2)
    for port in (40001, 40002):
        fleet.caller.end(fleet.covered(parent, connection=f"192.0.2.7 {port} 192.0.2.8 22"))
    assert fleet.caller.ask("alice", connection=CONNECTION).authentication["session_status"] == "pending"
    assert len(fleet.questions) == 2
    what = "this host has asked all its questions of a minute: its people are asked on the phone"
    assert alerts(fleet) == [(f"name-of-{HOST}", what)]
    assert fleet.covered(parent, caller=fleet.other)


def test_the_starts_of_one_person_leave_others_questions(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_alice, of_bob = fleet.approved(), fleet.approved(person="bob")
    monkeypatch.setattr(presence, "QUESTIONS_A_MINUTE", 3)
    monkeypatch.setattr(presence, "_QUESTIONS_OF_PERSON", 2)
    for port in (40001, 40002):
        fleet.caller.end(fleet.covered(of_alice, connection=f"192.0.2.7 {port} 192.0.2.8 22"))
    assert fleet.caller.ask("alice", connection=CONNECTION).authentication["session_status"] == "pending"
    what = "this host has asked all questions of a minute for one person: its people are asked on the phone"
    assert alerts(fleet) == [(f"name-of-{HOST}", what)]
    start = fleet.submit(lambda: fleet.caller.ask("bob", connection=CONNECTION).authentication)
    question, _ = told(fleet.bastion, of_bob)
    assert counts(confirm(fleet.bastion, question))
    assert start.result(PATIENCE)["session_status"] == "active"


def test_sessions_that_may_not_cover_it_keep_none_from_being_asked_about(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "_MOST_CANDIDATES", 1)
    fleet.change_groups(further=GroupSettings(everybody=True, covered_by=frozenset({"bastion", "servers"})))
    fleet.gateway.add_host("h-eeeeeeeeeeee", group="servers")
    parent = fleet.approved()
    fleet.covered(parent)
    of_bob = fleet.other.ask("alice", asker="bob").authentication
    fleet.sandbox.approve(fleet.sandbox.wait_for_request("token-of-alice"))
    assert fleet.other.answer(of_bob) == "active"
    fleet.approved(at(fleet.gateway, "h-eeeeeeeeeeee"))
    fleet.gateway.change_host("h-eeeeeeeeeeee", admitted=False)
    assert fleet.covered(parent, caller=fleet.further, connection="192.0.2.7 40001 192.0.2.9 22")


# Further hosts


def test_a_covered_login_covers_no_further_one(fleet: Fleet) -> None:
    fleet.covered(fleet.approved())
    begun = fleet.further.ask("alice", connection="192.0.2.8 40001 192.0.2.9 22").authentication
    assert begun["session_status"] == "pending"
    assert len(fleet.questions) == 1


def test_it_does_if_its_group_says_so_and_all_end_with_the_first(fleet: Fleet) -> None:
    fleet.change_groups(
        **{name: replace(GROUPS[name], covers_further=True) for name in ("servers", "further")}
    )
    chain = [(fleet.bastion, fleet.approved())]
    ids = [HOST, FURTHER, *(f"h-{each * 12}" for each in "ef")]
    for id in ids[2:]:
        fleet.gateway.add_host(id, group="further")
    for id in ids[:3]:
        there, parent = chain[-1]
        version, caller = fleet.gateway.session(parent).version, at(fleet.gateway, id)
        chain.append((caller, fleet.covered(parent, version, caller, there)))
    there, begun = chain[-1]
    start = fleet.starts(caller=at(fleet.gateway, ids[3]))
    question, _ = told(there, begun, 1)
    assert counts(confirm(there, question))
    assert start.result(PATIENCE)["session_status"] == "pending", "too far from the phone"
    ends = fleet.submit(ask, there, {id_of(begun): 1})
    fleet.sandbox.close(1)
    assert changed(ends.result(PATIENCE)) == {id_of(begun): {"status": "closed", "version": 2}}
    assert {each.poll(begun) for each, begun in chain} == {"closed"}


# Its end


End = Callable[[RunningGateway, Any, Sandbox], object]


@pytest.mark.parametrize(
    ("end", "status"),
    [
        pytest.param(lambda _, __, sandbox: sandbox.close("token-of-alice"), "closed", id="phone"),
        pytest.param(
            lambda _, __, sandbox: sandbox.walk_away("token-of-alice"), "walkaway", id="walked-away"
        ),
        pytest.param(
            lambda gateway, parent, _: gateway.run(
                asking.end_session(gateway.gateway, gateway.session(parent))
            ),
            "closed",
            id="its-host-or-an-administrator",
        ),
        pytest.param(
            lambda gateway, parent, _: gateway.run(
                asking.write_status(gateway.gateway, gateway.session(parent), Status.timeout)
            ),
            "timeout",
            id="time-is-over",
        ),
        pytest.param(
            lambda gateway, *_: gateway.change_host(BASTION, status=HostStatus.SUSPENDED),
            "closed",
            id="host-suspended",
        ),
        pytest.param(
            lambda gateway, *_: gateway.transaction(
                lambda gateway, connection: sessions.remove_host(gateway, connection, f"name-of-{BASTION}")
            ),
            "closed",
            id="host-removed",
        ),
    ],
)
def test_no_session_outlives_the_one_that_covers_it(fleet: Fleet, end: End, status: str) -> None:
    parent = fleet.approved()
    begun = fleet.covered(parent)
    ends = fleet.submit(ask, fleet.caller, {id_of(begun): 1})
    wait_until(lambda: len(fleet.gateway.gateway.held) == 1, "the call is not held")
    end(fleet.gateway, parent, fleet.sandbox)
    assert changed(ends.result(PATIENCE)) == {id_of(begun): {"status": status, "version": 2}}
    record = fleet.gateway.records[-1]
    if status != "walkaway":
        assert fleet.caller.poll(begun) == status
        assert (record["host"], record["reason"]) == (f"name-of-{HOST}", status)
        assert fleet.gateway.session(begun).state is State.ENDED
        return
    back = fleet.submit(ask, fleet.caller, {id_of(begun): 2})
    fleet.sandbox.come_back("token-of-alice")
    assert changed(back.result(PATIENCE)) == {id_of(begun): {"status": "active", "version": 3}}


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM session WHERE parent IS NULL",
        "UPDATE session SET status = 'walkaway', version = 9 WHERE parent IS NULL",
        "UPDATE session SET state = 'ended', status = 'closed' WHERE parent IS NULL",
        f"DELETE FROM host WHERE id = '{BASTION}'",
    ],
)
def test_who_writes_to_the_database_ends_no_covered_login(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    look = looks(monkeypatch, presence, "_write_statuses")
    begun = fleet.covered(fleet.approved())
    # Rows that no gateway has written keep no genuine one from being looked at.
    fleet.gateway.rows(
        "INSERT INTO session SELECT (forged).* FROM (SELECT jsonb_populate_record(session, jsonb_build_object("
        "'id', ('00000000-0000-4000-8000-' || lpad(number::text, 12, '0')), 'request_id', number::text)) AS forged"
        " FROM session, generate_series(1, 150) AS number WHERE parent IS NOT NULL) AS rows"
    )
    fleet.gateway.rows(statement)
    look()
    assert fleet.caller.session("GET", begun, "status_url").status == 503
    assert (fleet.gateway.session(begun).state, fleet.gateway.session(begun).status) == (
        State.OPEN,
        Status.active,
    )
    assert any(record["kind"] == "alert" for record in fleet.gateway.records)


@pytest.mark.parametrize(
    ("end", "status"),
    [
        pytest.param(lambda _, __, sandbox: sandbox.close("token-of-alice"), "closed", id="phone"),
        pytest.param(
            lambda gateway, *_: gateway.change_host(BASTION, status=HostStatus.SUSPENDED),
            "closed",
            id="suspended",
        ),
    ],
)
def test_a_poll_asks_about_the_parent_at_that_moment(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, end: End, status: str
) -> None:
    parent = fleet.approved()
    begun = fleet.covered(parent)

    async def never(_: Gateway) -> None:
        raise DatabaseAway("not now")

    monkeypatch.setattr(presence, "_write_statuses", never)
    assert fleet.caller.poll(begun) == "active"
    end(fleet.gateway, parent, fleet.sandbox)
    time.sleep(asking.FRESH_SECONDS)
    assert fleet.caller.poll(begun) == status


def test_its_own_time_ends_it_too(fleet: Fleet) -> None:
    parent = fleet.approved()
    begun = fleet.covered(parent, duration_seconds="2")
    assert changed(ask(fleet.caller, {id_of(begun): 1})) == {
        id_of(begun): {"status": "timeout", "version": 2}
    }
    assert fleet.bastion.poll(parent) == "active"


def test_what_a_host_that_hangs_up_has_begun_is_found_by_a_repeat_or_ended_by_its_time(fleet: Fleet) -> None:
    """As any session that is kept for a host that is gone."""
    parent = fleet.approved()
    begun = []
    for caller, address, more in (
        (fleet.caller, CONNECTION, {}),
        (fleet.other, LATER, {"duration_seconds": "1"}),
    ):
        asked = {"request_id": new_request_id(), "connection": address, **more}
        path = f"/authentication/authenticate_user/{caller.sandbox.application_id}/alice?{urlencode(asked)}"
        connection = caller.connect()
        headers = {**caller.application(path), "Content-Type": "application/json"}
        connection.request("POST", path, b"{}", headers)
        question, _ = told(fleet.bastion, parent)
        connection.close()
        assert counts(confirm(fleet.bastion, question))
        begun.append((caller, asked))
    children = "SELECT state, status FROM session WHERE parent IS NOT NULL ORDER BY expires_at"
    ends = [{"state": "ended", "status": "timeout"}, {"state": "open", "status": "active"}]
    wait_until(lambda: fleet.gateway.rows(children) == ends, "its time does not end it")
    caller, asked = begun[0]
    again = caller.ask("alice", **asked).authentication
    assert (again["session_status"], caller.poll(again)) == ("active", "active")
    assert fleet.rung == 1


def test_it_is_shown_below_the_session_that_covers_it(fleet: Fleet) -> None:
    parent = fleet.approved()
    other = fleet.approved(fleet.other, "bob")
    child = fleet.covered(parent)
    found, _ = fleet.gateway.transaction(sessions.listing)
    assert [str(each.id) for each, _, _ in found] == [id_of(parent), id_of(child), id_of(other)]


def test_a_logout_ends_nothing_but_its_own_session(fleet: Fleet) -> None:
    parent = fleet.approved()
    begun = fleet.covered(parent)
    assert fleet.caller.end(begun) is True
    assert fleet.caller.end(begun) is False
    assert fleet.caller.poll(begun) == "closed"
    assert fleet.bastion.poll(parent) == "active"
    assert [each.open for each in fleet.sandbox.sessions] == [True]
    assert "end" not in {call.kind for call in fleet.sandbox.calls}


def test_no_gateway_polls_iampass_for_a_covered_session(
    fleet: Fleet, make: Callable[[], RunningGateway]
) -> None:
    parent = fleet.approved()
    begun = fleet.covered(parent)
    fleet.gateway.rows("DELETE FROM lease_holder")
    with make():
        wait_until(
            lambda: fleet.gateway.rows("SELECT 1 FROM lease JOIN lease_holder ON id = holder"), "nobody polls"
        )
        assert fleet.gateway.rows("SELECT session FROM lease") == [{"session": UUID(id_of(parent))}]
        assert fleet.caller.poll(begun) == "active"


# The agent of the host that is asked


@pytest.mark.parametrize("begins_there", [True, False])
def test_the_agent_answers_about_the_login_that_it_is_asked_about(
    gateway: RunningGateway,
    agent: Keeping,
    monkeypatch: pytest.MonkeyPatch,
    begins_there: bool,
) -> None:
    asked = []

    def begins_in(_: KeptSessions, ident: str, connection: str) -> bool:
        asked.append((ident, connection))
        return begins_there

    monkeypatch.setattr(KeptSessions, "begins_in", begins_in)
    kept, _ = log_in(agent, gateway)
    (approved,) = agent.world.sandbox.sessions
    further = at(gateway, FURTHER)
    begun = further.ask(ME, connection=CONNECTION).authentication
    assert ("covered" in begun) is begins_there
    assert asked == [(kept, CONNECTION)]
    agent.world.sandbox.close(approved)
    wait_until(lambda: agent.asked, "the login goes on")
    assert (agent.asked[0].verb, agent.asked[0].others_first) == (Verb.END, begins_there)


def test_the_agent_is_asked_again_about_a_login_that_has_just_begun(
    gateway: RunningGateway, agent: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login through a jump host begins there at the same moment: its session is in no call yet."""
    known, _ = log_in(agent, gateway)
    monkeypatch.setattr(KeptSessions, "begins_in", lambda _, ident, __: ident != known)
    agent.log_in()
    begun = at(gateway, FURTHER).ask(ME, connection=CONNECTION).authentication
    assert "covered" in begun
    newest = gateway.rows("SELECT id FROM session WHERE host = %s ORDER BY began_at DESC", HOST)[0]["id"]
    assert gateway.session(begun).parent == newest
