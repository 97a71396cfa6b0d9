"""Puts a subset of Markdown onto a man page.

Supported are `## headings`, `### subheadings`, paragraphs, verbatim lines indented by four spaces, lists of `- items`,
and terms with a definition:

    `debug`
    :   Write more to the journal.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.docs.roff import Page


def put(page: Page, text: str) -> None:
    """Put the text onto the page. Raises ValueError for Markdown that is not supported."""
    for block in _blocks(text):
        lines = block.split("\n")
        if block.startswith("    "):
            page.verbatim(line[4:] for line in lines)
        elif block.startswith("### "):
            page.subheading(block[4:])
        elif block.startswith("## "):
            page.heading(block[3:])
        elif len(lines) > 1 and lines[1].startswith(":   "):
            definition = "\n".join(line[4:] for line in lines[1:])
            page.definition(lines[0], re.split("\n *\n", definition))
        elif block.startswith("- "):
            for item in re.split("\n- ", block[2:]):
                page.definition("\u2022", [item])
        elif block.startswith(("#", "|", "<", "```")):
            raise ValueError(f"a man page cannot hold: {lines[0]}")
        else:
            page.text(block)


def _blocks(text: str) -> Iterator[str]:
    """The blocks between blank lines. Verbatim lines, and the paragraphs of a definition, stay together."""
    block = ""
    for part in re.split(r"\n(?:[ \t]*\n)+", text.strip("\n")):
        if part.startswith("    ") and (block.startswith("    ") or "\n:   " in block):
            block += "\n\n" + part
            continue
        if block:
            yield block
        block = part
    yield block
