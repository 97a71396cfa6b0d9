"""Screen lockers of alice's, which run as she does: how each is locked, and what she types to get back in."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable

from tests.packages.administrator import PASSWORD
from tests.packages.booted import PATIENCE, Booted
from tests.packages.lightdm import DISPLAY, TYPE

_X = " ".join(DISPLAY)
_TYPE = " ".join((_X, *TYPE, "'{password}'", "key Return"))
_WAYLAND = "env XDG_RUNTIME_DIR=/run/user/$(id -u alice) WAYLAND_DISPLAY=wayland-1"
_XSCREENSAVER = (
    "pgrep -x xscreensaver || systemd-run -q --unit=xscreensaver --uid=alice -E HOME=/home/alice -E DISPLAY=:0"
    " -E XAUTHORITY=/home/alice/.Xauthority sh -c \"printf 'mode: blank\\nfade: False\\nlock: True\\n'"
    ' > /home/alice/.xscreensaver; exec xscreensaver --no-splash"'
)
#: How long what was typed may take, before it is typed again: a locker ignores keys while it starts or refuses.
_TRY = 12.0

#: What alice's graphical session runs.
XSESSION = "xss-lock -- i3lock -n & exec sleep infinity\n"
#: A desktop without a screen or a graphics card, beside that session.
SWAY = """\
systemd-run -q --unit=sway --uid=alice -E XDG_RUNTIME_DIR=/run/user/$(id -u alice) -E WLR_BACKENDS=headless \
    -E WLR_LIBINPUT_NO_DEVICES=1 -E WLR_RENDERER=pixman sway -c /dev/null
until test -S /run/user/$(id -u alice)/wayland-1; do sleep 0.1; done
"""


@dataclass(frozen=True)
class Locker:
    """A screen locker, as shell scripts for root."""

    service: str
    """Its PAM service."""
    lock: str
    locked: str
    """Whether the screen is locked: exit status 0."""
    keys: str
    """Types `{password}`, in place of what is already typed."""
    end: str = ""
    """Unlocks without a password a locker that has read its PAM file already; empty for one that reads it each time."""


LOCKERS = (
    Locker(
        "i3lock",
        "loginctl lock-sessions",
        # Its helper that keeps the window on top may outlive it, if it is ended as soon as it starts.
        "pgrep -x i3lock -P $(pgrep -x xss-lock)",
        f"{_X} xdotool key Escape; {_TYPE}",
        "loginctl unlock-sessions",
    ),
    Locker(
        "xscreensaver",
        f"{_XSCREENSAVER}; until {_X} xscreensaver-command -lock; do sleep 0.5; done",
        f"{_X} xscreensaver-command -time | grep 'screen locked'",
        f"timeout 20 sh -c 'until pgrep xscreensaver-au; do {_X} xdotool key shift; sleep 0.3; done';"
        f"sleep 1; {_TYPE}",
    ),
    Locker(
        "swaylock",
        f"{_WAYLAND} systemd-run -q --uid=alice -E XDG_RUNTIME_DIR -E WAYLAND_DISPLAY swaylock",
        "pgrep -x swaylock",
        f"{_WAYLAND} runuser -u alice -- wtype -s 1000 -k Escape -d 50 '{{password}}' -k Return -s 500",
        "pkill -USR1 -x swaylock",
    ),
)


def is_locked(machine: Booted, locker: Locker) -> bool:
    """Whether the screen is locked."""
    return machine.run("sh", "-c", locker.locked, check=False).returncode == 0


def type_until(machine: Booted, locker: Locker, done: Callable[[], bool]) -> None:
    """Type the password, as often as it takes until `done` is true."""
    until = time.monotonic() + 2 * PATIENCE
    while not done():
        assert time.monotonic() < until, machine.shell("ps axf; journalctl -n 40 --no-pager")
        machine.run("sh", "-c", locker.keys.format(password=PASSWORD), check=False)
        tried = time.monotonic() + _TRY
        while not done() and time.monotonic() < tried:
            time.sleep(0.3)  # between two looks
