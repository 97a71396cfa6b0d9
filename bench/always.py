"""sudo that asks for every command (`setup sudo --always`): the cost of its account phase, and of a covered command."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Callable

from bench.measure import Application, Cost, Section, cost_of, median
from bench.sessions import forget, store
from pam_iampass.config.settings import SessionSettings
from pam_iampass.session.kept_session import AttachedLogin
from pam_iampass.session.store import MOST_COVERS
from pam_iampass.system import paths
from tests.support.agent import RunningAgent
from tests.support.installation import Installation
from tests.support.kept_sessions import kept_sessions
from tests.support.sandbox import Sandbox

SSHD, SUDO = "sshd, account phase", "sudo for every command, account phase"
NOW, ALWAYS = "covered sudo, auth phase", "covered sudo for every command, account phase"
CPU, WALL = "CPU ms", "wall ms"
_PAM = {
    "bench-sshd": "account required pam_iampass.so\naccount required pam_permit.so\n",
    "sudo": "auth required pam_iampass.so\nauth required pam_permit.so\n"
    "account required pam_iampass.so always\naccount required pam_permit.so\n",
}
_SET_UID = Path("/usr/local/bin/bench-sudo")
_COVERS = "{keep: true, covers: {services: [sudo], for: 12h}}"


class _Login:
    """A shell in a login session of alice, from which she calls a set-uid program."""

    def __init__(self) -> None:
        self._uid = pwd.getpwnam("alice").pw_uid
        begin = f"echo {self._uid} > /proc/self/loginuid && exec sh"
        self._shell = subprocess.Popen(
            ["sh", "-c", begin], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def call(self, phase: str) -> Cost:
        """Call PAM once, as sudo of alice."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(
            f"setpriv --reuid=alice --regid=alice --init-groups {_SET_UID} sudo alice {phase}\n"
        )
        self._shell.stdin.flush()
        return cost_of(self._shell.stdout.readline())

    def attached(self) -> AttachedLogin:
        """The login session, once a call has shown that it has begun."""
        pid = self._shell.pid
        session = int(Path(f"/proc/{pid}/sessionid").read_text())
        pidfd = os.pidfd_open(pid)
        inode = os.fstat(pidfd).st_ino
        os.close(pidfd)
        return AttachedLogin(pid, "alice", self._uid, "sshd", session, inode=inode)

    def end(self) -> None:
        """Log out."""
        self._shell.communicate()


def measure(application: Application, sandbox: Sandbox, machine: Installation, rounds: int) -> Section:
    """Medians of calls that the phone approves at once, and of calls that a kept login covers."""
    section = Section("sudo for every command", [CPU, WALL])
    print(section.title)
    sandbox.auto, sandbox.delay = "approve", 0.0
    login = _Login()
    in_sshd, in_account = (
        partial(application.call, "bench-sshd", "alice", "acct_mgmt"),
        partial(login.call, "acct_mgmt"),
    )
    with _installed(application):
        with RunningAgent():
            _add(section, _calls({SSHD: in_sshd, SUDO: in_account}, rounds))
        machine.change(session=_COVERS)
        (kept,) = kept_sessions(sandbox, paths.SETTINGS, [login.attached()], SessionSettings(keep=True))
        store([replace(kept, token="t-alice")])
        asked = len(sandbox.sessions)
        covered: dict[str, list[Cost]] = {NOW: [], ALWAYS: []}
        while len(covered[NOW]) < rounds:
            with RunningAgent():  # each new one covers as much again
                ways = {NOW: partial(login.call, "authenticate"), ALWAYS: in_account}
                for name, costs in _calls(ways, min(rounds, MOST_COVERS // 2 - 1)).items():
                    covered[name] += costs
        _add(section, covered)
        assert len(sandbox.sessions) == asked, "a call was not covered"
        forget()
        machine.change()
    login.end()
    return section


@contextmanager
def _installed(application: Application) -> Iterator[None]:
    """The set-uid program, and the PAM files of it and of sshd."""
    shutil.copy(application.program, _SET_UID)
    _SET_UID.chmod(0o4755)
    files = {Path("/etc/pam.d") / name: text for name, text in _PAM.items()}
    before = {file: file.read_text() if file.exists() else None for file in files}
    for file, text in files.items():
        file.write_text(text)
    try:
        yield
    finally:
        for file, content in before.items():
            file.unlink() if content is None else file.write_text(content)


def _calls(ways: Mapping[str, Callable[[], Cost]], rounds: int) -> dict[str, list[Cost]]:
    """The costs of so many calls of each way, in random order."""
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name in random.sample(sorted(ways), len(ways)):
            cost = ways[name]()
            assert cost.code == 0, f"{name}: {cost.code}"
            if number > 0:  # the first round only warms up
                costs[name].append(cost)
    return costs


def _add(section: Section, costs: Mapping[str, list[Cost]]) -> None:
    for name, found in costs.items():
        cpu, wall = median([one.cpu_ms for one in found]), median([one.wall_ms for one in found])
        section.add(name, **{CPU: cpu, WALL: wall})


def bounds(section: Section) -> list[tuple[str, float, float]]:
    """The bounds: (what, found, at most)."""
    cpu = {row.name: row.values[CPU] for row in section.rows}
    return [
        ("sudo for every command, account phase: CPU above that of sshd, ms", cpu[SUDO] - cpu[SSHD], 0.2),
        ("covered sudo for every command: CPU above a covered sudo, ms", cpu[ALWAYS] - cpu[NOW], 0.2),
    ]
