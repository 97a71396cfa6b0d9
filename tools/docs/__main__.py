"""`python3 -m tools.docs man FOLDER` writes the man pages, `python3 -m tools.docs pages` the pages in docs/."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Callable

import click

from pam_iampass import __version__
from pam_iampass.cli import group
from tools.docs import (
    client_reference,
    command_page,
    findings_reference,
    records_reference,
    session_life,
    settings_reference,
    written_page,
)
from tools.docs.roff import Page

ROOT = Path(__file__).parents[2]

Fills = dict[tuple[str, int, str], Callable[[Page], None]]
"""The title of each man page, and what puts everything below the name onto it."""


@click.group()
def main() -> None:
    """Make documentation from the program."""


@main.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--gateway", "of", flag_value="gateway", help="Those of the gateway's package, with its libraries."
)
@click.option(
    "--portal", "of", flag_value="portal", help="Those of the portal's package, with its libraries."
)
def man(folder: Path, of: str | None) -> None:
    """Write all man pages into FOLDER. Their date is SOURCE_DATE_EPOCH, by default today."""
    folder.mkdir(parents=True, exist_ok=True)
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    date = datetime.fromtimestamp(int(epoch), timezone.utc) if epoch else datetime.now(timezone.utc)
    fills = {"gateway": _of_the_gateway, "portal": _of_the_portal}.get(of or "", _of_hosts)
    for (name, section, summary), fill in fills().items():
        page = Page(name, section, f"{date:%Y-%m-%d}", __version__, summary)
        fill(page)
        (folder / f"{name}.{section}").write_text(str(page), encoding="ascii")


def _of_hosts() -> Fills:
    fills: Fills = {
        command_page.TITLE: partial(command_page.fill_list, group=group, after=command_page.AFTER),
        **command_page.verbs(group),
        settings_reference.HOST.title: settings_reference.HOST.fill,
    }
    return fills | {
        title: partial(written_page.fill, root=ROOT, title=title) for title in written_page.TITLES
    }


def _of_the_gateway() -> Fills:
    command = import_module("pam_iampass.gateway.cli").group
    settings = settings_reference.gateway()
    return {
        command_page.GATEWAY_TITLE: partial(
            command_page.fill_list, group=command, after=command_page.GATEWAY_AFTER
        ),
        **command_page.verbs(command),
        settings.title: settings.fill,
    }


def _of_the_portal() -> Fills:
    command = import_module("pam_iampass.portal.cli").group
    settings = settings_reference.portal()
    return {
        command_page.PORTAL_TITLE: partial(command_page.fill, group=command, after=command_page.PORTAL_AFTER),
        settings.title: settings.fill,
    }


@main.command()
def pages() -> None:
    """Write the pages in docs/ that are made from the program, and config/iampass.yaml."""
    for name, page in (
        ("reference/acts", import_module("tools.docs.acts_reference").page),
        ("inside/acts-protocol", import_module("tools.docs.acts_protocol").page),
        ("reference/client", client_reference.page),
        ("reference/findings", findings_reference.page),
        ("reference/gateway-findings", findings_reference.gateway_page),
        ("reference/records", records_reference.page),
        ("reference/session-life", session_life.page),
        ("reference/settings", settings_reference.HOST.page),
        ("reference/gateway-settings", settings_reference.gateway().page),
    ):
        (ROOT / f"docs/{name}.md").write_text(page(), encoding="utf-8")
    (ROOT / "config/iampass.yaml").write_text(settings_reference.installed_file(), encoding="utf-8")


if __name__ == "__main__":
    main()
