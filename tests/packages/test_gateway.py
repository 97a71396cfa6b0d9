"""A gateway on a booted machine with PostgreSQL, which is its own host: from the installation to purge.

Hosts of other releases join in test_gateway_page.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages.administrator import NAMES, Administrator, built, newer
from tests.packages.booted import Booted
from tests.packages.kept_logins import wait_for
from tests.packages.people import People, got_in, outcomes
from tests.packages.phone import STATE

PACKAGES = (*NAMES, "pam-iampass-gateway")
UNIT = "pam-iampass-gateway.service"
ACTS = "pam-iampass-gateway-acts.socket"
ETC = "/etc/iampass-gateway"
MIGRATIONS = "usr/lib/python3/dist-packages/pam_iampass/gateway/migrations"
NAME = "gateway.example.com"
PORT = 9443  # of IAMPASS; the gateway has the usual one


@pytest.fixture(scope="module")
def machine(root: Path) -> Iterator[Booted]:
    """A machine that has a name."""
    booted = Booted(root)
    try:
        (booted.root / "etc/hostname").write_text(f"{NAME}\n")
        (booted.root / "etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {NAME}\n")
        booted.boot()
        yield booted
    finally:
        booted.close()


@pytest.fixture(scope="module")
def administrator(machine: Booted) -> Administrator:
    """Its administrator, who has only created accounts."""
    found = Administrator(machine, ("alice", "bob"), PORT)
    found.make_people()
    return found


@pytest.fixture(scope="module")
def people(machine: Booted) -> People:
    """The users, with their phones."""
    return People(machine, PORT)


def gateway(machine: Booted, *words: str, stdin: str = "") -> str:
    """`pam-iampass-gateway`; what it printed."""
    return machine.run("pam-iampass-gateway", *words, stdin=stdin).stdout


def is_running(machine: Booted) -> bool:
    """Whether the gateway serves, and no unit of the machine has failed."""
    assert machine.run("systemctl", "is-system-running", check=False).stdout.strip() == "running", (
        machine.run("systemctl", "--failed", "--no-legend").stdout
    )
    return machine.run("systemctl", "is-active", UNIT, check=False).stdout == "active\n"


def answered(people: People, verb: str = "approve") -> bool:
    """Whether alice gets in, once the only request that waits was answered."""
    login = people.ssh("alice")
    (request,) = wait_for(people.phone.requests, "the phone rings")
    people.phone.answer(request["id"], verb)
    return got_in(login, "alice")


def test_apt_installs_it_with_postgresql_and_nothing_runs_yet(
    machine: Booted, administrator: Administrator
) -> None:
    administrator.install(*built(PACKAGES))
    assert machine.run("dpkg", "--audit").stdout == ""
    assert machine.run("dpkg", "--verify", "pam-iampass-gateway").stdout == ""
    assert machine.run("systemctl", "is-active", "postgresql@17-main").stdout == "active\n"
    assert machine.run("systemctl", "is-enabled", UNIT).stdout == "enabled\n"
    assert machine.run("systemctl", "is-enabled", ACTS, check=False).stdout == "disabled\n"
    assert not is_running(machine)
    assert machine.shell(f"ls -A {ETC}") == ""


def test_init_sets_it_up_and_starts_it(machine: Booted, administrator: Administrator) -> None:
    administrator.start_iampass()
    secret = machine.read(f"{STATE}/application-secret")
    given = ["--application-id", "demo", "--secret-file", "-", "--server", f"https://127.0.0.1:{PORT}"]
    said = gateway(machine, "init", *given, "--server-ca-file", "/etc/iampass/ca.pem", stdin=secret)
    assert is_running(machine)
    assert "there" not in said.split()
    assert f'names: ["{NAME}"]' in machine.read(f"{ETC}/gateway.yaml")

    shown = machine.shell(f"cd {ETC} && stat -c '%n %U:%G %a' *").splitlines()
    assert shown == [
        "application-secret root:root 600",
        "ca-key.pem root:root 600",
        "ca.pem root:root 644",
        "certificate-key.pem root:root 600",
        "certificate.pem root:root 644",
        "gateway.yaml root:root 644",
        "key root:root 600",
    ]
    for path in ("key", "application-secret", "certificate-key.pem", "ca-key.pem"):
        for account in ("_iampass-gateway", "_iampass", "postgres", "alice"):
            read = machine.run("runuser", "-u", account, "--", "cat", f"{ETC}/{path}", check=False)
            assert read.returncode != 0, (account, path)
    again = gateway(machine, "init")
    assert "made" not in again.split()


def test_the_service_is_hardened(machine: Booted, administrator: Administrator) -> None:
    machine.run("systemd-analyze", "security", "--no-pager", "--threshold=20", UNIT)
    shown = machine.read(f"/proc/{process(machine).strip()}/status")
    status = dict(line.split(":\t", 1) for line in shown.splitlines() if ":\t" in line)
    uid = machine.run("id", "-u", "_iampass-gateway").stdout.strip()
    assert set(status["Uid"].split()) == {uid}
    assert (status["Seccomp"], status["NoNewPrivs"], int(status["CapBnd"], 16)) == ("2", "1", 0)
    assert status["CapEff"] == status["CapAmb"] == "0" * 16


def test_the_socket_for_the_portal_is_for_its_user_and_root(
    machine: Booted, administrator: Administrator
) -> None:
    machine.run(
        "systemd-analyze", "security", "--no-pager", "--threshold=20", ACTS.replace("socket", "service")
    )
    before = machine.read(f"{ETC}/gateway.yaml")
    written = f"{before}\nportal: {{origin: https://iampass.example.com}}\n"
    machine.write(f"{ETC}/gateway.yaml", written)
    machine.run("systemctl", "restart", UNIT)
    machine.run("systemctl", "start", ACTS)
    socket = "/run/iampass-gateway/acts.sock"
    shown = machine.run("stat", "-c", "%U:%G %a", socket).stdout
    assert shown == "root:_iampass-portal 660\n"
    asks = (
        "import socket, sys\n"
        "c = socket.socket(socket.AF_UNIX)\n"
        f"c.connect('{socket}')\n"
        "c.sendall(b'POST / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n')\n"
        "print(c.recv(12).decode())\n"
    )
    for user, answer in (("_iampass-portal", "HTTP/1.1 404\n"), ("_iampass-gateway", ""), ("alice", "")):
        said = machine.run("runuser", "-u", user, "--", "python3", "-c", asks, check=False).stdout
        assert said == answer, user
    for _ in range(7):  # systemd's default limit is five starts in ten seconds
        machine.run("systemctl", "kill", "--signal=KILL", ACTS.replace("socket", "service"))
        said = machine.run("runuser", "-u", "_iampass-portal", "--", "python3", "-c", asks).stdout
        assert said == "HTTP/1.1 404\n"
    machine.write(f"{ETC}/gateway.yaml", before)
    machine.run("systemctl", "stop", ACTS, ACTS.replace("socket", "service"))
    machine.run("systemctl", "restart", UNIT)
    assert is_running(machine)


def test_a_gateway_that_the_kernel_ends_for_its_memory_is_started_again(
    machine: Booted, administrator: Administrator
) -> None:
    shown = machine.run("systemctl", "show", "--property=MemoryMax", "--value", UNIT).stdout
    assert int(shown) == 1536 * 2**20
    before = process(machine)
    machine.run("kill", "-KILL", before.strip())  # not every machine lets a test reach the limit
    wait_for(lambda: process(machine).strip() not in ("0", before.strip()), "it is started again")
    wait_for(lambda: is_running(machine), "it serves")


def monitored(machine: Booted, path: str) -> tuple[int, str]:
    """Status and text of an answer at the address for monitoring; status 0 if there is none."""
    read = (
        "import sys, http.client as h\n"
        "c = h.HTTPConnection('127.0.0.1', 8444, timeout=20)\n"
        "c.request('GET', sys.argv[1])\n"
        "r = c.getresponse()\n"
        "print(r.status, r.read().decode())\n"
    )
    status, _, text = machine.run("python3", "-c", read, path, check=False).stdout.partition(" ")
    return int(status or 0), text


def test_it_says_whether_it_is_ready_and_shows_figures(machine: Booted, administrator: Administrator) -> None:
    def is_ready() -> bool:
        return monitored(machine, "/readyz")[0] == 200

    wait_for(is_ready, "it is ready")
    status, figures = monitored(machine, "/metrics")
    assert status == 200
    assert "iampass_gateway_ready 1.0" in figures.splitlines()
    before = process(machine)
    machine.run("systemctl", "stop", "postgresql@17-main")
    wait_for(lambda: not is_ready(), "it has noticed")
    status, said = monitored(machine, "/readyz")
    assert (status, "the database cannot be reached" in said) == (503, True), said
    assert monitored(machine, "/healthz")[0] == 200
    machine.run("systemctl", "start", "postgresql@17-main")
    wait_for(is_ready, "it is ready again")
    assert process(machine) == before
    machine.run("test", "-f", "/usr/share/doc/pam-iampass-gateway/examples/pam-iampass.rules.yaml")


def test_it_joins_itself_and_logins_are_approved(
    machine: Booted, administrator: Administrator, people: People
) -> None:
    enroll = machine.terminal("pam-iampass-gateway", "enroll", "alice")
    enroll.expect(rf"https://127.0.0.1:{PORT}(/register/[A-Za-z0-9_-]+)")
    people.phone.register(enroll.match.group(1))
    assert enroll.finish() == 0, enroll.shown
    gateway(machine, "user", "add", "bob")

    machine.shell("rm /etc/iampass/application-secret")
    invited = gateway(machine, "host", "invite", "--name", NAME)
    [command] = re.findall("^ +(pam-iampass join .*)", invited, re.M)
    assert f" https://{NAME}:8443 " in command
    assert f"as {NAME}" in machine.shell(command)
    administrator.set_up("sshd")
    cursor = machine.cursor()
    assert answered(people)
    assert not answered(people, "deny")
    assert not got_in(people.ssh("bob"), "bob"), "bob has no phone"
    asked = [
        each for each in machine.journal(cursor) if each.get("_SYSTEMD_UNIT") == "pam-iampass-agent.service"
    ]
    assert [each[0] for each in outcomes(asked)] == ["approved", "denied", "no_device"]
    records = [json.loads(line) for line in gateway(machine, "log", "--host", NAME, "--json").splitlines()]
    decided = [(each["user"], each["outcome"]) for each in records if each["kind"] == "decision"]
    assert sorted(decided) == [("alice", "approved"), ("alice", "denied"), ("bob", "no_device")]
    for program in ("pam-iampass", "pam-iampass-gateway"):
        machine.run(program, "check", "--settings")
    findings = json.loads(machine.run("pam-iampass", "check", "--json", check=False).stdout)["findings"]
    assert [each for each in findings if "gateway" in each["id"]] == []


def test_with_always_a_bypass_of_the_gateway_lets_run_commands_and_without_it_each_asks(
    machine: Booted, administrator: Administrator, people: People
) -> None:
    machine.shell(
        "echo 'alice ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/alice; chmod 440 /etc/sudoers.d/alice"
    )
    administrator.set_up("sudo", "--always")
    gateway(machine, "throttle", "clear", "alice")
    cursor = machine.cursor()
    words = ("runuser", "-u", "alice", "--", "sudo", "-n", "sh", "-c", "echo as-root-$(id -u)")
    try:
        gateway(machine, "bypass", "alice", "--for", "10m")
        for _ in range(2):
            sudo = machine.terminal(*words)
            assert sudo.finish() == 0, sudo.shown
            assert "as-root-0" in sudo.shown
        assert people.phone.requests() == []
        gateway(machine, "bypass", "end", "alice")
        sudo = machine.terminal(*words)
        (request,) = wait_for(people.phone.requests, "the phone rings")
        people.phone.answer(request["id"], "deny")
        assert sudo.finish() == 1, sudo.shown
        assert "as-root-0" not in sudo.shown
    finally:
        administrator.undo("sudo")
        machine.shell("rm /etc/sudoers.d/alice")
        gateway(machine, "throttle", "clear", "alice")
    decided = ["bypassed", "bypassed", "denied"]
    found = [outcome for outcome, _, _, service in outcomes(machine.journal(cursor)) if service == "sudo"]
    assert found == decided
    shown = gateway(machine, "log", "--service", "sudo", "--json").splitlines()
    assert [json.loads(line)["outcome"] for line in shown] == decided


def process(machine: Booted) -> str:
    """The id of the gateway's process."""
    return machine.run("systemctl", "show", "-P", "MainPID", UNIT).stdout


def test_timers_are_on_and_the_certificate_is_renewed(machine: Booted, people: People) -> None:
    for name in ("certificate", "sync"):
        assert machine.run("systemctl", "is-active", f"pam-iampass-gateway-{name}.timer").stdout == "active\n"
        machine.run("systemctl", "start", f"pam-iampass-gateway-{name}")
    backup = "pam-iampass-gateway-backup.timer"
    assert machine.run("systemctl", "is-active", backup, check=False).stdout == "inactive\n"
    before = process(machine)
    machine.shell(f"sed -i 's/^names:.*/names: [{NAME}, gw.example.com]/' {ETC}/gateway.yaml")
    assert "gw.example.com" in machine.run("pam-iampass-gateway", "certificate", "show", check=False).stdout
    machine.run("systemctl", "start", "pam-iampass-gateway-certificate")
    assert json.loads(gateway(machine, "certificate", "show", "--json"))["due"] is None
    assert process(machine) != before, "it has the new one"
    assert is_running(machine)
    assert answered(people)


def test_a_gateway_whose_tables_must_be_updated_goes_on_until_they_are(
    machine: Booted, administrator: Administrator, people: People, tmp_path: Path
) -> None:
    before = process(machine)
    later = {f"{MIGRATIONS}/0002_later.sql": "ALTER TABLE session ADD COLUMN later text;\n"}
    packages = [newer(package, tmp_path, "10") for package in built(NAMES)]
    packages += [newer(package, tmp_path, "10", later) for package in built(("pam-iampass-gateway",))]
    waiting = people.ssh("alice")
    (request,) = wait_for(people.phone.requests, "the phone rings")
    administrator.install(*packages)
    assert process(machine) == before
    assert "2; before 1" in gateway(machine, "migrate")
    assert process(machine) == before
    machine.run("systemctl", "restart", UNIT)
    assert is_running(machine)
    assert [each["id"] for each in people.phone.requests()] == [request["id"]]
    people.phone.answer(request["id"], "approve")
    assert got_in(waiting, "alice")
    assert answered(people)


def test_logins_go_on_after_a_reboot(machine: Booted, people: People) -> None:
    machine.reboot()
    machine.shell(
        """
        systemctl start sandbox
        timeout 60 sh -c 'until grep -qs "^Sandbox ready" /run/sandbox.log; do sleep 0.1; done'
        """
    )
    assert is_running(machine)
    assert answered(people)


def test_purge_leaves_nothing_but_the_database_and_what_makes_it_worth_something(machine: Booted) -> None:
    said = machine.run("apt-get", "purge", "-y", "pam-iampass-gateway").stdout
    for folder in (ETC, "/var/lib/iampass-gateway"):
        assert f"rm -r {folder}" in said
    kept = machine.run("ls", ETC).stdout.split()
    assert {"key", "ca.pem", "ca-key.pem", "application-secret", "gateway.yaml"} <= set(kept)
    machine.run("rm", "-r", ETC, "/var/lib/iampass-gateway")
    left = machine.shell(
        "find / /var -xdev -path /var/cache -prune -o -path /root -prune -o -name '*iampass?gateway*' -print"
    )
    assert [line for line in left.splitlines() if "/dpkg/" not in line and "/ansible/" not in line] == []
    assert machine.run("systemctl", "is-system-running", check=False).stdout.strip() == "running"
    tables = machine.run(
        "runuser", "-u", "postgres", "--", "psql", "-XtAc", "SELECT count(*) FROM person", "iampass"
    )
    assert tables.stdout == "2\n"
