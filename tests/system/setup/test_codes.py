"""`setup sshd --codes`: on which sshd it can be had, what it writes there, and what check says afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pam_iampass.pam.lines import unedited
from tests.support.world import PASSWORD
from tests.system.setup.conftest import REMOTE, STATE, Administrator
from tests.system.setup.test_refusals import DROP_INS, SSHD_CONFIG, file, refused

KEYS_ONLY = "PasswordAuthentication no\n"
CODE_FIRST = "PreferredAuthentications=keyboard-interactive,publickey"
BY_PASSWORD = ("PreferredAuthentications=password", "PubkeyAuthentication=no")
OURS = DROP_INS / "10-iampass.conf"
PAM_FILE = Path("/etc/pam.d/sshd")


def gets_in_by_a_wrong_code(administrator: Administrator) -> bool:
    """Whether alice gets in with a wrong code before her key. Right ones: `tests/system/test_codes.py`."""
    login = administrator.sshd.login("alice", REMOTE, options=(CODE_FIRST,))
    login.expect("recovery code")
    login.sendline("0000-0000-0000-0000")
    return login.finish() == 0


def found_by_check(administrator: Administrator) -> dict[str, str]:
    """The severities of what check finds about sshd and its stack, by kind."""
    found = json.loads(administrator.run("check", "--json").stdout)["findings"]
    kinds = {each["id"]: each["severity"] for each in found}
    return {
        name: level
        for name, level in kinds.items()
        if name.startswith(("sshd-", "stack-", "way-", "module-"))
    }


def test_codes_are_asked_for_status_and_check_know_it_and_undo_ends_it(administrator: Administrator) -> None:
    with file(DROP_INS / "20-site.conf", KEYS_ONLY):
        before = found_by_check(administrator)
        told = administrator.setup("sshd", "--codes")
        assert f"sshd -T: {OURS} is in force" in told
        assert "ssh -o PreferredAuthentications=keyboard-interactive,publickey alice@" in told
        assert "any first factor, no prompt, recovery codes, and the phone" in administrator.setup("status")
        assert "nothing to change" in administrator.setup("sshd"), "a machine keeps its way"
        begun = len(administrator.sandbox.sessions)
        assert not gets_in_by_a_wrong_code(administrator)
        assert len(administrator.sandbox.sessions) == begun
        assert administrator.gets_in_by_key_alone()
        assert len(administrator.sandbox.sessions) == begun + 1
        assert set(found_by_check(administrator)) <= {*before, "sshd-limits"}
        assert administrator.run("check", "--settings").returncode == 0
        assert administrator.run("test", "alice", "--service", "sshd").returncode == 0
        administrator.setup("sshd", "--no-prompt")
        assert not OURS.exists()
        assert " codes" not in PAM_FILE.read_text()


def test_files_for_codes_that_were_put_there_by_hand_are_reported(administrator: Administrator) -> None:
    with file(DROP_INS / "20-site.conf", KEYS_ONLY):
        administrator.setup("sshd", "--codes")
        (STATE / "setup/manifest.json").unlink()
        try:
            assert "by hand" in administrator.setup("status")
        finally:
            OURS.unlink()
            PAM_FILE.write_text(unedited(PAM_FILE.read_text()))


def test_an_sshd_that_accepts_passwords_is_refused(administrator: Administrator) -> None:
    told = refused(administrator, "sshd", "--codes", "--force")
    assert "sshd accepts passwords, and --codes would ask these users for a code before the password" in told
    with file(DROP_INS / "20-site.conf", f"{KEYS_ONLY}KbdInteractiveAuthentication yes\n"):
        assert "sshd accepts passwords" in refused(administrator, "sshd", "--codes", "--force")


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ("Match User bob\n  PasswordAuthentication yes\n", "sshd accepts passwords ({}:2: Match user bob)"),
        ("Match Address 192.0.2.0/24\n  KbdInteractiveAuthentication yes\n", "sshd accepts passwords ({}:2"),
        ("Match Host *.example.com\n  HostbasedAuthentication yes\n", "sshd accepts hostbased ({}:2"),
        (
            "Match Group of-no-name-service\n  PasswordAuthentication yes\n",
            "{}:2: cannot tell what sshd would accept",
        ),
    ],
)
def test_a_block_that_would_lose_a_way_in_is_refused_by_its_place(
    administrator: Administrator, block: str, told: str
) -> None:
    with file(DROP_INS / "20-site.conf", KEYS_ONLY + block):
        assert told.format(DROP_INS / "20-site.conf") in refused(
            administrator, "sshd", "--codes", "--force"
        ).replace("  ", " ")


def test_a_block_with_its_own_methods_goes_on_as_before(administrator: Administrator) -> None:
    own = "Match User alice\n  PasswordAuthentication yes\n  AuthenticationMethods publickey password\n"
    with file(DROP_INS / "20-site.conf", KEYS_ONLY + own):
        administrator.setup("sshd", "--codes")
        begun = len(administrator.sandbox.sessions)
        login = administrator.sshd.login("alice", REMOTE, options=BY_PASSWORD)
        login.expect("assword: ")
        login.sendline(PASSWORD)
        assert login.finish() == 0
        assert len(administrator.sandbox.sessions) == begun + 1
        administrator.setup("undo")


def test_what_sshd_accepts_today_it_accepts_afterwards_and_a_code_before_it(
    administrator: Administrator,
) -> None:
    both = "GSSAPIAuthentication yes\nHostbasedAuthentication yes\n"
    for site, methods in (
        (KEYS_ONLY, "publickey keyboard-interactive:pam,publickey"),
        (
            f"{KEYS_ONLY}AuthenticationMethods publickey,publickey\n",
            "publickey,publickey keyboard-interactive:pam,publickey,publickey",
        ),
        (
            KEYS_ONLY + both,
            "publickey hostbased gssapi-with-mic keyboard-interactive:pam,publickey"
            " keyboard-interactive:pam,hostbased keyboard-interactive:pam,gssapi-with-mic",
        ),
    ):
        with file(DROP_INS / "20-site.conf", site):
            administrator.setup("sshd", "--codes")
            assert f"\nAuthenticationMethods {methods}\n" in OURS.read_text()
            assert "nothing to change" in administrator.setup("sshd", "--codes")
            administrator.setup("undo")


def test_an_earlier_setting_of_the_administrator_is_not_overridden_but_named(
    administrator: Administrator,
) -> None:
    with file(DROP_INS / "05-site.conf", f"{KEYS_ONLY}AuthenticationMethods publickey\n"):
        told = refused(administrator, "sshd", "--codes", "--force")
        assert "sshd would use `authenticationmethods publickey` instead of" in told
    with file(SSHD_CONFIG, f"UsePAM yes\n{KEYS_ONLY}"):
        assert "does not include /etc/ssh/sshd_config.d" in refused(administrator, "sshd", "--codes")


def test_check_says_if_codes_cannot_be_typed_any_more_or_passwords_were_switched_on(
    administrator: Administrator,
) -> None:
    with file(DROP_INS / "20-site.conf", KEYS_ONLY):
        administrator.setup("sshd", "--codes")
        with file(DROP_INS / "05-site.conf", "AuthenticationMethods publickey\n"):
            assert found_by_check(administrator)["sshd-no-code"] == "warning"
        with file(DROP_INS / "05-site.conf", "Match User alice\n  AuthenticationMethods publickey\n"):
            assert found_by_check(administrator)["sshd-no-code"] == "note"
        with file(DROP_INS / "05-site.conf", "PasswordAuthentication yes\n"):
            assert found_by_check(administrator)["sshd-code-before-password"] == "warning"
        text = PAM_FILE.read_text()
        with file(PAM_FILE, "".join(line for line in text.splitlines(True) if " codes " not in line)):
            assert found_by_check(administrator)["stack-wrong-rings"] == "warning"
        administrator.setup("undo")
