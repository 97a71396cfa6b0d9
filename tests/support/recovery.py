"""Recovery codes made with the command."""

from __future__ import annotations

import json
import subprocess

COMMAND = "/usr/bin/pam-iampass"


def new_codes(user: str) -> list[str]:
    """Make ten codes, which replace the user's old ones."""
    made = subprocess.run(
        [COMMAND, "recovery", "new", "--yes", "--json", user], check=True, capture_output=True, text=True
    )
    codes: list[str] = json.loads(made.stdout)["codes"]
    return codes
