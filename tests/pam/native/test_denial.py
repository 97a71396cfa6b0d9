"""What a door does where the module gave no result, and in the phases that are not the module's."""

from __future__ import annotations

import socket

import pytest

from tests.pam.native.conftest import PAM_ABORT, PAM_AUTHINFO_UNAVAIL, PAM_MAXTRIES, Application, Playing
from tests.support.scripted_module import DoorConnection, result

AUTHPRIV, ERROR = 10, 3


def dies(door: DoorConnection) -> None:
    door.hello()


def test_aborts_where_the_application_is_not_sshd(application: Application, agent: Playing) -> None:
    with agent(dies):
        assert application.run().result == PAM_ABORT


def test_says_why_there_is_no_login(application: Application, agent: Playing) -> None:
    with agent(dies):
        [(_style, text)] = application.run().messages
    assert text.startswith(b"The IAMPASS agent has not decided this login. Try again")


def test_waits_ten_seconds_for_a_module_that_says_nothing(application: Application, agent: Playing) -> None:
    def silent(door: DoorConnection) -> None:
        door.hello()
        assert door.door_closes()

    with agent(silent):
        run = application.run()
    assert run.result == PAM_ABORT
    assert 9.9 <= run.elapsed < 25  # the script waits 30 seconds


@pytest.mark.parametrize("value", ["", "publickey ssh-ed25519 AAAA"], ids=["empty", "filled"])
def test_ends_the_tries_of_sshd(application: Application, agent: Playing, value: str) -> None:
    with agent(dies):
        assert application.run(env=f"SSH_AUTH_INFO_0={value}").result == PAM_MAXTRIES


def test_leaves_one_audit_record(application: Application, agent: Playing) -> None:
    with agent(dies):
        run = application.run(user="alice", rhost="192.0.2.7")
    [(facility, priority, text)] = run.log
    assert (facility, priority) == (AUTHPRIV, ERROR)
    assert run.log_writers == [0]
    assert "pam_iampass" in text
    assert (
        "outcome=unavailable result=denied user=alice service=under-test rhost=192.0.2.7 "
        "reason=the module closed the connection before it gave a result"
    ) in text


def test_a_log_that_takes_no_datagrams_still_gets_the_record(
    application: Application, agent: Playing
) -> None:
    with agent(dies):
        run = application.run(user="alice", log_kind=socket.SOCK_STREAM)
    [(facility, priority, text)] = run.log
    assert (facility, priority) == (AUTHPRIV, ERROR)
    assert "outcome=unavailable result=denied user=alice service=under-test " in text


HOSTILE = {
    "a line of its own": "alice\nNov 24 sshd[1]: Accepted publickey for root",
    "another field": "alice result=success user=root",
    "an escape sequence": "\x1b]0;title\x07\x1b[2J",
    "a carriage return": "alice\rroot",
    "a bidi control": "alice\u202eecila",
    "a C1 control": "alice\x9b2J",
    "an invalid byte": b"alice\xff",
    "a delete": "alice\x7f",
    "an escape of ours": "alice\\x0a",
    "a format": "%s%n%m",
}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=list(HOSTILE))
def test_no_name_can_forge_a_record(application: Application, agent: Playing, name: str | bytes) -> None:
    with agent(dies):
        run = application.run(user=name, rhost=name)
    fields = run.record.partition("outcome=")[2].split(" ")
    assert [field.partition("=")[0] for field in fields[:5]] == [
        "unavailable",
        "result",
        "user",
        "service",
        "rhost",
    ]
    assert run.record.isascii()
    assert run.record.isprintable()
    assert fields[1] == "result=denied"
    raw = name.encode() if isinstance(name, str) else name
    assert _unescaped(fields[2].removeprefix("user=")) == raw == _unescaped(fields[4].removeprefix("rhost="))


def _unescaped(text: str) -> bytes:
    return text.encode().decode("unicode_escape").encode("latin-1")


def test_a_long_name_does_not_drown_the_record(application: Application, agent: Playing) -> None:
    with agent(dies):
        run = application.run(user="\n" * 60000)
    assert run.record.count("\\x0a") == 256
    assert "\\x0a... service=" in run.record
    assert "reason=the module" in run.record


def test_an_unprivileged_application_is_denied_with_that_reason_and_nobody_is_asked(
    application: Application, agent: Playing
) -> None:
    with agent(dies) as played:
        run = application.run(real_uid=1234, effective_uid=1234)
    assert run.result == PAM_AUTHINFO_UNAVAIL
    assert played.connections == []
    assert run.reason.startswith("the application does not run as root")


@pytest.mark.parametrize("phase", ["setcred", "open_session", "close_session", "chauthtok"])
def test_the_other_phases_ignore_and_ask_nobody(application: Application, agent: Playing, phase: str) -> None:
    def approves(door: DoorConnection) -> None:
        door.send(result(0))

    with agent(approves) as played:
        run = application.run(phase)
    # A stack in which every module ignores fails; the code for it is libpam's.
    assert run.result != 0
    assert played.connections == []
    assert run.log == []


@pytest.mark.parametrize("phase", ["setcred", "acct_mgmt", "open_session", "close_session"])
def test_the_other_phases_change_nothing_in_a_stack_that_passes(application: Application, phase: str) -> None:
    assert application.run(phase, then="pam_permit.so").result == 0
