"""A connection to another host is that of a login only if it begins in it: real sockets, users and control groups."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from pam_iampass.session import presence
from pam_iampass.session.descriptors import WatchedProcess
from pam_iampass.session.kept_session import AttachedLogin, KeptSession, State
from pam_iampass.system import sock_diag
from pam_iampass.system.boot import since_boot
from tests.support.sessions import keeping
from tests.support.setting import Setting
from tests.support.world import wait_until
from tests.unit.session.test_store import KEPT

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_isolated_root]

#: User ids that no other run and no account has.
ALICE, MALLORY = (1_000_000_000 + 2 * random.randrange(10**8) + each for each in (0, 1))
SESSION = "/user.slice/user-{}.slice/session-c7.scope"
OTHER_SESSION = "/user.slice/user-{}.slice/session-c8.scope"
BY_SYSTEMD = "/user.slice/user-{}.slice/user@{}.service"
CONNECT = """\
import socket, sys
client = socket.create_connection((sys.argv[1], int(sys.argv[2])), source_address=(sys.argv[3], 0))
print(*client.getsockname()[:2], *client.getpeername()[:2], flush=True)
sys.stdin.read()
"""


@dataclass
class Machine:
    """A machine with control groups as systemd makes them, and a host that its users connect to."""

    groups: Path
    processes: contextlib.ExitStack
    listener: socket.socket
    address: str
    """From which its users connect."""

    def run(self, group: str, uid: int, *program: str) -> subprocess.Popen[str]:
        """Run a program as a user in a control group."""
        folder = self.groups / group.format(uid, uid).lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)

        def enter() -> None:
            (folder / "cgroup.procs").write_text(str(os.getpid()))
            os.setresuid(uid, uid, uid)

        pipe = subprocess.PIPE
        process = subprocess.Popen(program, stdin=pipe, stdout=pipe, text=True, preexec_fn=enter)
        self.processes.enter_context(process)
        self.processes.callback(process.kill)
        return process

    def connect(self, group: str, uid: int) -> str:
        """A connection to another host that a user opens in a control group: what sshd says there."""
        host, port = self.listener.getsockname()[:2]
        program = "/usr/bin/python3", "-I", "-S", "-c", CONNECT
        process = self.run(group, uid, *program, host, str(port), self.address)
        assert process.stdout is not None
        return process.stdout.readline().rstrip("\n")

    def login(self, uid: int = ALICE, group: str = SESSION) -> AttachedLogin:
        """A login: its process runs as root."""
        path = group.format(uid, uid)
        process = self.run(path, 0, "sleep", "1000")
        xdg_session = path.rpartition("session-")[2].removesuffix(".scope")
        return AttachedLogin(process.pid, "alice", uid, "sshd", 12, xdg_session)


@pytest.fixture(params=[("203.0.113.2", "203.0.113.3"), ("2001:db8::2", "2001:db8::3")], ids=["IPv4", "IPv6"])
def here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    mounts = (line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines())
    groups = next(Path(each[4]) for each in mounts if "cgroup2" in each[each.index("-") :])
    monkeypatch.setattr(presence, "CGROUPS", str(groups))
    own, other = request.param
    family = socket.AF_INET6 if ":" in own else socket.AF_INET
    existed = (groups / "user.slice").exists()
    listener = socket.create_server((other, 0), family=family)
    with listener, contextlib.ExitStack() as processes:
        yield Machine(groups, processes, listener, own)
    for uid in (ALICE, MALLORY):
        for folder, _folders, _files in os.walk(groups / f"user.slice/user-{uid}.slice", topdown=False):
            wait_until(partial(is_removed, folder), f"{folder} has processes")
    if not existed:
        with contextlib.suppress(OSError):  # another run needs it
            (groups / "user.slice").rmdir()


def is_removed(folder: str) -> bool:
    """Remove a control group; False as long as processes that have ended are in it."""
    try:
        os.rmdir(folder)
    except OSError:
        return False
    return True


def kept(*logins: AttachedLogin, **facts: object) -> KeptSession:
    return replace(KEPT, attached=logins, **facts)  # type: ignore[arg-type]


def begins_in(
    session: KeptSession, connection: str, is_running: Callable[[AttachedLogin], bool] = lambda _login: True
) -> bool:
    assert connection
    return presence.begins_in(session, connection, is_running)


def test_the_users_own_connection_within_the_login_session_begins_in_it(here: Machine) -> None:
    session = kept(here.login())
    assert begins_in(session, here.connect(SESSION, ALICE))


def test_each_login_of_the_session_counts(here: Machine) -> None:
    session = kept(here.login(), here.login(group=OTHER_SESSION))
    assert begins_in(session, here.connect(OTHER_SESSION, ALICE))


@pytest.mark.parametrize(
    ("group", "uid"),
    [
        pytest.param(SESSION, MALLORY, id="another user in a session of their own"),
        pytest.param(SESSION.format(ALICE), MALLORY, id="another user within the session, by su"),
        pytest.param(SESSION.format(ALICE), 0, id="root within the session, by sudo"),
        pytest.param(OTHER_SESSION, ALICE, id="another login of the user"),
        pytest.param(BY_SYSTEMD, ALICE, id="a service of the user"),
        pytest.param("/", ALICE, id="a service of the machine"),
        pytest.param(SESSION + "/inner", ALICE, id="a control group within that of the session"),
    ],
)
def test_no_other_connection_begins_in_it(here: Machine, group: str, uid: int) -> None:
    session = kept(here.login())
    assert not begins_in(session, here.connect(group, uid))


def test_what_another_machine_connects_behind_the_same_address_does_not_begin_here(here: Machine) -> None:
    """Its connections are not among those of this machine, also if the user has one to the same host."""
    session = kept(here.login())
    host, port, *server = here.connect(SESSION, ALICE).split(" ")
    assert not begins_in(session, " ".join([host, str(int(port) ^ 1), *server]))


def test_what_begins_at_an_address_that_each_machine_has_does_not_begin_in_it(here: Machine) -> None:
    """Another user of both machines may see that one here, and make one there that looks alike."""
    session = kept(here.login())
    family = socket.AF_INET6 if ":" in here.address else socket.AF_INET
    loopback = "::1" if ":" in here.address else "127.0.0.1"
    with socket.create_server((loopback, 0), family=family) as server:
        elsewhere = replace(here, listener=server, address=loopback)
        connection = elsewhere.connect(SESSION, ALICE)
        assert sock_diag.owner_of_client(connection) is not None
        assert not begins_in(session, connection)


@pytest.mark.parametrize(
    "connection",
    [
        "127.0.0.1 40000 127.0.0.1 22",
        "192.0.2.7 40000 127.0.0.1 22",
        "::ffff:127.0.0.1 40000 192.0.2.7 22",
        "0.0.0.0 40000 192.0.2.7 22",
        "224.0.0.1 40000 192.0.2.7 22",
        "fe80::1 40000 fe80::2 22",
        "fe80::1%eth0 40000 fe80::2%eth0 22",
        "192.0.2.7 40000 ::ffff:192.0.2.7 22",
        "192.0.2.7 0 192.0.2.8 22",
        "192.0.2.7 40000 192.0.2.8",
        "UNKNOWN 65535 UNKNOWN 65535",
        "",
    ],
)
def test_a_connection_between_two_hosts_has_addresses_of_its_own(connection: str) -> None:
    assert presence.between_hosts(connection) is None
    assert presence.between_hosts("::ffff:192.0.2.7 40000 2001:DB8::8 22") == "192.0.2.7 40000 2001:db8::8 22"


@pytest.mark.parametrize(
    "facts",
    [
        {"state": State.APPROVED},
        {"state": State.ENDING},
        {"revoked": True},
        {"away": True},
        {"approved": 0.0},
        {"person": "bob"},
        {"person": ""},
        {"user": "admin"},
    ],
    ids=str,
)
def test_nothing_begins_in_a_session_that_is_not_open_covers_nothing_or_was_approved_by_a_second_person(
    here: Machine, facts: dict[str, object]
) -> None:
    session = kept(here.login(), **facts)
    assert not begins_in(session, here.connect(SESSION, ALICE))


def test_a_login_within_the_session_of_another_user_has_no_control_group_of_its_own(here: Machine) -> None:
    """By su: a user who is in that session may have a process of the user there, and sees the same logind session."""
    session = kept(replace(here.login(MALLORY), uid=ALICE))
    assert not begins_in(session, here.connect(SESSION.format(MALLORY), ALICE))
    assert not begins_in(session, here.connect(SESSION, ALICE))


def test_a_login_without_a_session_of_logind_has_none_either(here: Machine) -> None:
    login = here.login()
    connection = here.connect(SESSION, ALICE)
    assert not begins_in(kept(replace(login, xdg_session=None)), connection)
    in_its_service = here.run("/", 0, "sleep", "1000")
    assert not begins_in(kept(replace(login, pid=in_its_service.pid)), connection)


def test_a_login_whose_process_has_ended_counts_no_more(here: Machine, world: Setting) -> None:
    """What it has left goes on in its control group. Until the agent knows, its id may be that of another process."""
    login = here.login()
    connection = here.connect(SESSION, ALICE)
    with keeping(world) as kept_sessions:
        sessions = kept_sessions.sessions
        now = since_boot()  # else it is as old as the settings allow, and ends
        sessions.begin(kept(login, began=now, approved=now))
        assert not sessions.begins_in(KEPT.id, connection), "not watched"
        sessions.descriptors.add(WatchedProcess(KEPT.id, login.pid), os.pidfd_open(login.pid))
        assert sessions.begins_in(KEPT.id, connection)
        assert not sessions.begins_in("0" * 32, connection)
        os.kill(login.pid, 9)
        os.waitid(os.P_PID, login.pid, os.WEXITED | os.WNOWAIT)  # its entry in /proc is left
        assert not sessions.begins_in(KEPT.id, connection)
