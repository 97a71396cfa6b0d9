"""Attacks of a caller of su who wants to be asked in place of another person, or not at all."""

from __future__ import annotations

import pytest

from tests.support.setuid.people import AS_ROOT, SHOW_WHO
from tests.support.setuid.side_by_side import side_by_side
from tests.support.setuid.stage import PHONE_ONLY, SPARED, Guest, Phone, Seen
from tests.support.terminal import Terminal

pytestmark = pytest.mark.usefixtures("caller_approves")


def become(guest: Guest, friend: Guest) -> Seen:
    """The guest, who knows the friend's password, runs a command as the friend."""
    return guest.play("su", friend.name, "-c", "echo in as $(/usr/bin/id -un)")


def says(guest: Guest, ruser: str, *, real_uid: int) -> Seen:
    """A program with root's rights that says `ruser` is its caller, and belongs to a user."""
    arguments = ["-I", f"ruser={ruser}", PHONE_ONLY.name, guest.twin, "authenticate"]
    terminal = Terminal(["setpriv", f"--ruid={real_uid}", "pamtester", *arguments])
    return Seen(terminal.finish(), terminal.shown)


@side_by_side
def test_a_user_who_knows_the_password_of_another_user_does_not_become_them_by_a_phone_of_their_own(
    guest: Guest,
) -> None:
    friend = guest.stage.guest(Phone.DENIES)
    guest.set_phone(Phone.APPROVES)
    seen = become(guest, friend)
    assert (seen.status, "in as" in seen.shown) == (1, False), seen
    assert (guest.starts(), friend.starts()) == (0, 1)
    assert f" caller={guest.name} approver={friend.name} " in friend.record()


@side_by_side
def test_another_user_approves_themselves(guest: Guest) -> None:
    friend = guest.stage.guest(Phone.APPROVES)
    guest.set_phone(Phone.DENIES)
    seen = become(guest, friend)
    assert (seen.status, f"in as {friend.name}" in seen.shown) == (0, True), seen
    assert guest.starts() == 0


@side_by_side
def test_an_exempt_caller_becomes_root_without_a_phone_and_no_other_user(guest: Guest) -> None:
    with open("/etc/group", "a", encoding="utf-8") as groups:
        groups.write(f"{SPARED}:x:{guest.person.uid}:{guest.name}\n")
    friend = guest.stage.guest(Phone.DENIES)
    assert become(guest, friend).status == 1
    assert (guest.starts(), friend.starts()) == (0, 1)
    assert guest.play("su").got_in
    assert guest.starts() == 0
    record = guest.record()
    assert record.startswith(f"outcome=exempt result=ignored user={guest.twin} ")
    assert f" caller={guest.name} approver=- " in record


@side_by_side
def test_a_caller_who_names_another_user_is_denied_and_nobody_is_asked(guest: Guest) -> None:
    friend = guest.stage.guest(Phone.APPROVES)
    seen = says(guest, friend.name, real_uid=guest.person.uid)
    assert seen.status == 1
    assert (guest.starts(), friend.starts()) == (0, 0)
    assert guest.record().startswith("outcome=misconfigured result=denied ")
    assert "PAM_RUSER is not the owner of the process" in guest.record()


@side_by_side
def test_a_caller_is_believed_where_the_process_is_theirs(guest: Guest) -> None:
    guest.set_phone(Phone.APPROVES)
    seen = says(guest, guest.name, real_uid=guest.person.uid)
    assert seen.status == 0, seen
    assert [session.user for session in guest.sessions()] == [f"token-of-{guest.name}"]


@side_by_side
def test_a_name_from_afar_is_not_believed(guest: Guest) -> None:
    guest.set_phone(Phone.APPROVES)
    seen = says(guest, guest.name, real_uid=0)
    assert seen.status == 1
    assert guest.starts() == 0


@side_by_side
def test_a_variable_of_the_caller_names_nobody(guest: Guest) -> None:
    friend = guest.stage.guest(Phone.APPROVES)
    guest.set_phone(Phone.DENIES)
    names = ("USER", "LOGNAME", "PAM_RUSER", "PAM_USER", "SUDO_USER", "RUSER")
    terminal = guest.run(
        "/bin/sh",
        "-c",
        " ".join(f"{name}={friend.name}" for name in names) + f" su {guest.twin} -c '{SHOW_WHO}'",
    )
    terminal.expect("assword: ")
    terminal.sendline("correct horse")
    assert terminal.finish() == 1
    assert AS_ROOT not in terminal.shown
    assert (guest.starts(), friend.starts()) == (1, 0)
