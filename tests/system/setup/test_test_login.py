"""`pam-iampass test`: what is shown, what is asked, and what comes of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.deadline import APPROVED, DENIED
from tests.support.sshd import PROMPT
from tests.support.terminal import Terminal
from tests.support.world import PASSWORD, wait_until
from tests.system.setup.conftest import Administrator


def rehearsed(*arguments: str, prompt: str = "assword: ", answer: str = PASSWORD) -> tuple[int, str]:
    """Run it in a terminal, with one answer."""
    terminal = Terminal(["pam-iampass", "test", *arguments])
    terminal.expect(prompt)
    terminal.sendline(answer)
    return terminal.finish(), terminal.shown


def told(administrator: Administrator, *arguments: str, given: str = "") -> dict[str, Any]:
    done = administrator.run("test", *arguments, "--json", given=given)
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if found["number"] == 0 else 1)
    return found


def test_an_approval_through_sshd_is_shown_with_its_record(administrator: Administrator) -> None:
    administrator.setup("sshd", "--prompt")
    status, shown = rehearsed("alice", prompt=PROMPT, answer="")
    assert status == 0
    assert "As sshd would for alice from 127.0.0.1, whose key was accepted" in shown
    assert "PAM service sshd (/etc/pam.d/sshd)" in shown
    assert shown.index("IAMPASS: press Enter") < shown.index("PAM_SUCCESS: the login succeeds")
    assert "outcome=approved result=success user=alice service=sshd" in shown


def test_a_denial_is_shown_with_its_code_and_what_it_means(administrator: Administrator) -> None:
    administrator.setup("sudo")
    administrator.sandbox.auto = "deny"
    status, shown = rehearsed("alice", "--service", "sudo")
    assert status == 1
    assert DENIED in shown
    assert "PAM_ABORT: denied at once: how this module denies in sudo and su" in shown
    assert "outcome=denied result=denied user=alice service=sudo" in shown


def test_ctrl_c_ends_the_session_at_iampass(administrator: Administrator) -> None:
    administrator.setup("sudo")
    administrator.sandbox.auto = "ask"
    terminal = Terminal(["pam-iampass", "test", "alice", "--service", "sudo"])
    terminal.expect("assword: ")
    terminal.sendline(PASSWORD)
    terminal.expect("Approve this")
    terminal.send("\x03")
    assert terminal.finish() == 130
    wait_until(lambda: administrator.sandbox.sessions[-1].ended_by, "the session was left open")


def test_an_account_that_has_expired_is_reported(administrator: Administrator) -> None:
    administrator.setup("sshd", "--prompt")
    subprocess.run(["chage", "-E", "0", "alice"], check=True)
    try:
        found = told(administrator, "alice", given="\n")
    finally:
        subprocess.run(["chage", "-E", "-1", "alice"], check=True)
    assert "expired" in str(found["messages"])
    assert found["meaning"] == "authenticated, but the account may not log in"
    assert found["number"] != 0


def test_an_exempt_network_is_tried_by_its_address(administrator: Administrator) -> None:
    administrator.machine.change(exempt='{networks: ["192.0.2.0/24"]}')
    administrator.setup("sshd", "--prompt")
    (record,) = told(administrator, "alice", "--rhost", "192.0.2.7")["records"]
    assert record["outcome"] == "exempt"


@pytest.fixture
def crashing(administrator: Administrator) -> Iterator[str]:
    """A PAM service that would crash this program."""
    Path("/etc/pam.d/crashing").write_text("auth include crashing-too\n")
    Path("/etc/pam.d/crashing-too").write_text(
        "auth required pam_python.so /usr/lib/pam-iampass/pam_iampass.py\n"
    )
    yield "crashing"
    for name in ("crashing", "crashing-too"):
        Path("/etc/pam.d", name).unlink()


def test_a_stack_with_pam_python_is_not_run(administrator: Administrator, crashing: str) -> None:
    done = administrator.run("test", "alice", "--service", crashing)
    assert done.returncode == 1
    assert "/etc/pam.d/crashing-too:1: runs pam_python.so, which crashes in Python programs" in done.stderr


def test_a_module_that_crashes_is_reported_and_does_no_harm(
    administrator: Administrator, tmp_path: Path
) -> None:
    source = tmp_path / "crash.c"
    source.write_text("int pam_sm_authenticate(void) { __builtin_trap(); }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", "/root/crash.so", str(source)], check=True)
    Path("/etc/pam.d/crashing").write_text("auth required /root/crash.so\n")
    try:
        found = told(administrator, "alice", "--service", "crashing")
    finally:
        Path("/etc/pam.d/crashing").unlink()
    assert (found["code"], found["number"]) == ("no answer", None)
    assert "ended by signal" in str(found["meaning"])


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("nobody-at-all",), "is not a user of this machine"),
        (("alice", "--service", "nothing"), "there is no PAM service"),
        (("alice", "--service", "../pam.d/su"), "is not a valid name of a PAM service"),
    ],
)
def test_what_does_not_exist_is_reported(
    administrator: Administrator, arguments: tuple[str, ...], what: str
) -> None:
    done = administrator.run("test", *arguments)
    assert (done.returncode, what in done.stderr) == (1, True)


def test_only_root_may(administrator: Administrator) -> None:
    command = ["setpriv", "--reuid=alice", "--regid=alice", "--init-groups", "pam-iampass", "test", "alice"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "run it as root" in done.stderr) == (1, True)


def test_su_is_tried_as_the_caller_not_as_root(administrator: Administrator) -> None:
    administrator.setup("su")
    status, shown = rehearsed("alice", "--service", "su")
    assert status == 0
    assert "As su would for alice, who wants to be root" in shown
    assert APPROVED in shown
