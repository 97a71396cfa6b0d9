"""Boots the machine of an image once for each policy, and keeps it: tests go on from there instead of booting.

Usage: python3 -m tests.vm.snapshots IMAGE; IMAGE is the folder of image.sh.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.vm.machine import Machine, Policy


def main() -> None:
    """Take the snapshots."""
    for policy in Policy:
        machine = Machine(Path(sys.argv[1]))
        try:
            machine.boot(policy)
            machine.take_snapshot(policy)
        finally:
            machine.close()


if __name__ == "__main__":
    main()
