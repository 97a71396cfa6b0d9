"""`make demo FLEET=1`."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.support.installation import ROOT

pytestmark = pytest.mark.long


@pytest.mark.timeout(1500)
def test_the_demo_of_a_fleet_shows_what_it_says() -> None:
    # The program that make runs, on a copy of this copy.
    command = ["tests/support/isolated-root.sh", "/usr/bin/python3", "-m", "tests.system.demo_fleet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1450, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"(\d+) of \1 as expected; 0 sessions left open at IAMPASS", done.stdout)
    assert done.stdout.count("You are alice on web2.example.") == 2
    assert not done.stderr
