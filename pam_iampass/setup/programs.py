"""The programs of the machine that know whether a setting is right; setup cannot go on without them."""

from __future__ import annotations

from collections.abc import Sequence

from pam_iampass.setup.errors import SetupError
from pam_iampass.system.programs import NotThere, Said, ask


def run(command: Sequence[str], timeout: float = 60.0) -> Said:
    """Run a program of the system with a clean environment. Raises SetupError where there is none, or it hangs."""
    try:
        return ask(command[0], command[1:], timeout)
    except NotThere as error:
        raise SetupError(str(error), error.remedy) from None
