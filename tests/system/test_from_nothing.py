"""From an installation to a first approval: what README says is typed, in terminals of one's own."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.support.agent import RunningAgent
from tests.support.installation import ETC, ROOT, Installation
from tests.support.journald import Journald
from tests.support.terminal import Terminal
from tests.support.world import PASSWORD

HEADING = "### A first approval on your own machine"
SANDBOX = Path("/home/alice/sandbox")
AS_ALICE = ["setpriv", "--reuid=alice", "--regid=alice", "--init-groups", "env", "HOME=/home/alice"]
AS_ROOT = ["env", "SUDO_USER=alice"]  # what sudo -s leaves
MINUTES = 5
SYSTEMD, SYSTEMCTL = Path("/run/systemd/system"), Path("/usr/bin/systemctl")


def steps() -> list[tuple[str, list[str]]]:
    """The commands of README's block under each of its comments."""
    told = ROOT.joinpath("README.md").read_text("utf-8").partition(HEADING)[2]
    block = [line.strip() for line in told.partition("\n## ")[0].splitlines() if line.startswith("    ")]
    found: list[tuple[str, list[str]]] = []
    for line in block:
        if line.startswith("# "):
            found.append((line, []))
        else:
            found[-1][1].append(line)
    return found


@pytest.fixture
def systemd(machine: Installation) -> Iterator[None]:
    """As where systemd runs, which a trial needs."""
    SYSTEMD.mkdir(parents=True)
    real = SYSTEMCTL.with_name("systemctl-real")
    SYSTEMCTL.rename(real)
    SYSTEMCTL.write_text("#!/bin/sh\n")
    SYSTEMCTL.chmod(0o755)
    yield
    real.replace(SYSTEMCTL)
    SYSTEMD.rmdir()


@pytest.fixture
def nothing(machine: Installation, journald: Journald, systemd: None, agent: RunningAgent) -> Iterator[None]:
    """What the packages leave: settings that nobody has filled in, an empty table, and alice, who may use sudo."""
    kept = {path: path.read_bytes() for path in ETC.iterdir() if path.is_file()}
    sudoers = Path("/etc/sudoers.d/people")
    for path in kept:
        path.unlink()
    shutil.rmtree(ETC / "users.d", ignore_errors=True)
    for name in ("iampass.yaml", "users.yaml"):
        shutil.copy(ROOT / "config" / name, ETC)
        shutil.chown(ETC / name, "root", "_iampass")
        (ETC / name).chmod(0o640)
    sudoers.write_text("alice ALL=(ALL) ALL\nDefaults !lecture\n")
    sudoers.chmod(0o440)
    machine.forget()
    yield
    subprocess.run(["pam-iampass", "setup", "undo"], check=True, capture_output=True)
    sudoers.unlink()
    for path in ETC.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path, content in kept.items():
        path.write_bytes(content)
        shutil.chown(path, "root", "_iampass")
        path.chmod(0o640)
    shutil.rmtree(SANDBOX, ignore_errors=True)


def test_what_readme_says_leads_to_an_approved_sudo(nothing: None) -> None:
    (one, first), (two, second), (three, third), (back, last) = steps()
    assert [title.partition(",")[0].partition(":")[0] for title in (one, two, three, back)] == [
        *("# terminal 1", "# terminal 2", "# terminal 3", "# terminal 2")
    ]
    before = {path.name: path.read_bytes() for path in ETC.iterdir()}
    began = time.monotonic()
    (serve,) = first
    # Of the ports any will do, since the machine's own may be taken: whatever is printed and installed has it.
    sandbox = Terminal([*AS_ALICE, *shlex.split(serve), "--listen", "127.0.0.1:0"])
    assert sandbox.expect(["Sandbox ready", pexpect.EOF]) == 0, sandbox.shown
    assert [line for line in second if line not in sandbox.lines] == [], "the sandbox says what comes next"

    told = [typed(command) for command in second]
    assert "Asked on the phone: alice." in told[-3]
    assert "All is well." in told[-2]
    assert "sudo now asks the phone, on trial until" in told[-1]
    (login,) = third
    assert f"`{login}`" in told[-1], "setup says how to try it"
    assert last[1] in told[-1], "and how to keep it"

    sudo = Terminal([*AS_ALICE, *shlex.split(login)])
    sudo.expect("assword[^:]*: ")
    sudo.sendline(PASSWORD)
    sandbox.expect("answer: a 1")
    sandbox.sendline("a")
    assert sudo.finish() == 0, sudo.shown
    assert "Approved on your phone." in sudo.shown

    log, confirmed, undone, left = map(typed, last)
    assert re.search(r"alice +sudo +- +approved", log)
    assert last[2] in confirmed
    assert "sudo no longer asks the phone." in undone
    assert "/etc/iampass/iampass.yaml is as it was before." in left
    assert {path.name: path.read_bytes() for path in ETC.iterdir()} == before
    sandbox.send("\x03")
    assert sandbox.finish() == 0
    assert time.monotonic() - began < MINUTES * 60


def typed(command: str) -> str:
    """Root types a command, and reads what it says."""
    terminal = Terminal([*AS_ROOT, *shlex.split(command)])
    assert terminal.finish() == 0, terminal.shown
    return re.sub(r"\x1b\[[0-9;]*m", "", terminal.shown)
