"""logind's sessions, by way of loginctl(1)."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from pam_iampass.enforcer.registrations import Registration
from pam_iampass.system import programs

_GRAPHICAL = ("x11", "wayland", "mir")
_SHOWN = ("--property=Leader", "--property=Type", "--property=LockedHint", "--property=Scope")
_CGROUPS = "/sys/fs/cgroup"


class LogindFailed(Exception):
    """loginctl did not do what it was asked to."""


@dataclass(frozen=True)
class LogindSession:
    """A session that the registered process has begun: it ends with the process and all that was started in it."""

    id: str
    graphical: bool
    locked: bool
    """Whether the screen is locked, where the desktop says so (LockedHint)."""
    group: str
    """The folder of the control group with all processes of the session; empty if there is none (cgroup v1)."""

    def terminate(self) -> None:
        """Ask every process of the session to end. Raises LogindFailed."""
        _loginctl("terminate-session", self.id)

    def has_processes(self) -> bool:
        """Whether any process is left in the control group or below it; True where that is unknown."""
        try:
            with open(f"{self.group}/cgroup.events", encoding="ascii") as file:
                return "populated 0" not in file.read()
        except OSError:  # it is gone
            return not self.group

    def kill(self) -> None:
        """Kill every process of the session. Raises LogindFailed."""
        if self.group:
            with contextlib.suppress(OSError), open(f"{self.group}/cgroup.kill", "wb", buffering=0) as file:
                file.write(b"1")  # none can fork past it; since Linux 5.14
                return
        _loginctl("kill-session", self.id, "--signal=KILL")

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
    group = _control_group(registration.pid, values.get("Scope", ""))
    return LogindSession(registration.xdg_session, graphical, locked, group)


def _control_group(leader: int, scope: str) -> str:
    """The folder of a session's control group; empty without one, or if the leader is not in it.

    That is so where pam_systemd has failed: the leader is in the control group of its service, with all other logins.
    """
    with contextlib.suppress(OSError), open(f"/proc/{leader}/cgroup", encoding="utf-8") as file:
        # Other lines are of the hierarchies of cgroup v1, also beside this one (cgroups(7)).
        path = next((line[3:] for line in file.read().split("\n") if line.startswith("0::")), "")
        if scope and os.path.basename(path) == scope and os.path.exists(f"{_CGROUPS}{path}/cgroup.events"):
            return _CGROUPS + path
    return ""


def _loginctl(verb: str, session: str, *options: str) -> str:
    try:
        done = programs.run(["loginctl", verb, *options, "--no-pager", "--", session], timeout=10.0)
    except programs.CommandUnavailable as error:
        raise LogindFailed(error.what) from None
    if not done.ok:
        raise LogindFailed(f"loginctl {verb}: {done.complaint}")
    return done.output
