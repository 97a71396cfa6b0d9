"""The lines of a PAM service, with what it includes, and the bounds of reading them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pam_iampass.pam.lines import control
from pam_iampass.pam.modules import pam_python_line
from pam_iampass.pam.stack import LINUX_PAM, Handler, PamFiles, PamService, UnusableService


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def read(folder: Path, text: str, **others: str) -> PamService:
    for name, content in {"service": text, **others}.items():
        (folder / name.replace("_", "-")).write_text(content)
    return PamFiles((folder,)).service("service")


def modules(folder: Path, text: str, **others: str) -> list[str]:
    """Type and module of each place."""
    found = read(folder, text, **others)
    return [f"{kind.value} {handler.path}" for kind, stack in found.stacks.items() for handler in stack]


def test_a_line_has_its_place_control_and_arguments(folder: Path) -> None:
    text = "\n-Auth [success=1 default=ignore] pam_unix.so nullok  try [a b\\] c]\n"
    (handler,) = read(folder, text).handlers
    assert (handler.file, handler.line) == (folder / "service", 2)
    assert handler.actions == control("success=1 default=ignore")
    assert (handler.path, handler.arguments) == ("pam_unix.so", ("nullok", "try", "a b] c"))
    assert handler.text == text.strip()


def test_included_lines_stand_in_their_places(folder: Path) -> None:
    text = "auth required a.so\n@include common\nauth include other\naccount substack other\n"
    found = modules(
        folder, text, common="auth required b.so\naccount required c.so\n", other="auth required d.so\n"
    )
    assert found == ["auth a.so", "auth b.so", "auth d.so", "account c.so", "account other"]


def test_lines_that_libpam_cannot_interpret_are_errors(folder: Path) -> None:
    found = read(folder, "auth required\nauht required a.so\n")
    assert found.errors == (
        f"{folder}/service:1: the line names no module",
        f'{folder}/service:2: "auht" is not a module type',
    )


def test_a_service_that_does_not_exist_cannot_be_used(folder: Path) -> None:
    with pytest.raises(UnusableService, match="neither nothing nor other has a file"):
        PamFiles((folder,)).service("nothing")
    assert PamFiles((folder,)).path("nothing") is None


def test_pam_python_is_found_where_it_is_included(folder: Path) -> None:
    found = read(folder, "@include x\n", x="auth required /lib/security/pam_python.so script.py\n")
    script = pam_python_line(found)
    assert isinstance(script, Handler)
    assert script.file.name == "x"
    assert pam_python_line(read(folder, "auth required pam_unix.so\n")) is None


TWICE = {
    "all of it": "@include service\n@include service\nauth required a.so\n",
    "a type": "auth include service\nauth include service\nauth required a.so\n",
    "as substacks": "auth substack service\nauth substack service\n",
    "often, and with much of another type": "auth include service\n" * 50 + "account required a.so\n" * 900,
}


@pytest.mark.parametrize("text", TWICE.values(), ids=TWICE.keys())
@pytest.mark.timeout(60)
def test_a_service_that_includes_itself_twice_is_answered_at_once(folder: Path, text: str) -> None:
    for name in ("service", *(f"service{number}" for number in range(10))):
        (folder / name).write_text(text)
    for dialect_files in (PamFiles((folder,)), PamFiles((folder,), LINUX_PAM)):
        began = time.process_time()
        for name in dialect_files.names():
            if "@include" in text and dialect_files.dialect is LINUX_PAM:
                assert dialect_files.service(name).errors  # there it is an invalid line
                continue
            with pytest.raises(
                UnusableService, match=r"does a file include itself\?|more than 16 levels deep"
            ):
                dialect_files.service(name)
            assert len(list(dialect_files.texts(name))) <= 2
        assert time.process_time() - began < 0.5  # for 11 services


@pytest.mark.timeout(60)
def test_neither_a_fifo_nor_an_endless_device_nor_a_huge_file_blocks(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert modules(folder, f"@include {folder}/pipe\nauth required a.so\n") == ["auth a.so"]
    (folder / "endless").symlink_to("/dev/zero")
    (folder / "huge").write_text("auth required a.so\n" * 100_000)
    for name in ("endless", "huge"):
        with pytest.raises(UnusableService, match="more than 100,000 bytes"):
            read(folder, f"@include {name}\n")
        assert len(list(PamFiles((folder,)).texts("service"))) == 1
