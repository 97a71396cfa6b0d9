"""Fixtures for the tests of logins."""

from __future__ import annotations

import pytest

from pam_iampass.system import state_dir


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody gives up waiting for a lock because a busy machine holds up who has it."""
    monkeypatch.setattr(state_dir, "LOCK_PATIENCE", 60.0)
