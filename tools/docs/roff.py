"""Writes a man page: man(7) macros that groff and mandoc both understand."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

# Unescaped, roff prints these as typographic hyphens, quotes and accents.
_SIGNS = {"\\": "\\e", "-": "\\-", "`": "\\(ga", "'": "\\(aq", "^": "\\(ha", "~": "\\(ti"}
_INLINE = re.compile(r"`(?P<code>[^`]+)`|\*(?P<emphasis>[^*\s][^*]*)\*|\[(?P<link>[^]]+)\]\([^)]+\)")


def escape(text: str) -> str:
    """Text that roff shows unchanged, unless it is at the beginning of a line."""
    signs = (_SIGNS.get(sign, sign if sign.isascii() else f"\\[u{ord(sign):04X}]") for sign in text)
    return "".join(signs)


def inline(text: str) -> str:
    """A line with `code` in bold, *emphasis* in italics and [links](to) as their text."""
    parts = []
    place = 0
    for found in _INLINE.finditer(text):
        parts.append(escape(text[place : found.start()]))
        if found["code"]:
            parts.append(f"\\fB{escape(found['code'])}\\fR")
        elif found["emphasis"]:
            parts.append(f"\\fI{escape(found['emphasis'])}\\fR")
        else:
            parts.append(escape(found["link"]))
        place = found.end()
    parts.append(escape(text[place:]))
    return "".join(parts)


class Page:
    """A man page, written from top to bottom."""

    def __init__(self, name: str, section: int, date: str, version: str, summary: str) -> None:
        """`date` is YYYY-MM-DD; whatis(1) shows `summary`."""
        self._lines = [
            f'.TH {_quoted(name.upper())} {section} {date} {_quoted(f"pam-iampass {version}")} "pam-iampass"',
            ".nh",  # no hyphenation of names and settings
            ".ad l",
        ]
        self._after_heading = False
        self.heading("Name")
        self.text(f"{name} - {summary}")

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._heading("SH", text.upper())

    def subheading(self, text: str) -> None:
        """Begin a subsection."""
        self._heading("SS", text)

    def text(self, text: str) -> None:
        """A paragraph with inline marks."""
        self._separate(".PP")
        self._filled(text)

    def verbatim(self, lines: Iterable[str]) -> None:
        """Unchanged lines, indented."""
        self._separate(".PP")
        self._lines += [".RS 4", ".EX"]
        for line in lines:
            self._add(escape(line.rstrip()))
        self._lines += [".EE", ".RE"]

    def definition(self, term: str, paragraphs: Iterable[str]) -> None:
        """A term with inline marks, and its definition."""
        self._lines.append(".TP")
        self._after_heading = False
        self._add(inline(term))
        for number, paragraph in enumerate(paragraphs):
            if number:
                self._lines.append(".IP")
            self._filled(paragraph)

    def usage(self, command: str, rest: str) -> None:
        """One line of a synopsis."""
        self._separate(".br")
        self._add(f"\\fB{escape(command)}\\fR {escape(rest)}".rstrip())

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n"

    def _separate(self, macro: str) -> None:
        """Begin a paragraph or a line; after a heading that needs no macro."""
        if not self._after_heading:
            self._lines.append(macro)
        self._after_heading = False

    def _heading(self, macro: str, text: str) -> None:
        self._lines.append(f".{macro} {_quoted(text)}")
        self._after_heading = True

    def _filled(self, text: str) -> None:
        """Text that man(1) fills; it is wrapped here only to keep the lines of the source short."""
        line = inline(" ".join(text.split()))
        for part in textwrap.wrap(line, 78, break_long_words=False, break_on_hyphens=False):
            self._add(part)

    def _add(self, line: str) -> None:
        """A line of text; one that begins like a macro is escaped."""
        self._lines.append("\\&" + line if line.startswith((".", "'", "\\(aq")) or not line else line)


def _quoted(text: str) -> str:
    """An argument of a macro."""
    return '"' + escape(text).replace('"', "\\(dq") + '"'
