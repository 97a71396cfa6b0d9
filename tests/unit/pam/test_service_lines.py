"""Which modules a PAM service runs, with what it includes."""

from __future__ import annotations

from pathlib import Path

import pytest
from pam_iampass.pam.service_lines import Line, file_of, lines, names_pam_python


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def told(folder: Path, text: str, **others: str) -> list[Line]:
    for name, content in {"service": text, **others}.items():
        (folder / name.replace("_", "-")).write_text(content)
    return lines("service", (folder,))


def modules(folder: Path, text: str, **others: str) -> list[str]:
    return [f"{line.phase} {line.module}" for line in told(folder, text, **others)]


def test_a_line_has_its_place_control_and_arguments(folder: Path) -> None:
    (line,) = told(folder, "\n-Auth [success=1 default=ignore] pam_unix.so nullok  try\n")
    assert line == Line(
        folder / "service", 2, "auth", "success=1 default=ignore", "pam_unix.so", "nullok try"
    )


def test_included_lines_stand_in_their_places(folder: Path) -> None:
    text = "auth required a.so\n@include common\nauth include other\naccount substack other\n"
    found = modules(
        folder, text, common="auth required b.so\naccount required c.so\n", other="auth required d.so\n"
    )
    assert found == ["auth a.so", "auth b.so", "account c.so", "auth d.so"]


def test_an_include_of_one_kind_brings_nothing_of_another_even_further_down(folder: Path) -> None:
    found = modules(
        folder, "auth include x\n", x="@include y\n", y="auth required a.so\nsession required b.so\n"
    )
    assert found == ["auth a.so"]


def test_comments_and_continued_lines(folder: Path) -> None:
    assert modules(folder, "# auth required a.so\nauth \\\n required \\\n b.so # c.so\n") == ["auth b.so"]


def test_a_line_is_put_together_as_libpam_does_it(folder: Path) -> None:
    assert modules(folder, "auth required a.so # goes on \\\nauth required b.so\n") == [
        "auth a.so",
        "auth b.so",
    ]
    assert modules(folder, "auth [success=ok] a.so\nauth required b.so \\") == ["auth a.so"]


def test_files_that_include_each_other_come_to_an_end(folder: Path) -> None:
    assert len(modules(folder, "@include service\nauth required a.so\n")) < 100


def test_a_service_that_is_not_there_has_no_lines(folder: Path) -> None:
    assert lines("nothing", (folder,)) == []
    assert file_of("nothing", (folder,)) is None
    assert file_of("", (folder,)) is None


def test_the_first_folder_that_has_it_counts(folder: Path) -> None:
    (folder / "vendor").mkdir()
    (folder / "vendor/service").write_text("auth required vendor.so\n")
    assert [line.module for line in lines("service", (folder, folder / "vendor"))] == ["vendor.so"]
    assert [line.module for line in told(folder, "auth required own.so\n")] == ["own.so"]


def test_pam_python_is_found_where_it_is_included(folder: Path) -> None:
    found = told(folder, "@include x\n", x="auth required /lib/security/pam_python.so script.py\n")
    script = names_pam_python(found)
    assert script is not None
    assert script.file.name == "x"
    assert names_pam_python(told(folder, "auth required pam_unix.so\n")) is None
