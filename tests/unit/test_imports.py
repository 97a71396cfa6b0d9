"""What a login loads: nothing before it is needed. A login without a second factor pays for no network library."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.setting import ME, Setting

ROOT = Path(__file__).parents[2]
HEAVY = {
    "requests",
    "urllib3",
    "http",
    "ssl",
    "yaml",
    "systemd",
    "click",
    "rich",
    "email",
    "asyncio",
    "json",
    "logging",
}
SHOW = "import sys; before = set(sys.modules)\n{code}\nprint(*sorted(set(sys.modules) - before))"


def loaded(code: str) -> set[str]:
    """The modules that `code` makes Python load, in a fresh interpreter as isolated as the helper's."""
    paths = f"import sys; sys.path += {[str(ROOT), *(path for path in sys.path if 'packages' in path)]!r}\n"
    command = [sys.executable, "-I", "-S", "-c", paths + SHOW.format(code=code)]
    return set(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1].split()
    )


@pytest.mark.parametrize(
    "module", ["module", "relay.helper", "relay.serve", "login.verification", "relay.helper_context"]
)
def test_the_way_in_loads_a_few_small_modules(module: str) -> None:
    found = loaded(f"import pam_iampass.{module}")
    assert not {name.split(".")[0] for name in found} & HEAVY
    assert len(found) < 90, sorted(found)


def test_an_exempt_login_loads_no_network_library(world: Setting) -> None:
    world.configure(exempt=f"{{users: [{ME}]}}")
    found = loaded(
        "import contextlib, socket\n"
        "from pam_iampass import module\n"
        "from pam_iampass.audit.journal import Journal\n"
        "from pam_iampass.relay import helper_context\n"
        "from pam_iampass.relay.connection import RelayConnection\n"
        "class Nowhere:\n"
        "    def write(self, fields, patience=0): pass\n"
        f"items = {{'user': {ME!r}, 'service': 'x'}}\n"
        "handle = RelayConnection(socket.socketpair()[0], items, contextlib.ExitStack())\n"
        f"argv = ['pam_iampass', 'config={world.folder / 'iampass.yaml'}']\n"
        "assert module.authenticate(handle, argv, Journal(Nowhere()), helper_context.context) == 25"
    )
    late = ("login.rate_limit", "login.recovery_codes", "system.state_dir")
    assert not {f"pam_iampass.{name}" for name in late} & found
    client = {name for name in found if name.startswith("pam_iampass.client")}
    assert client == {"pam_iampass.client", "pam_iampass.client.origin"}
    assert not {name.split(".")[0] for name in found} & {
        "requests",
        "urllib3",
        "ssl",
        "http",
        "email",
        "click",
    }


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
