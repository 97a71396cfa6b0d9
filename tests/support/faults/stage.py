"""Runs the cases of the fault table in all ways, many at a time, and keeps the results."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.support.agent import AT_REST, RunningAgent
from tests.support.faults.case import NORMAL, Case, Circumstance, Requests, Way
from tests.support.faults.place import Ended, Place
from tests.support.installation import ROOT
from tests.support.journald import Journald
from tests.support.world import wait_until

#: Concurrent logins. Most of them wait.
AT_A_TIME = 20

_RECORD = re.compile(r"outcome=(\w+) result=(\w+) user=.* service=(\S+) rhost=")


@dataclass(frozen=True)
class Record:
    """One audit record as a line."""

    outcome: str
    result: str
    line: str

    @property
    def elapsed(self) -> float:
        """Seconds that the module took."""
        found = re.search(r" elapsed_ms=(\d+)", self.line)
        assert found is not None, self.line
        return int(found[1]) / 1000


@dataclass(frozen=True)
class Played:
    """The result of one case in one way."""

    logins: Future[list[Ended]]
    records: list[Record]
    requests: Requests

    @property
    def ended(self) -> list[Ended]:
        """The logins. Raises the exception that stopped them."""
        return self.logins.result()


@dataclass(frozen=True)
class Stage:
    """The machine. `program` is the application."""

    journald: Journald
    agent: RunningAgent
    program: Path
    people: Iterator[str]

    def play(self, wanted: Sequence[tuple[Case, Way]]) -> dict[tuple[Case, Way], Played]:
        """Run them; those with the same circumstance run concurrently."""
        played: dict[tuple[Case, Way], Played] = {}
        circumstances = dict.fromkeys((NORMAL, *(case.circumstance for case, _ in wanted)))
        for circumstance in circumstances:
            played |= self._play_in(
                circumstance, [one for one in wanted if one[0].circumstance == circumstance]
            )
        return played

    def _play_in(
        self, circumstance: Circumstance, wanted: list[tuple[Case, Way]]
    ) -> dict[tuple[Case, Way], Played]:
        if not wanted:
            return {}
        cursor = self.journald.cursor()
        with ExitStack() as open_until_done:
            changed = open_until_done.enter_context(circumstance.make(self))
            places = [self._place(case, way, open_until_done) for case, way in wanted]
            # The longest first, so that they do not run alone at the end.
            order = sorted(range(len(places)), key=lambda number: -wanted[number][0].takes)
            with ThreadPoolExecutor(AT_A_TIME) as pool:
                futures = {number: pool.submit(places[number].play) for number in order}
            self._settle()
            requests = [place.count() for place in places]
            lines = changed.lines() if changed is not None else self._journal_since(cursor)
        records = _by_service(lines)
        return {
            one: Played(futures[number], records.get(place.service, []), requests[number])
            for number, (one, place) in enumerate(zip(wanted, places))
        }

    def _place(self, case: Case, way: Way, servers: ExitStack) -> Place:
        users = [next(self.people) for _ in range(case.people)]
        place = Place(case, way, f"case-{users[0]}", users, self.program)
        servers.enter_context(case.server(place))
        place.furnish()
        return place

    def _journal_since(self, cursor: str) -> list[str]:
        found = self.journald.everything(cursor)
        return [str(entry.get("MESSAGE")) for entry in found if entry.get("SYSLOG_FACILITY") == "10"]

    def _settle(self) -> None:
        """Wait until the agent has finished."""
        tasks = Path(f"/proc/{self.agent.pid()}/task")
        wait_until(lambda: len(list(tasks.iterdir())) == AT_REST, "the agent is still at work")


def _by_service(lines: Sequence[str]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for line in lines:
        match = _RECORD.search(line)
        if match:
            found.setdefault(match[3], []).append(Record(match[1], match[2], line[match.start() :]))
    return found


def compiled(folder: Path) -> Path:
    """The application of `tests/pam/native/application.c`."""
    program = folder / "application"
    source = ROOT / "tests/pam/native/application.c"
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O1", "-rdynamic"]
    subprocess.run(["cc", *flags, str(source), "-lpam", "-o", str(program)], check=True)
    return program
