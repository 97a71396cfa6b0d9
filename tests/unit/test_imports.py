"""What the agent and the command load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: What only the command needs.
OF_THE_COMMAND = {"click", "rich", "segno", "ruamel"}


#: What only the gateway needs: a host's package is built without it.
OF_THE_GATEWAY = {"aiohttp", "psycopg", "cryptography", "fido2", "ldap"}


def loaded_by(module: str) -> set[str]:
    paths = [str(ROOT), *(path for path in sys.path if "packages" in path)]
    code = f"import sys; sys.path += {paths!r}; import {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


def test_the_agent_loads_nothing_that_only_the_command_needs() -> None:
    loaded = loaded_by("pam_iampass.agent.server")
    assert not {name.split(".")[0] for name in loaded} & OF_THE_COMMAND
    packages = ("cli", "check", "setup", "sandbox", "server")
    assert [
        name for name in loaded if name.startswith(tuple(f"pam_iampass.{one}." for one in packages))
    ] == []


def test_the_manual_of_a_host_is_made_without_the_libraries_of_a_gateway() -> None:
    assert not {name.split(".")[0] for name in loaded_by("tools.docs.__main__")} & OF_THE_GATEWAY
