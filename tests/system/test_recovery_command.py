"""`pam-iampass recovery` and `pam-iampass throttle`, as an administrator types them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from pam_iampass.system.state_dir import file_stem
from tests.support.agent import AS_IAMPASS, CONTROL, RunningAgent
from tests.support.command import COMMAND, run_command
from tests.support.installation import STATE, Installation
from tests.support.recovery import new_codes
from tests.support.sandbox import Sandbox
from tests.support.terminal import Terminal

CODES = Path("/var/lib/iampass/recovery")
ONLY_ROOT = f"{CONTROL}: Permission denied\n    run it as root\n"
CODE = re.compile("    ([0-9a-hjkmnp-tv-z]{4}(-[0-9a-hjkmnp-tv-z]{4}){3})")


@pytest.fixture(autouse=True)
def nobody_has_codes(machine: Installation, sandbox: Sandbox, agent: RunningAgent) -> None:
    machine.configure(sandbox)
    for file in CODES.iterdir():
        file.unlink()
    machine.forget()


def run(*arguments: str, under: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    if not under:
        return run_command(*arguments)
    return subprocess.run(
        [*under, COMMAND, *arguments], input="", capture_output=True, text=True, check=False
    )


def told(*arguments: str, status: int = 0) -> str:
    done = run(*arguments)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


# recovery


def test_ten_codes_are_shown_once_on_a_terminal() -> None:
    terminal = Terminal([COMMAND, "recovery", "new", "alice"])
    assert terminal.finish() == 0
    assert len(set(CODE.findall(terminal.shown))) == 10
    assert "not shown again" in terminal.shown
    listed = told("recovery", "list", "alice")
    assert re.fullmatch(r"alice has 10 of 10 codes left, made on \d{4}-\d\d-\d\d at \d\d:\d\d\.\n", listed)


def test_codes_that_are_there_are_replaced_only_if_one_says_so() -> None:
    new_codes("alice")
    before = file_of("alice").read_bytes()
    assert "alice has 10 unused codes. Replace them? To confirm, give --yes." in told(
        "recovery", "new", "alice", status=1
    )
    terminal = Terminal([COMMAND, "recovery", "new", "alice"])
    terminal.expect_exact("Replace them? [y/N]: ")
    terminal.sendline("")
    assert terminal.finish() == 130
    assert file_of("alice").read_bytes() == before
    told("recovery", "new", "alice", "--yes")
    assert file_of("alice").read_bytes() != before


def test_the_list_says_when_codes_were_used_and_who_has_none() -> None:
    assert told("recovery", "list", "bob") == "bob has no recovery codes.\n    pam-iampass recovery new bob\n"
    new_codes("bob")
    data = json.loads(file_of("bob").read_text())
    data["codes"][0][2] = 1_700_000_000.0
    file_of("bob").write_text(json.dumps(data))
    shown = told("recovery", "list", "bob")
    assert "bob has 9 of 10 codes left" in shown
    assert "\nOne was used on 2023-11-1" in shown
    as_object = json.loads(told("recovery", "list", "bob", "--json"))
    assert (as_object["left"], as_object["used_at"]) == (9, [1_700_000_000.0])


def test_revoked_codes_are_gone_also_those_of_an_account_that_is_gone() -> None:
    new_codes("alice")
    assert told("recovery", "revoke", "alice") == "Revoked the codes of alice.\n"
    assert told("recovery", "revoke", "alice") == "alice has no codes.\n"
    new_codes("bob")
    file_of("bob").rename(file_of("left-long-ago"))
    assert json.loads(told("recovery", "revoke", "left-long-ago", "--json"))["revoked"] is True
    assert not file_of("left-long-ago").exists()


@pytest.mark.parametrize("verb", [("recovery", "new"), ("recovery", "list"), ("throttle", "show")])
def test_an_unknown_name_is_an_error_in_a_line(verb: tuple[str, str]) -> None:
    assert told(*verb, "no\x1bsuch", status=1) == 'Error: "no\\x1bsuch" is not an account of this machine\n'


def test_the_files_belong_to_the_modules_user_and_name_nobody() -> None:
    new_codes("alice")
    found = [(path.owner(), oct(path.stat().st_mode)[-3:]) for path in CODES.iterdir()]
    assert found == [("iampass", "600")] * 2
    assert "alice" not in "".join(path.name for path in CODES.iterdir())


def test_nobody_but_root_may() -> None:
    for under in (("setpriv", "--reuid=nobody", "--clear-groups"), tuple(AS_IAMPASS)):
        done = run("recovery", "list", "alice", under=under)
        assert (done.returncode, done.stderr) == (1, ONLY_ROOT)


def test_without_an_agent_the_error_says_how_to_start_it(agent: RunningAgent) -> None:
    agent.stop()
    try:
        shown = told("throttle", "show", "alice", status=1)
    finally:
        agent.__enter__()
    assert shown.startswith(
        f"{CONTROL}: No such file or directory\n    systemctl start pam-iampass-agent.socket"
    )


def test_a_missing_folder_is_reported_with_its_remedy() -> None:
    CODES.rename(CODES.with_name("elsewhere"))
    try:
        shown = told("recovery", "new", "alice", status=1)
    finally:
        CODES.with_name("elsewhere").rename(CODES)
    assert shown == f"{CODES}: does not exist\n    systemd-tmpfiles --create\n"


# throttle


def test_a_quiet_person_is_shown_in_four_lines() -> None:
    assert told("throttle", "show", "alice") == (
        "Pending requests on the phone of alice: 0.\n"
        "Logins that wait for their turn: 0.\n"
        "Requests in the last hour that were not approved: 0 of at most 30.\n"
        "Wrong recovery codes in the last hour: 0.\n"
    )


def test_a_broken_file_is_reported_and_cleared() -> None:
    file = STATE / f"{file_stem('alice')}.json"
    file.write_text("torn")
    file.chmod(0o600)
    os.chown(file, CODES.stat().st_uid, CODES.stat().st_gid)
    assert told("throttle", "show", "alice", status=1) == (
        f"{file} is corrupt\n    pam-iampass throttle clear alice\n"
    )
    assert told("throttle", "clear", "alice") == "Cleared for alice.\n"
    told("throttle", "show", "alice")


def file_of(user: str) -> Path:
    return CODES / f"{file_stem(user)}.json"
