"""The ends of processes are noticed, and their descriptors outlive the agent."""

from __future__ import annotations

import array
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pam_iampass.session.descriptors import Descriptors, WatchedProcess
from tests.support.deadline import PATIENCE
from tests.support.in_time import in_time
from tests.support.sessions import keeping
from tests.support.setting import Setting

IDENT = "5f0c" * 8


@pytest.fixture
def program() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as found:
        yield found
        found.kill()


@pytest.fixture
def systemd(own_folder: Path) -> Iterator[socket.socket]:
    """Where systemd listens for sd_notify(3)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(own_folder / "notify"))
        found.settimeout(PATIENCE)
        yield found


def received(systemd: socket.socket) -> tuple[list[str], list[int]]:
    """One message: its lines and its descriptors."""
    data, ancillary, _flags, _address = systemd.recvmsg(4096, socket.CMSG_SPACE(4))
    descriptors = array.array("i")
    for _level, _type, content in ancillary:
        descriptors.frombytes(content)
    return data.decode().split("\n"), list(descriptors)


@dataclass(frozen=True)
class Added:
    """A process is watched."""

    descriptors: Descriptors
    elapsed: float
    """Seconds."""


def watched(descriptor: int) -> int | None:
    """The process of a pidfd; None where the number is now that of something else, or of nothing."""
    with contextlib.suppress(FileNotFoundError):
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("Pid:")), None)
    return None


def test_a_user_who_floods_the_socket_of_systemd_delays_no_login_and_loses_no_descriptor(
    systemd: socket.socket, program: subprocess.Popen[bytes]
) -> None:
    sent = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as user:
        user.connect(systemd.getsockname())
        user.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += user.send(b".")
    process = WatchedProcess(IDENT, program.pid)

    def added() -> Added:
        descriptors, began = Descriptors(systemd.getsockname()), time.monotonic()
        descriptors.add(process, os.pidfd_open(program.pid))
        return Added(descriptors, time.monotonic() - began)

    descriptors = in_time(added, 0.9).descriptors
    assert [received(systemd)[0] for _ in range(sent)] == [["."]] * sent
    assert descriptors.wait(0.0) == []
    lines, (pidfd,) = received(systemd)
    assert lines == ["FDSTORE=1", "FDPOLL=0", f"FDNAME={process.name}"]
    os.close(pidfd)
    descriptors.remove(process)
    assert received(systemd) == (["FDSTOREREMOVE=1", f"FDNAME={process.name}"], [])


def test_the_end_of_a_process_is_noticed_however_it_ends(program: subprocess.Popen[bytes]) -> None:
    descriptors, process = Descriptors(""), WatchedProcess(IDENT, program.pid)
    descriptors.add(process, os.pidfd_open(program.pid))
    assert descriptors.wait(0.0) == []
    program.kill()
    assert descriptors.wait(PATIENCE) == [process]
    assert descriptors.wait(0.0) == []


def test_a_number_that_is_used_again_is_not_taken_for_the_process_that_had_it(
    program: subprocess.Popen[bytes],
) -> None:
    descriptors = Descriptors("")
    with subprocess.Popen(["sleep", "1000"]) as other:
        number = os.pidfd_open(other.pid)
        descriptors.add(WatchedProcess(IDENT, other.pid), number)
        other.kill()
        poll = descriptors._epoll.poll

        class Between:
            """The end is seen, and before it is looked up the number belongs to another process."""

            def poll(self, seconds: float) -> list[tuple[int, int]]:
                ready = poll(20.0)
                descriptors._epoll = epoll
                again = os.pidfd_open(program.pid)
                descriptors.remove(WatchedProcess(IDENT, other.pid))
                os.dup2(again, number, inheritable=False)
                os.close(again)
                descriptors.add(WatchedProcess(IDENT, program.pid), number)
                return ready

        epoll, descriptors._epoll = descriptors._epoll, Between()  # type: ignore[assignment]
        assert descriptors.wait(PATIENCE) == []


def test_waiting_can_be_interrupted() -> None:
    descriptors = Descriptors("")
    descriptors.wake()
    descriptors.wake()
    assert descriptors.wait(PATIENCE) == []


def test_a_descriptor_that_systemd_kept_is_used_by_the_next_agent(world: Setting) -> None:
    with keeping(world) as agent:
        ident, login = agent.log_in()
        stored = os.pidfd_open(login.pid)
        unknown = os.pidfd_open(os.getpid())
        agent.stop()
        agent.start({f"{ident}.{login.pid}": stored, f"{IDENT}.1": unknown})
        assert watched(unknown) != os.getpid()
        assert watched(stored) == login.pid
        login.end(signal.SIGKILL)
        agent.wait_until_forgotten(ident)
    world.wait_for_ends()
