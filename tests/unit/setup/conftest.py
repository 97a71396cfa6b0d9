"""A machine for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.setup.stage import Stage


@pytest.fixture
def stage(trusted_folder: Path) -> Stage:
    return Stage(trusted_folder)
