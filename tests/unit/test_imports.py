"""What the agent and the command load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: What only the command needs.
OF_THE_COMMAND = {"click", "rich", "segno", "ruamel"}


def test_the_agent_loads_nothing_that_only_the_command_needs() -> None:
    paths = [str(ROOT), *(path for path in sys.path if "packages" in path)]
    imports = "import pam_iampass.module, pam_iampass.relay.service"
    code = f"import sys; sys.path += {paths!r}; {imports}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True
    )
    loaded = set(done.stdout.split())
    assert not {name.split(".")[0] for name in loaded} & OF_THE_COMMAND
    packages = ("cli", "doctor", "setup", "enrollment", "sandbox")
    assert [
        name for name in loaded if name.startswith(tuple(f"pam_iampass.{one}." for one in packages))
    ] == []


def test_nothing_but_the_command_itself_knows_the_command() -> None:
    package = ROOT / "pam_iampass"
    knowing = set()
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_bytes())):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{name.name}" for name in node.names]
            if any(f"{name}.".startswith("pam_iampass.cli.") for name in names):
                knowing.add(file.relative_to(package).parts[0])
    assert knowing == {"cli"}
