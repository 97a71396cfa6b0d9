"""Services other than sshd, sudo and su: their PAM files are changed, checked and restored like those of su."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect

from tests.support.deadline import APPROVED
from tests.support.terminal import Terminal
from tests.support.world import PASSWORD
from tests.system.setup.conftest import Administrator
from tests.system.setup.test_refusals import file, refused

PAM = Path("/etc/pam.d")


@contextmanager
def included(name: str, other: str) -> Iterator[None]:
    """Another PAM service that includes the lines of one."""
    with file(PAM / name, f"auth include {other}\naccount include {other}\n"):
        yield


def tried(service: str, user: str = "alice") -> tuple[bool, str]:
    """pamtester as root: whether the stack passes, and what is shown."""
    terminal = Terminal(["pamtester", service, user, "authenticate", "acct_mgmt"])
    assert terminal.expect(["assword: ", pexpect.EOF]) == 0, terminal.shown
    terminal.sendline(PASSWORD)
    return terminal.finish() == 0, terminal.shown


def test_settings_of_one_service_hold(administrator: Administrator) -> None:
    administrator.machine.change(services="{login: {unlisted_users: ignore}}")
    told = administrator.setup("login", who="bob")
    assert "passes without the phone" in told
    assert "give bob a token: pam-iampass user add bob\n" in told
    assert tried("login", user="bob")[0]


def test_jobs_that_no_person_starts_are_refused(administrator: Administrator) -> None:
    with file(PAM / "cron", "@include common-auth\n@include common-account\n"):
        assert "cron: its jobs run when there is no person to approve" in refused(
            administrator, "cron", "--force"
        )


def test_a_screen_locker_that_includes_the_service_would_be_locked_for_good(
    administrator: Administrator,
) -> None:
    with included("i3lock", "login"):
        told = refused(administrator, "login")
        assert "i3lock includes login, and must not ask the phone" in told
    with included("kiosk", "login"):
        assert "kiosk includes login: it asks the phone, too" in administrator.setup("login")


def test_a_program_that_setup_does_not_know_is_pointed_out(administrator: Administrator) -> None:
    with file(PAM / "kiosk", "auth substack common-auth\naccount include common-account\n"):
        told = administrator.setup("kiosk")
        assert "does not know the program that uses kiosk" in told
        assert "-auth substack common-auth\n+#pam-iampass: auth substack common-auth\n" in told
        passed, shown = tried("kiosk")
        assert (passed, APPROVED in shown) == (True, True)
        administrator.setup("undo")
