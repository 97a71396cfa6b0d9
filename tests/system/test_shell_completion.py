"""Verbs, options and users complete in real shells, from the files that are installed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.installation import Installation
from tests.support.sandbox import Sandbox
from tests.support.terminal import Terminal

TAB = "\t"
READY = "ready> "


@pytest.fixture(autouse=True)
def _table(machine: Installation, sandbox: Sandbox) -> None:
    """A user in the table who has no account."""
    machine.configure(sandbox)
    machine.write_users("zaphod: z1\n")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the shells find their files. zsh keeps there what it has found out about all completions."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "rc").write_text(f". /usr/share/bash-completion/bash_completion\nPS1='{READY}'\n")
    (folder / ".zshrc").write_text(f"autoload -Uz compinit; compinit -u\nPS1='{READY}'\n")
    return folder


@pytest.fixture(params=["bash", "zsh"])
def shell(request: pytest.FixtureRequest, home: Path) -> Iterator[Terminal]:
    """An interactive shell that loads the completions of the system, as a new account's does."""
    if request.param == "bash":
        terminal = Terminal(["bash", "--rcfile", str(home / "rc"), "-i"])
    else:
        terminal = Terminal(["zsh", "-i"], environment={"ZDOTDIR": str(home)})
    terminal.expect_exact(READY)
    yield terminal
    terminal.kill()


@pytest.mark.parametrize(
    ("typed", "rest"),
    [("user rem", "ove"), ("setup conf", "irm"), ("setup sudo ssh", "d"), ("setup logi", "n")],
    ids=lambda word: word,
)
def test_a_verb_of_a_verb_completes(shell: Terminal, typed: str, rest: str) -> None:
    shell.send(f"pam-iampass {typed}{TAB}")
    shell.expect_exact(typed)
    shell.expect_exact(rest)


@pytest.mark.parametrize(("typed", "rest"), [("alic", "e"), ("zaph", "od")], ids=["account", "table"])
def test_a_user_completes(shell: Terminal, typed: str, rest: str) -> None:
    shell.send(f"pam-iampass user show {typed}{TAB}")
    shell.expect_exact(rest)
    shell.send("\n")
    shell.expect(f"(?s)user .*{typed}{rest}.*uid ")


def in_fish(line: str) -> list[str]:
    """What fish offers for a line."""
    environment = {**os.environ, "HOME": "/root"}
    command = ["fish", "--command", f"complete --do-complete '{line}'"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [offered.split("\t")[0] for offered in done.stdout.splitlines()]


def test_fish_completes_verbs_options_and_users() -> None:
    assert in_fish("pam-iampass san") == ["sandbox"]
    assert in_fish("pam-iampass user sho") == ["show"]
    assert in_fish("pam-iampass log --unv") == ["--unverified"]
    assert in_fish("pam-iampass user show alic") == ["alice"]
    assert in_fish("pam-iampass user remove zaph") == ["zaphod"]


def test_a_user_who_may_not_read_the_table_is_offered_the_accounts() -> None:
    environment = {**os.environ, "COMP_WORDS": "pam-iampass log ", "COMP_CWORD": "2"}
    environment["_PAM_IAMPASS_COMPLETE"] = "bash_complete"
    as_alice = ["setpriv", "--reuid=alice", "--regid=alice", "--clear-groups", "pam-iampass"]
    done = subprocess.run(as_alice, env=environment, capture_output=True, text=True, check=True)
    assert "plain,bob\n" in done.stdout
    assert "zaphod" not in done.stdout
    assert done.stderr == ""
