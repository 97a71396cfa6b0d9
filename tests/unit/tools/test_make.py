"""What `make` does for the variables that it is given."""

from __future__ import annotations

import subprocess

import pytest

from tools.docs.__main__ import ROOT


@pytest.mark.parametrize(
    ("variables", "needs"),
    [
        ([], "test"),
        (["T=tests/unit/test_text.py", "K=clean"], "test"),
        (["T=tests/gateway/test_start.py"], "test"),
        (["T=tests/browser/test_page.py::test_x"], "test-long"),
        (["T=tests/gateway"], "test-long"),
        (["K=clean"], "test-long"),
    ],
)
def test_some_tests_need_a_browser_only_if_they_can_use_one(variables: list[str], needs: str) -> None:
    command = ["make", "--dry-run", "--no-print-directory", "test", *variables]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert f"requirements.sh {needs}\n" in done.stdout
