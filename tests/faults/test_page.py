"""docs/faults.md matches the fault table."""

from __future__ import annotations

from tests.faults.page import page
from tests.support.installation import ROOT


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs/faults.md").read_text(encoding="utf-8") == page()
