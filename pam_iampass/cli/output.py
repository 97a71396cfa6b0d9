"""How the verbs print: lines, tables, findings, progress and JSON.

All text is cleaned, because much of it comes from files, from IAMPASS or from people who log in. Colours appear on
terminals only, unless NO_COLOR is set. There, findings and the rows of tables also fit into the width of the terminal:
they go on in the next line between two words, but not inside a command, so that it can be copied.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from itertools import accumulate, chain, zip_longest
from typing import TYPE_CHECKING, Any, Callable, TextIO, Union

import click

from pam_iampass.audit.administrator import administrator
from pam_iampass.audit.journal import Act, ActRecord, Journal
from pam_iampass.text import clean, csv_cell

if TYPE_CHECKING:
    from rich.console import Console

Part = Union[str, tuple[str, str]]
"""Text, or text and the style in which a terminal shows it, such as `bold red`."""
Row = Sequence[Part]
"""The cells of one row of a table."""

STYLES = {"ok": "green", "error": "bold red", "warning": "bold yellow", "note": "cyan"}
"""The style of each severity."""

_GAP = "  "
_LIMIT = 5000  # characters of one part
_WIDEST = 40  # cells of a column that has another one behind it
_INDENT = "    "
_LEAST = 30  # cells of the last column; if the terminal has fewer left, it stands below the others
_WORDS = re.compile(r"\s*(?:pam-iampass[\w-]*(?: [^\s;:,.()]+)*|\S+)|\s+")
"""The words of a text, with the spaces before them. A command of ours is one word."""


def line(*parts: Part, err: bool = False) -> None:
    """Print one line, on standard output or on standard error."""
    cleaned = [_cleaned(part) for part in parts]
    console = _console(sys.stderr if err else sys.stdout)
    if console is None:
        click.echo("".join(text for text, _ in cleaned).rstrip(), err=err)
        return
    from rich.text import Text

    console.print(Text.assemble(*cleaned), soft_wrap=True)


def finding(head: Row, *details: str) -> None:
    """Print what was found, and below it, indented, evidence and remedy."""
    _wrapped(*head, indent=_INDENT)
    for detail in details:
        _wrapped(_INDENT, detail, indent=_INDENT)


def table(
    headings: Sequence[str],
    rows: Iterable[Row],
    sizes: Sequence[Row] | None = None,
    *,
    goes_on: bool = False,
) -> None:
    """Print rows below their headings. The last column has no fixed width. Columns for which a terminal has no room
    stand below the row, behind their headings.

    If `sizes` is given, each row is printed as it comes, and the columns fit these typical rows instead. If the table
    goes on, its headings were printed before.
    """
    if sizes is None:
        sizes = rows = list(rows)
    top = [[(heading, "bold") for heading in headings]] if headings else []
    widths = [min(max(map(_width, column)), _WIDEST) + len(_GAP) for column in zip(*top, *sizes)][:-1]
    room = _room() or sys.maxsize
    beside = sum(used <= room for used in accumulate(widths))
    used = sum(widths[:beside])
    for row in rows if goes_on else chain(top, rows):
        first = [_padded(cell, width) for cell, width in zip(row, widths[:beside])]
        if beside == len(widths) and (used + _width(row[-1]) <= room or room - used >= _LEAST):
            _wrapped(*first, row[-1], indent=" " * used)
            continue
        line(*first)
        below = [] if row in top else _below(headings[beside:], row[beside:])
        if below:
            _wrapped(_INDENT, *below, indent=_INDENT)


def _below(headings: Sequence[str], cells: Row) -> list[Part]:
    """The cells that are not empty, as a line: `from 192.0.2.1, took 3.1 s: approved`. There may be no headings."""
    *named, last = [
        (f"{heading.lower()} ", cell) if _cleaned(cell)[0] not in ("", "-") else ()
        for heading, cell in zip_longest(headings, cells, fillvalue="")
    ]
    parts: list[Part] = [part for each in named if each for part in (", ", *each)][1:]
    return [*parts, *([": "] if parts and last else []), *last[1:]]


def fields(pairs: Iterable[tuple[str, Part]]) -> None:
    """Print names and their values."""
    table((), [((name, "bold"), value) for name, value in pairs])


def show_json(value: object, indent: int | None = 2) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=indent))


def show_csv(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows as they come, as CSV (RFC 4180)."""
    writer = csv.writer(sys.stdout)
    writer.writerow(headings)
    for row in rows:
        writer.writerow(map(csv_cell, row))


def count(number: int, one: str, many: str = "") -> str:
    """A number and what it counts: `1 user`, `1,200 users`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def verdict(errors: int, warnings: int, *, not_checked: Sequence[str] = (), denied: str = "") -> None:
    """Show what was not checked, the sum of the findings, and which logins errors deny."""
    for missing in not_checked:
        line((f"Not checked: {clean(missing, 500)}.", "yellow"))
    if errors:
        whom = f": {denied}" if denied else ""
        line((f"{count(errors, 'error')}, {count(warnings, 'warning')}{whom}.", "bold red"))
    elif warnings:
        what = "No error in what was checked" if not_checked else "No error"
        line((f"{what}, {count(warnings, 'warning')}.", "bold yellow"))
    else:
        line(("No problem was found in what was checked." if not_checked else "All is well.", "bold green"))


def duration(seconds: float) -> str:
    """A time in words: `90 seconds`, `10 minutes`, `1 hour`."""
    for unit, size in (("hour", 3600), ("minute", 60)):
        if seconds >= size and seconds % size == 0:
            return count(int(seconds // size), unit)
    return count(round(seconds), "second")


def moment(unix_time: float) -> str:
    """A point in time as people read it, in the local time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_time))


def local(heading: str) -> str:
    """The heading of a column of points in time: with the names that the local time zone has over the year."""
    return f"{heading} ({'/'.join(dict.fromkeys(time.tzname))})"


def timestamp(unix_time: float) -> str:
    """A point in time for programs (ISO 8601), with the offset of the local time zone."""
    return datetime.fromtimestamp(unix_time).astimezone().isoformat(timespec="seconds")


def for_programs(row: Mapping[str, object]) -> dict[str, object]:
    """A row with its points in time as `timestamp` has them."""
    return {
        name: timestamp(value.timestamp()) if isinstance(value, datetime) else value
        for name, value in row.items()
    }


def confirm(question: str) -> None:
    """Ask for a yes; anything else ends the command. Raises ClickException where nobody can be asked."""
    if not sys.stdin.isatty():
        raise click.ClickException(f"{question} To confirm, give --yes.")
    click.confirm(question, abort=True, err=True)


def record(act: Act, user: str, what: str) -> None:
    """Write to the journal what the administrator who runs the command has done, and to whom."""
    Journal().act(ActRecord(act, user, administrator(), what))


@contextmanager
def progress(quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Yields a function that shows a line on standard error, in place of the last one; only on a terminal.

    The line is erased at the end, and by an empty text. No thread is used: some verbs change the user of this process.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda _text: None
        return
    erase = "\r\x1b[K"

    def show(text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(erase + clean(text, max(width, 10)))
        sys.stderr.flush()

    try:
        yield show
    finally:
        show("")


def _wrapped(*parts: Part, indent: str) -> None:
    """Print a line on standard output. If the terminal is too narrow for it, it goes on in the next one, indented."""
    room = _room()
    if room is None:
        line(*parts)
        return
    so_far: list[Part] = []
    used = 0
    for part in parts:
        text, style = _cleaned(part)
        shown = ""
        for word in _words(text, room):
            bare = word.lstrip()
            if bare != word and used + _width(word) > room:
                line(*so_far, (shown, style))
                so_far, shown, word = [indent], "", bare
                used = len(indent)
            shown += word
            used += _width(word)
        so_far.append((shown, style))
    line(*so_far)


def _words(text: str, room: int) -> Iterator[str]:
    """The words of a text, with the spaces before them. A command is one word, unless it is wider than the terminal."""
    for word in _WORDS.findall(text):
        yield from [word] if _width(word) <= room else re.findall(r"\s*\S+|\s+", word)


def _room() -> int | None:
    """The width of the terminal on standard output; None if there is none, or if it does not say."""
    if not sys.stdout.isatty():
        return None
    return os.get_terminal_size(sys.stdout.fileno()).columns or None


def _cleaned(part: Part) -> tuple[str, str]:
    """The cleaned text, and its style."""
    text, style = (part, "") if isinstance(part, str) else part
    return text if text.isprintable() and len(text) <= _LIMIT else clean(text, _LIMIT), style


@lru_cache(maxsize=2)
def _console(stream: TextIO) -> Console | None:
    """The console that writes to a terminal; None for anything else."""
    if not stream.isatty():
        return None
    from rich.console import Console

    options: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    return Console(file=stream, **options)


def _padded(part: Part, width: int) -> Part:
    """The cell with the spaces that fill its column. There are two at least."""
    text, style = _cleaned(part)
    return text + " " * max(width - _width(part), len(_GAP)), style


def _width(part: Part) -> int:
    """The number of terminal cells that a text takes."""
    text, _ = _cleaned(part)
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )
