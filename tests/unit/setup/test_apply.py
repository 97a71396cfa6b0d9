"""Changes are made in an order that keeps logins whole, and are taken back to the letter."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pam_iampass.setup import apply
from pam_iampass.setup.errors import SetupError
from pam_iampass.setup.files import temporary
from pam_iampass.setup.manifest import Manifest
from pam_iampass.setup.plan import Plan
from pam_iampass.setup.reload import Reloaded
from pam_iampass.setup.snapshot import Snapshot
from tests.support.folders import put
from tests.unit.setup.stage import SSHD, SU, Stage

EVERY = [
    ("sshd", "key", True),
    ("sshd", "password", True),
    ("sshd", "key", False),
    ("sudo", "", True),
    ("su", "", True),
]
ROOT = Path(__file__).parents[3]
every = pytest.mark.parametrize(("name", "choice", "new_sshd"), EVERY)


def done(stage: Stage) -> list[str]:
    return [f"{word} {Path(what).name}" for word, what in stage.told]


@every
def test_undo_restores_every_file_with_its_mode_and_owners(
    stage: Stage, name: str, choice: str, new_sshd: bool
) -> None:
    put(stage.paths.pam / "su", SU, 0o640)
    os.chown(stage.paths.pam / "su", 0, 42)
    before = stage.files()
    stage.set_up(name, choice, new_sshd=new_sshd)
    assert stage.files() != before
    assert stage.undo() == Manifest()
    assert stage.files() == before
    assert stage.store.load() == Manifest()
    assert not list((stage.paths.state / "backups").iterdir())


def test_a_pam_file_is_there_before_it_is_chosen_and_goes_after(stage: Stage) -> None:
    stage.set_up("sshd", "key")
    stage.undo()
    assert done(stage) == [
        "wrote iampass-sshd",
        "wrote 10-iampass.conf",
        "done reloaded",
        "removed 10-iampass.conf",
        "done reloaded",
        "removed iampass-sshd",
    ]


def test_sshd_is_reloaded_before_the_pam_file_goes_that_it_may_use(stage: Stage) -> None:
    stage.set_up("sshd", "key")
    stage.set_up("sshd", "password")
    names = [sorted(Path(path).name for path in seen if "iampass" in path) for seen in stage.reloads]
    assert names == [
        ["10-iampass.conf", "iampass-sshd"],
        ["10-iampass.conf", "iampass-sshd", "iampass-sshd-password"],
    ]
    assert done(stage)[-1] == "removed iampass-sshd"
    stage.undo()
    assert stage.files() == stage.before


def test_a_pam_file_stays_while_an_sshd_may_use_it_that_nothing_can_reload(stage: Stage) -> None:
    stage.set_up("sshd", "key")
    stage.reloaded = Reloaded(False, "kill -HUP 77")
    with pytest.raises(SetupError, match="kill -HUP 77"):
        stage.undo()
    assert not (stage.paths.sshd_drop_ins / "10-iampass.conf").exists()
    assert (stage.paths.pam / "iampass-sshd").exists()
    stage.reloaded = Reloaded(True, "reloaded")
    stage.undo()
    assert stage.files() == stage.before


def test_the_old_pam_file_stays_too_when_the_first_factor_changes(stage: Stage) -> None:
    stage.set_up("sshd", "key")
    stage.reloaded = Reloaded(False, "kill -HUP 77")
    stage.set_up("sshd", "password")
    assert (stage.paths.pam / "iampass-sshd").exists()
    stage.reloaded = Reloaded(True, "reloaded")
    stage.set_up("sshd", "password")
    assert not (stage.paths.pam / "iampass-sshd").exists()
    stage.undo()
    assert stage.files() == stage.before


def test_each_service_is_undone_on_its_own(stage: Stage) -> None:
    stage.set_up("su")
    before = stage.files()
    stage.set_up("sudo")
    stage.undo("sudo")
    assert stage.files() == before
    assert set(stage.store.load().services) == {"su"}


def test_a_file_that_was_there_before_is_put_back(stage: Stage) -> None:
    file = put(stage.paths.sudoers_drop_ins / "iampass", "alice ALL=(ALL) ALL\n", 0o400)
    stage.set_up("sudo", force=True)
    stage.undo()
    assert file.read_text() == "alice ALL=(ALL) ALL\n"
    assert file.stat().st_mode & 0o777 == 0o400


def test_an_edited_file_is_restored_and_the_edited_one_is_kept(stage: Stage) -> None:
    stage.set_up("sudo")
    stage.edit(stage.paths.pam / "iampass-sudo", "# mine\n")
    stage.undo()
    assert stage.files() == stage.before
    (kept,) = (stage.paths.state / "edited").iterdir()
    assert kept.read_text().endswith("# mine\n")
    assert ("kept", f"{kept}: {stage.paths.pam / 'iampass-sudo'} as it was edited") in stage.told


def test_an_edited_line_of_another_package_is_restored_and_kept(stage: Stage) -> None:
    stage.set_up("su")
    su = stage.paths.pam / "su"
    su.write_text(su.read_text().replace("iampass-su\n", "iampass-su # mine\n"))
    stage.undo()
    assert stage.files() == stage.before
    assert len(list((stage.paths.state / "edited").iterdir())) == 1


def test_a_file_that_its_package_has_restored_is_left_as_it_is(stage: Stage) -> None:
    stage.set_up("su")
    su = stage.paths.pam / "su"
    su.write_text("# su, a new version\n@include common-auth\n")
    stage.undo()
    assert su.read_text() == "# su, a new version\n@include common-auth\n"
    assert not (stage.paths.pam / "iampass-su").exists()
    assert ("left", f"{su}: it was restored by hand, or by its package") in stage.told


def test_the_edited_line_goes_and_the_rest_of_what_an_administrator_wrote_stays(stage: Stage) -> None:
    stage.set_up("su")
    stage.edit(stage.paths.pam / "su", "# mine\n")
    stage.undo()
    assert (stage.paths.pam / "su").read_text() == SU + "# mine\n"


def test_a_drop_in_that_was_removed_by_hand_is_no_trouble(stage: Stage) -> None:
    stage.set_up("sudo")
    (stage.paths.sudoers_drop_ins / "iampass").unlink()
    stage.undo()
    assert stage.files() == stage.before


def test_what_the_programs_refuse_is_put_back(stage: Stage) -> None:
    def refuse(_plan: Plan) -> None:
        raise SetupError("visudo says no", "mend it")

    with pytest.raises(SetupError, match="visudo says no"):
        apply.apply([stage.plan("sudo"), stage.plan("su")], Manifest(), stage.store, stage.machine(refuse))
    assert stage.files() == stage.before
    assert stage.store.load() == Manifest()


def test_a_refused_change_of_the_first_factor_leaves_the_old_one(stage: Stage) -> None:
    stage.set_up("sshd", "key")
    before, known = stage.files(), stage.store.load()

    def refuse(_plan: Plan) -> None:
        raise SetupError("sshd says no", "mend it")

    with pytest.raises(SetupError, match="sshd says no"):
        apply.apply([stage.plan("sshd", "password")], known, stage.store, stage.machine(refuse))
    assert stage.files() == before
    assert stage.store.load() == known
    stage.undo()
    assert stage.files() == stage.before


def test_a_folder_that_cannot_be_written_leaves_everything_as_it_was(stage: Stage) -> None:
    folder = stage.paths.sudoers_drop_ins
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,mode=755", "none", str(folder)], check=True)
    try:
        with pytest.raises(OSError, match="Read-only"):
            stage.set_up("sudo")
        assert stage.files() == stage.before
        assert stage.store.load() == Manifest()
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_found_out_before_anything_is_replaced(stage: Stage) -> None:
    folder = stage.paths.sudoers_drop_ins
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=755", "none", str(folder)], check=True)
    try:
        put(folder / "full", b"x" * 4096)
        before = stage.files()
        with pytest.raises(OSError, match="No space left"):
            stage.set_up("sudo")
        assert stage.files() == before
        assert stage.told == []
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_below_var_changes_nothing(stage: Stage) -> None:
    folder = stage.paths.root / "var"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=755", "none", str(folder)], check=True)
    try:
        put(folder / "full", b"x" * 4096)
        with pytest.raises(OSError, match="No space left"):
            stage.set_up("sudo")
        assert stage.files() == stage.before
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def signalled(
    stage: Stage, name: str, choice: str, new_sshd: bool, moment: int, number: signal.Signals
) -> int:
    """Set a service up in a process of its own that gets a signal meanwhile; its exit status."""
    arguments = [str(stage.paths.root), name, choice, str(new_sshd), str(moment), str(int(number))]
    return subprocess.run(
        [sys.executable, "-m", "tests.unit.setup.killed", *arguments], cwd=ROOT, check=False
    ).returncode


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_closed_terminal_or_ctrl_c_does_not_break_it_off(stage: Stage, number: signal.Signals) -> None:
    status = signalled(stage, "sshd", "key", True, 0, number)
    assert status in (-number, 1)
    assert stage.store.load().services["sshd"].complete
    assert len(stage.files()) == len(stage.before) + 2
    stage.undo()
    assert stage.files() == stage.before


@every
@pytest.mark.parametrize("moment", range(4))
def test_a_process_that_is_killed_at_any_moment_can_be_undone(
    stage: Stage, name: str, choice: str, new_sshd: bool, moment: int
) -> None:
    changes = len(stage.plan(name, choice, new_sshd=new_sshd).changes)
    status = signalled(stage, name, choice, new_sshd, moment, signal.SIGKILL)
    killed = moment < changes + (name == "sshd")
    assert status == (-signal.SIGKILL if killed else 0)
    assert stage.files() != stage.before
    assert stage.store.load().services[name].complete is not killed
    stage.undo()
    assert stage.files() == stage.before


def test_what_a_killed_process_left_on_its_way_is_removed(stage: Stage) -> None:
    stage.set_up("sudo")
    for path in (stage.paths.pam / "iampass-sudo", stage.paths.sudoers_drop_ins / "iampass"):
        put(temporary(path), "half")
    stage.undo()
    assert stage.files() == stage.before


def test_the_trial_is_armed_before_the_first_change(stage: Stage) -> None:
    seen = []
    machine = stage.machine()
    armed = apply.Machine(machine.reload, machine.judge, machine.tell, lambda: seen.append(stage.files()))
    apply.apply([stage.plan("sudo")], Manifest(), stage.store, armed)
    assert seen == [stage.before]


def test_a_trial_that_cannot_be_armed_changes_nothing(stage: Stage) -> None:
    def arm() -> None:
        raise SetupError("no timer", "try without --try")

    machine = stage.machine()
    with pytest.raises(SetupError, match="no timer"):
        apply.apply(
            [stage.plan("sudo")],
            Manifest(),
            stage.store,
            apply.Machine(machine.reload, machine.judge, machine.tell, arm),
        )
    assert stage.files() == stage.before
    assert stage.store.load() == Manifest()


@pytest.mark.parametrize("new_sshd", [True, False])
@pytest.mark.parametrize("choice", ["key", "password", "quiet"])
def test_the_lines_of_the_operations_page_switch_everything_off(
    stage: Stage, choice: str, new_sshd: bool
) -> None:
    """Typed in a shell with nothing but coreutils and sed."""
    stage.set_up("sshd", choice, new_sshd=new_sshd)
    stage.set_up("sudo")
    stage.set_up("su")
    page = (Path(__file__).parents[3] / "docs/operations.md").read_text()
    [typed] = re.findall(r"do it by hand:\n\n((?:    .*\n)+)", page)
    script = "\n".join(line.replace("/etc/", f"{stage.paths.root}/etc/") for line in typed.splitlines())
    subprocess.run(["sh", "-euc", "systemctl() { :; }\n" + script], check=True, env={"PATH": "/usr/bin:/bin"})
    after = {path: state for path, state in stage.files().items() if "/iampass-" not in path}
    assert after == stage.before
    stage.undo()
    assert stage.files() == stage.before


# Two lines of one file


def test_of_two_changed_lines_the_one_that_is_left_is_restored(stage: Stage) -> None:
    stage.set_up("sshd", "key", new_sshd=False)
    sshd = stage.paths.pam / "sshd"
    sshd.write_text(
        sshd.read_text().replace("account    include      iampass-sshd", "@include common-account")
    )
    assert stage.plan("sshd", "key", new_sshd=False).changes[-1].path == sshd
    stage.set_up("sshd", "key", new_sshd=False)
    stage.set_up("sshd", "password", new_sshd=False)
    stage.edit(sshd, "# mine\n")
    stage.undo()
    assert sshd.read_text() == SSHD + "# mine\n"


def test_the_setup_of_an_earlier_version_gets_its_second_line_and_is_undone(stage: Stage) -> None:
    """Version 0.1 changed one line, and recorded it as `edit`."""
    stage.set_up("sshd", "key", new_sshd=False)
    sshd, manifest = stage.paths.pam / "sshd", stage.paths.state / "manifest.json"
    one = SSHD.replace("@include common-auth", "auth       include      iampass-sshd")
    sshd.write_text(one)
    known = json.loads(manifest.read_text())
    for file in known["services"]["sshd"]["files"]:
        edits = file["edit"]
        file["edit"] = edits[0] if edits else None
        if edits:
            file["written"] = [Snapshot(one.encode()).digest]
    manifest.write_text(json.dumps(known))
    (change,) = stage.plan("sshd", "key", new_sshd=False).changes
    assert [line for line in change.diff if line.startswith("+a")] == [
        "+account    include      iampass-sshd"
    ]
    stage.set_up("sshd", "key", new_sshd=False)
    stage.undo()
    assert stage.files() == stage.before


def test_the_session_line_is_added_to_what_an_earlier_version_has_set_up(stage: Stage) -> None:
    stage.set_up("su")
    file, manifest = stage.paths.pam / "su", stage.store.file
    without = file.read_text().replace("session    optional     pam_iampass.so\n", "")
    file.write_text(without)
    digest = Snapshot(without.encode()).digest
    (stage.store.folder / "backups" / str(digest)).write_text(without)
    recorded = json.loads(manifest.read_text())
    for record in recorded["services"]["su"]["files"]:
        if record["path"] == str(file):
            record.update(written=[digest], edit=record["edit"][0])  # one edit, and no list
    manifest.write_text(json.dumps(recorded))
    stage.set_up("su")
    assert "\n@include common-session\nsession    optional     pam_iampass.so\n" in file.read_text()
    stage.edit(file, "# mine\n")
    stage.undo()
    assert file.read_text() == SU + "# mine\n"


def test_a_session_line_that_was_removed_by_hand_stays_away_after_undo(stage: Stage) -> None:
    stage.set_up("su")
    file = stage.paths.pam / "su"
    file.write_text(file.read_text().replace("session    optional     pam_iampass.so\n", "# mine\n"))
    stage.undo()
    assert file.read_text() == SU + "# mine\n"
