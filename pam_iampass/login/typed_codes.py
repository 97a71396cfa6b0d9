"""Recovery codes that are typed before the first factor, at sshd's keyboard-interactive.

The `auth` line with the argument `codes` asks for a code, keeps what is typed, and lets nobody in: sshd goes on to the
key. The account phase of the same connection, which follows the key, redeems it. Why:
`docs/inside/decisions/codes-before-the-key.md`.
"""

from __future__ import annotations

import os
import select
import threading
from dataclasses import dataclass, field

from pam_iampass.login.application import (
    CODE_PROMPT,
    SSHD_REFUSED,
    AlreadyRefused,
    Conversation,
    PamApplication,
    Unanswered,
)
from pam_iampass.outcome import PamCode

#: Connections that may be asked for a code, or have typed one, before their first factor. Strangers can take all of
#: these places: then nobody else is asked for a code. They cannot take all places for logins in the agent.
MOST_CONNECTIONS = 200


@dataclass(frozen=True)
class _Connection:
    """A connection, as both phases of its login know it."""

    pid: int
    """The process that serves it."""
    addresses: str | None
    user: str | None


@dataclass(frozen=True)
class _Typed:
    text: str = field(repr=False)
    pidfd: int
    """The pidfd of the process that serves the connection."""

    @property
    def is_over(self) -> bool:
        """Whether the process has ended."""
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        return bool(poller.poll(0))


class TypedCodes:
    """Typed codes by connection, until its first factor is accepted. They are only in memory.

    A connection is the sshd process that serves it, as the kernel knows it, with the addresses and the user that sshd
    names. Every method may be called in any thread.
    """

    def __init__(self, most: int = MOST_CONNECTIONS) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._asking = 0
        self._typed: dict[_Connection, _Typed] = {}

    @property
    def asking(self) -> int:
        """The number of connections that are being asked for a code."""
        return self._asking

    def ask(self, application: PamApplication) -> PamCode:
        """Ask for a code, and keep what is typed. Returns a denial, after which sshd tries its other methods.

        Where sshd cannot ask, in its method `password`, this is PAM_IGNORE. Raises ApplicationGone and Stopping.
        """
        if not self._begin():
            return PamCode.MAXTRIES
        try:
            connection, pidfd = _served(application)
        except OSError:  # the account phase would not find it again
            return PamCode.MAXTRIES
        else:
            return self._ask(application, connection, pidfd)
        finally:
            with self._lock:
                self._asking -= 1

    def _begin(self) -> bool:
        with self._lock:
            self._forget_what_is_over()
            if self._asking + len(self._typed) >= self._most:
                return False
            self._asking += 1
            return True

    def _ask(self, application: PamApplication, connection: _Connection, pidfd: int) -> PamCode:
        text = ""
        try:
            text = Conversation(application).ask(CODE_PROMPT)
        except AlreadyRefused:
            text = SSHD_REFUSED
        except Unanswered:
            return PamCode.IGNORE
        finally:
            if not text:
                os.close(pidfd)
        if text:
            with self._lock:
                self._forget(connection)
                self._typed[connection] = _Typed(text, pidfd)
        return PamCode.MAXTRIES

    def take(self, application: PamApplication) -> str | None:
        """Remove and return what was typed in this connection before its first factor; None if nothing was."""
        with self._lock:
            self._forget_what_is_over()
            if not self._typed:
                return None
        try:
            connection, pidfd = _served(application)
        except OSError:
            return None
        os.close(pidfd)
        with self._lock:
            found = self._typed.get(connection)
            self._forget(connection)
        return None if found is None else found.text

    def _forget_what_is_over(self) -> None:
        for connection in [one for one, typed in self._typed.items() if typed.is_over]:
            self._forget(connection)

    def _forget(self, connection: _Connection) -> None:
        found = self._typed.pop(connection, None)
        if found is not None:
            os.close(found.pidfd)


def _served(application: PamApplication) -> tuple[_Connection, int]:
    """The connection of a login, and a pidfd of the process that serves it. Raises ApplicationGone and OSError."""
    pid, pidfd = application.opener()
    return _Connection(pid, application.ssh_connection, application.user), pidfd
