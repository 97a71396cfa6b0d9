"""`pam-iampass recovery` and `pam-iampass throttle`, as an administrator types them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.agent import AS_IAMPASS, CONTROL, RunningAgent, state_of
from tests.support.command import COMMAND, run_command
from tests.support.installation import Installation
from tests.support.pam_files import edited
from tests.support.recovery import new_codes
from tests.support.sandbox import Sandbox
from tests.support.terminal import Terminal

ONLY_ROOT = f"{CONTROL}: Permission denied\n    run it as root\n"
CODE = re.compile("    ([0-9a-hjkmnp-tv-z]{4}(-[0-9a-hjkmnp-tv-z]{4}){3})")


@pytest.fixture(autouse=True)
def nobody_has_codes(machine: Installation, sandbox: Sandbox, agent: RunningAgent) -> None:
    machine.configure(sandbox)
    machine.forget()


def hashes(agent: RunningAgent, user: str) -> list[tuple[str]]:
    with state_of(agent) as connection:
        return connection.execute("SELECT hash FROM codes WHERE person = ?", (user.encode(),)).fetchall()


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


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("quiet", "ssh: no code can be typed. To change that: pam-iampass setup sshd --codes, or --prompt."),
        (
            "codes",
            "ssh, if the phone is missing: ssh -o PreferredAuthentications=keyboard-interactive,publickey alice@",
        ),
        ("key", "ssh: type a code at the prompt instead of pressing Enter"),
    ],
)
def test_how_a_code_is_used_on_this_host_is_said_with_the_codes(
    machine: Installation, way: str, said: str
) -> None:
    kept = {file: file.read_bytes() for name in ("sshd", "sudo") for file in edited(name, way)}
    for file, text in {**edited("sshd", way), **edited("sudo", "")}.items():
        file.write_text(text)
    try:
        shown = told("recovery", "new", "alice")
        machine.change(recovery="{ask: never}")
        never = told("recovery", "new", "alice", "--yes")
    finally:
        for file, content in kept.items():
            file.write_bytes(content)
    assert said in shown
    assert "sudo asks for a code if the phone could not be asked or did not answer." in shown
    assert "sudo takes no code" in never


@pytest.mark.needs_program("strace")
@pytest.mark.parametrize(("option", "reads"), [((), True), (("--json",), False)])
def test_the_stacks_of_this_host_are_read_only_where_the_codes_come_with_how_they_are_used(
    option: tuple[str, ...], reads: bool, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    under = ("strace", "-f", "-o", str(trace), "-e", "trace=open,openat", "-e", "signal=none")
    done = run("recovery", "new", "alice", *option, under=under)
    assert done.returncode == 0, done.stderr
    assert ("/etc/pam.d/" in trace.read_text()) is reads


def test_codes_that_are_there_are_replaced_only_if_one_says_so(agent: RunningAgent) -> None:
    new_codes("alice")
    before = hashes(agent, "alice")
    assert "alice has 10 unused codes. Replace them? To confirm, give --yes." in told(
        "recovery", "new", "alice", status=1
    )
    terminal = Terminal([COMMAND, "recovery", "new", "alice"])
    terminal.expect_exact("Replace them? [y/N]: ")
    terminal.sendline("")
    assert terminal.finish() == 130
    assert hashes(agent, "alice") == before
    told("recovery", "new", "alice", "--yes")
    assert hashes(agent, "alice") != before


def test_revoked_codes_are_gone_also_those_of_an_account_that_is_gone(agent: RunningAgent) -> None:
    new_codes("alice")
    assert told("recovery", "revoke", "alice") == "Revoked the codes of alice.\n"
    assert told("recovery", "revoke", "alice") == "alice has no codes.\n"
    new_codes("bob")
    with state_of(agent) as connection:
        connection.execute("UPDATE codes SET person = CAST('left-long-ago' AS BLOB)")
    assert json.loads(told("recovery", "revoke", "left-long-ago", "--json"))["revoked"] is True
    assert hashes(agent, "left-long-ago") == []


@pytest.mark.parametrize("verb", [("recovery", "new"), ("recovery", "list"), ("throttle", "show")])
def test_an_unknown_name_is_an_error_in_a_line(verb: tuple[str, str]) -> None:
    assert (
        told(*verb, "no\x1bsuch", status=1)
        == 'Error: "no\\x1bsuch" is not an account of this machine, and not in the user table\n'
    )


def test_nobody_but_root_may() -> None:
    for under in (("setpriv", "--reuid=nobody", "--clear-groups"), tuple(AS_IAMPASS)):
        done = run("recovery", "list", "alice", under=under)
        assert (done.returncode, done.stderr) == (1, ONLY_ROOT)


# throttle


def test_a_quiet_person_is_shown_in_four_lines() -> None:
    assert told("throttle", "show", "alice") == (
        "Pending requests on the phone of alice: 0.\n"
        "Logins that wait: 0.\n"
        "Requests in the last hour that were not approved: 0 of at most 30.\n"
        "Wrong recovery codes in the last hour: 0.\n"
    )


def test_of_an_account_that_acts_for_a_person_its_own_limit_is_shown(machine: Installation) -> None:
    machine.write_users("alice: token\nclaude: {acts_for: alice}\n")
    assert "that were not approved: 0 of at most 10.\n" in told("throttle", "show", "claude")
