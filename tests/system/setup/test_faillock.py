"""What common-auth adds to the check of the password stays in force: pam_faillock."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.world import PASSWORD
from tests.system.setup.conftest import Administrator
from tests.system.setup.test_refusals import file

TALLY = "deny=3 unlock_time=600"
COMMON_AUTH = f"""\
auth requisite pam_faillock.so preauth {TALLY}
auth [success=2 default=ignore] pam_unix.so nodelay
auth [default=die] pam_faillock.so authfail {TALLY}
auth requisite pam_deny.so
auth required pam_permit.so
"""


@pytest.fixture
def faillock() -> Iterator[None]:
    """Three wrong passwords lock an account."""
    with file(Path("/etc/pam.d/common-auth"), COMMON_AUTH):
        yield
    subprocess.run(["faillock", "--user", "alice", "--reset"], check=True)


def test_after_wrong_passwords_sshd_refuses_the_right_one(
    administrator: Administrator, faillock: None
) -> None:
    administrator.setup("sshd", "--password")
    begun = len(administrator.sandbox.sessions)
    login = administrator.ssh()
    for _ in range(3):
        login.expect("assword: ")
        login.sendline("wrong")
    assert login.finish() != 0
    login = administrator.ssh()
    while login.expect(["assword: ", "iampass|phone", "denied"]) == 0:
        login.sendline(PASSWORD)
    assert login.finish() != 0
    assert "In as" not in login.shown
    assert len(administrator.sandbox.sessions) == begun
    subprocess.run(["faillock", "--user", "alice", "--reset"], check=True)
    login = administrator.ssh()
    login.expect("assword: ")
    login.sendline(PASSWORD)
    login.enter()
    assert login.finish() == 0
    administrator.setup("undo")
