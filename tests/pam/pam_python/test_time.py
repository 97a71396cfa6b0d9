"""How long the pam_python door waits: the native door's tests."""

from __future__ import annotations

from tests.pam.native.test_time import door
from tests.pam.pam_python.shared import shared

globals().update(shared("test_time"))
__all__ = ["door"]
