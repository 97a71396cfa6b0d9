"""Takes a setup back by itself, unless it is confirmed.

It must not depend on the terminal, on the process that set things up, or on the machine staying up. Where systemd
runs, a timer of our own is enabled, which a reboot does not forget; elsewhere a process waits, which a reboot ends.
The keeper is there before the first file is changed.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pam_iampass.setup import files
from pam_iampass.setup.errors import SetupError
from pam_iampass.setup.manifest import Trial
from pam_iampass.setup.paths import Paths
from pam_iampass.setup.reload import SYSTEMD
from pam_iampass.system import programs

SYSTEMD_KEEPER, PROCESS_KEEPER = "systemd", "process"
_NAME = "pam-iampass-trial"

_SERVICE = """\
# Written by `pam-iampass setup --try`, and removed when the trial is confirmed or over.
[Unit]
Description=Takes back a trial of pam-iampass setup
Documentation=man:pam-iampass(1)
ConditionPathExists={manifest}
After=local-fs.target
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart={command}
WorkingDirectory={folder}
Restart=on-failure
RestartSec=30
TimeoutStartSec=300
"""

_TIMER = """\
# Written by `pam-iampass setup --try`, and removed when the trial is confirmed or over.
[Unit]
Description=End of a trial of pam-iampass setup
Documentation=man:pam-iampass(1)

[Timer]
# The moment itself, also where the machine was off when it came; and, should the clock be wrong, no later than the
# length of the trial after each start of the machine.
OnCalendar={moment}
OnActiveSec={seconds}
Persistent=yes
AccuracySec=1s
Unit={name}.service

[Install]
WantedBy=timers.target
"""


def new(services: Sequence[str], minutes: float, now: float) -> Trial:
    """A trial that begins now."""
    keeper = SYSTEMD_KEEPER if SYSTEMD.is_dir() else PROCESS_KEEPER
    return Trial(secrets.token_hex(8), tuple(services), now, now + 60 * minutes, keeper)


def start(trial: Trial, places: Paths, manifest: Path) -> None:
    """Have it end by itself. Raises SetupError or OSError, and then it does not."""
    if trial.keeper == PROCESS_KEEPER:
        _start_process(trial)
        return
    for path, text in units(trial, places, manifest).items():
        files.write(path, text.encode(), 0o644)
    for command in (["daemon-reload"], ["enable", "--now", f"{_NAME}.timer"]):
        told = programs.run(["systemctl", *command])
        if not told.ok:
            stop(places)
            raise SetupError(
                "systemd does not take the timer that ends the trial", "try without --try", told.lines
            )


def stop(places: Paths) -> None:
    """Have nothing end any trial by itself. A process that waits finds out by itself that it is not wanted."""
    wants = places.units / "timers.target.wants" / f"{_NAME}.timer"
    paths = [wants, *(places.units / f"{_NAME}.{kind}" for kind in ("timer", "service"))]
    if not any(os.path.lexists(path) for path in paths):
        return
    if SYSTEMD.is_dir():
        programs.run(["systemctl", "disable", "--now", f"{_NAME}.timer"])
    for path in paths:
        path.unlink(missing_ok=True)
    if SYSTEMD.is_dir():
        programs.run(["systemctl", "daemon-reload"])
    stamp = places.root / f"var/lib/systemd/timers/stamp-{_NAME}.timer"
    stamp.unlink(missing_ok=True)  # or the next trial would be over as soon as it begins


def units(trial: Trial, places: Paths, manifest: Path) -> dict[Path, str]:
    """The unit files, by path."""
    command, folder = own_command()
    words = " ".join(_quoted(word) for word in [*command, "setup", "--trial-over", trial.name])
    moment = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(trial.deadline))
    seconds = max(1, round(trial.deadline - trial.started))
    return {
        places.units / f"{_NAME}.service": _SERVICE.format(
            command=words, folder=_escaped(str(folder)), manifest=_escaped(str(manifest))
        ),
        places.units / f"{_NAME}.timer": _TIMER.format(moment=moment, seconds=seconds, name=_NAME),
    }


def own_command() -> tuple[list[str], Path]:
    """How to run this command again, without a PATH and from which folder."""
    program = Path(sys.argv[0])
    if program.name == "pam-iampass" and program.is_absolute() and os.access(program, os.X_OK):
        return [str(program)], Path("/")
    return [sys.executable, "-m", "pam_iampass.cli"], Path(__file__).resolve().parents[2]


def _start_process(trial: Trial) -> None:
    command, folder = own_command()
    subprocess.Popen(  # noqa: S603
        [*command, "setup", "--trial-over", trial.name, "--at", str(trial.deadline)],
        cwd=folder,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_until(deadline: float) -> None:
    """Sleep until the clock says so; at most as long as that takes from now, whatever the clock does meanwhile."""
    boottime = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while the machine sleeps
    end = time.clock_gettime(boottime) + max(0.0, deadline - time.time())
    while True:
        left = min(end - time.clock_gettime(boottime), deadline - time.time())
        if left <= 0:
            return
        time.sleep(min(left, 30.0))


def _quoted(word: str) -> str:
    """A word of ExecStart= (systemd.service(5), COMMAND LINES)."""
    escaped = _escaped(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"' if any(character in escaped for character in " '\"\\;") else escaped


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
