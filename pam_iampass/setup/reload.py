"""Makes a running sshd read its settings again."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.setup import programs
from pam_iampass.system.programs import find

_UNITS = ("ssh.service", "sshd.service")
PATIENCE = 10.0
"""How long sshd may take to begin anew, in seconds."""
SYSTEMD = Path("/run/systemd/system")
"""There where systemd runs (sd_booted(3))."""


@dataclass(frozen=True)
class Reloaded:
    """What was done about sshd."""

    done: bool
    """Whether no sshd goes on with its old settings, as far as can be told."""
    what: str


def reload_sshd() -> Reloaded:
    """Have sshd read its settings again: through systemd, or by the pid in its PidFile. Raises SetupError."""
    if SYSTEMD.is_dir():
        for unit in _UNITS:
            if programs.run(["systemctl", "is-active", "--quiet", unit]).ok:
                return _through_systemd(unit)
    return _by_signal()


def _through_systemd(unit: str) -> Reloaded:
    told = programs.run(["systemctl", "reload-or-restart", unit])
    if told.ok:
        return Reloaded(True, f"reloaded {unit}")
    return Reloaded(
        False, f"{unit} could not be reloaded ({'; '.join(told.lines)}): systemctl restart {unit}"
    )


def _by_signal() -> Reloaded:
    pid = _pid()
    if pid is not None:
        return _hang_up(pid)
    if not _listeners():
        return Reloaded(True, "sshd does not run: nothing to reload")
    listeners = " ".join(map(str, _listeners()))
    return Reloaded(
        False, f"sshd runs, but not where its PidFile says: make it read its settings: kill -HUP {listeners}"
    )


def _hang_up(pid: int) -> Reloaded:
    """sshd begins anew on SIGHUP; until it listens on new sockets it is the old one, or nobody gets in."""
    process = Path("/proc", str(pid))
    before = _sockets(process) & _waiting_sockets()
    os.kill(pid, signal.SIGHUP)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        now = _sockets(process) & _waiting_sockets()
        if now and not now & before:
            return Reloaded(True, f"reloaded sshd (process {pid})")
        time.sleep(0.02)
    return Reloaded(
        False, f"sshd (process {pid}) was told to read its settings again, and does not listen: look at it"
    )


def _pid() -> int | None:
    """The listener's pid by its PidFile, where that is true."""
    for line in programs.run(["sshd", "-T"]).output.splitlines():
        key, _, value = line.partition(" ")
        if key == "pidfile":
            try:
                pid = int(Path(value).read_text("ascii"))
            except (OSError, ValueError):
                return None
            return pid if pid in _listeners() else None
    return None


def _listeners() -> list[int]:
    """The processes of sshd that wait for connections; those of logins do not."""
    program = os.path.realpath(find("sshd") or "-")
    waiting = _waiting_sockets()
    return sorted(
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit()
        and _link(entry / "exe").split(" ")[0] == program
        and _sockets(entry) & waiting
    )


def _waiting_sockets() -> set[str]:
    """The sockets of this machine that listen for TCP, as their links in /proc/PID/fd read (proc_net(5))."""
    found = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", name).read_text("ascii").splitlines()[1:]:
                words = line.split()
                if words[3] == "0A":
                    found.add(f"socket:[{words[9]}]")
    return found


def _sockets(process: Path) -> set[str]:
    try:
        return {_link(descriptor) for descriptor in (process / "fd").iterdir()}
    except OSError:  # it has just ended
        return set()


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
