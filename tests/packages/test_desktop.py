"""Graphical logins and screen lockers: real lightdm, its GTK greeter, and Debian's lockers, on screens in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packages.administrator import Administrator
from tests.packages.booted import Booted
from tests.packages.kept_logins import NewSession, listed, sessions, wait_for
from tests.packages.lightdm import SERVICE, Lightdm, graphical_root
from tests.packages.lockers import LOCKERS, SWAY, XSESSION, Locker, is_locked, type_until
from tests.packages.people import People, outcomes

pytestmark = pytest.mark.timeout(900)  # the first run makes the root
SESSION = "{keep: true, check: 2s, when_away: lock, unlock_on_return: true}"
I3LOCK = LOCKERS[0]


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
    # The text consoles do not ask: doctor does not say that nobody gets in during an outage.
    doctor = machine.run("pam-iampass", "doctor", check=False).stdout
    assert "lockout-console" not in doctor
    assert "unknown set-uid program" not in doctor


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
        machine.shell(I3LOCK.lock)
        return is_locked(machine, I3LOCK)

    wait_for(locks, "xss-lock listens")
    machine.shell(I3LOCK.end)
    wait_for(lambda: not is_locked(machine, I3LOCK), "the screen is unlocked")

    def hint() -> str:
        words = ("loginctl", "show-session", "--value", "-p", "LockedHint", lightdm.session())
        return machine.run(*words).stdout.strip()

    people.phone.move(number, "away")
    wait_for(lambda: is_locked(machine, I3LOCK) and hint() == "yes", "the screen is locked")
    people.phone.move(number, "back")
    wait_for(lambda: not is_locked(machine, I3LOCK) and hint() == "no", "the screen is unlocked")
    # What alice has locked herself opens with the password: i3lock does not ask the phone.
    machine.shell(I3LOCK.lock)
    wait_for(lambda: is_locked(machine, I3LOCK), "the screen is locked")
    type_until(machine, I3LOCK, lambda: not is_locked(machine, I3LOCK))
    assert listed(machine, kept["id"])["logins"] != []


@pytest.fixture(scope="module")
def screens(machine: Booted, lightdm: Lightdm, people: People) -> Lightdm:
    """alice has logged in, and has a second desktop."""
    if not lightdm.session():
        lightdm.type_password()
        people.phone.approve("alice")
    wait_for(lightdm.session, "logind has the session")
    machine.shell(SWAY)
    return lightdm


@pytest.mark.parametrize("locker", LOCKERS, ids=lambda locker: locker.service)
def test_a_locker_that_is_not_root_is_shut_while_common_auth_asks_the_phone_and_doctor_says_what_opens_it(
    machine: Booted, screens: Lightdm, locker: Locker
) -> None:
    def lock() -> None:
        machine.shell(locker.lock)
        wait_for(lambda: is_locked(machine, locker), "the screen is locked")

    def open_it() -> None:
        type_until(machine, locker, lambda: not is_locked(machine, locker))

    def denied() -> bool:
        who = f"service={locker.service} rhost= reason=the application does not run as root"
        return any(who in str(each.get("MESSAGE")) for each in machine.journal_now(cursor))

    def doctor() -> str:
        return machine.run("pam-iampass", "doctor", check=False).stdout

    says = f"error: {locker.service}: A program that is not root asks the phone"
    assert says not in doctor()
    lock()
    open_it()  # with `setup` nothing changes for it
    machine.run("pam-auth-update", "--enable", "iampass")
    try:
        lock()
        cursor = machine.cursor()
        type_until(machine, locker, denied)
        assert is_locked(machine, locker)
        told = doctor()
        assert says in told
        assert (
            f"Or make /etc/pam.d/{locker.service} name pam_unix.so itself: auth required pam_unix.so" in told
        )
        machine.write(
            f"/etc/pam.d/{locker.service}", "auth required pam_unix.so\naccount required pam_unix.so\n"
        )
        if locker.end:
            machine.shell(locker.end)
            wait_for(lambda: not is_locked(machine, locker), "the screen is open")
            lock()
        open_it()
        assert says not in doctor()
    finally:
        machine.run("pam-auth-update", "--disable", "iampass")
