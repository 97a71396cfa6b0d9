"""Who gets in, and whose phone rings, in each service that setup switches on: one table.

Run in the quiet way into sshd, the phone never rings for a login that is refused anyway. In the auth phase it never
rings for what a line ahead of ours refuses; what only the account phase finds rings first.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.packages.booted import Booted
from tests.packages.switched_on import FILES, SITUATIONS, WAYS, Seen, Site

RELEASE = os.environ.get("PACKAGES_RELEASE", "trixie")
REPORT = Path(__file__).parents[2] / f"build/reports/switched-on-{RELEASE}.md"

LEGEND = """\
| | |
| --- | --- |
| in | gets in |
| new | gets in to choose a new password |
| no | is refused |
| * | after their phone has rung once; all approve but those who cancel |
| - | does not apply |
"""
TABLE = """
                 quiet:key quiet:password prompt:key prompt:password sudo sudo-i sudo-rs su   su-l doas pkexec run0
good             in*       in*            in*        in*             in*  in*    in*     in*  in*  in*  in*    in*
cancels          no*       no*            no*        no*             no*  no*    no*     no*  no*  no*  no*    no*
wrong-password   -         no             -          no              no   no     no      no   no   no   no     no
exempt           in        in             in         in              in   in     in      in   in   in   in     in
expired-password new*      new*           new*       new*            new* new*   new*    new* new* new* no*    no*
expired-cancels  no*       no*            no*        no*             no*  no*    no*     no*  no*  no*  no*    no*
locked           in*       no             in*        no              no   no     no      no   no   no   no     no
expired-account  no        no             no*        no*             no*  no*    no*     no*  no*  no*  no*    no*
pam-access       no        no             no*        no*             no*  no*    no*     no*  no*  no*  -      -
pam-faillock     in*       no             in*        no              no   no     no      no   no   no   no     no
pam-wheel        -         -              -          -               no   no     no      no   no   no   -      -
nologin          no        no             no*        no*             in*  in*    in*     in*  in*  in*  in*    in*
"""


def expected() -> dict[tuple[str, str], str]:
    """Situation and way of each cell that applies, and what it says."""
    ways, *rows = [line.split() for line in TABLE.strip().splitlines()]
    here = [way.name for way in WAYS if way.not_on != RELEASE]
    return {
        (situation, way): cell
        for situation, *cells in rows
        for way, cell in zip(ways, cells)
        if cell != "-" and way in here
    }


EXPECTED = expected()


@pytest.fixture(scope="module")
def site(machine: Booted) -> Site:
    """A machine with all situations."""
    site = Site(machine, RELEASE)
    site.prepare()
    return site


@pytest.fixture(scope="module")
def seen(site: Site) -> dict[tuple[str, str], Seen]:
    """What each login came to."""
    found = site.seen()
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(page(found))
    return found


def page(found: dict[tuple[str, str], Seen]) -> str:
    """What was seen, as a page."""
    ways = list(dict.fromkeys(way for _, way in found))
    lines = [f"# Services that are switched on: who gets in, whose phone rings\n\nDebian {RELEASE}.\n"]
    lines += [f"| who | {' | '.join(ways)} |", "| --- |" + " --- |" * len(ways)]
    for situation, text in SITUATIONS.items():
        cells = (found[situation, way].cell if (situation, way) in EXPECTED else "-" for way in ways)
        lines.append(f"| {text} | {' | '.join(cells)} |")
    return "\n".join(lines) + f"\n\n{LEGEND}"


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("situation", "way"), EXPECTED, ids=lambda word: word)
def test_who_gets_in_and_whose_phone_rings(
    seen: dict[tuple[str, str], Seen], situation: str, way: str
) -> None:
    print(seen[situation, way].shown)
    assert seen[situation, way].cell == EXPECTED[situation, way]


def test_undo_leaves_every_file_as_it_was(site: Site, seen: dict[tuple[str, str], Seen]) -> None:
    site.administrator.undo()
    assert site.machine.shell(FILES) == site.files
