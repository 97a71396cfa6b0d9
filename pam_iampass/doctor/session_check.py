"""Checks what the services need whose IAMPASS sessions are kept: `session` stacks, and the enforcer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pam_iampass.config.settings import Settings
from pam_iampass.doctor.catalogue import finding
from pam_iampass.doctor.stacks import Stacks
from pam_iampass.errors import Problem
from pam_iampass.pam.modules import is_ours, stem
from pam_iampass.pam.services import USES
from pam_iampass.system import paths

_ASKS_NOBODY = ("systemd-user",)
"""Services whose programs open sessions only: their `auth` stack is that of `other`, and nothing calls it."""


def findings(
    stacks: Stacks, settings: Settings, asking: Iterable[str], enforcer: Path = Path(paths.ENFORCER_SOCKET)
) -> Iterator[Problem]:
    """What keeps the sessions of the services `asking`, which ask the phone, from being kept and ended.

    `enforcer` is the socket of the service that ends logins. Raises OSError.
    """
    keeping = [
        name for name in asking if name not in _ASKS_NOBODY and settings.for_service(name).session.keep
    ]
    for name in keeping:
        yield from _of_stack(stacks, name)
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
