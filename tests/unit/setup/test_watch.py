"""PAM files that lose our lines get them again; what a person has put out of force stays so."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pam_iampass.audit.journal import Journal, PamFileEvent
from pam_iampass.setup import apply
from pam_iampass.setup.manifest import Trial
from pam_iampass.setup.watch import MOST, PamFileWatch
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
        found = PamFileWatch(stage.paths, stage.store, stage.hooks(), journal, modules).look(NOW + after)
        return [(record.event, record.service) for record in found]

    return look


@pytest.mark.parametrize(
    ("name", "choice", "text"),
    [
        ("sshd", "quiet", SSHD),
        ("sshd", "codes", SSHD),
        ("sshd", "key", SSHD),
        ("su", "", SU),
        ("sudo", "", SUDO),
    ],
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


def test_the_line_that_takes_codes_asks_no_phone_and_so_keeps_no_file_from_being_edited_anew(
    stage: Stage, look: Look
) -> None:
    stage.set_up("sshd", "codes")
    after = stage.files()
    lines = stage.text("sshd").split("\n")
    without = [line for line in lines if "pam_iampass.so  #" not in line or not line.startswith("account")]
    put(stage.paths.pam / "sshd", "\n".join(without), 0o640)
    assert look() == [(RENEWED, "sshd")]
    assert stage.files() == after


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


def test_a_service_whose_file_is_edited_anew_keeps_its_place_among_the_others(
    stage: Stage, look: Look
) -> None:
    stage.set_up("sudo")
    stage.set_up("su")
    put(stage.paths.pam / "sudo", SUDO)
    assert look() == [(RENEWED, "sudo")]
    assert list(stage.store.load().services) == ["sudo", "su"]


def test_after_three_times_within_an_hour_it_is_only_said(stage: Stage, look: Look) -> None:
    stage.set_up("su")
    for number in range(MOST):
        put(stage.paths.pam / "su", SU)
        assert look(60 * number) == [(RENEWED, "su")]
    put(stage.paths.pam / "su", SU)
    assert look(300) == [(OFF, "su")]
    assert look(310) == []
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


@pytest.mark.parametrize("mine", [f"#{LINE}", f"# {LINE}"])
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
    stage.set_up("su")
    put(stage.paths.pam / "su", text)
    assert look(86500) == [(OUT, "su")], "all was well meanwhile"


@pytest.mark.parametrize(
    ("name", "choice"), [("sshd", "quiet"), ("sshd", "codes"), ("sshd", "key"), ("su", "")]
)
def test_a_file_without_any_line_that_asks_gets_its_lines_again(
    stage: Stage, look: Look, name: str, choice: str
) -> None:
    stage.set_up(name, choice)
    text = stage.text(name)
    kept = [line for line in text.split("\n") if "pam_iampass.so" not in line]
    assert any(line.endswith("# pam-iampass") for line in kept) == (name == "sshd")
    put(stage.paths.pam / name, "\n".join(kept), 0o640)
    assert look() == [(RENEWED, name)]
    assert sorted(stage.text(name).split("\n")) == sorted(text.split("\n"))


def test_a_file_that_cannot_be_edited_any_more_is_said(stage: Stage, look: Look) -> None:
    stage.set_up("su")
    put(stage.paths.pam / "su", "auth required pam_permit.so\n")
    assert look() == [(OFF, "su")]
    assert stage.text("su") == "auth required pam_permit.so\n"


@pytest.mark.parametrize("kind", ["writable for others", "a link"])
def test_an_untrusted_file_keeps_no_other_service_from_being_mended(
    stage: Stage, look: Look, kind: str
) -> None:
    stage.set_up("su")
    stage.set_up("sudo")
    file, elsewhere = stage.paths.pam / "su", stage.paths.root / "etc/su"
    if kind == "a link":
        file.rename(elsewhere)
        file.symlink_to(elsewhere)
    else:
        file.chmod(0o664)
    put(stage.paths.pam / "sudo", SUDO)
    assert look() == [(OFF, "su"), (RENEWED, "sudo")]
    assert look(60) == []
    assert look(3600) == [(OFF, "su")]


@contextmanager
def mounted_over(file: Path) -> Iterator[None]:
    """Nothing can be renamed to the file meanwhile."""
    subprocess.run(["mount", "--bind", file, file], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", file], check=True)


@pytest.mark.needs_isolated_root  # it mounts
def test_a_put_back_that_fails_again_and_again_is_given_up_and_said_twice(stage: Stage, look: Look) -> None:
    stage.set_up("su")
    file = stage.paths.pam / "su"
    put(file, SU)
    with mounted_over(file):
        found = [look(second) for second in range(MOST)]
        assert found == [[(OFF, "su")], [], []]
        written = stage.paths.pam.stat().st_mtime_ns
        assert look(MOST) == [(OFF, "su")]
        assert [look(MOST + 1 + second) for second in range(10)] == [[]] * 10
        assert stage.paths.pam.stat().st_mtime_ns == written, "or the watch would wake itself"
    assert look(3700) == [(RENEWED, "su")]


@pytest.mark.needs_isolated_root  # it mounts
def test_a_put_back_that_fails_leaves_a_running_trial_alone(stage: Stage, look: Look) -> None:
    stage.set_up("sudo")
    manifest = stage.set_up("su")
    on_trial = Trial("trial", ("sudo", "su"), NOW, NOW + 600)
    stage.store.save(replace(manifest, trial=on_trial))
    put(stage.paths.pam / "su", SU)
    with mounted_over(stage.paths.pam / "su"):
        assert look(60) == [(OFF, "su")]
    assert stage.store.load().trial == on_trial
    assert look(120) == [(RENEWED, "su")]
    assert stage.store.load().trial == on_trial


@pytest.mark.parametrize("trial", [None, Trial("trial", ("sshd",), NOW, NOW + 7200)])
def test_a_setup_that_was_killed_is_not_completed(stage: Stage, look: Look, trial: Trial | None) -> None:
    planned = stage.plan("sshd", "quiet")
    manifest = stage.store.load().with_service("sshd", planned.during)
    contents = [file.content for file in planned.service.files]
    stage.store.save(replace(manifest, trial=trial), contents)  # what `apply.make_changes` does first
    assert look() == [(OFF, "sshd")]
    assert look(3600) == []
    assert stage.files() == stage.before
    assert look(86400) == ([(OFF, "sshd")] if trial is None else []), "a trial that is over is to end"
    assert stage.files() == stage.before


def test_a_run_that_was_killed_is_completed_by_the_next(
    stage: Stage, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.set_up("su")
    put(stage.paths.pam / "su", SU)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(apply, "_write", killed)  # so that nothing is cleaned up
    with pytest.raises(KeyboardInterrupt):
        look()
    monkeypatch.undo()
    assert stage.text("su") == SU
    assert look(1) == [(RENEWED, "su")]


def test_lines_that_would_still_be_skipped_are_put_back_and_reported(stage: Stage, look: Look) -> None:
    stage.set_up("su")
    put(stage.paths.pam / "su", "auth sufficient pam_unix.so\n" + SU)
    assert look() == [(OFF, "su")]
    assert LINE in stage.text("su").split("\n")
    assert look(10) == []


def test_without_the_module_nothing_is_put_back(stage: Stage) -> None:
    stage.set_up("su")
    put(stage.paths.pam / "su", SU)
    modules = modules_in(stage)
    (modules / "pam_iampass.so").unlink()
    (record,) = PamFileWatch(stage.paths, stage.store, stage.hooks(), Journal(Records()), [modules]).look(NOW)
    assert record.event is OFF
    assert "pam_iampass.so is not installed" in record.reason
    assert stage.text("su") == SU


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
    put(stage.paths.pam / "other", "auth required pam_deny.so\naccount required pam_deny.so\n")
    assert look() == [(RENEWED, "polkit-1")]
    assert stage.text("polkit-1") == written
    (stage.paths.pam / "polkit-1").unlink()
    vendor.unlink()
    assert look() == []


def test_a_removed_file_whose_logins_others_lets_in_unasked_is_reported_daily(
    stage: Stage, look: Look
) -> None:
    stage.set_up("sudo")
    (stage.paths.pam / "sudo").unlink()
    assert look() == [(OFF, "sudo")]
    assert look(3600) == []
    assert look(86400) == [(OFF, "sudo")]
    put(stage.paths.pam / "sudo", SUDO)
    assert look(86500) == [(RENEWED, "sudo")]


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
    PamFileWatch(stage.paths, stage.store, stage.hooks(), Journal(records)).look(NOW)
    (fields,) = records.fields
    assert (fields["PRIORITY"], fields["IAMPASS_EVENT"], fields["IAMPASS_SERVICE"]) == (
        "2",
        "pam_file_off",
        "su",
    )
    assert str(stage.paths.pam / "su") in fields["IAMPASS_REASON"]


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


@pytest.mark.parametrize(
    ("name", "choice", "line"),
    [
        ("su", "", "auth sufficient pam_permit.so"),
        ("su", "", "auth [success=done default=ignore] pam_unix.so"),
        ("sshd", "quiet", "account sufficient pam_permit.so"),
        ("sshd", "key", "auth sufficient pam_rootok.so"),
    ],
)
def test_a_line_that_leads_past_ours_is_left_alone_and_reported_daily(
    stage: Stage, look: Look, name: str, choice: str, line: str
) -> None:
    stage.set_up(name, choice)
    file = stage.paths.pam / name
    well, mode = stage.text(name), file.stat().st_mode & 0o777
    put(file, f"{line}\n{well}", mode)
    assert look() == [(OFF, name)]
    assert look(3600) == []
    assert look(86400) == [(OFF, name)]
    assert stage.text(name) == f"{line}\n{well}"
    put(file, well, mode)
    assert look(86500) == []
    put(file, f"{line}\n{well}", mode)
    assert look(86600) == [(OFF, name)], "all was well meanwhile"


def test_another_file_of_the_program_that_is_new_gets_its_lines(stage: Stage, look: Look) -> None:
    stage.set_up("sudo")
    put(stage.paths.pam / "sudo-i", SUDO)
    assert look() == [(RENEWED, "sudo")]
    assert LINE in stage.text("sudo-i").split("\n")
    stage.undo()
    assert stage.text("sudo-i") == SUDO


def test_an_upgrade_that_replaces_one_file_of_the_program_and_adds_another_leaves_lines_in_both(
    stage: Stage, look: Look
) -> None:
    stage.set_up("su")
    put(stage.paths.pam / "su", SU)
    put(stage.paths.pam / "su-l", SU)
    assert look() == [(RENEWED, "su")]
    assert all(LINE in stage.text(name).split("\n") for name in ("su", "su-l"))
    assert look() == []
    stage.undo()
    assert stage.text("su") == stage.text("su-l") == SU


def test_a_line_of_ours_that_a_person_moved_stays_where_it_is(stage: Stage, look: Look) -> None:
    stage.set_up("sudo")
    lines = stage.text("sudo").split("\n")
    lines.remove(LINE)
    text = "\n".join([LINE, *lines])
    put(stage.paths.pam / "sudo", text)
    assert look() == []
    assert stage.text("sudo") == text
