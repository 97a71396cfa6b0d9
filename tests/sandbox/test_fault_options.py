"""Faults as words of the command line."""

from __future__ import annotations

import re

import pytest

from pam_iampass.sandbox import faults
from pam_iampass.sandbox.calls import CallKind
from pam_iampass.sandbox.fault_options import FAULTS, FaultOption, PlannedFault, parse_fault, table_text


@pytest.mark.parametrize(
    ("text", "kind", "fault", "times"),
    [
        ("start:status=503,times=2", "start", faults.HttpStatus(503), 2),
        ("start:status", "start", faults.HttpStatus(), 1),
        ("poll:hang", "poll", faults.Hang(), 1),
        ("poll:hang=1.5,sent=9,times=always", "poll", faults.Hang(1.5, 9), None),
        ("add-users:empty,acts=no", "add_users", faults.Empty(acts=False), 1),
        ("add_users:empty", "add_users", faults.Empty(), 1),
        ("start:redirect=https://e.example/?a=b", "start", faults.Redirect("https://e.example/?a=b"), 1),
        ("start:replace=authenticated,value=1", "start", faults.ReplacedKey("authenticated", 1), 1),
        ("start:replace=reason,value=no", "start", faults.ReplacedKey("reason", "no"), 1),
        ("poll:drip=0.5,head=yes", "poll", faults.Drip(0.5, True), 1),
    ],
)
def test_a_fault_is_read(text: str, kind: str, fault: faults.Fault, times: int | None) -> None:
    assert parse_fault(text) == PlannedFault(CallKind(kind), fault, times)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("start", "'' is no fault"),
        ("breakfast:hang", "'breakfast' is no call"),
        ("control:hang", "'control' is no call"),
        ("start:levitate", "'levitate' is no fault"),
        ("start:empty=1", "does not take 'empty'"),
        ("start:status=99", "status=99: an HTTP status"),
        ("start:status=x", "status=x: a whole number"),
        ("start:hang=-1", "hang=-1: seconds"),
        ("start:hang=nan", "hang=nan: seconds"),
        ("start:drip=1,head=maybe", "head=maybe: yes or no"),
        ("start:hang,colour=red", "does not take 'colour'; it takes: seconds, sent, acts, times"),
        ("start:hang,times=often", "times=often: a whole number"),
        ("end:status=429,retry-after=Sun, ", "does not take ' '"),
    ],
)
def test_what_is_no_fault_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse_fault(text)


@pytest.mark.parametrize("row", FAULTS, ids=lambda row: row.name)
def test_every_example_of_the_table_can_be_used_and_names_its_fault(row: FaultOption) -> None:
    assert type(parse_fault(f"start:{row.example}").fault) is row.fault
    assert f"  {row.example} " in table_text()


def test_every_fault_is_in_the_table() -> None:
    assert {row.fault for row in FAULTS} == set(faults.Fault.__subclasses__())
