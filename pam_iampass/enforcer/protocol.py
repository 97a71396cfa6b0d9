"""The protocol between agent and enforcer: one line, answered by one line; and a login session.

The line is `VERB SESSION REASON`, `VERB SESSION REASON others-first`, or `tell UID ACCOUNT WHAT`.
"""

from __future__ import annotations

import contextlib
import enum
import re
import socket
import time
from dataclasses import dataclass

from pam_iampass.errors import PamIampassError
from pam_iampass.system import paths
from pam_iampass.text import clean, printable_ascii

LINE_LIMIT = 1024
"""The longest line in bytes, in either direction."""
PATIENCE = 60.0
"""How long the agent waits for the answer: longer than the enforcer takes. Seconds."""

SESSION_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_OTHERS_FIRST = "others-first"
_LONGEST_ACCOUNT, _LONGEST_WHAT = 100, 600
_NOTICE = re.compile(
    rf"tell (0|[1-9][0-9]{{0,9}}) ([!-~]{{1,{_LONGEST_ACCOUNT}}}) ([ -~]{{1,{_LONGEST_WHAT}}})\n", re.ASCII
)


class EnforcerUnavailable(PamIampassError):
    """The enforcer could not be asked, or gave no answer."""


class InvalidRequest(ValueError):
    """A line that is no request."""


class Verb(enum.Enum):
    """An action on the login sessions of an IAMPASS session."""

    END = "end"
    """They end, after a line to their terminals."""
    LOCK = "lock"
    """Graphical ones are locked; for the others as `REVOKE`."""
    UNLOCK = "unlock"
    """Graphical ones are unlocked."""
    REVOKE = "revoke"
    """sudo, sudo-rs and doas ask their user for the password again."""


class Reason(enum.Enum):
    """The reason for an action. It decides the line on the terminals."""

    CLOSED = "closed"
    """Ended on the phone or at IAMPASS."""
    GATEWAY = "gateway"
    """Ended on the phone, at IAMPASS or at the gateway."""
    AWAY = "away"
    """The phone is no longer near."""
    NO_PHONE = "no-phone"
    """The person has no phone any more."""
    BACK = "back"
    """The phone is near again."""
    ADMINISTRATOR = "administrator"
    """`pam-iampass session end`, `pam-iampass phone lost`."""
    LONGEST = "longest"
    """The session has lasted as long as the settings allow."""
    KILLED = "killed"
    """The process of the login has ended without closing it. Nobody reads why."""


class EnforcerResult(enum.Enum):
    """The result of a request."""

    DONE = "done"
    NOTHING = "nothing"
    """No login session is registered, or those that were have ended."""
    FAILED = "failed"


@dataclass(frozen=True)
class LoginSession:
    """A login session, as its door described it. Texts come from PAM uncleaned."""

    pid: int
    """The application's process, which called pam_open_session(3) and runs as long as the login session."""
    user: str
    """The account's name, as NSS has it."""
    uid: int
    service: str
    audit_session: int | None = None
    """The kernel's audit session (`/proc/PID/sessionid`), None without one that pam_loginuid began for this account:
    all processes in it with its login uid belong to the login."""
    xdg_session: str | None = None
    """logind's session (pam_systemd(8)), None without logind; it can be one that the process did not begin."""
    tty: str | None = None


@dataclass(frozen=True)
class EnforcerRequest:
    """One request."""

    verb: Verb
    session: str
    """The id of the kept session: 32 hexadecimal digits."""
    reason: Reason
    others_first: bool = False
    """Whether logins on other hosts begin in these: an end waits until their hosts have ended them, too."""

    def encode(self) -> bytes:
        """The line."""
        words = [self.verb.value, self.session, self.reason.value, *([_OTHERS_FIRST] * self.others_first)]
        return f"{' '.join(words)}\n".encode("ascii")

    @staticmethod
    def decode(line: bytes) -> EnforcerRequest:
        """The request of a line that ends with a line feed. Raises InvalidRequest."""
        try:
            verb, session, reason, *more = line.decode("ascii").removesuffix("\n").split(" ")
            if (
                not line.endswith(b"\n")
                or not SESSION_ID.fullmatch(session)
                or more not in ([], [_OTHERS_FIRST])
            ):
                raise ValueError
            return EnforcerRequest(Verb(verb), session, Reason(reason), bool(more))
        except ValueError:
            raise InvalidRequest("invalid request") from None


@dataclass(frozen=True)
class ApproverNotice:
    """A request for a line on the terminals of a person whose phone somebody else asks."""

    uid: int
    """The user id of the person."""
    account: str
    """The user who asks: an account that acts for the person, or somebody who needs their second approval."""
    what: str
    """The command that it calls, or where it logs in."""

    def encode(self) -> bytes:
        """The line, with both texts cut and cleaned. A space in the name of the account becomes `_`."""
        account = printable_ascii(self.account, _LONGEST_ACCOUNT).replace(" ", "_")
        return f"tell {self.uid} {account} {printable_ascii(self.what, _LONGEST_WHAT)}\n".encode("ascii")

    @staticmethod
    def decode(line: bytes) -> ApproverNotice:
        """The notice of a line that ends with a line feed. Raises InvalidRequest."""
        found = _NOTICE.fullmatch(line.decode("ascii", "replace"))
        if found is None:
            raise InvalidRequest("invalid notice")
        return ApproverNotice(int(found[1]), found[2], found[3])


def decode(line: bytes) -> EnforcerRequest | ApproverNotice:
    """The request of a line. Raises InvalidRequest."""
    return (ApproverNotice if line.startswith(b"tell ") else EnforcerRequest).decode(line)


@dataclass(frozen=True)
class EnforcerReply:
    """The answer to a request."""

    result: EnforcerResult
    problem: str = ""
    """The failure, in words."""

    def encode(self) -> bytes:
        """The line, cut at LINE_LIMIT."""
        problem = clean(self.problem, LINE_LIMIT // 2)
        text = f"{self.result.value}: {problem}" if problem else self.result.value
        return text.encode("utf-8", "replace")[: LINE_LIMIT - 1] + b"\n"

    @staticmethod
    def decode(line: bytes) -> EnforcerReply:
        """The answer of a line. Raises ValueError."""
        word, _colon, problem = line.decode("utf-8", "replace").removesuffix("\n").partition(": ")
        return EnforcerReply(EnforcerResult(word), clean(problem, LINE_LIMIT))


def receive_line(connection: socket.socket, until: float) -> bytes:
    """The first line, with its line feed; less if the stream ends or the line is too long.

    `until` is a time of time.monotonic(). Raises OSError, also when that time has come.
    """
    line = b""
    while not line.endswith(b"\n") and len(line) < LINE_LIMIT:
        connection.settimeout(max(until - time.monotonic(), 0.001))
        byte = connection.recv(1)
        if not byte:
            break
        line += byte
    return line


def ask(
    request: EnforcerRequest | ApproverNotice, path: str = paths.ENFORCER_SOCKET, patience: float = PATIENCE
) -> EnforcerReply:
    """Ask the enforcer, and wait at most `patience` seconds for the answer. Raises EnforcerUnavailable."""
    until = time.monotonic() + patience
    remedy = "systemctl status pam-iampass-enforcer.socket"
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        try:
            connection.settimeout(patience)
            connection.connect(path)
            connection.sendall(request.encode())
            line = receive_line(connection, until)
        except OSError as error:
            raise EnforcerUnavailable(f"{path}: {error.strerror or 'no answer in time'}", remedy) from None
    try:
        return EnforcerReply.decode(line)
    except ValueError:
        raise EnforcerUnavailable(f"{path}: invalid answer", remedy) from None
