"""Runs a real PAM stack in a process of its own (`child`), which a module may crash.

That process reads one line of JSON with the run from a socket, writes a line for each message of the stack, reads the
answer to each question, and writes the result as its last line. libpam is loaded through python-pam.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import enum
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pam_iampass.outcome import PamCode

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from pam_iampass.pam.run import child; child(0)"
)
_USER, _TTY, _RHOST, _RUSER = 2, 3, 4, 8  # _pam_types.h
_SUCCESS, _CONV_ERR = 0, 19
_ASK_SECRETLY, _ASK, _SAY_ERROR, _SAY = 1, 2, 3, 4
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
    phase: str = "both"
    """`both`: authenticate and, after success, account; or `auth` or `account` alone."""
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
        """What the code means."""
        if self.code is None:
            return self.failure
        if not self.started:
            return "the PAM service cannot be read: a file is missing, or a line is wrong"
        if self.authenticated and self.code != PamCode.SUCCESS:
            return "authenticated, but the account may not log in"
        return _MEANINGS.get(self.code, "a code that no login should end with")


def run(wanted: PamRun, answer: Callable[[Message], str | None], timeout: float | None = None) -> PamResult:
    """Run a stack. `answer` gets each message as it comes, and returns the answer to a question (None: no answer).

    An exception of `answer` ends the process, and is raised. So do `timeout` seconds without a message, which are
    reported as a failure.
    """
    began = time.monotonic()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", "-c", _START, json.dumps(sys.path)],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
        theirs.close()
        ours.settimeout(timeout)
        try:
            messages, reply = _talk(ours, wanted, answer)
        except BaseException:
            process.kill()
            raise
        finally:
            ours.close()
            status = _ended(process)
    return _result(messages, reply, status, time.monotonic() - began)


def _talk(
    connection: socket.socket, wanted: PamRun, answer: Callable[[Message], str | None]
) -> tuple[list[Message], dict[str, object]]:
    messages: list[Message] = []
    wire = connection.makefile("rw", encoding="utf-8", errors="surrogateescape")
    wire.write(json.dumps(vars(wanted)) + "\n")
    wire.flush()
    try:
        for line in wire:
            received = json.loads(line)
            if received["kind"] in ("result", "failed"):
                return messages, received
            message = Message(MessageKind(received["kind"]), received["text"])
            messages.append(message)
            given = answer(message)
            if message.kind.is_question:
                wire.write(json.dumps({"answer": given}) + "\n")
                wire.flush()
    except socket.timeout:
        return messages, {"kind": "failed", "what": "no answer in time"}
    except ConnectionError:
        pass
    return messages, {}


def _ended(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _result(messages: list[Message], reply: dict[str, object], status: int, seconds: float) -> PamResult:
    if reply.get("kind") == "result":
        authenticated = bool(reply["authenticated"])
        code, started = int(str(reply["code"])), bool(reply["started"])
        return PamResult(code, started, tuple(messages), seconds, authenticated=authenticated)
    how = f"by signal {-status}" if status < 0 else f"with status {status}"
    what = str(reply.get("what") or f"the process that ran the stack ended {how}")
    return PamResult(None, False, tuple(messages), seconds, what)


def child(descriptor: int) -> None:
    """Run the stack that is requested at the socket `descriptor`."""
    with socket.socket(fileno=descriptor) as connection:
        wire = connection.makefile("rw", encoding="utf-8", errors="surrogateescape")
        wanted = json.loads(wire.readline())
        try:
            result = _stack(wanted, wire)
        except ImportError as error:
            result = {"kind": "failed", "what": f"the Python package {error.name} is not installed"}
        _send(wire, result)


def _send(wire: Any, message: dict[str, Any]) -> None:
    wire.write(json.dumps(message) + "\n")
    wire.flush()


def _stack(wanted: dict[str, Any], wire: Any) -> dict[str, Any]:
    import pam

    libpam: Any = pam.PamAuthenticator()  # the functions of libpam, with their types
    bindings = sys.modules[pam.PamAuthenticator.__module__]
    # The conversation is ours: that of python-pam answers every question with the password.
    conversation = bindings.PamConv(_conversation(bindings, wire), None)
    handle = bindings.PamHandle()
    if wanted["real_uid"]:
        os.setresuid(wanted["real_uid"], 0, 0)  # as a set-uid program has it
    code = libpam.pam_start(
        os.fsencode(wanted["service"]),
        os.fsencode(wanted["user"]),
        ctypes.byref(conversation),
        ctypes.byref(handle),
    )
    started, authenticated = code == _SUCCESS, False
    if started:
        for item, key in ((_TTY, "tty"), (_RHOST, "rhost"), (_RUSER, "ruser")):
            if wanted[key] is not None:
                libpam.pam_set_item(handle, item, os.fsencode(wanted[key]))
        for name, value in wanted["environment"].items():
            libpam.pam_putenv(handle, os.fsencode(f"{name}={value}"))
        if wanted["phase"] != "account":
            code = libpam.pam_authenticate(handle, 0)
            authenticated = code == _SUCCESS
        if code == _SUCCESS and wanted["phase"] != "auth":
            code = libpam.pam_acct_mgmt(handle, 0)
        libpam.pam_end(handle, code)
    return {"kind": "result", "code": code, "started": started, "authenticated": authenticated}


def _conversation(bindings: Any, wire: Any) -> Any:
    """A conversation function (pam_conv(3)) that passes messages on to the other end of the socket."""
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
                answer = _exchange(wire, message.msg_style, message.msg or b"")
                if answer is not None:
                    answers[place].text = libc.strdup(answer)
            slot = ctypes.cast(responses, ctypes.POINTER(ctypes.c_void_p))
            slot[0] = ctypes.cast(answers, ctypes.c_void_p).value
        except (OSError, ValueError):  # the other end is gone
            return _CONV_ERR
        return _SUCCESS

    return bindings.conv_func(talk)


def _exchange(wire: Any, style: int, text: bytes) -> bytes | None:
    kind = {_ASK_SECRETLY: "ask_secretly", _ASK: "ask", _SAY_ERROR: "say_error", _SAY: "say"}.get(
        style, "say"
    )
    _send(wire, {"kind": kind, "text": text.decode("utf-8", "surrogateescape")})
    if kind not in ("ask", "ask_secretly"):
        return None
    answer = json.loads(wire.readline())["answer"]
    return None if answer is None else os.fsencode(answer)


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
