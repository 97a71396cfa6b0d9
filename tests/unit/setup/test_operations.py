"""A whole setup, with interference by other processes and users."""

from __future__ import annotations

import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from pam_iampass.audit.journal import Journal
from pam_iampass.check.installation import REMOVED, SHARED_AUTH, at_removal
from pam_iampass.errors import SetupError
from pam_iampass.setup.manifest import Trial
from pam_iampass.setup.operations import Setup
from tests.support.folders import put
from tests.support.setting import Records
from tests.unit.setup.stage import SSHD, Stage


def begun(stage: Stage) -> str:
    """A trial of sshd that is over."""
    manifest = stage.set_up("sshd", "key")
    about = Trial("trial", ("sshd",), 0.0, 60.0)
    stage.store.save(replace(manifest, trial=about))
    return about.name


@pytest.mark.needs_isolated_root  # it mounts
def test_what_stands_in_the_way_of_the_end_of_a_trial_is_an_error(stage: Stage) -> None:
    name = begun(stage)
    folder = str(stage.paths.sshd_drop_ins)
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
    try:
        with pytest.raises(SetupError, match="sshd could not be undone"):
            Setup(lambda *_: None, stage.paths).end_trial(name)
    finally:
        subprocess.run(["umount", folder], check=True)
    assert Setup(lambda *_: None, stage.paths).end_trial(name) == ["sshd"]
    assert stage.files() == stage.before


@pytest.mark.needs_isolated_root  # it mounts
def test_undo_restores_every_service_that_it_can_and_names_the_rest(stage: Stage) -> None:
    stage.set_up("sshd", "key")
    stage.set_up("su")
    folder = str(stage.paths.sshd_drop_ins)
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
    try:
        with pytest.raises(SetupError, match="sshd could not be undone; su: undone") as left:
            Setup(lambda *_: None, stage.paths).undo(None)
    finally:
        subprocess.run(["umount", folder], check=True)
    assert "Read-only file system" in left.value.details[0]
    assert set(stage.store.load().services) == {"sshd"}
    assert Setup(lambda *_: None, stage.paths).undo(None) == ["sshd"]
    assert stage.files() == stage.before


@pytest.mark.parametrize(
    ("way", "option"), [("key", "--prompt"), ("password", "--password"), ("quiet", "--no-prompt")]
)
def test_what_asked_when_the_package_was_removed_is_remembered_until_somebody_says_that_it_stays_off(
    stage: Stage, way: str, option: str
) -> None:
    stage.set_up("sshd", way)
    stage.set_up("su")
    setup = Setup(lambda *_: None, stage.paths)
    remembered = stage.paths.state / REMOVED.name
    assert setup.undo(None, removal="iampass") == ["sshd", "su"]
    on = {"sshd": f"pam-iampass setup sshd {option}", "su": "pam-iampass setup su"}
    assert at_removal(remembered) == {**on, SHARED_AUTH: "pam-auth-update --enable iampass"}
    setup.undo(None, removal="")
    setup.undo(["sshd", SHARED_AUTH])
    assert at_removal(remembered) == {"su": on["su"]}
    setup.undo(None)
    assert not remembered.exists()


def test_a_trial_is_not_remembered_at_removal_since_it_would_have_ended_anyway(stage: Stage) -> None:
    begun(stage)
    Setup(lambda *_: None, stage.paths).undo(None, removal="")
    assert at_removal(stage.paths.state / REMOVED.name) == {}


def test_the_way_before_a_trial_is_remembered_at_removal(stage: Stage) -> None:
    manifest = stage.set_up("sshd", "key")
    about = Trial("trial", ("sshd",), 0.0, 60.0, {"sshd": "quiet"})
    stage.store.save(replace(manifest, trial=about))
    Setup(lambda *_: None, stage.paths).undo(None, removal="")
    remembered = at_removal(stage.paths.state / REMOVED.name)
    assert remembered == {"sshd": "pam-iampass setup sshd --no-prompt"}


def test_another_trial_is_left_alone(stage: Stage) -> None:
    begun(stage)
    after = stage.files()
    assert Setup(lambda *_: None, stage.paths).end_trial("another") == []
    assert stage.files() == after


def test_a_trial_that_began_meanwhile_keeps_its_end(stage: Stage) -> None:
    setup = Setup(lambda *_: None, stage.paths)
    proposal = setup.propose(["su"], {}, force=False)
    begun(stage)
    theirs, files = stage.store.load(), stage.files()
    with pytest.raises(SetupError, match="is not over yet"):
        setup.set_up(proposal, None)
    assert (stage.store.load(), stage.files()) == (theirs, files)
    assert theirs.trial is not None


def test_what_the_watch_notes_meanwhile_stops_no_setup_and_what_others_change_does(stage: Stage) -> None:
    stage.set_up("sshd", "key")
    setup = Setup(lambda *_: None, stage.paths)
    proposal = setup.propose(["su"], {}, force=False)
    noted = replace(stage.store.load().services["sshd"], said="something", reported=1.0)
    stage.store.save(stage.store.load().with_service("sshd", noted))
    file = stage.paths.pam / "su"
    before = file.read_text()
    file.write_text(f"{before}# changed\n")
    with pytest.raises(SetupError, match=f"{file}: was changed just now"):
        setup.set_up(proposal, None)
    file.write_text(before)
    setup.set_up(proposal, None)
    assert set(stage.store.load().services) == {"sshd", "su"}


def test_where_a_link_stands_in_the_way_undo_names_it_and_what_to_do(stage: Stage) -> None:
    stage.set_up("su")
    file, other = stage.paths.pam / "su", stage.paths.pam.parent / "su-of-a-person"
    file.rename(other)
    file.symlink_to(other)
    with pytest.raises(SetupError, match="su could not be undone") as left:
        Setup(lambda *_: None, stage.paths).undo(None)
    assert left.value.details == (
        f"su: {file}: is a symbolic link, not a regular file; replace it with a regular file",
    )
    file.unlink()
    other.rename(file)
    assert Setup(lambda *_: None, stage.paths).undo(None) == ["su"]
    assert stage.files() == stage.before


def test_the_watch_ends_a_trial_that_is_over_and_has_no_timer(stage: Stage) -> None:
    begun(stage)
    put(stage.paths.pam / "sshd", SSHD, 0o640)
    assert Setup(lambda *_: None, stage.paths).watch(Journal(Records())) == []
    assert stage.files() == stage.before
    assert not stage.store.file.exists()


@pytest.mark.needs_isolated_root  # it mounts
def test_a_trial_that_cannot_be_ended_keeps_no_other_service_from_being_mended(stage: Stage) -> None:
    stage.set_up("su")
    begun(stage)
    put(stage.paths.pam / "su", "auth required pam_permit.so\n")
    records = Records()
    folder = str(stage.paths.sshd_drop_ins)
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
    try:
        with pytest.raises(SetupError, match="sshd could not be undone"):
            Setup(lambda *_: None, stage.paths).watch(Journal(records))
    finally:
        subprocess.run(["umount", folder], check=True)
    assert [fields["IAMPASS_SERVICE"] for fields in records.fields] == ["su"]
    assert stage.store.load().trial is not None


def test_setup_waits_until_the_watch_has_looked(stage: Stage) -> None:
    setup = Setup(lambda *_: None, stage.paths)
    proposal = setup.propose(["su"], {}, force=False)
    looks = threading.Event()

    def look() -> None:
        with stage.store.locked():
            looks.set()
            time.sleep(0.5)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(look)
        looks.wait()
        setup.set_up(proposal, None)
    assert set(stage.store.load().services) == {"su"}


def test_what_is_said_of_a_service_is_there_for_node_exporter_until_it_is_undone(stage: Stage) -> None:
    file = stage.paths.figures
    file.parent.mkdir(parents=True)
    stage.set_up("su")
    setup = Setup(lambda *_: None, stage.paths)
    setup.watch(Journal(Records()))
    assert 'iampass_pam_in_force{service="su"} ' in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o644
    assert setup.undo(["su"]) == ["su"]
    assert file.read_text() == ""


def test_without_the_folder_of_the_figures_setup_does_the_same(stage: Stage) -> None:
    stage.set_up("su")
    assert Setup(lambda *_: None, stage.paths).undo(None) == ["su"]
    assert stage.files() == stage.before
