"""`python3 -m tools.docs SOURCES FOLDER` writes all man pages into FOLDER."""

from __future__ import annotations

import os
import sys
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Callable

from pam_iampass import __version__
from tools.docs import command_page, settings_page, written_page
from tools.docs.roff import Page


def write(root: Path, folder: Path) -> None:
    """Write all pages. `root` is the folder of the sources; the date is that of SOURCE_DATE_EPOCH, or today's."""
    folder.mkdir(parents=True, exist_ok=True)
    when = os.environ.get("SOURCE_DATE_EPOCH")
    date = (datetime.fromtimestamp(int(when), timezone.utc) if when else datetime.now(timezone.utc)).date()

    def write_page(name: str, section: int, summary: str, fill: Callable[[Page], None]) -> None:
        page = Page(name, section, date.isoformat(), __version__, summary)
        fill(page)
        (folder / f"{name}.{section}").write_text(str(page), encoding="ascii")

    write_page(command_page.NAME, 1, command_page.SUMMARY, command_page.fill)
    write_page(settings_page.NAME, 5, settings_page.SUMMARY, settings_page.fill)
    for written in written_page.PAGES:
        fill = partial(written_page.fill, written=written, root=root)
        write_page(written.name, written.section, written.summary, fill)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
