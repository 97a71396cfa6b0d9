"""Runs a real PAM stack in a process of its own, which a module may crash.

That process sends each message of the stack, receives the answer to each question, and sends the result at the end.
libpam is loaded through python-pam.
"""

from __future__ import annotations

import ctypes
import enum
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from typing import Any

from pam_iampass.outcome import PamCode

_TTY, _RHOST, _RUSER = 3, 4, 8  # _pam_types.h
_SUCCESS, _CONV_ERR = 0, 19
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


class MessageKind(enum.Enum):
    """The kinds of messages of a conversation (pam_conv(3))."""

    SAY = "say"
    SAY_ERROR = "say_error"
    ASK = "ask"
    ASK_SECRETLY = "ask_secretly"

    @property
    def is_question(self) -> bool:
        """Whether it needs an answer."""
        return self in (MessageKind.ASK, MessageKind.ASK_SECRETLY)


_STYLES = {1: MessageKind.ASK_SECRETLY, 2: MessageKind.ASK, 3: MessageKind.SAY_ERROR}  # _pam_types.h


@dataclass(frozen=True)
class Message:
    """A message of a stack. The text is as the module wrote it: clean it before it is shown."""

    kind: MessageKind
    text: str


@dataclass(frozen=True)
class PamRun:
    """A stack to run, and the login that it is run for."""

    service: str
    user: str
    account_only: bool = False
    """Whether only the account phase is run, and not authenticate before it."""
    tty: str | None = None
    rhost: str | None = None
    ruser: str | None = None
    real_uid: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    """PAM's environment, such as SSH_AUTH_INFO_0."""


@dataclass(frozen=True)
class PamResult:
    """The result of a run."""

    code: int | None
    """The PAM return code; None if the process ended without one."""
    started: bool
    """Whether libpam could read the service."""
    messages: tuple[Message, ...]
    seconds: float
    failure: str = ""
    """The reason why there is no code."""
    authenticated: bool = False
    """Whether authenticate succeeded; the account phase may still have denied."""

    @property
    def name(self) -> str:
        """The code's name."""
        if self.code is None:
            return "no answer"
        return f"PAM_{PamCode(self.code).name}" if self.code in set(PamCode) else f"code {self.code}"

    @property
    def meaning(self) -> str:
        """The meaning of the code, in words."""
        if self.code is None:
            return self.failure
        if not self.started:
            return "the PAM service cannot be read: a file is missing, or a line is wrong"
        if self.authenticated and self.code != PamCode.SUCCESS:
            return "authenticated, but the account may not log in"
        return _MEANINGS.get(self.code, "a code that no login should end with")


@dataclass(frozen=True)
class _Ended:
    """The message that the process sends at the end of a stack."""

    code: int
    started: bool
    authenticated: bool


def run(wanted: PamRun, answer: Callable[[Message], str | None]) -> PamResult:
    """Run a stack. `answer` gets each message as it comes, and returns the answer to a question (None: no answer).

    An exception of `answer` ends the process, and is raised.
    """
    began = time.monotonic()
    messages: list[Message] = []
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(wanted, ours, theirs))
    process.start()
    theirs.close()
    try:
        with ours:
            ended = _talk(ours, messages, answer)
    except BaseException:
        process.kill()
        raise
    finally:
        status = _status(process)
    seconds = time.monotonic() - began
    if isinstance(ended, _Ended):
        authenticated = ended.authenticated
        return PamResult(ended.code, ended.started, tuple(messages), seconds, authenticated=authenticated)
    how = f"by signal {-status}" if status < 0 else f"with status {status}"
    what = ended or f"the process that ran the stack ended {how}"
    return PamResult(None, False, tuple(messages), seconds, what)


def _talk(
    connection: Connection, messages: list[Message], answer: Callable[[Message], str | None]
) -> _Ended | str:
    """Pass messages on; returns the result, or why there is none, as far as the process has said."""
    try:
        while True:
            received: Message | _Ended | str = connection.recv()
            if not isinstance(received, Message):
                return received
            messages.append(received)
            given = answer(received)
            if received.kind.is_question:
                connection.send(given)
    except (EOFError, ConnectionError):
        return ""


def _status(process: ForkProcess) -> int:
    process.join(5)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode or 0


def _child(wanted: PamRun, other_end: Connection, connection: Connection) -> None:
    """Run the stack apart from the terminal and the environment of the command."""
    other_end.close()  # or it would not be noticed that the command has ended
    os.setsid()
    os.chdir("/")
    os.environ.clear()
    os.environ.update(_ENVIRONMENT)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    try:
        connection.send(_stack(wanted, connection))
    except ImportError as error:
        connection.send(f"the Python package {error.name} is not installed")


def _stack(wanted: PamRun, connection: Connection) -> _Ended:
    import pam

    libpam: Any = pam.PamAuthenticator()  # the functions of libpam, with their types
    bindings = sys.modules[pam.PamAuthenticator.__module__]
    # The conversation is ours: python-pam's answers every question with the password.
    conversation = bindings.PamConv(_conversation(bindings, connection), None)
    handle = bindings.PamHandle()
    if wanted.real_uid:
        os.setresuid(wanted.real_uid, 0, 0)  # as a set-uid program has it
    code = libpam.pam_start(
        os.fsencode(wanted.service),
        os.fsencode(wanted.user),
        ctypes.byref(conversation),
        ctypes.byref(handle),
    )
    started, authenticated = code == _SUCCESS, False
    if started:
        for item, value in ((_TTY, wanted.tty), (_RHOST, wanted.rhost), (_RUSER, wanted.ruser)):
            if value is not None:
                libpam.pam_set_item(handle, item, os.fsencode(value))
        for name, value in wanted.environment.items():
            libpam.pam_putenv(handle, os.fsencode(f"{name}={value}"))
        if not wanted.account_only:
            code = libpam.pam_authenticate(handle, 0)
            authenticated = code == _SUCCESS
        if code == _SUCCESS:
            code = libpam.pam_acct_mgmt(handle, 0)
        libpam.pam_end(handle, code)
    return _Ended(code, started, authenticated)


def _conversation(bindings: Any, connection: Connection) -> Any:
    """A conversation function (pam_conv(3)) that passes messages on to the other end of the connection."""
    libc = ctypes.CDLL(None)
    libc.calloc.restype = ctypes.c_void_p
    libc.strdup.restype = ctypes.c_void_p

    class Answer(ctypes.Structure):
        _fields_ = (("text", ctypes.c_void_p), ("code", ctypes.c_int))

    def talk(count: int, messages: Any, responses: Any, _data: object) -> int:
        try:
            answers = ctypes.cast(libc.calloc(count, ctypes.sizeof(Answer)), ctypes.POINTER(Answer))
            for place in range(count):
                message = messages[place].contents
                kind = _STYLES.get(message.msg_style, MessageKind.SAY)
                connection.send(Message(kind, (message.msg or b"").decode("utf-8", "surrogateescape")))
                answer = connection.recv() if kind.is_question else None
                if answer is not None:
                    answers[place].text = libc.strdup(os.fsencode(answer))
            slot = ctypes.cast(responses, ctypes.POINTER(ctypes.c_void_p))
            slot[0] = ctypes.cast(answers, ctypes.c_void_p).value
        except (OSError, EOFError, ValueError):  # the other end is gone
            return _CONV_ERR
        return _SUCCESS

    return bindings.conv_func(talk)


_MEANINGS: dict[int, str] = {
    PamCode.SUCCESS: "the login succeeds",
    PamCode.OPEN_ERR: "a module could not be loaded",
    PamCode.SYMBOL_ERR: "a module lacks a function",
    PamCode.SERVICE_ERR: "a module failed",
    PamCode.SYSTEM_ERR: "a system call failed",
    PamCode.BUF_ERR: "out of memory",
    PamCode.PERM_DENIED: "permission denied",
    PamCode.AUTH_ERR: "authentication failed, for example by a wrong password",
    PamCode.CRED_INSUFFICIENT: "the program may not read the authentication data",
    PamCode.AUTHINFO_UNAVAIL: "the authentication data is unavailable",
    PamCode.USER_UNKNOWN: "unknown user",
    PamCode.MAXTRIES: "denied at once: how this module denies in sshd",
    PamCode.NEW_AUTHTOK_REQD: "the password must be changed first",
    PamCode.ACCT_EXPIRED: "the account has expired",
    PamCode.CONV_ERR: "a question was not answered",
    PamCode.TRY_AGAIN: "try again",
    PamCode.IGNORE: "every module ignored the login",
    PamCode.ABORT: "denied at once: how this module denies in sudo and su",
    PamCode.AUTHTOK_EXPIRED: "the password has expired",
    PamCode.MODULE_UNKNOWN: "a module of the stack is not installed",
}
"""The return codes that a login can end with."""
