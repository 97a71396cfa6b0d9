"""Reports in columns: coloured on a terminal, plain anywhere else. Never markup: text must not style itself."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

_GAP = "  "


@dataclass(frozen=True)
class Row:
    """The cells of one row, cleaned, and the style that a terminal shows each in; "" for none."""

    cells: tuple[str, ...]
    styles: tuple[str, ...] = ()


class Columns:
    """Rows under their headings. The last column is as wide as it is."""

    def __init__(self, headings: Sequence[str], rows: Iterable[Row] = (), widest: int = 40) -> None:
        """`rows` are those that the widths are taken from, up to `widest`; others may come later."""
        self._headings = tuple(headings)
        self._widths = [_width(heading) for heading in headings]
        for row in rows:
            for place, cell in enumerate(row.cells):
                self._widths[place] = max(self._widths[place], min(_width(cell), widest))
        self._console = _console()

    def heading(self) -> None:
        """Write the headings."""
        self.row(Row(self._headings, ("bold",) * len(self._headings)))

    def row(self, row: Row) -> None:
        """Write one row."""
        last = len(row.cells) - 1
        padded = [
            cell if place == last else cell + " " * (self._widths[place] - _width(cell))
            for place, cell in enumerate(row.cells)
        ]
        if self._console is None:
            click.echo(_GAP.join(padded).rstrip())
            return
        from rich.text import Text

        styles = row.styles or ("",) * len(padded)
        text = Text(_GAP).join(Text(cell, style=style) for cell, style in zip(padded, styles))
        self._console.print(text, soft_wrap=True)


def line(text: str, style: str = "") -> None:
    """Write one cleaned line."""
    console = _console()
    if console is None:
        click.echo(text)
        return
    from rich.text import Text

    console.print(Text(text, style=style), soft_wrap=True)


def count(number: int, thing: str, things: str = "") -> str:
    """A number and what is counted: `1 user`, `1,200 users`."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def _console() -> Console | None:
    """Where colours go; None where the output is no terminal."""
    if not sys.stdout.isatty():
        return None
    from rich.console import Console

    options: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    return Console(**options)


def _width(text: str) -> int:
    """How many cells of a terminal the text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )
