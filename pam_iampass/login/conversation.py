"""Say something to the person, or ask them: cleaned, short, and never fatal where it is only information."""

from __future__ import annotations

from typing import Protocol

from pam_iampass.login.application import ConversationFailed, PamMessage
from pam_iampass.text import clean

#: What sshd answers in place of a person whom it has refused already, such as root under `PermitRootLogin
#: prohibit-password` (OpenSSH, `auth-pam.c`, `fake_password`). It is cut, or repeated, to the length of what
#: was typed: a bare Enter stays one.
SSHD_REFUSED = "\b\n\r\x7f"

PROMPT_ECHO_OFF = 1
PROMPT_ECHO_ON = 2
ERROR_MSG = 3
TEXT_INFO = 4


class Speaker(Protocol):
    """The one part of a PAM handle that a conversation needs."""

    def conversation(self, message: PamMessage, within: float | None = None) -> object:
        """Pass one message on, and wait for its answer `within` that many seconds."""


class AlreadyRefused(Exception):
    """The application has refused this login already and only plays the rest of it."""


class Unanswered(Exception):
    """The application could not put the question to a person."""


class Conversation:
    """The conversation with the person who logs in."""

    def __init__(self, handle: Speaker) -> None:
        self._handle = handle

    def say(self, text: str) -> None:
        """Show a line."""
        self._handle.conversation(PamMessage(TEXT_INFO, clean(text)))

    def say_error(self, text: str) -> None:
        """Show a line about something that went wrong."""
        self._handle.conversation(PamMessage(ERROR_MSG, clean(text)))

    def ask(self, prompt: str, *, hidden: bool = False, within: float | None = None) -> str:
        """Ask, and return the answer: empty for a bare Enter and for none at all.

        What is typed is shown, unless `hidden`. Raises Unanswered where the application cannot ask (sshd's `password`
        method cannot, nor can a program without a terminal) or no answer came `within` so many seconds, and
        AlreadyRefused where sshd answers in the person's place.
        """
        style = PROMPT_ECHO_OFF if hidden else PROMPT_ECHO_ON
        try:
            response = self._handle.conversation(PamMessage(style, clean(prompt)), within)
        except ConversationFailed:
            raise Unanswered from None
        answer = getattr(response, "resp", None)
        if not isinstance(answer, str):
            return ""
        if answer and _begins_alike(answer):
            raise AlreadyRefused
        return answer


def _begins_alike(answer: str) -> bool:
    """Whether the answer is as much of SSHD_REFUSED as fits into it."""
    return answer[: len(SSHD_REFUSED)] == SSHD_REFUSED[: len(answer)]
