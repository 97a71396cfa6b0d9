"""A browser, and pages in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Callable

import pytest

from tests.browser.chromium import chromium, provide
from tests.sandbox.signer import Caller
from tests.support.deadline import PATIENCE
from tests.support.needs import declare
from tests.support.sandbox import Sandbox

provide()

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDE = {"width": 1100, "height": 760}
SMALL = {"width": 320, "height": 640}
PATIENCE_MS = 1000 * PATIENCE
"""Milliseconds."""

OpenPage = Callable[..., "Page"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE_MS)
    with chromium() as running:
        yield running


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        running.add_user("alice")
        running.add_user("bob")
        yield running


@pytest.fixture
def caller(sandbox: Sandbox) -> Caller:
    return Caller(sandbox)


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens an address in a fresh browser. Afterwards checks that no script failed and nothing was blocked."""
    contexts, complaints = [], []

    def open_one(url: str, *, may_lose: bool = False, **options: Any) -> Page:
        # The certificate is self-signed; a user would have to confirm it.
        context = browser.new_context(ignore_https_errors=True, **{"viewport": WIDE, **options})
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"a dialog: {dialog.message}"))
        if not may_lose:
            page.on(
                "console",
                lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None,
            )
        page.goto(url)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    declare(items, __file__, "needs_root", "needs_isolated_root", "needs_browser", "long")
