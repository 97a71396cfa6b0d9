from __future__ import annotations

import pytest

from tests.support.needs import declare


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    declare(items, __file__, "needs_root", "needs_booted_machine")
