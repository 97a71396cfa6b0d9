"""The programs of the machine that setup cannot do without."""

from __future__ import annotations

from collections.abc import Sequence

from pam_iampass.setup.errors import SetupError
from pam_iampass.system.programs import NotThere, Said, ask


def run(command: Sequence[str], timeout: float = 60.0) -> Said:
    """Run a program with a clean environment. Raises SetupError if it is not installed or takes too long."""
    try:
        return ask(command[0], command[1:], timeout)
    except NotThere as error:
        raise SetupError(str(error), error.remedy) from None
