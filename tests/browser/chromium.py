"""A real Chromium (Debian's), driven by Playwright, which comes from PyPI into a place of its own."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.support.venv import python_with

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PATH = "/usr/bin/chromium"
_REQUIREMENTS = ["playwright==1.65.2", "axe-playwright-python==0.1.8"]


def provide() -> None:
    """Make Playwright and axe importable here, after everything that was importable before."""
    python = python_with(
        "browser", _REQUIREMENTS, "import playwright.sync_api, axe_playwright_python.sync_playwright"
    )
    (packages,) = python.parent.parent.glob("lib/python3*/site-packages")
    if str(packages) not in sys.path:
        sys.path.append(str(packages))


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, without a window. Its own sandbox cannot be had by root."""
    provide()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PATH, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
