"""A machine whose sudo and su ask the phone, as an administrator sets it up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import RunningAgent
from tests.support.deadline import PLENTY, TIMEOUT
from tests.support.installation import Installation
from tests.support.journald import Journald
from tests.support.pam_files import asking
from tests.support.sandbox import Sandbox
from tests.support.setuid.people import Person, settle_people, table_of
from tests.support.setuid.side_by_side import Outcomes, played
from tests.support.setuid.stage import PHONE_ONLY, SPARED, Phones, Stage
from tests.support.terminal import Terminal
from tests.support.world import token_of

PEOPLE = 1000
SUDOERS = """\
%people ALL=(ALL) ALL, NOPASSWD: /usr/bin/whoami
Defaults:%people !lecture
"""


@pytest.fixture(autouse=True, scope="module")
def nobody_stays() -> Iterator[None]:
    """Close the terminals left open at the end of a file; not before, since tests run concurrently."""
    yield
    Terminal.kill_all()


@pytest.fixture(scope="session")
def phones() -> Phones:
    """The phones of all users."""
    return Phones()


@pytest.fixture(scope="session")
def sandbox(phones: Phones) -> Iterator[Sandbox]:
    """IAMPASS, with users who respond at once."""
    with Sandbox(application_id="demo", listener=phones.hear, names=("iampass",)) as running:
        yield running


@pytest.fixture(scope="session")
def crowd(machine: Installation) -> list[Person]:
    """All users."""
    return settle_people([f"person{number}" for number in range(PEOPLE)])


@pytest.fixture(scope="session")
def newcomers(crowd: list[Person]) -> Iterator[Person]:
    """An iterator over all users."""
    return iter(crowd)


@pytest.fixture(scope="module")
def sudo_and_su(
    machine: Installation, sandbox: Sandbox, journald: Journald, crowd: list[Person]
) -> Iterator[Installation]:
    """sudo and su ask the phone; as setup makes them."""
    for person in crowd:
        sandbox.add_user(token_of(person.name))
        sandbox.add_user(token_of(person.twin))
    machine.configure(sandbox, timeout=f"{PLENTY}s")
    machine.forget()  # where anybody has recovery codes, everybody is asked for one
    machine.write_users(table_of(crowd))
    sudoers = Path("/etc/sudoers.d/people")
    sudoers.write_text(SUDOERS)
    with asking("sudo", "su"):
        yield machine
    sudoers.unlink()


@pytest.fixture(scope="module")
def nobody_answers(sudo_and_su: Installation) -> None:
    """A login that waits for its time-out does not take long."""
    sudo_and_su.change(timeout=TIMEOUT)


@pytest.fixture(scope="module")
def caller_approves(sudo_and_su: Installation) -> Iterator[None]:
    """As su does, another program asks the caller's phone, and some callers are exempt."""
    sudo_and_su.change(
        services=f"{{{PHONE_ONLY.name}: {{approver: caller}}}}",
        exempt=f"{{groups: [{SPARED}]}}",
    )
    PHONE_ONLY.write_text("auth required pam_iampass.so\n")
    yield
    PHONE_ONLY.unlink()


@pytest.fixture(scope="module")
def stage_without_agent(
    sudo_and_su: Installation,
    sandbox: Sandbox,
    journald: Journald,
    phones: Phones,
    newcomers: Iterator[Person],
) -> Stage:
    """The stage for sudo and su."""
    return Stage(sandbox, journald, phones, newcomers, journald.cursor())


@pytest.fixture(scope="module")
def stage(stage_without_agent: Stage) -> Iterator[Stage]:
    """The stage for sudo and su, with the agent."""
    with RunningAgent() as agent:
        agent.wake()
        yield stage_without_agent


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, stage: Stage) -> Iterator[Outcomes]:
    """The results of the concurrent tests of this file."""
    with played(request, stage) as running:
        yield running
