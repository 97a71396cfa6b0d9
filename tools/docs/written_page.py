"""Pages that a person writes, with what the program itself knows put in for `{{…}}`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pam_iampass.audit.journal import MESSAGE_IDS, SESSION_LEFT_OPEN
from pam_iampass.outcome import RESULTS, Outcome
from pam_iampass.relay import agent
from tools.docs import markdown

if TYPE_CHECKING:
    from tools.docs.roff import Page


@dataclass(frozen=True)
class WrittenPage:
    """A page of `packaging/man`."""

    name: str
    section: int
    summary: str


PAGES = (
    WrittenPage("pam_iampass", 8, "PAM module that asks a person's phone through IAMPASS"),
    WrittenPage("pam-iampass-agent", 8, "decides logins for pam_iampass"),
)


def fill(page: Page, written: WrittenPage, root: Path) -> None:
    """Everything below the name. `root` is the folder of the sources."""
    text = (root / "packaging/man" / f"{written.name}.{written.section}.md").read_text(encoding="utf-8")
    markdown.put(page, re.sub(r"\{\{(\w+)(?: ([^}]+))?\}\}", lambda found: _known(found, root), text))


def _known(found: re.Match[str], root: Path) -> str:
    """What stands for a `{{…}}`. Raises KeyError where nothing does."""
    what, which = found.groups()
    if what == "file":
        return _indented((root / which).read_text(encoding="utf-8").rstrip().split("\n"))
    if what == "auth":
        lines = (root / "config/pam.d" / which).read_text(encoding="utf-8").split("\n")
        return _indented([line for line in lines if re.match("auth |@include common-auth", line)])
    return {
        "outcomes": _outcomes(root),
        "session_left_open": SESSION_LEFT_OPEN,
        "most_pending": f"{agent.MOST_PENDING:,}",
        "last_wait": f"{agent.STOP_TIMEOUT:g}",
    }[what]


def _indented(lines: list[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)


def _outcomes(root: Path) -> str:
    """Each outcome with the subject that `journalctl -x` has for it, its results, and its message's id."""
    catalogue = (root / "packaging/systemd/pam_iampass.catalog").read_text(encoding="utf-8")
    subjects = dict(re.findall(r"^-- ([0-9a-f]{32})\nSubject: (.+)$", catalogue, re.MULTILINE))
    parts = []
    for outcome in Outcome:
        results = " or ".join(sorted(result.value for result in RESULTS[outcome]))
        ident = MESSAGE_IDS[outcome]
        parts.append(f"`{outcome.value}`\n:   {subjects[ident]}. Result: {results}. MESSAGE_ID: {ident}.")
    return "\n\n".join(parts)
