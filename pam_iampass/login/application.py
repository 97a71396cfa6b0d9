"""The application that a person logs in to, as a login sees it: the `pamh` of pam_python, and a few things more.

The application runs in another process. `agent.application.RemoteApplication` is this interface over a socket.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Protocol

from pam_iampass.outcome import Phase


class ApplicationGone(Exception):
    """The application ended, broke the protocol or lost its ssh client: nobody waits for the result."""


class Stopping(Exception):
    """The process that runs the module is being stopped: the login must end now."""


class ConversationFailed(Exception):
    """The application could not ask the question (PAM_CONV_ERR)."""


@dataclass(frozen=True)
class PamMessage:
    """A message to the person, as in pam_python: a style (PAM_TEXT_INFO and so on) and a text."""

    msg_style: int
    msg: str


@dataclass(frozen=True)
class PamResponse:
    """The reply to a message, as in pam_python. `resp` is None if the message asked nothing."""

    resp: str | None


class PamApplication(Protocol):
    """The PAM items and the conversation of one login. Every method raises ApplicationGone and Stopping."""

    user: str | None
    service: str | None
    rhost: str | None
    tty: str | None
    ruser: str | None
    phase: Phase
    env: dict[str, str]
    """Those variables of the PAM environment that the module reads."""

    after_reply: contextlib.ExitStack
    """Callbacks that run once the application has its result or has died: work that nobody must wait for, such as
    ending the IAMPASS session."""

    ssh_connection: str | None
    """`SSH_CONNECTION` in the PAM environment: addresses and ports of client and server; None outside sshd."""

    session: str | None
    """In the session phases: the id of the kept session that the login belongs to, None without a valid one."""

    xdg_session: str | None
    """In the session phases: the id that logind gave to the login session, None where there is none."""

    peer_pid: int
    """The application's process, as the kernel knows it; 0 where it is in another PID namespace."""

    @property
    def real_uid(self) -> int | None:
        """The real user id of the application, None where it is unknown."""

    @property
    def audit_session(self) -> int | None:
        """The kernel's audit session of the application's process, None if pam_loginuid has not begun it for who is
        logged in there: the user in a session phase, else the caller."""

    def keep(self, session: str) -> None:
        """Give the application the id of a kept session, for its session phase. Only before success or PAM_IGNORE."""

    def pidfd(self) -> int:
        """A new pidfd (pidfd_open(2)) of the application's process, which still waits for its result.

        Raises OSError where the kernel gives none.
        """

    def opener(self) -> tuple[int, int]:
        """The process that will open the login session, which still waits for the result: its id and a new pidfd.

        Raises OSError where the kernel gives none.
        """

    def conversation(self, message: PamMessage, within: float | None = None) -> PamResponse:
        """Show a message; for a prompt, wait for the answer, at most `within` seconds.

        Raises ConversationFailed where a prompt got no answer.
        """

    def set_deadline(self, seconds: float) -> None:
        """Promise the application its result within `seconds` from now."""

    def pause(self, seconds: float, woken: int | None = None, /) -> None:
        """Wait for `seconds`; end early, with an exception, when the application ends or its ssh client hangs up.

        It also ends early when the descriptor `woken` becomes readable.
        """
