"""Accounts that several people share, in a real sshd: the key that it accepts names the person whose phone is asked."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import world as world_of
from tests.support.agent import RunningAgent
from tests.support.command import run_command
from tests.support.installation import ETC, Installation
from tests.support.journald import Journald
from tests.support.recovery import new_codes
from tests.support.sandbox import Sandbox
from tests.support.ssh_keys import listed, make_key, sign
from tests.support.sshd import Sshd
from tests.support.terminal import ENVIRONMENT
from tests.support.world import PASSWORD, World, token_of

SHARED = "carol"  # the account
PEOPLE = ("alice", "bob")


@pytest.fixture(scope="module")
def root_sshd(sshd: Sshd, folder: Path) -> Iterator[Sshd]:
    """As setup does it with a prompt, and for root."""
    with Sshd(folder / "shared", "PermitRootLogin=yes", way="key") as running:
        yield running


@pytest.fixture
def world(
    machine: Installation, sandbox: Sandbox, journald: Journald, root_sshd: Sshd, agent: RunningAgent
) -> World:
    """Everything, reset for each test."""
    return World(machine, sandbox, journald, root_sshd, agent=agent)


class Keys:
    """Each person's key, those of nobody's and of two CAs, and which of them sshd accepts for the account."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder, self.world = folder, world
        names = (*PEOPLE, "alice2", "stranger", "ca", "other-ca")
        self.public = {name: make_key(folder / name) for name in names}
        others = [user for user in world_of.PEOPLE if user not in PEOPLE]
        world.machine.write_users("".join(f"{user}: {token_of(user)}\n" for user in others))
        for person in PEOPLE:
            assert run_command("user", "add", person, "--token", token_of(person)).returncode == 0
            assert run_command("user", "add-key", person, str(folder / f"{person}.pub")).returncode == 0
        assert run_command("user", "add-key", "alice", str(folder / "alice2.pub")).returncode == 0
        world.machine.change(services="{sshd: {approver: key}}")
        world.mark()

    def print_of(self, name: str) -> str:
        return listed(self.public[name], self.folder)

    def admit(self, *names: str, account: str = SHARED, cas: tuple[str, ...] = ()) -> None:
        """Have sshd accept these keys for the account, and certificates of these CAs."""
        lines = [self.public[name] for name in names]
        lines += [f'cert-authority,principals="{SHARED},alice,bob" {self.public[name]}' for name in cas]
        folder = Path(f"~{account}").expanduser() / ".ssh"
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "authorized_keys").write_text("\n".join(lines) + "\n")
        for path in (folder, folder / "authorized_keys"):
            shutil.chown(path, account, account)

    def offering(self, *names: str) -> tuple[str, ...]:
        """The options of a client that offers these keys, in this order, before its own."""
        return tuple(f"IdentityFile={self.folder / name}" for name in names)

    def approved_by(self, person: str, *options: str, account: str = SHARED) -> None:
        """A login to the account asks this person, and nobody else, and is theirs in the journal."""
        login = self.world.login(account, *options)
        login.enter()
        self.world.approve(person)
        login.expect(f"In as {account}.")
        assert login.finish() == 0
        assert self.world.starts() == self.world.starts(person) == 1
        record = self.world.record(account)
        assert record["IAMPASS_APPROVER"] == person
        assert self.world.outcome(account) == ("approved", "success")
        self.world.mark()

    def denied(self, *options: str, outcome: str, because: str, prompt: bool = False) -> None:
        """A login to the account asks nobody."""
        login = self.world.login(SHARED, *options)
        if prompt:
            login.enter()
        assert login.finish() == 255
        assert self.world.calls() == []
        assert self.world.outcome() == (outcome, "denied")
        assert because in self.world.record()["IAMPASS_REASON"]
        self.world.mark()


@pytest.fixture
def keys(tmp_path: Path, world: World) -> Iterator[Keys]:
    tmp_path.chmod(0o755)
    of_root = Path("/root/.ssh/authorized_keys")
    before = of_root.read_text()
    yield Keys(tmp_path, world)
    shutil.rmtree(ETC / "users.d")
    world.sshd.admit(SHARED)
    of_root.write_text(before)


def test_two_people_log_in_to_root_and_to_another_account_each_by_their_own_phone(keys: Keys) -> None:
    for account in ("root", SHARED):
        keys.admit(*PEOPLE, account=account)
        for person in PEOPLE:
            keys.approved_by(person, *keys.offering(person), account=account)


def test_of_several_keys_that_are_offered_the_one_that_is_accepted_counts(keys: Keys) -> None:
    keys.admit("bob")
    keys.approved_by("bob", *keys.offering("alice", "stranger", "bob"))


def test_who_only_has_the_public_key_of_another_person_is_not_that_person(keys: Keys) -> None:
    keys.admit("alice", "bob")
    (keys.folder / "alice").unlink()  # sshd is asked about the public key, and would accept it
    keys.approved_by("bob", *keys.offering("alice.pub", "bob"))


def test_no_key_of_their_own_makes_anybody_their_own_second_person(keys: Keys) -> None:
    keys.admit("bob", "stranger")
    keys.world.machine.change(services="{sshd: {approver: {users: [bob, alice]}}}")
    keys.world.mark()
    keys.approved_by("alice", *keys.offering("bob"))
    keys.denied(*keys.offering("stranger"), outcome="unlisted", because=keys.print_of("stranger"))


def test_a_key_in_a_forwarded_agent_is_its_owners(keys: Keys) -> None:
    keys.admit("alice")
    keys.admit("alice", account="root")
    socket = keys.folder / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        environment = {**ENVIRONMENT, "SSH_AUTH_SOCK": str(socket)}
        while subprocess.run(["ssh-add", "-l"], env=environment, capture_output=True).returncode == 2:
            pass
        subprocess.run(["ssh-add", "-q", keys.folder / "alice"], env=environment, check=True)
        port = keys.world.sshd.port
        inner = f"ssh -tt -o StrictHostKeyChecking=no -p {port} root@127.0.0.1 id -un"
        options = (
            "RequestTTY=force",
            f"IdentityAgent={socket}",
            f"ForwardAgent={socket}",
            "IdentitiesOnly=no",
        )
        login = keys.world.sshd.login(SHARED, inner, options=options)
        for account in (SHARED, "root"):
            login.enter()
            session = keys.world.approve("alice")
            keys.world._last_before = session
            del account
        login.expect("root\r\n")
        assert login.finish() == 0
    finally:
        agent.terminate()
        agent.wait(60)
    assert [(r["IAMPASS_USER"], r["IAMPASS_APPROVER"]) for r in keys.world.records()] == [
        (SHARED, "alice"),
        ("root", "alice"),
    ]


def test_a_certificate_names_a_person_by_its_ca_and_its_key_id_or_principal(keys: Keys) -> None:
    keys.admit(cas=("ca", "other-ca"))
    ca = str(keys.folder / "ca.pub")
    run_command("user", "add-key", "alice", "--ca", ca, "--key-id", "alice@example.com")
    run_command("user", "add-key", "bob", "--ca", ca, "--principal", "bob")
    sign(keys.folder / "ca", keys.folder / "stranger", "alice@example.com", SHARED)
    offered = keys.offering("stranger")
    keys.approved_by("alice", *offered)
    sign(keys.folder / "ca", keys.folder / "stranger", "?", f"{SHARED},bob")
    keys.approved_by("bob", *offered)
    sign(keys.folder / "ca", keys.folder / "stranger", "alice@example.com", "bob")
    keys.denied(*offered, outcome="misconfigured", because="several people")
    sign(keys.folder / "other-ca", keys.folder / "stranger", "alice@example.com", f"{SHARED},bob")
    keys.denied(*offered, outcome="unlisted", because=keys.print_of("other-ca"))


def test_a_certificate_of_a_key_that_is_listed_is_not_known_by_that_key(keys: Keys) -> None:
    keys.admit(cas=("ca",))
    sign(keys.folder / "ca", keys.folder / "alice", "?", SHARED)
    keys.denied(*keys.offering("alice"), outcome="unlisted", because=keys.print_of("ca"))
    run_command("user", "add-key", "bob", "--ca", keys.print_of("ca"), "--key-id", "bob")
    sign(keys.folder / "ca", keys.folder / "alice", "bob", SHARED)
    keys.approved_by("bob", *keys.offering("alice"))


def test_who_was_let_in_by_a_second_person_is_found_by_name_and_put_out(keys: Keys) -> None:
    """Bob's shell, in a shared account, with alice's approval; his file in the table was already deleted by hand."""
    world = keys.world
    keys.admit("bob")
    world.machine.change(
        services="{sshd: {approver: {users: [alice, bob]}, session: {keep: true, check: 2s}}}"
    )
    login = world.login(SHARED, "RequestTTY=force", *keys.offering("bob"), remote="sh")
    login.enter()
    world.approve("alice")
    login.sendline("stty -echo; echo Re''ady.")
    login.expect("Ready\\.")
    (session,) = json.loads(run_command("session", "list", "--json").stdout)["sessions"]
    who = session["user"], session["person"], session["approver"]
    assert (who, session["status"]) == ((SHARED, "bob", "alice"), "active")
    (ETC / "users.d/bob.yaml").unlink()
    removed = run_command("user", "remove", "bob")
    assert removed.returncode == 1
    assert '"bob" has no token' in removed.stderr
    left = json.loads(run_command("session", "list", "--json").stdout)["sessions"]
    assert [session["status"] for session in left] in ([], ["ending"])
    login.sendline("exit")
    login.finish()


# The quiet way


def test_a_key_that_sshd_asks_about_need_not_be_the_one_that_logs_in(keys: Keys, folder: Path) -> None:
    """Why an AuthorizedKeysCommand cannot name the person: docs/inside/decisions/shared-accounts.md."""
    asked = folder / "asked-about"
    command = folder / "authorized-keys"
    command.write_text(
        f'#!/bin/sh\necho "$1 $2" >> {asked}\n[ "$1" != {keys.print_of("alice")} ] || echo "$2 $3"\n'
    )
    command.chmod(0o755)
    asked.touch(mode=0o666)
    asked.chmod(0o666)
    options = (
        f"AuthorizedKeysCommand={command} %f %t %k",
        "AuthorizedKeysCommandUser=nobody",
        "AuthorizedKeysFile=none",
        f"TrustedUserCAKeys={keys.folder / 'ca.pub'}",
        "PasswordAuthentication=yes",
        "LogLevel=VERBOSE",
    )
    with Sshd(folder / "quiet-keys", *options, way="quiet") as quiet:
        keys.world.sshd, shared = quiet, keys.world.sshd
        keys.world.mark()
        (keys.folder / "alice").unlink()
        login = quiet.login(
            SHARED, options=(*keys.offering("alice.pub"), "PreferredAuthentications=publickey,password")
        )
        login.expect("password: ")
        login.sendline(PASSWORD)
        assert login.finish() == 255
        assert keys.print_of("alice") in asked.read_text()
        assert keys.world.outcome() == ("misconfigured", "denied")
        keys.world.mark()

        asked.write_text("")
        sign(keys.folder / "ca", keys.folder / "stranger", "alice", SHARED)
        login = quiet.login(SHARED, options=keys.offering("stranger"))
        assert login.finish() == 255
        assert keys.world.outcome() == ("misconfigured", "denied")
        assert keys.world.sshd_log("Accepted certificate ID")
        assert "-cert-" not in asked.read_text()
        keys.world.sshd = shared


# The person


def test_bypass_codes_and_limits_are_the_persons_who_needs_no_account(keys: Keys) -> None:
    world = keys.world
    keys.admit("stranger")
    run_command("user", "add-key", "Zoë Z", keys.print_of("stranger"))
    run_command("user", "add", "Zoë Z", "--token", token_of("alice"), "--no-account")
    login = world.login(SHARED, *keys.offering("stranger"))
    login.enter()
    world.approve("alice")
    assert login.finish() == 0
    assert world.record()["IAMPASS_APPROVER"] == "Zoë Z"
    world.mark()
    for verb in (
        ("bypass", "Zoë Z", "--for", "5m"),
        ("throttle", "show", "Zoë Z"),
        ("recovery", "list", "Zoë Z"),
    ):
        done = run_command(*verb)
        assert done.returncode == 0, done.stderr
    login = world.login(SHARED, *keys.offering("stranger"))
    login.expect(f"In as {SHARED}.")
    login.finish()
    assert world.outcome() == ("bypassed", "ignored")
    assert run_command("bypass", "end", "Zoë Z").returncode == 0


def test_a_recovery_code_of_the_person_lets_them_into_the_account_and_nobody_elses_does(keys: Keys) -> None:
    keys.admit(*PEOPLE)
    of_alice, of_account = new_codes("alice")[0], new_codes(SHARED)[0]
    for code, outcome in ((of_account, ("denied", "denied")), (of_alice, ("recovered", "success"))):
        keys.world.mark()
        login = keys.world.login(SHARED, *keys.offering("alice"))
        login.prompted()
        login.sendline(code)
        login.finish()
        assert keys.world.outcome() == outcome
        assert keys.world.record()["IAMPASS_APPROVER"] == "alice"
        assert keys.world.calls() == []


def test_the_command_shows_who_the_person_is_and_the_account(keys: Keys) -> None:
    keys.admit("alice")
    run_command("user", "add", "Zoë Z", "--token", token_of("bob"), "--no-account")
    run_command("user", "add-key", "Zoë Z", keys.print_of("stranger"))
    keys.world.machine.write_users("")
    keys.approved_by("alice", *keys.offering("alice"))
    users = {one["user"]: one for one in json.loads(run_command("user", "list", "--json").stdout)["users"]}
    zoe, account = users["Zoë Z"], users[SHARED]
    assert (zoe["state"], zoe["uid"], zoe["keys"]) == ("asked", None, 1)
    assert (account["state"], account["services"]) == ("denied", {"sshd": "by_key"})
    shown = run_command("user", "list").stdout
    assert "needs the phone, known by 1 key: no account" in shown
    assert "sshd: needs the phone of the key's owner" in shown
    logged = run_command("log", "alice").stdout.splitlines()[-1]
    assert SHARED in logged
    assert " alice " in logged
    said = run_command("check", "Zoë Z", "--offline")
    assert "Traceback" not in said.stderr
    assert "user-unknown" not in said.stdout
    assert "entry-never-used" not in run_command("check", "--offline").stdout
