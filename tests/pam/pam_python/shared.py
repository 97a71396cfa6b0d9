"""The native door's tests, for the pam_python door to pass as well."""

from __future__ import annotations

import importlib
from typing import Any


def shared(name: str, *without: str) -> dict[str, Any]:
    """The tests of a module in tests/pam/native, but those that are `without` meaning here."""
    tests = vars(importlib.import_module(f"tests.pam.native.{name}"))
    assert set(without) <= set(tests), f"no longer there: {set(without) - set(tests)}"
    return {key: value for key, value in tests.items() if key.startswith("test_") and key not in without}
