"""Sets a service up, and gets a signal after a number of steps. After SIGKILL, nothing is cleaned up."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from pam_iampass.setup import apply
from pam_iampass.setup.manifest import Manifest
from tests.unit.setup.stage import Stage


def main(root: str, name: str, choice: str, moment: str, number: str) -> None:
    """The arguments are those of the command line."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever began the tests may ignore it
    stage = Stage(Path(root))
    told: list[str] = []

    def tell(word: str, _what: str) -> None:
        told.append(word)
        if len(told) > int(moment):
            os.kill(os.getpid(), int(number))

    plans = [stage.plan(name, choice)]
    with apply.undisturbed():
        apply.make_changes(plans, Manifest(), stage.store, apply.Hooks(stage.hooks().reload, tell))


if __name__ == "__main__":
    main(*sys.argv[1:])
