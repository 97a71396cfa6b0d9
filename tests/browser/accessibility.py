"""Pages by axe's rules (WCAG 2.2 AA and its best practices)."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

_ALL = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}

#: What can differ between light and dark: the page has the same elements in both.
_COLORS = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}


def require_accessible(page: Page, *, colors_only: bool = False) -> None:
    """Fail if the page, as it is now, breaks a rule, or if axe has not looked."""
    found = Axe().run(page, options=_COLORS if colors_only else _ALL)
    assert found.violations_count == 0, found.generate_report()
    checked = {"color-contrast"} if colors_only else {"color-contrast", "button-name", "region"}
    assert checked <= {
        rule["id"]
        for rule in found.response["passes"] + found.response["incomplete"] + found.response["inapplicable"]
    }
