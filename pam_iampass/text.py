"""Text from outside, made safe for a terminal and for a log.

Others choose the server's reason, the remote host and the user name. Control characters could set colours, move the
cursor or fake a second line; bidirectional and invisible characters could make a name read as another one. Every
character that does not print is shown as an escape.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable

_FORMULA = re.compile(r"""((?:^|[;,"|])\s*)(?=[=+\-@＝＋－＠])""")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@%+:-/$")


def clean(text: str, limit: int = 300) -> str:
    """Return `text` on one line with only printable characters (`str.isprintable`), at most `limit` long.

    C0, C1, DEL, line and paragraph separators, bidi controls, zero-width characters, lone surrogates (undecodable
    bytes) and unassigned code points become `\\xhh`, `\\uhhhh` or `\\Uhhhhhhhh`.
    """
    if len(text) <= limit and text.isprintable():
        return text
    shown = "".join(
        character if character.isprintable() else _escape(character) for character in text[: limit + 1]
    )
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def printable_ascii(text: str, limit: int) -> str:
    """Return `text` on one line with only printable ASCII, at most `limit` long: for a terminal of any encoding.

    Of a longer text both ends are left, so that padding cannot hide either.
    """
    shown = "".join(character if " " <= character <= "~" else _escape(character) for character in text)
    if len(shown) <= limit:
        return shown
    middle = " [...] "
    tail = (limit - len(middle)) // 2
    return f"{shown[: limit - len(middle) - tail]}{middle}{shown[-tail:]}"


def csv_cell(text: str) -> str:
    """The text, cleaned, with an apostrophe wherever a spreadsheet could take the rest for a formula: at its beginning,
    and behind what separates or quotes cells, because a spreadsheet may separate cells by another character."""
    return _FORMULA.sub(r"\1'", clean(text, sys.maxsize - 1))


def one_line(text: str) -> str:
    """Return a message of several lines on one line, cleaned."""
    return clean("; ".join(part.strip() for part in text.splitlines()), 2000)


def quoted(text: str | None, limit: int = 300) -> str:
    """Return a name for a line of a log: a plain word unchanged, anything else cleaned and in quotes.

    The quotes keep a name with spaces from passing for further words of the line. None is shown as `-`.
    """
    if text is None:
        return "-"
    if text and text != "-" and len(text) <= limit and _PLAIN.issuperset(text):
        return text
    return in_quotes(text, limit)


def in_quotes(text: str, limit: int = 300) -> str:
    """Return `text` cleaned and in double quotes. A quote within it cannot be taken for the closing one."""
    return '"' + clean(text.replace("\\", "\\\\").replace('"', '\\"'), limit) + '"'


def shell_quoted(text: str) -> str:
    """Return an argument as a shell would take it, with only printable characters."""
    if text.isprintable():
        return shlex.quote(text)
    shown = (
        "\\" + character
        if character in "\\'"
        else character
        if character.isprintable()
        else _escape(character)
        for character in text
    )
    return f"$'{''.join(shown)}'"


def names(all_names: Iterable[str], limit: int = 5) -> str:
    """Return the first few names, cleaned, and how many more there are."""
    found = list(all_names)
    first = [clean(name, 64) for name in found[:limit]]
    more = len(found) - len(first)
    return ", ".join([*first, f"and {more:,} more"] if more else first)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
