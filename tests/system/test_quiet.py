"""The quiet way into sshd: the phone is asked in the account phase, after any first factor and without a prompt."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pexpect
import pytest

from tests.support import processes
from tests.support.agent import RunningAgent
from tests.support.deadline import DENIED, NOBODY_ANSWERED, TIMEOUT
from tests.support.installation import Installation
from tests.support.journald import Journald
from tests.support.pam_files import sshd_file
from tests.support.sandbox import Sandbox
from tests.support.sshd import Sshd
from tests.support.terminal import ENVIRONMENT
from tests.support.world import PASSWORD, PATIENCE, REMOTE, World, token_of

BATCH = "BatchMode=yes"
BY_PASSWORD = ("PubkeyAuthentication=no", "PreferredAuthentications=password", "NumberOfPasswordPrompts=1")
BY_KEYBOARD = ("PubkeyAuthentication=no", "PreferredAuthentications=keyboard-interactive")


@pytest.fixture(scope="module")
def quiet_sshd(sshd: Sshd, folder: Path) -> Iterator[Sshd]:
    """sshd with the shipped files, for every first factor."""
    options = ("PasswordAuthentication=yes", "KbdInteractiveAuthentication=yes", "LogLevel=DEBUG1")
    with Sshd(folder / "quiet", *options, way="quiet", keys=folder / "key-and-phone") as running:
        yield running


@pytest.fixture
def world(
    machine: Installation, sandbox: Sandbox, journald: Journald, quiet_sshd: Sshd, agent: RunningAgent
) -> World:
    """Everything, reset for each test; logins go to the quiet sshd."""
    return World(machine, sandbox, journald, quiet_sshd, agent=agent)


def batch(world: World, *command: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run a client that can neither ask nor show anything."""
    return subprocess.run(
        command, env=ENVIRONMENT, input=typed, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def ssh(world: World, user: str, remote: str, *options: str) -> subprocess.CompletedProcess[str]:
    """ssh without a terminal, with a key."""
    return batch(world, *world.sshd.command(user, remote, options=(BATCH, *options)))


# With a key


def test_a_key_and_an_approval_are_enough_and_nothing_is_said(world: World) -> None:
    world.sandbox.auto = "approve"
    done = ssh(world, "alice", REMOTE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "In as alice.\n", "")
    assert world.record("alice")["IAMPASS_SERVICE"] == "sshd"
    assert world.outcome("alice") == ("approved", "success")
    assert world.starts() == 1
    assert world.left_open() == []


def test_a_refusal_closes_the_connection_with_a_banner_after_one_request(world: World) -> None:
    world.sandbox.auto = "deny"
    done = ssh(world, "alice", REMOTE)
    assert done.returncode == 255
    assert done.stdout == ""
    assert DENIED in done.stderr
    assert world.starts() == 1
    assert world.outcome("alice") == ("denied", "denied")


def test_after_a_refusal_no_other_method_is_tried(world: World) -> None:
    login = world.login("alice", "PreferredAuthentications=publickey,keyboard-interactive,password")
    world.deny("alice")
    assert login.finish() == 255
    assert DENIED in login.shown
    assert "assword" not in login.shown
    assert world.starts() == 1


def test_a_time_out_is_said(world: World) -> None:
    world.machine.change(timeout=TIMEOUT)
    done = ssh(world, "alice", REMOTE)
    assert done.returncode == 255
    assert NOBODY_ANSWERED in done.stderr
    assert world.outcome("alice") == ("timed_out", "denied")
    assert world.left_open() == []


def test_an_outage_is_said_and_denies_or_lets_pass_as_the_settings_have_it(world: World) -> None:
    away = "https://127.0.0.1:1"
    world.machine.change(server=away)
    refused = ssh(world, "alice", REMOTE)
    world.machine.change(server=away, unavailable="ignore")
    passed = ssh(world, "alice", REMOTE)
    assert (refused.returncode, passed.returncode) == (255, 0)
    assert "IAMPASS is unreachable" in refused.stderr
    assert "Continuing without phone approval." in passed.stderr
    assert passed.stdout == "In as alice.\n"


def test_a_user_who_is_exempt_logs_in_without_a_request_or_a_word(world: World) -> None:
    world.machine.change(exempt="{users: [alice]}")
    done = ssh(world, "alice", REMOTE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "In as alice.\n", "")
    assert world.calls() == []
    assert world.outcome("alice") == ("exempt", "ignored")


def test_without_the_key_no_phone_rings(world: World) -> None:
    assert ssh(world, "alice", REMOTE, "PubkeyAuthentication=no").returncode == 255
    assert world.calls() == []
    assert world.records() == []


def test_root_gets_in_under_prohibit_password(world: World) -> None:
    world.sandbox.add_user(token_of("root"), device=True)
    world.machine.write_users(f"root: {token_of('root')}\n")
    world.sandbox.auto = "approve"
    assert "prohibit-password" in batch(
        world, "/usr/sbin/sshd", "-T", "-f", "/etc/ssh/sshd_config"
    ).stdout.replace("without-password", "prohibit-password")
    done = ssh(world, "root", REMOTE)
    assert (done.returncode, done.stdout) == (0, "In as root.\n")
    assert world.outcome("root") == ("approved", "success")


def test_a_certificate_is_a_first_factor_too(world: World, folder: Path) -> None:
    world.sandbox.auto = "approve"
    authority = folder / "authority"
    key = world.sshd.client_key
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(authority)], check=True)
    sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "peggy", "-n", "peggy", f"{key}.pub"]
    subprocess.run(sign, check=True)
    certificate = key.with_name("client-key-cert.pub")
    options = (f"TrustedUserCAKeys={authority}.pub", "AuthorizedKeysFile=none")
    try:
        with Sshd(folder / "certificates", *options, way="quiet", keys=folder / "key-and-phone") as sshd:
            mine = (BATCH, f"CertificateFile={certificate}")
            done = batch(world, *sshd.command("peggy", REMOTE, options=mine))
            other = batch(world, *sshd.command("olivia", REMOTE, options=mine))
    finally:
        certificate.unlink()
    assert (done.returncode, done.stdout) == (0, "In as peggy.\n"), done.stderr
    assert other.returncode == 255
    assert world.starts() == 1


# With a password


def test_a_password_and_an_approval_are_enough(world: World) -> None:
    login = world.login("alice", *BY_PASSWORD)
    login.expect("assword: ")
    login.sendline(PASSWORD)
    world.approve("alice")
    assert login.finish() == 0
    assert login.lines[-1] == "In as alice."
    assert "phone" not in login.shown
    assert world.starts() == 1


def test_by_keyboard_interactive_too(world: World) -> None:
    login = world.login("alice", *BY_KEYBOARD)
    login.expect("assword: ")
    login.sendline(PASSWORD)
    world.approve("alice")
    assert login.finish() == 0
    assert login.lines[-1] == "In as alice."
    assert world.starts() == 1
    assert world.outcome("alice") == ("approved", "success")


@pytest.mark.parametrize("way_in", [BY_PASSWORD, BY_KEYBOARD], ids=["password", "keyboard-interactive"])
def test_a_wrong_password_makes_no_phone_ring(world: World, way_in: tuple[str, ...]) -> None:
    login = world.login("alice", *way_in, "NumberOfPasswordPrompts=1")
    login.expect("assword: ")
    login.sendline("wrong")
    assert login.finish() == 255
    assert world.calls() == []


def test_refused_after_keyboard_interactive_the_phone_rings_no_more_whatever_is_tried(world: World) -> None:
    options = ("PreferredAuthentications=keyboard-interactive,publickey", "NumberOfPasswordPrompts=3")
    login = world.login("alice", *options, "PubkeyAuthentication=yes")
    login.expect("assword: ")
    login.sendline(PASSWORD)
    world.deny("alice")
    while login.expect(["assword: ", pexpect.EOF]) == 0:
        login.sendline(PASSWORD)
    assert login.finish() == 255
    assert DENIED in login.shown
    assert "In as" not in login.shown
    assert world.starts() == 1


# Clients that move files


def test_scp_sftp_and_git_see_no_stray_byte(world: World, folder: Path) -> None:
    world.sandbox.auto = "approve"
    (folder / "sent").write_text("a file")
    (folder / "batch").write_text(f"put {folder / 'sent'} by-sftp\n")
    options = world.sshd.options(BATCH)
    subprocess.run(
        ["runuser", "-u", "mallory", "--", "git", "init", "-q", "--bare", "/home/mallory/bare"], check=True
    )
    commands = [
        ["scp", *options, str(folder / "sent"), "alice@127.0.0.1:by-scp"],
        ["scp", "-O", *options, str(folder / "sent"), "bob@127.0.0.1:by-old-scp"],
        ["sftp", *options, "-b", str(folder / "batch"), "carol@127.0.0.1"],
        ["ssh", *options, "dave@127.0.0.1", "head -c 100000 /dev/zero"],
        ["git", "-c", f"core.sshCommand=ssh {' '.join(options)}", "ls-remote", "mallory@127.0.0.1:bare"],
    ]
    with ThreadPoolExecutor() as pool:
        ended = list(pool.map(lambda command: batch(world, *command), commands))
    assert [one.returncode for one in ended] == [0] * len(ended), ended
    assert [one.stderr for one in ended] == [""] * len(ended)
    assert ended[3].stdout == "\0" * 100000
    arrived = ("/home/alice/by-scp", "/home/bob/by-old-scp", "/home/carol/by-sftp")
    assert [Path(file).read_text() for file in arrived] == ["a file"] * 3
    assert world.starts() == len(commands)


def test_forced_sftp_and_forwarding_alone_ask_the_phone_too(world: World, folder: Path) -> None:
    keys = Path("/home/erin/.ssh/authorized_keys")
    kept = keys.read_text()
    keys.write_text(f'command="internal-sftp" {kept}')
    (folder / "listing").write_text("pwd\n")
    sftp = world.sshd.options(BATCH)
    with ThreadPoolExecutor() as pool:
        listed = pool.submit(batch, world, "sftp", *sftp, "-b", str(folder / "listing"), "erin@127.0.0.1")
        world.approve("erin")
        done = listed.result()
    assert (done.returncode, done.stderr) == (0, "")
    assert "/home/erin" in done.stdout
    keys.write_text(kept)
    forwarding = world.sshd.login(
        "frank",
        options=(BATCH, "ExitOnForwardFailure=yes", "SessionType=none", "LocalForward=2199 127.0.0.1:1"),
    )
    world.deny("frank")
    assert forwarding.finish() == 255
    assert DENIED in forwarding.shown
    assert world.starts() == 2


# No phone rings in vain, and none is skipped


def test_nologin_and_an_expired_account_refuse_before_the_phone(world: World) -> None:
    nologin = Path("/etc/nologin")
    nologin.write_text("Closed.\n")
    try:
        assert ssh(world, "alice", REMOTE).returncode == 255
    finally:
        nologin.unlink()
    subprocess.run(["chage", "--expiredate", "2001-01-01", "grace"], check=True)
    try:
        assert ssh(world, "grace", REMOTE).returncode == 255
    finally:
        subprocess.run(["chage", "--expiredate", "-1", "grace"], check=True)
    assert world.calls() == []
    assert world.records() == []


def test_an_expired_password_does_not_skip_the_phone(world: World) -> None:
    subprocess.run(["chage", "--lastday", "0", "heidi"], check=True)
    try:
        login = world.login("heidi")
        world.deny("heidi")
        assert login.finish() == 255
    finally:
        subprocess.run(["chage", "--lastday", "-1", "heidi"], check=True)
    assert DENIED in login.shown
    assert world.outcome("heidi") == ("denied", "denied")


@pytest.mark.parametrize(
    "control", ["required", "[success=ok new_authtok_reqd=done default=bad]", "[default=bad]"]
)
def test_whatever_the_shared_file_makes_of_an_expired_password_a_denial_counts(
    world: World, folder: Path, control: str
) -> None:
    quiet = sshd_file("quiet").read_text()
    expired = f"account {control} pam_debug.so acct=new_authtok_reqd"
    service = Path("/etc/pam.d/expired")
    service.write_text(quiet.replace("@include common-account", expired))
    options = "PAMServiceName=expired"
    with Sshd(folder / "expired", options, way="quiet", keys=folder / "key-and-phone") as sshd:
        login = sshd.login("niaj", REMOTE)
        world.deny("niaj")
        assert login.finish() == 255
    service.unlink()
    assert DENIED in login.shown


# A login is decided once


def test_asked_in_the_auth_phase_a_login_is_not_asked_again_in_the_account_phase(
    world: World, folder: Path
) -> None:
    """For keyboard-interactive and `password`, both with a stack that asks in both phases."""
    quiet = sshd_file("quiet").read_text()
    line = "auth required pam_iampass.so\nauth required pam_permit.so\n"
    Path("/etc/pam.d/both-phases").write_text(
        quiet.replace("@include common-auth\n", f"@include common-auth\n{line}")
    )
    options = ("PAMServiceName=both-phases", "PasswordAuthentication=yes", "KbdInteractiveAuthentication=yes")
    with Sshd(folder / "both", *options, way="quiet", keys=folder / "key-and-phone") as both:
        for way_in in (BY_PASSWORD, BY_KEYBOARD):
            world.mark()
            login = both.login("ivan", REMOTE, options=way_in)
            login.expect("assword: ")
            login.sendline(PASSWORD)
            if way_in is BY_KEYBOARD:
                login.enter()
            world.approve("ivan")
            assert login.finish() == 0
            assert world.starts() == 1
    Path("/etc/pam.d/both-phases").unlink()


def test_when_sshd_is_killed_while_it_waits_the_session_is_ended(world: World) -> None:
    login = world.login("judy")
    session = world.request("judy")
    for pid in processes.running("sshd-session: judy [priv]"):
        processes.kill(pid)
    ended = world.sandbox.wait_for_end(session, PATIENCE)
    assert ended.ended_at is not None
    login.kill()
    assert world.outcome("judy") == ("cancelled", "denied")
