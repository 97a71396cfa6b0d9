"""The ways to become root, or to log in, that do not ask the phone, besides ssh and sudo."""

from __future__ import annotations

import grp
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pam_iampass.check.catalogue import finding
from pam_iampass.check.machine import Machine
from pam_iampass.check.stacks import Stacks
from pam_iampass.errors import Problem, Severity
from pam_iampass.pam.services import USES, why_unsuitable
from pam_iampass.system.service_user import members
from pam_iampass.text import names

_GDM = ("gdm-password", "gdm-fingerprint", "gdm-smartcard")
CONSOLES = ("login", *_GDM, "lightdm", "sddm", "lxdm", "xdm", "greetd")
"""The PAM services of the console and of display managers."""

_PROGRAMS = {
    "sudo-rs": "sudo",
    "su-rs": "su",
    "pkexec": "polkit-1",
    "polkit-agent-helper-1": "polkit-1",
    "cockpit-session": "cockpit",
    "xscreensaver-auth": "xscreensaver",
}
"""Set-uid programs whose PAM service has another name."""
_TITLES = {"polkit-1": "polkit (pkexec, run0, dialogs of the desktop)", "login": "The console"}
_HARMLESS = re.compile(
    "gpasswd|newgrp|expiry|unix_chkpwd|pam_timestamp_check|at|crontab|screen|vlock-main|kcheckpass|kscreenlocker.*"
    "|pppd|exim4?|sendmail"
)
"""Set-uid programs that make nobody root: they change the caller's own account or jobs, unlock the caller's own
terminal, or send mail."""
_SET_UID_WITHOUT_PAM = ("ksu", "super", "calife", "userv", "op")
"""Programs that make users root by rules of their own, unless they were built to use PAM."""
_SERVERS_WITHOUT_PAM = {
    **dict.fromkeys(
        ("dropbear", "tinysshd", "lshd"), "Use sshd in its place, or leave it as the way in for emergencies"
    ),
    "tailscaled": "If Tailscale SSH is on: tailscale set --ssh=false",
    "teleport": "It has a second factor of its own: see its documentation",
}
"""Servers that log users in without PAM, and what to do."""
_ELSEWHERE = re.compile(r"sshd|sudo|sudo-i|ssh")
"""PAM services that other subjects are about."""
_FOLDERS = (
    *(("/usr/bin", 0), ("/usr/sbin", 0), ("/usr/local", 2), ("/usr/lib", 2), ("/usr/lib64", 2)),
    *(("/usr/libexec", 2), ("/bin", 0), ("/sbin", 0), ("/opt", 3)),
)
"""Where set-uid programs are looked for, and how many levels below."""
_PATH = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/opt/bin:/opt/sbin"
_EMPOWERED, _EMPOWERS = "empower", Path("/usr/share/polkit-1/rules.d/empower.rules")
"""A group, and systemd's rule of polkit by which its members pass every check."""
_DOAS = Path("/etc/doas.conf")
_DOAS_FREE = re.compile(r"\s*permit\s+(?:(?:nolog|persist|keepenv|setenv\s*\{[^}]*\})\s+)*nopass\b")


def findings(machine: Machine) -> Iterator[Problem]:
    """Every way that is open."""
    return WaysInCheck(machine.stacks, machine.not_checked).findings()


@dataclass(frozen=True)
class WaysInCheck:
    """The PAM stacks of the machine, and its set-uid programs."""

    stacks: Stacks
    unread: list[str]
    """Gets the programs that this process cannot read."""

    def findings(self) -> Iterator[Problem]:
        """Every way that is open."""
        ways_in: dict[str, str] = {}
        yield from self._without_pam()
        for program in (program for program, with_pam in self._set_uid.items() if with_pam):
            name = _PROGRAMS.get(program.name, program.name)
            if self.stacks.files.path(_services(name)[0]) is not None:
                ways_in[name] = str(program)
            elif _is_way_in(name):
                yield finding(
                    "way-in-unknown-program",
                    "ways in",
                    f"{program} is set-uid root, and uses libpam",
                    path=program,
                )
        for name in ("polkit-1", *CONSOLES):
            if self.stacks.files.path(name) is not None:
                ways_in.setdefault(name, str(self.stacks.files.path(name)))
        for name, evidence in ways_in.items():
            if _is_way_in(name):
                yield from self._of_way_in(name, evidence)
        yield from self._other_services(ways_in)
        if "doas" in ways_in:
            yield from _doas(Severity.WARNING if self.stacks.asks_always("sudo") else None)
        if self.stacks.asks("polkit-1"):
            yield from _empowered()

    def _of_way_in(self, name: str, evidence: str) -> Iterator[Problem]:
        services = [one for one in _services(name) if self.stacks.files.path(one) is not None]
        unasked = [one for one in services if self.stacks.lets_in_unasked(one)]
        title = _TITLES.get(name, name)
        if unasked and len(unasked) < len(services):
            yield finding(
                "sibling-unprotected",
                name,
                f"{self.stacks.files.path(unasked[0])} lets users in without the phone",
                asking=next(one for one in services if one not in unasked),
                other=unasked[0],
                remedy=f"pam-iampass setup {name}",
            )
        elif unasked:
            kind = "way-in-console" if name in CONSOLES else "way-in-open"
            yield finding(kind, "ways in", evidence, program=title, name=name)

    def _other_services(self, ways_in: dict[str, str]) -> Iterator[Problem]:
        known = {service for way_in in ways_in for service in _services(way_in)}
        others = [
            name
            for name in self.stacks.services
            if name not in known | self.stacks.applications
            and _is_way_in(name)
            and not _ELSEWHERE.fullmatch(name)
            and self.stacks.lets_in_unasked(name)
        ]
        if others:
            yield finding(
                "way-in-other-services",
                "ways in",
                f"{self.stacks.files.path(others[0])}",
                names=names(others),
            )

    def _without_pam(self) -> Iterator[Problem]:
        found = {
            program: f"It asks the phone of nobody: chmod u-s {program}, or remove its package"
            for program, with_pam in self._set_uid.items()
            if not with_pam and program.name in _SET_UID_WITHOUT_PAM
        }
        for name, remedy in _SERVERS_WITHOUT_PAM.items():
            path = shutil.which(name, path=_PATH)
            if path is not None:
                found[Path(path)] = remedy
        for program, remedy in found.items():
            yield finding("way-in-without-pam", "ways in", str(program), program=program.name, remedy=remedy)

    @cached_property
    def _set_uid(self) -> dict[Path, bool]:
        """The set-uid programs, and whether they use PAM."""
        found = {}
        for program in dict.fromkeys(set_uid_programs()):
            try:
                found[program] = b"libpam.so" in program.read_bytes()
            except OSError as error:
                self.unread.append(f"ways in: {program}: {error.strerror}")
        return found


def set_uid_programs() -> Iterator[Path]:
    """The set-uid programs of root in the usual folders."""
    for folder, levels in _FOLDERS:
        if not Path(folder).is_symlink():
            yield from _set_uid_below(folder, levels)


def _set_uid_below(folder: str, levels: int) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except OSError:
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            if levels:
                yield from _set_uid_below(entry.path, levels - 1)
        elif ".so" not in entry.name and entry.is_file(follow_symlinks=False):
            status = entry.stat(follow_symlinks=False)
            if status.st_mode & stat.S_ISUID and status.st_uid == 0:
                yield Path(entry.path)


def _is_way_in(name: str) -> bool:
    """Whether a program or a PAM service may make a user root, or let a user in."""
    return why_unsuitable(name) is None and not _HARMLESS.fullmatch(name)


def _services(way_in: str) -> tuple[str, ...]:
    return USES.get(way_in, (way_in,))


def _doas(severity: Severity | None) -> Iterator[Problem]:
    lines = _DOAS.read_text("utf-8", "replace").splitlines() if _DOAS.exists() else []
    for number, line in enumerate(lines, 1):
        if _DOAS_FREE.match(line):
            yield finding("doas-no-password", "ways in", f"{_DOAS}:{number}", severity, rule=line.strip())


def _empowered() -> Iterator[Problem]:
    try:
        listed = members(grp.getgrnam(_EMPOWERED).gr_gid) - {"root"}
    except KeyError:
        return
    if listed and os.path.exists(_EMPOWERS):
        yield finding("polkit-empower", "ways in", f"{_EMPOWERS}", names=names(sorted(listed)))
