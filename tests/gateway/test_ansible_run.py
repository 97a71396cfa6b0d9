"""One approval for a run of Ansible over many hosts: docs/fleet/ansible.md, typed. Its table says how often phones
ring."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.packages.typed_page import TypedPage
from tests.support.directory import PACKAGES
from tests.support.fleet import FleetHost, running_hosts
from tests.support.gateway_machine import initialised, package, run_gateway, serving
from tests.support.installation import ROOT, Installation
from tests.support.journald import Journald
from tests.support.sandbox import Sandbox
from tests.support.terminal import Terminal
from tests.support.world import PASSWORD, PATIENCE, wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]

FORKS = 20
"""As many hosts are behind the bastion as `forks` of the page's ansible.cfg says."""
FORKS_WITHOUT = min(FORKS, 5)
"""Without a shared connection, as the page says: of more, the gateway refuses some (`logins_at_once`)."""
PAGE = TypedPage("docs/fleet/ansible.md")
GATEWAY = "gateway.example"
#: What the page says, for requests of which nobody approves one by mistake.
POLICY = PAGE.block("Set it up", "groups:") + "limits: {spacing: 0s}\n"
SETTINGS = PAGE.block("Set it up", "session:")
BASTION, LAPTOP = "bastion.example", "laptop.example"
BEHIND = tuple(f"web{number}.example" for number in range(1, FORKS + 1))
PEOPLE = ("alice", "carol")
LONG = 4 * PATIENCE
"""Ansible starts a Python for each task on each host."""
CONTROL, SHARED, SEPARATE = "control host", "laptop, shared connection", "laptop"
WAYS = (CONTROL, SHARED, SEPARATE)
#: How long a task sleeps while the person walks away; nothing else sleeps for so long.
NAP = "sleep 86399"


class Fleet:
    """A gateway, a bastion, hosts behind it, a laptop that has joined nothing, and the phones."""

    def __init__(self, hosts: dict[str, FleetHost], sandbox: Sandbox, journald: Journald) -> None:
        self.hosts, self.sandbox, self.journald = hosts, sandbox, journald
        self.bastion, self.laptop = hosts[BASTION], hosts[LAPTOP]
        self.behind = [hosts[name] for name in BEHIND]

    @property
    def rung(self) -> int:
        """How often a phone has rung."""
        return [call.kind for call in self.sandbox.calls].count("start")

    def each(self, hosts: list[FleetHost], *words: str) -> list[str]:
        """Run a command as root on hosts at the same time; what it prints on each."""

        def run(host: FleetHost) -> str:
            done = host.run(*words)
            assert done.returncode == 0, f"{host.name}: {done.stdout}"
            return done.stdout

        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(run, hosts))

    def set(self, settings: str) -> None:
        """The settings of the bastion and of all hosts behind it."""
        script = f"printf %s {shlex.quote(settings)} > /etc/iampass/iampass.yaml"
        self.each([self.bastion, *self.behind], "sh", "-c", script)

    def sessions(self) -> dict[str, int]:
        """The logins that hosts keep, of those that keep any."""
        hosts = [self.bastion, *self.behind]
        listed = self.each(hosts, "pam-iampass", "session", "list", "--json")
        counts = {host.name: len(json.loads(each)["sessions"]) for host, each in zip(hosts, listed)}
        return {name: count for name, count in counts.items() if count}

    def asleep(self) -> int:
        """On how many hosts behind the bastion the long task runs."""
        script = f"pgrep -f '^{NAP}' > /dev/null && echo runs || echo over"
        return sum("runs" in each for each in self.each(self.behind, "sh", "-c", script))


class Shell:
    """alice's shell, on the control host or on the laptop."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        terminal.expect(r"\$ ")
        terminal.sendline("stty -echo; PS1=; PS2=; export ANSIBLE_NOCOLOR=1 LC_ALL=C.UTF-8")
        # On a busy machine, more than a minute is between two tasks.
        self.run("export ANSIBLE_SSH_ARGS='-o ControlMaster=auto -o ControlPersist=20m'")
        self.run("cd ~")

    def send(self, command: str) -> None:
        self.terminal.sendline(f'{command}; echo "[ended with $?]"')

    def run(self, command: str, status: int | None = 0) -> str:
        """What a command prints."""
        self.send(command)
        return self.ended(status)

    def become(self, command: str, status: int | None = 0) -> str:
        """What a command prints that asks for the password of sudo."""
        self.send(command)
        self.terminal.expect("BECOME password: ")
        self.terminal.sendline(PASSWORD)
        return self.ended(status)

    def ended(self, status: int | None = 0) -> str:
        self.terminal.expect(r"\[ended with ([0-9]+)\]", timeout=LONG)
        said = str(self.terminal.before).replace("\r", "")
        assert status in (None, int(self.terminal.match.group(1))), said
        return said

    def disconnect(self) -> None:
        """Close what Ansible keeps open to hosts, as a minute without tasks does (ControlPersist)."""
        self.run('for each in ~/.ansible/cp/*; do ssh -q -O exit -S "$each" x 2> /dev/null; done; :')


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with contextlib.ExitStack() as running:
        journald = running.enter_context(Journald())
        machine = Installation()
        for user in PEOPLE:
            machine.add_user(user, PASSWORD)
            Path(f"/etc/sudoers.d/{user}").write_text(f"{user} ALL=(ALL) ALL\n")
        names = (BASTION, LAPTOP, *BEHIND)
        hosts = running.enter_context(running_hosts(names, PEOPLE, GATEWAY))
        _, sandbox = running.enter_context(initialised(POLICY, GATEWAY, as_installed=True))
        # A busy machine may need longer than two seconds. That they are two is shown elsewhere (test_presence.py).
        file = package() / "pam_iampass/gateway/requests/presence.py"
        source = file.read_text()
        assert "\nANSWER_SECONDS = 2\n" in source
        file.write_text(source.replace("\nANSWER_SECONDS = 2\n", "\nANSWER_SECONDS = 20\n"))
        running.enter_context(serving(subprocess.DEVNULL))
        for host in hosts.values():
            host.wait()
        sandbox.auto = "approve"
        found = Fleet(hosts, sandbox, journald)
        _enroll(sandbox)
        _join(found)
        _give_files(found)
        yield found
        Terminal.kill_all()


def _enroll(sandbox: Sandbox) -> None:
    context = ssl.create_default_context(cafile=str(sandbox.ca_file))
    for person in PEOPLE:
        output = run_gateway("enroll", person, "--group", "staff", "--no-wait", as_installed=True)
        (link,) = (line.strip() for line in output.splitlines() if "https://" in line)
        urllib.request.urlopen(urllib.request.Request(link, method="POST"), context=context)


def _join(fleet: Fleet) -> None:
    """All hosts but the laptop join, and their sshd and sudo ask the phone."""
    for hosts, group in (([fleet.bastion], "bastion"), (fleet.behind, "web")):
        terms = ("--group", group, "--uses", str(len(hosts)), "--network", "10.77.0.0/24", "--json")
        made = json.loads(run_gateway("host", "invite", *terms, as_installed=True))
        fleet.each(hosts, "pam-iampass", "join", made["url"], made["invite"])
        if group == "bastion":
            run_gateway("host", "admit", BASTION, as_installed=True)
        setup = ("env", "SUDO_USER=alice", "pam-iampass", "setup", "sshd", "sudo")
        fleet.each(hosts, *setup)


def _give_files(fleet: Fleet) -> None:
    """What alice has on the control host and on the laptop."""
    files = {
        "ansible.cfg": PAGE.block("The run", "[defaults]"),
        "hosts": PAGE.block("The run", "[web]").replace("[1:20]", f"[1:{FORKS}]"),
        "site.yml": PAGE.block("The run", "- hosts: web"),
    }
    for host in (fleet.bastion, fleet.laptop):
        host.know([fleet.bastion, *fleet.behind], "alice")
        written = (
            {**files, ".ssh/config": PAGE.block("From a laptop", "Host")} if host is fleet.laptop else files
        )
        for name, text in written.items():
            script = f"cd ~alice && printf %s {shlex.quote(text)} > {name} && chown alice: {name} && chmod 600 {name}"
            fleet.each([host], "sh", "-c", script)


@pytest.fixture(autouse=True)
def _as_at_first(fleet: Fleet) -> Iterator[None]:
    """The page's settings, and nobody is logged in."""
    fleet.set(SETTINGS)
    fleet.sandbox.auto = "approve"
    yield
    fleet.laptop.run("pkill", "-KILL", "-u", "alice")
    Terminal.kill_all()
    wait_until(lambda: not fleet.sessions(), "logins go on", LONG)


def cell(row: str, way: str) -> int:
    """How often the page's table says that phones ring."""
    lines = [
        [each.strip() for each in line.strip("|\n").split("|")]
        for line in (ROOT / "docs/fleet/ansible.md").read_text().splitlines()
        if line.startswith("|")
    ]
    head = next(line for line in lines if CONTROL in line)
    (found,) = (line for line in lines if line[0] == row)
    said = found[head.index(way)]
    number = re.match(r"\d+", said)
    assert number is not None, said
    return FORKS if int(number[0]) == 20 else int(number[0])


class Counting:
    """Compares how often phones ring with the cells of a column."""

    def __init__(self, fleet: Fleet, way: str) -> None:
        self._fleet, self._way = fleet, way

    @contextlib.contextmanager
    def row(self, row: str) -> Iterator[None]:
        before = self._fleet.rung
        yield
        assert (row, self._fleet.rung - before) == (row, cell(row, self._way))

    @contextlib.contextmanager
    def row_of_second(self, row: str) -> Iterator[None]:
        """The same of carol's phone. All earlier requests were alice's."""
        sessions = self._fleet.sandbox.sessions
        yield
        asked = [each.user for each in self._fleet.sandbox.sessions[len(sessions) :]]
        rung = sum(user != sessions[-1].user for user in asked)
        assert (row, rung) == (row, cell(row, self._way))


@contextlib.contextmanager
def logged_in(fleet: Fleet, way: str) -> Iterator[Shell]:
    """alice's shell where she runs Ansible; with a shared connection, she is logged in to the bastion, too."""
    if way == CONTROL:
        yield Shell(fleet.bastion.login("alice", options=("RequestTTY=force",), timeout=PATIENCE))
        return

    def shell() -> Shell:
        return Shell(Terminal(fleet.laptop.command("runuser", "--login", "alice"), PATIENCE))

    if way == SHARED:
        bastion = shell()
        bastion.terminal.sendline(PAGE.command("From a laptop", "ssh bastion"))
        bastion.terminal.expect_exact("bastion$ ")
    else:
        fleet.laptop.run("mv", "/home/alice/.ssh/config", "/home/alice/config")
        script = "printf 'Host web*\\nProxyJump bastion\\n' | install -m 600 -o alice /dev/stdin ~alice/.ssh/config"
        fleet.each([fleet.laptop], "sh", "-c", script)
    try:
        yield shell()
    finally:
        if way == SEPARATE:
            fleet.laptop.run("mv", "/home/alice/config", "/home/alice/.ssh/config")


RUN = PAGE.command("The run", "ansible-playbook")
PING = "ansible web -m ping"


@pytest.mark.alone  # twenty agents on one machine, each of which must answer a door within five seconds
@pytest.mark.parametrize("way", WAYS)
def test_phones_ring_as_often_as_the_table_says(fleet: Fleet, way: str) -> None:
    counting, forks = Counting(fleet, way), FORKS_WITHOUT if way == SEPARATE else FORKS
    with contextlib.ExitStack() as stack:
        with counting.row("login to the bastion"):
            shell = stack.enter_context(logged_in(fleet, way))
        with counting.row("connections to 20 hosts"):
            said = shell.run(f"{PING} -f {forks}")
        assert said.count('"ping": "pong"') == FORKS
        with counting.row("`become`, within `covers.for`"):
            said = shell.become(RUN)
        assert said.count("failed=0") == FORKS
        fleet.set(SETTINGS.replace("12h", "1m"))
        approved = max(session.decided_at or 0.0 for session in fleet.sandbox.sessions)
        # A host is told of an approval in whole seconds, and later.
        wait_until(lambda: time.monotonic() > approved + 90, "a minute is over", LONG)
        with counting.row("each task with `become`, after `covers.for`"):
            shell.become(RUN)
        fleet.set(SETTINGS)
        shell.disconnect()
        with counting.row("another run, an hour later in the same login"):
            shell.become(f"{RUN} -f {forks}")
        second = SETTINGS + "services: {sudo: {approver: {user: carol}}}\n"
        fleet.set(second)
        with counting.row_of_second("each task with `become`, if a second person approves sudo"):
            shell.become(RUN)


@pytest.mark.parametrize("way", WAYS)
def test_a_run_ends_on_all_hosts_when_the_person_walks_away(fleet: Fleet, way: str) -> None:
    hosts = FORKS_WITHOUT if way == SEPARATE else FORKS
    command = f"ansible 'web[0:{hosts - 1}]' -m command -a '{NAP}'"
    with contextlib.ExitStack() as stack:
        if way == CONTROL:
            environment = "LC_ALL=C.UTF-8 ANSIBLE_NOCOLOR=1"
            options = ("RequestTTY=force",)
            terminal = fleet.bastion.login("alice", f"{environment} {command}", options=options, timeout=LONG)
        else:
            shell = stack.enter_context(logged_in(fleet, way))
            shell.send(command)
        wait_until(lambda: fleet.asleep() == hosts, "the task does not begin", LONG)
        for session in fleet.sandbox.sessions:
            if session.open:
                fleet.sandbox.walk_away(session)
        if way == CONTROL:
            terminal.finish()
            said = terminal.shown
        else:
            said = shell.ended(None)
            assert said.count("| UNREACHABLE!") + said.count("| FAILED") == hosts
        wait_until(lambda: not fleet.sessions(), "logins go on", LONG)
        assert fleet.asleep() == 0


def test_sudo_that_remembers_asks_once_on_each_host_however_many_tasks_there_are(fleet: Fleet) -> None:
    remembers = PAGE.command("Settings for one approval", "Defaults:alice")
    forgets = f"sed -i '/^{remembers}$/d' /etc/sudoers.d/alice"
    fleet.each(fleet.behind, "sh", "-c", f"echo '{remembers}' >> /etc/sudoers.d/alice")
    try:
        with logged_in(fleet, CONTROL) as shell:
            before = fleet.rung
            many = "- hosts: web1\n  gather_facts: false\n  tasks:\n"
            many += "    - {command: id -un, become: true, loop: '{{ range(40) | list }}'}\n"
            shell.run(f"printf %s {shlex.quote(many)} > many.yml")
            said = shell.become("ansible-playbook -K many.yml")
            assert said.count("changed: [web1]") == 40
            assert fleet.rung == before
    finally:
        fleet.each(fleet.behind, "sh", "-c", forgets)


@pytest.fixture(scope="module")
def programs() -> None:
    """What Debian has beside Ansible."""
    for file in (PACKAGES.parent / "runs").glob("*.deb"):
        subprocess.run(["dpkg", "--extract", file, "/"], check=True)


OTHERS = (
    "parallel-ssh -h web.txt -i id -un",
    "rsync site.yml web1:",
    "git clone web1:site.git",
)


@pytest.mark.parametrize("way", [CONTROL, SHARED])
def test_other_programs_do_not_ring_either(fleet: Fleet, programs: None, way: str) -> None:
    with logged_in(fleet, way) as shell:
        before = fleet.rung
        shell.run(f"rm -rf site; for each in $(seq {FORKS}); do echo web$each; done > web.txt")
        shell.run("ssh web1 git init -q --bare site.git")
        said = [shell.run(PAGE.command("Other programs", command.split()[0])) for command in OTHERS]
        assert said[0].count("SUCCESS") == FORKS
        assert fleet.rung == before


def test_mitogen_rings_no_more_often(fleet: Fleet, programs: None) -> None:
    strategy = PAGE.command("Other programs", "ANSIBLE_STRATEGY")
    with logged_in(fleet, CONTROL) as shell:
        before = fleet.rung
        said = shell.become(strategy)
        assert said.count("failed=0") == FORKS
        assert fleet.rung == before
