"""Alice and Bob in one account, with real sshd and sudo: who approves there, and what Bob can do to Alice's session."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_iampass.sandbox.sessions import SandboxSession
from tests.support.installation import Installation
from tests.support.pam_files import asking
from tests.support.ssh_keys import make_key
from tests.support.sshd import Login
from tests.support.terminal import ENVIRONMENT
from tests.support.world import PASSWORD, PATIENCE, World, token_of, wait_until

SHARED = "dave"  # the account
HOME = Path("/home") / SHARED
SUDO = f"echo '{PASSWORD}' | sudo -k -S -p '' sh -c 'echo As $(id -un).'; echo status=$?"
TAKE_OVER = Path(__file__).parents[1] / "packages/take_over.py"
METHODS = "-o PreferredAuthentications=publickey,keyboard-interactive"
SUDOERS = Path("/etc/sudoers.d/shared")


@pytest.fixture(scope="module", autouse=True)
def sudo(machine: Installation) -> Iterator[None]:
    """sudo in the account asks for its password, which both know, and the phone."""
    _sudoers()
    with asking("sudo"):
        yield
    SUDOERS.unlink()


def _sudoers(more: str = "") -> None:
    SUDOERS.write_text(f"{SHARED} ALL=(ALL) ALL\nDefaults:{SHARED} !lecture\n{more}")
    SUDOERS.chmod(0o440)


class People:
    """Each has a key to the account, which names them."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder, self.world = folder, world
        public = {name: make_key(folder / name) for name in ("alice", "bob")}
        rows = (f"{name}: {{token: {token_of(name)}, keys: ['{key}']}}\n" for name, key in public.items())
        world.machine.write_users("".join(rows))
        admitted = HOME / ".ssh/authorized_keys"
        admitted.write_text("\n".join(public.values()) + "\n")
        self.keep()

    def keep(self, covers: str = "[]", *, kept: bool = True, more: str = "") -> None:
        """Logins keep their sessions, which cover these services."""
        session = f"{{keep: {str(kept).lower()}, check: 2s, covers: {{services: {covers}}}{more}}}"
        sshd = f"sshd: {{approver: key, session: {session}}}"
        self.world.machine.change(services=f"{{{sshd}, sudo: {{approver: login, prompt: never}}}}")
        self.world.mark()


@pytest.fixture
def people(tmp_path: Path, world: World) -> Iterator[People]:
    tmp_path.chmod(0o755)
    yield People(tmp_path, world)
    _sudoers()
    for left in (HOME / ".profile", HOME / "attack", HOME / "seen", HOME / "tmux"):
        left.unlink(missing_ok=True)
    subprocess.run(["pkill", "-KILL", "-u", SHARED], check=False)
    world.sshd.admit(SHARED)


class Shell:
    """A shell in the account, of a person who has approved the login."""

    def __init__(self, people: People, person: str, command: str = "sh", agent: str = "") -> None:
        """`agent` is the socket of an ssh-agent that the client forwards."""
        self.person, self.world = person, people.world
        forward = f"ForwardAgent={'yes' if agent else 'no'}"
        options = ("RequestTTY=force", f"IdentityFile={people.folder / person}", forward)
        client = self.world.sshd.command(SHARED, command, options=options)
        self.login = Login(client, environment={"SSH_AUTH_SOCK": agent} if agent else None)
        self.login.enter()
        self.last: SandboxSession = self.world.approve(person)
        self.run("stty -echo; echo Re''ady.", "Ready\\.")

    def run(self, command: str, expected: str) -> str:
        """Type a command, and wait for what it prints; the first group of it."""
        self.login.sendline(command)
        self.login.expect(expected)
        return str(self.login.match.group(1)) if self.login.match.groups() else ""

    def request(self) -> SandboxSession:
        """Wait for the next request on the person's phone."""
        token = token_of(self.person)
        self.last = self.world.sandbox.wait_for_request(token, PATIENCE, after=self.last)
        return self.last

    def sudo(self) -> None:
        """sudo, approved on the person's phone."""
        self.login.sendline(SUDO)
        self.world.sandbox.approve(self.request())
        self.login.expect("As root\\.\\s+status=0")

    def process(self) -> str:
        """The id of a process that sleeps in this login session."""
        return self.run("sleep 1000 & echo pid=$!", "pid=([0-9]+)\\s")


@pytest.fixture
def alice(people: People) -> Shell:
    return Shell(people, "alice")


@pytest.fixture
def bob(people: People, alice: Shell) -> Shell:
    """After Alice."""
    return Shell(people, "bob")


def attack(command: str = SUDO) -> str:
    """What Bob has run elsewhere: its output goes into a file."""
    script = HOME / "attack"
    script.write_text(f"#!/bin/sh\n({command}) > {HOME}/seen.new 2>&1; mv {HOME}/seen.new {HOME}/seen\n")
    script.chmod(0o755)
    return str(script)


def seen() -> str:
    """What it printed, once it has ended."""
    file = HOME / "seen"
    wait_until(file.exists, "the attack has not ended")
    return file.read_text()


def records(world: World, service: str = "sudo") -> list[tuple[str, str]]:
    """Of the logins to the account: outcome, and who was asked. The agent is not at rest while sessions are kept."""
    names = {"IAMPASS_SERVICE": service, "IAMPASS_USER": SHARED}
    found = world.journald.records(world._cursor, **names)
    outcomes = [record for record in found if "IAMPASS_OUTCOME" in record]
    return [(each["IAMPASS_OUTCOME"], each.get("IAMPASS_APPROVER", "")) for each in outcomes]


def wait_for_records(world: World, *expected: tuple[str, str], service: str = "sudo") -> None:
    wait_until(lambda: len(records(world, service)) >= len(expected), "a record is missing")
    assert records(world, service) == [*expected]


# What Bob cannot do


def test_sudo_asks_the_phone_of_who_approved_the_login_in_which_it_is_called(
    alice: Shell, bob: Shell
) -> None:
    alice.sudo()
    bob.sudo()
    wait_for_records(alice.world, ("approved", "alice"), ("approved", "bob"))
    assert (alice.world.starts("alice"), alice.world.starts("bob"), alice.world.starts(SHARED)) == (2, 2, 0)


def test_each_is_covered_by_their_own_session_only(people: People) -> None:
    people.keep("[sudo]")
    alice, bob = Shell(people, "alice"), Shell(people, "bob")
    alice.run(SUDO, "As root\\.\\s+status=0")
    bob.run(SUDO, "As root\\.\\s+status=0")
    wait_for_records(people.world, ("covered", "alice"), ("covered", "bob"))


def test_sudo_does_not_remember_for_bob_that_alice_has_approved(alice: Shell, bob: Shell) -> None:
    alice.login.sendline(f"echo '{PASSWORD}' | sudo -S -p '' -v; echo status=$?")
    alice.world.sandbox.approve(alice.request())
    alice.login.expect("status=0")
    alice.run("sudo -n id -un", "root\\s")
    bob.run("sudo -n id -un; echo status=$?", "password is required\\s+status=1")


# What Bob can do


def test_with_timestamps_that_are_the_accounts_sudo_remembers_for_bob_what_alice_has_approved(
    alice: Shell, bob: Shell
) -> None:
    """A limitation: sudoers can have one time stamp for all terminals of an account."""
    _sudoers(f"Defaults:{SHARED} timestamp_type=global\n")
    alice.login.sendline(f"echo '{PASSWORD}' | sudo -S -p '' -v; echo status=$?")
    alice.world.sandbox.approve(alice.request())
    alice.login.expect("status=0")
    bob.run("sudo -n id -un; echo status=$?", "root\\s+status=0")
    _sudoers(f"Defaults:{SHARED} timestamp_type=global, timestamp_timeout=0\n")
    bob.run("sudo -n id -un; echo status=$?", "password is required\\s+status=1")


def test_a_process_of_alices_that_bob_takes_over_asks_her_phone(alice: Shell, bob: Shell) -> None:
    """A limitation: it is in her login session. Without a cover she sees it, and refuses."""
    shutil.copy(TAKE_OVER, "/usr/local/lib/take_over.py")
    taken = f"{sys.executable} -I /usr/local/lib/take_over.py {alice.process()} /bin/sh {attack()}"
    bob.login.sendline(taken)
    alice.world.sandbox.deny(alice.request())
    assert "status=1" in seen()
    wait_for_records(alice.world, ("denied", "alice"))


def test_a_process_of_alices_that_bob_takes_over_is_covered_as_she_is(people: People) -> None:
    """A limitation: in an account that several people share, nothing should be covered."""
    people.keep("[sudo]")
    alice, bob = Shell(people, "alice"), Shell(people, "bob")
    shutil.copy(TAKE_OVER, "/usr/local/lib/take_over.py")
    taken = f"{sys.executable} -I /usr/local/lib/take_over.py {alice.process()} /bin/sh {attack()}"
    bob.login.sendline(taken)
    assert "As root." in seen()
    wait_for_records(people.world, ("covered", "alice"))


def test_what_bob_writes_into_files_that_alices_shell_reads_runs_in_her_session(people: People) -> None:
    """A limitation: her phone is asked, once more than she has typed sudo."""
    (HOME / ".profile").write_text(f"{attack()} &\n")
    alice = Shell(people, "alice", command="sh -l")
    alice.world.sandbox.deny(alice.request())
    assert "status=1" in seen()
    wait_for_records(people.world, ("denied", "alice"))


@pytest.mark.needs_program("tmux")
def test_what_bob_types_into_alices_tmux_is_hers_and_what_she_types_into_his_is_his(
    alice: Shell, bob: Shell
) -> None:
    """A limitation: a tmux is in the login session of who has started it, whoever is attached to it."""
    tmux = f"tmux -S {HOME}/tmux"
    alice.run(f"{tmux} new-session -d && echo Star''ted.", "Started\\.")
    bob.login.sendline(f"{tmux} send-keys {shlex.quote(attack())} Enter")
    alice.world.sandbox.deny(alice.request())
    assert "status=1" in seen()
    alice.run(f"{tmux} kill-server; rm {HOME}/seen; echo Do''ne.", "Done\\.")
    bob.run(f"{tmux} new-session -d && echo Star''ted.", "Started\\.")
    alice.login.sendline(f"{tmux} send-keys {HOME}/attack Enter")
    bob.world.sandbox.deny(bob.request())
    assert "status=1" in seen()
    wait_for_records(bob.world, ("denied", "alice"), ("denied", "bob"))


def test_a_login_by_the_agent_that_alice_forwards_asks_her_phone(people: People) -> None:
    """A limitation: anyone who uses the account can have her agent sign, for this machine and for others. Where her key
    names her, `covers_connections` changes nothing."""
    people.keep(more=", covers_connections: true")
    socket = people.folder / "agent"
    with contextlib.ExitStack() as ends:
        command = ["ssh-agent", "-D", "-a", str(socket)]
        agent = ends.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        ends.callback(agent.terminate)
        wait_until(socket.exists, "the agent does not listen")
        environment = {**ENVIRONMENT, "SSH_AUTH_SOCK": str(socket)}
        subprocess.run(["ssh-add", "-q", people.folder / "alice"], env=environment, check=True)
        alice = Shell(people, "alice", agent=str(socket))
        forwarded = alice.run("echo sock=$SSH_AUTH_SOCK.", "sock=(/[^ ]+)\\.\\s")
        bob = Shell(people, "bob")
        known = f"-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null {METHODS}"
        login = f"ssh -tt -p {people.world.sshd.port} {known} {SHARED}@127.0.0.1 id -un"
        bob.login.sendline(f"SSH_AUTH_SOCK={forwarded} {login}; echo status=$?")
        bob.login.enter()
        alice.world.sandbox.deny(alice.request())
        bob.login.expect("status=255")
    approved = ("approved", "alice"), ("approved", "bob")
    wait_for_records(people.world, *approved, ("denied", "alice"), service="sshd")
