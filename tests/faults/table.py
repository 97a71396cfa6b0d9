"""The fault table: all rows, with one file for each subject."""

from __future__ import annotations

from tests.faults import (
    connections,
    conversations,
    files,
    names,
    people,
    server_answers,
    stacks,
    state,
)

SUBJECTS = {
    "Responses from IAMPASS": tuple(server_answers.table()),
    "Connections to IAMPASS": tuple(connections.table()),
    "Files": tuple(files.table()),
    "User names and remote hosts": tuple(names.table()),
    "Conversations": tuple(conversations.table()),
    "Rate limit and recovery codes": tuple(state.table()),
    "PAM stacks": tuple(stacks.table()),
    "Users and sshd": tuple(people.table()),
}
CASES = tuple(case for rows in SUBJECTS.values() for case in rows)
