"""Recovery codes as an administrator makes them."""

from __future__ import annotations

import json
import subprocess

COMMAND = "/usr/bin/pam-iampass"


def new_codes(user: str) -> list[str]:
    """Ten codes, in the place of all that the user had."""
    made = subprocess.run(
        [COMMAND, "recovery", "new", "--yes", "--json", user], check=True, capture_output=True, text=True
    )
    codes: list[str] = json.loads(made.stdout)["codes"]
    return codes
