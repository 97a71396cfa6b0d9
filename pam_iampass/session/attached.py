"""A login session that belongs to a kept session, and what keeps account of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class AttachedLogin:
    """A login session, as the door described it in the session phase. Texts come from PAM uncleaned."""

    pid: int
    """The application's process, which runs as long as the login session, in the PID namespace of the agent."""

    user: str
    """The account's name, as NSS has it."""

    uid: int
    service: str

    audit_session: int | None = None
    """The kernel's audit session (`/proc/PID/sessionid`), None without one that pam_loginuid began for this account."""

    xdg_session: str | None = None
    """logind's id of the session, None without logind."""

    tty: str | None = None
    rhost: str | None = None

    since: float = 0.0
    """Unix time at which it was attached."""

    inode: int | None = None
    """Of the pidfd of its process, which no other process has; None before Linux 6.9 (pidfs)."""


@dataclass(frozen=True)
class Opener:
    """A process that may still open a login session: its login was approved, or covered as a further connection."""

    pid: int
    inode: int | None = None
    """As in `AttachedLogin`."""


class Attachments(Protocol):
    """What the session phase of a login tells to who keeps the sessions. Called in many threads."""

    def opened(self, session: str, login: AttachedLogin, pidfd: int) -> bool:
        """`login` has opened its session. Returns whether there is such a kept session for it.

        Takes over `pidfd`, which is that of its process, whatever it returns. The application waits for it, at most
        2 s.
        """

    def closed(self, session: str, pid: int) -> None:
        """The login session of the process `pid` is over. The application waits for it, at most 2 s."""
