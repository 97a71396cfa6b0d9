"""Bypasses: how long they hold, whom they are for, and who can make them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pam_iampass.config.value_types import LONGEST_BYPASS
from pam_iampass.errors import StateError
from pam_iampass.login.bypass import Bypass, Bypasses, Ended, Moment
from pam_iampass.login.policy import Person
from pam_iampass.outcome import PamCode
from pam_iampass.system import boot
from pam_iampass.system.accounts import Account
from pam_iampass.system.database import Database
from tests.support.setting import ME, Setting
from tests.support.state_file import unwritable

NOW = Moment("boot", 1000.0, 1_800_000_000.0)
ALICE = Account("alice", 1000, 100)
BYPASS = Bypass("alice", 1000, None, 900.0, NOW, "root", "phone lost", survives_reboot=False)
LASTING = replace(BYPASS, survives_reboot=True)


def later(seconds: float, wall: float | None = None, boot_id: str | None = "boot") -> Moment:
    """A moment of the same boot, at which the wall clock shows another time than it should if `wall` says so."""
    return Moment(boot_id, NOW.since_boot + seconds, NOW.wall + (seconds if wall is None else wall))


def rebooted(uptime: float, wall: float) -> Moment:
    """A moment of another boot."""
    return Moment("next boot", uptime, NOW.wall + wall)


class Clock:
    """The clocks of the machine."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> Moment:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(own_folder: Path) -> Iterator[Database]:
    (own_folder / "state").mkdir(mode=0o700)
    found = Database(str(own_folder / "state" / "state.db"))
    yield found
    found.close()


@pytest.fixture
def bypasses(database: Database, clock: Clock) -> Bypasses:
    return Bypasses(database, clock)


def restarted(database: Database, clock: Clock) -> Bypasses:
    """What another agent reads."""
    database.close()
    found = Bypasses(database, clock)
    database.open()
    return found


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
    bypasses.add(bypass)
    assert bypasses.find(Person(account.name, account), service) == (bypass if found else None)


def test_it_can_be_for_a_person_who_has_no_account_and_is_over_when_an_account_of_that_name_is_made(
    bypasses: Bypasses, database: Database, clock: Clock
) -> None:
    bypass = replace(LASTING, uid=None)
    bypasses.add(bypass)
    for found in (bypasses, restarted(database, clock)):
        assert found.find(Person("alice", None), "sshd") == bypass
        assert found.find(Person("alice", ALICE), "sshd") is None


# Made, replaced, ended


def test_what_is_made_is_read_back_and_ends(bypasses: Bypasses, database: Database, clock: Clock) -> None:
    other = replace(LASTING, service="sudo", made_by="j\udcfcrgen")
    assert bypasses.add(BYPASS) == []
    assert bypasses.add(other) == []
    assert bypasses.active() == [BYPASS, other]
    assert restarted(database, clock).active() == [BYPASS, other]
    assert bypasses.end("bob") == []
    assert bypasses.end("alice") == [Ended(BYPASS, False), Ended(other, False)]
    assert bypasses.active() == []
    assert restarted(database, clock).active() == []


def test_a_new_one_replaces_one_of_the_same_person_and_service_of_either_kind(bypasses: Bypasses) -> None:
    bypasses.add(BYPASS)
    shorter = replace(LASTING, seconds=60.0)
    assert bypasses.add(shorter) == [Ended(BYPASS, False)]
    assert bypasses.active() == [shorter]


def test_those_whose_time_is_over_are_removed_and_returned(bypasses: Bypasses, clock: Clock) -> None:
    bypasses.add(BYPASS)
    bypasses.add(replace(LASTING, user="bob", seconds=3600.0))
    clock.now = later(900.0)
    assert bypasses.find(Person("alice", ALICE), "sudo") is None
    assert bypasses.prune() == [Ended(BYPASS, True)]
    assert bypasses.prune() == []
    assert [one.user for one in bypasses.active()] == ["bob"]


def test_after_a_reboot_only_what_was_meant_to_survive_it_is_left(
    bypasses: Bypasses, database: Database, clock: Clock
) -> None:
    bypasses.add(BYPASS)
    bypasses.add(replace(LASTING, user="bob"))
    clock.now = rebooted(20.0, 300.0)
    found = restarted(database, clock)
    assert [one.user for one in found.active()] == ["bob"]
    assert found.prune() == [Ended(BYPASS, True)]


@pytest.mark.parametrize("seconds", [0.0, -1.0, LONGEST_BYPASS + 1, float("nan")])
def test_none_is_longer_than_a_day(bypasses: Bypasses, seconds: float) -> None:
    with pytest.raises(ValueError, match=str(seconds)):
        bypasses.add(replace(BYPASS, seconds=seconds))
    assert bypasses.active() == []


def test_one_that_cannot_be_written_is_not_made(bypasses: Bypasses, database: Database) -> None:
    bypasses.add(BYPASS)
    with unwritable(database), pytest.raises(StateError):
        bypasses.add(replace(BYPASS, user="bob"))
    assert bypasses.active() == [BYPASS]


def test_one_that_is_ended_is_over_although_that_cannot_be_written(
    bypasses: Bypasses, database: Database, clock: Clock
) -> None:
    bypasses.add(BYPASS)
    with unwritable(database), pytest.raises(StateError):
        bypasses.end("alice")
    assert bypasses.active() == []
    assert bypasses.find(Person("alice", ALICE), "sudo") is None
    assert restarted(database, clock).active() == [BYPASS]


@pytest.mark.parametrize(
    "wrong",
    ["seconds = 86401", "seconds = -1", "seconds = 'x'", "uid = 'x'", "since_boot = 'x'", "person = 5"],
)
def test_a_row_that_was_not_written_so_is_a_damaged_file_and_grants_nothing(
    bypasses: Bypasses, database: Database, clock: Clock, wrong: str
) -> None:
    bypasses.add(BYPASS)
    with database.transaction() as connection:
        connection.execute(f"UPDATE bypasses SET {wrong}")
    found = restarted(database, clock)
    assert found.find(Person("alice", ALICE), "sudo") is None
    assert "is damaged" in str(database.problem)


# Logins


def bypass_me(world: Setting, **changes: object) -> None:
    made = Bypass(ME, os.geteuid(), None, 900.0, Moment.now(), "carol", "phone lost", survives_reboot=False)
    world.state.bypasses.add(replace(made, **changes))  # type: ignore[arg-type]


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


def test_the_key_is_required_of_a_bypassed_user_too(world: Setting) -> None:
    bypass_me(world)
    told = world.login("first_factor=publickey", ssh_auth_info="")
    assert told.code == PamCode.MAXTRIES
    assert world.outcome() == ("denied", "denied")


def test_a_bypass_helps_who_is_in_no_table(world: Setting) -> None:
    world.write("users.yaml", "{}\n")
    bypass_me(world)
    assert world.login().code == PamCode.IGNORE


def test_broken_settings_deny_a_bypassed_user_too(world: Setting) -> None:
    bypass_me(world)
    world.configure(methods="[telepathy]")
    assert world.login().code == PamCode.ABORT
