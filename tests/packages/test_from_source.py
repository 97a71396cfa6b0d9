"""docs/one-server/install.md, "From source": typed on a machine without the packages, up to logins through sshd and
sudo."""

from __future__ import annotations

import subprocess

import pytest

from tests.packages.administrator import Administrator
from tests.packages.booted import Booted
from tests.packages.people import People, got_in
from tests.packages.typed_page import ROOT, TypedPage

FROM_SOURCE = (
    "apt install gcc make libpam0g-dev",
    "apt install python3-click python3-pampy python3-rich python3-segno python3-six python3-systemd python3-yaml",
    "apt install python3-aiohttp python3-trustme",
    "make install account",
    "systemctl daemon-reload",
    "systemctl enable --now pam-iampass-agent.socket pam-iampass-enforcer.socket",
)


@pytest.fixture(scope="module")
def administrator(machine: Booted) -> Administrator:
    """An administrator who has made accounts, and has a clone of the repository."""
    found = Administrator(machine)
    found.make_people()
    clone = machine.root / "root/pam-iampass"
    clone.mkdir()
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", "HEAD"], check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", str(clone)], input=archive.stdout, check=True)
    return found


def test_what_is_installed_from_source_asks_the_phone(
    machine: Booted, administrator: Administrator, people: People
) -> None:
    page = TypedPage("docs/one-server/install.md")
    for command in FROM_SOURCE:
        typed = page.command("From source", command).replace("apt install", "apt install -y")
        machine.shell(f"cd /root/pam-iampass; export DEBIAN_FRONTEND=noninteractive; {typed} 2>&1")
    assert machine.run("stat", "-c", "%U:%G %a", "/etc/iampass/iampass.yaml").stdout == "root:_iampass 640\n"
    administrator.start_iampass()
    administrator.configure()
    assert "All is well." in machine.run("pam-iampass", "check", "--settings").stdout
    administrator.set_up("sshd", "sudo")
    machine.reboot()
    administrator.start_iampass()
    login = people.ssh("alice")
    people.phone.approve("alice")
    assert got_in(login, "alice")
    sudo = people.sudo("alice")
    people.phone.approve("alice")
    assert got_in(sudo, "root")
    report = machine.run("pam-iampass", "check", check=False).stdout
    assert not [line for line in report.splitlines() if line.startswith("error")], report
    administrator.undo()
    assert got_in(people.ssh("alice"), "alice")
