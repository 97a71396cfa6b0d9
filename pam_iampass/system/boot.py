"""The identity of this machine and of its boot, and the time since then."""

from __future__ import annotations

import hmac
import os
import re
import time

BOOT_ID = "/proc/sys/kernel/random/boot_id"
VARIABLE = "PAM_IAMPASS_BOOT_ID"
MACHINE_ID = "/etc/machine-id"


def since_boot() -> float:
    """Seconds since the machine was booted, suspend included: a clock that cannot be set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str | None:
    """The id of this boot, 32 hexadecimal digits (random(4)); None if it is unknown.

    The agent cannot read the file (`ProcSubset=pid` in its unit), so the unit passes the id in a variable.
    """
    try:
        # UTF-8 needs no module: this process may be unable to read one, and Python would not look for it again.
        with open(BOOT_ID, encoding="utf-8") as file:
            text = file.read()
    except OSError:
        text = os.environ.get(VARIABLE, "")
    return text.strip().replace("-", "") or None


def machine_digest(file: str = MACHINE_ID) -> str:
    """The digest by which a gateway knows this machine, 32 hexadecimal digits; empty if the machine has no id.

    The id itself is confidential (machine-id(5)).
    """
    try:
        with open(file, encoding="utf-8") as opened:
            identity = opened.read().strip()
    except (OSError, ValueError):
        return ""
    known = re.fullmatch("[0-9a-f]{32}", identity)
    return hmac.digest(identity.encode(), b"pam-iampass", "sha256").hex()[:32] if known else ""
