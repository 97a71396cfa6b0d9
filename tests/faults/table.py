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
from tests.support.faults.case import BY_PAM, EACH_DOOR, WITHOUT_PAM, Case
from tests.support.ways import Way

SUBJECTS = {
    "Responses from IAMPASS": tuple(server_answers.table()),
    "Connections to IAMPASS": tuple(connections.table()),
    "Files": tuple(files.table()),
    "Logs and the helper": tuple(machine.table()),
    "User names and remote hosts": tuple(names.table()),
    "Conversations": tuple(conversations.table()),
    "Rate limit and recovery codes": tuple(state.table()),
    "PAM stacks": tuple(stacks.table()),
    "Users and sshd": tuple(people.table()),
}
CASES = tuple(case for rows in SUBJECTS.values() for case in rows)


def _for_every_door() -> frozenset[Case]:
    """One case for each stage and each kind of result: the doors handle the others of its kind alike."""
    found: dict[tuple[object, ...], Case] = {}
    for subject, rows in SUBJECTS.items():
        for case in rows:
            kinds = tuple((each.code, each.outcome, each.message) for each in (case.expected, *case.others))
            if case.caller == 0:
                found.setdefault((subject, case.stage, kinds), case)
    return frozenset(found.values())


FOR_EVERY_DOOR = _for_every_door()
FOR_EVERY_WAY = frozenset(
    {(case.expected.code, case.expected.outcome): case for case in CASES if case in FOR_EVERY_DOOR}.values()
)
"""Of these, one case for each result: the native door speaks with a helper as with the agent."""


def ways(case: Case) -> tuple[Way, ...]:
    """The ways in which a case runs."""
    if case.needs_pam:
        return BY_PAM
    if case in FOR_EVERY_WAY:
        return (WITHOUT_PAM, *BY_PAM)
    return (WITHOUT_PAM, *EACH_DOOR) if case in FOR_EVERY_DOOR else (WITHOUT_PAM,)


PLAYED = tuple((case, way) for case in CASES for way in ways(case))
