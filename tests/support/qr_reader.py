"""Reads QR codes from what a program wrote on a terminal, as a phone's camera sees it."""

from __future__ import annotations

import pyte
import zbar

from tests.support.terminal import COLUMNS

# The halves of a cell, upper and lower, that a character fills.
_FILLED = {
    "\N{UPPER HALF BLOCK}": (True, False),
    "\N{LOWER HALF BLOCK}": (False, True),
    "\N{FULL BLOCK}": (True, True),
}
_SIZE = 4  # pixels of half a cell
_BLACK, _WHITE = 0, 255


def read_codes(written: str, light: bool, rows: int = 80, columns: int = COLUMNS) -> list[str]:
    """The texts of the codes on the screen of a terminal whose own colours are light or dark."""
    screen = pyte.Screen(columns, rows)
    pyte.Stream(screen).feed(written.replace("\r\n", "\n").replace("\n", "\r\n"))
    lines = [
        line
        for row in range(rows)
        for line in _pixels([screen.buffer[row][column] for column in range(columns)], light)
    ]
    width, height = columns * _SIZE, len(lines)
    image = zbar.Image(width, height, "Y800", b"".join(lines))
    scanner = zbar.ImageScanner()
    scanner.scan(image)
    return [symbol.data for symbol in image if str(symbol.type) == "QRCODE"]


def _pixels(cells: list[pyte.screens.Char], light: bool) -> list[bytes]:
    """The lines of pixels of one line of text. Characters that fill no half of a cell are left out."""
    above, below = bytearray(), bytearray()
    for cell in cells:
        ground = _shade(cell.bg, _WHITE if light else _BLACK)
        upper, lower = _FILLED.get(cell.data, (False, False))
        ink = _shade(cell.fg, _BLACK if light else _WHITE) if upper or lower else ground
        above += bytes([ink if upper else ground]) * _SIZE
        below += bytes([ink if lower else ground]) * _SIZE
    return [bytes(above)] * _SIZE + [bytes(below)] * _SIZE


def _shade(colour: str, default: int) -> int:
    return default if colour == "default" else {"000000": _BLACK, "ffffff": _WHITE}[colour]
