"""A host with two gateways, which are processes of their own: one after the other is stopped while logins wait."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest

from pam_iampass.agent.context import TIMESTAMP_TICK
from pam_iampass.client.gateways import CONNECT_SECONDS
from pam_iampass.outcome import PamCode
from tests.gateway.test_joined_host import host
from tests.support.black_hole import silence
from tests.support.door import Told
from tests.support.gateway import ELSEWHERE, HOST, HOST_SECRET, RunningGateway, settings_for
from tests.support.gateway_process import GatewayProcess
from tests.support.running_agent import Running, running
from tests.support.sessions import keeping
from tests.support.setting import ME, Setting
from tests.support.world import wait_until

__all__ = ["host"]

pytestmark = pytest.mark.long

TOKEN = "token-at-the-gateway"
#: For how many seconds a login waits for the phone.
TIMEOUT = 180
#: How long a login may take to go on at another gateway, with an approval that is there. Seconds.
SOON = 6.0
#: The same if the kernel has to notice that nobody is there, or if a gateway that hangs holds a poll.
NOTICED, HELD = 25.0, 20.0


Gateways = tuple[GatewayProcess, GatewayProcess]


class Fleet:
    """Two gateways, and a host with its agent."""

    def __init__(self, gateways: Gateways, host: Setting, agent: Running) -> None:
        self.first, self.second = gateways
        self.agent = agent
        self.sandbox = host.sandbox
        self.records = host.records.fields
        self._pool = ThreadPoolExecutor(4)

    def begin(self) -> Future[Told]:
        """A login, whose phone rings when this returns."""
        before = len(self.sandbox.sessions)
        login = self._pool.submit(self.agent.login, TIMEOUT)
        wait_until(lambda: len(self.sandbox.sessions) > before, "the phone does not ring")
        return login

    def approved(self, login: Future[Told]) -> float:
        """How long after an approval the login succeeds. Seconds."""
        self.sandbox.approve(TOKEN)
        began = time.monotonic()
        assert login.result().code == PamCode.SUCCESS
        return time.monotonic() - began


def joined_to(host: Setting, *gateways: GatewayProcess, timeout: int = TIMEOUT) -> dict[str, str]:
    """Write the settings of a host that has joined these; returns them."""
    host.write("application-secret", HOST_SECRET)
    host.write("ca.pem", gateways[0].ca_file.read_text())
    urls = ", ".join(gateway.url for gateway in gateways)
    joined = {
        "application_id": HOST,
        "gateways": f"[{urls}]",
        "unavailable": "ignore",
        "timeout": f"{timeout}s",
    }
    host.configure(**joined)
    return joined


@pytest.fixture
def gateways(host: Setting, conninfo: str, tmp_path: Path) -> Iterator[Gateways]:
    """Two, of which the first is at an address of its own."""
    with RunningGateway(settings_for(conninfo, host.sandbox, tmp_path)) as running_gateway:
        running_gateway.populate()
        running_gateway.add_person(ME, TOKEN)
    with (
        GatewayProcess(conninfo, host.sandbox, tmp_path, address=ELSEWHERE) as first,
        GatewayProcess(conninfo, host.sandbox, tmp_path) as second,
    ):
        yield first, second


@pytest.fixture
def fleet(host: Setting, gateways: Gateways) -> Iterator[Fleet]:
    host.sandbox.auto = "ignore"
    joined_to(host, *gateways)
    time.sleep(2 * TIMESTAMP_TICK)  # what the agent knows of gateways lasts as long as what it has read
    with running(host) as agent:
        yield Fleet(gateways, host, agent)


@contextmanager
def after(stop: Callable[[], None]) -> Iterator[None]:
    stop()
    yield


def hangs(gateway: GatewayProcess) -> None:
    gateway.signal(signal.SIGSTOP)


#: What becomes of a gateway, and how long a login that waits there may take to go on at the other one. Seconds.
LOST: dict[str, tuple[Callable[[GatewayProcess], AbstractContextManager[None]], float]] = {
    "killed": (lambda gateway: after(gateway.kill), SOON),
    "stopped": (lambda gateway: after(gateway.terminate), SOON),
    "without power": (lambda _: silence(ELSEWHERE), NOTICED),
    "hanging": (lambda gateway: after(partial(hangs, gateway)), HELD),
}


def goes_on(fleet: Fleet, how: str) -> float:
    """How long a login takes to go on that waits at the first gateway when that one is lost. Its phone rings once."""
    login = fleet.begin()
    fleet.first.wait_until_held()
    with LOST[how][0](fleet.first):
        took = fleet.approved(login)
    assert len(fleet.sandbox.sessions) == 1
    return took


@pytest.mark.parametrize("how", LOST)
def test_a_login_that_waits_goes_on_at_the_other_gateway_and_its_phone_rings_once(
    fleet: Fleet, how: str
) -> None:
    goes_on(fleet, how)
    assert fleet.sandbox.wait_for_end(TOKEN)


@pytest.mark.alone
@pytest.mark.parametrize("how", LOST)
def test_a_gateway_that_is_lost_while_a_login_waits_is_passed_by_in_time(fleet: Fleet, how: str) -> None:
    assert goes_on(fleet, how) < LOST[how][1]


@pytest.mark.alone
def test_a_gateway_that_does_not_connect_costs_the_first_login_three_seconds_and_the_next_ones_nothing(
    fleet: Fleet,
) -> None:
    with silence(ELSEWHERE):
        for least, most in ((CONNECT_SECONDS, CONNECT_SECONDS + SOON), (0.0, CONNECT_SECONDS)):
            began = time.monotonic()
            login = fleet.begin()
            assert least <= time.monotonic() - began < most
            fleet.approved(login)
            fleet.sandbox.wait_for_end(TOKEN)
            assert len(fleet.sandbox.sessions) == 1 + (not least)
    reasons = [fields["IAMPASS_REASON"] for fields in fleet.records if "IAMPASS_OUTCOME" in fields]
    assert reasons == ["", ""]


def test_the_end_on_the_phone_arrives_by_the_other_gateway(host: Setting, gateways: Gateways) -> None:
    first, second = gateways
    host.sandbox.auto = "approve"
    with keeping(host, **joined_to(host, first, second)) as agent:
        kept, login = agent.log_in()
        first.kill()
        host.sandbox.close(TOKEN)
        wait_until(lambda: login.over, "the login goes on")
        agent.wait_until_forgotten(kept)


def test_both_gateways_away_are_an_outage_only_if_nothing_was_sent(host: Setting, gateways: Gateways) -> None:
    host.sandbox.auto = "ignore"
    joined_to(host, *gateways, timeout=20)
    with running(host) as agent:
        fleet = Fleet(gateways, host, agent)
        waiting = fleet.begin()
        fleet.first.wait_until_held()
        for gateway in gateways:
            gateway.kill()
        assert waiting.result().code == PamCode.ABORT
        assert agent.login(service="sshd", uid="0").code == PamCode.IGNORE
    decided = [fields["IAMPASS_RESULT"] for fields in fleet.records if "IAMPASS_OUTCOME" in fields]
    assert decided == ["denied", "ignored"]
