"""What comes of a login in a real sshd, once for each result and priority; tests/faults has every outcome."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pexpect
import pytest

from pam_iampass.audit.journal import MESSAGE_IDS
from pam_iampass.outcome import Outcome
from tests.support.agent import RunningAgent
from tests.support.command import run_command
from tests.support.deadline import PLENTY
from tests.support.faults.expected import NOT_SET_UP, OUT_OF_REACH
from tests.support.installation import Installation
from tests.support.journald import Journald
from tests.support.sandbox import HttpStatus, Sandbox
from tests.support.sshd import PROMPT, Login, Sshd
from tests.support.world import World, token_of, uid_of

INFO, NOTICE, WARNING, ERROR = 6, 5, 4, 3
#: What ssh says where sshd offers no method any more: only PAM_MAXTRIES brings that about.
NO_METHOD_LEFT = "Permission denied ()."

NOBODY_HOME = "https://127.0.0.1:1"


@dataclass(frozen=True)
class Stage:
    """What the machine and IAMPASS are like for some logins, which are played at the same time."""

    settings: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[World], object] = lambda world: None


STAGES = {
    "all is well": Stage({"exempt": "{users: [frank]}"}),
    "olivia is bypassed": Stage(
        {}, lambda world: run_command("bypass", "olivia", "--for", "5m", "--reason", "phone lost")
    ),
    "an outage is tolerated": Stage({"unavailable": "ignore", "server": NOBODY_HOME}),
    "an outage is tolerated: 503": Stage(
        {"unavailable": "ignore"}, lambda world: world.sandbox.misbehave("start", HttpStatus(503), times=None)
    ),
    "an outage is tolerated: broken settings": Stage({"unavailable": "ignore", "methods": "[telepathy]"}),
}


def approves(world: World, user: str) -> None:
    world.approve(user)


def denies(world: World, user: str) -> None:
    world.deny(user)


def does_nothing(world: World, user: str) -> None:
    pass


@dataclass(frozen=True)
class Scene:
    """One login, and what must come of it."""

    user: str
    outcome: str
    result: str
    stage: str = "all is well"
    phone: Callable[[World, str], None] = does_nothing
    sees: str = ""
    prompted: bool = True
    requests: int = 0
    priority: int = WARNING
    reason: str = ""

    @property
    def gets_in(self) -> bool:
        return self.result != "denied"


SCENES = (
    Scene("alice", "approved", "success", phone=approves, requests=1, priority=INFO),
    Scene(
        "bob", "denied", "denied", phone=denies, sees="Denied on your phone.", requests=1, reason="cancelled"
    ),
    Scene("frank", "exempt", "ignored", prompted=False, priority=NOTICE, reason="frank is exempt"),
    Scene("olivia", "bypassed", "ignored", "olivia is bypassed", prompted=False, reason="phone lost"),
    Scene("alice", "unavailable", "ignored", "an outage is tolerated", priority=NOTICE),
    Scene("alice", "unavailable", "denied", "an outage is tolerated: 503", sees=OUT_OF_REACH, requests=1),
    Scene(
        "alice",
        "misconfigured",
        "denied",
        "an outage is tolerated: broken settings",
        sees=NOT_SET_UP,
        prompted=False,
        priority=ERROR,
        reason="telepathy",
    ),
)


@dataclass(frozen=True)
class Played:
    """What was to be seen of a login."""

    shown: str
    status: int
    prompted: bool
    records: list[dict[str, Any]]
    requests: int
    left_open: int
    sshd_log: list[str]


def _play(world: World, scene: Scene) -> tuple[Login, int, bool]:
    login = world.login(scene.user)
    prompted = login.expect([PROMPT, pexpect.EOF]) == 0
    if prompted:
        login.sendline("")
        scene.phone(world, scene.user)
    return login, login.finish(), prompted


def _play_all(world: World, scenes: list[Scene]) -> dict[Scene, Played]:
    with ThreadPoolExecutor(len(scenes)) as pool:
        ended = list(pool.map(lambda scene: _play(world, scene), scenes))
    left_open = world.left_open()
    return {
        scene: Played(
            login.shown,
            status,
            prompted,
            world.records(scene.user),
            world.starts(scene.user),
            sum(session.user == token_of(scene.user) for session in left_open),
            world.sshd_log(f" for {scene.user} from 127.0.0.1"),
        )
        for scene, (login, status, prompted) in zip(scenes, ended)
    }


@pytest.fixture(scope="module")
def played(
    machine: Installation, sandbox: Sandbox, journald: Journald, sshd: Sshd, agent: RunningAgent
) -> dict[Scene, Played]:
    """All scenes, played."""
    everything: dict[Scene, Played] = {}
    for name, stage in STAGES.items():
        world = World(machine, sandbox, journald, sshd, agent=agent)
        machine.change(**stage.settings)
        stage.prepare(world)
        everything |= _play_all(world, [scene for scene in SCENES if scene.stage == name])
    return everything


@pytest.fixture(params=SCENES, ids=lambda scene: f"{scene.outcome}-{scene.result}-{scene.stage}")
def scene(request: pytest.FixtureRequest) -> Scene:
    """Each scene."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def login(scene: Scene, played: dict[Scene, Played]) -> Played:
    """What was to be seen of it."""
    return played[scene]


def test_only_who_may_gets_in(scene: Scene, login: Played) -> None:
    assert (f"In as {scene.user}." in login.shown) == scene.gets_in, login
    assert (login.status == 0) == scene.gets_in


def test_the_person_reads_what_came_of_it(scene: Scene, login: Played) -> None:
    assert login.prompted == scene.prompted
    assert scene.sees in login.shown


def test_sshd_does_as_pam_says(scene: Scene, login: Played) -> None:
    accepted = [line for line in login.sshd_log if line.startswith("Accepted keyboard-interactive/pam for ")]
    assert len(accepted) == (1 if scene.gets_in else 0), login.sshd_log
    if not scene.gets_in:
        assert NO_METHOD_LEFT in login.shown


def test_the_journal_has_one_record_of_it(scene: Scene, login: Played) -> None:
    assert [record["IAMPASS_OUTCOME"] for record in login.records] == [scene.outcome]
    [record] = login.records
    assert scene.reason in record.pop("IAMPASS_REASON")
    assert 0 <= int(record["IAMPASS_ELAPSED_MS"]) < PLENTY * 1000
    nobody_approves = scene.outcome == "exempt" or scene.stage.endswith("broken settings")
    expected = {
        "IAMPASS_RESULT": scene.result,
        "IAMPASS_USER": scene.user,
        "IAMPASS_CALLER": "",
        "IAMPASS_APPROVER": "" if nobody_approves else scene.user,
        "IAMPASS_SERVICE": "sshd",
        "IAMPASS_RHOST": "127.0.0.1",
        "MESSAGE_ID": MESSAGE_IDS[Outcome(scene.outcome)],
        "PRIORITY": str(scene.priority),
        "SYSLOG_IDENTIFIER": "pam_iampass",
        "SYSLOG_FACILITY": "10",
        "_UID": str(uid_of("iampass")),
    }
    assert {name: record.get(name) for name in expected} == expected
    assert f"outcome={scene.outcome} result={scene.result} user={scene.user} " in record["MESSAGE"]


def test_the_phone_rings_once_or_not_at_all(scene: Scene, login: Played) -> None:
    assert login.requests == scene.requests


def test_no_session_is_left_open(login: Played) -> None:
    assert login.left_open == 0
