"""Groups as NSS has them, and a name service that takes its time."""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pam_iampass.system.accounts import Account, Accounts, LookupFailed
from tests.support.deadline import PATIENCE
from tests.support.installation import ROOT, Installation

NSSWITCH = Path("/etc/nsswitch.conf")
#: Asks for the groups of a user in one thread, while another counts how often it runs.
PROGRAM = """\
import json, sys, threading, time
from pam_iampass.system.accounts import Account, Accounts
found = []
thread = threading.Thread(target=lambda: found.extend(Accounts().groups(Account(sys.argv[1], 0, 1))))
thread.start()
turns = 0
while thread.is_alive():
    time.sleep(0.01)
    turns += 1
print(json.dumps([sorted(found), turns]))
"""


@contextmanager
def name_service(name: str, *lines: str) -> Iterator[None]:
    """Build a name service, and have it asked as these lines of nsswitch.conf say."""
    library = Path("/usr/lib") / sysconfig.get_config_var("MULTIARCH") / f"libnss_{name}.so.2"
    source = ROOT / f"tests/support/{name}_names.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source], check=True)
    kept = NSSWITCH.read_text()
    databases = tuple(line.partition(" ")[0] for line in lines)
    others = [line for line in kept.splitlines() if not line.startswith(databases)]
    NSSWITCH.write_text("\n".join([*others, *lines, ""]))
    yield
    NSSWITCH.write_text(kept)
    library.unlink()


#: Whether a user of this name is asked, where only the members of the group `asked-group` are.
POLICY = """\
import sys
from dataclasses import replace
from pam_iampass.config.settings import AskedSettings
from pam_iampass.login import policy
from pam_iampass.outcome import Login
from pam_iampass.system.accounts import Accounts, LookupFailed
from tests.unit.login.test_policy import SERVICE
accounts = Accounts()
service = replace(SERVICE, asked=AskedSettings(groups=frozenset({"asked-group"})))
try:
    print(policy.exemption(accounts.named(sys.argv[1]), Login(sys.argv[1], "sshd"), service, accounts))
except LookupFailed as failed:
    print(failed)
"""


@pytest.fixture
def asked_group(machine: Installation) -> Iterator[None]:
    """A group that bob is in. Its entry lists no members, as with sssd's `ignore_group_members`."""
    kept = Path("/etc/group").read_text()
    Path("/etc/group").write_text(f"{kept}asked-group:x:{pwd.getpwnam('bob').pw_gid}:\n")
    yield
    Path("/etc/group").write_text(kept)


@pytest.fixture
def slow_groups(machine: Installation) -> Iterator[None]:
    """The slow name service knows of groups as well."""
    with name_service("slow", "group: files", "initgroups: slow files"):
        yield


@pytest.fixture
def aliases(machine: Installation) -> Iterator[None]:
    """The name service knows alice as ALICE, too."""
    with name_service("alias", "passwd: files alias"):
        yield


def asked_anew(program: str, *arguments: str) -> str:
    """What a program prints that begins with the name service as it is now."""
    return subprocess.run(
        ["/usr/bin/python3", "-c", program, *arguments],
        env={"PYTHONPATH": str(ROOT), "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    ).stdout


def test_a_name_is_what_the_name_service_says_whatever_was_typed(aliases: None) -> None:
    program = "import sys; from pam_iampass.system.accounts import Accounts; print(Accounts().named(sys.argv[1]).name)"
    assert asked_anew(program, "ALICE") == "alice\n"
    assert asked_anew(program, "alice") == "alice\n"


def test_groups_are_those_that_id_names(machine: Installation) -> None:
    for user in ("root", "alice", "_iampass"):
        entry = pwd.getpwnam(user)
        named = subprocess.run(["id", "-G", user], capture_output=True, text=True, check=True).stdout.split()
        groups = Accounts().groups(Account(entry.pw_name, entry.pw_uid, entry.pw_gid))
        assert groups == {int(group) for group in named}


@pytest.mark.parametrize("count", [1, 63, 64, 65, 300])
def test_a_user_may_be_in_many_groups(machine: Installation, count: int) -> None:
    kept = Path("/etc/group").read_text()
    Path("/etc/group").write_text(
        kept + "".join(f"many{number}:x:{700000 + number}:alice\n" for number in range(count))
    )
    try:
        alice = pwd.getpwnam("alice")
        groups = Accounts().groups(Account("alice", alice.pw_uid, alice.pw_gid))
        assert set(range(700000, 700000 + count)) <= groups
        assert alice.pw_gid in groups
    finally:
        Path("/etc/group").write_text(kept)


def test_more_groups_than_linux_allows_are_a_look_up_that_failed(machine: Installation) -> None:
    kept = Path("/etc/group").read_text()
    Path("/etc/group").write_text(
        kept + "".join(f"many{number}:x:{700000 + number}:alice\n" for number in range(66000))
    )
    try:
        with pytest.raises(LookupFailed, match="more than 65536 groups"):
            Accounts().groups(Account("alice", 1, 1))
    finally:
        Path("/etc/group").write_text(kept)
    assert grp.getgrnam("root").gr_gid == 0


def test_a_name_service_that_takes_its_time_holds_up_nobody_else(slow_groups: None) -> None:
    groups, turns = json.loads(asked_anew(PROGRAM, "root"))
    assert 4711 in groups, "the slow name service was asked"
    assert turns > 30  # of 300; hardly any, if the look-up held the other thread up


def test_while_a_name_service_fails_to_name_a_users_groups_nobody_passes_as_not_asked(
    asked_group: None,
) -> None:
    """getgrouplist(3) says nothing of the failure."""
    not_asked = "alice is not one of `asked`\n"
    with name_service("broken", "group: files broken"):
        assert json.loads(asked_anew(PROGRAM, "alice"))[0], "the usual look-up succeeds"
        failed = asked_anew(POLICY, "alice")
        assert failed == "looking up the user's groups failed: the name service broken is unavailable\n"
        assert asked_anew(POLICY, "bob") == "None\n", "bob is asked all the same"
        NSSWITCH.write_text(NSSWITCH.read_text() + "initgroups: files [NOTFOUND=continue] not-installed\n")
        assert asked_anew(POLICY, "alice") == not_asked
    assert asked_anew(POLICY, "alice") == not_asked


def test_a_name_service_that_answers_is_no_failure(slow_groups: None, asked_group: None) -> None:
    assert asked_anew(POLICY, "alice") == "alice is not one of `asked`\n"
