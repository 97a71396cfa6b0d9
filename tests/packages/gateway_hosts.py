"""The machines of a fleet: a gateway, IAMPASS on the same machine, and hosts of both releases that reach both."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.packages.administrator import NAMES, PACKAGES, Administrator, built
from tests.packages.booted import PATIENCE, Booted
from tests.packages.people import People, got_in
from tests.packages.phone import STATE, Phone

IAMPASS = 9443
IAMPASS_NAME = "iampass.example.com"
SECRET = "s3cret-of-the-application"
GATEWAY = "gateway.example.com"


class Host:
    """A machine that joins, with accounts on it."""

    def __init__(self, machine: Booted, name: str, packages: tuple[Path, ...]) -> None:
        self.machine = machine
        self.name = name
        self.administrator = Administrator(machine, ("alice", "bob"))
        self.administrator.make_people()
        for package in packages:
            machine.copy_in(package, "/root/packages")

    def type(self, command: str, check: bool = True) -> str:
        """Type a command in the folder with the packages."""
        done = self.machine.run(
            "sh", "-c", f"cd /root/packages && DEBIAN_FRONTEND=noninteractive {command}", check=check
        )
        return done.stdout + done.stderr

    def log_in(self, phone: Phone, user: str, verb: str = "approve") -> bool:
        """ssh with a key and the phone; whether it let the user in. Without a verb the phone must not ring."""
        self.machine.run("pam-iampass", "throttle", "clear", user)  # after a denial each login would wait
        before = {each["id"] for each in phone.requests()}
        login = People(self.machine).ssh(user)
        if verb:
            until = time.monotonic() + PATIENCE
            while not (new := [each["id"] for each in phone.requests() if each["id"] not in before]):
                assert time.monotonic() < until, login.shown
                time.sleep(0.1)
            phone.answer(new[0], verb)
        return got_in(login, user)


@contextmanager
def hosts_of(gateway: Booted, root: Path) -> Iterator[list[Host]]:
    """A host of Debian 13, and one of Debian 12 if its packages were built too, else a second one of Debian 13."""
    older = os.environ.get("PACKAGES_BOOKWORM_ROOT")
    places = [(root, PACKAGES), (Path(older), PACKAGES.parent / "bookworm") if older else (root, PACKAGES)]
    booted = []
    try:
        for number, (source, _) in enumerate(places, 1):
            host = Booted(source)
            booted.append(host)
            host.boot()
            connect(gateway, host, number)
        yield [
            Host(machine, f"web{number}.example.com", built(NAMES[:1], packages))
            for number, (machine, (_, packages)) in enumerate(zip(booted, places), 1)
        ]
    finally:
        for machine in booted:
            machine.close()


def connect(gateway: Booted, host: Booted, number: int) -> None:
    """A cable between two machines; the host finds the gateway by its name."""
    ends = (f"host{number}", str(gateway.pid)), ("gateway", str(host.pid))
    words = ["ip", "link", "add", ends[0][0], "netns", ends[0][1], "type", "veth"]
    subprocess.run([*words, "peer", "name", ends[1][0], "netns", ends[1][1]], check=True)
    for last, (name, pid) in enumerate(ends, 1):
        inside = ["nsenter", "-t", pid, "--net", "ip"]
        subprocess.run([*inside, "address", "add", f"10.77.{number}.{last}/24", "dev", name], check=True)
        subprocess.run([*inside, "link", "set", name, "up"], check=True)
    host.shell(
        f"echo 10.77.{number}.1 {IAMPASS_NAME} {GATEWAY} >> /etc/hosts; echo web{number}.example.com > /etc/hostname"
    )
    host.run("hostname", f"web{number}.example.com")


def start_iampass(machine: Booted, *users: str) -> None:
    """A sandbox for IAMPASS on the gateway's machine, with these users."""
    command = f"pam-iampass sandbox --listen 0.0.0.0:{IAMPASS} --allow-remote --name 127.0.0.1"
    command += f" --name {IAMPASS_NAME} --application-id my-application --application-secret {SECRET}"
    command += f" --state {STATE} {' '.join(f'--user {user}' for user in users)}"
    unit = f"[Service]\nExecStart={command}\nStandardOutput=truncate:/run/sandbox.log\n"
    machine.write("/etc/systemd/system/sandbox.service", unit)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "sandbox")
    machine.shell("timeout 120 sh -c 'until grep -q \"^Sandbox ready\" /run/sandbox.log; do sleep 0.1; done'")
    machine.shell(f"install -m 0644 {STATE}/ca.pem /etc/iampass-ca.pem")


def invited(gateway: Booted, command: str) -> str:
    """The command that `host invite` prints."""
    (found,) = re.findall(r"^ +(pam-iampass join .*)$", gateway.run("sh", "-c", command).stdout, re.M)
    return str(found)
