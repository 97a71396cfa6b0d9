"""Puts text in a small part of Markdown onto a man page.

Understood are `## headings`, `### lesser ones`, paragraphs, lines indented by four spaces as they are,
lists of `- items`, and a term with its definition below it:

    `debug`
    :   Leaves more in the journal.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.docs.roff import Page


def put(page: Page, text: str) -> None:
    """Put the text onto the page. Raises ValueError for what is not understood: it would be lost."""
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
    """What blank lines part; verbatim lines, and the paragraphs of a definition, stay together."""
    waiting = ""
    for block in re.split(r"\n(?:[ \t]*\n)+", text.strip("\n")):
        if waiting and _goes_on(waiting, block):
            waiting += "\n\n" + block
            continue
        if waiting:
            yield waiting
        waiting = block
    if waiting:
        yield waiting


def _goes_on(block: str, following: str) -> bool:
    indented = following.startswith("    ")
    return indented and (block.startswith("    ") or "\n:   " in block)
