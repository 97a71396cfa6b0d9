"""What su has started, and what in the login of its caller it has not. Nothing here needs real processes."""

from __future__ import annotations

import os

import pytest

from pam_iampass.enforcer.processes import Process, Strays

ALICE, BOB, ROOT = (1000, 1000), (1001, 1001), (0, 0)
SET_UID = (1000, 0)
"""The real and effective user ids of a set-uid program that alice has called, such as su."""
LOGIN, ELSEWHERE = 7, 8
"""The audit session of alice's login, and another one."""
SU, TERMINAL, OTHER_TERMINAL = 100, 34816, 34817
"""When su was started, and on which terminal; it has been killed."""
SHELL, STRAY = 20, 50
"""alice's shell, and a process that su may have started."""

Row = tuple[int, int, tuple[int, int], int]
"""Parent, start, user ids and audit session."""
SHELL_ROW: Row = (1, 10, ALICE, LOGIN)
ORPHAN: Row = (1, SU + 5, BOB, LOGIN)


def strays(
    rows: dict[int, Row],
    *,
    uid: int = BOB[0],
    terminals: dict[int, int] | None = None,
    terminal: int = TERMINAL,
    registered: frozenset[tuple[int, int]] = frozenset(),
    own_session: int = 4294967295,
) -> set[int]:
    """The ids of the strays among processes, with init and alice's shell."""
    rows = {1: (0, 0, ROOT, 4294967295), SHELL: SHELL_ROW, **rows}
    processes = {
        pid: Process(pid, parent, 0, (terminals or {}).get(pid, 0), started)
        for pid, (parent, started, _ids, _session) in sorted(rows.items(), reverse=True)
    }
    sessions = {os.getpid(): own_session, **{pid: row[3] for pid, row in rows.items()}}
    found = Strays(
        *(uid, LOGIN, SU, terminal, registered),
        user_ids=lambda pid: rows[pid][2],
        audit_session=sessions.get,
    )
    return set(found.among(processes))


BELOW = 60, 61
KEPT: dict[str, dict[int, Row]] = {
    "of another account": {STRAY: (1, SU + 5, ALICE, LOGIN)},
    "of another login": {STRAY: (1, SU + 5, BOB, ELSEWHERE)},
    "older than su": {STRAY: (1, SU - 1, BOB, LOGIN)},
    "of a su that runs": {BELOW[0]: (SHELL, SU + 1, SET_UID, LOGIN), STRAY: (BELOW[0], SU + 5, BOB, LOGIN)},
    "of a sudo that runs": {BELOW[0]: (SHELL, SU + 1, ROOT, LOGIN), STRAY: (BELOW[0], SU + 5, BOB, LOGIN)},
    "far below a sudo that runs": {
        BELOW[0]: (SHELL, SU + 1, ROOT, LOGIN),
        BELOW[1]: (BELOW[0], SU + 2, BOB, LOGIN),
        STRAY: (BELOW[1], SU + 5, BOB, LOGIN),
    },
    "of a shell that is older than su": {
        BELOW[0]: (SHELL, SU - 20, ROOT, LOGIN),
        BELOW[1]: (BELOW[0], SU - 10, BOB, LOGIN),
        STRAY: (BELOW[1], SU + 5, BOB, LOGIN),
    },
}
FOUND: dict[str, dict[int, Row]] = {
    "adopted by init": {STRAY: ORPHAN},
    "adopted by a manager outside of the login": {
        30: (1, 5, ALICE, ELSEWHERE),
        STRAY: (30, SU + 5, BOB, LOGIN),
    },
    "adopted by a program of the caller": {STRAY: (SHELL, SU + 5, BOB, LOGIN)},
    "adopted by a younger program of the caller": {
        30: (SHELL, SU + 1, ALICE, LOGIN),
        STRAY: (30, SU + 5, BOB, LOGIN),
    },
    "adopted by what the caller has made a set-uid program": {
        30: (SHELL, SU, SET_UID, LOGIN),
        STRAY: (30, SU + 5, BOB, LOGIN),
    },
    "adopted by what the caller has made a sudo": {
        30: (SHELL, SU - 1, ROOT, LOGIN),
        STRAY: (30, SU, BOB, LOGIN),
    },
}


@pytest.mark.parametrize("rows", KEPT.values(), ids=KEPT)
def test_what_su_has_not_started_goes_on(rows: dict[int, Row]) -> None:
    assert strays(rows) == set()


@pytest.mark.parametrize("rows", FOUND.values(), ids=FOUND)
def test_what_su_has_left_is_found_whoever_has_adopted_it(rows: dict[int, Row]) -> None:
    assert strays(rows) == {STRAY}


def test_what_descends_from_another_registered_login_ends_with_that() -> None:
    rows = {30: (SHELL, SU - 1, ROOT, LOGIN), STRAY: (30, SU + 5, BOB, LOGIN)}
    assert strays(rows, registered=frozenset({(30, SU - 1)})) == set()
    assert strays(rows, registered=frozenset({(30, SU - 2)})) == {STRAY}  # whose id was used again


def test_where_all_logins_have_one_audit_session_nothing_is_known() -> None:
    assert strays({STRAY: ORPHAN}, own_session=LOGIN) == set()


@pytest.mark.parametrize(
    ("terminal", "of_process", "parent", "found"),
    [
        (TERMINAL, TERMINAL, 1, True),
        (TERMINAL, OTHER_TERMINAL, 1, False),
        (TERMINAL, 0, 1, False),
        (0, 0, 1, False),
        (TERMINAL, TERMINAL, SHELL, False),
    ],
    ids=[
        "on the terminal of su",
        "on another",
        "a service",
        "a service, and su had none",
        "a sudo that runs",
    ],
)
def test_of_roots_processes_only_what_su_has_left_on_its_terminal_is_found(
    terminal: int, of_process: int, parent: int, found: bool
) -> None:
    rows = {STRAY: (parent, SU + 5, ROOT, LOGIN)}
    seen = strays(rows, uid=0, terminal=terminal, terminals={STRAY: of_process})
    assert seen == ({STRAY} if found else set())


def test_a_long_chain_of_processes_takes_no_long_time() -> None:
    count = 20_000
    chain = {pid: (pid - 1, SU + 5, BOB, LOGIN) for pid in range(102, 100 + count)}
    looks = 0

    class Counted(dict[int, Row]):
        def __getitem__(self, pid: int) -> Row:
            nonlocal looks
            looks += 1
            return super().__getitem__(pid)

    rows = {101: (SHELL, SU + 1, ROOT, LOGIN), **chain}
    processes = {pid: Process(pid, row[0], 0, 0, row[1]) for pid, row in sorted(rows.items(), reverse=True)}
    counted = Counted(rows)
    found = Strays(
        *(BOB[0], LOGIN, SU, 0, frozenset()),
        user_ids=lambda pid: counted[pid][2],
        audit_session=lambda pid: LOGIN if pid in rows else None,
    )
    assert list(found.among(processes)) == []
    assert looks <= 3 * count
