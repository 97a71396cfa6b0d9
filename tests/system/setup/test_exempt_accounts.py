"""In the ways with a prompt, exempt accounts log in without one, and nobody else does without the phone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sshd import Sshd, without_terminal
from tests.support.world import PASSWORD, token_of
from tests.system.setup.conftest import REMOTE, Administrator, everything

DROP_IN = Path("/etc/ssh/sshd_config.d/10-iampass.conf")
GROUP = Path("/etc/group")
ROBOT = "robot"
BATCH = "BatchMode=yes"


def batch(administrator: Administrator, user: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Log in with a client that answers no prompt."""
    command = administrator.sshd.command(user, REMOTE, options=(BATCH, *options))
    return without_terminal(command)


def gets_in(administrator: Administrator, user: str, *options: str) -> bool:
    """Whether the client gets in, with no word but that of its command, and the phones stay silent."""
    begun = len(administrator.sandbox.sessions)
    done = batch(administrator, user, *options)
    assert len(administrator.sandbox.sessions) == begun, "a phone rang"
    return (done.returncode, done.stdout, done.stderr) == (0, f"In as {user}.\n", "")


def findings(administrator: Administrator) -> dict[str, str]:
    found = json.loads(administrator.run("check", "--offline", "--json").stdout)["findings"]
    return {each["id"]: each["severity"] for each in found}


@pytest.fixture(autouse=True)
def people(administrator: Administrator, own_sshd: Sshd) -> Iterator[None]:
    """alice and bob have phones; bob is in the group `crew`; robot is an account of a program."""
    kept = GROUP.read_text()
    administrator.machine.add_user(ROBOT, PASSWORD)
    own_sshd.admit(ROBOT)
    GROUP.write_text(GROUP.read_text() + "crew:x:7101:bob\n")
    administrator.sandbox.add_user(token_of("bob"), device=True)
    administrator.machine.write_users("".join(f"{user}: {token_of(user)}\n" for user in ("alice", "bob")))
    administrator.run("throttle", "clear", "bob")
    yield
    subprocess.run(["userdel", "--remove", ROBOT], check=True, capture_output=True)
    GROUP.write_text(kept)


def test_exempt_users_and_groups_log_in_with_their_key_alone_until_it_is_undone(
    administrator: Administrator,
) -> None:
    before = everything()
    administrator.machine.change(exempt=f"{{users: [{ROBOT}], groups: [crew]}}")
    told = administrator.setup("sshd", "--prompt")
    assert f"sshd -T -C: without a prompt, as exempt users: {ROBOT}, bob" in told
    assert gets_in(administrator, ROBOT)
    assert gets_in(administrator, "bob")
    assert not gets_in(administrator, "alice")
    assert not gets_in(administrator, ROBOT, "PubkeyAuthentication=no"), "the key is demanded all the same"
    login = administrator.ssh()
    login.enter()
    assert login.finish() == 0
    assert "sshd-exempt-prompted" not in findings(administrator)
    administrator.setup("undo", "sshd")
    assert everything() == before


def test_after_a_change_of_exempt_check_says_what_to_do_and_setup_follows(
    administrator: Administrator,
) -> None:
    administrator.setup("sshd", "--prompt")
    administrator.machine.change(exempt=f"{{users: [{ROBOT}]}}")
    assert not gets_in(administrator, ROBOT)
    assert findings(administrator)["sshd-exempt-prompted"] == "error"
    checked = administrator.run("check", "--settings")
    assert f"10-iampass.conf has no `Match User {ROBOT}`" in checked.stdout
    assert "pam-iampass setup sshd" in checked.stdout
    assert checked.returncode == 0
    assert "does not follow" not in administrator.setup("sshd")
    assert gets_in(administrator, ROBOT)
    assert "sshd does not follow" not in administrator.run("check", "--settings").stdout
    administrator.machine.change()
    assert findings(administrator)["sshd-exempt-prompted"] == "error"
    administrator.setup("sshd")
    assert "Match" not in DROP_IN.read_text()
    assert not gets_in(administrator, ROBOT)


def test_a_user_without_a_prompt_who_is_not_exempt_is_asked_on_the_phone(
    administrator: Administrator,
) -> None:
    """After a change of the settings; and where sshd sees a group in another way than the module."""
    administrator.machine.change(exempt="{users: [alice], groups: [crew]}")
    administrator.setup("sshd", "--prompt")
    administrator.machine.change()
    for answer, status in (("deny", 255), ("approve", 0)):
        administrator.sandbox.auto = answer
        begun = len(administrator.sandbox.sessions)
        assert batch(administrator, "alice").returncode == status
        assert len(administrator.sandbox.sessions) == begun + 1
    administrator.machine.change(exempt="{users: [alice], groups: [crew]}")
    # The name of the group now belongs to another id, as with two name services; bob keeps the old one.
    GROUP.write_text("crew:x:7102:\n" + GROUP.read_text())
    administrator.sandbox.auto = "deny"
    begun = len(administrator.sandbox.sessions)
    assert batch(administrator, "bob").returncode == 255
    assert len(administrator.sandbox.sessions) == begun + 1, "sshd spares bob the prompt, and the module asks"


@pytest.mark.parametrize("name", ["*", "al*", "?????", "nobody,alice"])
def test_a_name_that_sshd_takes_for_a_pattern_spares_nobody(administrator: Administrator, name: str) -> None:
    administrator.machine.change(exempt=f"{{users: ['{name}'], groups: ['{name}', '{ROBOT}']}}")
    told = administrator.setup("sshd", "--prompt")
    assert "sshd_config cannot name" in told
    assert gets_in(administrator, ROBOT)
    assert not gets_in(administrator, "alice")


def test_a_block_of_the_administrators_that_comes_first_is_reported(administrator: Administrator) -> None:
    own = Path("/etc/ssh/sshd_config.d/05-own.conf")
    own.write_text(
        f"Match User {ROBOT}\n    AuthenticationMethods publickey,keyboard-interactive:pam\nMatch all\n"
    )
    try:
        administrator.machine.change(exempt=f"{{users: [{ROBOT}]}}")
        told = administrator.setup("sshd", "--prompt")
        assert f"{ROBOT} is exempt, but another Match block sets" in told
        assert findings(administrator)["sshd-exempt-prompted"] == "error"
    finally:
        own.unlink()
