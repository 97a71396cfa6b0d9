"""What a module's RESULT becomes, and what a module says that a door must not believe."""

from __future__ import annotations

import contextlib

import pytest

from tests.pam.native.conftest import PAM_ABORT, PAM_MAXTRIES, PAM_SUCCESS, Application, Playing
from tests.support.in_time import BUSY_ONCE, in_time
from tests.support.scripted_module import DoorConnection, Frame, ask, deadline, result, say

#: Linux-PAM turns PAM_IGNORE of a stack with nothing else in it into PAM_PERM_DENIED.
PASSED_ON = {0: 0, 6: 6, 9: 9, 11: 11, 25: 6, 26: 26}


@pytest.mark.parametrize(("code", "seen"), PASSED_ON.items())
def test_a_known_result_is_passed_on(application: Application, agent: Playing, code: int, seen: int) -> None:
    def decides(door: DoorConnection) -> None:
        door.hello()
        door.send(result(code))

    with agent(decides):
        run = application.run()
    assert run.result == seen
    assert run.log == []


def test_the_door_closes_after_the_result(application: Application, agent: Playing) -> None:
    def decides(door: DoorConnection) -> None:
        door.hello()
        door.send(result(0))
        assert door.door_closes()

    with agent(decides) as played:
        assert application.run().result == PAM_SUCCESS
    assert played.connection.closed.is_set()


def test_a_conversation_that_comes_byte_by_byte_is_understood(
    application: Application, agent: Playing
) -> None:
    def drips(door: DoorConnection) -> None:
        door.hello()
        door.drip(b"".join(frame.wire for frame in (deadline(5000), say("Wait."), result(0))), pause=0.005)

    with agent(drips):
        run = application.run()
    assert run.result == PAM_SUCCESS
    assert run.messages == [(4, b"Wait.")]


def test_a_conversation_in_one_piece_is_understood(application: Application, agent: Playing) -> None:
    def hurries(door: DoorConnection) -> None:
        door.hello()
        door.send(deadline(5000), say("a"), say("b"), result(0))

    with agent(hurries):
        run = application.run()
    assert run.result == PAM_SUCCESS
    assert [text for _, text in run.messages] == [b"a", b"b"]


def test_the_longest_text_is_shown_whole(application: Application, agent: Playing) -> None:
    def talks(door: DoorConnection) -> None:
        door.hello()
        door.send(say("x" * 65536), result(0))

    with agent(talks):
        run = application.run()
    assert run.result == PAM_SUCCESS
    assert run.messages == [(4, b"x" * 65536)]


SUCCESS = result(0).wire
MISBEHAVIOURS = {
    "an unknown result": result(7).wire,
    "a result that is a success in its lower bits only": b"R\0\0\0\x08\0\0\0\0\0\0\0\0",
    "PAM_INCOMPLETE": result(31).wire,
    "a negative result": result(0xFFFFFFFF).wire,
    "a result in one byte": b"R\0\0\0\x01\0",
    "a result without a code": b"R\0\0\0\0",
    "a second result": SUCCESS + SUCCESS,
    "a text after the result": SUCCESS + say("and one more thing").wire,
    "one byte after the result": SUCCESS + b"\0",
    "an unknown type": b"X\0\0\0\0" + SUCCESS,
    "a type in lower case": b"r\0\0\0\x04\0\0\0\0",
    "the type zero": b"\0\0\0\0\0" + SUCCESS,
    "a HELLO": Frame(b"H", b"\1\1\0\0\0\0").wire + SUCCESS,
    "an ANSWER": Frame(b"A", b"yes").wire + SUCCESS,
    "a text with a NUL": Frame(b"S", b"a\0b").wire + SUCCESS,
    "a text that ends with a NUL": Frame(b"E", b"a\0").wire + SUCCESS,
    "a prompt with a NUL": Frame(b"Q", b"\1a\0b").wire + SUCCESS,
    "a prompt without a style": Frame(b"Q", b"").wire + SUCCESS,
    "a prompt in an unknown style": Frame(b"Q", b"\2name").wire + SUCCESS,
    "a text over the limit": Frame(b"S", b"x" * 65537).wire + SUCCESS,
    "a text of four gigabytes": b"S\xff\xff\xff\xff" + SUCCESS,
    "a prompt over the limit": Frame(b"Q", b"\1" + b"x" * 65536).wire + SUCCESS,
    "a deadline in three bytes": b"D\0\0\0\x03\0\0\1" + SUCCESS,
    "a deadline that is too far away": deadline(300001).wire + SUCCESS,
    "a deadline beyond all clocks": deadline(0xFFFFFFFF).wire + SUCCESS,
    "a flood of texts": say("Wait.").wire * 1000 + SUCCESS,
    "a flood of deadlines": deadline(1000).wire * 1000 + SUCCESS,
}


@pytest.mark.parametrize("sent", MISBEHAVIOURS.values(), ids=list(MISBEHAVIOURS))
def test_denied_by_the_door_itself_after(application: Application, agent: Playing, sent: bytes) -> None:
    def misbehaves(door: DoorConnection) -> None:
        door.hello()
        with contextlib.suppress(ConnectionError):
            door.send_bytes(sent)
        door.door_closes()

    with agent(misbehaves):
        run = in_time(application.run, BUSY_ONCE)  # it does not wait, where nothing can come any more
    assert run.result == PAM_ABORT
    assert "outcome=unavailable result=denied" in run.record
    assert "module" in run.reason


CUT_OFF = {
    "nothing": b"",
    "a type": b"R",
    "half a length": b"R\0\0",
    "a header": b"R\0\0\0\x04",
    "all but the last byte of a success": SUCCESS[:-1],
    "half a text": say("Approved.").wire[:-3],
    "everything but the result": say("Approved.").wire,
}


@pytest.mark.parametrize("sent", CUT_OFF.values(), ids=list(CUT_OFF))
def test_denied_where_the_module_dies_after(application: Application, agent: Playing, sent: bytes) -> None:
    def dies(door: DoorConnection) -> None:
        door.hello()
        door.send_bytes(sent)

    with agent(dies):
        run = in_time(application.run, BUSY_ONCE)
    assert run.result == PAM_ABORT
    assert "closed the connection" in run.reason


def test_denied_where_the_module_dies_before_it_reads(application: Application, agent: Playing) -> None:
    with agent(lambda door: None):
        run = application.run()
    assert run.result == PAM_ABORT
    assert "module" in run.reason


def test_a_result_that_came_while_the_person_was_at_the_prompt_counts(
    application: Application, agent: Playing
) -> None:
    def gives_up(door: DoorConnection) -> None:
        door.hello()
        door.send(ask("Press Enter"), say("Restarting."), result(PAM_MAXTRIES))

    with agent(gives_up):
        run = application.run()
    assert run.result == PAM_MAXTRIES
    assert run.messages[-1][1] == b"Restarting."
    assert run.log == [], "the module has left the record"
