"""Makes a running sshd read its settings again."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.setup import programs

_UNITS = ("ssh.service", "sshd.service")
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
        os.kill(pid, signal.SIGHUP)
        return Reloaded(True, f"reloaded sshd (process {pid})")
    if not _listeners():
        return Reloaded(True, "sshd does not run: nothing to reload")
    listeners = " ".join(map(str, _listeners()))
    return Reloaded(
        False, f"sshd runs, but not where its PidFile says: make it read its settings: kill -HUP {listeners}"
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
    """The processes of sshd that wait for connections: root's, with no sshd above them."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "exe").split(" ")[0] == os.path.realpath(
                    programs.path_of("sshd") or "-"
                ):
                    found[int(entry.name)] = _parent(entry)
            except (OSError, ValueError):
                continue
    return sorted(pid for pid, parent in found.items() if parent not in found)


def _parent(process: Path) -> int:
    return int((process / "stat").read_text("ascii", "replace").rpartition(")")[2].split()[1])
