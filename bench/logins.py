"""Whole ssh logins: logins per second, the time of one login, and its CPU in sshd."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from bench.measure import Section, median
from tests.support.agent import RunningAgent
from tests.support.sshd import Sshd

#: More users than concurrent logins: two logins of one user have their requests one after the other.
PEOPLE = tuple(f"person{number}" for number in range(8))
SCRIPT = "#!/bin/sh\necho\n"


def measure(sshds: Mapping[str, Sshd], askpass: str, count: int) -> Section:
    """Log in `count` times, four at once, with phones that approve at once."""
    title = "Whole ssh logins, key and phone"
    print(title)
    section = Section(title, ["logins per second", "one login s", "CPU in sshd ms"])
    for way, sshd in sshds.items():
        _measure(section, way, sshd, askpass, count)
    return section


def cpu_of_children(pid: int) -> float:
    """The CPU seconds of the ended children of a process, and of theirs (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def _measure(section: Section, name: str, sshd: Sshd, askpass: str, count: int) -> None:
    def log_in(number: int) -> float:
        began = time.monotonic()
        person = PEOPLE[number % len(PEOPLE)]
        command = ["setsid", *sshd.command(person, "true", options=("NumberOfPasswordPrompts=1",))]
        environment = {
            "PATH": "/usr/bin",
            "SSH_ASKPASS": askpass,
            "SSH_ASKPASS_REQUIRE": "force",
            "HOME": "/root",
        }
        subprocess.run(command, check=True, env=environment, stdin=subprocess.DEVNULL, capture_output=True)
        return time.monotonic() - began

    with RunningAgent():
        log_in(0)
        began, before = time.monotonic(), cpu_of_children(sshd.pid)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(log_in, range(count)))
        rate = count / (time.monotonic() - began)
        cpu = (cpu_of_children(sshd.pid) - before) / count
        alone = median([log_in(number) for number in range(5)])
        section.add(name, **{"logins per second": rate, "one login s": alone, "CPU in sshd ms": 1000 * cpu})
