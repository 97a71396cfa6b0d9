"""The fault table: whatever is wrong, each login comes to what its row says, on every way and in time."""

from __future__ import annotations

import pytest

from tests.faults.table import CASES
from tests.support.fault_case import WAYS, Case
from tests.support.fault_stage import Played
from tests.support.ways import Way

#: The first test waits until all cases are played.
pytestmark = pytest.mark.timeout(900)

#: What a person may read besides what came of it: what to do, and what other modules and we ask.
_ON_THE_WAY = ("Approve this on your phone within ", "IAMPASS: press Enter ", "Password: ")
#: What a machine with much to do takes until an interpreter runs, and the module in it. Seconds.
_START = {True: 1.0, False: 4.0}


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_login_comes_to_what_its_row_says(case: Case, way: Way, played: Played) -> None:
    expected = case.on(way)
    each = len(played.ended)
    assert [ended.code for ended in played.ended] == [case.code_of_the_stack(way)] * each, played
    for ended in played.ended:
        told = [line for line in ended.shown if not line.startswith(_ON_THE_WAY)]
        assert told == ([expected.message] if expected.message else []), played
        assert ended.elapsed < expected.within + _START[way.agent], played
    records = [(record.outcome, record.result) for record in played.records]
    assert records == (
        [(expected.outcome, expected.result)] * each if expected.outcome and expected.recorded else []
    ), played
    for record in played.records:
        assert expected.record in record.line, played
        assert record.line.isprintable()
    assert expected.requests.fit(played.requests), played


def test_the_table_has_at_least_eighty_cases_with_names_of_their_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 80


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_row_calls_a_login_approved_that_iampass_was_not_asked_about(case: Case) -> None:
    for way in WAYS:
        expected = case.on(way)
        assert (expected.outcome == "approved") == (expected.result == "success")
        assert expected.outcome != "approved" or expected.requests.starts >= 1


def test_a_way_that_differs_says_why() -> None:
    assert all(difference.why for case in CASES for difference in case.differs.values())
