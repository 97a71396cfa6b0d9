"""Runs the cases of the fault table, many at a time, and keeps the results."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.support.agent import AT_REST, RunningAgent
from tests.support.faults.case import Case, Requests
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
    """The result of one case."""

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

    def play(self, wanted: Sequence[Case]) -> dict[Case, Played]:
        """Run them at the same time."""
        cursor = self.journald.cursor()
        with ExitStack() as open_until_done:
            places = {case: self._place(case, open_until_done) for case in wanted}
            # The longest first, so that they do not run alone at the end.
            order = sorted(wanted, key=lambda case: -case.takes)
            with ThreadPoolExecutor(AT_A_TIME) as pool:
                futures = {case: pool.submit(places[case].play) for case in order}
            self._settle()
            requests = {case: place.count() for case, place in places.items()}
            records = _by_service(self._journal_since(cursor))
        return {
            case: Played(futures[case], records.get(place.service, []), requests[case])
            for case, place in places.items()
        }

    def _place(self, case: Case, servers: ExitStack) -> Place:
        users = [next(self.people) for _ in range(case.people)]
        place = Place(case, f"case-{users[0]}", users, self.program)
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
