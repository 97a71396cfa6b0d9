"""Finds why a whole service that was set up does not ask the phone: lines of its PAM files, settings of its program.

`check`, `setup`, `setup status` and the watch ask here. `examine` looks at the same subjects, for each user.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pam_iampass.check import pam_files, sshd, sudo
from pam_iampass.check.sshd_match import CONFIGURATION
from pam_iampass.check.stacks import Stacks
from pam_iampass.config.settings import Settings
from pam_iampass.errors import Problem
from pam_iampass.pam.services import USES
from pam_iampass.pam.stack import PamService
from pam_iampass.system.programs import CommandUnavailable
from pam_iampass.system.sudoers import SudoersRejected


def problems(name: str, stacks: Stacks, settings: Settings | None) -> Iterator[Problem]:
    """Everything that keeps a service from asking the phone. `name` is as for `setup`: sudo includes sudo-i.

    Raises OSError.
    """
    yield from of_files(name, stacks)
    yield from of_program(name, stacks, settings)


def of_files(name: str, stacks: Stacks) -> Iterator[Problem]:
    """The errors in the PAM files of a service. Raises OSError."""
    services = [one for one in USES.get(name, (name,)) if isinstance(stacks.services.get(one), PamService)]
    yield from (one for one in pam_files.of_services(services, stacks) if one.is_error)


def of_program(
    name: str,
    stacks: Stacks,
    settings: Settings | None,
    only: str | None = None,
    sshd_config: Path = CONFIGURATION,
) -> Iterator[Problem]:
    """The settings of the program that uses a service: of sshd also those for some users, unless only one is meant.

    What cannot be read is left to `examine`. Raises OSError.
    """
    with contextlib.suppress(CommandUnavailable, SudoersRejected):
        if name == "sshd":
            yield from sshd.unasked(stacks, settings, only, sshd_config)
        elif name == "sudo":
            yield from sudo.unasked(stacks, settings)
