"""The number of examples that a property test tries."""

from __future__ import annotations

import os


def examples(count: int) -> int:
    """`count`, or a third of it with FEW_EXAMPLES in the environment, which `make test` sets."""
    return count // 3 if os.environ.get("FEW_EXAMPLES") else count
