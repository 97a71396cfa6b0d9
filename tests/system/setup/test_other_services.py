"""Services other than sshd, sudo and su: their PAM files are changed, checked and restored like those of su."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from tests.support.terminal import Terminal
from tests.support.world import PASSWORD
from tests.system.setup.conftest import Administrator, everything
from tests.system.setup.test_refusals import file, refused

PAM = Path("/etc/pam.d")
VENDOR = Path("/usr/lib/pam.d/polkit-1")
LINE = "auth       required    pam_iampass.so  # pam-iampass"
POLKIT = "@include common-auth\n@include common-account\nsession required pam_env.so readenv=1\n"


@pytest.fixture
def polkit() -> Iterator[None]:
    """The PAM file of polkit where its package puts it."""
    with file(VENDOR, POLKIT):
        yield


@contextmanager
def included(name: str, other: str) -> Iterator[None]:
    """Another PAM service that includes the lines of one."""
    with file(PAM / name, f"auth include {other}\naccount include {other}\n"):
        yield


def tried(service: str, password: str = PASSWORD, user: str = "alice") -> tuple[bool, str]:
    """pamtester as root: whether the stack passes, and what is shown."""
    terminal = Terminal(["pamtester", service, user, "authenticate", "acct_mgmt"])
    assert terminal.expect(["assword: ", pexpect.EOF]) == 0, terminal.shown
    terminal.sendline(password)
    return terminal.finish() == 0, terminal.shown


def test_login_asks_the_phone_until_it_is_undone(administrator: Administrator) -> None:
    before = everything()
    told = administrator.setup("login")
    assert f" @include common-auth\n+{LINE}\n" in told
    begun = len(administrator.sandbox.sessions)
    passed, _ = tried("login", "wrong")
    assert (passed, len(administrator.sandbox.sessions) - begun) == (False, 0)
    passed, shown = tried("login")
    assert (passed, "Approved on your phone." in shown) == (True, True)
    administrator.sandbox.auto = "deny"
    passed, shown = tried("login")
    assert (passed, "Denied on your phone." in shown) == (False, True)
    assert json.loads(administrator.setup("status", "--json"))["services"]["login"]["state"] == "on"
    administrator.setup("undo", "login")
    assert everything() == before
    assert tried("login")[0]


def test_settings_of_one_service_hold(administrator: Administrator) -> None:
    administrator.machine.change(services="{login: {unlisted_users: ignore}}")
    told = administrator.setup("login", who="bob")
    assert "passes without the phone" in told
    assert "give bob a token: pam-iampass user add bob\n" in told
    assert tried("login", user="bob")[0]


def test_a_file_of_the_vendor_is_included_by_one_that_overrides_it(
    administrator: Administrator, polkit: None
) -> None:
    before = everything()
    told = administrator.setup("polkit-1", "--dry-run")
    assert "+++ /etc/pam.d/polkit-1\n" in told
    assert everything() == before
    administrator.setup("polkit-1")
    assert f"\n@include {VENDOR}\n{LINE}\n" in (PAM / "polkit-1").read_text()
    passed, shown = tried("polkit-1")
    assert (passed, "Approved on your phone." in shown) == (True, True)
    begun = len(administrator.sandbox.sessions)
    passed, _ = tried("polkit-1", "wrong")
    assert (passed, len(administrator.sandbox.sessions) - begun) == (False, 0)
    VENDOR.write_text(POLKIT + "# newer\n")  # its package is upgraded
    assert "nothing to change" in administrator.setup("polkit-1")
    administrator.setup("undo")
    assert everything() == before


def test_a_file_of_the_administrators_own_keeps_overriding_that_of_the_vendor(
    administrator: Administrator, polkit: None
) -> None:
    with file(PAM / "polkit-1", "# mine\n" + POLKIT, 0o640):
        before = everything()
        administrator.setup("polkit-1")
        assert (PAM / "polkit-1").read_text().startswith(f"# mine\n@include common-auth\n{LINE}\n")
        administrator.setup("undo")
        assert everything() == before


def test_sudo_holds_for_its_other_services_and_for_sudo_rs(administrator: Administrator) -> None:
    before = everything()
    assert "set up together with sudo" in administrator.setup("sudo-rs", ok=False)
    administrator.setup("sudo")
    begun = len(administrator.sandbox.sessions)
    status, shown = administrator.become_root("sudo", "-k", "id", "-un")
    assert (status, len(administrator.sandbox.sessions) - begun) == (0, 1), shown
    for service in ("sudo", "sudo-i"):
        begun = len(administrator.sandbox.sessions)
        assert tried(service)[0]
        assert len(administrator.sandbox.sessions) - begun == 1
    done = administrator.run("test", "alice", "--service", "sudo-rs", given=f"{PASSWORD}\n")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "As sudo-rs would for alice, PAM service sudo (/etc/pam.d/sudo):" in done.stdout
    administrator.setup("undo", "sudo")
    assert everything() == before


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


def test_a_stack_in_which_a_wrong_password_reaches_the_phone_is_refused(administrator: Administrator) -> None:
    lax = "auth required pam_unix.so\nauth required pam_permit.so\n"
    with file(PAM / "common-auth", lax):
        assert "A wrong password rings the phone" in refused(administrator, "login")


def test_a_stack_that_leads_past_the_phone_is_refused(administrator: Administrator) -> None:
    text = "auth sufficient pam_unix.so\n@include common-auth\n@include common-account\n"
    with file(PAM / "kiosk", text):
        told = refused(administrator, "kiosk")
        assert "right password" in told
        assert "/etc/pam.d/kiosk" in told


def test_a_program_that_setup_does_not_know_is_pointed_out(administrator: Administrator) -> None:
    with file(PAM / "kiosk", "auth substack common-auth\naccount include common-account\n"):
        told = administrator.setup("kiosk")
        assert "does not know the program that uses kiosk" in told
        assert "-auth substack common-auth\n+#pam-iampass: auth substack common-auth\n" in told
        passed, shown = tried("kiosk")
        assert (passed, "Approved on your phone." in shown) == (True, True)
        administrator.setup("undo")
