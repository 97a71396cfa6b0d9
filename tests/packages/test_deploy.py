"""docs/deploy.md, "Many machines": by Ansible over ssh, from nobody asked to everybody asked, and back."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.packages.administrator import NAMES, PACKAGES, PASSWORD, Administrator
from tests.packages.booted import Booted
from tests.packages.client_runs import judge, play
from tests.packages.client_table import ANSIBLE
from tests.packages.clients import Client, Way
from tests.packages.people import People, got_in, outcomes
from tests.packages.phone import PORT
from tests.support.terminal import Terminal

ROLES = Path(__file__).parents[2] / "packaging/ansible/roles"
#: Creates the group whose members are asked, and adds a team to it.
SITE = """\
- hosts: all
  become: true
  pre_tasks:
    - ansible.builtin.group: {name: iampass-users}
    - ansible.builtin.user: {name: "{{ item }}", groups: [iampass-users], append: true}
      loop: "{{ team }}"
  roles: [pam_iampass]
"""
AUTOMATION = "deploy"
SERVER = {"server": f"https://127.0.0.1:{PORT}", "timeout": "30s", "ca_file": "/etc/iampass/ca.pem"}
CONFIGURATION = """\
[defaults]
roles_path = /root/roles
[ssh_connection]
pipelining = true
"""


class Controller:
    """Where Ansible runs: root's account on the machine itself, which Ansible reaches by ssh."""

    def __init__(self, machine: Booted) -> None:
        self.machine = machine
        self.secret = "not-known-yet"

    def start(self, user: str, *services: str, variables: dict[str, Any]) -> Terminal:
        """Run the role as the user, who types a password for sudo."""
        everything = {
            "ansible_become_password": PASSWORD,
            "pam_iampass_application_id": "demo",
            "pam_iampass_application_secret": self.secret,
            "pam_iampass_packages": [
                f"/root/packages/{package.name}"
                for name in NAMES
                for package in PACKAGES.glob(f"{name}_*.deb")
            ],
            "pam_iampass_services": services,
            "team": [],
            **variables,
        }
        self.machine.write("/root/variables.yml", json.dumps(everything), 0o600)
        command = "LC_ALL=C.UTF-8 ansible-playbook -i 127.0.0.1, -e @/root/variables.yml /root/site.yml -u"
        return self.machine.terminal("sh", "-c", f"{command} {user}")

    def run(self, *services: str, **variables: Any) -> int:
        """Run the role as the automation account; returns how many tasks changed something."""
        return self.changed(self.start(AUTOMATION, *services, variables=variables))

    def changed(self, terminal: Terminal) -> int:
        """How many tasks of a run changed something, once it has ended well."""
        terminal.timeout = 250
        status = terminal.finish()
        if status != 0:
            print(self.machine.run("journalctl", "-n", "100", "-o", "short-monotonic").stdout)
        assert status == 0, terminal.shown
        [number] = re.findall(r"changed=(\d+)", terminal.shown)
        return int(number)


def token_in(machine: Booted, user: str) -> str:
    """The user's token in the table."""
    return str(json.loads(machine.run("pam-iampass", "user", "show", user, "--json").stdout)["token"])


@pytest.fixture(scope="module")
def administrator(machine: Booted) -> Administrator:
    """An administrator who has accounts, but has installed nothing."""
    found = Administrator(machine)
    found.make_people()
    machine.shell(
        f"""
        groupadd automation
        useradd --create-home --shell /bin/sh --groups sudo,automation {AUTOMATION}
        echo '{AUTOMATION}:{PASSWORD}' | chpasswd
        cp -R /home/alice/.ssh /home/{AUTOMATION}/
        for user in alice {AUTOMATION}; do
            echo "precious of $user" > /home/$user/precious
            chown -R $user: /home/$user
        done
        """
    )
    return found


@pytest.fixture(scope="module")
def controller(machine: Booted, administrator: Administrator, people: People) -> Controller:
    """Ansible, the role, and what it installs; logins are as before."""
    machine.run("apt-get", "install", "-y", "--no-install-recommends", "ansible-core", "python3-apt")
    subprocess.run(["cp", "-R", str(ROLES), str(machine.root / "root/roles")], check=True)
    machine.write("/root/site.yml", SITE)
    machine.write("/root/.ansible.cfg", CONFIGURATION)
    machine.write("/root/.ssh/config", "IdentityFile /root/key\nUserKnownHostsFile /root/known-hosts\n")
    for name in NAMES:
        [package] = PACKAGES.glob(f"{name}_*.deb")
        machine.copy_in(package, "/root/packages")
    found = Controller(machine)
    cursor = machine.cursor()
    assert found.run(pam_iampass_settings={"server": SERVER["server"]}) > 0
    assert machine.run("dpkg", "--audit").stdout == ""
    assert machine.run("systemctl", "is-active", "pam-iampass-agent.socket").stdout == "active\n"
    assert got_in(people.sudo("alice"), "root")
    assert outcomes(machine.journal(cursor)) == []
    administrator.start_iampass()
    found.secret = machine.read("/etc/iampass/application-secret").strip()
    return found


@pytest.mark.timeout(900)
def test_from_nobody_asked_to_everybody_asked_and_back(
    machine: Booted, administrator: Administrator, controller: Controller, people: People
) -> None:
    # 1. Switch everything on, and ask nobody.
    exempt = {"users": ["root"], "groups": ["automation"]}
    settings: dict[str, Any] = {**SERVER, "exempt": exempt, "asked": {"groups": ["iampass-users"]}}
    assert controller.run("sshd", "sudo", pam_iampass_settings=settings) > 0
    cursor = machine.cursor()
    assert got_in(people.ssh("alice"), "alice")
    assert got_in(people.sudo("alice"), "root")
    assert outcomes(machine.journal(cursor)) == [
        ("exempt", "ignored", "alice", "sshd"),
        ("exempt", "ignored", "alice", "sudo"),
    ]

    assert machine.run("pam-iampass", "log", "--outcome", "exempt", "alice").stdout.count("exempt") >= 2

    # 2. Enroll, on one machine; take the table from there.
    machine.write("/root/people.csv", "user\nalice\nbob\n")
    report = machine.run("pam-iampass", "enroll", "--from", "/root/people.csv", check=False).stdout
    links = re.findall(rf"https://127.0.0.1:{PORT}(/register/[A-Za-z0-9_-]+)", report)
    assert len(links) == 2, report
    for link in links:
        people.phone.register(link)
    assert (
        "2 users: 2 have a phone."
        in machine.run("pam-iampass", "enroll", "--from", "/root/people.csv").stdout
    )
    machine.shell("cat /etc/iampass/users.d/*.yaml > /root/users.yaml")
    table = {"pam_iampass_users": "{{ lookup('ansible.builtin.file', '/root/users.yaml') | from_yaml }}"}
    tokens = {user: token_in(machine, user) for user in ("alice", "bob")}

    # 3. One team after the other.
    controller.run("sshd", "sudo", pam_iampass_settings=settings, team=["alice"], **table)
    cursor = machine.cursor()
    assert got_in(people.ssh("bob"), "bob")
    asked = people.ssh("alice")
    people.phone.approve(token=tokens["alice"])
    assert got_in(asked, "alice")
    assert outcomes(machine.journal(cursor)) == [
        ("exempt", "ignored", "bob", "sshd"),
        ("approved", "success", "alice", "sshd"),
    ]

    # 4. Everybody. A user can run the role, too.
    del settings["asked"]
    run = ("pam-iampass", "user", "list", "--only", "without-token")
    assert "carol" not in machine.run(*run).stdout
    controller.run("sshd", "sudo", pam_iampass_settings=settings, **table)
    assert "carol" in machine.run(*run).stdout
    cursor = machine.cursor()
    machine.write("/etc/sudoers.d/alice", "Defaults:alice timestamp_type=global\n", 0o440)
    by_alice = controller.start(
        "alice", "sshd", "sudo", variables={"pam_iampass_settings": settings, **table}
    )
    for _ in ("ssh", "sudo"):
        people.phone.approve(token=tokens["alice"])
    assert controller.changed(by_alice) == 0, "a second run changes nothing"
    assert controller.secret not in by_alice.shown
    assert tokens["alice"] not in by_alice.shown
    denied = people.ssh("bob")
    people.phone.deny(token=tokens["bob"])
    assert not got_in(denied, "bob")
    assert not got_in(people.ssh("carol"), "carol")
    assert outcomes(machine.journal(cursor)) == [
        ("approved", "success", "alice", "sshd"),
        ("approved", "success", "alice", "sudo"),
        ("denied", "denied", "bob", "sshd"),
        ("unlisted", "denied", "carol", "sshd"),
    ]

    # And back.
    assert controller.run(pam_iampass_settings=settings, **table) == 1
    cursor = machine.cursor()
    assert got_in(people.ssh("carol"), "carol")
    assert got_in(people.sudo("alice"), "root")
    assert outcomes(machine.journal(cursor)) == []


@pytest.fixture(scope="module", params=Way, ids=lambda way: way.value)
def way(
    request: pytest.FixtureRequest, administrator: Administrator, controller: Controller
) -> Iterator[Way]:
    """sshd asks in this way, everybody but the automation account."""
    found: Way = request.param
    administrator.machine.run("rm", "-rf", "/etc/iampass/users.d")
    administrator.configure(exempt="{groups: [automation]}", timeout="60s")
    administrator.set_up("sshd", f"--{found.value}")
    yield found
    administrator.undo("sshd")


@pytest.mark.parametrize("client", ANSIBLE, ids=lambda client: client.name)
def test_ansible_gets_in_or_not_as_the_page_of_the_clients_says(
    machine: Booted, people: People, way: Way, client: Client
) -> None:
    result = client.result(way)
    if result.fails is not None:
        judge(result.fails, play(machine, result.fails, client.account), client.account, works=False)
    if result.works is None:
        return
    cursor = machine.cursor()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(play, machine, result.works, client.account)
        for _ in range(result.works.requests):
            people.phone.approve(client.account)
        judge(result.works, running.result(), client.account, works=True)
    asked = [record for record in outcomes(machine.journal(cursor)) if record[0] != "exempt"]
    assert [record[0] for record in asked] == ["approved"] * result.works.requests
