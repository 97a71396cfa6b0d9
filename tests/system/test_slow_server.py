"""A server that sends byte by byte for ever: logins end at their deadline, and the agent keeps nothing of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.agent import AT_REST, RunningAgent
from tests.support.in_time import BUSY
from tests.support.installation import ETC, Installation
from tests.support.journald import Journald
from tests.support.sandbox import Sandbox
from tests.support.scripted_server import Step, answer, raw, scripted_server, slow_handshake
from tests.support.world import wait_until

SERVICE = Path("/etc/pam.d/slow-server")
#: Seconds. A door waits one second longer.
TIMEOUT = 3
ROUNDS = 4
#: Each byte comes in time for any time-out of a single operation.
DRIPS: tuple[Step, ...] = (
    slow_handshake(0.1),
    raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 60_000).dripping(body=0.01),
    raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 3_000).dripping(body=0.01),
    answer(200, body=b" " * 60_000).dripping(body=0.01),
    raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 9_000).dripping(body=0.01),
    raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 9_000
    ).dripping(body=0.01),
)


@pytest.fixture
def service(
    machine: Installation, sandbox: Sandbox, journald: Journald, agent: RunningAgent
) -> Iterator[None]:
    people = [f"slow{number}" for number in range(ROUNDS * len(DRIPS))]
    with Path("/etc/passwd").open("a") as accounts:
        accounts.writelines(
            f"{name}:x:{40000 + number}:65534::/nonexistent:/bin/sh\n" for number, name in enumerate(people)
        )
    SERVICE.write_text("auth required pam_iampass.so\n")
    machine.configure(sandbox, timeout=f"{TIMEOUT}s")
    machine.forget()
    machine.write_users("".join(f"{name}: t-{name}\n" for name in people))
    yield
    SERVICE.unlink()


def log_in(name: str) -> float:
    """How long a login took that must fail."""
    began = time.monotonic()
    command = ["pamtester", SERVICE.name, name, "authenticate"]
    assert subprocess.run(command, check=False, capture_output=True, stdin=subprocess.DEVNULL).returncode
    return time.monotonic() - began


def used(pid: int) -> tuple[int, int]:
    """The descriptors of a process, and its memory in KiB."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return len(os.listdir(f"/proc/{pid}/fd")), int(status["VmRSS"].split()[0])


def test_logins_end_at_their_deadline_and_leave_no_thread_descriptor_or_memory_behind(
    service: None, machine: Installation, agent: RunningAgent
) -> None:
    pid, found = agent.pid(), []
    with scripted_server(*DRIPS * ROUNDS) as server, ThreadPoolExecutor(len(DRIPS)) as pool:
        authority = ETC / "slow.pem"
        shutil.copyfile(server.ca_file, authority)
        machine.change(server=server.url, ca_file=str(authority))
        for number in range(ROUNDS):
            first = number * len(DRIPS)
            took = list(pool.map(log_in, [f"slow{first + place}" for place in range(len(DRIPS))]))
            assert max(took) < TIMEOUT + 1.0 + BUSY
            wait_until(lambda: len(os.listdir(f"/proc/{pid}/task")) == AT_REST, "the agent is still at work")
            found.append(used(pid))
    descriptors, memory = zip(*found[1:])  # the first round loads what is loaded once
    assert len(set(descriptors)) == 1, found
    assert memory[-1] - memory[0] < 2048, found
