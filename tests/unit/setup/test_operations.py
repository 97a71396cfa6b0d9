"""A whole setup, with interference by other processes and users."""

from __future__ import annotations

import subprocess
import threading
from dataclasses import replace

import pytest

from pam_iampass.setup import trial
from pam_iampass.setup.errors import SetupError
from pam_iampass.setup.operations import Setup
from tests.unit.setup.stage import Stage


def begun(stage: Stage) -> str:
    """A trial of sudo that is over."""
    manifest = stage.set_up("sudo")
    about = trial.new(["sudo"], 1, 0.0)
    stage.store.save(replace(manifest, trial=about))
    return about.name


def test_a_trial_that_cannot_be_ended_yet_is_ended_later(stage: Stage) -> None:
    name = begun(stage)
    folder = str(stage.paths.sudoers_drop_ins)
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
    tried = threading.Event()

    def free() -> None:
        assert tried.wait(20)
        subprocess.run(["umount", "--lazy", folder], check=True)  # the next try may have begun

    class Watched(Setup):
        def _end_trial(self, name: str) -> list[str]:
            try:
                return super()._end_trial(name)
            finally:
                tried.set()

    helper = threading.Thread(target=free)
    helper.start()
    done = Watched(lambda *_: None, stage.paths).end_trial(name, 0.0, pause=0.05)
    helper.join()
    assert done == ["sudo"]
    assert stage.files() == stage.before


def test_under_systemd_what_stands_in_the_way_is_an_error(stage: Stage) -> None:
    name = begun(stage)
    folder = str(stage.paths.sudoers_drop_ins)
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
    try:
        with pytest.raises(SetupError, match="sudo could not be undone"):
            Setup(lambda *_: None, stage.paths).end_trial(name, None)
    finally:
        subprocess.run(["umount", folder], check=True)
    assert Setup(lambda *_: None, stage.paths).end_trial(name, None) == ["sudo"]
    assert stage.files() == stage.before


def test_undo_restores_every_service_that_it_can_and_names_the_rest(stage: Stage) -> None:
    stage.set_up("sudo")
    stage.set_up("su")
    folder = str(stage.paths.sudoers_drop_ins)
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
    try:
        with pytest.raises(SetupError, match="sudo could not be undone; su: undone") as left:
            Setup(lambda *_: None, stage.paths).undo(None)
    finally:
        subprocess.run(["umount", folder], check=True)
    assert "Read-only file system" in left.value.details[0]
    assert set(stage.store.load().services) == {"sudo"}
    assert Setup(lambda *_: None, stage.paths).undo(None) == ["sudo"]
    assert stage.files() == stage.before


def test_another_trial_is_left_alone(stage: Stage) -> None:
    begun(stage)
    after = stage.files()
    assert Setup(lambda *_: None, stage.paths).end_trial("another", 0.0) == []
    assert stage.files() == after


def test_a_trial_that_began_meanwhile_keeps_its_end(stage: Stage) -> None:
    setup = Setup(lambda *_: None, stage.paths)
    plans = setup.plans(["su"], None, force=False)
    begun(stage)
    theirs, files = stage.store.load(), stage.files()
    with pytest.raises(SetupError, match="another pam-iampass setup has just changed something"):
        setup.set_up(plans, None)
    assert (stage.store.load(), stage.files()) == (theirs, files)
    assert theirs.trial is not None
