"""Starts the process that runs a PAM stack, and talks with it."""

from __future__ import annotations

import enum
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from pam_iampass.pam.child import main; main(0)"
)
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


class Kind(enum.Enum):
    """What a stack can say."""

    SAY = "say"
    SAY_ERROR = "say_error"
    ASK = "ask"
    ASK_SECRETLY = "ask_secretly"

    @property
    def is_question(self) -> bool:
        """Whether an answer is waited for."""
        return self in (Kind.ASK, Kind.ASK_SECRETLY)


@dataclass(frozen=True)
class Message:
    """Something that a stack says or asks. The text is as the module wrote it: clean it before it is shown."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class PamRun:
    """What to run, and as whom."""

    service: str
    user: str
    folder: Path | None = None
    """Where the service files are; None: where Linux-PAM has them."""
    phase: str = "both"
    """`both`: authenticate and, after success, account. `auth` or `account`: that alone."""
    tty: str | None = None
    rhost: str | None = None
    ruser: str | None = None
    real_uid: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    """PAM's environment, such as SSH_AUTH_INFO_0."""
    at_once: bool = False
    """Without the delay after a wrong password."""


@dataclass(frozen=True)
class PamResult:
    """What came of it."""

    code: int | None
    """The PAM return code; None where the process ended without one."""
    started: bool
    """Whether the stack could be read at all."""
    messages: tuple[Message, ...]
    seconds: float
    failure: str = ""
    """Where there is no code: what happened instead."""
    authenticated: bool = False
    """Whether authenticate succeeded; the account phase may have denied then."""

    @property
    def name(self) -> str:
        """The code's name."""
        return CODES.get(self.code, (f"code {self.code}", ""))[0] if self.code is not None else "no answer"

    @property
    def meaning(self) -> str:
        """What the code means."""
        if self.code is None:
            return self.failure
        if not self.started:
            return "the PAM service cannot be read: a file that it names is missing, or a line is wrong"
        if self.authenticated and self.code != 0:
            return "authenticated, but the account may not log in"
        return CODES.get(self.code, ("", "a code that Linux-PAM does not explain"))[1]


def run(wanted: PamRun, answer: Callable[[Message], str | None], timeout: float | None = None) -> PamResult:
    """Run a stack; `answer` is told each message as it comes, and answers the questions (None: no answer).

    What `answer` raises ends the process, and is raised. After `timeout` seconds without a message it is ended too.
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
            messages, told = _talk(ours, wanted, answer)
        except BaseException:
            process.kill()
            raise
        finally:
            ours.close()
            status = _ended(process)
    return _result(messages, told, status, time.monotonic() - began)


def _talk(
    connection: socket.socket, wanted: PamRun, answer: Callable[[Message], str | None]
) -> tuple[list[Message], dict[str, object]]:
    messages: list[Message] = []
    wire = connection.makefile("rw", encoding="utf-8", errors="surrogateescape")
    told = {**vars(wanted), "folder": str(wanted.folder) if wanted.folder else None}
    wire.write(json.dumps(told) + "\n")
    wire.flush()
    try:
        for line in wire:
            received = json.loads(line)
            if received["kind"] in ("result", "failed"):
                return messages, received
            message = Message(Kind(received["kind"]), received["text"])
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


def _result(messages: list[Message], told: dict[str, object], status: int, seconds: float) -> PamResult:
    if told.get("kind") == "result":
        code, started, authenticated = (
            int(str(told["code"])),
            bool(told["started"]),
            bool(told["authenticated"]),
        )
        return PamResult(code, started, tuple(messages), seconds, authenticated=authenticated)
    how = f"by signal {-status}" if status < 0 else f"with status {status}"
    what = str(told.get("what") or f"the process that ran the stack ended {how}")
    return PamResult(None, False, tuple(messages), seconds, what)


CODES = {
    0: ("PAM_SUCCESS", "the login succeeds"),
    1: ("PAM_OPEN_ERR", "a module could not be loaded"),
    2: ("PAM_SYMBOL_ERR", "a module lacks a function"),
    3: ("PAM_SERVICE_ERR", "a module failed"),
    4: ("PAM_SYSTEM_ERR", "the system failed"),
    5: ("PAM_BUF_ERR", "there was not enough memory"),
    6: ("PAM_PERM_DENIED", "permission denied"),
    7: ("PAM_AUTH_ERR", "not authenticated, such as by a wrong password"),
    8: ("PAM_CRED_INSUFFICIENT", "may not see what it takes to authenticate"),
    9: ("PAM_AUTHINFO_UNAVAIL", "what it takes to authenticate cannot be reached"),
    10: ("PAM_USER_UNKNOWN", "no such user"),
    11: ("PAM_MAXTRIES", "denied for good: how this module denies in sshd"),
    12: ("PAM_NEW_AUTHTOK_REQD", "the password must be changed first"),
    13: ("PAM_ACCT_EXPIRED", "the account has expired"),
    19: ("PAM_CONV_ERR", "a question was not answered"),
    24: ("PAM_TRY_AGAIN", "try again"),
    25: ("PAM_IGNORE", "no module had a say"),
    26: ("PAM_ABORT", "denied at once: how this module denies in sudo and su"),
    27: ("PAM_AUTHTOK_EXPIRED", "the password has expired"),
    28: ("PAM_MODULE_UNKNOWN", "a module that the stack names is not there"),
}
"""Linux-PAM's return codes (_pam_types.h) that a login can end with: name and meaning."""
