"""logind's sessions, by way of loginctl(1)."""

from __future__ import annotations

from dataclasses import dataclass

from pam_iampass.enforcer.registrations import Registration
from pam_iampass.system import programs

_GRAPHICAL = ("x11", "wayland", "mir")
_SHOWN = ("--property=Leader", "--property=Type", "--property=LockedHint")


class LogindFailed(Exception):
    """loginctl did not do what it was asked to."""


@dataclass(frozen=True)
class LogindSession:
    """A session that the registered process has begun: it ends with the process and all that was started in it."""

    id: str
    graphical: bool
    locked: bool
    """Whether the screen is locked, where the desktop says so (LockedHint)."""

    def terminate(self) -> None:
        """End every process of the session. Raises LogindFailed."""
        _loginctl("terminate-session", self.id)

    def lock(self) -> None:
        """Ask the desktop to lock the screen. Raises LogindFailed."""
        _loginctl("lock-session", self.id)

    def unlock(self) -> None:
        """Ask the desktop to unlock the screen. Raises LogindFailed."""
        _loginctl("unlock-session", self.id)


def session_of(registration: Registration) -> LogindSession | None:
    """The session whose leader is the registered process; None where there is none.

    su and sudo have the session of the login that they were started in: that is not theirs to end.
    """
    if registration.xdg_session is None:
        return None
    try:
        shown = _loginctl("show-session", registration.xdg_session, *_SHOWN)
    except LogindFailed:
        return None
    values = dict(line.partition("=")[::2] for line in shown.splitlines())
    if values.get("Leader") != str(registration.pid):
        return None
    graphical, locked = values.get("Type") in _GRAPHICAL, values.get("LockedHint") == "yes"
    return LogindSession(registration.xdg_session, graphical, locked)


def _loginctl(verb: str, session: str, *options: str) -> str:
    try:
        done = programs.run(["loginctl", verb, *options, "--no-pager", "--", session], timeout=10.0)
    except programs.CommandUnavailable as error:
        raise LogindFailed(error.what) from None
    if not done.ok:
        raise LogindFailed(f"loginctl {verb}: {done.complaint}")
    return done.output
