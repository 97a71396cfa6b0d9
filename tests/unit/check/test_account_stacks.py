"""What check finds in the account stack of sshd's PAM service."""

from __future__ import annotations

from pathlib import Path

import pytest

from pam_iampass.check.sshd import SshdCheck
from pam_iampass.check.sshd_match import SshdLogin
from pam_iampass.check.stacks import SET_UID, Stacks
from pam_iampass.pam.stack import PamFiles
from pam_iampass.system.sshd import Connection, SshdSettings
from tests.unit.check.test_stacks import COMMON_AUTH, Machine, stack

OURS = "account requisite pam_iampass.so"
NOLOGIN = "account requisite pam_nologin.so"
GUARD = "account [acct_expired=die perm_denied=die default=ignore] pam_unix.so"
COMMON_ACCOUNT = """\
account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so
account requisite pam_deny.so
account required pam_permit.so
"""
PASSWORD_AUTH = """\
account required pam_unix.so
account sufficient pam_localuser.so
account sufficient pam_usertype.so issystem
account [default=bad success=ok user_unknown=ignore] pam_sss.so
account required pam_permit.so
"""
SHARED = "@include common-account"

CASES = {
    "as it is shipped": (stack(NOLOGIN, GUARD, OURS, SHARED), set()),
    "an include, which an expired password ends": (
        stack(NOLOGIN, GUARD, SHARED, OURS),
        {"stack-skipped"},
    ),
    "optional": (
        stack(NOLOGIN, GUARD, "account optional pam_iampass.so", SHARED),
        {"stack-denial-passes"},
    ),
    "an approval ends the stack ahead of who is kept out": (
        stack(NOLOGIN, GUARD, "account sufficient pam_iampass.so", "account required pam_access.so", SHARED),
        {"refusal-lost", "stack-denial-passes"},
    ),
    "who is kept out afterwards": (
        stack(NOLOGIN, GUARD, OURS, "account required pam_access.so", SHARED),
        set(),
    ),
    "alone": (stack(OURS), {"stack-ignored-fails"}),
    "nobody passes": (stack(OURS, "account required pam_deny.so"), {"stack-approved-fails"}),
    "a key that sshd has not reported": (
        stack(NOLOGIN, GUARD, OURS + " first_factor=publickey", SHARED),
        {"module-argument"},
    ),
}


@pytest.fixture
def host(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.write(common_auth=COMMON_AUTH, common_account=COMMON_ACCOUNT)
    return made


@pytest.mark.parametrize(("text", "ids"), CASES.values(), ids=list(CASES))
def test_the_faults_of_a_stack_are_found(host: Machine, text: str, ids: set[str]) -> None:
    host.write(sshd="@include common-auth\n" + text)
    assert host.ids("sshd") == ids


def test_with_an_include_every_local_user_of_red_hat_skips_the_phone(host: Machine) -> None:
    host.write(password_auth=PASSWORD_AUTH)
    host.write(sshd=stack("auth required pam_unix.so", "account include password-auth", OURS))
    assert "stack-skipped" in host.ids("sshd")


def test_after_a_substack_that_fixes_the_result_for_an_expired_password_no_denial_counts(
    host: Machine,
) -> None:
    host.write(password_auth=PASSWORD_AUTH)
    host.write(sshd=stack("auth required pam_unix.so", GUARD, "account substack password-auth", OURS))
    assert "stack-denial-passes" in host.ids("sshd")


def test_an_account_line_outside_of_sshd_asks_nobody(host: Machine) -> None:
    host.write(login="@include common-auth\n" + stack(SHARED, OURS))
    assert host.ids("sshd") == {"stack-no-auth", "nothing-asks"}


ALWAYS = OURS + " always"
OF_SUDO = {
    "as setup writes it": (stack(ALWAYS, SHARED), set()),
    "an include ahead, which an expired password ends": (stack(SHARED, ALWAYS), {"stack-skipped"}),
    "an unknown module ahead, which may say that the password has expired": (
        stack("account requisite pam_otp.so", ALWAYS, SHARED),
        {"stack-skipped"},
    ),
    "a guard ahead, by which sudo runs a command": (
        stack("account [authtok_expired=die default=ignore] pam_unix.so", ALWAYS, SHARED),
        {"stack-skipped"},
    ),
    "a condition ahead": (stack("account requisite pam_access.so", ALWAYS, SHARED), set()),
    "optional": (stack("account optional pam_iampass.so always", SHARED), {"stack-denial-passes"}),
    "without the argument": (stack(OURS, SHARED), set()),
    "on an auth line": (
        "auth required pam_iampass.so always\n" + stack(ALWAYS, SHARED),
        {"module-argument"},
    ),
}


@pytest.mark.parametrize(("text", "ids"), OF_SUDO.values(), ids=list(OF_SUDO))
def test_a_stack_of_sudo_that_asks_for_every_command_is_simulated(
    host: Machine, text: str, ids: set[str]
) -> None:
    auth = "@include common-auth\n" + ("" if "auth required" in text else "auth required pam_iampass.so\n")
    host.write(sudo=auth + text, login="auth required pam_iampass.so\n" + stack(ALWAYS, SHARED))
    found = host.findings("sshd")
    assert {one.kind for one in found if one.key == "sudo"} == ids
    assert "module-argument" in {one.kind for one in found if one.key == "login"}


def of_sshd(host: Machine, **settings: str) -> set[str]:
    """The ids of what is wrong with sshd's settings, with `settings` beside those of Debian."""
    values = {
        "usepam": "yes",
        "pubkeyauthentication": "yes",
        "passwordauthentication": "yes",
        "kbdinteractiveauthentication": "yes",
        "pamservicename": "quiet",
        **settings,
    }
    stacks = Stacks(PamFiles([host.pam]), [host.modules], frozenset({"quiet"}), SET_UID)
    found = SshdCheck([SshdLogin(Connection("alice"), SshdSettings(values))], stacks, None).findings()
    return {finding.kind for finding in found} - {"sshd-stale"}


QUIET = "@include common-auth\n" + stack(NOLOGIN, GUARD, OURS, SHARED)


@pytest.mark.parametrize(
    ("methods", "ids"),
    [
        ("any", set()),
        ("publickey", set()),
        ("publickey,keyboard-interactive:pam", set()),
        ("publickey keyboard-interactive,publickey", {"stack-wrong-rings"}),
    ],
)
def test_the_phone_rings_after_the_last_method(host: Machine, methods: str, ids: set[str]) -> None:
    host.write(quiet=QUIET)
    assert of_sshd(host, authenticationmethods=methods) == ids


def test_a_stack_without_a_password_leaves_the_phone_alone(host: Machine) -> None:
    host.write(quiet="auth required pam_permit.so\n" + stack(NOLOGIN, GUARD, OURS, SHARED))
    assert of_sshd(host) == {"sshd-phone-only"}
    assert of_sshd(host, authenticationmethods="publickey") == set()


def test_without_pam_nobody_is_asked(host: Machine) -> None:
    host.write(quiet=QUIET)
    assert of_sshd(host, usepam="no") == {"sshd-pam-off"}


def test_a_key_alone_is_no_way_around_where_the_account_stack_asks(host: Machine) -> None:
    asks = stack("auth required pam_iampass.so", "auth required pam_permit.so")
    host.write(quiet="@include common-auth\n" + asks + stack(NOLOGIN, SHARED))
    assert "sshd-key-bypasses" in of_sshd(host, authenticationmethods="publickey")
    host.write(quiet="@include common-auth\n" + asks + stack(NOLOGIN, GUARD, OURS, SHARED))
    assert of_sshd(host, authenticationmethods="publickey") == {"sshd-prompt-skipped"}


def test_a_service_that_asks_in_neither_is_noted(host: Machine) -> None:
    host.write(quiet="@include common-auth\n" + stack(NOLOGIN, SHARED))
    assert of_sshd(host) == {"way-in-open"}


def test_a_login_that_is_led_to_another_service_is_an_error_while_others_are_asked(host: Machine) -> None:
    host.write(quiet=QUIET, other="@include common-auth\n" + stack(NOLOGIN, SHARED))
    stacks = Stacks(PamFiles([host.pam]), [host.modules], frozenset({"quiet", "other"}), SET_UID)

    def found(*services: str, exempt: str = "") -> list[tuple[str, str]]:
        logins = [
            SshdLogin(Connection(f"user-of-{service}"), SshdSettings({"pamservicename": service}))
            for service in services
        ]
        check = SshdCheck(logins, stacks, None, is_exempt=lambda login: login.user == exempt)
        return [(one.kind, one.what) for one in check.findings() if "unasked" in one.kind]

    assert found("quiet", "other") == [("sshd-unasked", "Logins by ssh do not ask the phone: user-of-other")]
    assert found("quiet", "other", exempt="user-of-other") == []
    assert found("other") == []
