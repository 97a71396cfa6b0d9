"""The fault table: each login ends as its row says, and in time."""

from __future__ import annotations

import re

import pytest

from pam_iampass.outcome import Outcome
from tests.faults.table import CASES
from tests.support.faults.case import Case, Expected
from tests.support.faults.place import Ended
from tests.support.faults.stage import Played

#: The first test waits until all cases have run.
pytestmark = pytest.mark.timeout(900)

#: What the user may read besides the result: instructions and prompts, ours and those of other modules.
_ON_THE_WAY = (
    "Approve this on your phone within ",
    "IAMPASS: press Enter ",
    "IAMPASS recovery code ",
    "Password: ",
)
#: How many seconds longer a busy machine may take. Logins that must end at once have a deadline of 20 seconds, so that
#: one that waits for its deadline is detected.
_BUSY = 15.0
#: The same for the module alone, from its first step on, in a login that lasts until its deadline. Less than what the
#: name service takes longer (`name_service`).
_BUSY_AT_DEADLINE = 6.0


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_login_ends_as_its_row_says(case: Case, played: Played) -> None:
    each = case.each(len(played.ended))
    assert [ended.code for ended in played.ended] == [case.code_of_the_stack(one) for one in each], (
        played.ended,
        played,
    )
    for ended, expected in zip(played.ended, each):
        assert _shown(ended) == [text for text in (expected.also, expected.message) if text], (
            played.ended,
            played,
        )
        assert ended.elapsed < expected.within + _BUSY, (played.ended, played)
    latest = case.expected.within + _BUSY_AT_DEADLINE if case.ends_at_deadline else None
    _check_records(played, [one for one in each if one.outcome], latest)
    assert each[0].requests.fit(played.requests), (played.ended, played)


def _shown(ended: Ended) -> list[str]:
    """The result as the user read it."""
    shown = [line for line in ended.shown if not line.startswith(_ON_THE_WAY)]
    return [re.sub(r"(Wait|wait) \d+ (seconds|minutes)", r"\1 …", line) for line in shown]


def _check_records(played: Played, expected: list[Expected], latest: float | None) -> None:
    """One record for each login, each on its own line; of a login that took less than `latest` seconds."""
    found = sorted((record.outcome, record.result) for record in played.records)
    assert found == sorted((one.outcome, one.result) for one in expected), (played.ended, played)
    for record in played.records:
        assert record.line.isprintable()
        if latest is not None:
            assert record.elapsed < latest, (played.ended, played)
        assert any(one.record in record.line for one in expected if one.outcome == record.outcome), (
            played.ended,
            played,
        )


def test_the_table_has_at_least_eighty_cases_with_unique_names() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 80


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_row_is_approved_without_a_request_to_iampass(case: Case) -> None:
    for expected in case.each(1):
        assert (expected.outcome in ("approved", "recovered")) == (expected.result == "success")
        assert expected.outcome != "approved" or case.expected.requests.starts >= 1


def test_every_outcome_is_in_the_table() -> None:
    found = {expected.outcome for case in CASES for expected in (case.expected, *case.others)}
    assert found - {""} == {outcome.value for outcome in Outcome if outcome is not Outcome.COVERED}
