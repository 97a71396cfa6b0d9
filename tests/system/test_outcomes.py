"""Every outcome of a login, each played by a real ssh client against a real sshd with the shipped files."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pexpect
import pytest

from pam_iampass.audit.journal import MESSAGE_IDS
from pam_iampass.outcome import Outcome
from tests.support import processes
from tests.support.agent import RunningAgent
from tests.support.command import run_command
from tests.support.deadline import NOBODY_ANSWERED, PLENTY, TIMEOUT
from tests.support.installation import ETC, Installation, write
from tests.support.journald import Journald
from tests.support.recovery import new_codes
from tests.support.sandbox import HttpStatus, Junk, Reset, Sandbox
from tests.support.sshd import PROMPT, Login, Sshd
from tests.support.world import World, token_of, uid_of

INFO, NOTICE, WARNING, ERROR = 6, 5, 4, 3
#: What ssh says where sshd offers no method any more: only PAM_MAXTRIES brings that about.
NO_METHOD_LEFT = "Permission denied ()."

NOBODY_HOME = "https://127.0.0.1:1"
NO_PHONE = "No phone is registered for you at IAMPASS. Please ask your administrator."
OUT_OF_REACH = "IAMPASS is unreachable from this machine. Try again in a minute, or ask your administrator."
NOT_SET_UP = "The phone check is misconfigured on this machine. Please ask your administrator."
NO_SENSE = "IAMPASS sent an invalid response. Please ask your administrator."


@dataclass(frozen=True)
class Stage:
    """What the machine and IAMPASS are like for some logins, which are played at the same time."""

    settings: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[World], object] = lambda world: None


def _phones(world: World) -> None:
    world.sandbox.add_user(token_of("dave"), device=False)
    world.sandbox.delete_user(token_of("erin"))
    users = (ETC / "users.yaml").read_text().splitlines(keepends=True)
    world.machine.write_users("".join(line for line in users if not line.startswith("grace:")))


CODES: dict[str, str] = {}
"""A recovery code of each who has one."""


def _codes(world: World) -> None:
    CODES["judy"] = new_codes("judy")[0]


def _rung_already(world: World) -> None:
    login = world.login("niaj")
    login.enter()
    world.deny("niaj")
    login.finish()
    world.mark()


STAGES = {
    "all is well": Stage({"exempt": "{users: [frank]}"}, _phones),
    "judy has recovery codes": Stage({}, _codes),
    "olivia is bypassed, nobody answers carol": Stage(
        {"timeout": TIMEOUT},
        lambda world: run_command("bypass", "olivia", "--for", "5m", "--reason", "phone lost"),
    ),
    "one request an hour, and niaj had it": Stage({"throttle": "{requests_per_hour: 1}"}, _rung_already),
    "unlisted users pass, IAMPASS is away": Stage(
        {"unlisted_users": "ignore", "server": NOBODY_HOME},
        lambda world: world.machine.write_users("bob: x\n"),
    ),
    "an outage is tolerated": Stage({"unavailable": "ignore", "server": NOBODY_HOME}),
    "an outage is tolerated: 503": Stage(
        {"unavailable": "ignore"}, lambda world: world.sandbox.misbehave("start", HttpStatus(503), times=None)
    ),
    "an outage is tolerated: the answer to the request is lost": Stage(
        {"unavailable": "ignore"}, lambda world: world.sandbox.misbehave("start", Reset(), times=None)
    ),
    "an outage is tolerated: junk": Stage(
        {"unavailable": "ignore"}, lambda world: world.sandbox.misbehave("start", Junk(acts=False))
    ),
    "an outage is tolerated: wrong secret": Stage(
        {"unavailable": "ignore"}, lambda world: write(ETC / "application-secret", "wrong\n")
    ),
    "an outage is tolerated: broken settings": Stage({"unavailable": "ignore", "methods": "[telepathy]"}),
}


def approves(world: World, user: str) -> None:
    world.approve(user)


def denies(world: World, user: str) -> None:
    world.deny(user)


def does_nothing(world: World, user: str) -> None:
    pass


def sshd_is_killed(world: World, user: str) -> None:
    """The process of sshd in which PAM runs."""
    world.request(user)
    [child] = processes.running(f"sshd-session: {user} [pam]")
    processes.kill(child)


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
    options: tuple[str, ...] = ()

    @property
    def gets_in(self) -> bool:
        return self.result != "denied"


SCENES = (
    Scene(
        "olivia",
        "bypassed",
        "ignored",
        "olivia is bypassed, nobody answers carol",
        prompted=False,
        reason="phone lost",
    ),
    Scene(
        "alice",
        "approved",
        "success",
        phone=approves,
        requests=1,
        priority=INFO,
    ),
    Scene(
        "bob", "denied", "denied", phone=denies, sees="Denied on your phone.", requests=1, reason="cancelled"
    ),
    Scene(
        "carol",
        "timed_out",
        "denied",
        "olivia is bypassed, nobody answers carol",
        sees=NOBODY_ANSWERED,
        requests=1,
    ),
    Scene("dave", "no_device", "denied", sees=NO_PHONE, requests=1, reason="NO_MOBILE_DEVICE"),
    Scene(
        "erin",
        "denied",
        "denied",
        sees="IAMPASS does not know you, or does not know this machine.",
        requests=1,
        reason="has no user with the token of erin",
    ),
    Scene("frank", "exempt", "ignored", prompted=False, priority=NOTICE, reason="frank is exempt"),
    Scene("grace", "unlisted", "denied", sees="No phone is on record for you on this machine."),
    Scene(
        "heidi",
        "cancelled",
        "denied",
        phone=sshd_is_killed,
        requests=1,
        reason="the application ended",
        options=("NumberOfPasswordPrompts=1",),  # sshd itself lives on, and would let the client try again
    ),
    Scene(
        "judy",
        "recovered",
        "success",
        "judy has recovery codes",
        sees="The recovery code was accepted: 9 recovery codes are left.",
        reason="9 recovery codes are left",
    ),
    Scene(
        "niaj",
        "throttled",
        "denied",
        "one request an hour, and niaj had it",
        sees="Too many requests: none was sent. Wait 60 minutes, or use a recovery code.",
        reason="1 requests within an hour were not approved (throttle.requests_per_hour)",
    ),
    Scene(
        "alice",
        "unlisted",
        "ignored",
        "unlisted users pass, IAMPASS is away",
        prompted=False,
        priority=NOTICE,
    ),
    Scene("bob", "unavailable", "denied", "unlisted users pass, IAMPASS is away", sees=OUT_OF_REACH),
    Scene("alice", "unavailable", "ignored", "an outage is tolerated", priority=NOTICE),
    Scene("alice", "unavailable", "denied", "an outage is tolerated: 503", sees=OUT_OF_REACH, requests=1),
    Scene(
        "alice",
        "unavailable",
        "denied",
        "an outage is tolerated: the answer to the request is lost",
        sees=OUT_OF_REACH,
        requests=1,
    ),
    Scene("alice", "unavailable", "denied", "an outage is tolerated: junk", sees=NO_SENSE, requests=1),
    Scene(
        "alice",
        "misconfigured",
        "denied",
        "an outage is tolerated: wrong secret",
        sees=NOT_SET_UP,
        requests=1,
        priority=ERROR,
    ),
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
    login = world.login(scene.user, *scene.options)
    prompted = login.expect([PROMPT, pexpect.EOF]) == 0
    if prompted:
        login.sendline(CODES.get(scene.user, ""))
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
    if not scene.gets_in and scene.phone is not sshd_is_killed:
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


def test_no_session_is_left_open(login: Played, scene: Scene) -> None:
    lost = scene.stage == "an outage is tolerated: the answer to the request is lost"
    assert login.left_open == (1 if lost else 0)  # nobody knows how to end a session whose tokens never came


def test_every_outcome_that_there_is_was_played() -> None:
    covered = {Outcome.COVERED.value}  # within another login: test_sessions.py
    assert {scene.outcome for scene in SCENES} == {outcome.value for outcome in Outcome} - covered
