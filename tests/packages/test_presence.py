"""Who goes on from an approved login on a bastion, and who does not: three booted machines, real sshds. tests/fleet has
what else passes with it, such as sudo and scp.

The gateway's machine is the bastion, of Debian 13; `web` is of Debian 12 where its packages were built too, `db` of 13.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.packages.administrator import NAMES, PACKAGES, Administrator, built
from tests.packages.booted import Booted
from tests.packages.gateway_hosts import IAMPASS, SECRET, invited, start_iampass
from tests.packages.kept_logins import sessions, wait_for
from tests.packages.people import KEY, SSH, People
from tests.packages.phone import Phone
from tests.packages.test_gateway import monitored
from tests.packages.test_gateway_page import enroll
from tests.packages.typed_page import TypedPage
from tests.support.terminal import Terminal

BASTION = "bastion.example.com"
SECTION = "One approval for a bastion and what is behind it"
#: What the page says, with sooner polls.
SETTINGS = (
    TypedPage("docs/fleet/bastion.md").block(SECTION, "session:") + "  check: 2s\nthrottle: {spacing: 0s}\n"
)
#: A busy machine may need longer than two seconds. That they are two is shown elsewhere (gateway/test_presence.py).
LONGER = """\
file=/usr/lib/python3/dist-packages/pam_iampass/gateway/requests/presence.py
grep -q '^ANSWER_SECONDS = 2$' $file
sed -i 's/^ANSWER_SECONDS = 2$/ANSWER_SECONDS = 8/' $file
"""
#: What the page says, with a group that it does not have.
PAGE = TypedPage("docs/fleet/bastion.md").block(SECTION, "groups:")
GROUPS = f"{PAGE}  db: {{people: [staff]}}\n"
INIT = (
    f"--name {BASTION} --application-id my-application --secret-file - --server https://127.0.0.1:{IAMPASS}"
)
HOSTS = f"127.0.0.1 localhost\n10.78.1.1 {BASTION}\n10.78.1.2 web.example.com\n10.78.2.2 db.example.com\n"
pytestmark = pytest.mark.timeout(900)  # three machines boot
#: ssh of alice from one machine to another, as she would configure it.
QUIET = "-o StrictHostKeyChecking=no -o LogLevel=ERROR -o ConnectTimeout=20"


@dataclass
class Fleet:
    """The machines, and the phones of those who log in."""

    bastion: Booted
    web: Booted
    db: Booted
    phone: Phone = field(init=False)
    people: People = field(init=False)

    def __post_init__(self) -> None:
        self.phone, self.people = Phone(self.bastion, IAMPASS), People(self.bastion, IAMPASS)

    @property
    def machines(self) -> dict[str, Booted]:
        return {BASTION: self.bastion, "web.example.com": self.web, "db.example.com": self.db}

    def answer(self, verb: str = "approve") -> int:
        """Answer the only request that waits, once there is one; its number at IAMPASS."""
        (request,) = wait_for(self.phone.requests, "the phone rings")
        self.phone.answer(request["id"], verb)
        return int(request["id"])

    def forget_failures(self) -> None:
        """After a denial, each login would wait."""
        self.bastion.run("pam-iampass-gateway", "throttle", "clear", "alice")
        for machine in self.machines.values():
            machine.run("pam-iampass", "throttle", "clear", "alice")

    def hears_of_questions(self) -> bool:
        """Whether the bastion's agent, which keeps a session, waits at the gateway."""
        return "\niampass_gateway_calls_held 1.0\n" in monitored(self.bastion, "/metrics")[1]

    def group(self, groups: str) -> None:
        """Write the groups, and have the gateway read them."""
        file = "/etc/iampass-gateway/gateway.yaml"
        own = "/^groups:$/d; /^  default: {everybody: true}$/d"
        self.bastion.shell(f"sed -i '{own}' {file}; cat >> {file} <<'end'\n{groups}end")
        assert "All is well." in self.bastion.run("pam-iampass-gateway", "check", "--settings").stdout
        self.bastion.run("systemctl", "restart", "pam-iampass-gateway")


def cable(router: Booted, host: Booted, number: int) -> None:
    """A cable between two machines. The first one passes packets on, unchanged."""
    ends = (f"host{number}", str(router.pid)), ("uplink", str(host.pid))
    words = ["ip", "link", "add", ends[0][0], "netns", ends[0][1], "type", "veth"]
    subprocess.run([*words, "peer", "name", ends[1][0], "netns", ends[1][1]], check=True)
    for last, (name, pid) in enumerate(ends, 1):
        inside = ["nsenter", "-t", pid, "--net"]
        for address in (f"10.78.{number}.{last}/24", f"fd78:{number}::{last}/64"):
            subprocess.run(
                [*inside, "ip", "address", "add", address, "dev", name, *nodad(address)], check=True
            )
        subprocess.run([*inside, "ip", "link", "set", name, "up"], check=True)
        subprocess.run([*inside, "sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)
    inside = ["nsenter", "-t", str(host.pid), "--net", "ip", "route", "add", "10.78.0.0/16", "via"]
    subprocess.run([*inside, f"10.78.{number}.1"], check=True)


def nodad(address: str) -> list[str]:
    """An address of IPv6 can be used at once."""
    return ["nodad"] if ":" in address else []


def prepare(machine: Booted, name: str, packages: tuple[Path, ...]) -> None:
    """Accounts, packages and settings."""
    administrator = Administrator(machine, ("alice", "bob"), IAMPASS)
    administrator.make_people()
    machine.shell(f"echo {name} > /etc/hostname; hostname {name}")
    machine.write("/etc/hosts", HOSTS)
    administrator.install(*packages)
    machine.write("/etc/iampass/iampass.yaml", SETTINGS, 0o640, "_iampass")


def join(fleet: Fleet, name: str) -> None:
    """A machine joins the group of its name, and its sshd and sudo ask the phone."""
    machine, group = fleet.machines[name], name.partition(".")[0]
    command = invited(fleet.bastion, f"pam-iampass-gateway host invite --name {name} --group {group}")
    machine.shell(command)
    if group == "bastion":
        fleet.bastion.run("pam-iampass-gateway", "host", "admit", name)
    machine.run("pam-iampass", "setup", "sshd", "sudo", "--force")
    assert "All is well." in machine.run("pam-iampass", "check", "--settings").stdout


@pytest.fixture(scope="module")
def fleet(root: Path) -> Iterator[Fleet]:
    older = os.environ.get("PACKAGES_BOOKWORM_ROOT")
    sources = [
        (root, PACKAGES),
        (Path(older), PACKAGES.parent / "bookworm") if older else (root, PACKAGES),
        (root, PACKAGES),
    ]
    booted: list[Booted] = []
    with contextlib.ExitStack() as stack:
        for source, _ in sources:
            booted.append(Booted(source))
            stack.callback(booted[-1].close)
            booted[-1].boot()
        found = Fleet(*booted)
        cable(found.bastion, found.web, 1)
        cable(found.bastion, found.db, 2)
        for (name, machine), (_, packages) in zip(found.machines.items(), sources):
            names = (*NAMES, "pam-iampass-gateway") if machine is found.bastion else NAMES[:1]
            prepare(machine, name, built(names, packages))
        found.bastion.shell(LONGER)
        start_iampass(found.bastion)
        words = ["pam-iampass-gateway", "init", *INIT.split(), "--server-ca-file", "/etc/iampass-ca.pem"]
        found.bastion.run(*words, stdin=SECRET)
        for user in ("alice", "bob"):
            enroll(found.bastion, found.phone, f"pam-iampass-gateway enroll {user} --group staff")
        found.group(GROUPS)
        for name in found.machines:
            join(found, name)
        give_keys(found)
        yield found


def give_keys(fleet: Fleet) -> None:
    """alice has a key on each machine with which she can go on to each. So has whoever stole it."""
    fleet.bastion.shell("install -m 0600 -o alice -g alice /root/key /home/alice/.ssh/id_ed25519")
    key, public = fleet.bastion.read("/root/key"), fleet.bastion.read("/root/key.pub")
    for machine in (fleet.web, fleet.db):
        machine.shell(f"echo '{public.strip()}' >> /home/alice/.ssh/authorized_keys")
        machine.write("/home/alice/.ssh/id_ed25519", key, 0o600)
        machine.run("chown", "alice:alice", "/home/alice/.ssh/id_ed25519")
    for machine in fleet.machines.values():
        machine.write("/root/stolen", key, 0o600)
    fleet.bastion.shell("install -m 0600 -o bob -g bob /root/key /home/bob/stolen")


class Shell:
    """alice's shell on the bastion, approved on the phone."""

    def __init__(self, fleet: Fleet, *command: str) -> None:
        self.fleet = fleet
        words = command or ("ssh", *KEY, *SSH, "-tt", "alice@127.0.0.1", "exec sh -i")
        self.terminal = fleet.bastion.terminal(*words)
        self.number = fleet.answer()
        self.terminal.expect(r"\$ ")
        self.terminal.sendline("stty -echo; PS1=; unset HISTFILE")
        wait_for(fleet.hears_of_questions, "the session is kept, and its host can be asked")
        self.say("echo ready")

    def say(self, command: str, status: int = 0) -> str:
        """Type a command that asks nothing; what it said."""
        self.terminal.sendline(f'{command}; echo "[ended with $?]"')
        return self.ended(status)

    def ended(self, status: int = 0) -> str:
        self.terminal.expect(r"\[ended with ([0-9]+)\]")
        said = str(self.terminal.before)
        assert int(self.terminal.match.group(1)) == status, said
        return said

    def is_over(self) -> bool:
        return self.terminal.process.poll() is not None


@pytest.fixture
def shell(fleet: Fleet) -> Iterator[Shell]:
    """A shell of alice's on the bastion; afterwards nobody is logged in anywhere, and no login waits."""
    fleet.forget_failures()
    yield Shell(fleet)
    for name, machine in fleet.machines.items():  # shown if the test fails
        print(name, machine.run("journalctl", "-n", "40", "--no-pager", "-q").stdout, sep="\n")
    Terminal.kill_all()
    for machine in fleet.machines.values():
        machine.run("pkill", "-x", "ssh", check=False)
    for machine in fleet.machines.values():
        wait_for(lambda: not sessions(machine), "the sessions end")  # noqa: B023


def decided(machine: Booted, cursor: str) -> list[dict[str, Any]]:
    """The records of logins since `cursor`."""
    return [each for each in machine.journal_now(cursor) if "IAMPASS_OUTCOME" in each]


def assert_covered(machine: Booted, cursor: str) -> None:
    """The last login there was covered by one on the bastion, and is kept for itself."""
    record = decided(machine, cursor)[-1]
    assert (record["IAMPASS_OUTCOME"], record["IAMPASS_RESULT"]) == ("covered", "ignored"), record
    assert record["IAMPASS_SERVICE"] == "sshd"
    assert record["IAMPASS_COVERED_BY"] == BASTION
    assert record["IAMPASS_SESSION"]


# Who goes on from the bastion is not asked again

FROM_THE_SHELL = {
    "ssh over IPv6": f"ssh {QUIET} fd78:1::2 true",
    "ssh with BatchMode, as Ansible uses it": f"ssh {QUIET} -o BatchMode=yes -o ControlMaster=auto"
    " -o ControlPersist=1 -o ControlPath=/tmp/cm-%C web.example.com true",
}


@pytest.mark.parametrize("how", FROM_THE_SHELL)
def test_from_a_shell_on_the_bastion(fleet: Fleet, shell: Shell, how: str) -> None:
    cursor = fleet.web.cursor()
    said = shell.say(FROM_THE_SHELL[how])
    assert "IAMPASS" not in said
    assert "pproved" not in said, "nothing that Ansible would have to read"
    assert_covered(fleet.web, cursor)
    assert fleet.phone.requests() == []


# Who does not come from that login is asked

TO_WEB = f"ssh {QUIET} -o BatchMode=yes -o UserKnownHostsFile=/dev/null -i {{key}} alice@web.example.com touch intruder"
#: On which machine, with which key, and how it is run.
ATTACKS = {
    "another user of the bastion": ("bastion", "/home/bob/stolen", "runuser -u bob -- {ssh}"),
    "root of the bastion": ("bastion", "/root/stolen", "{ssh}"),
    "a service as the same user": (
        "bastion",
        "/home/alice/.ssh/id_ed25519",
        "systemd-run --quiet --wait --uid=alice --setenv=HOME=/home/alice {ssh}",
    ),
    "somebody with her key elsewhere": ("db", "/root/stolen", "{ssh}"),
    "a relay on the bastion, which comes from its address": (
        "db",
        "/root/stolen",
        "{ssh} -o HostKeyAlias=web -o 'ProxyCommand=python3 -c \"$RELAY\"'",
    ),
}
#: To port 2222 of the bastion, behind which a service of that machine connects to the host, from the bastion's address.
RELAY = """\
import os, socket, sys, threading
there = socket.create_connection(("10.78.2.1", 2222))
def back():
    while data := there.recv(65536):
        os.write(1, data)
    os._exit(0)
threading.Thread(target=back, daemon=True).start()
while data := os.read(0, 65536):
    there.sendall(data)
"""


@pytest.fixture(scope="module")
def relay(fleet: Fleet) -> None:
    """A proxy on the bastion, as behind a NAT: everybody comes from its address."""
    unit = "[Socket]\nListenStream=10.78.2.1:2222\n[Install]\nWantedBy=sockets.target\n"
    fleet.bastion.write("/etc/systemd/system/relay.socket", unit)
    proxy = "/usr/lib/systemd/systemd-socket-proxyd 10.78.1.2:22"
    fleet.bastion.write("/etc/systemd/system/relay.service", f"[Service]\nExecStart={proxy}\n")
    fleet.bastion.shell("systemctl daemon-reload; systemctl start relay.socket")


@pytest.mark.parametrize("who", ATTACKS)
def test_who_does_not_come_from_the_login_asks_the_phone(
    fleet: Fleet, shell: Shell, relay: None, who: str
) -> None:
    where, key, how = ATTACKS[who]
    machine = getattr(fleet, where)
    cursor = fleet.web.cursor()
    command = how.format(ssh=TO_WEB.format(key=key))
    terminal = machine.terminal("env", f"RELAY={RELAY}", "sh", "-c", command)
    fleet.answer("deny")
    assert terminal.finish() != 0, terminal.shown
    (record,) = wait_for(lambda: decided(fleet.web, cursor), "the login is recorded")
    assert record["IAMPASS_OUTCOME"] == "denied"
    assert fleet.web.shell("ls /home/alice/intruder 2> /dev/null || :") == ""
    shell.say(f"ssh {QUIET} web.example.com true")
    assert_covered(fleet.web, cursor)


def test_a_master_connection_ends_with_the_login_that_made_it(fleet: Fleet, shell: Shell) -> None:
    """Its process outlives the login, and is in the scope of that still."""
    shell.say(f"ssh {QUIET} -MNf -S /tmp/master web.example.com < /dev/null > /dev/null 2>&1")
    assert "alive" in shell.say(f"ssh {QUIET} -S /tmp/master web.example.com echo alive")
    shell.terminal.sendline("exit")
    assert shell.terminal.finish() == 0
    wait_for(lambda: not sessions(fleet.bastion), "the login on the bastion is over")
    wait_for(lambda: not sessions(fleet.web), "what it covered is over")
    through = f"runuser -u alice -- ssh {QUIET} -o BatchMode=yes -S /tmp/master web.example.com echo alive"
    terminal = fleet.bastion.terminal("sh", "-c", through)
    fleet.answer("deny")  # there is no master any more: it is a login of its own
    assert terminal.finish() != 0


# When the login on the bastion ends, so does each that it covers


@pytest.fixture
def inner(fleet: Fleet, shell: Shell) -> Terminal:
    """A shell on `web` that began in the shell on the bastion, in a terminal of its own."""
    shell.terminal.sendline(f"ssh -tt {QUIET} web.example.com 'exec sh -i'; echo '[ended with '$?]")
    shell.terminal.expect(r"\$ ")
    wait_for(lambda: sessions(fleet.web), "the session is kept")
    return shell.terminal


@pytest.mark.parametrize("how", ["end", "away", "an administrator", "phone lost"])
def test_all_end_with_the_login_on_the_bastion(fleet: Fleet, shell: Shell, inner: Terminal, how: str) -> None:
    cursor = fleet.web.cursor()
    if how == "an administrator":
        fleet.bastion.run("pam-iampass-gateway", "session", "end", "alice")
    elif how == "phone lost":
        fleet.bastion.run("pam-iampass-gateway", "phone", "lost", "alice", "--yes")
    else:
        fleet.phone.move(shell.number, how)
    wait_for(lambda: not sessions(fleet.web), "the login on web ends")
    wait_for(lambda: not sessions(fleet.bastion), "the login on the bastion ends")
    wait_for(shell.is_over, "the terminal is closed")
    assert "session_ended" in {each.get("IAMPASS_EVENT") for each in fleet.web.journal_now(cursor)}
    if how == "phone lost":
        enroll(fleet.bastion, fleet.phone, "pam-iampass-gateway enroll alice --group staff")


def test_a_login_ends_although_the_gateway_was_away_when_the_other_one_did(
    fleet: Fleet, shell: Shell, inner: Terminal
) -> None:
    fleet.bastion.run("systemctl", "stop", "pam-iampass-gateway")
    try:
        fleet.bastion.run("pam-iampass", "session", "end", "alice", check=False)
        wait_for(shell.is_over, "the login on the bastion ends")
    finally:
        fleet.bastion.run("systemctl", "start", "pam-iampass-gateway")
    wait_for(lambda: not sessions(fleet.web), "the login on web ends", 120.0)
