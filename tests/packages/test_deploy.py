"""docs/fleet/many-machines.md, "Many machines": two hosts by Ansible over ssh, from nobody asked to everybody asked,
and back."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.packages.administrator import PASSWORD, Administrator, built, newer
from tests.packages.booted import Booted
from tests.packages.client_runs import judge, play
from tests.packages.client_table import ANSIBLE
from tests.packages.clients import Client, Way
from tests.packages.people import KEY, SSH, WHO, People, got_in, outcomes, press_enter
from tests.packages.phone import PORT, token_of
from tests.packages.typed_page import TypedPage
from tests.support.terminal import Terminal

ROLES = Path(__file__).parents[2] / "packaging/ansible/roles"
AUTOMATION = "deploy"
SERVER = {"server": f"https://127.0.0.1:{PORT}", "timeout": "30s", "ca_file": "/etc/iampass/ca.pem"}
CONFIGURATION = """\
[defaults]
roles_path = /root/roles
[ssh_connection]
pipelining = true
"""


FIRST, SECOND = "10.9.0.1", "10.9.0.2"
MANY = "Many machines"
#: Who is in which group, and who can read what.
PEOPLE_OF = "getent group _iampass iampass-users | cut -d: -f1,4"
FOR_ALL = "find /etc/iampass /var/lib/iampass -type f -perm /o+rwx ! -name ca.pem; ls /home"


class Controller:
    """Where Ansible runs: root's account on the first of two hosts. Ansible reaches both by ssh."""

    def __init__(self, machine: Booted) -> None:
        self.machine = machine
        self.secret = "not-known-yet"

    def start(
        self, user: str, *services: str, variables: dict[str, Any], hosts: tuple[str, ...] = (FIRST, SECOND)
    ) -> Terminal:
        """Run the role on the hosts as the user, who types a password for sudo."""
        everything = {
            "ansible_become_password": PASSWORD,
            "pam_iampass_application_id": "demo",
            "pam_iampass_application_secret": self.secret,
            # What the others depend on comes last.
            "pam_iampass_packages": [f"/root/packages/{package.name}" for package in reversed(built())],
            "pam_iampass_services": services,
            "team": [],
            **variables,
        }
        self.machine.write("/root/variables.yml", json.dumps(everything), 0o600)
        command = "LC_ALL=C.UTF-8 ansible-playbook -e @/root/variables.yml /root/site.yml"
        return self.machine.terminal("sh", "-c", f"{command} -i {','.join(hosts)}, -u {user}")

    def run(self, *services: str, **variables: Any) -> int:
        """Run the role as the automation account; returns how many tasks changed something."""
        return self.changed(self.start(AUTOMATION, *services, variables=variables))

    def changed(self, terminal: Terminal) -> int:
        """How many tasks of a run changed something, once it has ended well."""
        terminal.timeout = 900
        status = terminal.finish()
        if status != 0:
            print(self.machine.run("journalctl", "-n", "100", "-o", "short-monotonic").stdout)
        assert status == 0, terminal.shown
        return sum(map(int, re.findall(r"changed=(\d+)", terminal.shown)))


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
def second(root: Path, machine: Booted, administrator: Administrator) -> Iterator[Booted]:
    """Another host on the same wire, where dave and the automation account have accounts, but neither alice nor bob."""
    booted = Booted(root)
    try:
        booted.boot()
        booted.shell(
            f"""
            DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3
            groupadd automation
            for user in dave {AUTOMATION}; do
                useradd --create-home --shell /bin/sh --groups sudo $user
                echo "$user:{PASSWORD}" | chpasswd
            done
            usermod --append --groups automation {AUTOMATION}
            """
        )
        key = machine.read("/root/key.pub")
        for user in ("dave", AUTOMATION):
            booted.write(f"/home/{user}/.ssh/authorized_keys", key)
        wire = [
            "ip",
            "link",
            "add",
            "fleet",
            "type",
            "veth",
            "peer",
            "name",
            "fleet",
            "netns",
            str(booted.pid),
        ]
        subprocess.run(["nsenter", "-t", str(machine.pid), "--net", *wire], check=True)
        for host, address in ((machine, FIRST), (booted, SECOND)):
            for command in (f"addr add {address}/24 dev fleet", "link set fleet up"):
                inside = ["nsenter", "-t", str(host.pid), "--net", "ip", *command.split()]
                subprocess.run(inside, check=True)
            host_key = host.read("/etc/ssh/ssh_host_ed25519_key.pub")
            machine.shell(f"echo '{address} {host_key.strip()}' >> /root/known-hosts")
        yield booted
    finally:
        booted.close()


@pytest.fixture(scope="module")
def page() -> TypedPage:
    """The page of the role."""
    return TypedPage("packaging/ansible/README.md")


@pytest.fixture(scope="module")
def controller(
    machine: Booted, second: Booted, administrator: Administrator, people: People, page: TypedPage
) -> Controller:
    """Ansible, the role, and what it installs; logins are as before. IAMPASS is reached from both hosts."""
    machine.run("apt-get", "install", "-y", "--no-install-recommends", "ansible-core", "python3-apt")
    subprocess.run(["cp", "-R", str(ROLES), str(machine.root / "root/roles")], check=True)
    machine.write("/root/site.yml", page.block(MANY, "- hosts: all"))
    machine.write("/root/.ansible.cfg", CONFIGURATION)
    machine.write("/root/.ssh/config", "IdentityFile /root/key\nUserKnownHostsFile /root/known-hosts\n")
    for package in built():
        machine.copy_in(package, "/root/packages")
    found = Controller(machine)
    cursor = machine.cursor()
    assert found.run(pam_iampass_settings={"server": SERVER["server"]}) > 0
    for host in (machine, second):
        assert host.run("dpkg", "--audit").stdout == ""
        assert host.run("systemctl", "is-active", "pam-iampass-agent.socket").stdout == "active\n"
    assert got_in(people.sudo("alice"), "root")
    assert outcomes(machine.journal(cursor)) == []
    administrator.start_iampass()
    found.secret = machine.read("/etc/iampass/application-secret").strip()
    second.write("/etc/iampass/ca.pem", machine.read("/etc/iampass/ca.pem"))
    tunnel = f"{PORT}:127.0.0.1:{PORT}"
    machine.run("ssh", "-f", "-N", "-o", "ControlPath=none", "-R", tunnel, f"{AUTOMATION}@{SECOND}")
    return found


def looked_at(host: Booted, team: str, accounts: str) -> None:
    """Raises AssertionError unless only root and the service can read what is secret, and accounts are as they were."""
    assert host.shell(PEOPLE_OF).split() == ["_iampass:", f"iampass-users:{team}"]
    assert host.shell(FOR_ALL).split() == accounts.split(), (
        "nothing for all, and no account that was not there"
    )


@pytest.mark.timeout(3000)
def test_from_nobody_asked_to_everybody_asked_and_back(
    machine: Booted,
    second: Booted,
    administrator: Administrator,
    controller: Controller,
    people: People,
    page: TypedPage,
    tmp_path: Path,
) -> None:
    hosts = (machine, second)
    accounts = {host: host.shell("ls /home") for host in hosts}
    deploy = TypedPage("docs/fleet/many-machines.md")

    # 1. Switch everything on, and ask nobody.
    block = yaml.safe_load(page.block(MANY, "pam_iampass_settings:"))["pam_iampass_settings"]
    assert block == yaml.safe_load(deploy.block(MANY, "asked:"))
    settings: dict[str, Any] = {**SERVER, **block}
    assert controller.run("sshd", "sudo", pam_iampass_settings=settings) > 0
    cursor, there = machine.cursor(), second.cursor()
    assert got_in(people.ssh("alice"), "alice")
    assert got_in(people.sudo("alice"), "root")
    assert got_in(from_the_first(machine, "dave"), "dave")
    assert outcomes(machine.journal(cursor)) == [
        ("exempt", "ignored", "alice", "sshd"),
        ("exempt", "ignored", "alice", "sudo"),
    ]
    assert outcomes(second.journal_now(there)) == [("exempt", "ignored", "dave", "sshd")]
    for host in hosts:
        looked_at(host, "", accounts[host])

    assert machine.run("pam-iampass", "log", "--outcome", "exempt", "alice").stdout.count("exempt") >= 2

    # 2. Enroll, on one machine, also those without an account there; take the table from there.
    machine.shell("cd /root; printf 'user\\nalice\\nbob\\ndave\\nelsewhere\\n' > people.csv")
    enroll = f"cd /root; {deploy.command(MANY, 'pam-iampass enroll')}"
    report = machine.shell(enroll, check=False)
    links = re.findall(rf"https://127.0.0.1:{PORT}(/register/[A-Za-z0-9_-]+)", report)
    assert len(links) == 4, report
    for link in links:
        people.phone.register(link)
    assert "4 users: 4 have a phone." in machine.shell(enroll)
    machine.shell(f"umask 022; cd /root; {deploy.command(MANY, 'cat /etc/iampass/users.d')}")
    assert machine.run("stat", "-c", "%a", "/root/users.yaml").stdout == "600\n"
    table = {"pam_iampass_users": yaml.safe_load(page.block(MANY, "pam_iampass_users:"))["pam_iampass_users"]}
    tokens = {user: token_in(machine, user) for user in ("alice", "bob", "dave")}

    # 3. One team after the other: alice, whom only the first host knows, and dave, whom both do.
    controller.run("sshd", "sudo", pam_iampass_settings=settings, team=["alice", "dave"], **table)
    looked_at(machine, "alice,dave", accounts[machine])
    looked_at(second, "dave", accounts[second])
    cursor, there = machine.cursor(), second.cursor()
    assert got_in(people.ssh("bob"), "bob")
    for login, user in ((people.ssh("alice"), "alice"), (from_the_first(machine, "dave"), "dave")):
        people.phone.approve(token=tokens[user])
        assert got_in(login, user)
    assert outcomes(machine.journal(cursor)) == [
        ("exempt", "ignored", "bob", "sshd"),
        ("approved", "success", "alice", "sshd"),
    ]
    assert outcomes(second.journal_now(there)) == [("approved", "success", "dave", "sshd")]

    # 4. Everybody. A user can run the role, too.
    del settings["asked"]
    run = f"cd /root; {deploy.command(MANY, 'pam-iampass user list')}"
    assert "carol" not in machine.shell(run)
    controller.run("sshd", "sudo", pam_iampass_settings=settings, **table)
    assert "carol" in machine.shell(run)
    cursor = machine.cursor()
    machine.write("/etc/sudoers.d/alice", "Defaults:alice timestamp_type=global\n", 0o440)
    by_alice = controller.start(
        "alice", "sshd", "sudo", variables={"pam_iampass_settings": settings, **table}, hosts=(FIRST,)
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
    assert "denied" in machine.shell(deploy.command(MANY, "pam-iampass log --outcome"))
    monitored = machine.run("sh", "-c", deploy.command(MANY, "pam-iampass check --monitoring"), check=False)
    assert re.match("IAMPASS (OK|WARNING)", monitored.stdout), monitored.stdout

    # Newer packages: what is on stays on.
    files = [newer(package, tmp_path, "9") for package in built()]
    for file in files:
        machine.copy_in(file, "/root/packages")
    upgrade = {"pam_iampass_packages": [f"/root/packages/{file.name}" for file in files]}
    for changed in (6, 0):  # on both hosts: copied, installed, the older ones deleted
        assert controller.run("sshd", "sudo", pam_iampass_settings=settings, **table, **upgrade) == changed
    for host in hosts:
        assert host.run("dpkg-query", "-W", "-f", "${Version}", "libpam-iampass").stdout == "9"
    login = from_the_first(machine, "dave")
    people.phone.approve(token=tokens["dave"])
    assert got_in(login, "dave")

    # And back.
    assert controller.run(pam_iampass_settings=settings, **table, **upgrade) == 2
    cursor, there = machine.cursor(), second.cursor()
    assert got_in(people.ssh("carol"), "carol")
    assert got_in(people.sudo("alice"), "root")
    assert got_in(from_the_first(machine, "dave"), "dave")
    assert outcomes([*machine.journal(cursor), *second.journal_now(there)]) == []


@pytest.mark.timeout(600)
def test_the_role_says_whose_keys_are_whose(
    machine: Booted, administrator: Administrator, controller: Controller, people: People, page: TypedPage
) -> None:
    machine.shell(
        """
        rm -rf /etc/iampass/users.d
        for name in alice ca; do ssh-keygen -q -t ed25519 -N '' -f /root/$name; done
        cat /root/alice.pub >> /home/carol/.ssh/authorized_keys
        """
    )
    variables = yaml.safe_load(page.block("Shared accounts", "pam_iampass_first_factor:"))
    variables["pam_iampass_settings"].update(SERVER)
    for name, entry in variables["pam_iampass_users"].items():
        entry["token"] = token_of(name)
    variables["pam_iampass_packages"] = []

    def run() -> int:
        started = controller.start(AUTOMATION, "sshd", "sudo", variables=variables, hosts=(FIRST,))
        return controller.changed(started)

    assert run() > 0
    assert run() == 0, "a second run changes nothing"
    shown = json.loads(machine.run("pam-iampass", "user", "show", "carol", "--json").stdout)
    assert [key["key_id"] for key in shown["ssh_keys"]] == ["carol@example.com"]
    cursor = machine.cursor()
    alices = ("-i", "/root/alice")
    login = people.ssh("carol", options=alices)
    press_enter(login)
    people.phone.approve("alice")
    assert got_in(login, "carol")
    # A key that is left out names nobody any more.
    del variables["pam_iampass_users"]["alice"]["keys"]
    assert run() == 1
    assert not got_in(people.ssh("carol", options=alices), "carol")
    by_carol = [record for record in machine.journal_now(cursor) if record.get("IAMPASS_USER") == "carol"]
    found = [
        (each["IAMPASS_OUTCOME"], each.get("IAMPASS_APPROVER"))
        for each in by_carol
        if "IAMPASS_OUTCOME" in each
    ]
    assert found == [("approved", "alice"), ("unlisted", "")]
    administrator.undo()


def from_the_first(machine: Booted, user: str) -> Terminal:
    """ssh from the first host to the second."""
    return machine.terminal("ssh", *KEY, *SSH, f"{user}@{SECOND}", WHO)


@pytest.fixture(scope="module", params=(Way.QUIET, Way.PROMPT), ids=lambda way: way.value)
def way(
    request: pytest.FixtureRequest, administrator: Administrator, controller: Controller
) -> Iterator[Way]:
    """sshd asks in this way, everybody but the automation account."""
    found: Way = request.param
    administrator.machine.run("rm", "-rf", "/etc/iampass/users.d")
    administrator.configure(exempt="{groups: [automation]}", timeout="60s")
    administrator.set_up("sshd", found.option)
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
