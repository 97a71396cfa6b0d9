"""A PAM file that loses our lines has them again within seconds, or a record of priority crit says that it has not.

Packages and roles write the file. What a person put out of force, and how often the file is edited anew, is in
tests/unit/setup/test_watch.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from syslog import LOG_WARNING

import pytest

from tests.packages.booted import Booted
from tests.packages.switched_on import WAYS, Site

RELEASE = os.environ.get("PACKAGES_RELEASE", "trixie")
PACKAGES = {"sshd": "openssh-server", "sudo": "sudo"}
#: How each service lets a person in who has nothing special.
LOGINS = {"sshd": "quiet:key", "sudo": "sudo"}
#: How long a file may be without our lines, in seconds.
SOON = 20.0
OURS = re.compile(r"^[^#\n]*pam_iampass\.so", re.M)

EVENTS = {
    "the package is installed again": "apt-get install -y --reinstall PACKAGE",
    "an upgrade asks, and the file is kept": "echo n | dpkg --install NEWER",
    "an upgrade asks, and the file is replaced": "echo y | dpkg --install NEWER",
    "an upgrade is told to keep the file": "dpkg --force-confold --install NEWER < /dev/null",
    "an upgrade is told to replace the file": "dpkg --force-confnew --install NEWER < /dev/null",
    "an upgrade cannot ask, and is completed later": """
        ! dpkg --install NEWER < /dev/null
        dpkg --force-confdef --force-confold --configure --pending < /dev/null""",
    "a role writes its file": "cat /root/role/FILE > /etc/pam.d/FILE",
    "a role moves its file there": "cp /root/role/FILE /etc/pam.d/.new; mv /etc/pam.d/.new /etc/pam.d/FILE",
}
"""What happens to FILE of PACKAGE, of which there is a newer version with another file."""


class Newer:
    """Newer versions of packages, each with another PAM file."""

    def __init__(self, machine: Booted, root: Path, folder: Path) -> None:
        self._machine, self._root, self._folder = machine, root, folder
        self._number = 0

    def of(self, service: str) -> str:
        """The path on the machine."""
        self._number += 1
        [current] = (self._root / "var/cache/apt/archives").glob(f"{PACKAGES[service]}_*.deb")
        tree, made = self._folder / "tree", self._folder / f"{PACKAGES[service]}-{self._number}.deb"
        subprocess.run(["dpkg-deb", "--raw-extract", str(current), str(tree)], check=True)
        control = tree / "DEBIAN/control"
        control.write_text(re.sub(r"(?m)^(Version: .*)$", rf"\1+new{self._number}", control.read_text()))
        with (tree / "etc/pam.d" / service).open("a") as file:
            file.write(f"# As of version {self._number}.\n")
        build = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(made)]
        subprocess.run(build, check=True, capture_output=True)
        subprocess.run(["rm", "-rf", str(tree)], check=True)
        self._machine.copy_in(made, "/root/newer")
        return f"/root/newer/{made.name}"


@pytest.fixture(scope="module")
def site(machine: Booted) -> Iterator[Site]:
    """A machine on which everybody approves; below /root/role are the files as a role would write them."""
    site = Site(machine, RELEASE)
    site.prepare()
    site.administrator.undo()
    machine.shell("mkdir /root/role; cp /etc/pam.d/sshd /etc/pam.d/sudo /root/role")
    with site.answering():
        yield site


@pytest.fixture
def switched_on(site: Site) -> Site:
    """sshd and sudo ask the phone, as if they had just been set up."""
    site.administrator.undo()
    site.administrator.set_up("sshd", "sudo")
    return site


@pytest.fixture(scope="module")
def newer(machine: Booted, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Newer:
    """Packages for upgrades."""
    return Newer(machine, root, tmp_path_factory.mktemp("newer"))


def happens(site: Site, event: str, service: str, newer: str = "") -> None:
    """Let an event happen to the file of a service."""
    words = {"PACKAGE": PACKAGES[service], "NEWER": newer, "FILE": service}
    script = re.sub("|".join(words), lambda match: words[match.group()], EVENTS[event])
    site.machine.shell(f"export DEBIAN_FRONTEND=noninteractive\n{script}")


def is_on(site: Site, service: str) -> bool:
    """Whether a line of ours is in force in the service's file."""
    return bool(OURS.search(site.machine.read(f"/etc/pam.d/{service}")))


def is_soon_on(site: Site, service: str) -> bool:
    """Whether it is within seconds."""
    until = time.monotonic() + SOON
    while not is_on(site, service) and time.monotonic() < until:
        time.sleep(0.2)
    return is_on(site, service)


def login(site: Site, service: str) -> str:
    """What a login through the service comes to (switched_on.Seen)."""
    [way] = (way for way in WAYS if way.name == LOGINS[service])
    return site.log_in("good", way).cell


@pytest.mark.parametrize("event", EVENTS)
def test_the_phone_is_on_again_within_seconds_when(switched_on: Site, newer: Newer, event: str) -> None:
    for service in PACKAGES:
        happens(switched_on, event, service, newer.of(service) if "NEWER" in EVENTS[event] else "")
        assert is_soon_on(switched_on, service)
        assert login(switched_on, service) == "in*"


def test_a_file_that_is_written_while_others_are_looked_at_is_not_missed(switched_on: Site) -> None:
    begun = switched_on.machine.cursor()
    for _ in range(2):
        switched_on.machine.shell(
            "cat /root/role/sshd > /etc/pam.d/sshd; sleep 0.5; cat /root/role/sudo > /etc/pam.d/sudo"
        )
        assert [is_soon_on(switched_on, service) for service in PACKAGES] == [True, True]
    found = switched_on.machine.journal_now(begun)
    of_systemd = [one for one in found if one.get("UNIT", "").startswith("pam-iampass-watch")]
    assert of_systemd != []
    warnings = [one["MESSAGE"] for one in of_systemd if int(one["PRIORITY"]) <= LOG_WARNING]
    assert [
        one for one in warnings if "Failed to read pids.max" not in one
    ] == []  # systemd 262 in a container


def test_the_watch_says_so_to_node_exporter(switched_on: Site) -> None:
    happens(switched_on, "a role writes its file", "sudo")
    assert is_soon_on(switched_on, "sudo")
    restored = 'iampass_pam_restored_timestamp_seconds{service="sudo"} '
    switched_on.machine.shell(
        f"for i in $(seq 60); do grep -q '^{restored}' /run/iampass/pam-files.prom && exit; sleep 0.5; done; exit 1"
    )
    text = switched_on.machine.read("/run/iampass/pam-files.prom")
    assert [f'iampass_pam_in_force{{service="{service}"}} 1\n' in text for service in PACKAGES] == [
        True,
        True,
    ]
    shown = switched_on.machine.run("stat", "-c", "%U:%G %a", "/run/iampass/pam-files.prom").stdout
    assert shown == "root:root 644\n"
