"""Sessions that are kept: from the approval to the end of the login, whatever ends it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pam_iampass.agent.wire import Hello
from pam_iampass.client import AuthenticationAPI
from pam_iampass.enforcer.protocol import EnforcerRequest, EnforcerResult, Reason, Verb
from pam_iampass.outcome import PamCode, Phase
from pam_iampass.session import watcher
from pam_iampass.session.kept_session import State
from tests.support.deadline import PATIENCE
from tests.support.frames import encode_items
from tests.support.processes import process_with_id
from tests.support.sandbox import Fault, HttpStatus, Junk, ReplacedKey, Reset, SessionState
from tests.support.sessions import Keeping, LoginSession, keeping
from tests.support.setting import ME, Setting
from tests.support.state_file import unwritable
from tests.support.world import wait_until

KILLED = "the process of the login ended without closing it; what is known to be left of it is ended"


@pytest.fixture
def agent(world: Setting) -> Iterator[Keeping]:
    with keeping(world) as found:
        yield found


def ended(agent: Keeping) -> None:
    """Wait until IAMPASS has been notified of the end of every session."""
    agent.world.wait_for_ends()


def test_a_session_lasts_as_long_as_the_login_and_leaves_two_records(agent: Keeping) -> None:
    ident, login = agent.log_in()
    assert agent.world.open_sessions == 1
    approved, opened = agent.world.records.fields
    assert (approved["IAMPASS_OUTCOME"], approved["IAMPASS_SESSION"]) == ("approved", ident)
    assert (opened["IAMPASS_EVENT"], opened["IAMPASS_SESSION"]) == ("session_opened", ident)
    login.end()
    assert agent.wait_for_event("session_ended")["IAMPASS_REASON"] == "the login is over"
    agent.wait_until_forgotten(ident)
    ended(agent)
    assert agent.events() == ["session_opened", "session_ended"]
    assert agent.asked == []


def test_the_agent_has_what_is_left_of_a_killed_login_ended(agent: Keeping) -> None:
    ident, login = agent.log_in()
    login.end(signal.SIGKILL)
    record = agent.wait_for_event("session_ended")
    assert record["IAMPASS_REASON"] == KILLED
    agent.wait_until_forgotten(ident)
    # A busy machine is asked again.
    assert set(agent.asked) == {EnforcerRequest(Verb.END, ident, Reason.KILLED)}
    ended(agent)
    assert "secret" not in str(agent.world.records.fields)


def test_a_login_whose_settings_do_not_keep_the_session_ends_it_at_once(agent: Keeping) -> None:
    agent.world.configure()
    told = agent.login()
    assert (told.code, told.kept) == (PamCode.SUCCESS, None)
    ended(agent)
    assert agent.store.all() == ([], [])


def test_where_nothing_can_be_written_no_login_fails_no_record_is_lost_and_no_new_session_is_kept(
    agent: Keeping,
) -> None:
    ident, login = agent.log_in()
    with unwritable(agent.world.state.database):
        told = agent.login()
        assert (told.code, told.kept) == (PamCode.SUCCESS, None)
        reason = agent.outcome()["IAMPASS_REASON"]
        assert "the session is not kept: " in reason
        assert "\\x0a" not in reason
        assert agent.login(service="sudo", audit_session="42").code == PamCode.IGNORE
        assert agent.kept(ident) is not None, "what was kept stays"
    login.end()
    agent.wait_until_forgotten(ident)
    assert agent.events() == ["session_opened", "session_ended"]


def test_an_open_login_keeps_the_settings_with_which_it_began(agent: Keeping) -> None:
    ident, _ = agent.log_in()
    agent.world.configure(session="{keep: true, check: 2s, when_away: end}")
    agent.world.sandbox.misbehave("poll", SessionState("walkaway"), times=None)
    agent.wait_for_event("session_away")
    asked = wait_until(lambda: list(agent.asked), "the enforcer is not asked")
    assert asked[0] == EnforcerRequest(Verb.REVOKE, ident, Reason.AWAY)


def test_a_login_that_is_not_approved_keeps_nothing(agent: Keeping) -> None:
    agent.world.sandbox.auto = "deny"
    told = agent.login()
    assert (told.code, told.kept) == (PamCode.ABORT, None)
    ended(agent)
    wait_until(lambda: agent.store.all() == ([], []), "the session is still kept")
    assert agent.events() == []


def test_the_session_is_started_for_as_long_as_it_can_be_kept(agent: Keeping) -> None:
    agent.log_in()
    assert agent.world.sandbox.sessions[-1].duration == 43200 + 30


APPLICATION = """
import os, socket, sys
if sys.argv[3:] and os.fork() > 0:  # as sshd: who serves the connection opens the session, a child has asked
    os.wait()
    print("asked", flush=True)
    sys.stdin.read()
    sys.exit()
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
connection.sendall(bytes.fromhex(sys.argv[2]))
while connection.recv(4096):
    pass
"""


def application(agent: Keeping, *options: str, **more: str) -> list[str]:
    """The command of an application that logs in, and opens no session."""
    items = {"user": ME, "service": "test", "uid": "0", **more}
    arguments = (f"config={agent.world.folder / 'iampass.yaml'}",)
    phase = Phase.ACCOUNT if "ssh_auth_info" in items else Phase.AUTHENTICATE
    hello = Hello(phase, 0, arguments).encode().encode()
    hello += encode_items({name: text.encode() for name, text in items.items()}).encode()
    return [sys.executable, "-I", "-S", "-c", APPLICATION, str(agent.path), hello.hex(), *options]


def test_a_session_whose_application_ends_before_it_opens_anything_ends_at_once(agent: Keeping) -> None:
    subprocess.run(application(agent), check=True, timeout=PATIENCE)
    assert "no login session" in agent.wait_for_event("session_ended")["IAMPASS_REASON"]
    ended(agent)
    wait_until(lambda: agent.store.all() == ([], []), "the session is still kept")


@contextlib.contextmanager
def approved_in_sshd(agent: Keeping) -> Iterator[subprocess.Popen[str]]:
    """The process that serves an ssh connection; a child of it has asked."""
    command = application(agent, "sshd", ssh_auth_info="")
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as sshd:
        try:
            assert sshd.stdout is not None
            assert sshd.stdout.readline() == "asked\n"
            yield sshd
        finally:
            sshd.kill()


def test_in_sshd_a_session_lasts_until_the_process_of_the_connection_ends_and_not_the_one_that_asked(
    agent: Keeping,
) -> None:
    with approved_in_sshd(agent) as sshd:
        agent.restart()
        ((kept,), _broken) = agent.store.all()
        assert [opener.pid for opener in kept.awaited] == [sshd.pid]
        assert agent.events() == []
        sshd.communicate()
    assert "no login session" in agent.wait_for_event("session_ended")["IAMPASS_REASON"]
    agent.wait_until_forgotten(kept.id)
    ended(agent)


def test_a_login_that_opens_long_after_its_approval_can_be_ended_by_the_phone(agent: Keeping) -> None:
    """Its user holds sudo back with Ctrl-S, for example."""
    told = agent.login()
    assert told.kept is not None
    agent.ahead = 3600.0
    agent.sessions.descriptors.wake()
    agent.restart()
    login = agent.open(told.kept)
    agent.world.sandbox.misbehave("poll", SessionState("closed"), times=None)
    wait_until(lambda: login.over, "the login is not over")
    assert agent.asked[0] == EnforcerRequest(Verb.END, told.kept, Reason.CLOSED)


def test_the_phone_ends_a_login(agent: Keeping) -> None:
    ident, login = agent.log_in()
    agent.world.sandbox.misbehave("poll", SessionState("closed"), times=None)
    record = agent.wait_for_event("session_ended")
    assert record["IAMPASS_REASON"] == (
        "it was ended on the phone or at IAMPASS (status closed); its logins are ended"
    )
    assert record["PRIORITY"] == "4"
    agent.wait_until_forgotten(ident)
    wait_until(lambda: login.over, "the login is not over")
    assert agent.asked[0] == EnforcerRequest(Verb.END, ident, Reason.CLOSED)


def test_a_phone_that_was_lost_elsewhere_ends_what_it_has_approved(agent: Keeping) -> None:
    ident, login = agent.log_in()
    agent.world.sandbox.add_user(Setting.token, device=False)
    agent.ahead = 300.0
    record = agent.wait_for_event("session_ended")
    assert record["IAMPASS_REASON"] == "IAMPASS knows no phone of the person any more; its logins are ended"
    agent.wait_until_forgotten(ident)
    assert login.over
    assert agent.asked[0] == EnforcerRequest(Verb.END, ident, Reason.NO_PHONE)
    ended(agent)


def test_an_answer_that_there_is_no_phone_ends_nothing_the_first_time(agent: Keeping) -> None:
    ident, _login = agent.log_in()
    agent.world.sandbox.misbehave("has_device", ReplacedKey("device_registered", False))
    before = len(polls(agent))
    agent.ahead = 300.0
    wait_until(lambda: len(polls(agent)) >= before + 4, "IAMPASS was not asked")
    assert agent.kept(ident) is not None
    assert agent.asked == []


@pytest.mark.parametrize("fault", [HttpStatus(404), HttpStatus(503), Junk()], ids=str)
def test_where_iampass_does_not_say_that_there_is_no_phone_nothing_ends(agent: Keeping, fault: Fault) -> None:
    ident, _login = agent.log_in()
    agent.world.sandbox.misbehave("has_device", fault, times=None)
    before = len(polls(agent))
    agent.ahead = 300.0
    wait_until(lambda: len(polls(agent)) >= before + 3, "IAMPASS was not asked")
    assert agent.kept(ident) is not None
    assert agent.asked == []


def test_a_status_that_is_reported_once_ends_nothing(agent: Keeping) -> None:
    ident, login = agent.log_in()
    before = len(polls(agent))
    agent.world.sandbox.misbehave("poll", SessionState("closed"))
    wait_until(lambda: len(polls(agent)) >= before + 3, "IAMPASS was not asked")
    assert agent.events() == ["session_opened"]
    assert (agent.asked, login.over) == ([], False)
    assert agent.kept(ident) is not None


def polls(agent: Keeping) -> list[str]:
    return [call for call in agent.world.calls if call == "poll"]


@pytest.mark.parametrize("fault", [HttpStatus(404), HttpStatus(503), Junk(), Reset()], ids=str)
def test_an_outage_ends_nothing(agent: Keeping, fault: object) -> None:
    ident, login = agent.log_in()
    before = len(polls(agent))
    agent.world.sandbox.misbehave("poll", fault, times=None)  # type: ignore[arg-type]
    wait_until(lambda: len(polls(agent)) >= before + 3, "IAMPASS was not asked")
    assert agent.events() == ["session_opened"]
    assert (agent.asked, login.over) == ([], False)
    agent.world.sandbox.behave()
    login.end()
    agent.wait_until_forgotten(ident)
    ended(agent)


def test_after_an_hour_of_silence_the_journal_says_so_once(agent: Keeping) -> None:
    agent.log_in()
    before = len(polls(agent))
    agent.world.sandbox.misbehave("poll", HttpStatus(503), times=None)
    wait_until(lambda: len(polls(agent)) >= before + 2, "IAMPASS was not asked")  # no other is under way
    agent.ahead = 3601.0
    record = agent.wait_for_event("session_silent")
    assert record["PRIORITY"] == "4"
    before = len(polls(agent))
    wait_until(lambda: len(polls(agent)) >= before + 2, "IAMPASS was not asked")
    assert agent.events() == ["session_opened", "session_silent"]


def test_calls_that_hang_hold_up_neither_a_record_nor_an_end(
    world: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "CALLERS", 2)
    over = threading.Event()
    asked: list[str] = []

    def hangs(config: str) -> AuthenticationAPI:
        asked.append(config)
        over.wait()
        raise ValueError("no name server answers")

    with keeping(world) as agent:
        logins = dict(agent.log_in() for _ in range(3))
        agent.connect = hangs
        try:
            wait_until(lambda: len(asked) == 2, "not all threads for calls are held up")
            agent.ahead = 3601.0
            assert "calls to IAMPASS hang" in agent.wait_for_event("session_silent")["IAMPASS_REASON"]
            first, *others = logins
            agent.world.state.end_sessions([first], 0.0)
            wait_until(lambda: logins[first].over, "an administrator has not ended the login")
            assert not any(logins[other].over for other in others)
            agent.ahead = 43201.0
            wait_until(lambda: all(each.over for each in logins.values()), "the logins are too long")
            assert {request.reason for request in agent.asked} == {Reason.ADMINISTRATOR, Reason.LONGEST}
            assert len(asked) == 2
        finally:
            over.set()


def test_an_hour_in_which_nobody_was_asked_is_no_silence(agent: Keeping) -> None:
    """As after a machine was suspended."""
    ident, _login = agent.log_in()
    before = len(polls(agent))
    agent.ahead = 3601.0
    wait_until(lambda: len(polls(agent)) >= before + 2, "IAMPASS was not asked")
    assert agent.kept(ident) is not None
    assert agent.events() == ["session_opened"]


def test_a_user_who_walks_away_is_no_longer_covered_and_is_seen_to_return(agent: Keeping) -> None:
    ident, login = agent.log_in()
    agent.world.sandbox.misbehave("poll", SessionState("walkaway"), times=None)
    assert agent.wait_for_event("session_away")["IAMPASS_REASON"] == "it covers nothing any more"
    wait_until(lambda: agent.asked, "the enforcer was not asked")
    agent.world.sandbox.behave()
    agent.wait_for_event("session_back")
    kept = agent.kept(ident)
    assert kept is not None
    assert (kept.revoked, kept.away, kept.wanted) == (True, False, None)
    assert agent.asked == [EnforcerRequest(Verb.REVOKE, ident, Reason.AWAY)]
    assert agent.events() == ["session_opened", "session_away", "session_back"]
    assert not login.over


def test_an_administrator_ends_a_login(agent: Keeping) -> None:
    ident, login = agent.log_in()
    agent.world.state.end_sessions([ident], 0.0)
    assert "an administrator" in agent.wait_for_event("session_ended")["IAMPASS_REASON"]
    agent.wait_until_forgotten(ident)
    ended(agent)
    wait_until(lambda: login.over, "the login is not over")
    assert agent.asked[0] == EnforcerRequest(Verb.END, ident, Reason.ADMINISTRATOR)


def test_the_end_of_one_session_ends_no_other(agent: Keeping) -> None:
    (ended_one, login), (ident, other) = agent.log_in(), agent.log_in()
    agent.world.sandbox.close(agent.world.sandbox.sessions[-2])
    agent.wait_until_forgotten(ended_one)
    assert (login.over, other.over) == (True, False)
    other.end()
    agent.wait_until_forgotten(ident)
    assert {request.session for request in agent.asked} == {ended_one}


def test_a_login_that_opens_after_an_administrator_has_ended_its_session_is_ended(agent: Keeping) -> None:
    told = agent.login()
    assert told.kept is not None
    agent.world.state.end_sessions([told.kept], 0.0)
    agent.wait_for_event("session_ended")
    ended(agent)
    agent.ahead = 3600.0  # however long that takes
    agent.restart()
    login = agent.open(told.kept)
    wait_until(lambda: login.over, "the login is not over")
    assert agent.asked[0] == EnforcerRequest(Verb.END, told.kept, Reason.ADMINISTRATOR)
    agent.wait_until_forgotten(told.kept)


def test_a_phone_that_is_reported_lost_while_its_approval_arrives_approves_and_keeps_nothing(
    agent: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve = agent.sessions.approve

    def reported_meanwhile(*arguments: Any) -> None:
        agent.world.state.phone_lost(ME)
        approve(*arguments)

    monkeypatch.setattr(agent.sessions, "approve", reported_meanwhile)  # the moment cannot be hit otherwise
    told = agent.login()
    assert told.code == PamCode.ABORT
    ended(agent)
    wait_until(lambda: agent.store.all() == ([], []), "the session is still kept")
    assert agent.events() == []


def test_what_a_phone_has_approved_ends_also_if_it_is_reported_lost_for_another_name_that_has_it(
    agent: Keeping,
) -> None:
    ident, login = agent.log_in()
    assert agent.world.state.phone_lost("other", ["another-token"])[1] == []
    assert agent.world.state.phone_lost("other", [Setting.token])[1] == [ident]
    agent.wait_until_forgotten(ident)
    assert login.over


def test_a_session_that_was_ended_before_its_login_opened_is_kept_until_the_application_has_ended(
    agent: Keeping,
) -> None:
    with approved_in_sshd(agent) as sshd:
        ((kept,), _broken) = agent.store.all()
        agent.world.state.end_sessions([kept.id], 0.0)
        agent.wait_for_event("session_ended")
        ended(agent)
        wait_until(lambda: agent.asked, "the enforcer was not asked")
        assert agent.kept(kept.id) is not None
        sshd.communicate()
    agent.wait_until_forgotten(kept.id)


@pytest.mark.parametrize("how", ["the phone", "no phone", "an administrator", "the longest time"])
def test_a_login_of_which_the_agent_was_not_told_is_ended_like_any_other(agent: Keeping, how: str) -> None:
    """The enforcer knows it from the door, which writes what it has registered before it tells the agent."""
    with approved_in_sshd(agent) as sshd:
        ((kept,), _broken) = agent.store.all()
        agent.logins.append(LoginSession(kept.id, sshd))
        if how == "the phone":
            agent.world.sandbox.close(agent.world.sandbox.sessions[-1])
        elif how == "no phone":
            agent.world.sandbox.add_user(Setting.token, device=False)
        elif how == "an administrator":
            agent.world.state.end_sessions([kept.id], 0.0)
        else:
            agent.ahead = 43201.0
        agent.wait_until_forgotten(kept.id)
        assert sshd.poll() is not None


def test_a_login_that_is_registered_after_the_end_without_the_agent_being_told_is_ended(
    agent: Keeping,
) -> None:
    with approved_in_sshd(agent) as sshd:
        ((kept,), _broken) = agent.store.all()
        agent.result = EnforcerResult.NOTHING
        agent.world.state.end_sessions([kept.id], 0.0)
        wait_until(lambda: agent.asked, "the enforcer was not asked")
        agent.logins.append(LoginSession(kept.id, sshd))
        agent.result = EnforcerResult.DONE
        wait_until(lambda: sshd.poll() is not None, "the login is not over")
        agent.wait_until_forgotten(kept.id)


def test_a_session_ends_when_it_was_kept_as_long_as_the_settings_allow(agent: Keeping) -> None:
    ident, login = agent.log_in()
    agent.ahead = 43201.0
    assert "as long as the settings allow" in agent.wait_for_event("session_ended")["IAMPASS_REASON"]
    agent.wait_until_forgotten(ident)
    wait_until(lambda: login.over, "the login is not over")
    assert agent.asked[0].reason is Reason.LONGEST


def test_an_enforcer_that_fails_is_asked_again(agent: Keeping) -> None:
    agent.result = EnforcerResult.FAILED
    ident, login = agent.log_in()
    agent.world.state.end_sessions([ident], 0.0)
    wait_until(lambda: agent.asked, "the enforcer was not asked")
    assert not login.over
    agent.result = EnforcerResult.DONE
    agent.ahead = 6.0
    agent.wait_until_forgotten(ident)
    wait_until(lambda: login.over, "the login is not over")
    notes = [fields["MESSAGE"] for fields in agent.world.records.fields if "MESSAGE_ID" not in fields]
    assert len([note for note in notes if "could not end the logins" in note]) == 1


def test_a_login_that_the_enforcer_does_not_know_goes_on_and_the_journal_says_so(agent: Keeping) -> None:
    agent.result = EnforcerResult.NOTHING
    ident, login = agent.log_in()
    agent.world.state.end_sessions([ident], 0.0)
    agent.wait_until_forgotten(ident)
    assert not login.over
    assert "the enforcer knows no login of session" in agent.world.records.fields[-1]["MESSAGE"]


def test_an_iampass_that_cannot_be_reached_is_notified_of_the_end_later(agent: Keeping) -> None:
    ident, login = agent.log_in()
    agent.world.sandbox.misbehave("end", HttpStatus(503), times=None)
    login.end()
    agent.wait_for_event("session_ended")
    wait_until(lambda: agent.world.calls.count("end") >= 2, "IAMPASS was not notified again")
    assert agent.kept(ident) is not None
    agent.world.sandbox.behave()
    agent.wait_until_forgotten(ident)
    ended(agent)


# Another agent


def test_a_restart_loses_no_session(agent: Keeping) -> None:
    ident, login = agent.log_in()
    agent.restart()
    kept = agent.kept(ident)
    assert kept is not None
    assert (kept.state, [each.pid for each in kept.attached]) == (State.OPEN, [login.pid])
    assert agent.world.open_sessions == 1
    login.end()
    agent.wait_until_forgotten(ident)
    ended(agent)
    assert agent.events() == ["session_opened", "session_ended"]


def test_a_login_that_ends_while_no_agent_runs_is_noticed_by_the_next_one(agent: Keeping) -> None:
    ident, login = agent.log_in()
    agent.stop()
    login.end(signal.SIGKILL)
    agent.start()
    agent.wait_until_forgotten(ident)
    ended(agent)


def test_an_agent_that_is_killed_when_a_phone_is_reported_lost_ends_what_it_approved_once_it_starts_again(
    agent: Keeping,
) -> None:
    ident, login = agent.log_in()
    agent.stop()
    agent.world.state.throttle.phone_lost(ME)  # only this was written
    agent.start()
    wait_until(lambda: login.over, "the login is not over")
    assert agent.asked[0] == EnforcerRequest(Verb.END, ident, Reason.ADMINISTRATOR)
    agent.wait_until_forgotten(ident)
    later, _login = agent.log_in()
    agent.restart()
    assert agent.kept(later) is not None, "it began afterwards"


@pytest.mark.needs_isolated_root
def test_another_process_with_the_id_of_a_login_that_has_ended_is_not_taken_for_it(agent: Keeping) -> None:
    ident, login = agent.log_in()
    agent.stop()
    login.end(signal.SIGKILL)
    with process_with_id(login.pid):
        agent.start()
        assert agent.wait_for_event("session_ended")["IAMPASS_REASON"] == KILLED
        agent.wait_until_forgotten(ident)
        ended(agent)
        told = agent.login(service="sudo", audit_session="42")
        assert (told.code, agent.outcome()["IAMPASS_OUTCOME"]) == (PamCode.SUCCESS, "approved")


def test_where_nothing_tells_whether_a_login_still_runs_its_session_covers_nothing_any_more(
    agent: Keeping,
) -> None:
    ident, _login = agent.log_in()
    agent.stop()
    ((kept,), _broken) = agent.store.all()
    agent.store.write(replace(kept, attached=(replace(kept.attached[0], inode=None),)))  # as before Linux 6.9
    agent.start()
    again = agent.kept(ident)
    assert again is not None
    assert (again.revoked, len(again.attached)) == (True, 1)
    told = agent.login(service="sudo", audit_session="42")
    assert (told.code, agent.outcome()["IAMPASS_OUTCOME"]) == (PamCode.SUCCESS, "approved")
    notes = [fields["MESSAGE"] for fields in agent.world.records.fields if "MESSAGE_ID" not in fields]
    assert f"session {ident} covers nothing any more: its login may have ended while no agent ran" in notes


def test_a_request_that_nobody_waits_for_any_more_is_ended_by_the_next_agent(agent: Keeping) -> None:
    agent.log_in()[1].end()
    kept = agent.wait_for_event("session_ended")
    agent.wait_until_forgotten(kept["IAMPASS_SESSION"])
    agent.world.sandbox.auto = "ask"
    door = agent.door()
    request = agent.world.sandbox.wait_for_request(Setting.token)
    stored = wait_until(lambda: agent.store.all()[0], "no session is stored")
    door.die()
    agent.stop()
    agent.store.write(stored[0])  # as an agent leaves it that is killed meanwhile
    agent.start()
    agent.wait_until_forgotten(stored[0].id)
    agent.world.sandbox.wait_for_end(request)
