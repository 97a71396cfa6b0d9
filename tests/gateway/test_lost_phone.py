"""A phone that is reported lost approves nothing, whether or not IAMPASS answers and the command goes on, until IAMPASS
has disabled it; and ends of sessions that were stopped go on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from pam_iampass.gateway.acts.act import Act, perform
from pam_iampass.gateway.acts.hosts import SuspendHost
from pam_iampass.gateway.acts.people import BypassPhone, NewCodes
from pam_iampass.gateway.acts.phones import ReportLostPhone, tell_of_lost_phone
from pam_iampass.gateway.acts.sessions import EndSessions
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.calls import codes
from pam_iampass.gateway.check import restored
from pam_iampass.gateway.people import people, steps
from pam_iampass.gateway.requests import bypasses
from pam_iampass.gateway.serving import watching
from pam_iampass.gateway.sign_in import passkeys
from pam_iampass.gateway.sign_in.passkeys import Phone
from pam_iampass.login.recovery import HOW_MANY
from pam_iampass.sandbox.sessions import EndedBy
from tests.gateway.test_acts import ROOT
from tests.support.deadline import PATIENCE
from tests.support.gateway import HOST, HostCaller, RunningGateway, looks
from tests.support.gateway_command import GatewayCommand
from tests.support.sandbox import Held, HttpStatus, Junk, ReplacedKey, Sandbox
from tests.support.world import wait_until

TOKEN = "token-of-alice"
AWAY = HttpStatus(503)
LEFT = "SELECT 1 FROM step UNION ALL SELECT 1 FROM person WHERE phone_to_disable"
"""Finds what IAMPASS is still to be told."""


class KilledError(Exception):
    """The process ends after the commit, before anything else."""


@dataclass(frozen=True)
class KilledReport(ReportLostPhone):
    async def after(self, gateway: Gateway, done: Any) -> Any:
        raise KilledError


@dataclass(frozen=True)
class KilledEnd(EndSessions):
    async def after(self, gateway: Gateway, done: Any) -> Any:
        raise KilledError


@dataclass(frozen=True)
class KilledSuspension(SuspendHost):
    async def after(self, gateway: Gateway, done: Any) -> Any:
        raise KilledError


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway goes on at once with what others have begun."""
    monkeypatch.setattr(steps, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(watching, "_STEPS_SECONDS", 0.1)


@pytest.fixture
def killed(at_once: None, gateway_server: RunningGateway) -> Any:
    """Performs an act in a process that is killed after the commit."""

    def kill(act: Act[Any]) -> None:
        with pytest.raises(KilledError):
            gateway_server.run(perform(gateway_server.gateway, ROOT, act))

    return kill


def report(running: RunningGateway, **terms: Any) -> Any:
    return running.run(perform(running.gateway, ROOT, ReportLostPhone("alice", **terms)))


def why_not(caller: HostCaller) -> Any:
    return caller.ask("alice").authentication["reason"]


def approved(caller: HostCaller, sandbox: Sandbox) -> Any:
    """What begins a session of alice, who approves it."""
    begun = caller.ask("alice").authentication
    sandbox.approve(TOKEN)
    assert caller.answer(begun) == "active"
    return begun


def test_sessions_bypasses_and_the_phone_end_and_codes_are_named_and_kept(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    kept, waiting = approved(caller, sandbox), caller.ask("alice").authentication
    for act in (BypassPhone("alice", 60.0), BypassPhone("bob", 60.0), NewCodes("alice")):
        gateway_server.run(perform(gateway_server.gateway, ROOT, act))
    done = report(gateway_server)
    assert (len(done.ended.were_open), done.bypasses, done.codes, done.error) == (2, 1, HOW_MANY, None)
    assert (caller.poll(kept), caller.answer(waiting)) == ("closed", "closed")
    assert None not in [session.ended_by for session in sandbox.sessions]
    assert not sandbox.users[TOKEN]
    left, _ = gateway_server.transaction(bypasses.listing)
    assert [bypass.person for bypass in left] == ["bob"]
    assert why_not(caller) == "NO_MOBILE_DEVICE", "IAMPASS knows that there is none"
    found = [record for record in gateway_server.records if record.get("what") == "phone_lost"]
    assert [(each["person"], each.get("caller"), each["reason"]) for each in found] == [
        ("alice", "zoe", f"sessions to end: 2; bypasses ended: 1; recovery codes left: {HOW_MANY}"),
        ("alice", None, "disabled at IAMPASS"),
    ]
    assert report(gateway_server, end_codes=True).codes == 0
    assert gateway_server.transaction(lambda g, c: codes.stored(g, c, "alice")) is None
    assert gateway_server.rows(LEFT) == []


def test_while_iampass_is_away_a_lost_phone_rings_for_nobody_and_a_new_bypass_lets_in(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    kept = approved(caller, sandbox)
    for kind in ("end", "lost_device"):
        sandbox.misbehave(kind, AWAY, times=None)
    done = report(gateway_server)
    assert (done.error.status, [error.status for error in done.ended.errors]) == (503, [503])
    assert caller.poll(kept) == "closed"
    told = caller.ask("alice").authentication
    assert (told["reason"], told["refusal"]["outcome"]) == ("PHONE_LOST", "no_device")
    assert len(sandbox.sessions) == 1, "the phone does not ring"
    assert "reason" not in caller.ask("bob").authentication
    gateway_server.run(perform(gateway_server.gateway, ROOT, BypassPhone("alice", 60.0)))
    assert why_not(caller) == "BYPASSED"


@pytest.mark.usefixtures("at_once")
def test_whoever_deletes_rows_makes_no_lost_phone_count_again(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    sandbox.misbehave("lost_device", AWAY, times=None)
    report(gateway_server)
    gateway_server.rows(
        "WITH no_steps AS (DELETE FROM step), no_turns AS (DELETE FROM turn) DELETE FROM record"
    )
    assert why_not(caller) == "PHONE_LOST"
    alice = gateway_server.transaction(lambda g, c: people.find(g, c, "alice"))
    assert alice is not None
    assert gateway_server.run(passkeys.phone_of(gateway_server.gateway, alice)) is Phone.LOST
    assert not sandbox.sessions
    sandbox.behave()
    wait_until(lambda: not sandbox.users[TOKEN], "no gateway goes on")


def test_what_a_lost_phone_approves_lets_nobody_in_although_rows_were_deleted(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    sandbox.misbehave("lost_device", AWAY, times=None)
    begun = caller.ask("alice", service="sshd", remote="192.0.2.7").authentication
    queued = caller.ask("alice", service="sshd", remote="192.0.2.8").authentication
    with pytest.raises(KilledError):
        gateway_server.run(perform(gateway_server.gateway, ROOT, KilledReport("alice")))
    gateway_server.rows("DELETE FROM step")
    gateway_server.rows("UPDATE turn SET state = jsonb_set(state, '{lost}', '0')")
    sandbox.approve(TOKEN)
    assert caller.answer(begun) == "closed"
    assert caller.answer(queued) == "failed"
    assert len(sandbox.sessions) == 1
    assert gateway_server.rows("SELECT 1 FROM session WHERE approved") == []


@pytest.mark.usefixtures("at_once")
def test_iampass_is_told_again_until_it_has_disabled_the_phone_and_ended_the_sessions(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    approved(caller, sandbox)
    for kind in ("end", "lost_device"):
        sandbox.misbehave(kind, AWAY, times=None)
    report(gateway_server)
    sandbox.wait_for_calls("lost_device", 6)
    assert why_not(caller) == "PHONE_LOST"
    alerts = [record for record in gateway_server.records if record["kind"] == "alert"]
    assert ["has not disabled the lost phone of alice yet" in each["reason"] for each in alerts] == [True]
    sandbox.behave()
    wait_until(lambda: not gateway_server.rows(LEFT), "IAMPASS is not told")
    assert not sandbox.users[TOKEN]
    assert sandbox.sessions[0].ended_by is EndedBy.CLIENT
    assert why_not(caller) == "NO_MOBILE_DEVICE"


def test_a_report_that_is_killed_before_iampass_is_told_goes_on_and_disables_once(
    gateway_server: RunningGateway,
    caller: HostCaller,
    sandbox: Sandbox,
    killed: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept, waiting = approved(caller, sandbox), caller.ask("alice").authentication
    killed(KilledReport("alice"))
    assert why_not(caller) in ("PHONE_LOST", "NO_MOBILE_DEVICE")
    wait_until(lambda: not gateway_server.rows(LEFT), "nobody goes on")
    assert not sandbox.users[TOKEN]
    assert (caller.poll(kept), caller.answer(waiting)) == ("closed", "closed")
    assert None not in [session.ended_by for session in sandbox.sessions]
    sandbox.add_user(TOKEN)  # the next phone
    look = looks(monkeypatch, steps, "take")
    look()
    assert sandbox.users[TOKEN], "it is not disabled, too"


def test_an_end_of_sessions_that_is_killed_goes_on(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, killed: Any
) -> None:
    kept, waiting = approved(caller, sandbox), caller.ask("alice").authentication
    killed(KilledEnd(person="alice"))
    wait_until(lambda: not gateway_server.rows(LEFT), "nobody goes on")
    assert (caller.poll(kept), caller.answer(waiting)) == ("closed", "closed")
    assert [session.ended_by for session in sandbox.sessions] == [EndedBy.CLIENT] * 2


def test_a_suspension_that_is_killed_goes_on_and_ends_only_what_rings(
    gateway_server: RunningGateway, sandbox: Sandbox, caller: HostCaller, killed: Any
) -> None:
    approved(caller, sandbox)
    caller.ask("bob")
    killed(KilledSuspension(f"name-of-{HOST}"))
    wait_until(lambda: not gateway_server.rows(LEFT), "nobody goes on")
    assert [session.ended_by for session in sandbox.sessions] == [None, EndedBy.CLIENT]


@pytest.mark.parametrize("is_over", [False, True])
def test_iampass_that_declines_to_end_a_session_is_told_again_unless_it_is_over(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, is_over: bool
) -> None:
    approved(caller, sandbox)
    declines = Junk(b'{"status": false}', "application/json", acts=is_over)
    sandbox.misbehave("end", declines, times=None)
    done = gateway_server.run(perform(gateway_server.gateway, ROOT, EndSessions(person="alice")))
    assert [str(error) for error in done.errors] == ([] if is_over else ["IAMPASS declined"])
    assert len(gateway_server.rows(LEFT)) == (0 if is_over else 1)


@pytest.mark.parametrize("knows", ["a person without a phone", "no such person"])
def test_iampass_that_declines_for_want_of_a_phone_keeps_nobody_out_for_ever(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, knows: str
) -> None:
    if knows == "no such person":
        sandbox.delete_user(TOKEN)
    else:
        sandbox.add_user(TOKEN, device=False)
        sandbox.misbehave("lost_device", ReplacedKey("status", False), times=None)
    assert report(gateway_server).error is None
    assert why_not(caller) != "PHONE_LOST"


def test_iampass_that_declines_although_there_is_a_phone_is_told_again(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    sandbox.misbehave("lost_device", ReplacedKey("status", False, acts=False), times=None)
    assert report(gateway_server).error is not None
    assert why_not(caller) == "PHONE_LOST"


@pytest.mark.usefixtures("at_once")
def test_a_row_that_no_gateway_has_written_disables_no_phone(
    gateway_server: RunningGateway, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = looks(monkeypatch, steps, "take")
    day = "now() - interval '1 day'"
    gateway_server.rows(f"INSERT INTO step VALUES (gen_random_uuid(), gen_random_uuid(), {day}, '')")
    gateway_server.rows(
        f"UPDATE person SET phone_to_disable = true, phone_told_at = {day} WHERE name = 'bob'"
    )
    look()
    assert sandbox.users["token-of-bob"]
    alerts = [record["reason"] for record in gateway_server.records if record["kind"] == "alert"]
    what = "a row was not written by this gateway"
    assert sorted(alerts) == [
        f"IAMPASS cannot be told of the lost phone of bob: person: {what}",
        f"step: {what}",
    ]


@pytest.mark.usefixtures("at_once")
def test_a_person_whose_row_no_gateway_has_written_holds_up_no_other_step(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    approved(caller, sandbox)
    for kind in ("end", "lost_device"):
        sandbox.misbehave(kind, AWAY, times=None)
    for name in ("alice", "bob"):
        gateway_server.run(perform(gateway_server.gateway, ROOT, ReportLostPhone(name)))
    gateway_server.rows("UPDATE person SET groups = '{staff}' WHERE name = 'alice'")
    left = "SELECT name FROM person WHERE phone_to_disable"
    look = looks(monkeypatch, steps, "take")
    look()  # what has read the row before is over
    sandbox.behave()
    wait_until(lambda: gateway_server.rows(left) == [{"name": "alice"}], "others are held up")
    look()
    assert (sandbox.users[TOKEN], sandbox.users["token-of-bob"]) == (True, False)
    assert sandbox.sessions[0].ended_by is EndedBy.CLIENT
    alerts = [record["reason"] for record in gateway_server.records if record["kind"] == "alert"]
    what = "IAMPASS cannot be told of the lost phone of alice: person: a row was not written by this gateway"
    assert what in alerts


def test_a_gateway_that_comes_late_with_a_step_leaves_the_next_phone_alone(
    gateway_server: RunningGateway, sandbox: Sandbox
) -> None:
    report(gateway_server)
    sandbox.add_user(TOKEN)
    gateway_server.run(tell_of_lost_phone(gateway_server.gateway, "alice"))
    assert sandbox.users[TOKEN]


def test_a_phone_that_is_reported_again_meanwhile_waits_for_an_answer_of_its_own(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    late = Held()
    sandbox.misbehave("lost_device", AWAY, times=None)
    sandbox.misbehave("lost_device", late)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(report, gateway_server)
        sandbox.wait_for_calls("lost_device")
        assert report(gateway_server).error.status == 503
        late.until.set()
        assert first.result(PATIENCE).error is None
    assert why_not(caller) == "PHONE_LOST"


@pytest.mark.usefixtures("at_once")
def test_an_old_copy_disables_no_phone_and_denies_until_it_is_reported_again(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.misbehave("lost_device", AWAY, times=None)
    report(gateway_server)
    void = gateway_server.transaction(restored.confirm)
    said = "the report of alice's lost phone: logins of alice are denied until phone lost alice"
    assert void == ["all invites, sign-ins at the portal, and links that register passkeys", said]
    look = looks(monkeypatch, steps, "take")
    look()
    sandbox.behave()
    look()
    assert sandbox.users[TOKEN]
    assert why_not(caller) == "PHONE_LOST"
    assert report(gateway_server).error is None
    assert why_not(caller) == "NO_MOBILE_DEVICE"


@pytest.mark.usefixtures("at_once")
def test_no_phone_is_disabled_by_an_old_copy_that_nobody_has_looked_at_yet(
    gateway_server: RunningGateway, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = gateway_server.gateway
    sandbox.misbehave("lost_device", AWAY, times=None)
    report(gateway_server)
    gateway.how_far = (0, None, 10**9)  # the database had more records
    look = looks(monkeypatch, steps, "take")
    look()
    sandbox.behave()
    look()
    assert sandbox.users[TOKEN], "it may be the next phone"
    gateway_server.run(tell_of_lost_phone(gateway, "alice", goes_on=True))
    assert sandbox.users[TOKEN]
    gateway.how_far = (0, None, 0)
    look()
    wait_until(lambda: not sandbox.users[TOKEN], "no gateway goes on")


def test_no_link_is_shown_and_the_next_phone_waits_until_the_lost_one_is_disabled(
    place: GatewayCommand,
) -> None:
    token = place.person("alice").token
    place.said("recovery", "new", "alice")
    assert "To confirm, give --yes." in place.said("phone", "lost", "alice", status=1)
    place.sandbox.misbehave("lost_device", AWAY, times=None)
    shown = place.said("phone", "lost", "alice", "--yes", status=1)
    assert "IAMPASS has not disabled the phone yet" in shown
    assert "recovery codes of alice can still be used" in shown
    refused = place.said("enroll", "alice", "--new-device", "--no-wait", status=1)
    assert "IAMPASS has not disabled the lost phone" in refused
    place.sandbox.behave()
    shown = place.said("phone", "lost", "alice", "--yes", "--end-codes")
    assert "The phone of alice is disabled at IAMPASS." in shown
    assert ("://" in shown, "recovery code" in shown) == (False, False)
    assert place.told("phone", "lost", "alice", "--yes") == {
        "ok": True,
        "user": "alice",
        "at_iampass": True,
        "sessions": 0,
        "bypasses": 0,
        "codes_left": 0,
    }
    assert not place.sandbox.users[token]
    place.sandbox.open_link(place.told("enroll", "alice", "--no-wait")["link"])
    assert place.sandbox.users[token]


def test_logins_that_wait_for_their_turn_never_ring_a_lost_phone(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    first = caller.ask("alice", service="sshd", remote="192.0.2.7").authentication
    queued = caller.ask("alice", service="sshd", remote="192.0.2.8").authentication
    assert queued["queued"] is True
    report(gateway_server)
    assert (caller.answer(first), caller.answer(queued)) == ("closed", "closed")
    assert len(sandbox.sessions) == 1
