"""What setup would change for PAM services other than sshd, sudo and su, and which it refuses."""

from __future__ import annotations

import pytest

from pam_iampass.setup.checks import stacks
from pam_iampass.setup.errors import SetupRefused
from pam_iampass.setup.manifest import ServiceRecord
from pam_iampass.setup.operations import _pam_services
from tests.support.folders import put
from tests.unit.setup.stage import Stage

DOAS = "session required pam_limits.so\n@include common-auth\n@include common-account\n"
COPY = "# Written by `pam-iampass setup`: overrides {}.\n"


def contents(stage: Stage, name: str) -> dict[str, str]:
    """The new content of each file that setup would write."""
    return {change.path.name: (change.then.content or b"").decode() for change in stage.plan(name).changes}


def test_a_service_has_one_line_of_its_file_changed(stage: Stage) -> None:
    put(stage.paths.pam / "doas", DOAS, 0o640)
    found = contents(stage, "doas")
    assert found["doas"] == DOAS.replace("@include common-auth", "auth       include      iampass-doas")
    assert "@include common-auth\nauth       required     pam_iampass.so\n" in found["iampass-doas"]
    assert "SERVICE" not in found["iampass-doas"]


@pytest.mark.parametrize(
    ("session", "changed"),
    [
        ("@include common-session", True),
        ("session include system-auth", True),
        ("session\tinclude\tpassword-auth", True),
        ("@include common-session-noninteractive", False),
        ("@include common-session\n@include common-session", False),
        ("session [success=1 default=ignore] pam_succeed_if.so quiet\n@include common-session", False),
        ("session required pam_unix.so", False),
    ],
)
def test_the_session_line_follows_the_shared_session_lines(stage: Stage, session: str, changed: bool) -> None:
    put(stage.paths.pam / "doas", f"@include common-auth\n{session}\n# the end\n")
    ours = f"{session}\nsession    optional     pam_iampass.so\n# the end\n"
    assert contents(stage, "doas")["doas"].endswith(ours) is changed
    assert ("pam_iampass.so" in contents(stage, "doas")["doas"]) is changed
    before = stage.files()
    stage.set_up("doas")
    stage.undo()
    assert stage.files() == before


def test_a_substack_stays_a_substack(stage: Stage) -> None:
    """A jump over the line counts it as one."""
    text = "auth [success=1 default=ignore] pam_sss.so\nauth substack common-auth\n"
    put(stage.paths.pam / "cockpit", text)
    new = text.replace("auth substack common-auth", "auth       substack      iampass-cockpit")
    assert contents(stage, "cockpit")["cockpit"] == new
    stage.set_up("cockpit")
    assert contents(stage, "cockpit") == {}


def test_a_file_of_the_vendor_is_copied_and_the_copy_follows_it(stage: Stage) -> None:
    vendor = stage.paths.vendor_pam[0] / "polkit-1"
    vendor.parent.mkdir(parents=True)
    put(vendor, DOAS)
    before = stage.files()
    stage.set_up("polkit-1")
    copied = (stage.paths.pam / "polkit-1").read_text()
    assert copied.startswith(COPY.format(vendor))
    assert contents(stage, "polkit-1") == {}
    put(vendor, DOAS + "# newer\n")
    assert contents(stage, "polkit-1") == {"polkit-1": copied + "# newer\n"}
    vendor.unlink()
    assert contents(stage, "polkit-1") == {}
    stage.undo()
    assert stage.files() == before


def test_sudo_rs_has_the_files_changed_that_sudo_leaves_alone(stage: Stage) -> None:
    put(stage.paths.pam / "sudo", DOAS)
    put(stage.paths.pam / "sudo-i", DOAS)
    before = stage.files()
    assert sorted(contents(stage, "sudo-rs")) == ["iampass-sudo-rs", "sudo", "sudo-i"]
    stage.set_up("sudo-rs")
    assert contents(stage, "sudo-rs") == {}
    assert _pam_services("sudo-rs", stage.store.load()) == {"sudo", "sudo-i"}
    assert sorted(contents(stage, "sudo")) == ["iampass", "iampass-sudo"]
    stage.undo()
    assert stage.files() == before


def test_a_second_service_of_the_program_that_includes_the_first_is_left_alone(stage: Stage) -> None:
    put(stage.paths.pam / "sudo", DOAS)
    put(stage.paths.pam / "sudo-i", "auth include sudo\n")
    assert sorted(contents(stage, "sudo-rs")) == ["iampass-sudo-rs", "sudo"]


def test_the_pam_services_of_a_program_are_those_that_lead_to_it(stage: Stage) -> None:
    put(stage.paths.pam / "doas", DOAS)
    for name, services in (("doas", {"doas"}), ("su", {"su", "su-l"}), ("sudo", {"iampass-sudo"})):
        manifest = stage.set_up(name)
        assert isinstance(manifest.services[name], ServiceRecord)
        assert _pam_services(name, manifest) == services


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        ("cron", "no person to approve"),
        ("atd", "no person to approve"),
        ("systemd-user", "no password is asked"),
        ("sddm-greeter", "no password is asked"),
        ("lightdm-autologin", "no password is asked"),
        ("other", "every service without a file"),
        ("common-auth", "other PAM files include it"),
        ("password-auth-ac", "other PAM files include it"),
        ("iampass-sudo", "setup itself writes this file"),
        ("iampass-sshd-password", "pam-iampass setup sshd"),
        ("passwd", "changes accounts"),
        ("chsh", "changes accounts"),
        ("swaylock", "does not ask as root"),
        ("kde-fingerprint", "does not ask as root"),
        ("xscreensaver", "does not ask as root"),
        ("xfce4-screensaver", "does not ask as root"),
        ("pkexec", "pam-iampass setup polkit-1"),
        ("su-l", "pam-iampass setup su"),
        ("sudo-i", "pam-iampass setup sudo-rs"),
        ("../shadow", "not a name of a PAM service"),
        ("Login", "not a name of a PAM service"),
    ],
)
def test_what_must_not_ask_the_phone_is_refused(stage: Stage, service: str, reason: str) -> None:
    if "/" not in service:
        put(stage.paths.pam / service, DOAS)
    with pytest.raises(SetupRefused) as refused:
        stage.plan(service)
    assert reason in refused.value.diagnostics()


def test_the_password_of_sshd_is_checked_as_common_auth_says(stage: Stage) -> None:
    own = stage.plan("sshd", "password").changes[0].then.content or b""
    assert b"@include common-auth\nauth       required     pam_iampass.so\n" in own
    assert b"auth       [success=2 default=ignore]   pam_unix.so" not in own


def test_a_file_that_does_not_lead_to_the_module_once_it_is_written_is_an_error(stage: Stage) -> None:
    put(stage.paths.pam / "doas", "@include common-auth\n")
    wanted = stage.plan("doas").service
    (found,) = stacks.judged(wanted, stage.paths)
    assert (found.stops, found.what) == (True, "PAM: doas does not lead to pam_iampass.so")
    stage.set_up("doas")
    assert list(stacks.judged(wanted, stage.paths)) == []


def test_a_service_without_a_file_is_refused(stage: Stage) -> None:
    with pytest.raises(SetupRefused, match="no such file"):
        stage.plan("no-such-service")
