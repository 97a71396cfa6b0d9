"""A man page, parsed and rendered."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SIGNS = {
    "\\-": "-",
    "\\(ga": "`",
    "\\(aq": "'",
    "\\(ha": "^",
    "\\(ti": "~",
    "\\(dq": '"',
    "\\&": "",
    "\\e": "\\",
}
_ESCAPES = re.compile(r"\\f[BIR]|\\\[u([0-9A-F]{4,6})\]|" + "|".join(map(re.escape, _SIGNS)))


def plain(text: str) -> str:
    """A line of roff as a reader sees it."""
    return _ESCAPES.sub(lambda found: chr(int(found[1], 16)) if found[1] else _SIGNS.get(found[0], ""), text)


@dataclass(frozen=True)
class ManPage:
    """The source of a man page."""

    source: str

    @classmethod
    def of(cls, file: Path) -> ManPage:
        return cls(file.read_text(encoding="ascii"))

    def parts(self) -> dict[str, str]:
        """The source of each section and of each part of one, by heading."""
        found = re.split(r'^\.S[HS] "(.*)"$', self.source, flags=re.MULTILINE)
        return {plain(heading): text for heading, text in zip(found[1::2], found[2::2])}

    def terms(self, heading: str) -> list[str]:
        """The terms that a section defines."""
        return [plain(term) for term in re.findall(r"^\.TP\n(.*)$", self.parts()[heading], re.MULTILINE)]

    def shown(self, width: int = 100) -> str:
        """The page as mandoc shows it, without bold and underlined letters."""
        command = ["mandoc", "-T", "utf8", "-O", f"width={width}"]
        done = subprocess.run(command, input=self.source, capture_output=True, text=True, check=True)
        return re.sub(".\b", "", done.stdout)
