"""The application that a person logs in to, as a login sees it, and the conversation with the person through it.

The application runs in another process: `PamApplication` is the `pamh` of pam_python, and a few things more.
`agent.application.RemoteApplication` is this interface over a socket. All text that is shown is cleaned.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Protocol

from pam_iampass.config.settings import ServiceSettings, same_program
from pam_iampass.login import decisions
from pam_iampass.outcome import Decision, Login, Phase
from pam_iampass.text import clean

#: What sshd answers in place of a person whom it has already refused, such as root under `PermitRootLogin
#: prohibit-password` (OpenSSH, `auth-pam.c`, `fake_password`). It is cut or repeated to the length of what was typed:
#: a bare Enter stays a bare Enter.
SSHD_REFUSED = "\b\n\r\x7f"

CODE_PROMPT = "IAMPASS recovery code (Enter: none): "

PROMPT_ECHO_OFF = 1
PROMPT_ECHO_ON = 2
ERROR_MSG = 3
TEXT_INFO = 4

_RUNS_A_COMMAND = ("sudo", "su", "doas")


class ApplicationGone(Exception):
    """The application ended, broke the protocol or lost its ssh client: nobody waits for the result."""


class Stopping(Exception):
    """The process that runs the module is being stopped: the login must end now."""


class AlreadyRefused(Exception):
    """The application has already refused this login."""


class Unanswered(Exception):
    """The application could not ask the person (PAM_CONV_ERR), or they did not answer in time."""


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
    """The variables of the PAM environment that the module reads."""

    after_reply: contextlib.ExitStack
    """Callbacks that run once the application has its result or has died: work that nobody must wait for, such as
    ending the IAMPASS session."""

    ssh_connection: str | None
    """`SSH_CONNECTION` in the PAM environment: addresses and ports of client and server; None outside sshd."""

    executable: str
    """The program of sshd that asks, as `system.sshd_session` identifies it; empty if sshd cannot show text now, if it
    is not known, and outside sshd."""

    command: str
    """The command that the application runs for its caller (`login.command`); empty if it runs none."""

    session: str | None
    """The id, in the session phases, of the kept session that the login belongs to; None without a valid one."""

    xdg_session: str | None
    """The id, in the session phases, that logind gave to the login session; None where there is none."""

    peer_pid: int
    """The application's process, as the kernel knows it; 0 where it is in another PID namespace."""

    @property
    def real_uid(self) -> int | None:
        """The real user id of the application, None where it is unknown."""

    @property
    def login_uid(self) -> int | None:
        """The user id of the login session that the application was started in; None outside of one, and in sshd."""

    @property
    def audit_session(self) -> int | None:
        """The kernel's audit session of the application's process, None unless pam_loginuid has begun it for the user
        who is logged in there: PAM_USER in a session phase, else the caller."""

    @property
    def served_connection(self) -> str:
        """`ssh_connection`, if the kernel says that it is one of the application's process; else empty.

        The PAM environment alone could be from a file of the user (`user_readenv` of pam_env ahead of us).
        """

    def keep(self, session: str) -> None:
        """Give the application the id of a kept session, for its session phase. Only before success or PAM_IGNORE."""

    def pidfd(self) -> int:
        """A new pidfd (pidfd_open(2)) of the application's process, which still waits for its result.

        Raises OSError where the kernel gives none.
        """

    def opener(self) -> tuple[int, int]:
        """The process that will open the login session, which still waits for the result: its id and a new pidfd.

        Raises OSError where the kernel gives none, and for a process of another PID namespace.
        """

    def conversation(self, message: PamMessage, within: float | None = None) -> PamResponse:
        """Show a message; for a prompt, wait for the answer, at most `within` seconds.

        Raises Unanswered where a prompt got no answer.
        """

    def set_deadline(self, seconds: float) -> None:
        """Promise the application its result within `seconds` from now."""

    def pause(self, seconds: float, woken: int | None = None, /) -> None:
        """Wait for `seconds`; end early, with an exception, when the application ends or its ssh client hangs up.

        It also ends early when the descriptor `woken` becomes readable.
        """


class Conversation:
    """The conversation with the person who logs in.

    In sshd's account phase it is silent but for errors: prompts fail there, and sshd shows texts as a banner once the
    phase is over, when they are of no use to the person and in the way of scp and rsync. So it is in sudo's without a
    terminal, where nobody is there to read them.

    sudo and su write a PAM_TEXT_INFO to their standard output, where it cannot be told from the output of their
    command. So everything is an error there: they write errors to their standard error.
    """

    def __init__(self, pamh: PamApplication) -> None:
        self._pamh = pamh
        self._silent = pamh.phase is Phase.ACCOUNT and ("SSH_AUTH_INFO_0" in pamh.env or not pamh.tty)
        self._style = ERROR_MSG if same_program(pamh.service or "") in _RUNS_A_COMMAND else TEXT_INFO

    def say(self, text: str) -> None:
        """Show a line."""
        if not self._silent:
            self._pamh.conversation(PamMessage(self._style, clean(text)))

    def say_error(self, text: str) -> None:
        """Show an error."""
        self._pamh.conversation(PamMessage(ERROR_MSG, clean(text)))

    def ask(self, prompt: str, *, hidden: bool = False, within: float | None = None) -> str:
        """Return the answer: empty for a bare Enter and where the application passes none on.

        Input is echoed unless `hidden`. Raises Unanswered where the application cannot ask (sshd's `password` method, a
        program without a terminal) or `within` seconds are over, and AlreadyRefused where sshd answers in the
        person's place.
        """
        if self._silent:
            raise Unanswered
        style = PROMPT_ECHO_OFF if hidden else PROMPT_ECHO_ON
        answer = self._pamh.conversation(PamMessage(style, clean(prompt)), within).resp
        if not isinstance(answer, str):
            return ""
        if answer and answer[: len(SSHD_REFUSED)] == SSHD_REFUSED[: len(answer)]:
            raise AlreadyRefused
        return answer


def before_request(
    login: Login, service: ServiceSettings, conversation: Conversation, second: str = ""
) -> str | None | Decision:
    """Ask the person to press Enter or to type a recovery code; return what they typed.

    `second` names the people who will be asked to approve, if these are others.

    The text is the same for all, so that it does not tell who is listed, who has codes, or who logs in elsewhere.
    Returns None where they were not asked, as where the application shows a text in time, and in the account phase.
    sshd cannot show this prompt in its `password` method: the request is then sent without it. Elsewhere only the
    settings ask for the prompt, and no answer means that no request is wanted: then a decision is returned.
    """
    wanted = service.prompt.value
    if wanted == "never" or login.phase is Phase.ACCOUNT or (wanted == "auto" and login.shows_text):
        return None
    what = "get a request on your phone, or type a recovery code; you then have"
    if second:
        what = f"ask for the approval of {second}; that takes at most"
    try:
        return conversation.ask(f"IAMPASS: press Enter to {what} {decisions.seconds(service.timeout)}: ")
    except AlreadyRefused:
        return decisions.cancelled("sshd had already refused this login")
    except Unanswered:
        if not login.through_sshd:
            return decisions.cancelled("the prompt was not answered")
        return None
