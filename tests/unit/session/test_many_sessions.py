"""A hundred sessions at once: whatever ends some of them ends their logins, and no other."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pam_iampass.config.session_settings import SessionSettings
from pam_iampass.enforcer.protocol import Verb
from pam_iampass.sandbox.sessions import EndedBy
from pam_iampass.session.attached import AttachedLogin
from pam_iampass.session.kept_session import KeptSession
from tests.support.kept_sessions import kept_sessions
from tests.support.sessions import PATIENCE, Keeping, LoginSession, keeping
from tests.support.setting import Setting
from tests.support.world import wait_until

COUNT = 100
SETTINGS = SessionSettings(keep=True, check=10.0)


@dataclass
class Crowd:
    """The agent and its sessions."""

    agent: Keeping
    sessions: list[KeptSession]

    def ended_at_iampass(self, by: EndedBy) -> set[str]:
        return {each.user for each in self.agent.world.sandbox.sessions if each.ended_by is by} & tokens(
            self.sessions
        )

    def still_there(self) -> list[KeptSession]:
        return [kept for kept in self.sessions if self.agent.kept(kept.id) is not None]


def tokens(sessions: list[KeptSession]) -> set[str]:
    return {f"t-{kept.user}" for kept in sessions}


@pytest.fixture
def crowd(world: Setting) -> Iterator[Crowd]:
    with keeping(world) as agent:
        agent.stop()
        programs = [subprocess.Popen(["sleep", "1000"], text=True) for _ in range(COUNT)]
        logins = [
            AttachedLogin(program.pid, f"many{number}", 1000, "test", 1000 + number)
            for number, program in enumerate(programs)
        ]
        sessions = kept_sessions(world.sandbox, str(world.folder / "iampass.yaml"), logins, SETTINGS)
        agent.logins += [LoginSession(kept.id, program) for kept, program in zip(sessions, programs)]
        for kept in sessions:
            agent.store.write(kept)
        agent.start()
        yield Crowd(agent, sessions)


def test_each_session_ends_with_its_own_login_and_each_login_with_its_own_session(crowd: Crowd) -> None:
    agent = crowd.agent
    logged_out, closed, others = crowd.sessions[:40], crowd.sessions[40:70], crowd.sessions[70:]
    assert crowd.still_there() == crowd.sessions
    for login in agent.logins[:40]:
        login.end()
    for kept in closed:
        agent.world.sandbox.close(f"t-{kept.user}")
    wait_until(lambda: crowd.still_there() == others, "others are kept", 3 * PATIENCE)
    assert crowd.ended_at_iampass(EndedBy.CLIENT) == tokens(logged_out)
    assert crowd.ended_at_iampass(EndedBy.PHONE) == tokens(closed)
    # Twice where the end of a login is noticed late.
    assert {request.session for request in agent.asked} == {kept.id for kept in closed}
    assert {request.verb for request in agent.asked} == {Verb.END}
    wait_until(lambda: all(login.over for login in agent.logins[:70]), "logins are not over")
    assert not any(login.over for login in agent.logins[70:])
    assert {kept.id for kept in agent.store.all()[0]} == {kept.id for kept in others}
