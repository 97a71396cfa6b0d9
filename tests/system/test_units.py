"""The systemd units, as systemd itself judges them."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.installation import ROOT, Installation

UNITS = ROOT / "packaging/systemd"


@pytest.mark.parametrize("service", ["pam-iampass-agent", "pam-iampass-enforcer@"])
def test_the_services_are_hardened(machine: Installation, service: str) -> None:
    unit = UNITS / f"{service}.service"
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", str(unit)]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout[-400:] + judged.stderr


def test_systemd_understands_the_units(machine: Installation) -> None:
    units = [
        "/usr/lib/systemd/system/pam-iampass-agent.socket",
        "/usr/lib/systemd/system/pam-iampass-agent.service",
        "/usr/lib/systemd/system/pam-iampass-enforcer.socket",
        "/usr/lib/systemd/system/pam-iampass-enforcer@.service",
        *(f"/usr/lib/systemd/system/pam-iampass-watch.{kind}" for kind in ("path", "service", "timer")),
        "/usr/lib/systemd/system/pam-iampass-watch-again.service",
    ]
    verified = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False
    )
    assert "pam-iampass" not in verified.stderr, verified.stderr
    assert verified.returncode == 0


def test_the_agent_is_back_within_a_second_after_twenty_ends_and_ever_after_before_a_door_gives_up() -> None:
    """It waits longer each time: one that ends at each start must not fill the journal."""
    unit = (UNITS / "pam-iampass-agent.service").read_text()
    first, steps, most = (
        float(re.findall(rf"^{key}=([0-9]+)", unit, re.M)[0])
        for key in ("RestartSec", "RestartSteps", "RestartMaxDelaySec")
    )
    first /= 1000  # RestartSec= is in milliseconds
    assert first * (most / first) ** (20 / steps) < 0.5
    assert 1.0 < most < 5.0 / 2


#: Forbids system calls by number, then does what a login does with the state below FOLDER.
AS_THE_AGENT = """
import ctypes, json, struct, sys
numbers, families, call, folder, sys.path[:] = json.loads(sys.argv[1])
from pam_iampass.config.settings import ThrottleSettings
from pam_iampass.audit.journal import Journal
from pam_iampass.login.agent_state import AgentState
from pam_iampass.login.rate_limit import RequestResult
from pam_iampass.system.inet_diag import PeerWatch
import json, socket

def step(code, true, false, value):
    return struct.pack("HBBI", code, true, false, value)

program = step(0x20, 0, 0, 0)  # load the number of the system call
for number in numbers:
    program += step(0x15, 0, 1, number) + step(0x06, 0, 0, 0x00050000 | 1)  # that one: EPERM
program += step(0x15, 0, len(families) + 2, call) + step(0x20, 0, 0, 16)  # socket(): load the family
for number, family in enumerate(families):
    program += step(0x15, len(families) - number, 0, family)  # a family of the unit: allow
program += step(0x06, 0, 0, 0x00050000 | 97)  # another one: EAFNOSUPPORT
program += step(0x06, 0, 0, 0x7FFF0000)  # all others: allow
buffer = ctypes.create_string_buffer(program)

class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_void_p)]

libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
wanted = Filter(len(program) // 8, ctypes.addressof(buffer))
assert libc.prctl(22, 2, ctypes.byref(wanted), 0, 0) == 0, ctypes.get_errno()
state = AgentState(Journal(), folder + "/state/state.db")
print(len(state.recovery_codes.renew("alice")))
limits = ThrottleSettings(30.0, 900.0, 30, 10, 3.0)
with state.rate_limit("alice").queued(limits, 1.0) as queued:
    queued.record(RequestResult.FAILED)
state.database.close()
print(state.problem or len(state.throttle("alice").failures))
with socket.create_server(("127.0.0.1", 0)) as listener:
    client = socket.create_connection(listener.getsockname())
    peer, server = client.getsockname(), listener.getsockname()
    watch = PeerWatch(f"{peer[0]} {peer[1]} {server[0]} {server[1]}")
    print(watch.has_hung_up())
    client.close()
    print(watch.has_hung_up())
try:
    socket.socket(socket.AF_PACKET)
except OSError as error:
    print(error.errno)
"""


def test_the_agent_can_do_its_work_with_the_system_calls_and_sockets_that_its_unit_leaves(
    trusted_folder: Path,
) -> None:
    unit = (UNITS / "pam-iampass-agent.service").read_text()
    denied = set().union(
        *(calls_of(name) for name in re.findall(r"^SystemCallFilter=~(.*)$", unit, re.M)[0].split())
    )
    assert {"fchown", "setuid"} <= denied
    header = Path(f"/usr/include/{os.uname().machine}-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        header = Path("/usr/include/asm-generic/unistd.h")
    numbers = dict(re.findall(r"^#define __NR_(\w+)\s+(\d+)$", header.read_text(), re.M))
    (trusted_folder / "state").mkdir(mode=0o700)
    families = re.findall(r"^RestrictAddressFamilies=(.*)$", unit, re.M)[0].split()
    wanted = [
        [int(numbers[name]) for name in sorted(denied & {*numbers})],
        [int(getattr(socket, family)) for family in families],
        int(numbers["socket"]),
        str(trusted_folder),
        [str(ROOT), *sys.path],
    ]
    command = [sys.executable, "-c", AS_THE_AGENT, json.dumps(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["10", "1", "False", "True", "97"], done.stderr


def calls_of(group: str) -> set[str]:
    """The system calls of a group of systemd's (systemd.exec(5), SystemCallFilter)."""
    if not group.startswith("@"):
        return {group}
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    members = [line.split("#")[0].strip() for line in listed[1:]]
    return set().union(*(calls_of(member) for member in members if member))
