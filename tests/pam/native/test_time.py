"""How long a door waits."""

from __future__ import annotations

import contextlib

import pytest

from tests.pam.native.conftest import PAM_ABORT, PAM_SUCCESS, Application, Door, Playing, Run
from tests.support.in_time import in_time
from tests.support.scripted_module import DoorConnection, Frame, ask, deadline, result, say

#: After a DEADLINE a door waits so much longer, in seconds.
GRACE = 0.8
#: How much later it may be on a busy machine, in seconds.
LATE = 1.9


@pytest.fixture
def door(hasty_door: Door) -> Door:
    """The door of this file."""
    return hasty_door


def silent(door: DoorConnection) -> None:
    door.hello()
    assert door.door_closes()


def test_denied_where_nothing_comes(application: Application, agent: Playing, door: Door) -> None:
    with agent(silent):
        run = in_time(application.run, door.patience + LATE, least=door.patience - 0.1)
    assert run.result == PAM_ABORT
    assert "in time" in run.reason


def test_denied_where_nobody_reads_the_greeting(application: Application, agent: Playing, door: Door) -> None:
    def deaf(connection: DoorConnection) -> None:
        assert connection.door_closes()

    def logs_in() -> Run:
        return application.run(small_buffers=True, env=b"SSH_AUTH_INFO_0=" + b"x" * 65000)

    with agent(deaf):
        run = in_time(logs_in, door.patience + LATE)
    assert run.result == 11
    assert "in time" in run.reason


def test_a_greeting_that_is_read_slowly_arrives_whole(application: Application, agent: Playing) -> None:
    def slow(door: DoorConnection) -> None:
        door.hello()
        door.send(result(0))

    with agent(slow) as played:
        run = application.run(small_buffers=True, env=b"SSH_AUTH_INFO_0=" + b"x" * 65000, beat=1)
    assert run.result == PAM_SUCCESS
    assert played.connection.items["ssh_auth_info"] == b"x" * 65000


def test_the_deadline_holds_for_the_whole_wait(application: Application, agent: Playing) -> None:
    def promises(door: DoorConnection) -> None:
        door.hello()
        door.send(deadline(1000))
        assert door.door_closes()

    with agent(promises):
        run = in_time(application.run, 1.0 + GRACE + LATE, least=1.0 + GRACE - 0.1)
    assert run.result == PAM_ABORT


def test_a_deadline_may_be_further_away_than_the_doors_patience(
    application: Application, agent: Playing, door: Door
) -> None:
    def promises(connection: DoorConnection) -> None:
        connection.hello()
        connection.send(deadline(30000))
        assert not connection.door_closes(within=door.patience + 1)
        connection.send(result(0))

    with agent(promises):
        run = application.run()
    assert run.result == PAM_SUCCESS


def test_frames_that_come_just_in_time_do_not_move_the_deadline(
    application: Application, agent: Playing
) -> None:
    def drips(door: DoorConnection) -> None:
        door.hello()
        door.send(deadline(1000))
        while not door.door_closes(within=0.2):
            with contextlib.suppress(ConnectionError):
                door.send(say("Still waiting."))

    with agent(drips):
        run = in_time(application.run, 1.0 + GRACE + LATE)
    assert run.result == PAM_ABORT


def test_bytes_that_come_just_in_time_do_not_move_the_deadline(
    application: Application, agent: Playing
) -> None:
    def drips(door: DoorConnection) -> None:
        door.hello()
        door.send(deadline(500))
        with contextlib.suppress(ConnectionError):
            door.drip(say("x" * 1000).wire, pause=0.1)

    with agent(drips):
        run = in_time(application.run, 0.5 + GRACE + LATE)
    assert run.result == PAM_ABORT


def test_texts_do_not_renew_the_patience_that_a_door_has_without_a_deadline(
    application: Application, agent: Playing, door: Door
) -> None:
    def drips(connection: DoorConnection) -> None:
        connection.hello()
        while not connection.door_closes(within=door.patience / 5):
            with contextlib.suppress(ConnectionError):
                connection.send(say("Still starting."))

    with agent(drips):
        run = in_time(application.run, door.patience + LATE)
    assert run.result == PAM_ABORT


@pytest.mark.parametrize(("first", "second"), [(60000, 300), (300, 1000)], ids=["a nearer", "a further"])
def test_a_later_deadline_replaces_the_earlier_one(
    application: Application, agent: Playing, first: int, second: int
) -> None:
    def thinks_again(door: DoorConnection) -> None:
        door.hello()
        door.send(deadline(first), deadline(second))
        assert door.door_closes()

    with agent(thinks_again):
        run = in_time(application.run, second / 1000 + GRACE + LATE, least=second / 1000 + GRACE - 0.1)
    assert run.result == PAM_ABORT


def test_a_result_that_comes_after_the_deadline_denies(application: Application, agent: Playing) -> None:
    def late(door: DoorConnection) -> None:
        door.hello()
        door.send(deadline(0))
        assert door.door_closes()
        with contextlib.suppress(ConnectionError):
            door.send(result(0))

    with agent(late):
        assert application.run().result == PAM_ABORT


def test_the_time_that_the_person_takes_does_not_count(
    application: Application, agent: Playing, door: Door
) -> None:
    def asks(connection: DoorConnection) -> None:
        connection.hello()
        connection.send(ask("Press Enter"))
        assert connection.receive() == Frame(b"A", b"")
        assert not connection.door_closes(within=1.0)
        connection.send(result(0))

    with agent(asks):
        run = application.run(pause=int(door.patience * 1000) + 300)
    assert run.result == PAM_SUCCESS


def test_the_patience_begins_anew_after_the_answer(
    application: Application, agent: Playing, door: Door
) -> None:
    def asks(connection: DoorConnection) -> None:
        connection.hello()
        connection.send(ask("Press Enter"))
        connection.receive()
        assert connection.door_closes()

    with agent(asks):
        least = 0.5 + door.patience - 0.1
        run = in_time(lambda: application.run(pause=500), least + LATE, least=least)
    assert run.result == PAM_ABORT


def test_a_prompt_after_the_deadline_only_stops_its_clock(application: Application, agent: Playing) -> None:
    def asks(door: DoorConnection) -> None:
        door.hello()
        door.send(deadline(1000), ask("Code: "))
        door.receive()
        assert door.door_closes()

    with agent(asks):
        run = in_time(
            lambda: application.run(pause=1000), 1.0 + 1.0 + GRACE + LATE, least=1.0 + 1.0 + GRACE - 0.1
        )
    assert run.result == PAM_ABORT


def test_signals_neither_shorten_nor_lengthen_the_wait(application: Application, agent: Playing) -> None:
    def promises(door: DoorConnection) -> None:
        door.hello()
        door.send(deadline(700))
        assert door.door_closes()

    with agent(promises):
        run = in_time(lambda: application.run(beat=3), 0.7 + GRACE + LATE, least=0.7 + GRACE - 0.1)
    assert run.result == PAM_ABORT
    assert run.alarms > 10, "the application's handler did not run again and again"


def test_signals_do_not_disturb_a_login(application: Application, agent: Playing) -> None:
    def asks(door: DoorConnection) -> None:
        door.hello()
        door.send(say("x" * 60000), ask("Code: "))
        assert len(door.receive().payload) == 60000
        door.drip(deadline(60000).wire + result(0).wire, pause=0.02)

    with agent(asks):
        run = application.run(beat=1, conversation="long", typed=60000)
    assert run.result == PAM_SUCCESS
