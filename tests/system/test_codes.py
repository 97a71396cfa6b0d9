"""The quiet way into sshd with codes: a recovery code is typed before the key, and redeemed after it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.agent import RunningAgent
from tests.support.command import run_command
from tests.support.installation import Installation
from tests.support.journald import Journald
from tests.support.pam_files import sshd_file, write_sshd_file
from tests.support.recovery import new_codes
from tests.support.sandbox import Sandbox
from tests.support.sshd import Login, Sshd, without_terminal
from tests.support.world import PASSWORD, PATIENCE, REMOTE, World, token_of

CODE_FIRST = "PreferredAuthentications=keyboard-interactive,publickey"
WITHOUT_KEY = ("PreferredAuthentications=keyboard-interactive", "PubkeyAuthentication=no")
BY_PASSWORD = ("PreferredAuthentications=password", "PubkeyAuthentication=no")
PROMPT = r"IAMPASS recovery code \(Enter: none\): "
WRONG = "0000-0000-0000-0000"
PASSPHRASE = "sesame"


@pytest.fixture(scope="module")
def codes_sshd(sshd: Sshd, folder: Path) -> Iterator[Sshd]:
    """sshd with the shipped files, which accepts no passwords."""
    with Sshd(
        folder / "codes", "PasswordAuthentication=no", way="codes", keys=sshd.client_key.parent
    ) as running:
        yield running


@pytest.fixture
def world(
    machine: Installation, sandbox: Sandbox, journald: Journald, codes_sshd: Sshd, agent: RunningAgent
) -> World:
    """Everything, reset for each test; logins go to the sshd that takes codes."""
    return World(machine, sandbox, journald, codes_sshd, agent=agent)


def typed(world: World, user: str, text: str, *options: str) -> Login:
    """A user begins a login by typing this."""
    login = world.login(user, *(options or (CODE_FIRST,)))
    login.expect(PROMPT)
    login.sendline(text)
    return login


def said(login: Login) -> str:
    """What a refused user reads."""
    assert login.finish() == 255
    return login.shown


def left(user: str) -> int:
    """How many codes the user has left."""
    found = run_command("recovery", "list", user).stdout
    return int(found.split(" has ")[1].split(" of ")[0])


@pytest.fixture
def slow_key(world: World, folder: Path) -> Iterator[tuple[str, ...]]:
    """Options for a client whose key asks for a passphrase: it stops between the code and the key."""
    key = folder / "slow-key"
    key.write_bytes(world.sshd.client_key.read_bytes())
    key.chmod(0o600)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", PASSPHRASE, "-f", str(key)], check=True)
    Path(f"{key}.pub").write_bytes(Path(f"{world.sshd.client_key}.pub").read_bytes())
    yield CODE_FIRST, f"IdentityFile={key}", "IdentityAgent=none"
    key.unlink()


def stopped(world: World, user: str, code: str, slow_key: tuple[str, ...]) -> Login:
    """A login that has typed a code and not yet shown its key."""
    login = typed(world, user, code, *slow_key)
    login.expect("passphrase for key")
    return login


# With a code


def test_a_code_and_then_the_key_let_in_and_no_phone_rings(world: World) -> None:
    login = typed(world, "alice", new_codes("alice")[0])
    assert login.finish() == 0
    assert login.lines[-1] == "In as alice."
    assert "9 recovery codes are left" in login.shown
    assert world.calls() == []
    assert world.outcome("alice") == ("recovered", "success")
    assert left("alice") == 9


def test_a_code_without_a_key_afterwards_is_not_used_up_and_leaves_no_record(world: World) -> None:
    code = new_codes("alice")[0]
    stolen = typed(world, "alice", code, *WITHOUT_KEY)
    assert stolen.finish() == 255
    assert "In as" not in stolen.shown
    assert world.records() == []
    assert world.calls() == []
    assert left("alice") == 10
    assert typed(world, "alice", code).finish() == 0


def test_a_wrong_code_denies_after_the_key_and_no_phone_rings(world: World) -> None:
    new_codes("alice")
    login = typed(world, "alice", WRONG)
    assert login.finish() == 255
    assert "This recovery code is wrong" in login.shown
    assert world.calls() == []
    assert world.outcome("alice") == ("denied", "denied")


def test_a_code_of_another_person_is_wrong_and_stays_theirs(world: World) -> None:
    code = new_codes("bob")[0]
    new_codes("alice")
    assert typed(world, "alice", code).finish() == 255
    assert (left("alice"), left("bob")) == (10, 10)


def test_wrong_codes_are_limited_and_only_those_who_have_the_key_can_use_up_the_limit(world: World) -> None:
    code = new_codes("alice")[0]
    world.machine.change(recovery="{attempts_per_hour: 2}")
    for _ in range(4):
        assert typed(world, "alice", WRONG, *WITHOUT_KEY).finish() == 255
    for _ in range(2):
        assert "is wrong" in said(typed(world, "alice", WRONG))
    assert "Too many wrong recovery codes." in said(typed(world, "alice", code))
    assert world.calls() == []
    assert left("alice") == 10


@pytest.mark.parametrize("text", ["a", PASSWORD, "x" * 200])
def test_what_is_no_code_denies_and_no_phone_rings(world: World, text: str) -> None:
    login = typed(world, "alice", text)
    assert login.finish() == 255
    assert "This is not a recovery code, and your phone got no request." in login.shown
    assert world.calls() == []
    assert world.outcome("alice") == ("denied", "denied")
    assert text not in world.everything_logged() or len(text) == 1


# Without a code


def test_enter_at_the_prompt_is_a_login_by_phone(world: World) -> None:
    login = typed(world, "alice", "")
    world.approve("alice")
    assert login.finish() == 0
    assert world.starts() == 1
    assert world.outcome("alice") == ("approved", "success")


def test_a_login_by_key_sees_no_prompt_whatever_the_client(world: World, folder: Path) -> None:
    world.sandbox.auto = "approve"
    (folder / "listing").write_text("pwd\n")
    batch = without_terminal(world.sshd.command("alice", REMOTE, options=("BatchMode=yes",)))
    listed = without_terminal(
        ["sftp", *world.sshd.options("BatchMode=yes"), "-b", str(folder / "listing"), "bob@127.0.0.1"]
    )
    assert (batch.returncode, batch.stdout, batch.stderr) == (0, "In as alice.\n", "")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert world.login("carol").finish() == 0
    assert world.starts() == 3


def test_a_user_who_does_not_exist_sees_the_same_prompt(world: World) -> None:
    assert typed(world, "nobody-of-that-name", WRONG).finish() == 255
    assert world.records() == []


# Who is asked otherwise


def test_users_who_are_exempt_bypassed_or_unlisted_keep_their_codes(world: World) -> None:
    codes = {user: new_codes(user)[0] for user in ("alice", "bob", "carol")}
    world.machine.change(exempt="{users: [alice]}")
    run_command("bypass", "bob", "--for", "1h").check_returncode()
    world.machine.write_users(f"bob: {token_of('bob')}\n")
    assert typed(world, "alice", codes["alice"]).finish() == 0
    assert typed(world, "bob", codes["bob"]).finish() == 0
    assert "No phone is on record for you" in said(typed(world, "carol", codes["carol"]))
    assert world.calls() == []
    assert [world.outcome(user)[0] for user in codes] == ["exempt", "bypassed", "unlisted"]
    assert [left(user) for user in codes] == [10, 10, 10]


def test_where_a_second_person_must_approve_a_code_rings_nobodys_phone(world: World) -> None:
    code = new_codes("alice")[0]
    world.machine.change(services="{sshd: {approver: {user: bob}}}")
    assert "A recovery code does not replace" in said(typed(world, "alice", code))
    assert world.calls() == []
    assert left("alice") == 10


def test_root_under_prohibit_password_cannot_type_a_code_and_no_phone_rings(world: World) -> None:
    world.sandbox.add_user(token_of("root"), device=True)
    world.machine.write_users(f"root: {token_of('root')}\n")
    login = typed(world, "root", new_codes("root")[0])
    assert login.finish() == 255
    assert "sshd accepts no recovery code for this account." in login.shown
    assert world.calls() == []
    assert left("root") == 10
    world.mark()
    login = typed(world, "root", "")
    world.approve("root")
    assert login.finish() == 0


# The code belongs to one connection


def test_two_logins_at_once_do_not_share_a_code(world: World, slow_key: tuple[str, ...]) -> None:
    code = new_codes("alice")[0]
    with_code = stopped(world, "alice", code, slow_key)
    without = world.login("alice")
    world.deny("alice")
    assert without.finish() == 255
    assert left("alice") == 10
    with_code.sendline(PASSPHRASE)
    assert with_code.finish() == 0
    assert left("alice") == 9
    assert world.starts() == 1


def test_a_code_is_forgotten_when_its_client_hangs_up(world: World, slow_key: tuple[str, ...]) -> None:
    code = new_codes("alice")[0]
    stopped(world, "alice", code, slow_key).kill()
    processes.wait_for_end(processes.running("sshd-session: "), PATIENCE)
    login = world.login("alice")
    world.approve("alice")
    assert login.finish() == 0
    assert left("alice") == 10


def test_if_the_agent_ends_between_the_code_stays_good_and_the_phone_rings(
    world: World, agent: RunningAgent, slow_key: tuple[str, ...]
) -> None:
    login = stopped(world, "alice", new_codes("alice")[0], slow_key)
    agent.restart()
    agent.wake()
    login.sendline(PASSPHRASE)
    world.approve("alice")
    assert login.finish() == 0
    assert left("alice") == 10


def test_without_an_agent_no_code_is_asked_for_and_nobody_gets_in(world: World, agent: RunningAgent) -> None:
    agent.stop()
    try:
        login = world.login("alice", CODE_FIRST)
        assert login.finish() == 255
    finally:
        agent.__enter__()
        agent.wake()
    assert "recovery code" not in login.shown
    assert "The IAMPASS agent is not running." in login.shown


# keyboard-interactive lets nobody in


@pytest.mark.parametrize("text", ["code", ""])
def test_keyboard_interactive_alone_lets_nobody_in_whatever_sshd_demands(
    world: World, folder: Path, text: str
) -> None:
    code = new_codes("alice")[0]
    options = ("AuthenticationMethods=any", "PasswordAuthentication=no")
    with Sshd(folder / "any", *options, way="codes", keys=world.sshd.client_key.parent) as sshd:
        login = sshd.login("alice", REMOTE, options=WITHOUT_KEY)
        login.expect(PROMPT)
        login.sendline(code if text else "")
        assert login.finish() == 255
    assert "In as" not in login.shown
    assert world.calls() == []
    assert left("alice") == 10


def test_where_a_block_of_the_administrator_accepts_passwords_the_phone_is_asked_after_them(
    world: World, folder: Path
) -> None:
    """The auth line ignores sshd's method `password`, and has decided nothing for the account phase."""
    options = ("PasswordAuthentication=yes", "AuthenticationMethods=publickey password")
    with Sshd(folder / "passwords", *options, way="codes", keys=world.sshd.client_key.parent) as sshd:
        login = sshd.login("alice", REMOTE, options=BY_PASSWORD)
        login.expect("assword: ")
        login.sendline(PASSWORD)
        world.approve("alice")
        assert login.finish() == 0
    assert "recovery code" not in login.shown
    assert world.starts() == 1


def test_without_an_agent_the_rescued_account_gets_in_by_a_password_that_its_block_accepts(
    world: World, folder: Path, agent: RunningAgent
) -> None:
    options = ("PasswordAuthentication=yes", "AuthenticationMethods=publickey password")
    pam_file = sshd_file("codes")
    kept = pam_file.read_text()
    pam_file.write_text(re.sub(r"(account +requisite +pam_iampass.so)", r"\1 rescue=alice", kept))
    agent.stop()
    try:
        with Sshd(folder / "rescued", *options, way="codes", keys=world.sshd.client_key.parent) as sshd:
            login = sshd.login("alice", REMOTE, options=BY_PASSWORD)
            login.expect("assword: ")
            login.sendline(PASSWORD)
            assert login.finish() == 0
    finally:
        pam_file.write_text(kept)
        agent.__enter__()
        agent.wake()


def test_the_pam_python_door_does_the_same(world: World, folder: Path) -> None:
    pam_python = "pam_python.so /usr/lib/pam-iampass/pam_iampass.py"
    kept = sshd_file("codes").read_text()
    write_sshd_file("codes", pam_python)
    try:
        assert typed(world, "alice", new_codes("alice")[0]).finish() == 0
        assert world.calls() == []
        assert "is wrong" in said(typed(world, "alice", WRONG))
        test_where_a_block_of_the_administrator_accepts_passwords_the_phone_is_asked_after_them(world, folder)
    finally:
        sshd_file("codes").write_text(kept)
