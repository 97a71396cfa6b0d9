"""`python3 -m tools.docs man FOLDER` writes the man pages, `python3 -m tools.docs pages` the pages in docs/."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Callable

import click

from pam_iampass import __version__
from tools.docs import (
    client_reference,
    command_page,
    doctor_reference,
    session_life,
    settings_reference,
    written_page,
)
from tools.docs.roff import Page

ROOT = Path(__file__).parents[2]


@click.group()
def main() -> None:
    """Make documentation from the program."""


@main.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def man(folder: Path) -> None:
    """Write all man pages into FOLDER. Their date is SOURCE_DATE_EPOCH, by default today."""
    folder.mkdir(parents=True, exist_ok=True)
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    date = datetime.fromtimestamp(int(epoch), timezone.utc) if epoch else datetime.now(timezone.utc)
    fills: dict[tuple[str, int, str], Callable[[Page], None]] = {
        command_page.TITLE: command_page.fill,
        settings_reference.TITLE: settings_reference.fill,
    }
    fills |= {title: partial(written_page.fill, root=ROOT, title=title) for title in written_page.TITLES}
    for (name, section, summary), fill in fills.items():
        page = Page(name, section, f"{date:%Y-%m-%d}", __version__, summary)
        fill(page)
        (folder / f"{name}.{section}").write_text(str(page), encoding="ascii")


@main.command()
def pages() -> None:
    """Write docs/client.md, docs/doctor.md, docs/session-life.md and docs/settings.md."""
    for name, module in (
        ("client", client_reference),
        ("doctor", doctor_reference),
        ("session-life", session_life),
        ("settings", settings_reference),
    ):
        (ROOT / f"docs/{name}.md").write_text(module.page(), encoding="utf-8")


if __name__ == "__main__":
    main()
