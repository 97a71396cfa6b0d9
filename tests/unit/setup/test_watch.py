"""PAM files that lose our lines get them again; what a person has put out of force stays so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pam_iampass.audit.journal import Journal, PamFileEvent
from pam_iampass.setup import files
from pam_iampass.setup.watch import MOST, Watch
from tests.support.folders import put
from tests.support.setting import Records
from tests.unit.setup.stage import LINE, SSHD, SU, SUDO, Stage
from tests.unit.setup.test_edits import FAILLOCK, RED_HAT, modules_in

RENEWED, OUT, OFF = PamFileEvent.RENEWED, PamFileEvent.OUT_OF_FORCE, PamFileEvent.OFF
NOW = 1_800_000_000.0
Look = Callable[..., list[tuple[PamFileEvent, str]]]


@pytest.fixture
def look(stage: Stage) -> Look:
    """One look, some seconds after the first; returns what was recorded about which service."""
    journal = Journal(Records())

    def look(after: float = 0.0) -> list[tuple[PamFileEvent, str]]:
        modules = [modules_in(stage)]
        found = Watch(stage.paths, stage.store, stage.machine(), journal, modules).look(NOW + after)
        return [(record.event, record.service) for record in found]

    return look


@pytest.mark.parametrize(
    ("name", "choice", "text"),
    [("sshd", "quiet", SSHD), ("sshd", "key", SSHD), ("su", "", SU), ("sudo", "", SUDO)],
)
def test_a_file_that_was_restored_gets_its_lines_again(
    stage: Stage, look: Look, name: str, choice: str, text: str
) -> None:
    stage.set_up(name, choice)
    after = stage.files()
    put(stage.paths.pam / name, text, after[f"etc/pam.d/{name}"][1])
    assert look() == [(RENEWED, name)]
    assert stage.files() == after
    assert look() == []
    stage.undo()
    assert stage.files() == stage.before


def test_a_new_version_of_a_file_gets_the_lines_and_keeps_its_own(stage: Stage, look: Look) -> None:
    stage.set_up("su")
    newer = SU + "# newer\n"
    put(stage.paths.pam / "su", newer)
    assert look() == [(RENEWED, "su")]
    assert LINE in stage.text("su").split("\n")
    stage.undo()
    assert stage.text("su") == newer


def test_what_setup_itself_writes_changes_nothing(stage: Stage, look: Look) -> None:
    stage.set_up("sshd", "key")
    stage.set_up("su")
    after = stage.files()
    assert look() == []
    assert stage.files() == after
    stage.undo()
    assert look() == []
    assert stage.files() == stage.before


def test_after_three_times_within_an_hour_it_is_only_said(stage: Stage, look: Look) -> None:
    stage.set_up("su")
    for number in range(MOST):
        put(stage.paths.pam / "su", SU)
        assert look(60 * number) == [(RENEWED, "su")]
    put(stage.paths.pam / "su", SU)
    assert look(300) == [(OFF, "su")]
    assert look(310) == [(OFF, "su")]
    assert stage.text("su") == SU
    assert look(3601) == [(RENEWED, "su")]


def test_a_person_who_sets_it_up_again_begins_the_count_anew(stage: Stage, look: Look) -> None:
    stage.set_up("su")
    for number in range(MOST):
        put(stage.paths.pam / "su", SU)
        look(number)
    put(stage.paths.pam / "su", SU)
    stage.set_up("su")
    put(stage.paths.pam / "su", SU)
    assert look(10) == [(RENEWED, "su")]


@pytest.mark.parametrize("mine", [f"#{LINE}", f"# {LINE}", ""])
def test_a_line_that_a_person_took_out_of_force_stays_so_and_is_reported_daily(
    stage: Stage, look: Look, mine: str
) -> None:
    stage.set_up("su")
    text = stage.text("su").replace(LINE, mine)
    put(stage.paths.pam / "su", text)
    assert look() == [(OUT, "su")]
    assert look(3600) == []
    assert look(86400) == [(OUT, "su")]
    assert stage.text("su") == text


def test_a_file_that_cannot_be_edited_any_more_is_said(stage: Stage, look: Look) -> None:
    stage.set_up("su")
    put(stage.paths.pam / "su", "auth required pam_permit.so\n")
    assert look() == [(OFF, "su")]
    assert stage.text("su") == "auth required pam_permit.so\n"


def test_one_service_that_fails_keeps_no_other_from_being_mended(stage: Stage, look: Look) -> None:
    stage.set_up("su")
    stage.set_up("sudo")
    put(stage.paths.pam / "su", "auth required pam_permit.so\n")
    put(stage.paths.pam / "sudo", SUDO)
    assert look() == [(OFF, "su"), (RENEWED, "sudo")]


def test_a_file_that_overrides_the_vendors_is_made_again_and_a_removed_package_is_let_go(
    stage: Stage, look: Look
) -> None:
    vendor = put(stage.paths.vendor_pam[0] / "polkit-1", SUDO)
    put(stage.paths.pam / "doas", SUDO)
    stage.set_up("polkit-1")
    stage.set_up("doas")
    written = stage.text("polkit-1")
    (stage.paths.pam / "polkit-1").unlink()
    (stage.paths.pam / "doas").unlink()
    assert look() == [(RENEWED, "polkit-1")]
    assert stage.text("polkit-1") == written
    (stage.paths.pam / "polkit-1").unlink()
    vendor.unlink()
    assert look() == []


def test_the_drop_in_of_sshd_is_not_touched(stage: Stage, look: Look) -> None:
    stage.set_up("sshd", "key")
    drop_in = stage.paths.sshd_drop_ins / "10-iampass.conf"
    drop_in.write_text("# mine\n")
    put(stage.paths.pam / "sshd", SSHD, 0o640)
    assert look() == [(RENEWED, "sshd")]
    assert drop_in.read_text() == "# mine\n"
    assert not [word for word, _ in stage.told if word == "done"][1:], "sshd is reloaded by setup only"


def test_the_record_of_a_phone_that_is_off_is_critical(stage: Stage) -> None:
    records = Records()
    stage.set_up("su")
    put(stage.paths.pam / "su", "auth required pam_permit.so\n")
    Watch(stage.paths, stage.store, stage.machine(), Journal(records)).look(NOW)
    (fields,) = records.fields
    assert (fields["PRIORITY"], fields["IAMPASS_EVENT"], fields["IAMPASS_SERVICE"]) == (
        "2",
        "pam_file_off",
        "su",
    )
    assert str(stage.paths.pam / "su") in fields["IAMPASS_REASON"]


def test_a_write_that_fails_is_rolled_back_and_said(
    stage: Stage, look: Look, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stage.set_up("su")
    manifest = stage.store.load()
    put(stage.paths.pam / "su", SU)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "stage", full)
    assert look() == [(OFF, "su")]
    monkeypatch.undo()
    assert stage.store.load() == replace(manifest)
    assert look() == [(RENEWED, "su")]


def test_an_argument_that_a_person_had_added_comes_back_with_the_line(stage: Stage, look: Look) -> None:
    stage.set_up("sshd", "quiet")
    file = stage.paths.pam / "sshd"
    text = file.read_text().replace("requisite   pam_iampass.so", "requisite   pam_iampass.so rescue=root")
    file.write_text(text)
    stage.set_up("sshd", "quiet")
    put(file, SSHD, 0o640)
    assert look() == [(RENEWED, "sshd")]
    assert stage.text("sshd") == text


def red_hat(stage: Stage) -> None:
    for file in (*stage.paths.pam.iterdir(), stage.paths.root / "etc/debian_version"):
        file.unlink()
    for name, text in RED_HAT.items():
        put(stage.paths.pam / name, text)


def test_what_was_written_out_follows_the_shared_file(stage: Stage, look: Look) -> None:
    red_hat(stage)
    before = stage.files()
    stage.set_up("sudo")
    assert look() == []
    put(stage.paths.pam / "system-auth", FAILLOCK)
    assert look() == [(RENEWED, "sudo")]
    assert "auth       requisite   pam_faillock.so preauth silent  # pam-iampass\n" in stage.text("sudo")
    assert look() == []
    put(stage.paths.pam / "system-auth", RED_HAT["system-auth"])
    assert look() == [(RENEWED, "sudo")]
    stage.undo()
    assert stage.files() == before


def test_a_shared_file_that_leads_past_the_phone_is_not_followed(stage: Stage, look: Look) -> None:
    red_hat(stage)
    stage.set_up("sudo")
    text = stage.text("sudo")
    put(stage.paths.pam / "system-auth", "auth optional pam_unix.so\nauth sufficient pam_permit.so\n")
    assert look() == []
    assert stage.text("sudo") == text


def test_another_file_of_the_program_that_is_new_gets_its_lines(stage: Stage, look: Look) -> None:
    stage.set_up("sudo")
    put(stage.paths.pam / "sudo-i", SUDO)
    assert look() == [(RENEWED, "sudo")]
    assert LINE in stage.text("sudo-i").split("\n")
    stage.undo()
    assert stage.text("sudo-i") == SUDO


def test_a_line_of_ours_that_a_person_moved_stays_where_it_is(stage: Stage, look: Look) -> None:
    stage.set_up("sudo")
    lines = stage.text("sudo").split("\n")
    lines.remove(LINE)
    text = "\n".join([LINE, *lines])
    put(stage.paths.pam / "sudo", text)
    assert look() == []
    assert stage.text("sudo") == text
