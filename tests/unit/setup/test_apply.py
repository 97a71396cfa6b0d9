"""Changes are made in an order that keeps logins whole, and are taken back to the letter."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pam_iampass.errors import Problem, SetupError
from pam_iampass.setup import apply
from pam_iampass.setup.files import temporary
from pam_iampass.setup.manifest import Manifest
from pam_iampass.setup.plan import WantedService
from pam_iampass.setup.sshd import Reloaded
from tests.support.folders import put
from tests.unit.setup.stage import LINE, SU, Stage

EVERY = [
    ("sshd", "key"),
    ("sshd", "password"),
    ("sshd", "quiet"),
    ("sshd", "codes"),
    ("sudo", ""),
    ("su", ""),
]
ROOT = Path(__file__).parents[3]
every = pytest.mark.parametrize(("name", "choice"), EVERY)
DROP_IN = "10-iampass.conf"


def done(stage: Stage) -> list[str]:
    return [f"{word} {Path(what).name}" for word, what in stage.told]


@every
def test_undo_restores_every_file_with_its_mode_and_owners(stage: Stage, name: str, choice: str) -> None:
    put(stage.paths.pam / "su", SU, 0o640)
    os.chown(stage.paths.pam / "su", 0, 42)
    before = stage.files()
    stage.set_up(name, choice)
    assert stage.files() != before
    assert stage.undo() == Manifest()
    assert stage.files() == before
    assert stage.store.load() == Manifest()
    assert not list((stage.paths.state / "backups").iterdir())


def test_the_pam_file_has_its_lines_before_sshd_demands_the_prompt_and_after(stage: Stage) -> None:
    stage.set_up("sshd", "key")
    stage.undo()
    assert done(stage) == [
        *("changed sshd", "wrote 10-iampass.conf", "done reloaded"),
        *("removed 10-iampass.conf", "changed sshd", "done reloaded"),
    ]


def test_the_quiet_way_needs_no_reload(stage: Stage) -> None:
    stage.set_up("sshd", "quiet")
    stage.undo()
    assert done(stage) == ["changed sshd", "changed sshd"]


def test_an_sshd_that_nothing_can_reload_is_told_of(stage: Stage) -> None:
    stage.reloaded = Reloaded(False, "kill -HUP 77")
    stage.set_up("sshd", "key")
    stage.undo()
    assert stage.told.count(("to do", "kill -HUP 77")) == 2
    assert stage.files() == stage.before


def test_each_service_is_undone_on_its_own(stage: Stage) -> None:
    stage.set_up("su")
    before = stage.files()
    stage.set_up("sudo")
    stage.undo("sudo")
    assert stage.files() == before
    assert set(stage.store.load().services) == {"su"}


def test_a_file_that_was_there_before_is_put_back(stage: Stage) -> None:
    file = put(stage.paths.sshd_drop_ins / DROP_IN, "Port 2222\n", 0o600)
    stage.set_up("sshd", "key", force=True)
    stage.undo()
    assert file.read_text() == "Port 2222\n"
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_edited_drop_in_is_restored_and_the_edited_one_is_kept(stage: Stage) -> None:
    stage.set_up("sshd", "key")
    stage.edit(stage.paths.sshd_drop_ins / DROP_IN, "# mine\n")
    stage.undo()
    assert stage.files() == stage.before
    (kept,) = (stage.paths.state / "edited").iterdir()
    assert kept.read_text().endswith("# mine\n")
    assert ("kept", f"{kept}: {stage.paths.sshd_drop_ins / DROP_IN} as it was edited") in stage.told


@pytest.mark.parametrize("mine", [LINE.replace(".so", ".so debug"), f"#{LINE}", f"# {LINE}"])
def test_a_line_of_ours_that_was_changed_goes_and_the_file_is_kept(stage: Stage, mine: str) -> None:
    stage.set_up("su")
    su = stage.paths.pam / "su"
    su.write_text(su.read_text().replace(LINE, mine))
    ((path, shown),) = apply.conflicts(stage.store.load().services["su"], stage.store)
    assert (path, f"+{mine}" in shown) == (su, True)
    stage.undo()
    assert stage.files() == stage.before
    (kept,) = (stage.paths.state / "edited").iterdir()
    assert mine in kept.read_text()


def test_a_file_that_its_package_has_restored_is_left_as_it_is(stage: Stage) -> None:
    stage.set_up("su")
    su = stage.paths.pam / "su"
    su.write_text("# su, a new version\n@include common-auth\n")
    stage.undo()
    assert su.read_text() == "# su, a new version\n@include common-auth\n"
    assert ("left", f"{su}: it was restored by hand, or by its package") in stage.told


@every
def test_our_lines_go_and_what_was_written_meanwhile_stays(stage: Stage, name: str, choice: str) -> None:
    kept = stage.text(name)
    stage.set_up(name, choice)
    lines = stage.text(name).split("\n")
    mine = [line for number, line in enumerate(lines) for line in (f"# mine {number}", line)]
    put(stage.paths.pam / name, "\n".join(mine))
    assert not apply.conflicts(stage.store.load().services[name], stage.store)
    stage.undo()
    after = stage.text(name).split("\n")
    assert [line for line in after if "# mine" not in line] == kept.split("\n")
    assert len([line for line in after if "# mine" in line]) == len(lines)
    assert not (stage.paths.state / "edited").exists()


def test_a_drop_in_that_was_removed_by_hand_is_no_trouble(stage: Stage) -> None:
    stage.set_up("sshd", "key")
    (stage.paths.sshd_drop_ins / DROP_IN).unlink()
    stage.undo()
    assert stage.files() == stage.before


def says_no(service: WantedService) -> list[Problem]:
    return [Problem(None, None, "", f"{service.name} says no", "mend it")]


def test_what_the_programs_refuse_is_put_back(stage: Stage) -> None:
    plans = [stage.plan("sudo"), stage.plan("su")]
    with pytest.raises(SetupError, match="sudo says no; the changes were undone"):
        apply.make_changes(plans, Manifest(), stage.store, replace(stage.hooks(), judge=says_no))
    assert stage.files() == stage.before
    assert stage.store.load() == Manifest()


def test_a_refused_change_of_the_first_factor_leaves_the_old_one(stage: Stage) -> None:
    stage.set_up("sshd", "key")
    before, known = stage.files(), stage.store.load()

    plans = [stage.plan("sshd", "password")]
    with pytest.raises(SetupError, match="sshd says no"):
        apply.make_changes(plans, known, stage.store, replace(stage.hooks(), judge=says_no))
    assert stage.files() == before
    assert stage.store.load() == known
    stage.undo()
    assert stage.files() == stage.before


@pytest.mark.needs_isolated_root  # it mounts
def test_a_full_disk_is_found_out_before_anything_is_replaced(stage: Stage) -> None:
    folder = stage.paths.sshd_drop_ins
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=755", "none", str(folder)], check=True)
    try:
        put(folder / "full", b"x" * 4096)
        before = stage.files()
        with pytest.raises(OSError, match="No space left"):
            stage.set_up("sshd", "key")
        assert stage.files() == before
        assert stage.told == []
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.needs_isolated_root  # it mounts
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


def signalled(stage: Stage, name: str, choice: str, moment: int, number: signal.Signals) -> int:
    """Set a service up in a process of its own that gets a signal meanwhile; its exit status."""
    arguments = [str(stage.paths.root), name, choice, str(moment), str(int(number))]
    return subprocess.run(
        [sys.executable, "-m", "tests.unit.setup.killed", *arguments], cwd=ROOT, check=False
    ).returncode


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_closed_terminal_or_ctrl_c_does_not_break_it_off(stage: Stage, number: signal.Signals) -> None:
    status = signalled(stage, "sshd", "key", 0, number)
    assert status in (-number, 1)
    assert stage.store.load().services["sshd"].complete
    assert len(stage.files()) == len(stage.before) + 1
    stage.undo()
    assert stage.files() == stage.before


@every
@pytest.mark.parametrize("moment", range(4))
def test_a_process_that_is_killed_at_any_moment_can_be_undone(
    stage: Stage, name: str, choice: str, moment: int
) -> None:
    changes = len(stage.plan(name, choice).changes)
    status = signalled(stage, name, choice, moment, signal.SIGKILL)
    killed = moment < changes + (changes > 1)
    assert status == (-signal.SIGKILL if killed else 0)
    assert stage.files() != stage.before
    assert stage.store.load().services[name].complete is not killed
    stage.undo()
    assert stage.files() == stage.before


def test_what_a_killed_process_left_on_its_way_is_removed(stage: Stage) -> None:
    stage.set_up("sshd", "key")
    for path in (stage.paths.pam / "sshd", stage.paths.sshd_drop_ins / DROP_IN):
        put(temporary(path), "half")
    stage.undo()
    assert stage.files() == stage.before


def test_the_trial_is_armed_before_the_first_change(stage: Stage) -> None:
    seen = []
    hooks = replace(stage.hooks(), arm=lambda: seen.append(stage.files()))
    apply.make_changes([stage.plan("sudo")], Manifest(), stage.store, hooks)
    assert seen == [stage.before]


def test_a_trial_that_cannot_be_armed_changes_nothing(stage: Stage) -> None:
    def arm() -> None:
        raise SetupError("no timer", "try without --try")

    with pytest.raises(SetupError, match="no timer"):
        apply.make_changes([stage.plan("sudo")], Manifest(), stage.store, replace(stage.hooks(), arm=arm))
    assert stage.files() == stage.before
    assert stage.store.load() == Manifest()


@pytest.mark.parametrize("choice", ["key", "password", "quiet", "codes"])
def test_the_lines_of_the_operations_page_switch_everything_off(stage: Stage, choice: str) -> None:
    """Typed in a shell with nothing but coreutils and sed."""
    stage.set_up("sshd", choice)
    stage.set_up("sudo")
    stage.set_up("su")
    page = (Path(__file__).parents[3] / "docs/one-server/operations.md").read_text()
    [typed] = re.findall(r"do it by hand\..*\n\n((?:    .*\n)+)", page)
    script = re.sub(r"(?<= )/(?=etc/|var/)", f"{stage.paths.root}/", typed)
    linked, elsewhere = stage.paths.pam / "su", stage.paths.root / "elsewhere"
    linked.rename(elsewhere)
    linked.symlink_to(elsewhere)  # as authselect does
    subprocess.run(["sh", "-euc", "systemctl() { :; }\n" + script], check=True, env={"PATH": "/usr/bin:/bin"})
    assert stage.files() == stage.before
    assert stage.store.load() == Manifest()
    assert linked.readlink() == elsewhere
