"""What the pages for people name is there: tests and files. (Commands: `tests/unit/tools/test_pages.py`.)"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md")]
PAGES += sorted((ROOT / "docs").glob("**/*.md"))

TEST = re.compile(r"`((?:unit|client|sandbox|system|faults|pam)/[\w/]+(?:\.py)?)(?:::(test_\w+))?`")
LINK = re.compile(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_tests_that_a_page_names_exist(page: Path) -> None:
    for file, test in TEST.findall(page.read_text()):
        path = ROOT / "tests" / file
        assert path.exists(), f"{file} is not there"
        assert not test or f"def {test}(" in path.read_text(), f"{file} has no {test}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_files_that_a_page_links_to_exist(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_threat_model_names_tests() -> None:
    assert len(TEST.findall((ROOT / "SECURITY.md").read_text())) > 30
