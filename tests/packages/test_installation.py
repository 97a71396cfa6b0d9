"""After the installation: everything is in its place, and every login is as before; Debian's autopkgtest passes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.packages.administrator import Administrator
from tests.packages.booted import Booted

AUTOPKGTEST = Path(__file__).parents[2] / "packaging/debian/tests"
NAMES = [
    line.split(": ", 1)[1]
    for line in (AUTOPKGTEST / "control").read_text().splitlines()
    if line.startswith("Tests: ")
]


def test_the_packages_install_without_a_complaint(machine: Booted, administrator: Administrator) -> None:
    assert machine.run("dpkg", "--audit").stdout == ""
    assert machine.run("dpkg", "--verify", "libpam-iampass").stdout == ""
    assert machine.run("systemctl", "is-system-running", check=False).stdout.strip() == "running"


def test_nothing_of_the_gateway_is_on_a_host(machine: Booted, administrator: Administrator) -> None:
    paths = machine.run("dpkg", "-L", "libpam-iampass", "pam-iampass-sandbox").stdout.splitlines()
    role = "/usr/share/pam-iampass/ansible/roles/pam_iampass_gateway"  # it is for the machine on which Ansible runs
    found = [path for path in paths if re.search("iampass.(fleet|gateway|portal)", path)]
    assert [path for path in found if not f"{path}/".startswith(f"{role}/")] == []
    names = ["psycopg", "cryptography", "fido2", "ldap", "prometheus-client"]
    for name in (f"python3-{each}" for each in names):
        depends = machine.run("dpkg-query", "-W", "-f", "${Depends}", "libpam-iampass").stdout
        assert name not in depends
    assert machine.run("getent", "passwd", "_iampass-gateway", check=False).stdout == ""


def test_files_have_their_owners(machine: Booted, administrator: Administrator) -> None:
    paths = ["/etc/iampass", "/etc/iampass/iampass.yaml", "/etc/iampass/users.yaml", "/run/iampass"]
    paths += ["/run/iampass/pam.sock", "/var/lib/iampass", "/run/iampass/metrics"]
    paths += ["/run/iampass/metrics/agent.prom", "/run/iampass/pam-files.prom"]
    shown = machine.run("stat", "-c", "%n %U:%G %a", *paths).stdout.splitlines()
    assert shown == [
        "/etc/iampass root:root 755",
        "/etc/iampass/iampass.yaml root:_iampass 640",
        "/etc/iampass/users.yaml root:_iampass 640",
        "/run/iampass root:root 755",
        "/run/iampass/pam.sock root:root 600",
        "/var/lib/iampass _iampass:_iampass 700",
        "/run/iampass/metrics _iampass:_iampass 755",
        "/run/iampass/metrics/agent.prom _iampass:_iampass 644",
        "/run/iampass/pam-files.prom root:root 644",
    ]


def test_the_ansible_role_is_where_its_page_says(machine: Booted, administrator: Administrator) -> None:
    page = machine.read("/usr/share/doc/libpam-iampass/packaging/ansible/README.md")
    [folder] = re.findall(r"`(/usr/share/[^`]*)`", page)
    assert machine.shell(f"ls {folder}") == "pam_iampass\npam_iampass_gateway\n"


def test_the_socket_is_on_and_the_agent_waits_for_the_first_login(
    machine: Booted, administrator: Administrator
) -> None:
    assert machine.run("systemctl", "is-enabled", "pam-iampass-agent.socket").stdout == "enabled\n"
    assert machine.run("systemctl", "is-active", "pam-iampass-agent.socket").stdout == "active\n"
    assert (
        machine.run("systemctl", "is-active", "pam-iampass-agent.service", check=False).stdout == "inactive\n"
    )


def test_the_agent_may_write_its_figures_for_node_exporter(
    machine: Booted, administrator: Administrator
) -> None:
    machine.run("pam-iampass", "throttle", "clear", "root")  # which has systemd start the agent
    machine.shell(
        "for i in $(seq 60); do grep -q . /run/iampass/metrics/agent.prom && exit; sleep 1; done; exit 1"
    )
    assert machine.read("/run/iampass/metrics/agent.prom").startswith("# HELP iampass_build_info ")
    assert machine.shell("ls -A /run/iampass/metrics") == "agent.prom\n"
    rules = "/usr/share/doc/libpam-iampass/examples/pam-iampass-hosts.rules.yaml"
    assert "IampassAgentSilent" in machine.read(rules)


def test_what_check_says_of_masked_units_helps(machine: Booted, administrator: Administrator) -> None:
    def found() -> dict[str, str]:
        report = json.loads(machine.run("pam-iampass", "check", "--json", "--offline", check=False).stdout)
        return {one["title"]: one["remedy"] for one in report["findings"] if one["subject"] == "agent"}

    units = ["pam-iampass-agent.socket", "pam-iampass-agent.service"]
    for masked in (units, units[1:]):
        machine.run("systemctl", "mask", "--now", *masked)
        machine.shell(found()[f"{masked[0]} is masked"])
        assert found() == {}


def test_the_profile_of_pam_auth_update_is_there_and_not_chosen(
    machine: Booted, administrator: Administrator
) -> None:
    assert "pam_iampass" not in machine.shell("cat /etc/pam.d/common-*")
    assert "Default: no" in machine.read("/usr/share/pam-configs/iampass")


@pytest.mark.parametrize("name", NAMES)
def test_an_autopkgtest_of_the_source_package_passes(
    machine: Booted, administrator: Administrator, name: str
) -> None:
    for file in AUTOPKGTEST.iterdir():
        machine.copy_in(file, "/root/tests")
    machine.run("apt-get", "install", "-y", "pamtester")
    done = machine.run(f"/root/tests/{name}", check=False)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
