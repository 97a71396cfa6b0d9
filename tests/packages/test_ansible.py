"""The Ansible role on a machine where nothing is installed: packages, settings, and a second factor for sudo."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.packages.administrator import NAMES, PACKAGES, PEOPLE, Administrator
from tests.packages.booted import Booted
from tests.packages.people import People, got_in, outcomes
from tests.packages.phone import PORT, token_of

ROLES = Path(__file__).parents[2] / "packaging/ansible/roles"
PLAY = [{"hosts": "localhost", "connection": "local", "roles": ["pam_iampass"]}]
#: Each is installed by itself: what another depends on comes first.
IN_ORDER = sorted(NAMES, key=lambda name: name != "python3-pam-iampass")


@pytest.fixture(scope="module")
def controlled(machine: Booted) -> Administrator:
    """An administrator who has accounts, Ansible, the role and the packages' files."""
    found = Administrator(machine)
    found.make_people()
    machine.run("apt-get", "install", "-y", "--no-install-recommends", "ansible-core", "python3-apt")
    subprocess.run(["cp", "-R", str(ROLES), str(machine.root / "root/roles")], check=True)
    for name in NAMES:
        [package] = PACKAGES.glob(f"{name}_*.deb")
        machine.copy_in(package, "/root/packages")
    return found


def play(machine: Booted, *services: str, secret: str = "not-known-yet", **settings: Any) -> tuple[int, str]:
    """Run the role; returns how many tasks changed something, and what was shown."""
    variables = {
        "ansible_python_interpreter": "/usr/bin/python3",
        "pam_iampass_application_id": "demo",
        "pam_iampass_application_secret": secret,
        "pam_iampass_packages": [
            f"/root/packages/{package.name}"
            for name in IN_ORDER
            for package in PACKAGES.glob(f"{name}_*.deb")
        ],
        "pam_iampass_settings": {"server": f"https://127.0.0.1:{PORT}", "timeout": "20s", **settings},
        "pam_iampass_users": {user: token_of(user) for user in PEOPLE},
        "pam_iampass_services": services,
    }
    machine.write("/root/play.yml", json.dumps(PLAY))
    machine.write("/root/variables.yml", json.dumps(variables), 0o600)
    shown = machine.run(
        *("env", "ANSIBLE_ROLES_PATH=/root/roles", "LC_ALL=C.UTF-8", "ansible-playbook", "-i", "localhost,"),
        *("-e", "@/root/variables.yml", "/root/play.yml"),
    ).stdout
    [changed] = re.findall(r"changed=(\d+)", shown)
    return int(changed), shown


def test_the_role_installs_switches_on_and_takes_back(
    machine: Booted, controlled: Administrator, people: People
) -> None:
    changed, shown = play(machine)
    assert changed > 0
    assert machine.run("dpkg", "--audit").stdout == ""
    assert machine.run("systemctl", "is-active", "pam-iampass-agent.socket").stdout == "active\n"
    assert got_in(people.sudo("alice"), "root"), "nothing asks yet"

    controlled.start_iampass()
    secret = machine.read("/etc/iampass/application-secret").strip()
    settings = {"secret": secret, "ca_file": "/etc/iampass/ca.pem"}
    _, shown = play(machine, "sudo", **settings)
    assert secret not in shown
    assert token_of("alice") not in shown
    cursor = machine.cursor()
    approved = people.sudo("alice")
    people.phone.approve("alice")
    assert got_in(approved, "root")
    denied = people.sudo("bob")
    people.phone.deny("bob")
    assert not got_in(denied, "root")
    assert outcomes(machine.journal(cursor)) == [
        ("approved", "success", "alice", "iampass-sudo"),
        ("denied", "denied", "bob", "iampass-sudo"),
    ]
    assert play(machine, "sudo", **settings)[0] == 0, "a second run changes nothing"

    assert play(machine, **settings)[0] == 1
    assert got_in(people.sudo("alice"), "root")
    assert outcomes(machine.journal(cursor))[2:] == []
    assert play(machine, **settings)[0] == 0
