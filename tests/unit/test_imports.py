"""What the agent and the command load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: What only the command needs.
OF_THE_COMMAND = {"click", "rich", "segno", "ruamel"}


def test_the_agent_loads_nothing_that_only_the_command_needs() -> None:
    paths = [str(ROOT), *(path for path in sys.path if "packages" in path)]
    imports = "import pam_iampass.agent.server"
    code = f"import sys; sys.path += {paths!r}; {imports}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True
    )
    loaded = set(done.stdout.split())
    assert not {name.split(".")[0] for name in loaded} & OF_THE_COMMAND
    packages = ("cli", "doctor", "setup", "sandbox", "server")
    assert [
        name for name in loaded if name.startswith(tuple(f"pam_iampass.{one}." for one in packages))
    ] == []
