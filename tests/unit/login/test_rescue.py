"""`rescue=NAME` where the settings cannot be used: one account passes on its first factor, by the rule of the door."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from pam_iampass.audit.journal import ALERT, ERROR
from pam_iampass.login.context import ModuleArguments
from pam_iampass.outcome import Login, PamCode, Phase
from tests.support.door import AccountDoor, Door
from tests.support.running_agent import running
from tests.support.setting import ME, Setting

KEY = "publickey ssh-ed25519 AAAA\n"
LINES = {Phase.ACCOUNT: [f"rescue={ME}"], Phase.AUTHENTICATE: ["first_factor=publickey", f"rescue={ME}"]}
PHASES = pytest.mark.parametrize("phase", LINES, ids=lambda phase: phase.name.lower())


DOORS = {Phase.ACCOUNT: AccountDoor, Phase.AUTHENTICATE: Door}


def break_them(world: Setting) -> None:
    world.write("iampass.yaml", "application_id: half-written\nserver")


def rescued(world: Setting, phase: Phase, *line: str, **items: Any) -> bool:
    """Whether the user passed; the record must agree."""
    items = {"service": "sshd", "ssh_auth_info": KEY, "uid": "0", **items}
    world.door_class = DOORS[phase]
    told = world.login(*(line or LINES[phase]), **items)
    passed = told.code == PamCode.IGNORE
    record = world.only_record()
    assert told.code in (PamCode.IGNORE, PamCode.MAXTRIES, PamCode.PERM_DENIED)
    assert (record["IAMPASS_RESULT"] == "ignored") == passed
    assert (record["PRIORITY"] == str(ALERT)) == passed
    assert bool(told.errors) == (not passed)
    assert world.calls == []
    return passed


def open_the_secret(world: Setting) -> None:
    (world.folder / "application-secret").chmod(0o644)


def remove(world: Setting) -> None:
    (world.folder / "iampass.yaml").unlink()


def empty_the_authorities(world: Setting) -> None:
    world.write("ca.pem", "nothing in here")


@PHASES
@pytest.mark.parametrize("break_settings", [break_them, open_the_secret, remove, empty_the_authorities])
def test_where_the_settings_cannot_be_used_the_account_passes_and_an_alert_is_recorded(
    world: Setting, phase: Phase, break_settings: Callable[[Setting], None]
) -> None:
    break_settings(world)
    assert rescued(world, phase)
    assert world.outcome() == ("misconfigured", "ignored")
    assert world.only_record()["IAMPASS_REASON"].startswith(
        "the settings cannot be used: rescue= on the PAM line let this user in without the phone: "
    )


@PHASES
def test_settings_that_can_be_used_decide(world: Setting, phase: Phase) -> None:
    world.write("users.yaml", "half-written: [")
    assert not rescued(world, phase, answers=("",))


@PHASES
def test_nobody_else_passes(world: Setting, phase: Phase) -> None:
    break_them(world)
    assert not rescued(world, phase, user="daemon")
    assert world.only_record()["PRIORITY"] == str(ERROR)


@PHASES
@pytest.mark.parametrize("name", [ME[:-1], ME + "2", ME.title(), ME + " "])
def test_only_that_very_name_passes(world: Setting, phase: Phase, name: str) -> None:
    break_them(world)
    others = [argument for argument in LINES[phase] if not argument.startswith("rescue")]
    assert not rescued(world, phase, *others, f"rescue={name}")


@PHASES
@pytest.mark.parametrize("uid", ["1234", "", "-0", "00x"])
def test_only_where_the_application_runs_as_root(world: Setting, phase: Phase, uid: str) -> None:
    break_them(world)
    assert not rescued(world, phase, uid=uid)


@pytest.mark.parametrize(
    "accepted",
    ["", "password", "hostbased publickey x", "publickeys x", " publickey x", "password publickey"],
)
def test_with_broken_settings_an_auth_line_rescues_only_behind_a_key(world: Setting, accepted: str) -> None:
    break_them(world)
    assert not rescued(world, Phase.AUTHENTICATE, ssh_auth_info=accepted)
    line = ModuleArguments.parse(["", *LINES[Phase.AUTHENTICATE]])  # by itself, before any other check
    assert not line.rescues(Login(ME, "sshd", real_uid=0, ssh_auth_info=accepted))
    assert line.rescues(Login(ME, "sshd", real_uid=0, ssh_auth_info=KEY))


def test_an_auth_line_that_demands_no_key_lets_nobody_in(world: Setting) -> None:
    break_them(world)
    assert not rescued(world, Phase.AUTHENTICATE, f"rescue={ME}")


def test_outside_sshd_it_means_nothing(world: Setting) -> None:
    break_them(world)
    told = world.login(*LINES[Phase.ACCOUNT], service="su", uid="0")
    assert told.code == PamCode.ABORT
    assert world.outcome() == ("misconfigured", "denied")


@PHASES
@pytest.mark.parametrize("more", ["rescue=daemon", "no_such_argument", "debug=yes"])
def test_a_line_with_an_argument_that_is_not_valid_lets_nobody_in(
    world: Setting, phase: Phase, more: str
) -> None:
    break_them(world)
    assert not rescued(world, phase, *LINES[phase], more)


def test_an_account_line_that_demands_a_key_lets_nobody_in(world: Setting) -> None:
    break_them(world)
    assert not rescued(world, Phase.ACCOUNT, *LINES[Phase.AUTHENTICATE])


def test_a_login_for_which_there_is_no_capacity_is_denied(world: Setting) -> None:
    """Anybody who can connect to sshd can cause that."""
    break_them(world)
    settings = f"config={world.folder / 'iampass.yaml'}"
    with running(world, most_pending=0) as agent:
        items: dict[str, Any] = {"user": ME, "service": "sshd", "ssh_auth_info": KEY, "uid": "0"}
        door = AccountDoor(agent.connect(), settings, *LINES[Phase.ACCOUNT], **items)
        assert door.finish().code == PamCode.PERM_DENIED
    assert world.outcome() == ("unavailable", "denied")
