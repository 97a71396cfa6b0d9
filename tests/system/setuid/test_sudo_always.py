"""A real sudo that asks the phone for every command (`setup sudo --always`)."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import run_command
from tests.support.deadline import APPROVED, DENIED, PLENTY, approve_within
from tests.support.installation import Installation
from tests.support.pam_files import PAM, asking
from tests.support.recovery import new_codes
from tests.support.setuid.people import AS_ROOT, SHOW_WHO, SUDO, enter_password
from tests.support.setuid.side_by_side import side_by_side
from tests.support.setuid.stage import Guest, Phone, Stage
from tests.support.terminal import Terminal
from tests.support.world import PATIENCE
from tests.system.setuid.test_interrupts import hang_up

SUDOERS = Path("/etc/sudoers.d/zz-free")
RULES = "%people ALL=(ALL) NOPASSWD: ALL, PASSWD: /usr/bin/env\nDefaults verifypw=any\n"
SUDO_RS = Path("/usr/bin/sudo-rs")
SHELL = ("/bin/sh", "-c", SHOW_WHO)
COMMAND = f"sh -c '{SHOW_WHO}'"
WITHOUT_TERMINAL = "setsid --wait sudo -n {} </dev/null 2>&1 | cat"


@pytest.fixture(scope="module", autouse=True)
def always(sudo_and_su: Installation) -> Iterator[None]:
    """sudo asks for every command, and needs a password for few of them."""
    SUDOERS.write_text(RULES)
    SUDOERS.chmod(0o440)
    sudo_and_su.change(exempt="{groups: [spared-by-sudo]}")
    with asking("sudo", choice="always"):
        yield
    SUDOERS.unlink()
    sudo_and_su.change()


def denied(terminal: Terminal) -> bool:
    """Whether sudo was denied by the phone, and ran nothing."""
    status = terminal.finish()
    assert status == 1, terminal.shown
    return DENIED in terminal.shown and AS_ROOT not in terminal.shown


@side_by_side
def test_a_command_without_a_password_is_asked_about_each_time(guest: Guest) -> None:
    guest.set_phone(Phone.APPROVES)
    for number in (1, 2):
        sudo = guest.start("sudo", "-n", *SHELL)
        assert sudo.finish() == 0, sudo.shown
        assert sudo.lines == [approve_within(PLENTY), APPROVED, AS_ROOT]
        assert guest.starts() == number
    guest.set_phone(Phone.DENIES)
    assert denied(guest.start("sudo", *SHELL))
    assert guest.starts() == 3
    assert guest.records(3)[-1].startswith(f"outcome=denied result=denied user={guest.name} service=sudo ")


@side_by_side
def test_a_password_and_the_command_after_it_are_one_request_and_the_next_command_another(
    guest: Guest,
) -> None:
    guest.set_phone(Phone.APPROVES)
    sudo = enter_password(
        guest.run("/bin/sh", "-c", f"sudo env true && echo ready && read _ && sudo -n env sh -c '{SHOW_WHO}'")
    )
    sudo.expect_exact("ready")
    assert guest.starts() == 1
    sudo.sendline("")
    assert sudo.finish() == 0, sudo.shown
    assert sudo.lines[-1] == AS_ROOT
    assert guest.starts() == 2


@side_by_side
def test_without_a_terminal_an_approved_command_shows_nothing_of_ours(guest: Guest) -> None:
    guest.set_phone(Phone.APPROVES)
    sudo = guest.run("/bin/sh", "-c", WITHOUT_TERMINAL.format(COMMAND))
    assert (sudo.finish(), sudo.shown) == (0, f"{AS_ROOT}\n")
    assert guest.starts() == 1


@side_by_side
def test_without_a_terminal_a_denial_is_told(guest: Guest) -> None:
    guest.set_phone(Phone.DENIES)
    sudo = guest.run("/bin/sh", "-c", WITHOUT_TERMINAL.format(COMMAND))
    sudo.finish()
    assert sudo.lines[0] == DENIED
    assert AS_ROOT not in sudo.shown


@side_by_side
def test_on_a_terminal_the_output_of_a_command_holds_nothing_of_ours(guest: Guest) -> None:
    guest.set_phone(Phone.APPROVES)
    sudo = guest.run("/bin/sh", "-c", f"sudo -S {COMMAND} 2>/dev/null | cat")
    assert (sudo.finish(), sudo.shown) == (0, f"{AS_ROOT}\n")


@side_by_side
def test_to_list_and_to_validate_rings_no_phone_and_with_anything_else_it_rings(guest: Guest) -> None:
    guest.set_phone(Phone.DENIES)
    for spared in (("-l",), ("-v",), ("-n", "-l"), ("-n", "-v")):
        sudo = guest.start("sudo", *spared)
        assert sudo.finish() in (0, 1)
        assert "Denied" not in sudo.shown
    assert guest.starts() == 0
    for word in ("", "-l", "--"):
        assert denied(guest.run("/bin/sh", "-c", f"exec sudo -n -l {shlex.quote(word)} true"))
        run_command("throttle", "clear", guest.name)


@side_by_side
def test_other_ways_to_call_sudo_ask(guest: Guest) -> None:
    guest.set_phone(Phone.DENIES)
    for words in (
        ("-i", *SHELL),
        ("-s", SHOW_WHO),
        ("-u", guest.twin, *SHELL),
        ("-u", guest.name, "id"),
        ("-e", f"/home/people/edited-{guest.name}"),
        ("-b", *SHELL),
        ("-k", *SHELL),
    ):
        assert denied(guest.start("sudo", *words)), words
        run_command("throttle", "clear", guest.name)
    assert guest.starts() == 7


@side_by_side
def test_exempt_and_bypassed_callers_are_not_asked(guest: Guest) -> None:
    guest.set_phone(Phone.DENIES)
    done = run_command("bypass", guest.name, "--for", "15m", "--reason", "phone lost")
    assert done.returncode == 0, done.stderr
    sudo = guest.start("sudo", *SHELL)
    assert (sudo.finish(), sudo.lines[-1]) == (0, AS_ROOT)
    assert guest.starts() == 0
    friend = guest.stage.guest(Phone.DENIES)
    subprocess.run(["groupadd", "--users", friend.name, "spared-by-sudo"], check=True)
    try:
        sudo = friend.start("sudo", *SHELL)
        assert (sudo.finish(), sudo.lines) == (0, [AS_ROOT])
    finally:
        subprocess.run(["groupdel", "spared-by-sudo"], check=True)
    assert friend.starts() == 0


@side_by_side
def test_ctrl_c_and_a_closed_terminal_end_the_request_and_run_nothing(guest: Guest) -> None:
    other = guest.stage.guest()
    for one, interrupt in ((guest, lambda terminal: terminal.send("\x03")), (other, hang_up)):
        sudo = one.start("sudo", *SHELL)
        sudo.expect_exact("Approve this on your phone")
        one.request()
        interrupt(sudo)
        one.ended()
        sudo.process.wait(PATIENCE)
        assert one.starts() == 1
        assert one.record().startswith("outcome=cancelled result=denied ")


@side_by_side
def test_a_code_is_typed_on_a_terminal_where_the_phone_is_not_asked_and_nowhere_else(guest: Guest) -> None:
    code, other = new_codes(guest.name)[:2]
    guest.set_phone(Phone.DENIES)
    for _ in range(2):
        assert denied(guest.start("sudo", *SHELL))
    piped = guest.run("/bin/sh", "-c", f"echo {other} | setsid --wait sudo -S {COMMAND} 2>&1 | cat")
    piped.finish()
    assert AS_ROOT not in piped.shown
    assert "recovery code (Enter" not in piped.shown
    sudo = guest.start("sudo", *SHELL)
    sudo.expect_exact("IAMPASS recovery code (Enter: none): ")
    sudo.sendline(code)
    assert sudo.finish() == 0, sudo.shown
    assert sudo.lines[-1] == AS_ROOT
    assert guest.starts() == 2


@side_by_side
def test_an_expired_password_is_no_way_around_the_phone(guest: Guest) -> None:
    guest.set_phone(Phone.DENIES)
    for aged in (("-d", "0"), ("-d", "2000-01-01", "-M", "10", "-I", "-1"), ("-E", "2000-01-01")):
        subprocess.run(["chage", *aged, guest.name], check=True)
        sudo = guest.start("sudo", *SHELL)
        assert sudo.finish() == 1, sudo.shown
        assert AS_ROOT not in sudo.shown
        run_command("throttle", "clear", guest.name)
    assert guest.starts() == 3


@side_by_side
def test_sudo_rs_asks_for_every_command_too(guest: Guest) -> None:
    if not SUDO_RS.exists():
        pytest.skip("Debian 12 has no sudo-rs")
    guest.set_phone(Phone.APPROVES)
    for number in (1, 2):
        sudo = guest.run("/bin/sh", "-c", f"{SUDO_RS} -n {COMMAND} | cat")
        assert (sudo.finish(), sudo.lines[-1]) == (0, AS_ROOT)
        assert guest.starts() == number
    guest.set_phone(Phone.DENIES)
    sudo = guest.run(str(SUDO_RS), *SHELL)
    assert sudo.finish() == 1
    assert AS_ROOT not in sudo.shown


HOSTILE = (
    b"\x1b]0;title\x07",
    b"line\nIAMPASS_OUTCOME=approved",
    "\u202eevil".encode(),
    b"\xff\xfe",
    b"x" * 100_000,
    b"the end",
)


@side_by_side
def test_the_record_and_the_log_say_what_runs_whatever_the_arguments_are(guest: Guest) -> None:
    guest.set_phone(Phone.DENIES)
    script = Path(f"/home/people/run-{guest.name}")
    lie = b"sudo -l" + b" " * 5000
    call = f"import os; os.execv('{SUDO}', {[lie, b'-n', b'/bin/echo', *HOSTILE]!r})"
    script.write_text(call)
    assert denied(guest.run("/usr/bin/python3", str(script)))
    (record,) = guest.stage.journald.records(guest.stage.cursor, IAMPASS_USER=guest.name)
    shown = record["IAMPASS_COMMAND"]
    begins = r"sudo -n /bin/echo $'\x1b]0;title\x07' $'line\x0aIAMPASS_OUTCOME=approved' $'\u202eevil' $'\xff\xfe' xxx"
    assert shown.startswith(begins)
    assert re.search(r"xxx … \[100,\d{3} bytes\] … xxx+ 'the end' \(in /\)$", shown), shown
    assert (record["IAMPASS_OUTCOME"], record["PRIORITY"]) == ("denied", "4")
    (logged,) = run_command("log", guest.name, "--json").stdout.splitlines()
    assert json.loads(logged)["command"] == shown
    assert all(line.isprintable() for line in run_command("log", guest.name).stdout.splitlines())


ROUNDS = {
    "for all": ("Defaults !pam_acct_mgmt", SHELL),
    "for a user": ("Defaults:{user} !pam_acct_mgmt", SHELL),
    "on this host": ("Defaults@ALL !pam_acct_mgmt", SHELL),
    "for a command": ("Defaults!/bin/sh !pam_acct_mgmt", SHELL),
    "for a target": ("Defaults>{twin} !pam_acct_mgmt", ("-u", "{twin}", *SHELL)),
    "another service": ("Defaults:{user} pam_service=su", SHELL),
    "another service of sudo -i": ("Defaults:{user} pam_login_service=su", ("-i", *SHELL)),
    "another service of sudo -A": ("Defaults pam_askpass_service=su", ("-A", *SHELL)),
}
"""Lines of sudoers that lead around it, with the command that shows it."""


@pytest.mark.parametrize("name", ROUNDS)
def test_a_line_of_sudoers_that_leads_around_it_is_reported_by_setup_check_and_status(
    stage: Stage, name: str
) -> None:
    guest, (line, words) = stage.guest(Phone.DENIES), ROUNDS[name]
    rule = SUDOERS.with_name("zz-round")
    filled = {"user": guest.name, "twin": guest.twin}
    rule.write_text(line.format(**filled) + "\n")
    rule.chmod(0o440)
    try:
        sudo = guest.start("sudo", "-n", *(word.format(**filled) for word in words))
        assert (sudo.finish(), sudo.lines[-1]) == (0, AS_ROOT)
        assert guest.starts() == 0
        kind = "sudo-no-account-phase" if "acct" in line else "sudo-other-service"
        for verb in (("check", "--offline"), ("check", "--settings"), ("setup", "status")):
            told = run_command(*verb, "--json").stdout
            assert f'"id": "{kind}"' in told, verb
        told = run_command("setup", "sudo", "--always", "--dry-run").stdout
        assert [one for one in told.splitlines() if one.startswith("error") and str(rule) in one], told
    finally:
        rule.unlink()


def test_check_calls_no_password_a_way_around_the_phone_only_without_it() -> None:
    def ids() -> str:
        return run_command("check", "--offline", "--json").stdout

    assert "sudo-no-password" not in ids()
    kept = {file: file.read_text() for file in (PAM / "sudo", PAM / "sudo-i")}
    (PAM / "sudo").write_text(kept[PAM / "sudo"].replace(" always", ""))
    try:
        assert "sudo-no-password" in ids()
    finally:
        (PAM / "sudo").write_text(kept[PAM / "sudo"])
