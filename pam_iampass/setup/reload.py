"""Reloads the settings of a running sshd."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.system import sshd
from pam_iampass.system.programs import CommandUnavailable, find, run

_UNITS = ("ssh.service", "sshd.service")
TIMEOUT = 10.0
"""Seconds for sshd to start again after SIGHUP."""
SYSTEMD = Path("/run/systemd/system")
"""Exists if systemd runs (sd_booted(3))."""


@dataclass(frozen=True)
class Reloaded:
    """The result of a reload."""

    done: bool
    """Whether no sshd keeps its old settings, as far as is known."""
    what: str


def reload_sshd() -> Reloaded:
    """Reload sshd through systemd, or by the pid in its PidFile. Raises CommandUnavailable."""
    if SYSTEMD.is_dir():
        for unit in _UNITS:
            if run(["systemctl", "is-active", "--quiet", unit]).ok:
                return _through_systemd(unit)
    return _by_signal()


def _through_systemd(unit: str) -> Reloaded:
    result = run(["systemctl", "reload-or-restart", unit], timeout=60)
    if result.ok:
        return Reloaded(True, f"reloaded {unit}")
    messages = "; ".join(result.lines)
    return Reloaded(False, f"{unit} could not be reloaded ({messages}): run systemctl restart {unit}")


def _by_signal() -> Reloaded:
    pid = _pid()
    if pid is not None:
        return _hang_up(pid)
    if not _listeners():
        return Reloaded(True, "sshd is not running: nothing to reload")
    listeners = " ".join(map(str, _listeners()))
    return Reloaded(
        False, f"sshd is running, but not with the pid in its PidFile: reload it: kill -HUP {listeners}"
    )


def _hang_up(pid: int) -> Reloaded:
    """Send SIGHUP, on which sshd starts again, and wait until it listens on new sockets."""
    process = Path("/proc", str(pid))
    before = _sockets(process) & _waiting_sockets()
    os.kill(pid, signal.SIGHUP)
    until = time.monotonic() + TIMEOUT
    while time.monotonic() < until:
        now = _sockets(process) & _waiting_sockets()
        if now and not now & before:
            return Reloaded(True, f"reloaded sshd (process {pid})")
        time.sleep(0.02)
    return Reloaded(False, f"sshd (process {pid}) does not listen after the reload: check it")


def _pid() -> int | None:
    """The pid of the listening sshd in its PidFile; None if the file is missing or wrong."""
    try:
        pid = int(Path(sshd.settings().values.get("pidfile", "none")).read_text("ascii"))
    except (OSError, ValueError, sshd.SshdConfigRejected, CommandUnavailable):
        return None
    return pid if pid in _listeners() else None


def _listeners() -> list[int]:
    """The sshd processes that wait for connections, not those of logins."""
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
    """The listening TCP sockets of this machine, as their links in /proc/PID/fd (proc_net(5))."""
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
