"""Sets up the machine and runs all selected cases of the fault table concurrently."""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.table import CASES
from tests.support.agent import RunningAgent
from tests.support.faults.case import Case
from tests.support.faults.stage import Played, Stage, compiled
from tests.support.installation import Installation
from tests.support.journald import Journald
from tests.support.name_service import answering
from tests.support.setuid.people import settle_people

Everything = dict[Case, Played]


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    """The machine with a working configuration."""
    # Each case has a server, all at the same time: more than the usual limit of 1,024 descriptors.
    most_open = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most_open, 65536), most_open))
    Installation()
    most = sum(case.people for case in CASES)
    people = settle_people([f"p{number}" for number in range(most)])
    folder = Path(tempfile.mkdtemp(dir="/var/lib"))
    with answering(), Journald() as journald, RunningAgent() as agent:
        yield Stage(journald, agent, compiled(folder), (person.name for person in people))


@pytest.fixture(scope="session")
def everything(request: pytest.FixtureRequest, stage: Stage) -> Everything:
    """The results of all selected cases."""
    items = (item for item in request.session.items if "played" in getattr(item, "fixturenames", ()))
    wanted = [item.callspec.params["case"] for item in items]  # type: ignore[attr-defined]
    return stage.play(wanted)


@pytest.fixture
def played(everything: Everything, case: Case) -> Played:
    """The result of this case."""
    return everything[case]
