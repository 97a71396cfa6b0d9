"""The fault table: all rows, one file a subject."""

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

SUBJECTS = {
    "What IAMPASS answers": tuple(server_answers.table()),
    "The way to IAMPASS": tuple(connections.table()),
    "Files": tuple(files.table()),
    "The machine": tuple(machine.table()),
    "Names": tuple(names.table()),
    "Conversations": tuple(conversations.table()),
    "What is remembered": tuple(state.table()),
    "Stacks": tuple(stacks.table()),
    "People": tuple(people.table()),
}
CASES = tuple(case for rows in SUBJECTS.values() for case in rows)
