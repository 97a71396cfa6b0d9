"""The pam_python door instead of the native one, for the tests that both must pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pam.native.conftest import ROOT, Door, agent, application, folder, program

__all__ = ["agent", "application", "folder", "program"]

SCRIPT = ROOT / "doors/pam_python/pam_iampass.py"


@pytest.fixture(scope="session")
def door(folder: Path) -> Door:
    """The door, with its normal time limits."""
    return _door(folder, "patient", patience=10.0, busy=1.0)


@pytest.fixture(scope="session")
def hasty_door(folder: Path) -> Door:
    """The door, with shorter time limits for tests of them."""
    return _door(folder, "hasty", patience=5.0, busy=0.3)


def _door(folder: Path, name: str, patience: float, busy: float) -> Door:
    """A copy of the script that stays within the tests' folder."""
    socket = folder / "agent" / "pam.sock"
    text = SCRIPT.read_text()
    for shipped, other in {
        '"/run/iampass", "/run/iampass/pam.sock"': f'"{folder / "agent"}", "{socket}"',
        "FRAME_WAIT, BUSY_WAIT, GRACE, LONGEST_DEADLINE = 10.0, 1.0,": (
            f"FRAME_WAIT, BUSY_WAIT, GRACE, LONGEST_DEADLINE = {patience}, {busy},"
        ),
    }.items():
        assert text.count(shipped) == 1, shipped
        text = text.replace(shipped, other)
    script = folder / name / "pam_iampass.py"
    script.parent.mkdir()
    script.write_text(text)
    return Door("pam_python", f"pam_python.so {script}", socket, patience, busy)
