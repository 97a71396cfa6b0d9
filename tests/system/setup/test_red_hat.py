"""The PAM files for Red Hat and its relatives, run for real, with what such a machine has beside them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pam_iampass.pam import conf_dir
from pam_iampass.pam.run import Message, PamRun, run
from pam_iampass.pam.stack import PamFiles
from pam_iampass.setup import services
from pam_iampass.setup.checks import stacks
from pam_iampass.setup.paths import Paths
from tests.support.installation import ROOT
from tests.support.world import PASSWORD
from tests.system.setup.conftest import Administrator

SYSTEM_AUTH = """\
auth required pam_env.so
auth sufficient pam_unix.so nullok
auth required pam_deny.so
account required pam_unix.so
password required pam_deny.so
session required pam_unix.so
"""
SU = """\
auth sufficient pam_rootok.so
auth substack system-auth
auth include postlogin
account include system-auth
"""


@pytest.fixture
def pam_d(tmp_path: Path) -> Path:
    """Its /etc/pam.d."""
    shutil.copytree(ROOT / "config/pam.d-redhat", tmp_path / "pam.d")
    for name in ("system-auth", "password-auth"):
        (tmp_path / "pam.d" / name).write_text(SYSTEM_AUTH)
    (tmp_path / "pam.d/postlogin").write_text("session optional pam_umask.so silent\n")
    (tmp_path / "pam.d/su").write_text(SU.replace("substack system-auth", "include iampass-su"))
    conf_dir.resolve_includes(tmp_path / "pam.d")
    return tmp_path / "pam.d"


def outcome(pam_d: Path, service: str, password: str, **more: object) -> tuple[int | None, str]:
    """The code, and all that was said."""
    said = []

    def answer(message: Message) -> str | None:
        said.append(message.text)
        return password if "assword" in message.text else ""

    uid = 0 if "sshd" in service else 65534
    wanted = PamRun(service, "alice", pam_d, phase="auth", real_uid=uid, at_once=True, **more)  # type: ignore[arg-type]
    return run(wanted, answer, 60).code, "\n".join(said)


@pytest.mark.parametrize("service", ["iampass-sudo", "iampass-sshd-password", "su"])
def test_the_right_password_leads_to_the_phone_and_a_wrong_one_does_not(
    administrator: Administrator, pam_d: Path, service: str
) -> None:
    administrator.machine.change(services="{}")
    code, said = outcome(pam_d, service, PASSWORD)
    assert (code, "Approved on your phone." in said) == (0, True)
    begun = len(administrator.sandbox.sessions)
    code, said = outcome(pam_d, service, "wrong")
    assert (code, "phone" in said) == (7, False)
    assert len(administrator.sandbox.sessions) == begun
    administrator.sandbox.auto = "deny"
    code, said = outcome(pam_d, service, PASSWORD)
    assert (code, "Denied on your phone." in said) == (26, True)


def test_an_exempt_user_passes_with_the_password_alone(administrator: Administrator, pam_d: Path) -> None:
    administrator.machine.change(exempt="{users: [alice]}")
    assert outcome(pam_d, "iampass-sudo", PASSWORD) == (0, "Password: ")
    assert outcome(pam_d, "iampass-sudo", "wrong")[0] == 7


def test_a_key_leads_to_the_phone(administrator: Administrator, pam_d: Path) -> None:
    environment = {"SSH_AUTH_INFO_0": "publickey x"}
    code, said = outcome(pam_d, "iampass-sshd", "", environment=environment)
    assert (code, "press Enter to get a request on your phone" in said) == (0, True)
    code, said = outcome(pam_d, "iampass-sshd", "", environment={"SSH_AUTH_INFO_0": ""})
    assert (code, "requires your key" in said) == (11, True)


def test_in_the_account_phase_the_phone_decides(administrator: Administrator, pam_d: Path) -> None:
    wanted = PamRun(
        "iampass-sshd-quiet", "alice", pam_d, phase="account", environment={"SSH_AUTH_INFO_0": ""}
    )
    passed = run(wanted, lambda message: None, 60)
    assert (passed.code, passed.messages) == (0, ())
    administrator.sandbox.auto = "deny"
    denied = run(wanted, lambda message: None, 60)
    assert (denied.code, [message.text for message in denied.messages]) == (6, ["Denied on your phone."])


def test_modules_that_our_files_leave_out_are_reported(pam_d: Path) -> None:
    (pam_d / "system-auth").write_text("auth required pam_faillock.so preauth\n" + SYSTEM_AUTH)
    sudo = services.WantedService("sudo", "", "iampass-sudo", (), "iampass-sudo", ())
    (told,) = stacks.left_out(sudo, PamFiles((pam_d,)))
    assert told.what == "PAM: system-auth also runs pam_faillock.so, and iampass-sudo would not"
    assert (told.stops, told.forcible) == (True, True)
    (pam_d / "system-auth").write_text(SYSTEM_AUTH)
    assert list(stacks.left_out(sudo, PamFiles((pam_d,)))) == []


def test_what_is_installed_has_a_file_of_each_kind() -> None:
    templates = Paths().templates
    names = [sorted(path.name for path in (templates / kind).iterdir()) for kind in ("pam.d", "pam.d-redhat")]
    assert names[0] == names[1]
