"""What setup would change, and what it would not touch."""

from __future__ import annotations

from pathlib import Path

import pytest

from pam_iampass.errors import FileEdited, SetupRefused
from tests.support.folders import put
from tests.unit.setup.stage import LINE, SESSION, SSHD, SU, SUDO, Stage

DROP_IN = "etc/ssh/sshd_config.d/10-iampass.conf"


def changed(stage: Stage, *wanted: str, force: bool = False) -> list[str]:
    changes = stage.plan(*wanted, force=force).changes
    return [str(change.path.relative_to(stage.paths.root)) for change in changes]


@pytest.mark.parametrize("choice", ["key", "password"])
def test_sshd_with_a_prompt_needs_lines_and_a_drop_in(stage: Stage, choice: str) -> None:
    assert changed(stage, "sshd", choice) == ["etc/pam.d/sshd", DROP_IN]
    drop_in = stage.plan("sshd", choice).changes[1].then.content or b""
    assert b"keyboard-interactive:pam" in drop_in
    assert b"PAMServiceName" not in drop_in


def test_the_quiet_way_leaves_the_settings_of_sshd_alone(stage: Stage) -> None:
    assert changed(stage, "sshd", "quiet") == ["etc/pam.d/sshd"]
    assert stage.plan("sshd", "quiet").changes[0].then.mode == 0o640


def test_a_service_has_a_line_after_the_password_and_one_after_the_session(stage: Stage) -> None:
    (su,) = stage.plan("su").changes
    asking = SU.replace("@include common-auth", f"@include common-auth\n{LINE}")
    attached = f"@include common-session\n{SESSION}"
    assert su.then.content == asking.replace("@include common-session", attached).encode()
    assert [line for line in su.diff if line[0] in "+-" and line[1] not in "+-"] == [
        f"+{LINE}",
        f"+{SESSION}",
    ]


@pytest.mark.parametrize(
    ("before", "after"), [("key", "quiet"), ("quiet", "password"), ("password", "codes"), ("codes", "key")]
)
def test_one_way_replaces_the_other(stage: Stage, before: str, after: str) -> None:
    stage.set_up("sshd", after)
    wanted = stage.files()
    stage.undo()
    stage.set_up("sshd", before)
    stage.set_up("sshd", after)
    assert stage.files() == wanted
    stage.undo()
    assert stage.files() == stage.before


@pytest.mark.parametrize(
    "text", ["auth required pam_permit.so\n", "# nothing\n", "auth required pam_u2f.so\n"]
)
def test_a_file_that_asks_for_no_password_is_left_alone(stage: Stage, text: str) -> None:
    put(stage.paths.pam / "su", text)
    with pytest.raises(SetupRefused, match="no line asks for the password"):
        stage.plan("su")


def test_what_is_set_up_already_needs_nothing(stage: Stage) -> None:
    for name, choice in (("sshd", "key"), ("su", "")):
        stage.set_up(name, choice)
        assert changed(stage, name, choice) == []


def test_a_file_of_another_user_is_not_overwritten(stage: Stage) -> None:
    put(stage.paths.root / DROP_IN, "Port 2222\n")
    with pytest.raises(FileEdited, match="exists already") as edited:
        stage.plan("sshd", "key")
    assert "-Port 2222" in edited.value.details
    assert len(stage.plan("sshd", "key", force=True).changes) == 2


def test_a_drop_in_that_was_edited_after_us_is_not_overwritten(stage: Stage) -> None:
    stage.set_up("sshd", "key")
    stage.edit(stage.paths.root / DROP_IN, "# mine\n")
    for choice in ("key", "password", "quiet", "codes"):
        with pytest.raises(FileEdited, match="was changed after it was set up"):
            stage.plan("sshd", choice)
    assert changed(stage, "sshd", "key", force=True) == [DROP_IN]


def test_a_drop_in_that_is_missing_is_written_again(stage: Stage) -> None:
    stage.set_up("sshd", "key")
    (stage.paths.root / DROP_IN).unlink()
    assert changed(stage, "sshd", "key") == [DROP_IN]


def test_a_line_that_a_person_has_put_out_of_force_is_put_in_force_when_asked(stage: Stage) -> None:
    stage.set_up("su")
    wanted = stage.text("su")
    put(stage.paths.pam / "su", wanted.replace(LINE, f"#{LINE}"))
    stage.set_up("su")
    assert stage.text("su") == wanted


def test_what_others_could_have_written_is_not_read(stage: Stage) -> None:
    (stage.paths.pam / "su").chmod(0o666)
    with pytest.raises(Exception, match="is writable by users other than root"):
        stage.plan("su")


def test_a_link_in_the_place_of_a_file_is_refused(stage: Stage, tmp_path: Path) -> None:
    (stage.paths.root / DROP_IN).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Exception, match="symbolic link"):
        stage.plan("sshd", "key")


def test_a_diff_cannot_move_the_cursor(stage: Stage) -> None:
    put(stage.paths.pam / "su", SU + "# \x1b[2Jgone\n@include common-password\n")
    put(stage.paths.pam / "common-password", "password required pam_deny.so\n")
    assert not any("\x1b" in line for line in stage.plan("su").changes[0].diff)


def test_a_missing_folder_is_reported_with_a_remedy(stage: Stage) -> None:
    stage.paths.sshd_drop_ins.rmdir()
    with pytest.raises(SetupRefused, match="no such folder") as refused:
        stage.plan("sshd", "key")
    assert f"mkdir {stage.paths.sshd_drop_ins}" in refused.value.diagnostics()


def test_each_file_of_a_program_is_edited_once_and_none_that_includes_one(stage: Stage) -> None:
    put(stage.paths.pam / "su-l", "auth include su\naccount include su\nsession include su\n")
    put(stage.paths.pam / "sudo-i", SUDO)
    assert changed(stage, "su") == ["etc/pam.d/su"]
    assert changed(stage, "sudo") == ["etc/pam.d/sudo", "etc/pam.d/sudo-i"]
    put(stage.paths.pam / "sudo-i", "auth include sudo\n")
    assert changed(stage, "sudo") == ["etc/pam.d/sudo"]
    stage.set_up("sudo")
    assert changed(stage, "sudo") == []


@pytest.mark.parametrize(
    ("name", "choice"), [("su", ""), ("sshd", "quiet"), ("sshd", "codes"), ("sshd", "key")]
)
def test_a_file_that_leads_to_us_already_is_refused(stage: Stage, name: str, choice: str) -> None:
    """The profile of pam-auth-update, or a line by hand."""
    kept = stage.text("common-auth")
    put(stage.paths.pam / "common-auth", kept + "auth required pam_iampass.so\n")
    with pytest.raises(
        SetupRefused, match=r"common-auth:4: .* asks the phone by this line already"
    ) as refused:
        stage.plan(name, choice)
    assert "pam-auth-update --disable iampass" in refused.value.remedy
    put(stage.paths.pam / "common-auth", kept)
    put(stage.paths.pam / name, stage.text(name) + "auth required pam_iampass.so\n")
    with pytest.raises(SetupRefused, match=rf"{name}:\d+: .* already"):
        stage.plan(name, choice)


@pytest.mark.parametrize("choice", ["quiet", "codes", "key"])
def test_an_argument_that_a_person_has_added_to_our_line_is_kept(stage: Stage, choice: str) -> None:
    stage.set_up("sshd", choice)
    file = stage.paths.pam / "sshd"
    ours = "account    requisite   pam_iampass.so"
    file.write_text(file.read_text().replace(ours, f"{ours} rescue=root"))
    assert changed(stage, "sshd", choice) == []
    stage.set_up("sshd", "password")
    assert f"{ours} rescue=root  # pam-iampass\n" in file.read_text()
    assert "first_factor" not in file.read_text()
    stage.undo()
    assert stage.text("sshd") == SSHD
