"""Thousands of kept sessions in one agent, alone and beside pending logins: memory, CPU, spread of the polls."""

from __future__ import annotations

import os
import pwd
import resource
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from bench.measure import Section
from bench.pending import cpu_seconds, peak_mib, play_pending
from pam_iampass.client import AuthenticationAPI, Transport
from pam_iampass.config.session_settings import SessionSettings
from pam_iampass.sandbox import Sandbox
from pam_iampass.session.kept_session import KeptSession, Rules, State, StoredLogin, encode, new_id
from pam_iampass.system import paths
from pam_iampass.system.boot import since_boot
from tests.support.agent import RunningAgent
from tests.support.world import wait_until


def measure(sandbox: Sandbox, count: int, pending: int, seconds: float) -> Section:
    """Keep `count` sessions for `seconds`, then as long beside `pending` logins."""
    title = f"{count} kept sessions, polled every 30 s"
    print(title)
    section = Section(
        title,
        [
            "agent CPU of one core %",
            "agent memory MiB",
            "polls per s",
            "most polls in 1 s",
            "wrong outcomes",
            "latest after its deadline s",
            "longest wait to begin s",
        ],
    )
    resource.setrlimit(resource.RLIMIT_NOFILE, (16384, 16384))
    keep(sandbox, count)
    with RunningAgent() as agent:
        agent.wake()
        wait_until(lambda: _polls(sandbox, 0.0), "no session was polled", 120.0)
        pid = agent.pid()
        section.add("alone", **_figures(sandbox, pid, lambda: time.sleep(seconds)))
        found: dict[str, float] = {}
        figures = _figures(sandbox, pid, lambda: found.update(play_pending(sandbox, pending, 30.0)))
        section.add("with pending logins", **{**figures, **found})
    for file in Path(paths.SESSIONS).glob("*.json"):
        file.unlink()
    return section


def keep(sandbox: Sandbox, count: int) -> None:
    """Write the files of so many sessions that are active at IAMPASS; all belong to this process."""
    sandbox.auto, sandbox.delay = "approve", 0.0
    api = AuthenticationAPI(
        sandbox.application_id,
        sandbox.application_secret,
        transport=Transport(sandbox.url, sandbox.ca_file),
    )
    owner = pwd.getpwnam("iampass")
    folder = Path(paths.SESSIONS)
    folder.mkdir(mode=0o700, exist_ok=True)
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    for number in range(count):
        user = f"t-kept{number}"
        sandbox.add_user(user, device=True)
        session = api.authenticate_user(user, duration_seconds=86400)
        login = StoredLogin(os.getpid(), f"kept{number}", 1000, "iampass-sshd", 1000 + number)
        kept = KeptSession(
            id=new_id(),
            state=State.OPEN,
            session=session.Schema().dumps(session),
            config=paths.SETTINGS,
            user=f"kept{number}",
            approver=f"kept{number}",
            service="iampass-sshd",
            rhost="192.0.2.7",
            address="192.0.2.7",
            key=None,
            methods=(),
            rules=Rules.of(SessionSettings(keep=True)),
            began=since_boot(),
            approved=since_boot(),
            since=time.time(),
            attached=(login,),
        )
        file = folder / f"{kept.id}.json"
        file.write_bytes(encode(kept))
        file.chmod(0o600)
        os.chown(file, owner.pw_uid, owner.pw_gid)
    api.close()


def _figures(sandbox: Sandbox, pid: int, meanwhile: Callable[[], None]) -> dict[str, float]:
    began, cpu = time.monotonic(), cpu_seconds(pid)
    meanwhile()
    cpu, took = cpu_seconds(pid) - cpu, time.monotonic() - began
    polls = _polls(sandbox, began)
    each_second = Counter(int(at - began) for at in polls)
    return {
        "agent CPU of one core %": 100 * cpu / took,
        "agent memory MiB": peak_mib(pid),
        "polls per s": len(polls) / took,
        "most polls in 1 s": max(each_second.values(), default=0),
    }


def _polls(sandbox: Sandbox, since: float) -> list[float]:
    """When kept sessions were polled."""
    kept = {session.path for session in sandbox.sessions if session.user.startswith("t-kept")}
    polls = (call for call in sandbox.calls if call.kind == "poll" and call.at >= since)
    return [call.at for call in polls if call.path.split("/")[-2] in kept]
