"""Ends a trial at its deadline, unless it is confirmed: everything that was set up is undone.

This depends neither on the terminal, nor on the process that set things up, nor on the machine staying up: a timer of
systemd, which survives a reboot, is started before the first file is changed.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pam_iampass.audit.query import NoJournal, records_since
from pam_iampass.errors import SetupError, SetupRefused
from pam_iampass.outcome import Result
from pam_iampass.pam.services import USES
from pam_iampass.setup import files
from pam_iampass.setup.files import SYSTEMD, Paths
from pam_iampass.setup.manifest import Manifest, Trial
from pam_iampass.system import programs

_NAME = "pam-iampass-trial"
PATIENCE = 600.0
"""Seconds for systemd to read its units again, and to start one: a machine that starts is busy."""

_SERVICE = """\
# Written by `pam-iampass setup --try`, and removed when the trial is confirmed or ends.
[Unit]
Description=End a trial of pam-iampass setup
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
# Written by `pam-iampass setup --try`, and removed when the trial is confirmed or ends.
[Unit]
Description=Deadline of a trial of pam-iampass setup
Documentation=man:pam-iampass(1)

[Timer]
# At the deadline, or at boot if the machine was off then. If the clock is wrong: no later after boot than the trial was
# to last.
OnCalendar={moment}
OnActiveSec={seconds}
Persistent=yes
AccuracySec=1s
Unit={name}.service

[Install]
WantedBy=timers.target
"""


def new(services: Sequence[str], manifest: Manifest, seconds: float, now: float) -> Trial:
    """A trial that starts now. Raises SetupRefused if nothing could end it, or its end would not restore what was."""
    known = {name: manifest.services[name] for name in services if name in manifest.services}
    broken = [name for name, record in known.items() if not record.complete]
    if broken:
        names = " and ".join(broken)
        what = f"the last setup of {names} was interrupted, and the end of a trial would not restore that"
        remedy = f"run pam-iampass setup undo {' '.join(broken)} first, or omit --try"
        raise SetupRefused(what, remedy)
    if not SYSTEMD.is_dir():
        raise SetupRefused(
            "--try needs systemd, which does not run here", "omit --try, and keep a root shell open"
        )
    earlier = {name: record.choice for name, record in known.items()}
    return Trial(secrets.token_hex(8), tuple(services), now, now + seconds, earlier)


def start(trial: Trial, paths: Paths, manifest: Path) -> None:
    """Start what ends the trial. Raises SetupError or OSError; nothing is started then."""
    for path, text in units(trial, paths, manifest).items():
        files.write(path, text.encode(), 0o644)
    for command in (["daemon-reload"], ["enable", "--now", f"{_NAME}.timer"]):
        done = programs.run(["systemctl", *command], PATIENCE)
        if not done.ok:
            stop(paths)
            raise SetupError("systemd rejects the timer that ends the trial", "omit --try", done.lines)


def stop(paths: Paths) -> None:
    """Remove the timer of a trial, if there is one."""
    wants = paths.units / "timers.target.wants" / f"{_NAME}.timer"
    units = [wants, *(paths.units / f"{_NAME}.{kind}" for kind in ("timer", "service"))]
    if not any(os.path.lexists(path) for path in units):
        return
    if SYSTEMD.is_dir():
        programs.run(["systemctl", "disable", "--now", f"{_NAME}.timer"], PATIENCE)
    for path in units:
        path.unlink(missing_ok=True)
    if SYSTEMD.is_dir():
        programs.run(["systemctl", "daemon-reload"], PATIENCE)
        # If the watch ends the trial while the service is to try again, it would stay a failed unit of this machine.
        programs.run(["systemctl", "reset-failed", f"{_NAME}.service"], PATIENCE)
    stamp = paths.root / f"var/lib/systemd/timers/stamp-{_NAME}.timer"
    stamp.unlink(missing_ok=True)  # or the next trial would end as soon as it starts


def require_logins(running: Trial, manifest: Manifest) -> None:
    """Raises SetupRefused unless there was a login through each service since the trial began."""
    names = {name: {*USES.get(name, (name,))} for name in running.services if name in manifest.services}
    try:
        records = records_since(running.started, frozenset(one for each in names.values() for one in each))
    except NoJournal as error:
        remedy = f"{how_to_try(list(names))}; if it works, confirm with --force"
        raise SetupRefused(f"there is no record of logins: {error}", remedy) from None
    passed = {record.service for record in records if record.result != Result.DENIED.value}
    missing = [name for name, pam_services in names.items() if not pam_services & passed]
    if missing:
        what = f"the journal has no login through {' and '.join(missing)} since the trial began"
        raise SetupRefused(what, f"{how_to_try(missing)}, then confirm. --force confirms without a login")


_WAYS = {
    "sshd": "log in with ssh from another terminal",
    "sudo": "run `sudo -k true` as a user who has to give a password (from root: `runuser -u USER -- sudo -k true`)",
    "su": "run `su` as a user other than root (from root: `runuser -u USER -- su`)",
    "polkit-1": "run `pkexec true` as a user other than root",
    "doas": "run `doas true` as a user who has to give a password (from root: `runuser -u USER -- doas true`)",
    "login": "log in at a console",
}


def how_to_try(names: Sequence[str]) -> str:
    """How to test these services."""
    return " and ".join(_WAYS.get(name, f"log in through {name}") for name in names)


def units(trial: Trial, paths: Paths, manifest: Path) -> dict[Path, str]:
    """The unit files, by path."""
    command, folder = own_command()
    words = " ".join(_quoted(word) for word in [*command, "setup", "--trial-over", trial.name])
    moment = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(trial.deadline))
    seconds = max(1, round(trial.deadline - trial.started))
    return {
        paths.units / f"{_NAME}.service": _SERVICE.format(
            command=words, folder=_escaped(str(folder)), manifest=_escaped(str(manifest))
        ),
        paths.units / f"{_NAME}.timer": _TIMER.format(moment=moment, seconds=seconds, name=_NAME),
    }


def own_command() -> tuple[list[str], Path]:
    """The command line of this program without a PATH, and the folder to run it in."""
    program = Path(sys.argv[0])
    if program.name == "pam-iampass" and program.is_absolute() and os.access(program, os.X_OK):
        return [str(program)], Path("/")
    return [sys.executable, "-m", "pam_iampass.cli"], Path(__file__).resolve().parents[2]


def _quoted(word: str) -> str:
    """A word of ExecStart= (systemd.service(5), COMMAND LINES)."""
    escaped = _escaped(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"' if any(character in escaped for character in " '\"\\;") else escaped


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
