"""lightdm with its GTK greeter, on a machine whose screen is in memory."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.packages.administrator import PASSWORD
from tests.packages.booted import Booted
from tests.packages.kept_logins import wait_for

#: What the machine has besides that of the other tests.
PACKAGES = (
    *("lightdm", "lightdm-gtk-greeter", "xvfb", "xauth", "xdotool", "xss-lock", "i3lock"),
    *("at-spi2-core", "python3-gi", "gir1.2-atspi-2.0"),
)
SERVICE = "lightdm"
#: The server's authority stays the same for the greeter and for the session after it.
DISPLAY = ("env", "DISPLAY=:0", "XAUTHORITY=/run/lightdm/root/:0")
TYPE = ("xdotool", "type", "--args", "1", "--delay", "50")
_LOG = "/var/log/lightdm/lightdm.log"
_SETTINGS = """\
[LightDM]
logind-check-graphical=false
[Seat:*]
xserver-command=/usr/local/bin/screen-in-memory
greeter-hide-users=true
user-session=test
"""
# Of the arguments that lightdm has for Xorg, Xvfb knows these.
_SERVER = """\
#!/bin/sh
display=$1
while [ "$1" != -auth ]; do shift; done
exec Xvfb "$display" -auth "$2" -nolisten tcp -noreset -screen 0 800x600x24
"""
_NAME, _PASSWORD = "\ntext:  focused", "\npassword text:  focused"  # what the greeter waits for
_XSESSION = "[Desktop Entry]\nName=Test\nType=Application\nExec=sh /home/alice/desktop\n"


def graphical_root() -> Path:
    """The root of a machine with these packages; made where there is none, which takes minutes."""
    system, cached = (os.environ[name].split() for name in ("PACKAGES_SYSTEM", "PACKAGES_CACHED"))
    command = ["packaging/root.sh", "make", os.environ["PACKAGES_RELEASE"], *system, *PACKAGES, "--", *cached]
    return Path(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip())


class Lightdm:
    """The display manager of `machine`, and alice before its screen."""

    def __init__(self, machine: Booted) -> None:
        self._machine = machine
        machine.write("/usr/local/lib/on_screen.py", Path(__file__).with_name("on_screen.py").read_text())
        machine.write("/etc/lightdm/lightdm.conf.d/test.conf", _SETTINGS)
        machine.write("/usr/local/bin/screen-in-memory", _SERVER, 0o755)
        machine.write("/usr/share/xsessions/test.desktop", _XSESSION)
        # lightdm names a virtual terminal also where the machine has none, and logind refuses that.
        machine.shell(
            "test -e /dev/tty0 || echo 'XDG_VTNR DEFAULT=\"\"' >> /etc/security/pam_env.conf;"
            "systemctl restart lightdm"
        )

    def shown(self) -> str:
        """What the greeter shows."""
        script = "as=$(id -u lightdm); runuser -u lightdm -- env DISPLAY=:0 XDG_RUNTIME_DIR=/run/user/$as"
        address = "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$as/bus"
        return self._machine.shell(f"{script} {address} python3 -I /usr/local/lib/on_screen.py 2>&1 || :")

    def type_password(self, password: str = PASSWORD) -> None:
        """Log in as alice, until the greeter has the password."""
        if _NAME in wait_for(self._asked, "the greeter is ready"):
            self.type("alice")
        wait_for(lambda: _PASSWORD in self.shown(), "the greeter asks for the password")
        self.type(password)

    def _asked(self) -> str:
        shown = self.shown()
        return shown if _NAME in shown or _PASSWORD in shown else ""

    def type(self, text: str) -> None:
        """Type a line at the screen."""
        self._machine.run(*DISPLAY, *TYPE, text, "key", "Return")

    def session(self) -> str:
        """The id of alice's graphical session at logind, if there is one."""
        listed = self._machine.run("loginctl", "list-sessions", "--no-legend").stdout.splitlines()
        found = [words[0] for words in map(str.split, listed) if words[2:4] == ["alice", "seat0"]]
        return found[0] if found else ""

    def results(self) -> list[str]:
        """How alice's logins ended, in lightdm's words."""
        begin = "Authenticate result for user alice: "
        return [line.split(begin)[1] for line in self._machine.read(_LOG).splitlines() if begin in line]
