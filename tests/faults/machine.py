"""The logs that audit records go to."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.faults.case import Case
from tests.support.faults.circumstances import FULL_LOGS, NO_JOURNAL, NO_LOG
from tests.support.faults.expected import APPROVED, MISCONFIGURED, NONSENSE
from tests.support.faults.server import ACTIVE, ENDED, PENDING, scripted
from tests.support.scripted_server import answer

FINE = scripted(PENDING, ACTIVE, ENDED)


def table() -> Iterator[Case]:
    """All rows."""
    for circumstance in (NO_JOURNAL, NO_LOG, FULL_LOGS):
        recorded = circumstance is NO_JOURNAL
        for what, expected, server in (
            ("IAMPASS approves", APPROVED, FINE),
            ("IAMPASS sends an invalid response", NONSENSE, scripted(answer(200))),
        ):
            yield Case(
                f"{circumstance}, and {what}",
                expected.but(recorded=recorded, within=3.0),
                server,
                circumstance=circumstance,
            )
        yield Case(
            f"{circumstance}, and the settings file is missing",
            MISCONFIGURED.but(recorded=recorded, within=3.0),
            FINE,
            prepare=lambda place: place.settings_file.unlink(),
            circumstance=circumstance,
        )
