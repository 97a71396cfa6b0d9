"""Sets up the machine and runs all selected cases of the fault table concurrently."""

from __future__ import annotations

import contextlib
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter

from tests.faults.table import CASES, ways
from tests.support.agent import RunningAgent
from tests.support.faults.case import Case, Way
from tests.support.faults.stage import Played, Stage, compiled
from tests.support.installation import Installation
from tests.support.journald import Journald
from tests.support.name_service import answering
from tests.support.setuid.people import settle_people

Everything = dict[tuple[Case, Way], Played]
_COUNTED = pytest.StashKey[tuple[int, int, int]]()


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    """The machine with a working configuration."""
    # Each case has a server, all at the same time: more than the usual limit of 1,024 descriptors.
    most_open = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most_open, 65536), most_open))
    Installation()
    most = sum(case.people * len(ways(case)) for case in CASES)
    people = settle_people([f"p{number}" for number in range(most)])
    folder = Path(tempfile.mkdtemp(dir="/var/lib"))
    with answering(), Journald() as journald, RunningAgent() as agent:
        yield Stage(journald, agent, compiled(folder), (person.name for person in people))


@pytest.fixture(scope="session")
def everything(request: pytest.FixtureRequest, stage: Stage) -> Everything:
    """The results of all selected cases."""
    wanted = []
    for item in request.session.items:
        with contextlib.suppress(AttributeError, KeyError):
            parameters = item.callspec.params  # type: ignore[attr-defined]
            wanted.append((parameters["case"], parameters["way"]))
    by_pam = {case for case, way in wanted if way is Way.PAM}
    request.config.stash[_COUNTED] = len({case for case, _ in wanted}), len(by_pam), len(wanted)
    return stage.play(list(dict.fromkeys(wanted)))


@pytest.fixture
def played(everything: Everything, case: Case, way: Way) -> Played:
    """The result of this case in this way."""
    return everything[case, way]


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Report how many cases ran."""
    if _COUNTED in config.stash:
        cases, by_pam, total = config.stash[_COUNTED]
        terminalreporter.write_line(
            f"Fault table: {cases} cases; {by_pam} of them through PAM, "
            f"{total} logins or groups of logins in all."
        )
