"""Graphical logins at a machine without a display, and what logind tells their desktops."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.packages.administrator import PASSWORD, Administrator
from tests.packages.booted import PATIENCE, Booted
from tests.packages.kept_logins import NewSession, wait_for
from tests.packages.people import People

SERVICE = "lightdm"
#: The PAM file of Debian's lightdm, without the modules that need its package.
PAM_FILE = """\
auth      requisite pam_nologin.so
@include common-auth
@include common-account
session   required  pam_limits.so
@include common-session
@include common-password
"""
LOGIND = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
_SEEN = "/run/lock-signals"
_SIGNAL = re.compile(r"path=(\S+); interface=org\.freedesktop\.login1\.Session; member=(Lock|Unlock)$", re.M)


class Desktop:
    """A graphical session of alice's, which logind knows, with a kept IAMPASS session."""

    def __init__(self, machine: Booted, people: People) -> None:
        self._machine = machine
        begun = NewSession(machine, people)
        command = ["python3", "-I", "/root/display_manager.py", SERVICE, "alice", PASSWORD]
        self._manager = subprocess.Popen(
            machine.entered(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        people.phone.approve("alice")
        assert self._manager.stdout is not None
        self.xdg_session = self._manager.stdout.readline().strip()
        session, self.number = begun.wait()
        self.id: str = session["id"]
        shown = machine.run("busctl", "call", *LOGIND, "GetSession", "s", self.xdg_session).stdout
        self.path: str = shown.split('"')[1]

    def shows(self, name: str) -> str:
        """A property of logind's session."""
        return self._machine.run(
            "loginctl", "show-session", "--value", "-p", name, self.xdg_session
        ).stdout.strip()

    def say_locked(self, locked: bool) -> None:
        """What a desktop tells logind when its screen has been locked, or unlocked."""
        interface = f"{LOGIND[0]}.Session"
        call = (LOGIND[0], self.path, interface, "SetLockedHint", "b", str(locked).lower())
        self._machine.run("busctl", "call", *call)

    def log_out(self) -> None:
        """Close the session."""
        self._manager.communicate(timeout=PATIENCE)


def make_display_manager(administrator: Administrator) -> None:
    """Install it; its service asks the phone."""
    machine = administrator.machine
    machine.copy_in(Path(__file__).with_name("display_manager.py"), "/root")
    machine.write(f"/etc/pam.d/{SERVICE}", PAM_FILE)
    administrator.set_up(SERVICE)


def watch_signals(machine: Booted) -> None:
    """Listen to logind, as all desktops do."""
    rule = "type='signal',interface='org.freedesktop.login1.Session'"
    unit = ("systemd-run", "-q", "--unit=desktop", f"--property=StandardOutput=truncate:{_SEEN}")
    machine.run(*unit, "dbus-monitor", "--system", rule)
    wait_for(lambda: machine.shell(f"cat {_SEEN} || :"), "dbus-monitor listens")


def signals(machine: Booted) -> list[tuple[str, str]]:
    """The requests to lock and unlock a screen so far: the path of logind's session, and which."""
    return _SIGNAL.findall(machine.read(_SEEN))
