"""A door in the test process: it speaks the relay protocol to a module in a thread."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import Callable, Optional, Union

from pam_iampass.agent.server import serve
from pam_iampass.agent.wire import Frame, FrameError, FrameType, Hello, receive
from pam_iampass.login.application import ApplicationGone, PamApplication
from pam_iampass.outcome import Phase
from tests.support.frames import encode_items

#: The answer to a prompt: a text, None if the application cannot prompt, or a function that returns one.
Answer = Union[str, None, Callable[[], Optional[str]]]


@dataclass
class Told:
    """What the door received."""

    code: int | None = None
    """The PAM code; None if the module sent none."""
    said: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    hidden: list[bool] = field(default_factory=list)
    """For each prompt, whether the input is hidden."""
    shown: list[str] = field(default_factory=list)
    """All texts and prompts, in order."""
    kept: str | None = None
    """The id of the kept session."""
    promised: list[float] = field(default_factory=list)
    """The deadlines, in seconds."""


class Door:
    """One login, of a module in a thread or behind a connection. `answers` are typed in turn."""

    phase = Phase.AUTHENTICATE

    def __init__(
        self,
        module: Callable[[PamApplication, int, list[str]], int] | socket.socket,
        *arguments: str,
        answers: tuple[Answer, ...] = ("",) * 5,
        **items: str,
    ) -> None:
        self._answers = list(answers)
        self._module: threading.Thread | None = None
        if isinstance(module, socket.socket):
            self._connection = module
        else:
            self._connection, its = socket.socketpair()
            self._module = threading.Thread(target=serve, args=(its, {self.phase: module}), daemon=True)
            self._module.start()
        encoded = {name: value.encode("utf-8", "surrogateescape") for name, value in items.items()}
        with contextlib.suppress(ConnectionError):  # the module refused the connection; `finish` reports it
            self.send(Hello(self.phase, 0, arguments).encode())
            self.send(encode_items(encoded))

    def send(self, frame: Frame) -> None:
        """Send a frame to the module."""
        self._connection.sendall(frame.encode())

    def wait_for_text(self, timeout: float = 60.0) -> str:
        """Read until the module sends a message, and return it."""
        while (frame := receive(self._connection, timeout)).type is not FrameType.SAY:
            pass
        return frame.payload.decode()

    def die(self) -> None:
        """The application is killed."""
        self._connection.close()

    def finish(self, timeout: float = 60.0) -> Told:
        """Run the login to its end, and wait until the module has finished its work after the reply."""
        told = Told()
        while told.code is None:
            try:
                frame = receive(self._connection, timeout)
            except (ApplicationGone, FrameError):
                break
            if frame.type is FrameType.RESULT:
                told.code = int.from_bytes(frame.payload, "big")
            elif frame.type is FrameType.GREETING:
                continue
            elif frame.type is FrameType.KEEP:
                told.kept = frame.payload.decode()
            elif frame.type is FrameType.DEADLINE:
                told.promised.append(int.from_bytes(frame.payload, "big") / 1000)
            elif frame.type is FrameType.ASK:
                told.shown.append(frame.payload[1:].decode())
                told.asked.append(frame.payload[1:].decode())
                told.hidden.append(frame.payload[0] == 0)
                with contextlib.suppress(ConnectionError):  # a RESULT may still be waiting
                    self.send(self._answer())
            else:
                told.shown.append(frame.payload.decode())
                (told.said if frame.type is FrameType.SAY else told.errors).append(frame.payload.decode())
        self._connection.close()
        self.wait(timeout)
        return told

    def wait(self, timeout: float = 60.0) -> None:
        """Wait until the module has finished its work after the reply."""
        if self._module is None:
            return
        self._module.join(timeout)
        assert not self._module.is_alive(), "the module did not end"

    def _answer(self) -> Frame:
        answer = self._answers.pop(0)
        if callable(answer):
            answer = answer()
        return (
            Frame(FrameType.NO_ANSWER)
            if answer is None
            else Frame(FrameType.ANSWER, answer.encode("utf-8", "surrogateescape"))
        )


class AccountDoor(Door):
    """A login in the account phase."""

    phase = Phase.ACCOUNT
