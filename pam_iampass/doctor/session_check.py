"""Checks what the services need whose IAMPASS sessions are kept: `session` stacks, and the enforcer."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pam_iampass.config.settings import Settings
from pam_iampass.doctor.catalogue import finding
from pam_iampass.doctor.stacks import Stacks
from pam_iampass.enforcer.actions import TIMESTAMPS
from pam_iampass.errors import Problem
from pam_iampass.pam.modules import is_ours, stem
from pam_iampass.pam.services import USES
from pam_iampass.system import paths
from pam_iampass.system.sudoers import Sudoers

DOAS = Path("/etc/doas.conf")
_PERSIST = re.compile(r"^[^#\n]*\bpersist\b", re.M)
_ASKS_NOBODY = ("systemd-user",)
"""Services whose programs open sessions only: their `auth` stack is that of `other`, and nothing calls it."""


def findings(
    stacks: Stacks,
    settings: Settings,
    asking: Iterable[str],
    enforcer: Path = Path(paths.ENFORCER_SOCKET),
    sudoers: Sudoers | None = None,
    doas: Path = DOAS,
) -> Iterator[Problem]:
    """What keeps the sessions of the services `asking`, which ask the phone, from being kept and ended.

    `enforcer` is the socket of the service that ends logins, `sudoers` what sudo reads, `doas` the settings of doas.
    Raises OSError.
    """
    keeping = [
        name for name in asking if name not in _ASKS_NOBODY and settings.for_service(name).session.keep
    ]
    for name in keeping:
        yield from _of_stack(stacks, name)
    if sudoers is not None and keeping:
        yield from _remembered_elsewhere(sudoers)
    if sudoers is not None and sudoers.service in keeping and sudoers.remembers:
        remedy = "With visudo: Defaults timestamp_timeout=0"
        yield finding("session-remembered", "sudo", "timestamp_timeout is not 0", name="sudo", remedy=remedy)
    if "doas" in keeping and doas.exists() and _PERSIST.search(doas.read_text("utf-8", "replace")):
        yield finding(
            *("session-remembered", "doas", f"{doas}: persist"),
            name="doas",
            remedy=f"Remove persist from {doas}",
        )
    if keeping and not enforcer.is_socket():
        yield finding(
            "enforcer-off", "session.keep", f"{enforcer} is not a socket", services=", ".join(keeping)
        )


def _of_stack(stacks: Stacks, name: str) -> Iterator[Problem]:
    stack = stacks.session_stack(name)
    if name == "polkit-1":
        yield finding("session-elsewhere", name, "session.keep: true", name=name)
        return
    ours = next((index for index, handler in enumerate(stack) if is_ours(handler)), None)
    if ours is None:
        program = next((one for one, services in USES.items() if name in services), name)
        shared = any(is_ours(one) and one.file.name == "common-auth" for one in stacks.auth_stack(name))
        command = "pam-auth-update --enable iampass-session" if shared else f"pam-iampass setup {program}"
        yield finding("session-line-missing", name, "session.keep: true", name=name, command=command)
    elif any(stem(handler) == "pam_systemd" for handler in stack[ours:]):
        yield finding("session-line-early", name, str(stack[ours]), name=name, place=stack[ours].place)


def _remembered_elsewhere(sudoers: Sudoers) -> Iterator[Problem]:
    """Lines by which sudo remembers whom it has asked where the enforcer, when it revokes, does not look."""
    for line in sudoers.lines:
        folder = line.name == "timestampdir" and os.path.realpath(str(line.value)) != os.path.realpath(
            TIMESTAMPS[0]
        )
        owner = line.name == "timestampowner" and line.value not in ("root", "#0")
        if line.value and (folder or owner):
            yield finding("session-timestamps", "sudo", line.place or f"cvtsudoers: {line}", rule=line)
