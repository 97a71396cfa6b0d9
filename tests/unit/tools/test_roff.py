"""What is put onto a man page is what a reader sees."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.man_page import ManPage
from tools.docs import markdown
from tools.docs.roff import Page

HOSTILE = [
    ".SH not a macro",
    "'br neither",
    "back\\slash \\fB \\n(.x \\e",
    '`grave\' ^hat~ "quotes" -minus- --option',
    "naïve – “quoted” … → 😀",
    "...",
    "a  b   c",
]


def page() -> Page:
    return Page("thing", 1, "2026-11-24", "1.0", "does it")


def warnings(source: str) -> str:
    command = ["mandoc", "-T", "lint", "-W", "warning"]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("text", HOSTILE)
def test_verbatim_lines_are_shown_as_they_are(text: str) -> None:
    made = page()
    made.heading("Description")
    made.verbatim([text, "", text])
    assert ManPage(str(made)).shown().count(text) == 2
    assert warnings(str(made)) == ""


@pytest.mark.parametrize("text", HOSTILE)
def test_text_and_terms_are_shown_as_they_are(text: str) -> None:
    made = page()
    made.heading("Description")
    made.text(text.replace("`", "").replace("*", ""))
    made.definition(f"*{text}*" if "`" in text else f"`{text}`", ["meaning"])
    shown = ManPage(str(made)).shown()
    assert " ".join(text.replace("`", "").split()) in shown
    assert text.replace("`", "")[:5] in shown.partition("meaning")[0]
    assert warnings(str(made)) == ""


def test_long_text_is_broken_where_that_changes_nothing() -> None:
    made = page()
    made.heading("Description")
    words = " ".join(f".{number}" for number in range(100))
    made.text(words)
    assert max(map(len, str(made).split("\n"))) <= 80
    assert words in " ".join(ManPage(str(made)).shown(width=1000).split())


def test_code_and_emphasis_and_links_are_marked() -> None:
    made = page()
    made.heading("Description")
    made.text("Run `it -x` in *some* [place](docs/place.md).")
    assert "Run \\fBit \\-x\\fR in \\fIsome\\fR place." in str(made)


def test_markdown_becomes_a_page() -> None:
    made = page()
    markdown.put(
        made,
        "## Things\n\nText\nof two lines.\n\n    code\n\n    more code\n\n### Part\n\n`term`\n:   First.\n\n"
        "    Second.\n\n- one\n- two\n",
    )
    taken_apart = ManPage(str(made))
    assert list(taken_apart.parts()) == ["NAME", "THINGS", "Part"]
    assert taken_apart.terms("Part") == ["term", "\u2022", "\u2022"]
    shown = taken_apart.shown()
    assert "Text of two lines." in shown
    assert shown.index("code") < shown.index("more code") < shown.index("First.") < shown.index("Second.")
    assert warnings(str(made)) == ""


@pytest.mark.parametrize("text", ["| a | b |", "# Title", "<b>", "```sh\n```"])
def test_markdown_that_a_page_cannot_hold_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="a man page cannot hold"):
        markdown.put(page(), text)
