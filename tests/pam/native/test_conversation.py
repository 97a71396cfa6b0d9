"""The person, at the other end of the application's conversation."""

from __future__ import annotations

import pytest

from tests.pam.native.conftest import (
    ECHO_OFF,
    ECHO_ON,
    ERROR_MSG,
    PAM_SUCCESS,
    TEXT_INFO,
    Application,
    Playing,
)
from tests.support.scripted_module import DoorConnection, Frame, Script, ask, result, say, say_error

NO_ANSWER = Frame(b"N")


def asks(*prompts: Frame) -> Script:
    def script(door: DoorConnection) -> None:
        door.hello()
        for prompt in prompts:
            door.send(prompt)
            door.receive()
        door.send(result(0))

    return script


def _says_then_asks(door: DoorConnection) -> None:
    door.hello()
    door.send(say("Hello."), ask("Press Enter"))
    door.receive()
    door.send(result(26))


def test_texts_are_shown_as_they_are_and_in_their_order(application: Application, agent: Playing) -> None:
    def talks(door: DoorConnection) -> None:
        door.hello()
        door.send(
            say("Approve this on your phone …"),
            say_error("100 %s %n of it\ttook too long"),
            say(""),
            result(0),
        )

    with agent(talks):
        run = application.run()
    assert run.messages == [
        (TEXT_INFO, "Approve this on your phone …".encode()),
        (ERROR_MSG, b"100 %s %n of it\ttook too long"),
        (TEXT_INFO, b""),
    ]


def test_a_prompt_is_shown_in_its_style_and_the_answer_comes_back(
    application: Application, agent: Playing
) -> None:
    with agent(asks(ask("Code: ", echo=True), ask("Secret code: ", echo=False))) as played:
        run = application.run(typed="1234 5678")
    assert run.messages == [(ECHO_ON, b"Code: "), (ECHO_OFF, b"Secret code: ")]
    assert played.connection.received[2:] == [Frame(b"A", b"1234 5678")] * 2
    assert run.result == PAM_SUCCESS


def test_an_answer_is_bytes(application: Application, agent: Playing) -> None:
    with agent(asks(ask("Code: "))) as played:
        application.run(typed=b"\xff\x01\xc5")
    assert played.connection.received[2:] == [Frame(b"A", b"\xff\x01\xc5")]


@pytest.mark.parametrize(
    "kind", ["answer", "null", "no-array"], ids=["Enter", "a NULL response", "no array of responses"]
)
def test_an_empty_answer_is_an_answer(application: Application, agent: Playing, kind: str) -> None:
    with agent(asks(ask("Press Enter"))) as played:
        run = application.run(conversation=kind, typed="")
    assert played.connection.received[2:] == [Frame(b"A", b"")]
    assert run.result == PAM_SUCCESS


@pytest.mark.parametrize(
    "kind", ["error", "error-always", "none"], ids=["an error", "an error for texts too", "no function"]
)
def test_a_failed_conversation_is_no_answer_and_the_module_decides(
    application: Application, agent: Playing, kind: str
) -> None:
    with agent(_says_then_asks) as played:
        run = application.run(conversation=kind)
    assert played.connection.received[2:] == [NO_ANSWER]
    assert run.result == 26
    assert run.log == []


def test_the_longest_answer_is_sent(application: Application, agent: Playing) -> None:
    with agent(asks(ask("Code: "))) as played:
        application.run(conversation="long", typed="65536")
    assert played.connection.received[2:] == [Frame(b"A", b"x" * 65536)]


def test_an_answer_that_is_longer_than_a_frame_is_no_answer(application: Application, agent: Playing) -> None:
    with agent(asks(ask("Code: "))) as played:
        application.run(conversation="long", typed="65537")
    assert played.connection.received[2:] == [NO_ANSWER]


def test_an_answer_to_a_mere_text_is_not_sent(application: Application, agent: Playing) -> None:
    def talks(door: DoorConnection) -> None:
        door.hello()
        door.send(say("Hello."), ask("Press Enter"))
        door.receive()
        door.send(result(0))

    with agent(talks) as played:
        application.run(conversation="echo")
    assert played.connection.received[2:] == [Frame(b"A", b"")]
