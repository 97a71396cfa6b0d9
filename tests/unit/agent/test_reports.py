"""The reports of logins that needed no phone: they wait in a bounded queue, survive the agent, and are sent once."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, cast

import pytest

from pam_iampass.agent import reports
from pam_iampass.agent.reports import AT_ONCE, LoginReports
from pam_iampass.client import AuthenticationAPI
from pam_iampass.client.errors import IampassError, ProtocolError, Unavailable
from pam_iampass.errors import ConfigurationError
from pam_iampass.outcome import Decision, Login, Outcome, Participants, Result
from pam_iampass.system.database import Database
from tests.support.setting import state_in
from tests.support.state_file import uncommittable
from tests.support.world import wait_until

EXEMPT = Decision(Outcome.EXEMPT, Result.IGNORED, "exempt: user backup")
BACKUP = Login("backup", "sshd", "192.0.2.9", participants=Participants(caller="root"))


class Gateway:
    """A gateway that takes reports, or fails."""

    def __init__(self) -> None:
        self.calls: list[list[dict[str, Any]]] = []
        self.fails: Exception | None = None
        self.transport = SimpleNamespace(origin=SimpleNamespace(gateways=True))

    def report(self, found: list[dict[str, Any]], _machine: str, **_options: Any) -> None:
        self.calls.append(found)
        if self.fails is not None:
            raise self.fails

    @property
    def told(self) -> list[dict[str, Any]]:
        return [each for call in self.calls for each in call]


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


Connect = Callable[[str], AuthenticationAPI]
MakeQueue = Callable[..., LoginReports]


@pytest.fixture
def queue(own_folder: Path, gateway: Gateway) -> Iterator[MakeQueue]:
    """Makes the queue of an agent; of another agent that follows the one before."""
    opened: list[Database] = []

    def make(*times: float, connect: Connect | None = None) -> LoginReports:
        """The clock shows each of these times once, and the last one from then on."""
        for database in opened:
            database.close()
        opened.append(state_in(own_folder).database)
        clock = itertools.chain(times[:-1], itertools.repeat(times[-1] if times else 1000.0))
        made = LoginReports(
            opened[-1], connect or (lambda _config: cast("AuthenticationAPI", gateway)), clock.__next__
        )
        opened[-1].open()
        return made

    yield make
    for database in opened:
        database.close()


def add(found: LoginReports, number: int = 1, login: Login = BACKUP) -> None:
    for _ in range(number):
        found.add("iampass.yaml", Login(login.user, login.service, login.rhost), EXEMPT)


def test_the_gateway_is_told_who_logged_in_how_and_how_long_ago(queue: MakeQueue, gateway: Gateway) -> None:
    found = queue(1000.0, 1007.4)
    found.add("iampass.yaml", BACKUP, EXEMPT)
    assert found.send()
    assert gateway.told == [
        {
            **{"login": BACKUP.id, "ago": 7, "outcome": "exempt", "user": "backup", "service": "sshd"},
            **{"remote": "192.0.2.9", "caller": "root", "reason": "exempt: user backup"},
        }
    ]
    assert found.send()
    assert len(gateway.calls) == 1


def test_a_clock_that_was_wrong_at_the_login_makes_no_report_that_a_gateway_refuses(
    queue: MakeQueue, gateway: Gateway
) -> None:
    found = queue(0.0, 1.8e9)
    add(found, 2)
    assert found.send()
    assert [each["ago"] for each in gateway.told] == [30 * 86400, 0]


@pytest.mark.parametrize("error", [Unavailable("away"), IampassError("refused"), ConfigurationError([])])
def test_what_cannot_be_sent_waits(queue: MakeQueue, gateway: Gateway, error: Exception) -> None:
    found = queue()
    add(found)
    gateway.fails = error
    assert not found.send()
    gateway.fails = None
    assert found.send()
    first, second = gateway.told
    assert first == second


def test_what_waits_survives_the_agent_and_is_not_sent_again(queue: MakeQueue, gateway: Gateway) -> None:
    before = queue()
    add(before, 3)
    before.write()
    after = queue(1060.0)
    assert after.send()
    assert [each["ago"] for each in gateway.told] == [60] * 3
    after.write()
    assert queue().send()
    assert len(gateway.told) == 3


def test_what_could_not_be_committed_is_written_the_next_time(queue: MakeQueue, gateway: Gateway) -> None:
    before = queue()
    add(before)
    with uncommittable(before._database):
        before.write()
    before.write()
    assert queue().send()
    assert len(gateway.told) == 1


def test_the_queue_is_bounded_and_what_it_loses_is_counted_once(
    queue: MakeQueue, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "MOST", 5)
    found = queue()
    add(found, 12)
    gateway.fails = Unavailable("away")
    assert not found.send()
    gateway.fails = None
    gateway.calls.clear()
    assert found.send()
    assert ["lost" in each for each in gateway.told] == [False] * 5 + [True]
    assert gateway.told[-1]["lost"] == 7


def test_what_is_lost_while_no_gateway_answers_is_one_number_and_survives_the_agent(
    queue: MakeQueue, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "MOST", AT_ONCE + 1)
    found = queue()
    gateway.fails = Unavailable("away")
    for _ in range(4):
        add(found, AT_ONCE)
        assert not found.send()
        found.write()
    after = queue()
    gateway.fails = None
    gateway.calls.clear()
    assert after.send()
    assert [each["lost"] for each in gateway.told if "lost" in each] == [3 * AT_ONCE - 1]


def test_a_number_that_a_gateway_may_know_already_does_not_change(
    queue: MakeQueue, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "MOST", 1)
    found = queue()
    gateway.fails = Unavailable("the answer was lost")
    for _ in range(2):
        add(found, 3)
        assert not found.send()
    numbers = {(each["login"], each["lost"]) for each in gateway.told if "lost" in each}
    assert sorted(number for _, number in numbers) == [2, 3]
    assert len({id for id, _ in numbers}) == 2


def test_a_rescue_that_finds_no_room_is_not_counted_since_it_comes_again(
    queue: MakeQueue, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "MOST", 2)
    found, rescue = queue(), {"outcome": "unavailable", "user": "root"}
    add(found)
    for _ in range(3):
        assert found.put("iampass.yaml", "a" * 32, 900.0, rescue)
        assert not found.put("iampass.yaml", "b" * 32, 900.0, rescue)
    assert found.send()
    assert found.put("iampass.yaml", "b" * 32, 900.0, rescue)
    assert found.send()
    assert [each["login"] for each in gateway.told[1:]] == ["a" * 32, "b" * 32]


def test_one_person_leaves_room_in_the_queue_for_others(
    queue: MakeQueue, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "MOST_OF_ONE", 3)
    found = queue()
    for target in ("alice", "root", "bob", "carol", "dave"):
        found.add("iampass.yaml", Login(target, "su", participants=Participants(caller="alice")), EXEMPT)
    add(found, 1, Login("alice", "sshd"))
    add(found, 1, Login("root", "sshd"))
    assert found.send()
    assert [each.get("user") for each in gateway.told] == ["alice", "root", "bob", None, "root"]
    assert gateway.told[3]["lost"] == 3


def test_a_call_is_no_larger_than_a_gateway_takes(queue: MakeQueue, gateway: Gateway) -> None:
    found = queue()
    add(found, AT_ONCE + 1)
    add(found, 3, Login("\U0001d4b3" * 5000, "\U0001d4b3" * 5000, "\U0001d4b3" * 5000))
    assert found.send()
    assert [len(call) for call in gateway.calls] == [AT_ONCE, 4]
    assert max(len(json.dumps({"reports": call})) for call in gateway.calls) <= 16 * 1024


def test_what_the_gateway_does_not_understand_holds_up_nothing(queue: MakeQueue, gateway: Gateway) -> None:
    found = queue()
    add(found, 2)
    gateway.fails = ProtocolError("report: 400 Bad Request")
    assert not found.send()
    gateway.fails = None
    gateway.calls.clear()
    add(found)
    assert found.send()
    assert sorted(each.get("lost", 1) for each in gateway.told) == [1, 2]


def test_settings_that_cannot_be_read_and_gateways_that_are_away_hold_up_no_other_reports(
    queue: MakeQueue, gateway: Gateway
) -> None:
    away = Gateway()
    away.fails = Unavailable("away")
    apis = {"away.yaml": away, "iampass.yaml": gateway}

    def connect(config: str) -> AuthenticationAPI:
        if config not in apis:
            raise ConfigurationError([])
        return cast("AuthenticationAPI", apis[config])

    found = queue(connect=connect)
    for config in (*["gone.yaml"] * (AT_ONCE + 2), "away.yaml", "iampass.yaml"):
        found.add(config, Login("backup", "sshd"), EXEMPT)
    assert not found.send()
    assert len(gateway.told) == 1
    add(found)
    assert not found.send()
    assert len(gateway.told) == 2
    apis["gone.yaml"], away.fails = gateway, None
    assert found.send()
    assert [each["lost"] for each in gateway.told[2:]] == [AT_ONCE + 2]
    assert len({each["login"] for each in away.told}) == 1


def test_a_host_without_a_gateway_tells_nobody(queue: MakeQueue, gateway: Gateway) -> None:
    gateway.transport.origin.gateways = False
    found = queue()
    add(found)
    assert found.send()
    assert gateway.calls == []


def test_nothing_of_a_login_can_break_a_report(queue: MakeQueue, gateway: Gateway) -> None:
    found = queue()
    add(found, 1, Login("eve\udcff\n\x1b[31m" + "x" * 5000, "sshd", "\u202e"))
    assert found.send()
    (told,) = gateway.told
    assert all(text.isprintable() and len(text) <= 200 for text in map(str, told.values()))


def test_the_thread_sends_what_comes_and_tries_again(
    queue: MakeQueue, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GATHER", "AGAIN"):
        monkeypatch.setattr(reports, name, 0.01)
    gateway.fails = Unavailable("away")
    found = queue()
    found.start()
    add(found)
    wait_until(lambda: len(gateway.calls) >= 2, "it is not tried again")
    gateway.fails = None
    wait_until(lambda: not found._queue, "it is not sent")
    found.stop()
