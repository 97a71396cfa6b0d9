"""Whether sudo uses its own PAM service, whose file setup changes."""

from __future__ import annotations

from collections.abc import Iterator

from pam_iampass.doctor.sudo import loopholes
from pam_iampass.errors import Problem
from pam_iampass.setup.checks import error, warning
from pam_iampass.system import sudoers
from pam_iampass.system.programs import CommandUnavailable


def check() -> Iterator[Problem]:
    """What in sudoers leads sudo or sudo-rs around the phone, for everybody or for some."""
    for file in sudoers.files():
        try:
            found = sudoers.read(file)
        except sudoers.SudoersRejected as rejected:
            yield warning(str(rejected), "correct it with visudo")
            continue
        except CommandUnavailable as failure:
            yield warning(f"sudoers was not checked: {failure}", failure.remedy)
            continue
        for loophole in loopholes(
            found, lambda service: service in ("sudo", "sudo-i"), lambda names: frozenset()
        ):
            level = error if loophole.kind == "sudo-other-service" else warning
            yield level(f"{loophole.what} ({loophole.evidence})", loophole.remedy)
