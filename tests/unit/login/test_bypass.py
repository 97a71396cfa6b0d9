"""Bypasses: how long they hold, whom they are for, and who can make them."""

from __future__ import annotations

import json
import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest

from pam_iampass.errors import StateError, UntrustedFile
from pam_iampass.login.bypass import LONGEST, Bypass, Bypasses, Moment
from pam_iampass.login.bypass_editing import BypassEditor, Ended
from pam_iampass.outcome import PamCode
from pam_iampass.system import boot
from pam_iampass.system.accounts import Account
from tests.support.setting import ME, Setting

NOW = Moment("boot", 1000.0, 1_800_000_000.0)
ALICE = Account("alice", 1000, 100)
BYPASS = Bypass("alice", 1000, None, 900.0, NOW, "root", "phone lost", survives_reboot=False)
LASTING = replace(BYPASS, survives_reboot=True)
ANYBODY = "daemon"  # stands in for the user that the module runs as


def later(seconds: float, wall: float | None = None, boot_id: str | None = "boot") -> Moment:
    """A moment of the same boot, at which the wall clock shows another time than it should if `wall` says so."""
    return Moment(boot_id, NOW.since_boot + seconds, NOW.wall + (seconds if wall is None else wall))


def rebooted(uptime: float, wall: float) -> Moment:
    """A moment of another boot."""
    return Moment("next boot", uptime, NOW.wall + wall)


@pytest.fixture
def bypasses(trusted_folder: Path) -> Bypasses:
    return Bypasses(str(trusted_folder / "run"), str(trusted_folder / "etc"), os.geteuid(), lambda: NOW)


def editor(bypasses: Bypasses, now: Moment = NOW) -> BypassEditor:
    bypasses.clock = lambda: now
    return BypassEditor(bypasses, ANYBODY)


# How long


@pytest.mark.parametrize("bypass", [BYPASS, LASTING])
@pytest.mark.parametrize("wall", [None, -1e6, 0.0, 1e6])
def test_within_a_boot_it_lasts_its_time_however_the_clock_is_set(bypass: Bypass, wall: float | None) -> None:
    assert bypass.left(later(0, wall)) == 900
    assert bypass.left(later(899, wall)) == 1
    assert bypass.left(later(900, wall)) == 0
    assert bypass.left(later(1e6, wall)) == 0


@pytest.mark.parametrize("uptime", [0.0, 1000.0, 1500.0])
def test_it_survives_no_reboot(uptime: float) -> None:
    assert BYPASS.left(rebooted(uptime, 10.0)) == 0
    assert BYPASS.left(replace(later(10), boot=None)) == 0, "a boot that is unknown is another one"


@pytest.mark.parametrize(
    ("uptime", "wall", "left"),
    [
        (20.0, 300.0, 600),
        (20.0, 900.0, 0),
        (20.0, 1e6, 0),
        (20.0, -1.0, 0),
        (20.0, 5.0, 880),
        (899.0, 5.0, 1),
        (900.0, 5.0, 0),
    ],
)
def test_what_survives_a_reboot_lasts_no_longer_where_the_clock_was_set_back(
    uptime: float, wall: float, left: float
) -> None:
    assert LASTING.left(rebooted(uptime, wall)) == left


def test_this_boot_is_known() -> None:
    found = Moment.now()
    assert found.boot is not None
    assert len(found.boot) == 32
    assert found.boot == Path(boot.BOOT_ID).read_text().strip().replace("-", "")


def test_where_the_file_is_hidden_the_unit_names_the_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "BOOT_ID", "/nowhere")
    assert boot.boot_id() is None
    monkeypatch.setenv(boot.VARIABLE, "0f" * 16)
    assert boot.boot_id() == "0f" * 16
    unit = Path(__file__).parents[3] / "packaging/systemd/pam-iampass-agent.service"
    assert f"\nEnvironment={boot.VARIABLE}=%b\n" in unit.read_text()


# For whom


@pytest.mark.parametrize(
    ("account", "service", "found"),
    [
        (ALICE, "sudo", True),
        (ALICE, "sshd", False),
        (Account("bob", 1000, 100), "sudo", False),
        (Account("alice", 1001, 100), "sudo", False),
    ],
)
def test_it_is_for_one_account_and_for_one_service_if_it_names_one(
    bypasses: Bypasses, account: Account, service: str, found: bool
) -> None:
    bypass = replace(BYPASS, service="sudo")
    editor(bypasses).add(bypass)
    assert bypasses.find(account, service) == (bypass if found else None)


# Made, replaced, ended


def test_what_is_made_is_read_back_and_ends(bypasses: Bypasses) -> None:
    change = editor(bypasses)
    assert change.add(BYPASS) == []
    assert change.add(replace(LASTING, service="sudo")) == []
    assert bypasses.active() == [BYPASS, replace(LASTING, service="sudo")]
    assert change.end("bob") == []
    assert change.end("alice") == [Ended(BYPASS, False), Ended(replace(LASTING, service="sudo"), False)]
    assert bypasses.active() == []
    assert not any(Path(path).exists() for path in bypasses.files.values())


def test_a_new_one_replaces_one_of_the_same_person_and_service_of_either_kind(bypasses: Bypasses) -> None:
    editor(bypasses).add(BYPASS)
    assert editor(bypasses).add(replace(LASTING, seconds=60.0)) == [Ended(BYPASS, False)]
    assert bypasses.active() == [replace(LASTING, seconds=60.0)]


def test_what_is_over_is_removed_once(bypasses: Bypasses) -> None:
    editor(bypasses).add(BYPASS)
    assert editor(bypasses, later(899)).prune() == []
    assert editor(bypasses, later(900)).prune() == [Ended(BYPASS, True)]
    assert editor(bypasses, later(900)).prune() == []


def test_only_root_changes_them(bypasses: Bypasses) -> None:
    bypasses.owner = os.geteuid() + 1
    with pytest.raises(StateError, match="only root"):
        editor(bypasses).add(BYPASS)


def test_the_module_can_read_the_file_and_others_cannot(bypasses: Bypasses) -> None:
    editor(bypasses).add(BYPASS)
    found = Path(bypasses.files[False]).stat()
    assert (found.st_mode & 0o777, found.st_uid) == (0o640, os.geteuid())
    assert found.st_gid == pwd.getpwnam(ANYBODY).pw_gid


# Files that grant nothing


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": LONGEST + 1},
        {"seconds": -1},
        {"seconds": "900"},
        {"seconds": True},
        {"since_boot": None},
        {"uid": "1000"},
        {"boot": None},
        {"user": 7},
    ],
    ids=str,
)
def test_a_file_that_was_not_written_so_grants_nothing_and_can_be_replaced(
    bypasses: Bypasses, wrong: dict[str, object]
) -> None:
    editor(bypasses).add(BYPASS)
    path = Path(bypasses.files[False])
    content = json.loads(path.read_text())
    content["bypasses"][0].update(wrong)
    path.write_text(json.dumps(content))
    assert bypasses.find(ALICE, "sudo") is None
    with pytest.raises(StateError, match="is corrupt"):
        bypasses.active()
    with pytest.raises(StateError, match="is corrupt"):
        editor(bypasses).prune()
    editor(bypasses).add(BYPASS)
    assert bypasses.active() == [BYPASS]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 2, "bypasses": []}', "[" * 100_000])
def test_junk_grants_nothing(bypasses: Bypasses, text: str) -> None:
    Path(bypasses.files[True]).write_text(text)
    assert bypasses.find(ALICE, "sudo") is None


@pytest.mark.parametrize("how", ["owner", "mode", "link", "folder"])
def test_a_file_that_others_can_have_written_grants_nothing(bypasses: Bypasses, how: str) -> None:
    editor(bypasses).add(BYPASS)
    assert bypasses.find(ALICE, "sudo") == BYPASS
    path = Path(bypasses.files[False])
    if how == "owner":
        os.chown(path, pwd.getpwnam(ANYBODY).pw_uid, -1)
    elif how == "mode":
        path.chmod(0o660)
    elif how == "link":
        path.rename(path.with_name("elsewhere"))
        path.symlink_to("elsewhere")
    else:
        path.parent.chmod(0o777)
    assert bypasses.find(ALICE, "sudo") is None
    with pytest.raises(UntrustedFile):
        bypasses.active()


# Logins


def bypass_me(world: Setting, **changes: object) -> None:
    made = Bypass(ME, 0, None, 900.0, Moment.now(), "carol", "phone lost", survives_reboot=False)
    BypassEditor(world.dirs.bypasses, ANYBODY).add(replace(made, **changes))  # type: ignore[arg-type]


def test_a_login_in_a_bypass_is_ignored_recorded_and_calls_nobody(world: Setting) -> None:
    bypass_me(world)
    told = world.login()
    assert told.code == PamCode.IGNORE
    assert told.said == ["Continuing without phone approval: your administrator allows it for now."]
    assert world.outcome() == ("bypassed", "ignored")
    record = world.only_record()
    assert record["IAMPASS_REASON"] == f"{ME} is bypassed by carol: phone lost"
    assert (record["IAMPASS_APPROVER"], record["PRIORITY"]) == (ME, "4")
    assert world.calls == []


def test_in_sshd_a_bypass_is_silent_and_does_not_prompt(world: Setting) -> None:
    bypass_me(world)
    told = world.login(ssh_auth_info="publickey ssh-ed25519 AAAA\n")
    assert (told.code, told.asked, told.said) == (PamCode.IGNORE, [], [])


def test_the_key_is_required_all_the_same(world: Setting) -> None:
    bypass_me(world)
    told = world.login("first_factor=publickey", ssh_auth_info="")
    assert told.code == PamCode.MAXTRIES
    assert world.outcome() == ("denied", "denied")


def test_a_bypass_helps_who_is_in_no_table(world: Setting) -> None:
    world.write("users.yaml", "{}\n")
    bypass_me(world)
    assert world.login().code == PamCode.IGNORE


@pytest.mark.parametrize(
    "changes",
    [{"service": "other"}, {"user": "daemon"}, {"uid": 1}, {"made": Moment("then", 0.0, 0.0)}],
    ids=str,
)
def test_a_bypass_of_another_kind_does_not_help(world: Setting, changes: dict[str, object]) -> None:
    bypass_me(world, **changes)
    assert world.login().code == PamCode.SUCCESS
    assert world.outcome() == ("approved", "success")


def test_a_corrupt_file_changes_nothing_for_anybody(world: Setting) -> None:
    Path(world.dirs.bypasses.files[False]).write_text("{")
    assert world.login().code == PamCode.SUCCESS


def test_broken_settings_deny_all_the_same(world: Setting) -> None:
    bypass_me(world)
    world.configure(methods="[telepathy]")
    assert world.login().code == PamCode.ABORT
