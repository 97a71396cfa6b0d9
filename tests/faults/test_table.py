"""The fault table: whatever is wrong, each login ends as its row says, and in time."""

from __future__ import annotations

import re

import pytest

from pam_iampass.outcome import Outcome
from tests.faults.table import CASES, PLAYED, ways
from tests.support.faults.case import BY_PAM, Case, Expected
from tests.support.faults.place import Ended
from tests.support.faults.stage import Played
from tests.support.ways import Way

#: The first test waits until all cases are played.
pytestmark = pytest.mark.timeout(900)

#: What a person may read besides what came of it: what to do, and what other modules and we ask.
_ON_THE_WAY = (
    "Approve this on your phone within ",
    "IAMPASS: press Enter ",
    "IAMPASS recovery code ",
    "Password: ",
)
#: What a machine with much else to do may take longer. Seconds. A login that is to end at once has twenty until its
#: deadline, so that one which waits for that is seen.
_BUSY = 10.0


@pytest.mark.parametrize(("case", "way"), PLAYED, ids=str)
def test_a_login_comes_to_what_its_row_says(case: Case, way: Way, played: Played) -> None:
    each = case.each(way, len(played.ended))
    assert [ended.code for ended in played.ended] == [case.code_of_the_stack(one, way) for one in each], (
        played.ended,
        played,
    )
    for ended, expected in zip(played.ended, each):
        assert _told(ended) == [text for text in (expected.also, expected.message) if text], (
            played.ended,
            played,
        )
        assert ended.elapsed < expected.within + _BUSY, (played.ended, played)
    _check_records(played, [one for one in each if one.outcome and one.recorded])
    assert each[0].requests.fit(played.requests), (played.ended, played)


def _told(ended: Ended) -> list[str]:
    """What the person read of what came of it."""
    told = [line for line in ended.shown if not line.startswith(_ON_THE_WAY)]
    return [re.sub(r"(Wait|wait) \d+ (seconds|minutes)", r"\1 …", line) for line in told]


def _check_records(played: Played, expected: list[Expected]) -> None:
    """One record a login, each on a line of its own."""
    found = sorted((record.outcome, record.result) for record in played.records)
    assert found == sorted((one.outcome, one.result) for one in expected), (played.ended, played)
    for record in played.records:
        assert record.line.isprintable()
        assert any(one.record in record.line for one in expected if one.outcome == record.outcome), (
            played.ended,
            played,
        )


def test_the_table_has_at_least_eighty_cases_with_names_of_their_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 80


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_row_calls_a_login_approved_that_iampass_was_not_asked_about(case: Case) -> None:
    for way in ways(case):
        for expected in case.each(way, 1):
            assert (expected.outcome in ("approved", "recovered")) == (expected.result == "success")
            assert expected.outcome != "approved" or case.on(way).requests.starts >= 1


def test_every_way_through_pam_has_a_case_of_each_outcome() -> None:
    for way in BY_PAM:
        assert {case.on(way).outcome for case, each in PLAYED if each == way} - {""} == {
            outcome.value for outcome in Outcome
        }


def test_a_way_that_differs_says_why() -> None:
    assert all(difference.why for case in CASES for difference in case.differs.values())


def test_every_outcome_that_there_is_stands_in_the_table() -> None:
    found = {expected.outcome for case in CASES for expected in (case.expected, *case.others)}
    assert found - {""} == {outcome.value for outcome in Outcome}
