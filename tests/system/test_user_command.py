"""`pam-iampass user`, as an administrator types it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.agent import RunningAgent
from tests.support.command import COMMAND, run_command
from tests.support.installation import ETC, Installation
from tests.support.recovery import new_codes
from tests.support.sandbox import HttpStatus, Sandbox
from tests.support.terminal import Terminal
from tests.support.world import uid_of

WRITTEN = "# our people\nbob: b1\nghost: g1  # has left\n"


def run(*arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return run_command("user", *arguments, typed=typed)


def user(*arguments: str, typed: str = "", status: int = 0) -> str:
    """What `pam-iampass user` says."""
    done = run(*arguments, typed=typed)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def listed(*arguments: str) -> dict[str, dict[str, object]]:
    """What `pam-iampass user list --json` says, by user."""
    return {one["user"]: one for one in json.loads(run("list", "--json", *arguments).stdout)["users"]}


@pytest.fixture(autouse=True)
def table(machine: Installation, sandbox: Sandbox, agent: RunningAgent) -> Iterator[Path]:
    """A table that a person wrote; afterwards as it was."""
    machine.configure(sandbox)
    machine.write_users(WRITTEN)
    yield ETC / "users.yaml"
    shutil.rmtree(ETC / "users.d", ignore_errors=True)
    assert (ETC / "users.yaml").read_text() == WRITTEN


def test_the_list_shows_who_is_asked_who_has_no_token_and_which_token_has_no_user() -> None:
    shown = user("list")
    lines = {line.split()[0]: line for line in shown.splitlines()}
    assert lines["alice"].split(maxsplit=3) == ["alice", str(uid_of("alice")), "-", "denied: no token"]
    assert lines["bob"].split(maxsplit=3)[2:] == ["users.yaml:2", "needs the phone"]
    assert lines["ghost"].endswith("users.yaml:3  never looked up: this machine has no such account")
    assert "root" in lines
    assert "daemon" not in lines
    assert "1 needs the phone" in shown
    assert "1 has no account" in shown
    assert "\x1b" not in shown


def test_a_user_is_added_and_asked_from_then_on() -> None:
    told = user("add", "alice", "--token", "a1", "--method", "facial")
    assert told == f"alice has a token, in {ETC}/users.d/alice.yaml.\nA login of alice: needs the phone.\n"
    assert listed()["alice"]["methods"] == ["facial"]
    shown = user("show", "alice")
    assert "token     a1\n" in shown
    assert "methods   facial\n" in shown
    assert json.loads(user("show", "alice", "--json"))["token"] == "a1"
    assert (
        subprocess.run([COMMAND, "check", "--settings"], check=False, stdout=subprocess.DEVNULL).returncode
        == 0
    )


def test_the_token_can_be_typed_or_come_from_a_file() -> None:
    user("add", "alice", typed="a1\n")
    assert "token     a1\n" in user("show", "alice")
    terminal = Terminal([COMMAND, "user", "add", "carol"])
    terminal.expect_exact("IAMPASS token of carol: ")
    terminal.sendline("c1")
    assert terminal.finish() == 0
    assert "token     c1\n" in user("show", "carol")


def test_a_user_whom_the_machine_does_not_know_is_added_only_where_that_is_meant() -> None:
    assert "is not a user of this machine" in user("add", "alcie", "--token", "t", status=1)
    user("add", "newcomer", "--token", "t", "--no-account")
    assert listed()["newcomer"]["state"] == "no_account"


def test_a_user_is_removed_and_what_else_is_to_be_done_is_said(machine: Installation) -> None:
    user("add", "alice", "--token", "a1")
    shown = user("remove", "alice")
    assert f"deleted {ETC}/users.d/alice.yaml" in shown
    assert "A login of alice: denied: no token." in shown
    assert "still registered at IAMPASS. To delete both, give --yes." in shown
    machine.change(unlisted_users="ignore")
    user("add", "alice", "--token", "a1")
    assert "A login of alice: passes without a second factor: no token." in user("remove", "alice")


@pytest.fixture
def known(sandbox: Sandbox) -> Iterator[Callable[..., None]]:
    """Adds users to the table and to IAMPASS, alice with a phone; the sandbox forgets them afterwards."""
    added: list[str] = []

    def add(*names: str) -> None:
        for name in names:
            user("add", name, "--token", f"token-of-{name}", "--no-account")
            sandbox.add_user(f"token-of-{name}", device=name == "alice")
            added.append(name)

    yield add
    for name in added:
        sandbox.delete_user(f"token-of-{name}")


@pytest.mark.parametrize("answered", ["y", "n"])
def test_a_user_is_deleted_at_iampass_if_the_administrator_says_yes(
    known: Callable[..., None], sandbox: Sandbox, answered: str
) -> None:
    known("alice")
    codes = new_codes("alice")
    assert run_command("bypass", "alice", "--for", "1h").returncode == 0
    terminal = Terminal([COMMAND, "user", "remove", "alice"])
    terminal.expect_exact(
        "Delete alice at IAMPASS too, with the phone? Other machines with the same token lose the phone"
    )
    terminal.sendline(answered)
    assert terminal.finish() == 0
    assert ("token-of-alice" in sandbox.users) is (answered == "n")
    assert ("Deleted alice at IAMPASS" in terminal.shown) is (answered == "y")
    assert ("still registered at IAMPASS." in terminal.shown) is (answered == "n")
    assert "The recovery codes were revoked." in terminal.shown
    assert json.loads(run_command("recovery", "list", "--json", "alice").stdout)["codes"] == 0
    assert json.loads(run_command("bypass", "list", "--json").stdout) == {"bypasses": []}
    assert not any(code in terminal.shown for code in codes)


def test_nothing_is_removed_if_the_application_is_unknown_or_iampass_does_not_answer(
    known: Callable[..., None], machine: Installation, sandbox: Sandbox
) -> None:
    known("alice")
    machine.change(application_id="not-this-one")
    shown = user("remove", "alice", "--yes", status=1)
    machine.change(server="https://localhost:1")
    shown += user("remove", "alice", "--yes", status=1)
    assert shown.count("Nothing was removed. To remove users here only, give --keep-at-iampass.") == 2
    assert listed()["alice"]["has_token"]
    assert "still registered at IAMPASS.\n" in user("remove", "alice", "--keep-at-iampass")
    assert not listed()["alice"]["has_token"]


def test_all_users_of_a_file_are_removed_and_a_second_run_continues(
    known: Callable[..., None], machine: Installation, sandbox: Sandbox, tmp_path: Path
) -> None:
    known("alice", "leaver")
    leavers = tmp_path / "leavers.csv"
    leavers.write_text("user\nalice\nbob\nleaver\n")
    sandbox.misbehave("delete_users", HttpStatus(400))
    results = json.loads(user("remove", "--from", str(leavers), "--yes", "--json", status=1))
    assert [one["state"] for one in results["users"]] == ["failed", "failed", "removed"]
    assert "users.yaml:2, which is only edited by hand" in results["users"][1]["problem"]
    assert "token-of-leaver" not in sandbox.users
    shown = user("remove", "--from", str(leavers), "--yes", status=1)
    lines = {line.split()[0]: line for line in shown.splitlines()}
    assert lines["alice"].endswith("removed")
    assert lines["leaver"].endswith("has no token")
    assert "1 of 3 users removed." in shown
    assert "token-of" not in shown + json.dumps(results)


def test_an_account_acts_for_a_user_and_is_named_and_denied_when_the_user_is_removed(
    known: Callable[..., None], machine: Installation
) -> None:
    assert 'cannot act for "alice": "alice" is not in the user table' in user(
        "add", "carol", "--acts-for", "alice", status=1
    )
    known("alice")
    told = user("add", "carol", "--acts-for", "alice")
    where = f"{ETC}/users.d/carol.yaml"
    assert told == (
        f"carol acts for alice, in {where}.\nA login of carol: needs the phone of its owner: acts for alice.\n"
    )
    assert 'already acts for "alice"' in user("add", "carol", "--token", "t", status=1)
    assert "itself acts for" in user("add", "dave", "--acts-for", "carol", status=1)
    refused = user("add", "alice", "--acts-for", "bob", "--replace", status=1)
    assert 'cannot act for "bob": carol would have no owner with a phone' in refused
    assert listed()["carol"]["acts_for"] == "alice"
    assert json.loads(user("show", "alice", "--json"))["acting_for_user"] == ["carol"]
    assert "whose phone approves its logins" in run_command("enroll", "carol").stderr
    assert "has no recovery codes" in run_command("recovery", "new", "carol").stderr
    shown = user("remove", "alice", "--yes")
    assert "carol acts for alice: all logins are denied from now on." in shown
    assert "pam-iampass user remove carol" in shown
    assert listed()["carol"]["state"] == "broken"
    settings = run_command("check", "--settings").stdout
    assert "carol.acts_for" in settings
    assert "carol is denied" in settings
    user("remove", "carol")


def test_a_name_that_would_write_on_the_terminal_is_shown_cleaned() -> None:
    name = "a[bold]\u202e\u2028"
    user("add", name, "--token", "t", "--no-account")
    assert "a[bold]\\u202e\\u2028" in user("list")
    terminal = Terminal([COMMAND, "user", "list", "--only", "without-account"])
    terminal.finish()
    assert "a[bold]\\u202e\\u2028" in terminal.shown
    assert "\u202e" not in terminal.shown


def test_another_user_than_root_reads_that_root_is_needed() -> None:
    command = ["setpriv", "--reuid=alice", "--regid=alice", "--init-groups", COMMAND, "user", "add", "alice"]
    done = subprocess.run([*command, "--token", "t"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("/etc/iampass/iampass.yaml: cannot be read by user")
    assert done.stderr.endswith("\n    run it as root\n")
