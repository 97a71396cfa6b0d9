"""The man pages in packaging/man, with facts from the program in place of `{{…}}`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pam_iampass.agent import server
from pam_iampass.audit.journal import ADMINISTRATION, MESSAGE_IDS, SESSION_LEFT_OPEN
from pam_iampass.client import connection
from pam_iampass.enforcer import service
from pam_iampass.outcome import RESULTS, Outcome
from pam_iampass.pam.stack import DEBIAN, PamFiles
from pam_iampass.session import watcher
from pam_iampass.setup.edits import with_us
from tools.docs import markdown, records_reference

if TYPE_CHECKING:
    from tools.docs.roff import Page

TITLES = (
    ("pam_iampass", 8, "PAM module for approval on the user's phone through IAMPASS"),
    ("pam-iampass-agent", 8, "decides logins for pam_iampass"),
    ("pam-iampass-enforcer", 8, "ends or locks login sessions for pam_iampass"),
)

_DEBIAN = {
    "common-auth": "auth requisite pam_unix.so\nauth required pam_permit.so\n",
    "common-account": "account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so",
    "other": "",
    "sshd": "@include common-auth\naccount    required     pam_nologin.so\n@include common-account\n",
    "su": "auth       sufficient pam_rootok.so\n@include common-auth\n@include common-account\n",
}
"""PAM files of Debian, as far as they matter here."""


def fill(page: Page, root: Path, title: tuple[str, int, str]) -> None:
    """Put everything below the name onto the page. `root` is the folder of the sources."""
    text = (root / "packaging/man" / f"{title[0]}.{title[1]}.md").read_text(encoding="utf-8")
    markdown.put(page, re.sub(r"\{\{(\w+)(?: ([^}]+))?\}\}", lambda found: _value(found, root), text))


def _value(found: re.Match[str], root: Path) -> str:
    """The value of a `{{…}}`. Raises KeyError for an unknown one."""
    what, which = found.groups()
    if what == "file":
        return _indented((root / which).read_text(encoding="utf-8").rstrip().split("\n"))
    if what == "setup":
        name, _, way = which.partition(" ")
        return _indented(_set_up(name, way).rstrip().split("\n"))
    return {
        "outcomes": _outcomes(root),
        "fields": records_reference.man_page_terms(),
        "session_left_open": SESSION_LEFT_OPEN,
        "administration": ADMINISTRATION,
        "most_pending": f"{server.MOST_PENDING:,}",
        "notice": f"{service.NOTICE_SECONDS:g}",
        "most_lookups": f"{connection.MOST_LOOKUPS}",
        "most_leaving": f"{server.MOST_LEAVING / 60:g}",
        "last_wait": f"{server.STOP_TIMEOUT + watcher.STOP_TIMEOUT:g}",
    }[what]


def _set_up(name: str, way: str) -> str:
    """A PAM file of Debian as setup changes it, but for its session lines."""
    folder = Path("/etc/pam.d")
    contents = {folder / file: text for file, text in _DEBIAN.items()}
    files = PamFiles([folder], DEBIAN, contents)
    return with_us(folder / name, contents[folder / name], files, way)


def _indented(lines: list[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)


def _outcomes(root: Path) -> str:
    """Each outcome with its subject in the journal's catalogue, its results, and its message id."""
    catalogue = (root / "packaging/systemd/pam_iampass.catalog").read_text(encoding="utf-8")
    subjects = dict(re.findall(r"^-- ([0-9a-f]{32})\nSubject: (.+)$", catalogue, re.MULTILINE))
    parts = []
    for outcome in Outcome:
        results = " or ".join(sorted(result.value for result in RESULTS[outcome]))
        ident = MESSAGE_IDS[outcome]
        parts.append(f"`{outcome.value}`\n:   {subjects[ident]}. Result: {results}. MESSAGE_ID: {ident}.")
    return "\n\n".join(parts)
