"""The fault table: all rows, with one file for each subject."""

from __future__ import annotations

from tests.faults import (
    connections,
    conversations,
    files,
    machine,
    names,
    people,
    server_answers,
    stacks,
    state,
)
from tests.support.faults.case import Case, Way

SUBJECTS = {
    "Responses from IAMPASS": tuple(server_answers.table()),
    "Connections to IAMPASS": tuple(connections.table()),
    "Files": tuple(files.table()),
    "Logs": tuple(machine.table()),
    "User names and remote hosts": tuple(names.table()),
    "Conversations": tuple(conversations.table()),
    "Rate limit and recovery codes": tuple(state.table()),
    "PAM stacks": tuple(stacks.table()),
    "Users and sshd": tuple(people.table()),
}
CASES = tuple(case for rows in SUBJECTS.values() for case in rows)


def _one_of_each_kind() -> frozenset[Case]:
    """One case for each stage and each kind of result: the door handles the others of its kind alike."""
    found: dict[tuple[object, ...], Case] = {}
    for subject, rows in SUBJECTS.items():
        for case in rows:
            kinds = tuple((each.code, each.outcome, each.message) for each in (case.expected, *case.others))
            if case.caller == 0:
                found.setdefault((subject, case.stage, kinds), case)
    return frozenset(found.values())


ONE_OF_EACH_KIND = _one_of_each_kind()


def ways(case: Case) -> tuple[Way, ...]:
    """The ways in which a case runs."""
    if case.needs_pam:
        return (Way.PAM,)
    return (Way.WITHOUT_PAM, Way.PAM) if case in ONE_OF_EACH_KIND else (Way.WITHOUT_PAM,)


PLAYED = tuple((case, way) for case in CASES for way in ways(case))
