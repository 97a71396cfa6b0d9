"""Python packages that Debian does not package: `tests/support/python-tools.sh` installs them."""

from __future__ import annotations

import os
from pathlib import Path


def python_of(tool: str) -> Path:
    """The Python of a tool's virtual environment. Raises FileNotFoundError if it is not installed."""
    tools = os.environ.get("PAM_IAMPASS_TOOLS", f"/var/tmp/pam-iampass-tools-{os.geteuid()}")
    python = Path(tools) / tool / "bin/python"
    if not python.exists():
        raise FileNotFoundError(f"no {python}: run `tests/support/python-tools.sh {tool}`")
    return python
