"""Packages planted in /usr/local and at home are not what a login runs, though an ordinary Python runs them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.setuid.people import HOME, PROGRAMS
from tests.support.setuid.stage import Guest, Phone, Stage
from tests.support.setuid.traps import MARKS, PYTHON, snap, write

LOCAL = Path(f"/usr/local/lib/{PYTHON}/dist-packages")
AT_HOME = HOME / f".local/lib/{PYTHON}/site-packages"
PACKAGES = ("requests", "yaml", "urllib3", "systemd", "certifi", "idna", "pam_iampass", "encodings")
ANSWERS = (Phone.DENIES, Phone.APPROVES)
MODULES = ("sitecustomize", "usercustomize", "six", "json")


@pytest.fixture(scope="module", autouse=True)
def planted() -> Iterator[None]:
    """What one `pip install` as root, or as oneself, could bring."""
    MARKS.mkdir(parents=True)
    MARKS.chmod(0o1777)
    folders = (LOCAL, AT_HOME)
    for folder in folders:
        for name in PACKAGES:
            write(folder / name / "__init__.py", snap(f"package-{name}"))
        for name in MODULES:
            write(folder / f"{name}.py", snap(f"module-{name}"))
        write(folder / "planted.pth", f"import sys; exec({snap('pth')!r})\n")
    yield
    for folder in folders:
        for name in PACKAGES:
            shutil.rmtree(folder / name)
        for name in (*(f"{name}.py" for name in MODULES), "planted.pth"):
            (folder / name).unlink()
    shutil.rmtree(MARKS.parent)


def marks() -> set[str]:
    """The marks, and away with them."""
    found = set(MARKS.iterdir())
    for mark in found:
        mark.unlink()
    return {mark.name for mark in found}


def test_a_login_runs_nothing_of_it(stage: Stage) -> None:
    marks()
    cases = [(program, phone) for program in PROGRAMS for phone in ANSWERS]
    guests = [stage.guest(phone) for _, phone in cases]
    with ThreadPoolExecutor(len(cases)) as pool:
        seen = list(pool.map(Guest.play, guests, [program for program, _ in cases]))
    assert [one.got_in for one in seen] == [phone is Phone.APPROVES for _, phone in cases]
    assert [guest.starts() for guest in guests] == [1] * len(guests)
    assert marks() == set()


@pytest.mark.parametrize(
    ("options", "snaps"),
    [
        ([], {"pth", "package-requests"}),
        (["-I"], {"pth", "package-requests"}),
        (["-I", "-S"], set()),
    ],
    ids=["as usual", "isolated", "as the agent"],
)
def test_an_ordinary_interpreter_runs_it(options: list[str], snaps: set[str]) -> None:
    marks()
    command = ["/usr/bin/python3", *options, "-c", "import requests"]
    subprocess.run(command, check=False, capture_output=True, env={"PATH": "/usr/bin", "HOME": str(HOME)})
    found = marks()
    assert snaps <= found
    assert snaps or not found
