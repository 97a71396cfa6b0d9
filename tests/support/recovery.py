"""Recovery codes made with the command."""

from __future__ import annotations

import json

from tests.support.command import run_command


def new_codes(user: str) -> list[str]:
    """Make ten codes, which replace the user's old ones."""
    made = run_command("recovery", "new", "--yes", "--json", user)
    made.check_returncode()
    codes: list[str] = json.loads(made.stdout)["codes"]
    return codes
