"""The structure of the package: rooms, the direction of imports between them, and no circles between files."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "pam_iampass"

#: Each room and file of the top may import those further down, and itself. `docs/inside/architecture.md` describes
#: them.
ORDER = (
    ("gateway",),
    ("portal",),
    ("fleet",),
    ("cli",),
    ("setup",),
    ("check",),
    ("agent",),
    ("module",),
    ("login",),
    ("session",),
    ("pam",),
    ("sandbox",),
    ("audit",),
    ("config",),
    ("server",),
    ("client",),
    ("enforcer",),
    ("system",),
    ("outcome",),
    ("errors",),
    ("text",),
)
FLOOR = {room: floor for floor, rooms in enumerate(reversed(ORDER)) for room in rooms}

#: The rooms of the gateway, in the same order.
GATEWAY = ("cli", "serving", "acts", "calls", "check", "sign_in", "requests", "people", "hosts", "base")
GATEWAY_FLOOR = {room: floor for floor, room in enumerate(reversed(GATEWAY))}

#: Rooms that are usable on their own, and all that they may import of the package.
ALONE = {
    "client": {"client"},
    "portal": {"portal", "fleet", "server", "client", "config", "system", "errors", "text", "cli"},
    "server": {"server", "client", "text"},
    "fleet": {"fleet", "config", "outcome", "text"},
    "sandbox": {"sandbox", "server", "client", "system", "errors", "text"},
}


def _modules() -> dict[str, Path]:
    found = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


MODULES = _modules()


def _imports(module: str) -> dict[str, int]:
    """Every module of the package that `module` imports, in functions too, with the line."""
    found: dict[str, int] = {}
    file = MODULES[module]
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
            base = f"{above}.{node.module}" if node.level and node.module else node.module or above
            names = [f"{base}.{name.name}" for name in node.names]
        else:
            continue
        for name in names:
            while name and name not in MODULES:
                name = name.rpartition(".")[0]
            if name and name != "pam_iampass":
                found.setdefault(name, node.lineno)
    found.pop(module, None)
    return found


def _room(module: str) -> str:
    return module.split(".")[1]


IMPORTS = {module: _imports(module) for module in MODULES if module != "pam_iampass"}


def _place(module: str, imported: str) -> str:
    return f"{MODULES[module].relative_to(PACKAGE.parent)}:{IMPORTS[module][imported]} imports {imported}"


def test_nothing_is_loose_but_the_module_and_the_vocabulary() -> None:
    loose = {file.stem for file in PACKAGE.glob("*.py")}
    assert loose == {"__init__", "module", "outcome", "errors", "text"}


def test_every_room_has_its_floor() -> None:
    assert {_room(module) for module in IMPORTS} == set(FLOOR)


def test_imports_lead_down() -> None:
    wrong = [
        f"{_place(module, imported)}: {_room(module)} may not import {_room(imported)}"
        for module, found in IMPORTS.items()
        for imported in found
        if _room(imported) != _room(module) and FLOOR[_room(imported)] >= FLOOR[_room(module)]
    ]
    assert not wrong, "\n".join(wrong)


def test_imports_of_the_gateway_lead_down_too() -> None:
    inside = [module for module in IMPORTS if module.startswith("pam_iampass.gateway.")]
    assert {module.split(".")[2] for module in inside} == set(GATEWAY_FLOOR)
    wrong = [
        _place(module, imported)
        for module in inside
        for imported in IMPORTS[module]
        if imported.startswith("pam_iampass.gateway.")
        and GATEWAY_FLOOR[imported.split(".")[2]] > GATEWAY_FLOOR[module.split(".")[2]]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_files_import_each_other_in_a_circle() -> None:
    def circle_from(path: list[str]) -> list[str] | None:
        for imported in IMPORTS.get(path[-1], ()):
            if imported in path:
                return [*path[path.index(imported) :], imported]
            if imported not in done and (found := circle_from([*path, imported])):
                return found
        done.add(path[-1])
        return None

    done: set[str] = set()
    for module in IMPORTS:
        circle = circle_from([module])
        assert circle is None, "\n".join(_place(a, b) for a, b in zip(circle, circle[1:]))


@pytest.mark.parametrize("room", ALONE)
def test_client_portal_fleet_server_and_sandbox_can_be_used_alone(room: str) -> None:
    wrong = [
        _place(module, imported)
        for module, found in IMPORTS.items()
        if _room(module) == room
        for imported in found
        if _room(imported) not in ALONE[room]
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.skipif(sys.version_info < (3, 10), reason="gateways need Python 3.10")
def test_what_a_fleet_declares_is_read_without_libraries_and_with_next_to_nothing_of_the_package() -> None:
    """The portal reads it, which holds nothing of the gateway; so does the gateway, whose libraries hosts lack."""
    of_config = {
        imported
        for module, found in IMPORTS.items()
        if _room(module) == "fleet"
        for imported in found
        if _room(imported) == "config"
    }
    assert of_config == {"pam_iampass.config.value_types"}
    names = [module for module in IMPORTS if _room(module) == "fleet"]
    read = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); import {', '.join(names)}"
    subprocess.run([sys.executable, "-I", "-S", "-c", read], check=True)


def test_only_the_verb_that_runs_it_needs_the_sandbox_and_only_servers_need_aiohttp() -> None:
    """They are packages of their own: what else imported them, such as `setup undo`, would fail without these."""
    importing = {module for module, found in IMPORTS.items() if "sandbox" in map(_room, found)}
    assert {module for module in importing if _room(module) != "sandbox"} == {"pam_iampass.cli.sandbox"}
    serving = {module for module, found in IMPORTS.items() if "pam_iampass.server.http" in found}
    assert {_room(module) for module in serving} <= {"sandbox", "gateway"}


def test_of_the_portal_the_gateway_imports_only_the_calls_which_are_in_its_package() -> None:
    found = {
        imported
        for module, imports in IMPORTS.items()
        if _room(module) == "gateway"
        for imported in imports
        if _room(imported) == "portal"
    }
    assert found - {"pam_iampass.portal"} == {"pam_iampass.portal.calls"}
    assert IMPORTS["pam_iampass.portal"] == IMPORTS["pam_iampass.portal.calls"] == {}


def test_whether_there_are_gateways_is_asked_once_where_a_login_gets_its_connections() -> None:
    asking = [
        module
        for module, file in MODULES.items()
        if module.startswith("pam_iampass.login.")
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.Attribute) and node.attr == "gateways"
    ]
    assert set(asking) == {"pam_iampass.login.context"}
    assert len(asking) == 2, "if there are any, connections to them"
