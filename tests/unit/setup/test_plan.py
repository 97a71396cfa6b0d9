"""What setup would change, and what it would not touch."""

from __future__ import annotations

from pathlib import Path

import pytest

from pam_iampass.setup.errors import FileEdited, SetupRefused
from tests.support.folders import put
from tests.unit.setup.stage import SSHD, SU, Stage


def changed(stage: Stage, *wanted: str, new_sshd: bool = True) -> list[str]:
    changes = stage.plan(*wanted, new_sshd=new_sshd).changes
    return [str(change.path.relative_to(stage.paths.root)) for change in changes]


def test_sshd_needs_a_pam_file_and_a_drop_in_and_edits_nothing(stage: Stage) -> None:
    assert changed(stage, "sshd", "key") == [
        "etc/pam.d/iampass-sshd",
        "etc/ssh/sshd_config.d/10-iampass.conf",
    ]
    assert changed(stage, "sshd", "password")[0] == "etc/pam.d/iampass-sshd-password"


def test_sudo_needs_a_pam_file_and_a_drop_in_and_edits_nothing(stage: Stage) -> None:
    assert changed(stage, "sudo") == ["etc/pam.d/iampass-sudo", "etc/sudoers.d/iampass"]
    assert [change.then.mode for change in stage.plan("sudo").changes] == [0o644, 0o440]


def test_su_has_one_line_of_its_file_changed_and_one_added(stage: Stage) -> None:
    _, su = stage.plan("su").changes
    asking = SU.replace("@include common-auth", "auth       include      iampass-su")
    attached = "@include common-session\nsession    optional     pam_iampass.so"
    assert su.then.content == asking.replace("@include common-session", attached).encode()
    assert [line for line in su.diff if line[0] in "+-" and line[1] not in "+-"] == [
        "-@include common-auth",
        "+auth       include      iampass-su",
        "+session    optional     pam_iampass.so",
    ]


def test_an_sshd_that_cannot_choose_has_two_lines_of_its_pam_file_changed(stage: Stage) -> None:
    own, drop_in, sshd = stage.plan("sshd", "key", new_sshd=False).changes
    assert own.path.name == "iampass-sshd"
    assert b"PAMServiceName" not in (drop_in.then.content or b"")
    assert b"AuthenticationMethods publickey,keyboard-interactive:pam" in (drop_in.then.content or b"")
    wanted = SSHD.replace("@include common-auth", "auth       include      iampass-sshd")
    wanted = wanted.replace("@include common-account", "account    include      iampass-sshd")
    assert sshd.then.content == wanted.encode()
    assert sshd.then.mode == 0o640


def test_the_quiet_way_has_files_of_its_own(stage: Stage) -> None:
    own, drop_in = stage.plan("sshd", "quiet").changes
    assert own.path.name == "iampass-sshd-quiet"
    assert b"AuthenticationMethods" not in (drop_in.then.content or b"")


def test_the_quiet_way_of_an_sshd_that_cannot_choose_changes_the_line_of_the_account(stage: Stage) -> None:
    *_, sshd = stage.plan("sshd", "quiet", new_sshd=False).changes
    wanted = SSHD.replace("@include common-account", "account    include      iampass-sshd-quiet")
    assert sshd.then.content == wanted.encode()


@pytest.mark.parametrize(("before", "after"), [("key", "quiet"), ("password", "quiet"), ("quiet", "key")])
def test_of_an_sshd_that_cannot_choose_the_other_way_is_undone_first(
    stage: Stage, before: str, after: str
) -> None:
    stage.set_up("sshd", before, new_sshd=False)
    with pytest.raises(SetupRefused, match="asks the phone in the other way") as refused:
        stage.plan("sshd", after, new_sshd=False)
    assert refused.value.remedy == "run pam-iampass setup undo sshd first"
    stage.undo()
    stage.set_up("sshd", after, new_sshd=False)
    stage.undo()
    assert stage.files() == stage.before


@pytest.mark.parametrize(("before", "after"), [("key", "quiet"), ("quiet", "password")])
def test_one_way_replaces_the_other(stage: Stage, before: str, after: str) -> None:
    stage.set_up("sshd", before)
    stage.set_up("sshd", after)
    names = {path for path in stage.files() if "iampass-sshd" in path}
    assert names == {f"etc/pam.d/iampass-sshd-{after}"}
    stage.undo()
    assert stage.files() == stage.before


def test_the_line_of_a_red_hat_is_found(stage: Stage) -> None:
    put(stage.paths.pam / "su", "auth\tsubstack\tsystem-auth\nauth\tinclude\tpostlogin\n")
    _, su = stage.plan("su").changes
    assert su.then.content == b"auth       substack      iampass-su\nauth\tinclude\tpostlogin\n"


def test_a_red_hat_gets_files_of_its_own_kind(stage: Stage) -> None:
    (stage.paths.pam / "common-auth").unlink()
    put(stage.paths.pam / "system-auth", "auth sufficient pam_unix.so\n")
    for name, choice in (("sshd", "key"), ("sshd", "password"), ("sudo", ""), ("su", "")):
        if name == "su":
            put(stage.paths.pam / "su", "auth substack system-auth\n")
        own = stage.plan(name, choice).changes[0].then.content or b""
        assert b"@include" not in own
        assert b"pam_iampass.so" in own


@pytest.mark.parametrize("text", ["auth required pam_unix.so\n", SU + "@include common-auth\n"])
def test_a_file_that_is_not_understood_is_left_alone(stage: Stage, text: str) -> None:
    put(stage.paths.pam / "su", text)
    with pytest.raises(SetupRefused, match="for the password in the usual way") as refused:
        stage.plan("su")
    assert "by hand" in refused.value.diagnostics()


def test_a_machine_whose_pam_files_are_not_known_is_refused(stage: Stage) -> None:
    (stage.paths.pam / "common-auth").unlink()
    with pytest.raises(SetupRefused, match="neither common-auth"):
        stage.plan("sudo")


def test_a_missing_folder_is_reported_with_a_remedy(stage: Stage) -> None:
    stage.paths.sudoers_drop_ins.rmdir()
    with pytest.raises(SetupRefused, match="no such folder") as refused:
        stage.plan("sudo")
    assert f"mkdir {stage.paths.sudoers_drop_ins}" in refused.value.diagnostics()


def test_what_is_set_up_already_needs_nothing(stage: Stage) -> None:
    stage.set_up("sshd", "key")
    assert changed(stage, "sshd", "key") == []


def test_another_first_factor_takes_the_old_file_away(stage: Stage) -> None:
    stage.set_up("sshd", "key")
    changes = {change.path.name: change.then.content for change in stage.plan("sshd", "password").changes}
    assert set(changes) == {"iampass-sshd-password", "10-iampass.conf", "iampass-sshd"}
    assert changes["iampass-sshd"] is None


def test_a_file_of_another_user_is_not_overwritten(stage: Stage) -> None:
    put(stage.paths.sudoers_drop_ins / "iampass", "alice ALL=(ALL) ALL\n", 0o440)
    with pytest.raises(FileEdited, match="exists already") as edited:
        stage.plan("sudo")
    assert "-alice ALL=(ALL) ALL" in edited.value.details
    assert len(stage.plan("sudo", force=True).changes) == 2


@pytest.mark.parametrize("name", ["etc/pam.d/iampass-sudo", "etc/sudoers.d/iampass"])
def test_a_file_that_was_edited_after_us_is_not_overwritten(stage: Stage, name: str) -> None:
    stage.set_up("sudo")
    stage.edit(stage.paths.root / name, "# mine\n")
    with pytest.raises(FileEdited, match="was changed after it was set up"):
        stage.plan("sudo")
    assert changed_with_force(stage) == [name]


def changed_with_force(stage: Stage) -> list[str]:
    changes = stage.plan("sudo", force=True).changes
    return [str(change.path.relative_to(stage.paths.root)) for change in changes]


def test_a_file_that_is_missing_again_is_written_again(stage: Stage) -> None:
    stage.set_up("sudo")
    (stage.paths.sudoers_drop_ins / "iampass").unlink()
    assert changed(stage, "sudo") == ["etc/sudoers.d/iampass"]


def test_a_line_that_a_package_put_back_is_changed_again(stage: Stage) -> None:
    stage.set_up("su")
    newer = SU + "# newer\n"
    put(stage.paths.pam / "su", newer)
    stage.set_up("su")
    assert "auth       include      iampass-su" in (stage.paths.pam / "su").read_text()
    stage.undo()
    assert (stage.paths.pam / "su").read_text() == newer


def test_what_others_could_have_written_is_not_read(stage: Stage) -> None:
    (stage.paths.pam / "su").chmod(0o666)
    with pytest.raises(Exception, match="is writable by users other than root"):
        stage.plan("su")


def test_a_link_in_the_place_of_a_file_is_refused(stage: Stage, tmp_path: Path) -> None:
    (stage.paths.sudoers_drop_ins / "iampass").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Exception, match="symbolic link"):
        stage.plan("sudo")


def test_a_diff_cannot_move_the_cursor(stage: Stage) -> None:
    put(stage.paths.pam / "su", SU + "# \x1b[2Jgone\n@include common-password\n")
    assert not any("\x1b" in line for line in stage.plan("su").changes[1].diff)
