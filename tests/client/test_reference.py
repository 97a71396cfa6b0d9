"""The reference page of the client."""

from __future__ import annotations

from pathlib import Path

from tools.docs.client_reference import page

PAGE = Path(__file__).parents[2] / "docs" / "client.md"


def test_the_page_is_what_the_docstrings_say() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: python3 -m tools.docs pages"
