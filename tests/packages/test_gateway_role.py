"""The Ansible roles on booted machines: two gateways with a database, and a host, from nothing; then an upgrade."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.packages.administrator import NAMES, Administrator, built, newer
from tests.packages.booted import PATIENCE, Booted
from tests.packages.gateway_hosts import IAMPASS, IAMPASS_NAME, SECRET, Host, start_iampass
from tests.packages.phone import Phone, approving_all
from tests.packages.test_deploy import ROLES
from tests.packages.test_from_lone_hosts import Logins
from tests.packages.test_gateway import MIGRATIONS
from tests.packages.test_gateway_page import enroll
from tests.packages.typed_page import TypedPage

PACKAGES = ("libpam-iampass", "pam-iampass-gateway")
FIRST, SECOND, HOST = "gw1.example.com", "gw2.example.com", "web1.example.com"
ADDRESSES = {FIRST: "10.77.1.1", SECOND: "10.77.1.2", HOST: "10.77.2.2"}
PASSWORD = "a pass:word\\of the database"
CONFIGURATION = "[defaults]\nroles_path = /root/roles\n"
UNIT = "pam-iampass-gateway"


class Controller:
    """Ansible, on the first gateway."""

    def __init__(self, machines: dict[str, Booted]) -> None:
        self.machines = machines
        self.machine = machines[FIRST]
        self.phone = Phone(self.machine, IAMPASS)
        self.host: Host | None = None
        self.packages = built((*NAMES, "pam-iampass-gateway"))

    def inventory(self) -> dict[str, Any]:
        """As on the page, with the sandbox as IAMPASS."""
        paths = [f"/root/packages/{package.name}" for package in self.packages]
        gateways = {
            "pam_iampass_gateway_packages": [path for path in paths if "sandbox" not in path],
            "pam_iampass_gateway_settings": {
                "application_id": "my-application",
                "server": f"https://{IAMPASS_NAME}:{IAMPASS}",
                "server_ca_file": "/etc/iampass-ca.pem",
                "groups": {"web": {"everybody": True, "admit": True}},
            },
            "pam_iampass_gateway_application_secret": SECRET,
            "pam_iampass_gateway_database_password": PASSWORD,
            "pam_iampass_gateway_hosts": [{"hosts": "fleet", "group": "web", "admit": True}],
        }
        hosts = {
            "pam_iampass_join_url": f"https://{FIRST}:8443",
            "pam_iampass_packages": [path for path in paths if "libpam" in path],
            "pam_iampass_settings": {"exempt": {"users": ["root"]}},
            "pam_iampass_services": ["sshd"],
        }
        # The sandbox is on the first gateway, and always of the same version.
        first = {"ansible_connection": "local", "pam_iampass_gateway_packages": paths}
        return {
            "all": {"vars": {"ansible_user": "root", "ansible_python_interpreter": "/usr/bin/python3"}},
            "pam_iampass_gateways": {"hosts": {FIRST: first, SECOND: {}}, "vars": gateways},
            "fleet": {"hosts": {HOST: {}}, "vars": hosts},
        }

    def play(self, *options: str) -> dict[str, tuple[int, int]]:
        """Run the page's playbook; how many tasks changed something and failed, by machine."""
        for name, machine in self.machines.items():
            for package in self.packages:
                if name == FIRST or "sandbox" not in package.name:
                    machine.copy_in(package, "/root/packages")
        self.machine.write("/root/hosts.json", json.dumps(self.inventory()), 0o600)
        command = ["ansible-playbook", "-v", "-i", "/root/hosts.json", "/root/site.yml", *options]
        done = self.machine.run("env", "LC_ALL=C.UTF-8", *command, check=False, timeout=8 * PATIENCE)
        said = done.stdout + done.stderr
        print(said)
        for secret in (SECRET, PASSWORD, PASSWORD.split(":")[1]):
            assert secret not in said
        counted = re.findall(
            r"^(\S+)\s+: ok=\d+ +changed=(\d+) +unreachable=0 +failed=(\d+)", said, re.MULTILINE
        )
        assert counted, said
        return {name: (int(changed), int(failed)) for name, changed, failed in counted}


@pytest.fixture(scope="module")
def machines(root: Path) -> Iterator[dict[str, Booted]]:
    """Three machines with names and Python, which root of the first one reaches by ssh."""
    found = {name: Booted(root, name.partition(".")[0]) for name in ADDRESSES}
    first = found[FIRST]
    try:
        for name, machine in found.items():
            (machine.root / "etc/hostname").write_text(f"{name}\n")
            names = "".join(f"{address} {each}\n" for each, address in ADDRESSES.items())
            (machine.root / "etc/hosts").write_text(
                f"127.0.0.1 localhost\n{names}{ADDRESSES[FIRST]} {IAMPASS_NAME}\n"
            )
            machine.boot()
            machine.run("apt-get", "install", "-y", "--no-install-recommends", "python3")
        first.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/.ssh/id_ed25519")
        key = first.read("/root/.ssh/id_ed25519.pub")
        for number, (name, machine) in enumerate(list(found.items())[1:], 1):
            wire(first, machine, number)
            machine.write("/root/.ssh/authorized_keys", key, 0o600)
            known = machine.read("/etc/ssh/ssh_host_ed25519_key.pub")
            first.shell(f"echo '{name} {known.strip()}' >> /root/.ssh/known_hosts")
        first.shell("echo 1 > /proc/sys/net/ipv4/ip_forward")
        yield found
    finally:
        for machine in found.values():
            machine.close()


def wire(first: Booted, other: Booted, number: int) -> None:
    """A cable from the first machine to another one, and a way to the third."""
    words = ["ip", "link", "add", f"to{number}", "netns", str(first.pid), "type", "veth"]
    subprocess.run([*words, "peer", "name", "wire", "netns", str(other.pid)], check=True)
    for machine, device, last in ((first, f"to{number}", 1), (other, "wire", 2)):
        inside = ["nsenter", "-t", str(machine.pid), "--net", "ip"]
        subprocess.run([*inside, "address", "add", f"10.77.{number}.{last}/24", "dev", device], check=True)
        subprocess.run([*inside, "link", "set", device, "up"], check=True)
    way = [
        "nsenter",
        "-t",
        str(other.pid),
        "--net",
        "ip",
        "route",
        "add",
        "default",
        "via",
        f"10.77.{number}.1",
    ]
    subprocess.run(way, check=True)


@pytest.fixture(scope="module")
def controller(machines: dict[str, Booted]) -> Controller:
    """Ansible, the roles and the page's playbook; IAMPASS; and people with accounts on the host."""
    found = Controller(machines)
    machine = found.machine
    machine.run("apt-get", "install", "-y", "--no-install-recommends", "ansible-core", "python3-apt")
    subprocess.run(["cp", "-R", str(ROLES), str(machine.root / "root/roles")], check=True)
    machine.write("/root/.ansible.cfg", CONFIGURATION)
    page = TypedPage("packaging/ansible/README.md")
    machine.write("/root/site.yml", page.block("Gateways", "- hosts: fleet"))
    Administrator(machine).install()
    start_iampass(machine, "nobody")
    machines[SECOND].write("/etc/iampass-ca.pem", machine.read("/etc/iampass-ca.pem"))
    found.host = Host(machines[HOST], HOST, ())
    return found


def started(machine: Booted) -> float:
    """When the gateway was started, by a clock that all machines share."""
    return float(machine.run("systemctl", "show", "-P", "ExecMainStartTimestampMonotonic", UNIT).stdout)


@pytest.mark.timeout(3600)
def test_gateways_and_hosts_from_nothing(controller: Controller, tmp_path: Path) -> None:
    first, second = (controller.machines[name] for name in (FIRST, SECOND))
    assert all(failed == 0 for _, failed in controller.play().values())
    assert controller.play() == dict.fromkeys(ADDRESSES, (0, 0))

    # The second gateway knows the same, and has the same files but for the CA's key.
    (host,) = json.loads(second.run("pam-iampass-gateway", "host", "list", "--json").stdout)["hosts"]
    assert (host["name"], host["group"], host["status"], host["admitted"]) == (HOST, "web", "active", True)
    files = "cd /etc/iampass-gateway && sha256sum $(ls | grep -v ca-key.pem)"
    assert first.shell(files) == second.shell(files)
    assert "ca-key.pem" not in second.shell("ls -A /etc/iampass-gateway")
    for machine in (first, second):
        assert (
            "database-plain" not in machine.run("pam-iampass-gateway", "check", "--json", check=False).stdout
        )
        assert PASSWORD not in machine.shell(
            "journalctl --no-pager; cat /var/log/postgresql/*.log 2> /dev/null || :"
        )

    # People log in, also by the second gateway alone.
    enroll(first, controller.phone, "pam-iampass-gateway enroll alice")
    web = controller.host
    assert web is not None
    assert web.log_in(controller.phone, "alice")
    first.run("systemctl", "stop", UNIT)
    assert web.log_in(controller.phone, "alice")

    # An upgrade with new tables, while people log in. It starts what was stopped.
    later = {f"{MIGRATIONS}/0002_later.sql": "ALTER TABLE session ADD COLUMN later text;\n"}
    controller.packages = tuple(
        newer(package, tmp_path, "10", later if "gateway" in package.name else None)
        for package in controller.packages
    )
    first.run("systemctl", "start", UNIT)
    before = started(first), started(second)
    with approving_all(controller.phone):
        logins = Logins(web, "alice")
        upgraded = controller.play()
        logins.stopped.set()
        logins.thread.join()
    assert all(failed == 0 for _, failed in upgraded.values())
    assert len(logins.outcomes) > 1
    assert logins.lost == []
    assert "version 2 already" in second.run("pam-iampass-gateway", "migrate").stdout
    after = started(first), started(second)
    assert before[0] < after[0] < after[1]
    assert before[1] < after[1]
    assert controller.play() == dict.fromkeys(ADDRESSES, (0, 0))

    # One alone is changed as well, and the other goes on.
    first.run("systemctl", "stop", UNIT)
    assert controller.play("--limit", SECOND) == {SECOND: (0, 0)}
    assert web.log_in(controller.phone, "alice")
