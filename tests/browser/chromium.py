"""A real Chromium (Debian's), driven by Playwright, which is not a package of Debian."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.support.venv import python_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PATH = "/usr/bin/chromium-headless-shell"
"""Chromium without its own windows and tool bars: they take half of its processor time even if they are invisible."""


def provide() -> None:
    """Make Playwright and axe importable here, after everything that was importable before."""
    (packages,) = python_of("browser").parent.parent.glob("lib/python3*/site-packages")
    if str(packages) not in sys.path:
        sys.path.append(str(packages))


@contextlib.contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """The browser, without a window. Its own sandbox cannot be had by root."""
    provide()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PATH, args=["--no-sandbox", *arguments])
        try:
            yield browser
        finally:
            browser.close()
