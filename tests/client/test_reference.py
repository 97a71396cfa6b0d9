"""The reference page of the client."""

from __future__ import annotations

from pathlib import Path

import pytest

from pam_iampass import client
from tools.docs.client_reference import page

PAGE = Path(__file__).parents[2] / "docs/reference/client.md"


def test_the_page_is_what_the_docstrings_say() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: make pages"


@pytest.mark.parametrize("name", client.__all__)
def test_every_exported_name_has_its_place(name: str) -> None:
    assert f"\n## {name}\n\n" in page() or f"\n### {name}\n\n" in page() or f"── {name} " in page()
