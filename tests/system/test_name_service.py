"""Groups as NSS has them, and a name service that takes its time."""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_iampass.accounts import Account, Accounts, LookupFailed
from tests.support.installation import ROOT, Installation

NSSWITCH = Path("/etc/nsswitch.conf")
#: Asks for the groups of a user in one thread, while another looks at the clock.
PROGRAM = """\
import json, sys, threading, time
from pam_iampass.accounts import Account, Accounts
found = []
thread = threading.Thread(target=lambda: found.extend(Accounts().groups(Account(sys.argv[1], 0, 1))))
thread.start()
longest, last = 0.0, time.monotonic()
while thread.is_alive():
    time.sleep(0.01)
    now = time.monotonic()
    longest, last = max(longest, now - last), now
print(json.dumps([sorted(found), longest]))
"""


@pytest.fixture
def slow_groups(machine: Installation) -> Iterator[None]:
    """The slow name service knows of groups as well."""
    library = Path("/usr/lib") / sysconfig.get_config_var("MULTIARCH") / "libnss_slow.so.2"
    source = ROOT / "tests/support/slow_names.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source], check=True)
    kept = NSSWITCH.read_text()
    lines = [line for line in kept.splitlines() if not line.startswith(("initgroups:", "group:"))]
    NSSWITCH.write_text("\n".join([*lines, "group: files", "initgroups: slow files", ""]))
    yield
    NSSWITCH.write_text(kept)
    library.unlink()


def test_groups_are_those_that_id_names(machine: Installation) -> None:
    for user in ("root", "alice", "iampass"):
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
    run = subprocess.run(
        ["/usr/bin/python3", "-c", PROGRAM, "root"],
        env={"PYTHONPATH": str(ROOT), "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    groups, longest = json.loads(run.stdout)
    assert 4711 in groups, "the slow name service was asked"
    assert longest < 1.5
