"""Graphical logins: real lightdm, its GTK greeter and i3lock, on a screen in memory."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest

from tests.packages.administrator import PASSWORD, Administrator
from tests.packages.booted import Booted
from tests.packages.kept_logins import NewSession, listed, sessions, wait_for
from tests.packages.lightdm import DISPLAY, SERVICE, Lightdm, graphical_root
from tests.packages.people import People, outcomes

pytestmark = pytest.mark.timeout(900)  # the first run makes the root
SESSION = "{keep: true, check: 2s, when_away: lock, unlock_on_return: true}"
#: What alice's graphical session runs.
XSESSION = "xss-lock -- i3lock -n & exec sleep infinity\n"


@pytest.fixture(scope="module")
def root() -> Path:
    """That of a machine with a display manager."""
    return graphical_root()


@pytest.fixture(scope="module")
def lightdm(machine: Booted, administrator: Administrator) -> Lightdm:
    """Its login screen, which asks the phone."""
    administrator.start_iampass()
    administrator.configure(session=SESSION, timeout="60s")
    administrator.set_up(SERVICE)
    machine.write("/home/alice/desktop", XSESSION)
    return Lightdm(machine)


def greeter_shows(lightdm: Lightdm, text: str) -> None:
    """Wait until the greeter shows it."""
    wait_for(lambda: f"\nlabel: {text}\n" in lightdm.shown(), f"the greeter shows {text}")


def test_the_greeter_says_that_the_phone_is_asked_and_a_denial_opens_nothing(
    machine: Booted, lightdm: Lightdm, people: People
) -> None:
    cursor = machine.cursor()
    lightdm.type_password()
    greeter_shows(lightdm, "Approve this on your phone within 60 seconds.")
    people.phone.deny("alice")
    wait_for(lambda: lightdm.results(), "lightdm has a result")
    assert lightdm.results() != ["Success"]
    assert (lightdm.session(), sessions(machine), people.phone.sessions("alice")) == ("", [], [])
    assert outcomes(machine.journal_now(cursor)) == [("denied", "denied", "alice", SERVICE)]
    greeter_shows(lightdm, "Your password is incorrect. Please try again.")  # its own text, in place of ours
    # The text consoles do not ask: check does not say that nobody gets in during an outage.
    check = machine.run("pam-iampass", "check", check=False).stdout
    assert not re.search(r"^warning: .*\[lockout-no-way-back\]$", check, re.MULTILINE)
    assert "unknown set-uid program" not in check


def is_locked(machine: Booted) -> bool:
    """Whether i3lock has locked the screen."""
    # Its helper that keeps the window on top may outlive it, if it is ended as soon as it starts.
    return machine.run("sh", "-c", "pgrep -x i3lock -P $(pgrep -x xss-lock)", check=False).returncode == 0


def test_an_approved_login_is_locked_while_the_phone_is_away_and_unlocked_on_its_return(
    machine: Booted, lightdm: Lightdm, people: People
) -> None:
    begun = NewSession(machine, people)
    machine.run("pam-iampass", "throttle", "clear", "alice")
    lightdm.type_password()
    people.phone.approve("alice")
    kept, number = begun.wait()
    assert (kept["user"], kept["service"], kept["status"]) == ("alice", SERVICE, "active")
    assert lightdm.results()[-1] == "Success"
    wait_for(lightdm.session, "logind has the session")

    def locks() -> bool:
        machine.run("loginctl", "lock-sessions")
        return is_locked(machine)

    wait_for(locks, "xss-lock listens")
    machine.run("loginctl", "unlock-sessions")
    wait_for(lambda: not is_locked(machine), "the screen is unlocked")

    def hint() -> str:
        words = ("loginctl", "show-session", "--value", "-p", "LockedHint", lightdm.session())
        return machine.run(*words).stdout.strip()

    people.phone.move(number, "away")
    wait_for(lambda: is_locked(machine) and hint() == "yes", "the screen is locked")
    people.phone.move(number, "back")
    wait_for(lambda: not is_locked(machine) and hint() == "no", "the screen is unlocked")
    # What alice has locked herself opens with the password: i3lock does not ask the phone.
    machine.run("loginctl", "lock-sessions")
    wait_for(lambda: is_locked(machine), "the screen is locked")
    for _ in range(5):  # i3lock ignores keys while it starts: the password is typed again
        machine.run(*DISPLAY, "xdotool", "key", "Escape")
        lightdm.type(PASSWORD)
        with contextlib.suppress(AssertionError):
            wait_for(lambda: not is_locked(machine), "the screen is unlocked", 12.0)
            break
    assert not is_locked(machine)
    assert listed(machine, kept["id"])["logins"] != []
