"""The requirements of tests: markers for the tests of a fixture or directory, and for single tests by `pytest.mark`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

#: Tests that use one of these fixtures have its requirements.
_BY_FIXTURE = {
    "trusted_folder": "needs_root",
    "small": "needs_isolated_root",
    "machine": "needs_isolated_root",
    "everything": "needs_isolated_root",
    "witness": "needs_published_client",
}


def declare(items: Sequence[pytest.Item], conftest: str, *needs: str) -> None:
    """Mark all tests below the directory of a conftest.py."""
    for item in items:
        if item.path.is_relative_to(Path(conftest).parent):
            for need in needs:
                item.add_marker(need)


def declare_by_fixture(items: Sequence[pytest.Item]) -> None:
    """Mark the tests that use a fixture."""
    for item in items:
        for fixture in {*getattr(item, "fixturenames", ())} & {*_BY_FIXTURE}:
            item.add_marker(_BY_FIXTURE[fixture])


def demand(item: pytest.Item) -> None:
    """Skip a test whose requirements are not met."""
    if item.get_closest_marker("needs_booted_machine"):
        if "PACKAGES_ROOT" not in os.environ:
            pytest.skip(
                "needs booted machines: run `make test-system`, `make test-upgrade` or `make test-fleet`"
            )
        return
    if item.get_closest_marker("needs_virtual_machine"):
        if "VM_IMAGE" not in os.environ:
            pytest.skip("needs a virtual machine: run `make test-vm`")
        return
    if item.get_closest_marker("needs_isolated_root") and "MACHINE_COPY" not in os.environ:
        remedy = (
            "which needs namespaces"
            if "NO_MACHINE_COPY" in os.environ
            else "`make test T=PATH` runs it in one"
        )
        pytest.skip(f"needs an isolated root: {remedy}")
    if item.get_closest_marker("needs_root") and os.geteuid() != 0:
        pytest.skip("needs root")
    for marker in item.iter_markers("needs_program"):
        for name in marker.args:
            program(name)


def program(name: str) -> str:
    """The program, or a skipped test on a machine that lacks it. In an isolated root it must be there."""
    if "MACHINE_COPY" not in os.environ and shutil.which(name) is None:
        pytest.skip(f"needs {name}")
    return name
