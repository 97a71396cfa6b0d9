"""A link as a QR code in a terminal.

Two rows of the code share a line of text, by means of half-block characters. With colours, every cell gets black and
white from the part of xterm's palette that no theme changes, so that the code is black on white whatever the colours of
the terminal. Without colours (PAM's conversation) the light modules are drawn, for terminals with a dark background;
on a light background the code is inverted, which many cameras can read.
"""

from __future__ import annotations

from collections.abc import Sequence

import segno

_BLACK, _WHITE = 16, 231
_UPPER_HALF = "\N{UPPER HALF BLOCK}"
# By whether the upper and the lower half are black.
_LIGHT = {
    (False, False): "\N{FULL BLOCK}",
    (False, True): _UPPER_HALF,
    (True, False): "\N{LOWER HALF BLOCK}",
    (True, True): " ",
}
_QUIET_ZONE = 4  # modules around the code (ISO/IEC 18004)


class QrCode:
    """The QR code of a text."""

    def __init__(self, text: str) -> None:
        code = segno.make(text, error="l", micro=False)
        self._rows = [tuple(map(bool, row)) for row in code.matrix_iter(border=_QUIET_ZONE)]

    @property
    def width(self) -> int:
        """Cells of a line."""
        return len(self._rows[0])

    def coloured(self) -> list[str]:
        """Lines for a terminal, colours included."""
        return ["".join(self._cells(upper, lower)) + "\x1b[0m" for upper, lower in self._pairs()]

    def plain(self) -> list[str]:
        """Lines without colours."""
        return [
            "".join(_LIGHT[above, below] for above, below in zip(upper, lower))
            for upper, lower in self._pairs()
        ]

    def _pairs(self) -> list[tuple[Sequence[bool], Sequence[bool]]]:
        """Each two rows that share a line."""
        rows = [*self._rows, (False,) * self.width] if len(self._rows) % 2 else self._rows
        return list(zip(rows[::2], rows[1::2]))

    @staticmethod
    def _cells(upper: Sequence[bool], lower: Sequence[bool]) -> list[str]:
        cells, before = [], ""
        for above, below in zip(upper, lower):
            colours = f"\x1b[38;5;{_BLACK if above else _WHITE};48;5;{_BLACK if below else _WHITE}m"
            cells.append(_UPPER_HALF if colours == before else colours + _UPPER_HALF)
            before = colours
        return cells
