"""The pam_python door speaks the relay protocol: the native door's tests, and what is different."""

from __future__ import annotations

import pytest

from tests.pam.native.conftest import PAM_ABORT, PAM_MAXTRIES, PAM_SUCCESS, Application, Playing
from tests.pam.native.test_conversation import NO_ANSWER, asks
from tests.pam.native.test_denial import HOSTILE
from tests.pam.pam_python.shared import shared
from tests.support.scripted_module import DoorConnection, Frame, ask, result

globals().update(
    shared("test_results")
    | shared("test_account_phase")
    | shared("test_connection", "test_without_an_agent_a_login_is_denied_and_shown_how_to_start_it")
    | shared(
        "test_conversation",
        "test_an_answer_is_bytes",
        # pam_python itself crashes where the application gives it no array of responses, or a wild one:
        "test_an_empty_answer_is_an_answer",
        "test_a_failed_conversation_is_no_answer_and_the_module_decides",
    )
    | shared(
        "test_denial",
        "test_no_name_can_forge_a_record",
        "test_waits_ten_seconds_for_a_module_that_says_nothing",
    )
    | shared(
        "test_greeting",
        "test_bytes_are_never_converted",
        "test_the_uid_is_the_real_one",
        "test_denied_where_there_is_neither_a_user_nor_a_conversation",  # libpam crashes, and Python cannot know before
    )
)


def approves(door: DoorConnection) -> None:
    door.greeting()
    door.send(result(0))


def dies(door: DoorConnection) -> None:
    door.greeting()


@pytest.mark.parametrize("kind", ["answer", "null"], ids=["Enter", "a NULL response"])
def test_an_empty_answer_is_one(application: Application, agent: Playing, kind: str) -> None:
    with agent(asks(ask("Press Enter"))) as played:
        run = application.run(conversation=kind, typed="")
    assert played.connection.received[2:] == [Frame(b"A", b"")]
    assert run.result == PAM_SUCCESS


def test_an_answer_that_pam_python_cannot_give_is_no_answer(application: Application, agent: Playing) -> None:
    with agent(asks(ask("Code: "))) as played:
        application.run(typed=b"\xff\x01\xc5")
    assert played.connection.received[2:] == [NO_ANSWER]


@pytest.mark.parametrize("value", ["żółw", "a=b", "a\nb", "\x1b[31m", " "])
def test_names_are_sent_as_they_are(application: Application, agent: Playing, value: str) -> None:
    with agent(approves) as played:
        application.run(user=value, rhost=value)
    sent = played.connection.items
    assert (sent["user"].decode(), sent["rhost"].decode()) == (value, value)


@pytest.mark.parametrize("item", ["user", "rhost", "tty", "ruser"])
def test_a_name_that_is_not_utf_8_is_denied_and_nobody_is_asked(
    application: Application, agent: Playing, item: str
) -> None:
    with agent(approves) as played:
        run = application.run(env="SSH_AUTH_INFO_0=", **{item: b"al\xffice"})  # type: ignore[arg-type]
    assert played.connections == []
    assert run.result == PAM_MAXTRIES
    assert run.reason == f"not UTF-8: {item}"
    assert "service=under-test" in run.record


def test_what_sshd_tells_is_denied_where_it_is_not_utf_8(application: Application, agent: Playing) -> None:
    with agent(approves) as played:
        run = application.run(env=b"SSH_AUTH_INFO_0=publickey \xff")
    assert played.connections == []
    assert run.result in (PAM_ABORT, PAM_MAXTRIES)


@pytest.mark.parametrize("name", [name for name in HOSTILE.values() if isinstance(name, str)])
def test_no_name_forges_a_record(application: Application, agent: Playing, name: str) -> None:
    with agent(dies):
        run = application.run(user=name, rhost=name)
    fields = run.record.partition("outcome=")[2].split(" ")
    names = [field.partition("=")[0] for field in fields[:5]]
    assert names == ["unavailable", "result", "user", "service", "rhost"]
    assert run.record.isascii()
    assert run.record.isprintable()
    told = fields[2].partition("=")[2]
    assert told.encode().decode("unicode_escape").encode("latin-1") == name.encode()


def test_a_set_uid_program_is_denied_and_nobody_is_asked(application: Application, agent: Playing) -> None:
    with agent(approves) as played:
        run = application.run(real_uid=1234)
    assert run.result == PAM_ABORT
    assert played.connections == []
    assert "set-uid" in run.reason
